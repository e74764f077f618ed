//! The ordered lanes of a pipeline: one per resource, of which only the head may be in flight.
//!
//! ```text
//! resource "conversion:c1"   head ── waiting ── waiting      a failing head holds its own lane only
//! resource "conversion:c2"   head                            lanes without work vanish
//! ```
//! `ready` and `due` are indexes over the lanes, rebuilt from them at any time; an entry in them may be stale and
//! is then passed over. They are no part of the state that is compared, hashed or stored.

use super::{
    delivery::{Head, Phase, Waiting},
    event::Queue,
    id::LaneKey,
    time::Timestamp,
};
use crate::log::Position;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// One resource's deliveries in the order of acceptance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Hash of the resource.
    pub key: LaneKey,
    /// What the deliveries are about.
    pub resource: Box<str>,
    /// The one that may be in flight.
    pub head: Option<Head>,
    /// Those behind it, by rising position.
    pub waiting: VecDeque<Waiting>,
    /// Stopped until an operator acts.
    pub halted: bool,
    /// Whether `ready` holds it.
    #[serde(skip)]
    listed: bool,
}

impl Lane {
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

/// All lanes of a pipeline, or of one part of it.
#[derive(Clone, Debug, Default)]
pub struct Mailbox {
    lanes: Vec<Option<Lane>>,
    free: Vec<u32>,
    by_key: HashTable<u32>,
    ready: BTreeMap<Target, VecDeque<u32>>,
    due: BTreeMap<Timestamp, Vec<u32>>,
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

    /// The first lane that may start, by target and then by waiting time, among the targets that have room.
    pub fn next_ready(&self, has_room: &mut dyn FnMut(Target) -> bool) -> Option<&Lane> {
        self.ready.iter().find_map(|(&target, queue)| {
            let lane = queue.iter().find_map(|&at| self.startable(at, target))?;
            has_room(target).then_some(lane)
        })
    }

    /// Targets that have a lane waiting for room.
    pub fn ready_targets(&self) -> impl Iterator<Item = Target> {
        self.ready
            .iter()
            .filter(|(t, q)| q.iter().any(|&at| self.startable(at, **t).is_some()))
            .map(|(t, _)| *t)
    }

    /// When the next retry is due; never too late, possibly too early.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|(at, _)| *at)
    }

    /// Lists heads whose retry is due among the ready ones. Only an index moves; the state stays the same.
    pub fn wake_due(&mut self, now: Timestamp) {
        while let Some(entry) = self.due.first_entry().filter(|entry| *entry.key() <= now) {
            for at in entry.remove() {
                let due = |head: &Head| matches!(head.phase, Phase::Waiting(when) if when <= now);
                if self.lanes[at as usize].as_ref().is_some_and(|lane| lane.head.as_ref().is_some_and(due)) {
                    self.list(at);
                }
            }
        }
    }

    /// Puts a delivery in its place: behind everything older, never before a head that has started (T-31).
    pub(super) fn insert(&mut self, resource: &str, entry: Waiting) {
        let at = self.open(resource);
        let Some(lane) = &mut self.lanes[at as usize] else { return };
        self.tally.queued += 1;
        self.tally.halted += u64::from(lane.halted);
        match &mut lane.head {
            None => {
                lane.head = Some(Head::new(entry));
                self.list(at);
            }
            Some(head) if !head.started() && entry.event < head.entry.event => {
                let second = std::mem::replace(head, Head::new(entry));
                lane.waiting.push_front(second.entry);
                // The new head may want another step; the old listing is stale for it.
                lane.listed = false;
                self.list(at);
            }
            Some(_) => {
                let place = lane.waiting.partition_point(|other| other.event < entry.event);
                lane.waiting.insert(place, entry);
            }
        }
    }

    /// Changes the head that is `event`, if it is one, and sets the indexes right.
    pub(super) fn with_head(&mut self, key: LaneKey, event: Position, change: impl FnOnce(&mut Head)) {
        let Some(at) = self.find(key, |lane| is_head(lane, event)) else { return };
        let Some(lane) = &mut self.lanes[at as usize] else { return };
        let Some(head) = &mut lane.head else { return };
        self.tally.leave(head, lane.halted);
        change(head);
        self.tally.enter(head, lane.halted);
        lane.listed = false;
        match head.phase {
            Phase::Ready => self.list(at),
            Phase::Waiting(when) => self.due.entry(when).or_default().push(at),
            Phase::InFlight => {}
        }
        self.drop_stale();
    }

    /// Ends the head that is `event`; the next one takes its place, unless the lane halts.
    pub(super) fn pop_head(&mut self, key: LaneKey, event: Position, halt: bool) -> Option<Head> {
        let at = self.find(key, |lane| is_head(lane, event))?;
        let lane = self.lanes[at as usize].as_mut()?;
        let head = lane.head.take()?;
        self.tally.leave(&head, lane.halted);
        lane.head = lane.waiting.pop_front().map(Head::new);
        lane.listed = false;
        if halt && !lane.halted {
            lane.halted = true;
            self.tally.halted += lane.depth() as u64;
        }
        self.settle(at);
        Some(head)
    }

    /// Takes a delivery out of its lane, head or not. One in flight stays.
    pub(super) fn remove(&mut self, resource: &str, event: Position) -> bool {
        let key = LaneKey::of(resource);
        let Some(at) = self.find(key, |lane| &*lane.resource == resource) else { return false };
        let Some(lane) = &mut self.lanes[at as usize] else { return false };
        if lane.head.as_ref().is_some_and(|head| head.entry.event == event) {
            return self.pop_head(key, event, false).is_some();
        }
        let Ok(place) = lane.waiting.binary_search_by_key(&event, |entry| entry.event) else { return false };
        lane.waiting.remove(place);
        self.tally.queued -= 1;
        self.tally.halted -= u64::from(lane.halted);
        true
    }

    /// Lets a halted lane go on.
    pub(super) fn resume(&mut self, resource: &str) {
        let Some(at) = self.find(LaneKey::of(resource), |lane| &*lane.resource == resource) else { return };
        let Some(lane) = &mut self.lanes[at as usize] else { return };
        if std::mem::take(&mut lane.halted) {
            self.tally.halted -= lane.depth() as u64;
        }
        self.settle(at);
    }

    /// Empties every lane that `which` picks and answers how many deliveries went.
    pub(super) fn clear(&mut self, which: impl Fn(&Lane) -> bool, mut gone: impl FnMut(&Waiting)) -> u64 {
        let mut count = 0;
        for at in 0..self.lanes.len() {
            let Some(lane) = self.lanes[at].take_if(|lane| which(lane)) else { continue };
            count += lane.depth() as u64;
            if let Some(head) = &lane.head {
                self.tally.leave(head, lane.halted);
                gone(&head.entry);
            }
            self.tally.queued -= lane.waiting.len() as u64;
            self.tally.halted -= if lane.halted { lane.waiting.len() as u64 } else { 0 };
            lane.waiting.iter().for_each(&mut gone);
            self.forget(u32::try_from(at).unwrap_or(u32::MAX), lane.key);
        }
        count
    }

    /// Takes over a whole lane, as when lanes are dealt to parts or read from a snapshot.
    pub(super) fn adopt(&mut self, mut lane: Lane) {
        lane.listed = false;
        let due = lane.head.as_ref().and_then(|head| match head.phase {
            Phase::Waiting(when) => Some(when),
            _ => None,
        });
        if let Some(head) = &lane.head {
            self.tally.enter(head, lane.halted);
        }
        self.tally.queued += lane.waiting.len() as u64;
        self.tally.halted += if lane.halted { lane.waiting.len() as u64 } else { 0 };
        let at = self.place(lane);
        match due {
            Some(when) => self.due.entry(when).or_default().push(at),
            None => self.list(at),
        }
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

    fn open(&mut self, resource: &str) -> u32 {
        let key = LaneKey::of(resource);
        self.find(key, |lane| &*lane.resource == resource).unwrap_or_else(|| {
            let resource = resource.into();
            self.place(Lane {
                key,
                resource,
                head: None,
                waiting: VecDeque::new(),
                halted: false,
                listed: false,
            })
        })
    }

    fn place(&mut self, lane: Lane) -> u32 {
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

    /// Lists the lane as ready, or drops it when there is nothing left in it.
    fn settle(&mut self, at: u32) {
        let Some(lane) = &self.lanes[at as usize] else { return };
        if lane.head.is_some() {
            self.list(at);
        } else if !lane.halted {
            let key = lane.key;
            self.lanes[at as usize] = None;
            self.forget(at, key);
        }
        self.drop_stale();
    }

    fn forget(&mut self, at: u32, key: LaneKey) {
        if let Ok(entry) = self.by_key.find_entry(key.0, |&other| other == at) {
            entry.remove();
        }
        self.free.push(at);
    }

    fn list(&mut self, at: u32) {
        let Some(lane) = &mut self.lanes[at as usize] else { return };
        let Some(head) = &lane.head else { return };
        if lane.halted || lane.listed || head.phase == Phase::InFlight {
            return;
        }
        lane.listed = true;
        let target = Target { version: head.entry.version, step: head.step, queue: head.queue };
        self.ready.entry(target).or_default().push_back(at);
    }

    fn startable(&self, at: u32, target: Target) -> Option<&Lane> {
        let lane = self.lanes[at as usize].as_ref()?;
        let head = lane.head.as_ref()?;
        let same = target == Target { version: head.entry.version, step: head.step, queue: head.queue };
        (lane.listed && !lane.halted && same && head.phase != Phase::InFlight).then_some(lane)
    }

    /// Keeps the front of each queue live, so that looking for the next start stays O(1).
    fn drop_stale(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        ready.retain(|&target, queue| {
            while queue.front().is_some_and(|&at| self.startable(at, target).is_none()) {
                queue.pop_front();
            }
            !queue.is_empty()
        });
        self.ready = ready;
    }
}

fn is_head(lane: &Lane, event: Position) -> bool {
    lane.head.as_ref().is_some_and(|head| head.entry.event == event)
}

impl Tally {
    fn phase(&mut self, head: &Head) -> &mut u64 {
        match head.phase {
            Phase::InFlight => &mut self.in_flight,
            _ if head.started() => &mut self.retrying,
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
