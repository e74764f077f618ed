//! What must hold of a seed, from what clients and receivers know and the facts of the log.

use super::{history::History, seeds::pipeline_of, traffic::Known, *};
use crate::domain::{event::End, id::PipelineId, state::DeliveryCounts};
use std::collections::{BTreeMap, BTreeSet};

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
        let unknown = |one: &Seen| {
            let (position, _) = positions[one.event.as_str()];
            history.unknown.contains(&(pipeline_of(&one.url), position, one.round, one.attempt))
        };
        in_order(lane, &positions, &mut broken);
        numbered(lane, known, &unknown, &mut broken);
    }
    if is_last {
        recorded(&seen, &history, &positions, &mut broken);
        dead_lettered(world, &seen, &history, &mut broken);
    }
    for (id, from, to) in pauses(known, world.now) {
        // In flight is what the log says has started: its bytes may leave behind the answer to the pause.
        let started = |one: &Seen| {
            let (event, _) = positions.get(one.event.as_str())?;
            history.starts.get(&(id.clone(), *event, one.round, one.attempt)).copied()
        };
        let within = |one: &&Seen| {
            pipeline_of(&one.url) == id && one.start < to && started(one).is_some_and(|at| at > from)
        };
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

/// I12: of a delivery whose attempts all came to their end, each is one request with that answer.
fn recorded(
    seen: &[Seen],
    history: &History,
    positions: &BTreeMap<&str, (Position, &str)>,
    broken: &mut Vec<String>,
) {
    let requests = seen.iter().map(|one| {
        let (event, _) = positions[one.event.as_str()];
        let status = (one.status >= 100).then_some(one.status);
        (pipeline_of(&one.url), event, one.round, one.attempt, status)
    });
    let untouched = |(id, event, ..): &(PipelineId, Position, u16, u16, Option<u16>)| {
        !history.abandoned.contains(&(id.clone(), *event))
    };
    let requests: BTreeSet<_> = requests.filter(untouched).collect();
    let answers: BTreeSet<_> = history.answers.iter().filter(|one| untouched(one)).cloned().collect();
    for one in requests.symmetric_difference(&answers) {
        broken.push(format!("I12: a request without a record, or a record without a request: {one:?}"));
    }
}

/// I18: what lies in the queue is of deliveries that failed, once each, and was not taken in its round.
fn dead_lettered(world: &World, seen: &[Seen], history: &History, broken: &mut Vec<String>) {
    let queue = world.fold().dead_letters;
    let mut of = BTreeSet::new();
    for item in queue.iter() {
        let key = (item.pipeline.clone(), item.event);
        let (id, _) = &history.events[&item.event];
        if !of.insert((key.clone(), item.step)) {
            broken.push(format!("I18: {id} lies twice in the queue of {}", item.pipeline));
        }
        let past = history.deliveries[&key];
        // A delivery that was skipped or cancelled at a later step has the dead letters of its former ones.
        if matches!(past.ended, None | Some(End::Delivered)) {
            broken.push(format!("I18: {item:?} is of {id}, which is not dead: {past:?}"));
        }
        let path = ["/one", "/two"][usize::from(item.step).min(1)];
        let mine = |one: &&Seen| {
            let is_step = !one.url.contains("b.example.com") || one.url.ends_with(path);
            one.event == *id && pipeline_of(&one.url) == item.pipeline && one.round == item.round && is_step
        };
        let taken = seen.iter().filter(mine).find(|one| one.status == 200);
        if let Some(taken) = taken.filter(|_| !history.abandoned.contains(&key)) {
            broken.push(format!("I18: {id} lies in the queue and was taken: {taken:?}"));
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

/// I11, I13, I14: of one lane, by step and round. `unknown` knows the attempts that were abandoned.
fn numbered(lane: &[&Seen], known: &Known, unknown: &dyn Fn(&Seen) -> bool, broken: &mut Vec<String>) {
    let mut before: BTreeMap<_, &Seen> = BTreeMap::new();
    for one in lane {
        let Some(last) = before.insert((&one.event, &one.url, one.round), one) else { continue };
        if one.attempt <= last.attempt {
            broken.push(format!("I11: {one:?} follows {last:?}"));
        }
        // A lagging disk and delays on the way stretch what a kill undoes by as long as they take.
        let stretch = Duration::from_secs(10);
        let until = last.end.plus(stretch);
        // What a worker ordered before it panicked may leave while it is down, and is abandoned when it is back.
        let was_ordered_before = |at: &Timestamp| unknown(last) && last.start.since(*at) <= stretch;
        if known.faults.iter().any(|at| *at <= until && (*at >= last.start || was_ordered_before(at))) {
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
