//! The deliveries behind the head of a lane, eight bytes each: there may be ten millions of them.
//!
//! ```text
//! 48 bits of position · 16 bits of version      the delivery as it was accepted
//! 48 bits of position · 0xFFFF                  look it up in `aside`: another round, or a version beyond
//! ```

use super::delivery::Waiting;
use crate::log::Position;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor},
};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

/// In place of a version: the delivery is kept aside.
const ASIDE: u64 = 0xFFFF;

/// Waiting deliveries by rising position, at most one of a position.
#[derive(Clone, Default)]
pub struct WaitingLine {
    packed: VecDeque<u64>,
    /// What does not fit in eight bytes. Redeliveries are few, and so are pipelines with 65,535 versions.
    #[expect(clippy::box_collection, reason = "most lanes have none, and pay eight bytes for it")]
    aside: Option<Box<BTreeMap<Position, Waiting>>>,
}

impl WaitingLine {
    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packed.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// Whether the delivery of `event` waits.
    #[must_use]
    pub fn contains(&self, event: Position) -> bool {
        self.place(event).is_ok()
    }

    /// The positions, rising.
    #[must_use]
    pub fn events(&self) -> impl DoubleEndedIterator<Item = Position> + ExactSizeIterator {
        self.packed.iter().map(|&packed| position(packed))
    }

    /// The deliveries, by rising position.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Waiting> + ExactSizeIterator {
        self.packed.iter().map(|&packed| self.unpacked(packed))
    }

    /// Puts a delivery in its place.
    pub(super) fn insert(&mut self, entry: Waiting) {
        let event = entry.event;
        let packed = self.pack(entry);
        // Nearly all come in the order of the log.
        if self.packed.back().is_none_or(|&last| position(last) < event) {
            self.packed.push_back(packed);
        } else {
            let (Ok(place) | Err(place)) = self.place(event);
            self.packed.insert(place, packed);
        }
    }

    /// Takes the first one out. A line that was long gives its memory back as it drains.
    pub(super) fn pop_front(&mut self) -> Option<Waiting> {
        let packed = self.packed.pop_front();
        if self.packed.len() < self.packed.capacity() / 4 {
            self.packed.shrink_to(self.packed.len() * 2);
        }
        packed.map(|packed| self.take(packed))
    }

    /// Takes the delivery of `event` out.
    pub(super) fn remove(&mut self, event: Position) -> Option<Waiting> {
        let place = self.place(event).ok()?;
        let packed = self.packed.remove(place)?;
        Some(self.take(packed))
    }

    /// Room for so many is taken up.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.packed.capacity()
    }

    fn place(&self, event: Position) -> Result<usize, usize> {
        self.packed.binary_search_by_key(&event, |&packed| position(packed))
    }

    fn pack(&mut self, entry: Waiting) -> u64 {
        let (event, version) = (entry.event, u64::from(entry.version));
        debug_assert!(event.0 >> 48 == 0, "a log of 2^48 records fills no disk there is");
        let is_plain = version < ASIDE && entry.redelivery.is_none();
        if !is_plain {
            self.aside.get_or_insert_default().insert(event, entry);
        }
        event.0 << 16 | if is_plain { version } else { ASIDE }
    }

    fn unpacked(&self, packed: u64) -> Waiting {
        let aside = self.aside.as_ref().filter(|_| packed & ASIDE == ASIDE);
        aside.and_then(|aside| aside.get(&position(packed))).cloned().unwrap_or_else(|| plain(packed))
    }

    fn take(&mut self, packed: u64) -> Waiting {
        if packed & ASIDE != ASIDE {
            return plain(packed);
        }
        let entry = self.aside.as_mut().and_then(|aside| aside.remove(&position(packed)));
        self.aside.take_if(|aside| aside.is_empty());
        entry.unwrap_or_else(|| plain(packed))
    }
}

fn position(packed: u64) -> Position {
    Position(packed >> 16)
}

fn plain(packed: u64) -> Waiting {
    let version = u32::try_from(packed & ASIDE).unwrap_or_default();
    Waiting { event: position(packed), version, redelivery: None }
}

impl fmt::Debug for WaitingLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// As the list of the deliveries, however they are kept in memory.
impl Serialize for WaitingLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for WaitingLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = WaitingLine;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of waiting deliveries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<WaitingLine, A::Error> {
                let mut line = WaitingLine::default();
                // As it says, but no more than a damaged length could do harm with.
                line.packed.reserve(list.size_hint().unwrap_or(0).min(1 << 16));
                while let Some(entry) = list.next_element()? {
                    line.insert(entry);
                }
                Ok(line)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{End, Redelivery};
    use proptest::prelude::*;

    fn waiting(event: u64, version: u32, round: u16) -> Waiting {
        let again = || {
            let (only, others_dead, out_of_order) = (false, true, false);
            Box::new(Redelivery { round, step: 1, only, others_dead, out_of_order, was: End::DeadLettered })
        };
        Waiting { event: Position(event), version, redelivery: (round > 1).then(again) }
    }

    /// A position, a version, a round: close together and at the edges of what fits in eight bytes.
    fn any_waiting() -> impl Strategy<Value = Waiting> {
        let event = prop_oneof![1..40_u64, Just((1 << 48) - 1)];
        let version = prop_oneof![1..4_u32, 65_533..65_538_u32, Just(u32::MAX)];
        (event, version, prop_oneof![Just(1), 2..4_u16]).prop_map(|(e, v, r)| waiting(e, v, r))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(Waiting),
        Pop,
        Remove(u64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => any_waiting().prop_map(Step::Insert),
            1 => Just(Step::Pop),
            1 => (1..40_u64).prop_map(Step::Remove),
        ]
    }

    proptest! {
        /// Beside an ordered map: what comes out, in which order, and its stored form.
        #[test]
        fn a_line_is_an_ordered_map(steps in prop::collection::vec(any_step(), 1..80)) {
            let (mut line, mut map) = (WaitingLine::default(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Insert(entry) if map.contains_key(&entry.event) => {}
                    Step::Insert(entry) => {
                        map.insert(entry.event, entry.clone());
                        line.insert(entry);
                    }
                    Step::Pop => prop_assert_eq!(line.pop_front(), map.pop_first().map(|(_, entry)| entry)),
                    Step::Remove(event) => {
                        prop_assert_eq!(line.contains(Position(event)), map.contains_key(&Position(event)));
                        prop_assert_eq!(line.remove(Position(event)), map.remove(&Position(event)));
                    }
                }
                let list: Vec<_> = map.values().cloned().collect();
                prop_assert_eq!((line.len(), line.is_empty()), (list.len(), list.is_empty()));
                prop_assert_eq!(&line.iter().collect::<Vec<_>>(), &list);
                prop_assert!(line.events().eq(map.keys().copied()));
                let aside = line.aside.as_ref().map_or(0, |aside| aside.len());
                let odd = |entry: &&Waiting| entry.version >= 0xFFFF || entry.redelivery.is_some();
                prop_assert_eq!(aside, list.iter().filter(odd).count());
                let stored = postcard::to_stdvec(&line).unwrap();
                prop_assert_eq!(&stored, &postcard::to_stdvec(&list).unwrap());
                let read: WaitingLine = postcard::from_bytes(&stored).unwrap();
                prop_assert_eq!(read.iter().collect::<Vec<_>>(), list);
            }
        }
    }
}
