//! Looking through text, eight bytes at a time.

/// Bytes that a run of plain text ends at: all below 0x20, `others`, and all from 0x80 on if `beyond_ascii`.
pub(crate) struct Stops<const N: usize> {
    pub(crate) others: [u8; N],
    pub(crate) beyond_ascii: bool,
}

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

impl<const N: usize> Stops<N> {
    /// How many bytes from the front are none of them.
    pub(crate) fn run(&self, bytes: &[u8]) -> usize {
        let (words, rest) = bytes.as_chunks::<8>();
        for (place, word) in words.iter().enumerate() {
            let found = self.find(u64::from_le_bytes(*word));
            if found != 0 {
                return place * 8 + found.trailing_zeros() as usize / 8;
            }
        }
        let mut last = [b' '; 8];
        last[..rest.len()].copy_from_slice(rest);
        let found = self.find(u64::from_le_bytes(last)).trailing_zeros() as usize / 8;
        bytes.len() - rest.len() + found.min(rest.len())
    }

    /// The highest bit of the lowest byte that is one of them. A borrow may set that of bytes above it, too, and of
    /// none below.
    fn find(&self, word: u64) -> u64 {
        let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
        let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let mut found = below(word, 0x20);
        for other in self.others {
            found |= equal(other);
        }
        if self.beyond_ascii {
            found |= word;
        }
        found & HIGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_finds_what_a_look_at_each_byte_finds(
            bytes in proptest::collection::vec(prop_oneof![8 => 0x20..0x7F_u8, 1 => any::<u8>()], 0..100),
            others: [u8; 2],
            beyond_ascii: bool,
        ) {
            let stops = |byte: u8| byte < 0x20 || others.contains(&byte) || beyond_ascii && byte >= 0x80;
            let slow = bytes.iter().take_while(|&&byte| !stops(byte)).count();
            prop_assert_eq!(Stops { others, beyond_ascii }.run(&bytes), slow);
        }

        /// Neighbours that differ by one are what a borrow could confuse.
        #[test]
        fn neighbours_are_told_apart(bytes in proptest::collection::vec(0x1F..0x24_u8, 0..32)) {
            let slow = bytes.iter().take_while(|&&byte| byte >= 0x20 && byte != b'"').count();
            prop_assert_eq!(Stops { others: [b'"', b'"'], beyond_ascii: false }.run(&bytes), slow);
        }
    }
}
