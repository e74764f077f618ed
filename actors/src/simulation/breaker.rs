//! ORD.12 over hours: an endpoint that is down, with lanes that wait for it.

use super::*;
use crate::domain::{
    endpoint::breaker::{BreakerPolicy, BreakerSetting},
    retry::{Backoff, RetryPolicy},
    state::DeliveryCounts,
    step::{Control, PausedReason, Status},
    testing::{With, pipeline, step},
};
use std::collections::BTreeMap;

const POLICY: BreakerPolicy =
    BreakerPolicy { failures: 10, resources: 5, seconds: 10, probe_seconds: 4, probe_seconds_max: 16 };

/// Thirty lanes of two deliveries, each tried up to fifty times, three seconds apart, at a receiver that is down
/// until `up` (in seconds).
fn outage(up: u64) -> (World, Timestamp) {
    let retry = RetryPolicy { attempts_max: 50, backoff: Backoff::Fixed { delay_ms: 3_000 } };
    let config = pipeline([step("a").with(|step| step.retry = retry)]).with(|config| {
        config.control = Control { rate_per_second: None, breaker: BreakerSetting::On(POLICY) };
    });
    let begin = crate::clock::wall();
    let back = begin.plus(Duration::from_secs(up));
    let world = World::new("afftok", config, move |seen| if seen.start < back { 0 } else { 200 });
    for n in 0..60 {
        world.accept(&format!("evt_{n}"), &format!("conversion:c{}", n % 30));
    }
    (world, begin)
}

/// When the breaker opened, by the log.
fn opened(world: &World) -> Timestamp {
    let state = world.fold();
    let (_, circuit) = state.circuits[&pipe()].iter().next().expect("a circuit");
    circuit.opening().expect("it is open").since
}

/// ORD.12: attempts stop, probes go on at the documented pace, and nothing is counted as attempted that was not.
#[test]
fn an_endpoint_that_is_down_sees_one_probe_at_a_time_and_no_lane_loses_attempts() {
    let (mut world, _) = outage(10_000);
    world.live(Duration::from_mins(5));
    let since = opened(&world);
    let probes: Vec<_> = world.seen().into_iter().filter(|seen| seen.start > since).collect();
    let waits: Vec<u64> = probes.windows(2).map(|pair| pair[1].start.since(pair[0].end).as_secs()).collect();
    assert_eq!(probes[0].start.since(since).as_secs(), 4);
    assert_eq!(waits[..3], [8, 16, 16], "{waits:?}");
    assert!(waits[3..].iter().all(|wait| *wait == 16), "{waits:?}");
    // Every attempt that is recorded was a request, and every request an attempt.
    let state = world.fold();
    let pipeline = &state.pipelines[&pipe()];
    let recorded: u64 =
        pipeline.mailbox().lanes().filter_map(|lane| Some(u64::from(lane.head.as_ref()?.number))).sum();
    assert_eq!(recorded, world.seen().len() as u64);
    let counts = DeliveryCounts::with(pipeline, &state.circuits[&pipe()]);
    assert_eq!((counts.held + counts.in_flight, counts.retrying, counts.queued), (60, 0, 0));
}

/// ORD.12, I9: it comes back, and with it every lane, in order, and not all at once.
#[test]
fn lanes_drain_in_order_once_the_endpoint_is_back() {
    let (mut world, begin) = outage(120);
    world.live(Duration::from_mins(4));
    let seen = world.seen();
    let delivered: Vec<_> = seen.iter().filter(|seen| seen.status == 200).collect();
    assert_eq!(delivered.len(), 60);
    let up = begin.plus(Duration::from_mins(2));
    let late = delivered.iter().map(|seen| seen.start.since(up)).max().unwrap();
    assert!(late <= Duration::from_secs(16 + 10), "the longest wait for a probe, and the backlog: {late:?}");
    // The probe goes alone, and two follow it.
    let first = delivered[0];
    assert_eq!(delivered.iter().filter(|seen| seen.start < first.end).count(), 1);
    let second = delivered[1].end;
    assert!(delivered.iter().filter(|seen| seen.start < second).count() <= 3);
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    for seen in &delivered {
        let n: usize = seen.event.trim_start_matches("evt_").parse().unwrap();
        let before = last.insert(n % 30, n);
        assert!(before.is_none_or(|before| before < n), "{} overtook", seen.event);
    }
    assert!(!world.fold().circuits[&pipe()].any_open());
}

/// A restart finds the breaker open, from the log, and goes on with its probes.
#[test]
fn an_open_breaker_survives_a_kill() {
    let (mut world, _) = outage(10_000);
    world.live(Duration::from_mins(1));
    let (since, before) = (opened(&world), world.seen().len());
    world.live(Duration::from_mins(1));
    assert_eq!(opened(&world), since);
    let probes = world.seen().len() - before;
    assert!((3..=5).contains(&probes), "{probes} probes in a minute");
}

/// I14: a lane that fails alone is its own probe: with the strictest breaker its schedule is the documented one.
#[test]
fn the_retry_of_a_lane_that_fails_alone_is_the_probe() {
    let policy = BreakerPolicy { failures: 1, resources: 1, seconds: 0, ..BreakerPolicy::default() };
    let config = pipeline([step("a")]).with(|config| config.control.breaker = BreakerSetting::On(policy));
    let mut world = World::new("afftok", config, |_| 503);
    world.accept("evt_1", "conversion:c1");
    world.live(Duration::from_hours(3));
    let seen = world.seen();
    let gaps: Vec<u64> = seen.windows(2).map(|pair| pair[1].start.since(pair[0].end).as_secs()).collect();
    assert_eq!(gaps, [5, 10, 30, 60, 300, 1_800, 3_600]);
    assert_eq!(world.fold().dead_letters.iter().count(), 1);
}

/// APX-34, T-41: what is over the rate waits, in order, and no attempt is lost on it.
#[test]
fn a_rate_spreads_a_backlog_over_time() {
    let config = pipeline([step("a")]).with(|config| config.control.rate_per_second = Some(100));
    let mut world = World::new("afftok", config, |_| 200);
    (0..1_000).for_each(|n| world.accept(&format!("evt_{n}"), &format!("conversion:c{}", n % 500)));
    let begin = world.now;
    world.live(Duration::from_secs(30));
    let seen = world.seen();
    assert_eq!(seen.len(), 1_000);
    assert!(seen.iter().all(|seen| seen.attempt == 1));
    for (first, from) in seen.iter().enumerate() {
        let within = seen[first..].iter().take_while(|seen| seen.start.since(from.start).as_millis() < 1_000);
        assert!(within.count() <= 200, "the rate and one burst");
    }
    // The bucket of a restart begins empty: a thousand take ten seconds.
    let took = seen.iter().map(|seen| seen.start).max().unwrap().since(begin);
    assert!((9_900..=10_500).contains(&took.as_millis()), "{took:?}");
}

/// RCV.7, T-16: 410 pauses the pipeline; what waits is held, and goes on when it is resumed.
#[test]
fn a_receiver_that_is_gone_pauses_its_pipeline_until_it_is_resumed() {
    let begin = crate::clock::wall();
    let back = begin.plus(Duration::from_hours(1));
    let config = pipeline([step("a")]);
    let gone = move |seen: &Seen| if seen.start < back { 410 } else { 200 };
    let mut world = World::new("afftok", config.clone(), gone);
    (0..4).for_each(|n| world.accept(&format!("evt_{n}"), "conversion:c1"));
    world.live(Duration::from_mins(30));
    assert_eq!(world.seen().len(), 1, "no further attempt");
    let state = world.fold();
    let paused = state.pipelines[&pipe()].config().clone();
    assert_eq!((paused.status, paused.paused_reason), (Status::Paused, Some(PausedReason::Gone)));
    assert_eq!(DeliveryCounts::of(&state.pipelines[&pipe()]).held, 4);
    // A restart changes nothing about it.
    world.live(Duration::from_hours(1));
    assert_eq!(world.seen().len(), 1);
    world.write(
        &Fact::Pipeline(pipe(), PipelineEvent::PipelineUpdated { config, by: operator(), rotated: None }),
        None,
    );
    world.live(Duration::from_mins(1));
    let seen = world.seen();
    let order: Vec<_> = seen.iter().map(|seen| (&*seen.event, seen.attempt)).collect();
    assert_eq!(order, [("evt_0", 1), ("evt_0", 2), ("evt_1", 1), ("evt_2", 1), ("evt_3", 1)]);
}
