//! The ordered lanes of a pipeline: one per resource, of which only the head may be in flight.
//!
//! ```text
//! resource "conversion:c1"   head ── waiting ── waiting      a failing head holds its own lane only
//! resource "conversion:c2"   head                            lanes without work vanish
//! ```
//! `ready` and `due` are indexes over the lanes, rebuilt from them at any time. A lane stands in one of them at
//! most, and `Place` says where, so that it leaves the old one when it enters the new: nothing in them is ever
//! stale. They are no part of the state that is compared, hashed or stored.
//!
//! With n lanes every operation costs O(log n), save two: taking a delivery out of the middle of a lane moves the
//! shorter side of its queue, and looking for a start asks each target that has lanes waiting for room.

use super::{
    delivery::{Head, Phase, Waiting},
    event::Queue,
    id::LaneKey,
    time::Timestamp,
    waiting_line::WaitingLine,
};
use crate::log::Position;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, iter, ops::Bound};

/// One resource's deliveries in the order of acceptance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lane {
    /// Hash of the resource.
    pub key: LaneKey,
    /// What the deliveries are about.
    pub resource: Box<str>,
    /// The one that may be in flight.
    pub head: Option<Head>,
    /// Those behind it, by rising position.
    pub waiting: WaitingLine,
    /// The delivery whose failure stopped the lane until an operator acts.
    pub halted: Option<Position>,
    /// The index that holds it.
    #[serde(skip)]
    place: Place,
}

/// Which index holds a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// None: its head is in flight, or it is halted.
    #[default]
    Nowhere,
    /// `ready`, under this ticket.
    Ready(Target, u64),
    /// `due`.
    Due(Timestamp),
}

impl Lane {
    /// Whether it is stopped until an operator acts.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.halted.is_some()
    }

    /// Deliveries in it, the head included.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.waiting.len() + usize::from(self.head.is_some())
    }
}

/// Where a ready head wants to go; lanes with the same target share a limit of requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Version of the configuration that names the step.
    pub version: u32,
    /// Index of the step in it.
    pub step: u16,
    /// Which address.
    pub queue: Queue,
}

impl Target {
    /// Where a head goes next.
    #[must_use]
    pub fn of(head: &Head) -> Self {
        Self { version: head.entry.version, step: head.step, queue: head.queue }
    }

    /// Where a delivery goes that has not begun.
    #[must_use]
    pub fn first(entry: &Waiting) -> Self {
        let step = entry.redelivery.as_ref().map_or(0, |redelivery| redelivery.step);
        Self { version: entry.version, step, queue: Queue::Primary }
    }
}

/// All lanes of a pipeline, or of one part of it.
#[derive(Clone, Debug, Default)]
pub struct Mailbox {
    lanes: Vec<Option<Lane>>,
    free: Vec<u32>,
    by_key: HashTable<u32>,
    /// Lanes that may start, by target and then by the ticket they drew when they came.
    ready: BTreeSet<(Target, u64, u32)>,
    /// Lanes whose head waits for its retry.
    due: BTreeSet<(Timestamp, u32)>,
    tickets: u64,
    tally: Tally,
}

/// How many deliveries are in which phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Never attempted in their round.
    pub queued: u64,
    /// One attempt under way.
    pub in_flight: u64,
    /// Attempted, and not over.
    pub retrying: u64,
    /// Those of `queued` and `retrying` that stand in a halted lane.
    pub halted: u64,
}

impl Mailbox {
    /// How many deliveries are in which phase.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Number of lanes with work.
    #[must_use]
    pub fn lanes_count(&self) -> usize {
        self.lanes.len() - self.free.len()
    }

    /// All lanes, in no order that means anything.
    pub fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().flatten()
    }

    /// The lane of `resource`.
    #[must_use]
    pub fn lane(&self, resource: &str) -> Option<&Lane> {
        self.find(LaneKey::of(resource), |lane| &*lane.resource == resource).map(|at| self.at(at))
    }

    /// The lane whose head is `event`.
    #[must_use]
    pub fn headed_by(&self, key: LaneKey, event: Position) -> Option<(&Lane, &Head)> {
        let lane = self.find(key, |lane| is_head(lane, event)).map(|at| self.at(at))?;
        Some((lane, lane.head.as_ref()?))
    }

    /// The lane that has waited longest among the targets that have room. A target is asked once, and none after
    /// the first that says yes: whoever answers may take the room with the answer.
    pub fn next_ready(&self, has_room: &mut dyn FnMut(Target) -> bool) -> Option<&Lane> {
        let mut fronts = self.fronts();
        let first = fronts.next()?;
        let Some(second) = fronts.next() else {
            let (target, _, at) = first; // most pipelines have one target, and nothing to sort
            return has_room(target).then(|| self.at(at));
        };
        let mut fronts: Vec<_> = [first, second].into_iter().chain(fronts).collect();
        fronts.sort_unstable_by_key(|(_, ticket, _)| *ticket);
        let (.., at) = fronts.into_iter().find(|(target, ..)| has_room(*target))?;
        Some(self.at(at))
    }

    /// Whether a lane waits for room.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When the next retry is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(when, _)| *when)
    }

    /// Lists heads whose retry is due among the ready ones. Only an index moves; the state stays the same.
    pub fn wake_due(&mut self, now: Timestamp) {
        while let Some(&(when, at)) = self.due.first()
            && when <= now
        {
            let target = self.at(at).head.as_ref().map(Target::of);
            self.put(at, target.map_or(Place::Nowhere, |target| Place::Ready(target, self.tickets)));
        }
    }

    /// Puts a delivery in its place: behind everything older, never before a head that has started (T-31).
    pub(super) fn insert(&mut self, key: LaneKey, resource: &str, entry: Waiting) {
        let at = self.open(key, resource);
        let Some(lane) = &mut self.lanes[at as usize] else { return };
        self.tally.queued += 1;
        self.tally.halted += u64::from(lane.is_halted());
        match &mut lane.head {
            None => lane.head = Some(Head::new(entry)),
            Some(head) if !head.started() && entry.event < head.entry.event => {
                let second = std::mem::replace(head, Head::new(entry));
                lane.waiting.insert(second.entry);
            }
            Some(_) => {
                lane.waiting.insert(entry);
                return;
            }
        }
        self.index(at);
    }

    /// Changes the head that is `event`, if it is one, and sets the indexes right.
    pub(super) fn with_head(&mut self, key: LaneKey, event: Position, change: impl FnOnce(&mut Head)) {
        let Some(at) = self.find(key, |lane| is_head(lane, event)) else { return };
        let Some(lane) = &mut self.lanes[at as usize] else { return };
        let Some(head) = &mut lane.head else { return };
        self.tally.leave(head, lane.halted.is_some());
        change(head);
        if head.phase == Phase::InFlight && lane.halted.take().is_some() {
            // That it starts says that the lane goes on: in logs of earlier versions it did with the retry of any of its
            // dead letters.
            self.tally.halted -= lane.waiting.len() as u64;
        }
        self.tally.enter(head, lane.halted.is_some());
        self.index(at);
    }

    /// Ends the head that is `event`; the next one takes its place, unless the lane halts.
    pub(super) fn pop_head(&mut self, key: LaneKey, event: Position, halt: bool) -> Option<Head> {
        let at = self.find(key, |lane| is_head(lane, event))?;
        let lane = self.lanes[at as usize].as_mut()?;
        let head = lane.head.take()?;
        self.tally.leave(&head, lane.is_halted());
        lane.head = lane.waiting.pop_front().map(Head::new);
        if halt && !lane.is_halted() {
            lane.halted = Some(event);
            self.tally.halted += lane.depth() as u64;
        }
        self.index(at);
        Some(head)
    }

    /// Takes a delivery out of its lane, head or not.
    pub(super) fn remove(&mut self, key: LaneKey, resource: &str, event: Position) -> Option<Waiting> {
        let at = self.find(key, |lane| &*lane.resource == resource)?;
        let lane = self.lanes[at as usize].as_mut()?;
        if is_head(lane, event) {
            return Some(self.pop_head(key, event, false)?.entry);
        }
        let entry = lane.waiting.remove(event)?;
        self.tally.queued -= 1;
        self.tally.halted -= u64::from(lane.is_halted());
        Some(entry)
    }

    /// The delivery that halted the lane, if one did.
    pub(super) fn halted_by(&self, key: LaneKey, resource: &str) -> Option<Position> {
        self.find(key, |lane| &*lane.resource == resource).and_then(|at| self.at(at).halted)
    }

    /// Lets a halted lane go on.
    pub(super) fn resume(&mut self, key: LaneKey, resource: &str) {
        let Some(at) = self.find(key, |lane| &*lane.resource == resource) else { return };
        let Some(lane) = &mut self.lanes[at as usize] else { return };
        if lane.halted.take().is_some() {
            self.tally.halted -= lane.depth() as u64;
            self.index(at);
        }
    }

    /// Empties every lane that `which` picks, and tells of each delivery that went.
    pub(super) fn clear(&mut self, which: impl Fn(LaneKey) -> bool, mut gone: impl FnMut(LaneKey, &Waiting)) {
        for at in 0..u32::try_from(self.lanes.len()).unwrap_or(u32::MAX) {
            let Some(lane) = self.lanes[at as usize].as_ref().filter(|lane| which(lane.key)) else {
                continue;
            };
            let (key, halted, waiting) = (lane.key, lane.is_halted(), lane.waiting.len() as u64);
            if let Some(head) = &lane.head {
                self.tally.leave(head, halted);
                gone(key, &head.entry);
            }
            lane.waiting.iter().for_each(|entry| gone(key, &entry));
            self.tally.queued -= waiting;
            self.tally.halted -= if halted { waiting } else { 0 };
            self.drop_lane(at);
        }
    }

    /// Takes over a whole lane, as when lanes are dealt to parts or read from a snapshot.
    pub(super) fn adopt(&mut self, mut lane: Lane) {
        lane.place = Place::Nowhere;
        if let Some(head) = &lane.head {
            self.tally.enter(head, lane.is_halted());
        }
        let waiting = lane.waiting.len() as u64;
        self.tally.queued += waiting;
        self.tally.halted += if lane.is_halted() { waiting } else { 0 };
        let at = self.add_lane(lane);
        self.index(at);
    }

    /// Gives all lanes away.
    pub(super) fn into_lanes(self) -> impl Iterator<Item = Lane> {
        self.lanes.into_iter().flatten()
    }

    fn at(&self, at: u32) -> &Lane {
        self.lanes[at as usize].as_ref().expect("the index names live lanes only")
    }

    fn find(&self, key: LaneKey, is_it: impl Fn(&Lane) -> bool) -> Option<u32> {
        self.by_key
            .find(key.0, |&at| self.lanes[at as usize].as_ref().is_some_and(|l| l.key == key && is_it(l)))
            .copied()
    }

    fn open(&mut self, key: LaneKey, resource: &str) -> u32 {
        self.find(key, |lane| &*lane.resource == resource).unwrap_or_else(|| {
            let (resource, waiting) = (resource.into(), WaitingLine::default());
            self.add_lane(Lane { key, resource, head: None, waiting, halted: None, place: Place::Nowhere })
        })
    }

    fn add_lane(&mut self, lane: Lane) -> u32 {
        let key = lane.key;
        let at = self.free.pop().unwrap_or_else(|| {
            self.lanes.push(None);
            u32::try_from(self.lanes.len() - 1).expect("fewer than 2^32 lanes")
        });
        self.lanes[at as usize] = Some(lane);
        let lanes = &self.lanes;
        self.by_key.insert_unique(key.0, at, |&other| lanes[other as usize].as_ref().map_or(0, |l| l.key.0));
        at
    }

    fn drop_lane(&mut self, at: u32) {
        self.put(at, Place::Nowhere);
        let Some(lane) = self.lanes[at as usize].take() else { return };
        if let Ok(entry) = self.by_key.find_entry(lane.key.0, |&other| other == at) {
            entry.remove();
        }
        self.free.push(at);
    }

    /// Puts the lane into the index where its head belongs, or drops it when there is nothing left in it.
    fn index(&mut self, at: u32) {
        let lane = self.at(at);
        let place = match &lane.head {
            None if !lane.is_halted() => return self.drop_lane(at),
            Some(head) if !lane.is_halted() => match head.phase {
                Phase::Ready => Place::Ready(Target::of(head), self.tickets),
                Phase::Waiting(when) => Place::Due(when),
                Phase::InFlight => Place::Nowhere,
            },
            _ => Place::Nowhere,
        };
        self.put(at, place);
    }

    /// Moves the lane from one index to the other.
    fn put(&mut self, at: u32, place: Place) {
        let Some(lane) = &mut self.lanes[at as usize] else { return };
        match std::mem::replace(&mut lane.place, place) {
            Place::Ready(target, ticket) => drop(self.ready.remove(&(target, ticket, at))),
            Place::Due(when) => drop(self.due.remove(&(when, at))),
            Place::Nowhere => {}
        }
        match place {
            Place::Ready(target, ticket) => drop(self.ready.insert((target, ticket, at))),
            Place::Due(when) => drop(self.due.insert((when, at))),
            Place::Nowhere => {}
        }
        self.tickets += 1;
    }

    /// The lane that has waited longest for each target.
    fn fronts(&self) -> impl Iterator<Item = (Target, u64, u32)> {
        let last = self.ready.last().map(|(target, ..)| *target);
        iter::successors(self.ready.first().copied(), move |(target, ..)| {
            if Some(*target) == last {
                return None; // most pipelines have one target, and are not searched for another
            }
            let behind = Bound::Excluded((*target, u64::MAX, u32::MAX));
            self.ready.range((behind, Bound::Unbounded)).next().copied()
        })
    }
}

fn is_head(lane: &Lane, event: Position) -> bool {
    lane.head.as_ref().is_some_and(|head| head.entry.event == event)
}

impl Tally {
    fn phase(&mut self, head: &Head) -> &mut u64 {
        match head.phase {
            Phase::InFlight => &mut self.in_flight,
            _ if head.number > 0 => &mut self.retrying,
            _ => &mut self.queued,
        }
    }

    fn enter(&mut self, head: &Head, halted: bool) {
        *self.phase(head) += 1;
        self.halted += u64::from(halted);
    }

    fn leave(&mut self, head: &Head, halted: bool) {
        *self.phase(head) -= 1;
        self.halted -= u64::from(halted);
    }
}

#[cfg(test)]
impl Mailbox {
    /// Compares tally and indexes with what the lanes say.
    ///
    /// # Panics
    /// If they differ.
    pub(crate) fn assert_sound(&self) {
        let mut tally = Tally::default();
        let (mut ready, mut due, mut lanes) = (0, 0, 0);
        for (at, lane) in self.lanes.iter().enumerate().filter_map(|(at, lane)| Some((at, lane.as_ref()?))) {
            let at = u32::try_from(at).unwrap();
            assert!(lane.is_halted() || lane.head.is_some(), "an idle lane vanishes");
            assert!(lane.head.is_some() || lane.waiting.is_empty(), "nothing waits behind nothing");
            let order: Vec<_> = lane.waiting.events().collect();
            assert!(order.is_sorted_by(|a, b| a < b), "{order:?} is in the order of acceptance");
            if let Some(head) = &lane.head {
                assert!(head.started() || order.first().is_none_or(|second| head.entry.event < *second));
                tally.enter(head, lane.is_halted());
            }
            tally.queued += lane.waiting.len() as u64;
            tally.halted += if lane.is_halted() { lane.waiting.len() as u64 } else { 0 };
            assert_eq!(self.find(lane.key, |other| other.resource == lane.resource), Some(at));
            let head = lane.head.as_ref().filter(|_| !lane.is_halted());
            match (lane.place, head.map(|head| (head.phase, Target::of(head)))) {
                (Place::Nowhere, None | Some((Phase::InFlight, _))) => {}
                (Place::Ready(place, ticket), Some((Phase::Ready | Phase::Waiting(_), target))) => {
                    assert!(place == target && self.ready.contains(&(target, ticket, at)));
                    ready += 1;
                }
                (Place::Due(place), Some((Phase::Waiting(when), _))) => {
                    assert!(place == when && self.due.contains(&(when, at)));
                    due += 1;
                }
                other => panic!("lane {} stands in the wrong index: {other:?}", lane.resource),
            }
            lanes += 1;
        }
        assert_eq!((ready, due), (self.ready.len(), self.due.len()), "no index names what is gone");
        assert_eq!((lanes, lanes), (self.lanes_count(), self.by_key.len()));
        assert_eq!(tally, self.tally);
    }
}

#[cfg(test)]
mod tests;
