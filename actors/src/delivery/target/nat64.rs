//! IPv6 addresses that a translator turns into IPv4 ones: where the IPv4 address lies in them (RFC 6052 §2.2).
//!
//! ```text
//! bits of the prefix   the IPv4 address, around bits 64 to 71, which are zero
//! 32, 40, 48, 56, 64   right behind the prefix
//! 96                   the last 32 bits
//! ```

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A translator's prefix: `64:ff9b::/96`, or one of an operator's own network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat64Prefix {
    network: Ipv6Addr,
    bits: u32,
}

/// Why a text is no prefix of a translator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no NAT64 prefix: an IPv6 network of 32, 40, 48, 56, 64 or 96 bits, all zero behind them")]
pub struct Nat64PrefixError(String);

impl Nat64Prefix {
    /// The one that everybody may use.
    pub(super) const WELL_KNOWN: Self =
        Self { network: Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), bits: 96 };

    /// Whether the translator gets what is sent to this address.
    pub(super) fn covers(self, ip: Ipv6Addr) -> bool {
        (ip.to_bits() ^ self.network.to_bits()) >> (128 - self.bits) == 0
    }

    /// The IPv4 address in one that is covered; `None` if the octet that has to be zero is not: what a translator
    /// reads then is its own affair.
    pub(super) fn embedded(self, ip: Ipv6Addr) -> Option<Ipv4Addr> {
        let octets = ip.octets();
        let first = self.bits as usize / 8;
        let mut behind = (first..16).filter(|&place| place != 8).map(|place| octets[place]);
        let [a, b, c, d] = [behind.next()?, behind.next()?, behind.next()?, behind.next()?];
        (octets[8] == 0).then(|| Ipv4Addr::new(a, b, c, d))
    }
}

impl FromStr for Nat64Prefix {
    type Err = Nat64PrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (address, bits) = text.split_once('/')?;
            let (network, bits): (Ipv6Addr, u32) = (address.parse().ok()?, bits.parse().ok()?);
            let sound = matches!(bits, 32 | 40 | 48 | 56 | 64 | 96)
                && network.to_bits() << bits == 0
                && network.octets()[8] == 0
                && network.to_ipv4_mapped().is_none();
            sound.then_some(Self { network, bits })
        };
        read().ok_or_else(|| Nat64PrefixError(text.to_owned()))
    }
}

impl fmt::Display for Nat64Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of RFC 6052 §2.4.
    #[test]
    fn the_address_lies_where_the_standard_puts_it() {
        for (prefix, address) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
            ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
        ] {
            let read: Nat64Prefix = prefix.parse().unwrap();
            assert_eq!(read.to_string(), prefix);
            let address = address.parse().unwrap();
            assert!(read.covers(address), "{prefix}");
            assert_eq!(read.embedded(address), Some(Ipv4Addr::new(192, 0, 2, 33)), "{prefix}");
        }
    }

    #[test]
    fn what_lies_behind_the_address_does_not_count_and_the_octet_of_zeros_does() {
        let prefix: Nat64Prefix = "2001:db8:122::/48".parse().unwrap();
        let with_suffix = "2001:db8:122:c000:2:21ff:ffff:ffff".parse().unwrap();
        assert_eq!(prefix.embedded(with_suffix), Some(Ipv4Addr::new(192, 0, 2, 33)));
        assert_eq!(prefix.embedded("2001:db8:122:c000:102:2100::".parse().unwrap()), None);
        assert!(!prefix.covers("2001:db8:123:c000:2:2100::".parse().unwrap()));
    }

    #[test]
    fn a_prefix_has_one_of_six_lengths_and_nothing_behind_it() {
        for text in [
            "",
            "2001:db8::",
            "2001:db8::/33",
            "2001:db8::/95",
            "2001:db8::/128",
            "2001:db8::/0",
            "2001:db8::/x",
            "2001:db8:1::/32",
            "2001:db8:0:0:100::/96",
            "::ffff:0:0/96",
            "192.0.2.0/32",
            "10.0.0.0/96",
        ] {
            assert!(text.parse::<Nat64Prefix>().is_err(), "{text}");
        }
    }
}
