//! The IANA special-purpose address registries, IPv4 and IPv6, as one question: is this address public?
//!
//! IPv4 is public unless listed. IPv6 is public only inside `2000::/3` (all that was ever handed out for global
//! unicast), and there unless listed. What a translator turns into IPv4 is judged by the IPv4 address in it: `NAT64`
//! under the well-known prefix and those that the operator names (`nat64.rs`). All other forms that carry an
//! IPv4 address are never public, whatever is in them: 6to4 and Teredo, which the registry does not call globally
//! reachable and which lead to whoever runs a relay; compatible `::a.b.c.d`; local NAT64 `64:ff9b:1::/48` unless named.
//!
//! Sources: <https://www.iana.org/assignments/iana-ipv4-special-registry>,
//! <https://www.iana.org/assignments/iana-ipv6-special-registry>, RFC 6890, RFC 8215.

use super::nat64::Nat64Prefix;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// First address and prefix length of each IPv4 block that is not public.
#[expect(clippy::ip_constant, reason = "a table of addresses reads best as one")]
const V4_SPECIAL: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),        // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // shared, carrier-grade NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // public by the registry, but Azure's host agent from inside
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local, cloud metadata
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relay anycast, deprecated
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarking
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),      // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),      // reserved, limited broadcast
];

/// First address and prefix length of each block inside `2000::/3` that is not public.
const V6_SPECIAL: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments: Teredo, benchmarking, ORCHID, AMT …
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    SIX_TO_FOUR,
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const TEREDO: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32);
const SIX_TO_FOUR: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);

/// Whether an address is globally routable unicast. `nat64` are the operator's own translators.
pub(super) fn is_public(ip: IpAddr, nat64: &[Nat64Prefix]) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6, nat64),
    }
}

/// The address, and those that lie in it where it wraps others.
pub(super) fn meanings(ip: IpAddr, nat64: &[Nat64Prefix]) -> impl Iterator<Item = IpAddr> {
    let ip = ip.to_canonical();
    let wrapped = match ip {
        IpAddr::V6(v6) => wrapped(v6, nat64),
        IpAddr::V4(_) => Vec::new(),
    };
    std::iter::once(ip).chain(wrapped.into_iter().map(IpAddr::V4))
}

fn wrapped(ip: Ipv6Addr, nat64: &[Nat64Prefix]) -> Vec<Ipv4Addr> {
    let bits = ip.to_bits();
    if within(ip, SIX_TO_FOUR) {
        return vec![embedded(bits >> 80)];
    }
    if within(ip, TEREDO) {
        // RFC 4380 §4: the server's address, and the client's with all bits flipped.
        return vec![embedded(bits >> 64), embedded(!bits)];
    }
    translators(ip, nat64).filter_map(|prefix| prefix.embedded(ip)).collect()
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    !V4_SPECIAL.iter().any(|&(network, bits)| (ip.to_bits() ^ network.to_bits()) >> (32 - bits) == 0)
}

fn is_public_v6(ip: Ipv6Addr, nat64: &[Nat64Prefix]) -> bool {
    let mut translated = translators(ip, nat64).map(|prefix| prefix.embedded(ip)).peekable();
    if translated.peek().is_some() {
        // Prefixes may lie in each other: whichever of them the network takes, the address has to be public.
        return translated.all(|inside| inside.is_some_and(is_public_v4));
    }
    within(ip, GLOBAL_UNICAST) && !V6_SPECIAL.iter().any(|&network| within(ip, network))
}

/// The translators that get what is sent to this address.
fn translators(ip: Ipv6Addr, own: &[Nat64Prefix]) -> impl Iterator<Item = Nat64Prefix> {
    std::iter::once(Nat64Prefix::WELL_KNOWN)
        .chain(own.iter().copied())
        .filter(move |prefix| prefix.covers(ip))
}

fn within(ip: Ipv6Addr, (network, bits): (Ipv6Addr, u32)) -> bool {
    (ip.to_bits() ^ network.to_bits()) >> (128 - bits) == 0
}

/// The IPv4 address in the lowest 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "the lowest 32 bits are what is asked for")]
fn embedded(bits: u128) -> Ipv4Addr {
    Ipv4Addr::from_bits(bits as u32)
}
