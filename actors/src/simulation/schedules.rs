//! Retry schedules from their first attempt to their dead letter, attempt by attempt (§1.9), in one life and over
//! many.

use super::*;
use crate::domain::{
    retry::{Backoff, RetryPolicy},
    state::DeliveryCounts,
    testing::{With, pipeline, step},
};

/// REQUIREMENTS §1.9: profile, and the delays before its attempts in seconds.
const SCHEDULES: [(&str, &[u64]); 5] = [
    ("afftok", &[0, 5, 10, 30, 60, 300, 1_800, 3_600]),
    ("attribution", &[0, 60, 300, 900, 3_600]),
    ("apexmediation", &[0, 2, 4, 8]),
    ("social", &[0, 60, 300, 900, 3_600, 21_600]),
    ("standard", &[0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]),
];

/// What a step of this profile gets that does not say; the preset of its name, if the profile is not built in.
fn policy_of(profile: &str) -> RetryPolicy {
    let preset = RetryPolicy::preset(profile).expect("a preset");
    if let Some(profile) = Profiles::builtin().get(profile) {
        assert_eq!(profile.defaults.retry, preset, "{}", profile.name);
    }
    preset
}

fn with_policy(retry: RetryPolicy) -> PipelineConfig {
    pipeline([step("a").with(|step| step.retry = retry)])
}

/// A world in which nothing is ever delivered.
fn failing(retry: RetryPolicy) -> World {
    World::new("afftok", with_policy(retry), |_| 500)
}

/// From the end of each attempt to the start of the next.
fn gaps(seen: &[Seen]) -> Vec<Duration> {
    let pairs = seen.windows(2);
    pairs.map(|pair| pair[1].start.since(pair[0].end)).collect()
}

/// I14: never early, and no later than a second.
#[track_caller]
fn assert_on_time(profile: &str, seen: &[Seen], delays: &[u64]) {
    let numbers: Vec<_> = seen.iter().map(|seen| usize::from(seen.attempt)).collect();
    assert_eq!(numbers, (1..=delays.len()).collect::<Vec<_>>(), "{profile}");
    for (number, (gap, delay)) in (2..).zip(gaps(seen).iter().zip(&delays[1..])) {
        let delay = Duration::from_secs(*delay);
        assert!(
            (delay..=delay + Duration::from_secs(1)).contains(gap),
            "{profile}: attempt {number} came {gap:?} after the one before, not {delay:?}"
        );
    }
}

fn assert_dead(world: &World) {
    let state = world.fold();
    let counts = DeliveryCounts::of(&state.pipelines[&pipe()]);
    assert_eq!((counts.dead_lettered, state.dead_letters.iter().count()), (1, 1));
}

/// ORD.2, ORD.3, I14: AFF-29, AFF-30, T-12; ATT-21, T-13; APX-35, T-15; SOC-42, SOC-43, T-14.
#[test]
fn every_schedule_runs_to_its_end_attempt_by_attempt() {
    for (profile, delays) in SCHEDULES {
        let mut world = failing(policy_of(profile));
        world.accept("evt_1", "conversion:c1");
        let whole: u64 = delays.iter().sum();
        world.live(Duration::from_secs(whole + 600));
        assert_on_time(profile, &world.seen(), delays);
        assert_dead(&world);
    }
}

/// ORD.3, I21, T-53: due times are instants in the log, so a kill in the middle of every wait moves none of them.
#[test]
fn every_schedule_survives_a_kill_in_the_middle_of_every_wait() {
    for (profile, delays) in SCHEDULES {
        let mut world = failing(policy_of(profile));
        world.accept("evt_1", "conversion:c1");
        let mut half = Duration::ZERO;
        for delay in &delays[1..] {
            // The rest of the wait before, the attempt, and half of the wait behind it.
            let next = Duration::from_millis(*delay * 500);
            world.live(half + Duration::from_millis(40) + next);
            half = next;
        }
        assert_eq!(world.seen().len(), delays.len() - 1, "{profile}");
        world.live(half + Duration::from_mins(1));
        assert_on_time(profile, &world.seen(), delays);
        assert_dead(&world);
    }
}

/// T-12: a crash in the middle of an attempt counts as one, and the schedule goes on from there.
#[test]
fn a_kill_in_the_middle_of_an_attempt_is_one_attempt() {
    let (profile, delays) = SCHEDULES[0];
    let mut world = failing(policy_of(profile));
    world.latency = Duration::from_secs(2);
    world.accept("evt_1", "conversion:c1");
    // Into the third attempt: 2 s, 5 s, 2 s, 10 s and one more.
    world.live(Duration::from_secs(20));
    assert_eq!(world.seen().len(), 3);
    world.live(Duration::from_hours(4));
    let seen = world.seen();
    let numbers: Vec<_> = seen.iter().map(|seen| seen.attempt).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    // Nothing was learnt of the receiver, so the fourth comes at once; the rest by the table.
    assert_on_time(profile, &[&seen[..1], &seen[1..3]].concat(), &delays[..3]);
    let later = gaps(&seen[3..]);
    for (gap, delay) in later.iter().zip(&delays[4..]) {
        assert!(gap.abs_diff(Duration::from_secs(*delay)) <= Duration::from_secs(1), "{later:?}");
    }
    assert_dead(&world);
}

/// ORD.4, AFM-52, AFM-53, AFM-18 … AFM-20
#[test]
fn fixed_and_exponential_policies_follow_their_formula_for_eight_attempts() {
    let fixed = Backoff::Fixed { delay_ms: 7_000 };
    let exponential = Backoff::Exponential { initial_ms: 5_000, max_ms: 100_000 };
    for (backoff, delays) in
        [(fixed, [0, 7, 7, 7, 7, 7, 7, 7]), (exponential, [0, 5, 10, 20, 40, 80, 100, 100])]
    {
        let mut world = failing(RetryPolicy { attempts_max: 8, backoff });
        world.accept("evt_1", "conversion:c1");
        world.live(Duration::from_hours(1));
        assert_on_time("policy", &world.seen(), &delays);
    }
}

/// ORD.4, AFM-54, T-48: in its band for every resource, and different from resource to resource.
#[test]
fn jitter_stays_in_its_band_and_spreads_the_resources() {
    let backoff = Backoff::ExponentialJitter { initial_ms: 5_000, max_ms: 3_600_000, factor: 0.2 };
    let mut world = failing(RetryPolicy { attempts_max: 8, backoff });
    let events: Vec<_> = (0..20).map(|n| (format!("evt_{n}"), format!("conversion:c{n}"))).collect();
    for (id, resource) in &events {
        world.accept(id, resource);
    }
    world.live(Duration::from_mins(5));
    world.live(Duration::from_hours(1));
    let mut firsts = std::collections::BTreeSet::new();
    for (id, _) in &events {
        let seen: Vec<_> = world.seen().into_iter().filter(|seen| seen.event == *id).collect();
        assert_eq!(seen.len(), 8, "{id}");
        let gaps = gaps(&seen);
        firsts.insert(gaps[0]);
        for (gap, delay) in gaps.iter().zip([5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0_f64]) {
            let gap = gap.as_secs_f64();
            assert!((delay * 0.8 - 0.001..=delay * 1.2 + 1.0).contains(&gap), "{id}: {gap} for {delay}");
        }
    }
    assert!(firsts.len() > 10, "twenty resources rolled {} different delays", firsts.len());
}

/// ORD.3: fifty lanes that fail together see the table all the same: the breaker that comes by default leaves
/// them alone.
#[test]
fn fifty_lanes_with_default_settings_keep_the_table() {
    let (profile, delays) = SCHEDULES[0];
    let mut world = failing(policy_of(profile));
    (0..50).for_each(|n| world.accept(&format!("evt_{n}"), &format!("conversion:c{n}")));
    world.live(Duration::from_hours(3));
    for n in 0..50 {
        let id = format!("evt_{n}");
        let seen: Vec<_> = world.seen().into_iter().filter(|seen| seen.event == id).collect();
        assert_on_time(profile, &seen, delays);
    }
    assert!(world.fold().circuits.is_empty());
}
