//! What every delivery of a pipeline has been through, told by facts alone; small enough to be right by looking at it.

use crate::{
    domain::{
        event::{AttemptId, End, LaneEvent, Next, StepResult, Verdict},
        id::LaneKey,
    },
    log::Position,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// See the module.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) deliveries: BTreeMap<Position, Told>,
    /// Resources that wait for an operator, and the first whose failure they wait for.
    halted: BTreeMap<String, Position>,
    by_key: HashMap<LaneKey, String>,
    /// What is pending, by resource.
    lanes: HashMap<String, BTreeSet<Position>>,
    /// Events of a part that was closed are cancelled as they come.
    closed: Vec<(u16, u16)>,
}

pub(crate) struct Told {
    pub(crate) resource: String,
    pub(crate) round: u16,
    pub(crate) state: Life,
    /// Whether a step of this round has succeeded.
    taken: bool,
    dead: BTreeSet<(u16, u16)>,
    dismissed: bool,
    /// The attempt that was under way when its lane was cancelled: its end is kept for the record.
    orphan: Option<(u16, u16)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Life {
    Pending { number: u16, in_flight: bool, failed: bool },
    Over(End),
}

const FRESH: Life = Life::Pending { number: 0, in_flight: false, failed: false };

impl Told {
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.state, Life::Pending { .. })
    }

    fn has_started(&self) -> bool {
        matches!(self.state, Life::Pending { number, failed, .. } if number > 0 || failed)
    }
}

impl Model {
    pub(crate) fn accept(&mut self, event: Position, resource: &str, skipped: bool) {
        let key = LaneKey::of(resource);
        self.by_key.insert(key, resource.into());
        let closed = self.closed.iter().any(|(part, parts)| key.part(*parts) == *part);
        let state = match (skipped, closed) {
            (true, _) => Life::Over(End::Skipped),
            (false, true) => Life::Over(End::Cancelled),
            (false, false) => FRESH,
        };
        let told = Told {
            resource: resource.into(),
            round: 1,
            state,
            taken: false,
            dead: BTreeSet::new(),
            dismissed: false,
            orphan: None,
        };
        if told.is_pending() {
            self.lanes.entry(resource.into()).or_default().insert(event);
        }
        self.deliveries.insert(event, told);
    }

    pub(crate) fn resource(&self, event: Position) -> String {
        self.deliveries[&event].resource.clone()
    }

    pub(crate) fn pending(&self, resource: &str) -> Vec<Position> {
        self.lanes.get(resource).into_iter().flatten().copied().collect()
    }

    fn over(&mut self, event: Position, end: End) {
        let told = self.deliveries.get_mut(&event).unwrap();
        assert!(told.is_pending(), "{event} ends once");
        told.state = Life::Over(end);
        self.lanes.get_mut(&told.resource).unwrap().remove(&event);
        match end {
            End::Delivered => {
                assert!(told.taken, "{event} is delivered, and no step of its round succeeded (I1)");
                assert!(told.dead.is_empty(), "{event} is delivered and dead (I18)");
            }
            End::DeadLettered => assert!(told.dismissed || !told.dead.is_empty(), "{event} is dead (I18)"),
            End::Skipped | End::Cancelled => {}
        }
    }

    pub(crate) fn check(&mut self, fact: &LaneEvent) {
        match fact {
            LaneEvent::AttemptStarted { attempt, .. } => self.started(*attempt),
            LaneEvent::AttemptEnded { attempt, step, verdict, .. }
            | LaneEvent::AttemptAbandoned { attempt, step, verdict, .. } => {
                let told = self.deliveries.get_mut(&attempt.event).unwrap();
                if told.orphan.take_if(|orphan| *orphan == (attempt.round, attempt.number)).is_some() {
                    return;
                }
                let Life::Pending { number, in_flight, .. } = &mut told.state else { panic!("ended twice") };
                assert!(
                    std::mem::take(in_flight) && *number == attempt.number && told.round == attempt.round
                );
                self.verdict(attempt.event, *step, verdict);
            }
            LaneEvent::StepSettled { event, step, verdict, .. }
            | LaneEvent::DeliveryPoisoned { event, step, verdict, .. } => {
                if let Life::Pending { in_flight, .. } = &mut self.deliveries.get_mut(event).unwrap().state {
                    *in_flight = false;
                }
                self.verdict(*event, *step, verdict);
            }
            LaneEvent::Redelivered { event, redelivery, dead_letter, .. } => {
                let told = self.deliveries.get_mut(event).unwrap();
                assert_eq!((told.state, told.round + 1), (Life::Over(redelivery.was), redelivery.round));
                (told.state, told.round, told.taken) = (FRESH, redelivery.round, false);
                self.lanes.entry(told.resource.clone()).or_default().insert(*event);
                match dead_letter {
                    Some(item) => assert!(told.dead.remove(&(item.step, item.round)), "open before (I18)"),
                    None => told.dead.clear(),
                }
                if self.halted.get(&told.resource) == Some(event) {
                    self.halted.remove(&told.resource);
                }
            }
            LaneEvent::DeadLetterDeleted { event, dead_letter, .. } => {
                let told = self.deliveries.get_mut(event).unwrap();
                told.dismissed = true;
                assert!(told.dead.remove(&(dead_letter.step, dead_letter.round)), "open before (I18)");
            }
            LaneEvent::DeliveryCancelled { event, .. } => self.over(*event, End::Cancelled),
            LaneEvent::HeadSkipped { event, resource, .. } => {
                event.inspect(|event| self.over(*event, End::Skipped));
                self.halted.remove(&**resource);
            }
            LaneEvent::LaneResumed { resource, .. } => assert!(self.halted.remove(&**resource).is_some()),
            LaneEvent::LanesCancelled { part, parts } => {
                self.closed.push((*part, *parts));
                let mine = |told: &Told| LaneKey::of(&told.resource).part(*parts) == *part;
                let gone = self.deliveries.iter().filter(|(_, told)| told.is_pending() && mine(told));
                let gone: Vec<_> = gone.map(|(event, _)| *event).collect();
                for event in gone {
                    let told = self.deliveries.get_mut(&event).unwrap();
                    if let Life::Pending { number, in_flight: true, .. } = told.state {
                        told.orphan = Some((told.round, number));
                    }
                    self.over(event, End::Cancelled);
                }
                self.halted.retain(|resource, _| LaneKey::of(resource).part(*parts) != *part);
            }
        }
    }

    /// I5, I7, I11, I19
    fn started(&mut self, AttemptId { lane, event, round, number }: AttemptId) {
        let resource = self.by_key[&lane].clone();
        assert!(!self.halted.contains_key(&resource), "{resource} waits for an operator");
        let first = !self.deliveries[&event].has_started();
        for other in self.lanes[&resource].iter().filter(|other| **other != event) {
            let started = self.deliveries[other].has_started();
            assert!(!started, "{event} starts while {other} is under way (I5, I7)");
            assert!(!first || *other > event, "{event} starts before {other} (I5, I19)");
        }
        let told = self.deliveries.get_mut(&event).unwrap();
        assert_eq!((&told.resource, told.round), (&resource, round));
        let Life::Pending { number: last, in_flight, .. } = &mut told.state else {
            panic!("{event} is over")
        };
        assert!(!std::mem::replace(in_flight, true), "one in flight (I7)");
        *last += 1;
        assert_eq!(*last, number, "attempts are numbered 1, 2, 3 … (I11)");
    }

    fn verdict(&mut self, event: Position, step: u16, verdict: &Verdict) {
        let told = self.deliveries.get_mut(&event).unwrap();
        if verdict.step.is_some_and(StepResult::is_failure) {
            assert!(told.dead.insert((step, told.round)), "one open item a step (I18)");
            let Life::Pending { failed, .. } = &mut told.state else { panic!("{event} is over") };
            *failed = true;
        }
        told.taken |= verdict.step.is_some_and(StepResult::is_success);
        if verdict.halt {
            self.halted.entry(told.resource.clone()).or_insert(event);
        }
        if let Next::End(end) = verdict.next {
            self.over(event, end);
        }
    }

    pub(crate) fn counts(&self) -> (u64, [u64; 4]) {
        let mut counts = (0, [0; 4]);
        for told in self.deliveries.values() {
            match told.state {
                Life::Pending { .. } => counts.0 += 1,
                Life::Over(End::Delivered) => counts.1[0] += 1,
                Life::Over(End::DeadLettered) => counts.1[1] += 1,
                Life::Over(End::Skipped) => counts.1[2] += 1,
                Life::Over(End::Cancelled) => counts.1[3] += 1,
            }
        }
        counts
    }

    pub(crate) fn open(&self) -> Vec<(Position, u16, u16)> {
        let open = |(event, told): (&Position, &Told)| {
            let event = *event;
            told.dead.clone().into_iter().map(move |(step, round)| (event, step, round))
        };
        self.deliveries.iter().flat_map(open).collect()
    }
}
