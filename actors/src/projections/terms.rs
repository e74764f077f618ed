//! Which events belong to a tenant, a pipeline, a resource …: positions behind a term, in log order.
//!
//! Positions that one write brings for the same term share an entry: its key holds the first, its value the
//! distances to the others. A busy pipeline so costs one entry a write and not one an event. Terms that are
//! written out of order ([`Term::failed_of`], [`Term::failed_in`]) have one entry a position.
//!
//! Keys begin with the [`STRETCH`] of the log that they are about, so what is written now lies behind all that
//! was written long ago, and is merged with its own stretch alone: with the term in front, each event's id falls
//! between those of all others, and what one event costs grows with the log (docs/performance.md). A walk asks
//! one stretch after the other.

use super::{
    names::Name,
    store::{StoreError, View},
};
use crate::{domain::id::LaneKey, log::Position};
use fjall::{Guard, Slice};
use std::ops::Range;

/// Positions that share a stretch: some 350,000 events, whose entries are merged in a second. A term that is
/// nowhere costs one look into each stretch. Tests have short ones, to walk over many.
const STRETCH: u64 = if cfg!(test) { 1 << 4 } else { 1 << 20 };

/// What positions are found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Term {
    kind: Kind,
    owner: Name,
    hash: Option<LaneKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Tenant = 1,
    Pipeline,
    Resource,
    EventId,
    FailedOf,
    FailedIn,
}

impl Term {
    /// All events of a tenant.
    pub(super) fn tenant(tenant: Name) -> Self {
        Self { kind: Kind::Tenant, owner: tenant, hash: None }
    }

    /// All events that went to a pipeline.
    pub(super) fn pipeline(pipeline: Name) -> Self {
        Self { kind: Kind::Pipeline, owner: pipeline, hash: None }
    }

    /// A tenant's events about a resource; others may share the hash.
    pub(super) fn resource(tenant: Name, resource: &str) -> Self {
        Self { kind: Kind::Resource, owner: tenant, hash: Some(LaneKey::of(resource)) }
    }

    /// A tenant's event with an id; others may share the hash.
    pub(super) fn event_id(tenant: Name, id: &str) -> Self {
        Self { kind: Kind::EventId, owner: tenant, hash: Some(LaneKey::of(id)) }
    }

    /// A tenant's events of which a delivery was once dead-lettered.
    pub(super) fn failed_of(tenant: Name) -> Self {
        Self { kind: Kind::FailedOf, owner: tenant, hash: None }
    }

    /// The same of one pipeline.
    pub(super) fn failed_in(pipeline: Name) -> Self {
        Self { kind: Kind::FailedIn, owner: pipeline, hash: None }
    }

    /// The key of the entry that begins at `first`: at most 20 bytes, which a slice holds without an allocation.
    pub(super) fn key(self, first: Position) -> Slice {
        let stretch = u32::try_from(first.0 / STRETCH).unwrap_or(u32::MAX);
        let head = ((self.kind as u32) << 28) | self.owner.0;
        let mut key = [0; 20];
        key[..4].copy_from_slice(&stretch.to_be_bytes());
        key[4..8].copy_from_slice(&head.to_be_bytes());
        let mut end = 8;
        if let Some(hash) = self.hash {
            key[end..end + 8].copy_from_slice(&hash.0.to_be_bytes());
            end += 8;
        }
        let within = u32::try_from(first.0 % STRETCH).unwrap_or(0);
        key[end..end + 4].copy_from_slice(&within.to_be_bytes());
        Slice::from(&key[..end + 4])
    }

    fn in_order(self) -> bool {
        !matches!(self.kind, Kind::FailedOf | Kind::FailedIn)
    }
}

/// Entries for sorted pairs of term and position.
pub(super) fn entries(pairs: &[(Term, Position)]) -> impl Iterator<Item = (Slice, Vec<u8>)> {
    let together = |(a, at): &(Term, Position), (b, then): &(Term, Position)| {
        a == b && a.in_order() && at.0 / STRETCH == then.0 / STRETCH
    };
    pairs.chunk_by(together).map(|group| {
        let (term, first) = group[0];
        let distances = group.windows(2).flat_map(|pair| varint(pair[1].1.0 - pair[0].1.0));
        (term.key(first), distances.collect())
    })
}

/// Positions of a term, behind or before a place in the log.
pub(super) struct Walk<'a> {
    view: &'a View<'a>,
    term: Term,
    from: Position,
    to: Position,
    newer: bool,
    /// Stretches that were not looked into yet.
    stretches: Range<u64>,
    entries: Option<fjall::Iter>,
    ready: Vec<Position>,
}

impl<'a> Walk<'a> {
    /// Newest first: positions from `to` down to `from`, both included.
    pub(super) fn down(
        view: &'a View<'a>,
        term: Term,
        from: Position,
        to: Position,
    ) -> Result<Self, StoreError> {
        let to = to.min(view.position()?);
        let stretches = from.0 / STRETCH..to.0 / STRETCH + 1;
        let (entries, ready) = (None, Vec::new());
        Ok(Self { view, term, from, to, newer: false, stretches, entries, ready })
    }

    /// Oldest first: positions from `from` up to `to`, both included.
    pub(super) fn up(
        view: &'a View<'a>,
        term: Term,
        from: Position,
        to: Position,
    ) -> Result<Self, StoreError> {
        Ok(Self { newer: true, ..Self::down(view, term, from, to)? })
    }

    /// Opens the next stretch; false if there is none.
    fn open(&mut self) -> Result<bool, StoreError> {
        let next = if self.newer { self.stretches.next() } else { self.stretches.next_back() };
        let Some(stretch) = next else { return Ok(false) };
        let (begin, end) = (Position(stretch * STRETCH), Position((stretch + 1) * STRETCH - 1));
        let first = if begin < self.from { self.entry_of(begin)? } else { begin };
        self.entries = Some(self.view.term(self.term, first, self.to.min(end)));
        Ok(true)
    }

    /// Where the entry begins that may hold `from`, in the stretch that begins at `begin`.
    fn entry_of(&self, begin: Position) -> Result<Position, StoreError> {
        let last = self.view.term(self.term, begin, self.from).next_back();
        let key = last.map(Guard::key).transpose()?;
        Ok(key.map_or(begin, |key| first_of(&key)))
    }

    fn read(&mut self, entry: Guard) -> Result<(), StoreError> {
        let (key, value) = entry.into_inner()?;
        let mut at = first_of(&key).0;
        self.ready.push(Position(at));
        let mut rest = &value[..];
        while let Some(distance) = take_varint(&mut rest) {
            at += distance;
            self.ready.push(Position(at));
        }
        let (from, to) = (self.from, self.to);
        self.ready.retain(|position| (from..=to).contains(position));
        if self.newer {
            self.ready.reverse();
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Option<Position>, StoreError> {
        loop {
            if let Some(position) = self.ready.pop() {
                return Ok(Some(position));
            }
            let entry = self
                .entries
                .as_mut()
                .and_then(|entries| if self.newer { entries.next() } else { entries.next_back() });
            match entry {
                Some(entry) => self.read(entry)?,
                None if self.open()? => {}
                None => return Ok(None),
            }
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Position, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// The position that a key was made of.
fn first_of(key: &[u8]) -> Position {
    let number = |bytes: Option<&[u8; 4]>| u64::from(bytes.copied().map_or(0, u32::from_be_bytes));
    Position(number(key.first_chunk()) * STRETCH + number(key.last_chunk()))
}

fn varint(mut n: u64) -> impl Iterator<Item = u8> {
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let low = u8::try_from(n & 0x7f).unwrap_or(0);
        n >>= 7;
        done = n == 0;
        Some(if done { low } else { low | 0x80 })
    })
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_read_back_as_they_were_written() {
        let numbers = [0, 1, 127, 128, 300, 1 << 20, u64::MAX];
        let bytes: Vec<u8> = numbers.into_iter().flat_map(varint).collect();
        let mut rest = &bytes[..];
        for n in numbers {
            assert_eq!(take_varint(&mut rest), Some(n));
        }
        assert_eq!(take_varint(&mut rest), None);
    }

    #[test]
    fn keys_of_a_term_sort_by_position_and_fit_a_slice() {
        let term = Term::resource(Name(7), "conversion:c1");
        assert!(term.key(Position(5)) < term.key(Position(6)));
        assert!(term.key(Position(255)) < term.key(Position(256)));
        assert_eq!(term.key(Position(u64::MAX)).len(), 20);
        assert!(
            Term::tenant(Name(8)).key(Position::START) > Term::tenant(Name(7)).key(Position(STRETCH - 1))
        );
    }

    #[test]
    fn what_is_new_lies_behind_all_that_is_old() {
        let (first, last) = (Term::tenant(Name(0)), Term::failed_in(Name(u32::MAX >> 4)));
        assert!(first.key(Position(STRETCH)) > last.key(Position(STRETCH - 1)));
        let pairs = [(first, Position(STRETCH - 1)), (first, Position(STRETCH))];
        assert_eq!(entries(&pairs).count(), 2, "no entry reaches over two stretches");
        assert_eq!(first_of(&first.key(Position(STRETCH + 5))), Position(STRETCH + 5));
    }

    #[test]
    fn positions_of_one_write_share_an_entry_unless_they_come_out_of_order() {
        let (tenant, failed) = (Term::tenant(Name(0)), Term::failed_of(Name(0)));
        let pairs =
            [(tenant, Position(3)), (tenant, Position(9)), (failed, Position(3)), (failed, Position(9))];
        let entries: Vec<_> = entries(&pairs).collect();
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[0], (tenant.key(Position(3)), vec![6]));
    }
}
