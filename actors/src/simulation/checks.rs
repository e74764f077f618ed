//! What must hold of a seed, from what clients and receivers know and the facts of the log.

use super::{seeds::pipeline_of, traffic::Known, *};
use crate::{
    domain::{
        event::{AttemptId, End, LaneEvent, Next},
        id::PipelineId,
        state::DeliveryCounts,
    },
    log::Position,
};
use std::collections::{BTreeMap, BTreeSet};

/// A delivery, as the facts tell it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) ended: Option<End>,
    pub(super) round: u16,
}

/// The log's facts, by delivery; found by another way than the engine's own fold.
#[derive(Default)]
pub(super) struct History {
    pub(super) deliveries: BTreeMap<(PipelineId, Position), Past>,
    pub(super) events: BTreeMap<Position, (String, String)>,
    started: BTreeSet<String>,
    closed: BTreeSet<String>,
    broken: Vec<String>,
}

impl History {
    pub(super) fn of(log: &MemoryLog) -> Self {
        let mut history = Self::default();
        let durable = log.watermark().get();
        replay::visit(log, Position::START, durable, &mut |position, _, fact| match fact {
            Fact::Accepted(_, accepted) => {
                for route in accepted.routes {
                    let ended = route.skipped.then_some(End::Skipped);
                    history.deliveries.insert((route.pipeline, position), Past { ended, round: 1 });
                }
                history.events.insert(position, (accepted.id.into(), accepted.resource.into()));
            }
            Fact::Lane(pipeline, event) => history.take(&pipeline, event),
            _ => {}
        })
        .unwrap();
        history
    }

    fn take(&mut self, pipeline: &PipelineId, event: LaneEvent) {
        let name = |attempt: AttemptId| {
            let AttemptId { event, round, number, .. } = attempt;
            format!("{pipeline} {event} round {round} attempt {number}")
        };
        match event {
            LaneEvent::AttemptStarted { attempt, step, queue, .. } => {
                let name = format!("{} step {step} {queue:?}", name(attempt));
                if !self.started.insert(name.clone()) {
                    self.broken.push(format!("I27: {name} started twice"));
                }
            }
            LaneEvent::AttemptEnded { attempt, step, queue, verdict, .. }
            | LaneEvent::AttemptAbandoned { attempt, step, queue, verdict, .. } => {
                let name = format!("{} step {step} {queue:?}", name(attempt));
                if !self.closed.insert(name.clone()) || !self.started.contains(&name) {
                    self.broken.push(format!("I27: {name} closed twice, or never started"));
                }
                self.end(pipeline, attempt.event, verdict.next);
            }
            LaneEvent::StepSettled { event, verdict, .. }
            | LaneEvent::DeliveryPoisoned { event, verdict, .. } => self.end(pipeline, event, verdict.next),
            LaneEvent::Redelivered { event, redelivery, .. } => {
                let past = Past { ended: None, round: redelivery.round };
                self.deliveries.insert((pipeline.clone(), event), past);
            }
            LaneEvent::DeliveryCancelled { event, .. } => {
                self.end(pipeline, event, Next::End(End::Cancelled));
            }
            LaneEvent::HeadSkipped { event: Some(event), .. } => {
                self.end(pipeline, event, Next::End(End::Skipped));
            }
            _ => {}
        }
    }

    fn end(&mut self, pipeline: &PipelineId, event: Position, next: Next) {
        if let (Next::End(end), Some(past)) = (next, self.deliveries.get_mut(&(pipeline.clone(), event))) {
            past.ended = Some(end);
        }
    }
}

/// What is broken; after the last life nothing may be pending.
pub(super) fn broken(world: &World, known: &Known, is_last: bool) -> Vec<String> {
    let history = History::of(&world.log);
    let mut broken = history.broken.clone();
    durable(known, &history, &mut broken);
    counted(world, &history, is_last, &mut broken);
    let seen = world.seen();
    delivered(&seen, &history, &mut broken);
    let positions: BTreeMap<_, _> =
        history.events.iter().map(|(at, (id, resource))| (id.as_str(), (*at, resource.as_str()))).collect();
    let mut lanes: BTreeMap<_, Vec<&Seen>> = BTreeMap::new();
    let mut bodies: BTreeMap<_, &Bytes> = BTreeMap::new();
    for one in &seen {
        let Some((_, resource)) = positions.get(one.event.as_str()) else {
            broken.push(format!("I2: a request for {}, which the log does not have", one.event));
            continue;
        };
        lanes.entry((pipeline_of(&one.url), *resource)).or_default().push(one);
        if *bodies.entry((&one.url, &one.event)).or_insert(&one.body) != &one.body {
            broken.push(format!("I16: another body: {one:?}"));
        }
    }
    for lane in lanes.values() {
        in_order(lane, &positions, &mut broken);
        numbered(lane, known, &mut broken);
    }
    for (id, from, to) in pauses(known, world.now) {
        let within = |one: &&Seen| pipeline_of(&one.url) == id && one.start > from && one.start < to;
        broken.extend(seen.iter().find(within).map(|one| format!("I10: while {id} is paused: {one:?}")));
    }
    broken
}

fn pauses(known: &Known, now: Timestamp) -> Vec<(PipelineId, Timestamp, Timestamp)> {
    let open = known.paused.iter().map(|(id, since)| (id.clone(), *since, now));
    known.pauses.iter().cloned().chain(open).collect()
}

/// I1, I3, I4
fn durable(known: &Known, history: &History, broken: &mut Vec<String>) {
    for (id, position) in &known.acknowledged {
        if history.events.get(position).is_none_or(|(found, _)| found != id) {
            broken.push(format!("I1: {id} was acknowledged at {position} and is not there"));
        }
    }
    let ids: BTreeSet<_> = history.events.values().map(|(id, _)| id).collect();
    if ids.len() != history.events.len() {
        broken.push("I3: an id was accepted twice".into());
    }
}

/// I1, I20: by the facts, and by the engine's own counts.
fn counted(world: &World, history: &History, is_last: bool, broken: &mut Vec<String>) {
    let state = world.fold();
    for (id, pipeline) in &state.pipelines {
        let empty = crate::domain::endpoint::Circuits::default();
        let counts = DeliveryCounts::with(pipeline, state.circuits.get(id).unwrap_or(&empty));
        let pasts = || history.deliveries.iter().filter(|((of, _), _)| of == id).map(|(_, past)| past.ended);
        let ended = |end| pasts().filter(|ended| *ended == Some(end)).count() as u64;
        let pending = pasts().filter(Option::is_none).count() as u64;
        let by_facts = [End::Delivered, End::DeadLettered, End::Skipped, End::Cancelled].map(ended);
        let by_counts = [counts.delivered, counts.dead_lettered, counts.skipped, counts.cancelled];
        if by_facts != by_counts {
            broken.push(format!("I20: {id} counts {by_counts:?}, the facts tell {by_facts:?}"));
        }
        let waiting = counts.queued + counts.in_flight + counts.retrying + counts.held;
        if waiting != pending || (is_last && pending > 0) {
            broken.push(format!("I1, I9: {id} has {waiting} pending, the facts tell {pending}"));
        }
    }
}

/// I1: what is delivered was answered 2xx.
fn delivered(seen: &[Seen], history: &History, broken: &mut Vec<String>) {
    for ((pipeline, event), past) in &history.deliveries {
        let (id, _) = &history.events[event];
        let mine = |one: &&Seen| one.event == *id && pipeline_of(&one.url) == *pipeline;
        let answered = |one: &Seen| one.status == 200 && one.end > one.start;
        let any = seen.iter().filter(mine).any(answered);
        if past.ended == Some(End::Delivered) && !any {
            broken.push(format!("I1: {id} counts as delivered to {pipeline}, which never took it"));
        }
    }
}

/// I5, I7: of one lane.
fn in_order(lane: &[&Seen], positions: &BTreeMap<&str, (Position, &str)>, broken: &mut Vec<String>) {
    let mut furthest = Position::START;
    for one in lane {
        let (at, _) = positions[one.event.as_str()];
        if one.round == 1 && at < furthest {
            broken.push(format!("I5: overtaken: {one:?}"));
        }
        if one.round == 1 {
            furthest = furthest.max(at);
        }
    }
    for pair in lane.windows(2) {
        if pair[1].start < pair[0].end {
            broken.push(format!("I7: {:?} overlaps {:?}", pair[0], pair[1]));
        }
    }
}

/// I11, I13, I14: of one lane, by step and round.
fn numbered(lane: &[&Seen], known: &Known, broken: &mut Vec<String>) {
    let mut before: BTreeMap<_, &Seen> = BTreeMap::new();
    for one in lane {
        let Some(last) = before.insert((&one.event, &one.url, one.round), one) else { continue };
        if one.attempt <= last.attempt {
            broken.push(format!("I11: {one:?} follows {last:?}"));
        }
        // A lagging disk stretches what a kill undoes by as long as it lags.
        let until = last.end.plus(Duration::from_secs(4));
        if known.faults.iter().any(|at| *at >= last.start && *at <= until) {
            continue;
        }
        if last.status == 200 {
            broken.push(format!("I13: sent again without a cause: {one:?} after {last:?}"));
        }
        let gap_min = if last.status == 429 { RETRY_AFTER } else { super::seeds::DELAY };
        if one.start.since(last.end) + Duration::from_millis(50) < gap_min {
            broken.push(format!("I14: {one:?} comes too soon after {last:?}"));
        }
    }
}
