//! Which events belong to a tenant, a pipeline, a resource …: positions behind a term, in log order.
//!
//! Positions that one write brings for the same term share an entry: its key holds the first, its value the
//! distances to the others. A busy pipeline so costs one entry a write and not one an event. Terms that are
//! written out of order ([`Term::failed_of`], [`Term::failed_in`]) have one entry a position.

use super::{
    names::Name,
    store::{StoreError, View, number},
};
use crate::{domain::id::LaneKey, log::Position};
use fjall::{Guard, Slice};

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
        let head = ((self.kind as u32) << 28) | self.owner.0;
        let mut key = [0; 20];
        key[..4].copy_from_slice(&head.to_be_bytes());
        let mut end = 4;
        if let Some(hash) = self.hash {
            key[end..end + 8].copy_from_slice(&hash.0.to_be_bytes());
            end += 8;
        }
        key[end..end + 8].copy_from_slice(&first.0.to_be_bytes());
        Slice::from(&key[..end + 8])
    }

    fn in_order(self) -> bool {
        !matches!(self.kind, Kind::FailedOf | Kind::FailedIn)
    }
}

/// Entries for sorted pairs of term and position.
pub(super) fn entries(pairs: &[(Term, Position)]) -> impl Iterator<Item = (Slice, Vec<u8>)> {
    pairs.chunk_by(|(a, _), (b, _)| a == b && a.in_order()).map(|group| {
        let (term, first) = group[0];
        let distances = group.windows(2).flat_map(|pair| varint(pair[1].1.0 - pair[0].1.0));
        (term.key(first), distances.collect())
    })
}

/// Positions of a term, behind or before a place in the log.
pub(super) struct Walk {
    entries: fjall::Iter,
    ready: Vec<Position>,
    from: Position,
    to: Position,
    newer: bool,
}

impl Walk {
    /// Newest first: positions from `to` down to `from`, both included.
    pub(super) fn down(
        view: &View<'_>,
        term: Term,
        from: Position,
        to: Position,
    ) -> Result<Self, StoreError> {
        let first = Self::entry_of(view, term, from)?;
        Ok(Self { entries: view.term(term, first, to), ready: Vec::new(), from, to, newer: false })
    }

    /// Oldest first: positions from `from` up to `to`, both included.
    pub(super) fn up(view: &View<'_>, term: Term, from: Position, to: Position) -> Result<Self, StoreError> {
        Ok(Self { newer: true, ..Self::down(view, term, from, to)? })
    }

    /// Where the entry begins that may hold `position`.
    fn entry_of(view: &View<'_>, term: Term, position: Position) -> Result<Position, StoreError> {
        let last = view.term(term, Position::START, position).next_back();
        let key = last.map(Guard::key).transpose()?;
        Ok(Position(key.and_then(|key| number(&key)).unwrap_or(0)))
    }

    fn read(&mut self, entry: Guard) -> Result<(), StoreError> {
        let (key, value) = entry.into_inner()?;
        let mut at = number(&key).unwrap_or(0);
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
}

impl Iterator for Walk {
    type Item = Result<Position, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(position) = self.ready.pop() {
                return Some(Ok(position));
            }
            let entry = if self.newer { self.entries.next() } else { self.entries.next_back() }?;
            if let Err(error) = self.read(entry) {
                return Some(Err(error));
            }
        }
    }
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
        assert!(term.key(Position(255)) < term.key(Position(256)));
        assert_eq!(term.key(Position(u64::MAX)).len(), 20);
        assert!(Term::tenant(Name(8)).key(Position::START) > Term::tenant(Name(7)).key(Position(u64::MAX)));
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
