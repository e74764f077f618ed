//! Whole lives drawn from a seed: traffic, orders, answers, a lagging disk, panics, delays between actors, and kills.
//!
//! `SIMULATION_ACTOR_SEEDS=10000` runs more of them, `SIMULATION_ACTOR_SEED=17` one alone.

use super::{
    checks::broken,
    traffic::{Known, Traffic},
    *,
};
use crate::{
    domain::{
        event::{LaneEvent, PipelineEvent},
        id::PipelineId,
        retry::{Backoff, RetryPolicy},
        step::{OnExhausted, Status},
        testing::{With, pipeline, step},
    },
    failpoint,
    testing::{Dice, number},
};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// One step, two steps, one step with a failover; each at a host of its own.
pub(super) const PIPELINES: [&str; 3] = ["pipe_a", "pipe_b", "pipe_c"];

/// Between two attempts.
pub(super) const DELAY: Duration = Duration::from_secs(3);

/// Sites that a drawn panic may hit: all that a worker and its attempts pass.
const SITES: [&str; 5] =
    ["attempt.task", "pipeline.timer", "pipeline.started", "pipeline.enqueue", "pipeline.ended"];

/// Whose request it is, by its host.
pub(super) fn pipeline_of(url: &str) -> PipelineId {
    let host = url.trim_start_matches("https://").split('.').next().unwrap();
    PipelineId::new(format!("pipe_{host}"))
}

/// A number that depends on nothing but these words.
fn draw(seed: u64, words: &str) -> u64 {
    let digest = Sha256::digest(format!("{seed} {words}"));
    u64::from_le_bytes(digest[..8].try_into().unwrap())
}

fn world(seed: u64, healthy: &Arc<Mutex<bool>>) -> World {
    let healthy = Arc::clone(healthy);
    let answers = move |one: &Seen| {
        if *healthy.lock() {
            return 200;
        }
        match draw(seed, &format!("{} {} {} {}", one.url, one.event, one.round, one.attempt)) % 10 {
            0..5 => 200,
            5 | 6 => 500,
            7 => 429,
            8 => HANGS,
            _ => RESETS,
        }
    };
    let step = |url: &str, id: &str, order| {
        step(id).with(|step| {
            step.url = format!("https://{url}");
            step.order = order;
            step.timeout_seconds = 5;
            let delay_ms = u64::try_from(DELAY.as_millis()).unwrap();
            step.retry = RetryPolicy { attempts_max: 3, backoff: Backoff::Fixed { delay_ms } };
        })
    };
    let one = pipeline([step("a.example.com/hook", "a", 1)]);
    let mut world = World::new("afftok", one, answers);
    // Ahead of the wall clock, so that the time of a life depends on the lives before it alone.
    world.now = world.now.plus(Duration::from_hours(1));
    let two = pipeline([step("b.example.com/one", "b1", 1), step("b.example.com/two", "b2", 2)]);
    let failover = pipeline([step("c.example.com/hook", "c", 1)])
        .with(|config| config.failover_url = Some("https://c.example.com/failover".into()));
    for (id, config) in [(PIPELINES[1], two), (PIPELINES[2], failover)] {
        let created = PipelineEvent::PipelineCreated { tenant: tenant(), config, by: operator() };
        world.write(&Fact::Pipeline(PipelineId::new(id), created), None);
    }
    world.log.kick();
    world
}

/// What came of a seed.
struct Outcome {
    /// Every request, with its time since the beginning.
    requests: Vec<String>,
    orders: BTreeMap<&'static str, u64>,
    panics: u64,
    acknowledged: usize,
    broken: Vec<String>,
}

fn run(seed: u64) -> Outcome {
    let healthy = Arc::new(Mutex::new(false));
    let mut world = world(seed, &healthy);
    let (begin, known, panics) = (world.now, Arc::<Mutex<Known>>::default(), Arc::new(Mutex::new(0_u64)));
    let mut dice = Dice::new(seed);
    world.latency = Duration::from_millis(5 + dice.roll(200));
    let mut found = Vec::new();
    for life in 0..2 + dice.roll(3) {
        let time = Duration::from_millis(500 + dice.roll(40_000));
        spend(&mut world, (seed, life), time, &known, &panics);
        known.lock().faults.push(world.now);
        // Of what was on its way to the disk, nothing is left.
        world.log.crash();
        found.extend(broken(&world, &known.lock(), false));
        found.extend(unkept(&world, &known.lock()));
    }
    *healthy.lock() = true;
    resume_all(&world, &known);
    world.live(Duration::from_mins(20));
    found.extend(broken(&world, &known.lock(), true));
    let all = world.seen();
    let requests = all.iter().map(|one| {
        let Seen { url, event, round, attempt, status, .. } = one;
        format!("{:?} {url} {event} {round}#{attempt} {status}", one.start.since(begin))
    });
    let (known, panics) = (known.lock(), *panics.lock());
    let (orders, acknowledged) = (known.orders.clone(), known.acknowledged.len());
    Outcome { requests: requests.collect(), orders, panics, acknowledged, broken: found }
}

/// What goes wrong inside of an engine, drawn from the seed.
struct Faults {
    seed: u64,
    life: u64,
    clock: Clock,
    begin: Timestamp,
    passed: BTreeMap<String, u64>,
    known: Arc<Mutex<Known>>,
    panics: Arc<Mutex<u64>>,
}

impl failpoint::script::Script for Faults {
    fn panics(&mut self, site: &str) -> bool {
        let nth = self.passed.entry(site.to_owned()).or_default();
        *nth += 1;
        let panics = SITES.contains(&site)
            && draw(self.seed, &format!("{} {site} {nth}", self.life)).is_multiple_of(25);
        if panics {
            *self.panics.lock() += 1;
            self.known.lock().faults.push(self.clock.now());
        }
        panics
    }

    fn delay(&mut self, site: &str) -> Option<Duration> {
        // By the time and not by the count: how often a task is polled depends on other threads.
        let drawn =
            draw(self.seed, &format!("{} {site} {:?}", self.life, self.clock.now().since(self.begin)));
        drawn.is_multiple_of(10).then(|| Duration::from_millis(1 + drawn / 10 % 800))
    }
}

/// One life with traffic, panics and delays.
fn spend(
    world: &mut World,
    (seed, life): (u64, u64),
    time: Duration,
    known: &Arc<Mutex<Known>>,
    panics: &Arc<Mutex<u64>>,
) {
    let (known, panics, log) = (Arc::clone(known), Arc::clone(panics), Arc::clone(&world.log));
    world.live_with(time, move |running| {
        let (clock, passed) = (running.clock, BTreeMap::new());
        let (begin, told) = (clock.now(), Arc::clone(&known));
        failpoint::script::set(Faults { seed, life, clock, begin, passed, known: told, panics });
        let dice = Dice::new(draw(seed, &format!("traffic {life}")));
        Traffic { running: Rc::new(running), log, known, dice }.run()
    });
}

/// I4: what was acknowledged as paused is paused.
fn unkept(world: &World, known: &Known) -> Vec<String> {
    let state = world.fold();
    let lost = known.paused.keys().filter(|id| state.pipelines[*id].status() != Status::Paused);
    lost.map(|id| format!("I4: {id} was paused")).collect()
}

/// Makes every pipeline active and lets every lane go on, between two lives.
fn resume_all(world: &World, known: &Mutex<Known>) {
    let mut known = known.lock();
    for (id, since) in std::mem::take(&mut known.paused) {
        known.pauses.push((id, since, world.now));
    }
    for (id, pipeline) in world.fold().pipelines {
        let config = PipelineConfig::clone(pipeline.config())
            .with(|config| (config.status, config.on_exhausted) = (Status::Active, OnExhausted::Continue));
        let updated = PipelineEvent::PipelineUpdated { config, by: operator(), rotated: None };
        world.write(&Fact::Pipeline(id.clone(), updated), None);
        let halted = pipeline.mailbox().lanes().filter(|lane| lane.is_halted());
        for resource in halted.map(|lane| lane.resource.clone()).collect::<BTreeSet<_>>() {
            let resumed = LaneEvent::LaneResumed { resource, by: operator() };
            world.write(&Fact::Lane(id.clone(), resumed), None);
        }
    }
    world.log.kick();
}

/// I1 to I5, I7, I10 to I14, I16, I18, I20, I24, I27; of I14 the lower bound, of I2 the ids.
#[test]
fn every_seed_keeps_the_invariants() {
    let alone: Option<u64> = std::env::var("SIMULATION_ACTOR_SEED").ok().and_then(|text| text.parse().ok());
    let seeds: Vec<u64> =
        alone.map_or(0..number("SIMULATION_ACTOR_SEEDS", 300), |seed| seed..seed + 1).collect();
    let (mut orders, mut panics, mut acknowledged) = (BTreeMap::<_, u64>::new(), 0, 0);
    for &seed in &seeds {
        let outcome = run(seed);
        assert!(
            outcome.broken.is_empty(),
            "seed {seed}: run it alone with SIMULATION_ACTOR_SEED={seed}\n{}\n--- requests\n{}",
            outcome.broken.join("\n"),
            outcome.requests.join("\n"),
        );
        outcome.orders.into_iter().for_each(|(order, count)| *orders.entry(order).or_default() += count);
        panics += outcome.panics;
        acknowledged += outcome.acknowledged;
    }
    println!("{acknowledged} events acknowledged, {panics} panics, orders {orders:?}");
    if seeds.len() >= 20 {
        assert!(panics > 0 && acknowledged > 0);
        // Each kind of order was taken at least once, or the test tells nothing about it.
        assert_eq!(orders.len(), 7, "{orders:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_requests() {
    for seed in 0..10 {
        let (one, other) = (run(seed).requests, run(seed).requests);
        let differs = one.iter().zip(&other).position(|(one, other)| one != other);
        assert_eq!(differs.map(|at| (&one[at], &other[at])), None, "seed {seed}");
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}
