//! The IANA special-purpose address registries, IPv4 and IPv6, as one question: is this address public?
//!
//! IPv4 is public unless listed. IPv6 is public only inside `2000::/3` (all that was ever handed out for global
//! unicast), and there unless listed. Forms that carry an IPv4 address are judged by it; the ones that no
//! public network routes (compatible `::a.b.c.d`, local NAT64 `64:ff9b:1::/48`) are never public.
//!
//! Sources: <https://www.iana.org/assignments/iana-ipv4-special-registry>,
//! <https://www.iana.org/assignments/iana-ipv6-special-registry>, RFC 6890, RFC 6052, RFC 8215.

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
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments: benchmarking, ORCHID, AMT …
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const TEREDO: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32);
const SIX_TO_FOUR: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16);
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Whether an address is globally routable unicast.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// The address, and those that lie in it where it wraps others.
pub(super) fn meanings(ip: IpAddr) -> impl Iterator<Item = IpAddr> {
    let ip = ip.to_canonical();
    let wrapped = match ip {
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            match () {
                () if within(v6, NAT64) => [Some(embedded(bits)), None],
                () if within(v6, SIX_TO_FOUR) => [Some(embedded(bits >> 80)), None],
                () if within(v6, TEREDO) => [Some(embedded(bits >> 64)), Some(embedded(!bits))],
                () => [None, None],
            }
        }
        IpAddr::V4(_) => [None, None],
    };
    std::iter::once(ip).chain(wrapped.into_iter().flatten().map(IpAddr::V4))
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    !V4_SPECIAL.iter().any(|&(network, bits)| (ip.to_bits() ^ network.to_bits()) >> (32 - bits) == 0)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let bits = ip.to_bits();
    if within(ip, NAT64) {
        return is_public_v4(embedded(bits));
    }
    if within(ip, SIX_TO_FOUR) {
        return is_public_v4(embedded(bits >> 80));
    }
    if within(ip, TEREDO) {
        // RFC 4380 §4: the server's address, and the client's with all bits flipped.
        return is_public_v4(embedded(bits >> 64)) && is_public_v4(embedded(!bits));
    }
    within(ip, GLOBAL_UNICAST) && !V6_SPECIAL.iter().any(|&network| within(ip, network))
}

fn within(ip: Ipv6Addr, (network, bits): (Ipv6Addr, u32)) -> bool {
    (ip.to_bits() ^ network.to_bits()) >> (128 - bits) == 0
}

/// The IPv4 address in the lowest 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "the lowest 32 bits are what is asked for")]
fn embedded(bits: u128) -> Ipv4Addr {
    Ipv4Addr::from_bits(bits as u32)
}
