//! Which addresses and URLs may be called: the egress policy.
//!
//! Everything here is pure judgement. [`check_url`] judges what an administrator writes, so that what could
//! only fail at send time is refused at once; [`EgressPolicy::check_address`] judges the very address that is
//! about to be dialled, and it alone is the security boundary. Names are resolved elsewhere (`resolve.rs`).

mod nat64;
mod ports;
mod ranges;
mod rule;
mod url;

#[cfg(test)]
mod tests;

pub use self::nat64::{Nat64Prefix, Nat64PrefixError};
pub use self::rule::{EgressRule, EgressRuleError};
pub(super) use self::url::is_hidden;
pub use self::url::{UrlRejection, check_target, check_url};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

/// What may be dialled: public addresses, and what the operator allowed beyond them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    /// Addresses (with a port, or on all ports) that may be dialled although they are not public.
    pub allow: Vec<EgressRule>,
    /// Those that may not, whatever else is said.
    pub deny: Vec<EgressRule>,
    /// Addresses that the engine itself goes by: only what `allow` names may be dialled there (URL.11).
    pub own: Vec<EgressRule>,
    /// Where the engine's own API listens: only a rule that names exactly an address and this port opens it, however much
    /// is allowed else (URL.11).
    pub own_api: Option<SocketAddr>,
    /// Ports that may be called at public addresses; empty takes the built-in rule (`ports.rs`).
    pub ports: Vec<RangeInclusive<u16>>,
    /// Prefixes of the network's own translators: addresses under them are judged by the IPv4 address in them, and not
    /// by themselves.
    pub nat64: Vec<Nat64Prefix>,
    /// Whether `http` URLs are accepted next to `https`.
    pub allow_http: bool,
}

/// An address is not to be dialled. Says no more than that: the answer must not map the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("blocked by egress policy")]
pub struct Blocked;

impl EgressPolicy {
    /// Judges one address, as it is about to be dialled: globally routable unicast on an open port, or allowed
    /// by a rule.
    pub fn check_address(&self, address: SocketAddr) -> Result<(), Blocked> {
        if self.denies(address) {
            return Err(Blocked);
        }
        let open = self.is_public(address) && self.opens(address.port());
        if open || self.allows(address) { Ok(()) } else { Err(Blocked) }
    }

    /// Judges an address that the operator configured himself, the mail server's: globally routable, or allowed by a
    /// rule. The port is his choice.
    pub fn check_host(&self, address: SocketAddr) -> Result<(), Blocked> {
        let open = self.is_public(address) || self.allows(address);
        if open && !self.denies(address) { Ok(()) } else { Err(Blocked) }
    }

    /// Whether webhooks may be sent to this port of a public address.
    fn opens(&self, port: u16) -> bool {
        if self.ports.is_empty() {
            ports::is_open(port)
        } else {
            self.ports.iter().any(|open| open.contains(&port))
        }
    }

    /// Whether a rule takes this address out, by itself or wrapped into another.
    fn denies(&self, address: SocketAddr) -> bool {
        let named = |rules: &[EgressRule]| {
            let meant = |ip| rules.iter().any(|rule| rule.matches(ip, address.port()));
            self.meanings(address.ip()).any(meant)
        };
        named(&self.deny)
            || (named(&self.own) && !self.allows(address))
            || (self.is_own_api(address) && !self.names(address))
    }

    /// Whether this is known to lead to the engine's own API: to the address that it listens on, or to one that means
    /// this machine wherever it stands.
    fn is_own_api(&self, address: SocketAddr) -> bool {
        let Some(api) = self.own_api.filter(|api| api.port() == address.port()) else { return false };
        let (listens_at, on_all) = (api.ip().to_canonical(), api.ip().is_unspecified());
        let leads_there =
            |ip: IpAddr| ip == listens_at || ip.is_unspecified() || (on_all && ip.is_loopback());
        self.meanings(address.ip()).any(leads_there)
    }

    /// Whether a rule names this address and port, and nothing else.
    fn names(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.allow.iter().any(|rule| rule.names(ip, address.port()))
    }

    /// Whether a rule opens this address though it is one of this machine's own. The port that the API has on all of them
    /// is opened by its very name only.
    pub(super) fn opens_home(&self, address: SocketAddr) -> bool {
        let on_all = self.own_api.filter(|api| api.ip().is_unspecified());
        if on_all.is_some_and(|api| api.port() == address.port()) {
            self.names(address)
        } else {
            self.allows(address)
        }
    }

    /// The address, and those that lie in it where it wraps others.
    pub(super) fn meanings(&self, ip: IpAddr) -> impl Iterator<Item = IpAddr> {
        ranges::meanings(ip, &self.nat64)
    }

    /// Whether an operator's rule names this address and port.
    #[must_use]
    pub fn allows(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.allow.iter().any(|rule| rule.matches(ip, address.port()))
    }

    /// Whether a rule opens some loopback address on `port`, so that `localhost` may be meant.
    fn allows_loopback(&self, port: u16) -> bool {
        let localhost = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        let localhost = localhost.map(|ip| SocketAddr::new(ip, port));
        if localhost.iter().any(|&address| self.is_own_api(address)) {
            return localhost.iter().any(|&address| self.check_address(address).is_ok());
        }
        self.allow.iter().any(|rule| rule.covers_port(port) && rule.reaches_loopback())
    }

    /// Whether a rule opens some private, not loopback, address on `port`, so that an internal name may be meant.
    fn allows_internal(&self, port: u16) -> bool {
        let internal = |ip: IpAddr| !ip.is_loopback() && !ranges::is_public(ip, &self.nat64);
        self.allow.iter().any(|rule| rule.covers_port(port) && internal(rule.network()))
    }

    /// Whether an address is globally routable. One with a zone is not, whatever its bits say.
    fn is_public(&self, address: SocketAddr) -> bool {
        let zoned = matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0);
        !zoned && ranges::is_public(address.ip(), &self.nat64)
    }
}
