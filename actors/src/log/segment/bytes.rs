//! Reading and writing the little fields that everything on disk is made of: little-endian integers, varints.

/// Takes fields from the front of a slice; every read answers `None` where the slice ends too early.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// LEB128, at most ten bytes.
    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A varint that counts bytes.
    pub(super) fn length(&mut self) -> Option<usize> {
        self.varint().and_then(|n| usize::try_from(n).ok())
    }
}

/// Appends `value` as LEB128.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// A length inside a segment, which [`super::Options`] keeps below 1 GiB.
pub(super) fn narrow(len: usize) -> u32 {
    debug_assert!(u32::try_from(len).is_ok(), "a segment is smaller than 4 GiB");
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip(value: u64, tail: Vec<u8>) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert!(bytes.len() <= 10);
            bytes.extend(&tail);
            let mut cursor = Cursor(&bytes);
            prop_assert_eq!(cursor.varint(), Some(value));
            prop_assert_eq!(cursor.0, &tail[..]);
        }
    }

    #[test]
    fn varints_that_overflow_or_end_early_are_refused() {
        assert_eq!(Cursor(&[0xff; 10]).varint(), None);
        assert_eq!(Cursor(&[0x80]).varint(), None);
    }
}
