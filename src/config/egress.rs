//! `[egress]`: the way to receivers, and where deliveries come from, as it is told to those who let them through.

use super::{ConfigError, Secret, require};
use chrono::DateTime;
use ledgerhook_actors::{
    delivery::{client::Proxy, target::Nat64Prefix},
    domain::time::Timestamp,
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};

/// The system's resolver, as a setting.
const SYSTEM: &str = "system";
/// Most name servers: a lookup ends before more of them had their turn.
const NAME_SERVERS_MAX: usize = 3;
/// RFC 1035 §4.2.1
const DNS_PORT: u16 = 53;
/// Most addresses that are published.
const PUBLISHED_MAX: usize = 256;

/// The way to receivers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Egress {
    /// Addresses and networks (`192.0.2.7`, `2001:db8::/48`) that `GET /api/egress-ips` tells.
    pub(crate) published_ips: Vec<String>,
    /// When a new list holds, as an instant like `2030-01-15T00:00:00Z`; without it, from this start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) published_from: Option<String>,
    /// Ports of public addresses that may be called (`443`, `8000-9000`), in the place of 80, 443 and those from 1024
    /// on that belong to no other service.
    pub(crate) ports: Vec<String>,
    /// Prefixes under which the network's own translators (NAT64) turn IPv6 into IPv4: `2001:db8:64::/96`.
    pub(crate) nat64_prefixes: Vec<String>,
    /// Who looks names up: `system`, or name servers (`192.0.2.53:53`), the first one first.
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) resolver: Vec<String>,
    /// The address of this machine to dial from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bind_address: Option<IpAddr>,
    /// The HTTP proxy that receivers are reached through: `http://[USER:PASSWORD@]HOST:PORT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proxy: Option<Secret>,
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            published_ips: Vec::new(),
            published_from: None,
            ports: Vec::new(),
            nat64_prefixes: Vec::new(),
            resolver: vec![SYSTEM.to_owned()],
            bind_address: None,
            proxy: None,
        }
    }
}

impl Egress {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Self { published_ips, published_from, ports, .. } = self;
        let setting = "egress.published_ips";
        require(
            published_ips.len() <= PUBLISHED_MAX,
            setting,
            format_args!("has over {PUBLISHED_MAX} entries"),
        )?;
        for (place, text) in published_ips.iter().enumerate() {
            require(is_network(text), setting, format_args!("`{text}` is neither an address nor a network"))?;
            require(
                !published_ips[..place].contains(text),
                setting,
                format_args!("`{text}` stands there twice"),
            )?;
        }
        let is_instant = published_from.is_none() || self.from().is_some();
        require(is_instant, "egress.published_from", "is no instant like `2030-01-15T00:00:00Z`")?;
        let wrong = ports.iter().find(|text| range(text).is_none());
        let text = wrong.map(String::as_str).unwrap_or_default();
        let problem = format_args!("`{text}` is neither a port (`443`) nor a range (`8000-9000`)");
        require(wrong.is_none(), "egress.ports", problem)?;
        let wrong = self.nat64_prefixes.iter().find_map(|text| text.parse::<Nat64Prefix>().err());
        let problem = wrong.map(|error| error.to_string());
        require(problem.is_none(), "egress.nat64_prefixes", problem.unwrap_or_default())?;
        let problem = self.resolver_problem();
        require(problem.is_none(), "egress.resolver", problem.unwrap_or_default())?;
        let proxy = self.proxy.as_ref().map(|proxy| Proxy::parse(&proxy.0));
        let problem = proxy.and_then(Result::err);
        require(
            problem.is_none(),
            "egress.proxy",
            problem.map_or_else(String::new, |problem| problem.to_string()),
        )
    }

    /// What `ports` stands for.
    pub(super) fn port_ranges(&self) -> Vec<RangeInclusive<u16>> {
        self.ports.iter().filter_map(|text| range(text)).collect()
    }

    /// What `nat64_prefixes` stands for.
    pub(super) fn nat64(&self) -> Vec<Nat64Prefix> {
        self.nat64_prefixes.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// What `resolver` stands for; nothing for the system's.
    pub(super) fn name_servers(&self) -> Vec<SocketAddr> {
        self.resolver.iter().filter_map(|text| name_server(text)).collect()
    }

    fn resolver_problem(&self) -> Option<String> {
        match &self.resolver[..] {
            [] => Some("names nobody; `system` is the system's resolver".into()),
            [one] if one == SYSTEM => None,
            many if many.len() > NAME_SERVERS_MAX => {
                Some(format!("has over {NAME_SERVERS_MAX} name servers"))
            }
            many => many.iter().find(|text| name_server(text).is_none()).map(|text| {
                format!("`{text}` is no address of a name server (`192.0.2.53:53`), nor `system` alone")
            }),
        }
    }

    /// When the list holds.
    pub(super) fn from(&self) -> Option<Timestamp> {
        let instant = DateTime::parse_from_rfc3339(self.published_from.as_deref()?).ok()?;
        u64::try_from(instant.timestamp_millis()).ok().map(Timestamp)
    }
}

/// `192.0.2.53:53` or `[2001:db8::53]:53`; without a port it is 53.
fn name_server(text: &str) -> Option<SocketAddr> {
    let with_port = || text.parse::<SocketAddr>().ok().filter(|at| at.port() != 0);
    text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, DNS_PORT)).or_else(with_port)
}

/// A text, or a list of texts.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Texts;

    impl<'de> Visitor<'de> for Texts {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("`system`, or a list of addresses")
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = list.next_element()? {
                texts.push(text);
            }
            Ok(texts)
        }
    }

    deserializer.deserialize_any(Texts)
}

/// `443` or `8000-9000`.
fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let plain =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    let (first, last): (u16, u16) = (plain(first)?, plain(last)?);
    (first > 0 && first <= last).then_some(first..=last)
}

/// `192.0.2.7` or `192.0.2.0/24`, without bits behind its prefix.
fn is_network(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return text.parse::<IpAddr>().is_ok() };
    let (Ok(address), Ok(prefix)) = (address.parse::<IpAddr>(), prefix.parse::<u32>()) else { return false };
    let host_bits = match address {
        IpAddr::V4(v4) if prefix <= 32 => u32::from(v4).checked_shl(prefix).unwrap_or(0) == 0,
        IpAddr::V6(v6) if prefix <= 128 => u128::from(v6).checked_shl(prefix).unwrap_or(0) == 0,
        _ => false,
    };
    host_bits && !text.ends_with("/0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_addresses_are_addresses_and_networks() {
        for good in ["192.0.2.7", "192.0.2.0/24", "192.0.2.7/32", "2001:db8::1", "2001:db8::/48"] {
            assert!(is_network(good), "{good}");
        }
        for bad in
            ["", "192.0.2", "192.0.2.7/24", "192.0.2.0/33", "example.com", "0.0.0.0/0", "2001:db8::1/48"]
        {
            assert!(!is_network(bad), "{bad}");
        }
    }

    #[test]
    fn name_servers_are_addresses() {
        for (text, at) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        ] {
            assert_eq!(name_server(text), Some(at.parse().unwrap()), "{text}");
        }
        for bad in
            ["", "system", "dns.example.com", "192.0.2.53:0", "192.0.2.53:", "192.0.2", "[192.0.2.53]:53"]
        {
            assert_eq!(name_server(bad), None, "{bad}");
        }
    }

    #[test]
    fn ports_are_numbers_and_ranges() {
        assert_eq!((range("443"), range("8000-9000")), (Some(443..=443), Some(8000..=9000)));
        for bad in ["", "0", "65536", "-1", "+1", "9-8", "1-", "-", "1-2-3", " 443", "https"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
