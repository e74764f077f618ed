//! The ids of one shard by age, sixteen bytes each: what a table of numbers looks them up in.
//!
//! Entries are numbered as they come, and the number wraps around: a table keeps four bytes for each, not the
//! entry again. They lie in blocks, so that a long ring grows without being copied and shrinks as it ages.

use crate::log::Position;
use std::collections::VecDeque;

/// Entries in a block: 16 KiB.
const BLOCK: usize = 1024;

/// So many that are gone are not worth closing up.
const SMALL: usize = 16;

/// What is kept of an id, packed: 48 bits of its hash, 48 of the position, 32 of the age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    high: u64,
    low: u64,
}

impl Entry {
    /// An id with this `hash`, accepted at `position`, `at` seconds after the epoch.
    ///
    /// The sixteen lowest bits of the hash are dropped; a shard is chosen by them.
    pub(super) fn new(hash: u64, position: Position, at: u32) -> Self {
        debug_assert!(position.0 >> 48 == 0, "a log of 2^48 records fills no disk there is");
        Self { high: hash & !0xFFFF | position.0 >> 32 & 0xFFFF, low: position.0 << 32 | u64::from(at) }
    }

    /// The same as [`table_hash`] of the whole hash.
    pub(super) fn hash(self) -> u64 {
        table_hash(self.high)
    }

    pub(super) fn position(self) -> Position {
        Position((self.high & 0xFFFF) << 32 | self.low >> 32)
    }

    /// In seconds after the epoch.
    pub(super) fn at(self) -> u64 {
        self.low & 0xFFFF_FFFF
    }
}

/// Of an id's hash what is kept of it, and where a table looks: in the lowest bits and the seven highest.
pub(super) fn table_hash(hash: u64) -> u64 {
    hash >> 16 | hash & 0x7F << 57
}

/// Entries by age, the oldest first.
#[derive(Default)]
pub(super) struct Ring {
    /// All are full but the last one.
    blocks: VecDeque<Vec<Entry>>,
    /// How many of the first block are gone.
    gone: usize,
    /// Number of the oldest entry.
    first: u32,
}

impl Ring {
    pub(super) fn len(&self) -> usize {
        let Some(last) = self.blocks.back() else { return 0 };
        (self.blocks.len() - 1) * BLOCK + last.len() - self.gone
    }

    /// The entry with a number that [`Self::push`] gave and no [`Self::pop`] took.
    pub(super) fn get(&self, number: u32) -> Entry {
        let place = self.gone + number.wrapping_sub(self.first) as usize;
        self.blocks[place / BLOCK][place % BLOCK]
    }

    /// The oldest one.
    pub(super) fn oldest(&self) -> Option<Entry> {
        self.blocks.front().and_then(|block| block.get(self.gone)).copied()
    }

    /// Adds an entry behind the others and answers with its number.
    pub(super) fn push(&mut self, entry: Entry) -> u32 {
        let number = self.first.wrapping_add(u32::try_from(self.len()).unwrap_or(u32::MAX));
        match self.blocks.back_mut() {
            Some(last) if last.len() < BLOCK => last.push(entry),
            // A tenant with few ids keeps a small block; who has filled one will fill the next.
            last => {
                let room = if last.is_some() { BLOCK } else { 0 };
                let mut block = Vec::with_capacity(room);
                block.push(entry);
                self.blocks.push_back(block);
            }
        }
        number
    }

    /// Takes the oldest entry out, with its number.
    pub(super) fn pop(&mut self) -> Option<(u32, Entry)> {
        let entry = self.oldest()?;
        let number = self.first;
        self.first = number.wrapping_add(1);
        self.gone += 1;
        if self.gone == self.blocks[0].len() {
            self.blocks.pop_front();
            self.gone = 0;
        } else if self.blocks.len() == 1 && self.gone >= SMALL && self.gone * 2 >= self.blocks[0].len() {
            // A tenant whose few ids come and go would fill its block with nothing but those that went.
            let block = &mut self.blocks[0];
            block.drain(..self.gone);
            block.shrink_to(block.len() * 2);
            self.gone = 0;
        }
        Some((number, entry))
    }
}

#[cfg(test)]
impl Ring {
    /// An empty ring whose first entry gets this number.
    pub(super) fn from(first: u32) -> Self {
        Self { first, ..Self::default() }
    }

    /// Bytes that its blocks take up.
    pub(super) fn heap(&self) -> usize {
        self.blocks.iter().map(|block| block.capacity() * size_of::<Entry>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_sixteen_bytes_and_loses_nothing_but_bits_of_the_hash() {
        assert_eq!(size_of::<Entry>(), 16);
        for position in [1, 0xFFFF_FFFF, 0x1_0000_0000, (1 << 48) - 1] {
            for at in [0, 1_800_000_000, u32::MAX] {
                let entry = Entry::new(0xFEDC_BA98_7654_3210, Position(position), at);
                assert_eq!((entry.position(), entry.at()), (Position(position), u64::from(at)));
                assert_eq!(entry.hash(), table_hash(0xFEDC_BA98_7654_0000));
            }
        }
        let (kept, dropped, highest) = (table_hash(1 << 16), table_hash(1 << 15), table_hash(1 << 57) >> 57);
        assert_eq!((kept, dropped, highest), (1, 0, 1), "a table needs the lowest bits and the highest");
    }

    /// Numbers name their entries wherever the ring is cut, and across the wrap.
    #[test]
    fn numbers_name_their_entries_until_they_are_popped() {
        for first in [0, u32::MAX - 3 * 1024] {
            let mut ring = Ring::from(first);
            let (mut pushed, mut popped) = (0_u64, 0_u64);
            let entry = |n: u64| Entry::new(n << 16, Position(n), 7);
            for round in [10, 1_014, 1, 3_000, 0, 5_000, 1_024] {
                for _ in 0..round {
                    let number = ring.push(entry(pushed));
                    assert_eq!(number, first.wrapping_add(u32::try_from(pushed).unwrap()));
                    pushed += 1;
                }
                for _ in 0..round * 2 / 3 {
                    let number = first.wrapping_add(u32::try_from(popped).unwrap());
                    assert_eq!(ring.pop(), Some((number, entry(popped))));
                    popped += 1;
                }
                assert_eq!(ring.len() as u64, pushed - popped);
                for n in popped..pushed {
                    assert_eq!(ring.get(first.wrapping_add(u32::try_from(n).unwrap())), entry(n));
                }
            }
            while ring.pop().is_some() {}
            assert_eq!((ring.len(), ring.heap(), ring.oldest()), (0, 0, None));
        }
    }

    #[test]
    fn few_ids_that_come_and_go_keep_a_small_block() {
        let mut ring = Ring::default();
        for n in 0..10_000_u64 {
            ring.push(Entry::new(n << 16, Position(n), 7));
            if n >= 5 {
                ring.pop();
            }
            assert!(ring.heap() <= 64 * size_of::<Entry>(), "{} bytes", ring.heap());
        }
    }
}
