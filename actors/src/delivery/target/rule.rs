//! `ADDR_OR_CIDR[:PORT]`: what an operator allows beyond public addresses, or takes out of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network, and one port of it or all.
///
/// Written `127.0.0.1`, `10.0.0.0/8`, `127.0.0.1/32:9000`, `::1`, `fd00::/8`, `[::1]:9000` or `[fd00::/8]:443`.
/// An IPv4-mapped address means the IPv4 address in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EgressRule {
    network: IpAddr,
    prefix: u8,
    port: Option<u16>,
}

/// Why a rule cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressRuleError {
    /// Neither an IPv4 nor an IPv6 address.
    #[error("`{0}` is not an IP address (an IPv6 address with a port stands in brackets)")]
    Address(String),
    /// The prefix is no number, or longer than the address.
    #[error("`{0}` is not a prefix length for this address")]
    Prefix(String),
    /// The port is not in 1..=65535.
    #[error("`{0}` is not a port")]
    Port(String),
}

impl EgressRule {
    /// Whether the rule names this address (in canonical form) and port.
    #[must_use]
    pub fn matches(&self, ip: IpAddr, port: u16) -> bool {
        self.covers_port(port) && masked(ip, self.prefix) == Some(self.network)
    }

    /// Whether the rule is about this one address (in canonical form) and port, and nothing else.
    pub(super) fn names(&self, ip: IpAddr, port: u16) -> bool {
        self.network == ip && self.prefix == longest_prefix(ip) && self.names_port(port)
    }

    pub(super) fn covers_port(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }

    /// Whether the rule is about this port in particular.
    pub(super) fn names_port(&self, port: u16) -> bool {
        self.port == Some(port)
    }

    /// Whether the network lies in the loopback network, or around it.
    pub(super) fn reaches_loopback(&self) -> bool {
        let inside = |ip: IpAddr| masked(ip, self.prefix) == Some(self.network);
        self.network.is_loopback() || inside(Ipv4Addr::LOCALHOST.into()) || inside(Ipv6Addr::LOCALHOST.into())
    }

    pub(super) fn network(&self) -> IpAddr {
        self.network
    }
}

fn longest_prefix(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The first address of the network of `prefix` bits that `ip` lies in; `None` if there is no such prefix.
fn masked(ip: IpAddr, prefix: u8) -> Option<IpAddr> {
    let prefix = u32::from(prefix);
    Some(match ip {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(prefix).unwrap_or(0);
            Ipv4Addr::from_bits((prefix <= 32).then_some(v4.to_bits() & !host)?).into()
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(prefix).unwrap_or(0);
            Ipv6Addr::from_bits((prefix <= 128).then_some(v6.to_bits() & !host)?).into()
        }
    })
}

impl FromStr for EgressRule {
    type Err = EgressRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (network, port) = split_port(text);
        let port = port.map(parse_port).transpose()?;
        let (address, prefix) = match network.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (network, None),
        };
        let written: IpAddr = address.parse().map_err(|_| EgressRuleError::Address(address.to_owned()))?;
        let ip = written.to_canonical();
        let unmapped: u8 = if ip.is_ipv4() && written.is_ipv6() { 96 } else { 0 };
        let prefix = match prefix {
            None => longest_prefix(ip),
            Some(text) => parse_prefix(text)
                .and_then(|bits| bits.checked_sub(unmapped))
                .ok_or_else(|| EgressRuleError::Prefix(text.to_owned()))?,
        };
        let network = masked(ip, prefix).ok_or_else(|| EgressRuleError::Prefix(prefix.to_string()))?;
        Ok(Self { network, prefix, port })
    }
}

/// Splits `[NETWORK]:PORT`, `[NETWORK]`, `V4:PORT` or a bare network.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if let Some((network, rest)) = text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        return match rest.strip_prefix(':') {
            Some(port) => (network, Some(port)),
            None if rest.is_empty() => (network, None),
            None => (text, None),
        };
    }
    match text.split_once(':') {
        Some((network, port)) if !port.contains(':') => (network, Some(port)),
        _ => (text, None), // no port, or a bare IPv6 address
    }
}

fn parse_port(text: &str) -> Result<u16, EgressRuleError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|&port| digits && port != 0)
        .ok_or_else(|| EgressRuleError::Port(text.to_owned()))
}

fn parse_prefix(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, prefix, port } = self;
        match (network, port) {
            (_, None) => write!(f, "{network}/{prefix}"),
            (IpAddr::V4(_), Some(port)) => write!(f, "{network}/{prefix}:{port}"),
            (IpAddr::V6(_), Some(port)) => write!(f, "[{network}/{prefix}]:{port}"),
        }
    }
}
