//! The first bytes of an answer's body: all of it that is kept.

use bytes::{Bytes, BytesMut};

/// Gathers the beginning of a body, and knows when enough of it was read.
pub(super) struct Excerpt {
    bytes: BytesMut,
    received: usize,
    kept_max: usize,
    read_max: usize,
}

impl Excerpt {
    /// Keeps at most `kept_max` bytes, and wants no more than `read_max`.
    pub(super) fn new(kept_max: usize, read_max: usize) -> Self {
        Self { bytes: BytesMut::new(), received: 0, kept_max, read_max }
    }

    /// Takes a part of the body; `false` if no more of it is wanted.
    pub(super) fn take(&mut self, part: &[u8]) -> bool {
        let room = self.kept_max - self.bytes.len();
        self.bytes.extend_from_slice(&part[..part.len().min(room)]);
        self.received += part.len();
        self.received <= self.read_max
    }

    pub(super) fn freeze(self) -> Bytes {
        self.bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_to_one_bound_and_kept_to_another() {
        let mut excerpt = Excerpt::new(4, 6);
        assert!(excerpt.take(b"abc"));
        assert!(excerpt.take(b"def"));
        assert!(!excerpt.take(b"g"));
        assert_eq!(excerpt.freeze(), "abcd");
    }
}
