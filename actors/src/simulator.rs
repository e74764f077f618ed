//! Seven days of an engine in a tenth of a second: one thread, one seed, one heap of happenings.
//!
//! ```text
//!   Plan ──> World ── heap ──> clients, operators, trouble ──> Engine ── requests ──> Network ──> answers
//!                                                                │ real log, codec, fold, lanes, breakers
//!                                                                └──> SimulatedDisk: torn, lost, failing, full
//! ```
//! The engine is the pure core with the real log on a simulated disk; actors are left out ([`crate::simulation`] has
//! them). A failure prints the smallest plan that still fails. To run that one alone:
//!
//! ```text
//! SIMULATION_PLAN='seed=7 events=20 days=1 without=clock' SIMULATION_VERBOSE=1 \
//!     cargo test -p ledgerhook-actors simulator::one_plan -- --nocapture
//! ```
//! `SIMULATION_SEEDS` says how many seeds each of the four shares runs, `SIMULATION_SEED` where to begin.

mod configs;
mod engine;
mod invariants;
mod network;
mod plan;
mod world;

use crate::testing::number;
use plan::{Mistake, Plan};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
};
use world::World;

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    trace: u64,
    records: usize,
    requests: usize,
    kills: u64,
}

fn run(plan: &Plan) -> Report {
    let mut world = World::new(plan);
    world.run();
    world.assert_all();
    Report {
        trace: world.trace,
        records: world.placed.len(),
        requests: world.requests.len(),
        kills: world.kills,
    }
}

fn fails(plan: &Plan) -> bool {
    catch_unwind(AssertUnwindSafe(|| run(plan))).is_err()
}

/// Runs a share of the seeds; the first that fails is shrunk and told.
fn run_share(share: u64) {
    let first = number("SIMULATION_SEED", 1_u64);
    let seeds = number("SIMULATION_SEEDS", 500_u64);
    let (mut kills, mut requests) = (0, 0);
    for seed in (first..first + seeds).map(|seed| seed * 4 + share) {
        let plan = Plan::new(seed);
        let Ok(report) = catch_unwind(AssertUnwindSafe(|| run(&plan))) else {
            let smallest = plan.shrink(fails);
            panic!("seed {seed} of commit {}: SIMULATION_PLAN='{smallest}'", commit());
        };
        kills += report.kills;
        requests += report.requests;
    }
    assert!(kills > seeds && requests > 0, "nothing was tried");
}

/// What the failing code was built from.
fn commit() -> String {
    let told = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    told.map_or_else(|_| "unknown".into(), |told| String::from_utf8_lossy(&told.stdout).trim().to_owned())
}

/// I1–I7, I9–I14, I16, I18–I22, I24, I27, CRS.1, CRS.2, CRS.11, CRS.12, CLK.1–CLK.4
#[test]
fn seven_days_lose_nothing_1() {
    run_share(0);
}

#[test]
fn seven_days_lose_nothing_2() {
    run_share(1);
}

#[test]
fn seven_days_lose_nothing_3() {
    run_share(2);
}

#[test]
fn seven_days_lose_nothing_4() {
    run_share(3);
}

/// An engine with a fault in it is found out, each in a few weeks.
#[test]
fn mistakes_are_noticed() {
    use Mistake::{Careless, Deaf, Early, Forgetful, Impatient};
    for mistake in [Early, Forgetful, Impatient, Deaf, Careless] {
        let with = |seed| Plan::new(seed).with(mistake);
        assert!((1..10).map(with).any(|plan| fails(&plan)), "{mistake:?} goes unnoticed");
    }
}

/// A failure can be seen again: the seed is the only thing that a run depends on.
#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in 1..4 {
        let plan = Plan::new(seed);
        assert_eq!(run(&plan), run(&plan));
    }
}

/// What a failure printed, or a quiet week.
#[test]
fn one_plan() {
    let quiet = "seed=1 events=100 days=7 without=kills,power,disk,space,sluggish,clock,network,outages";
    let plan: Plan = std::env::var("SIMULATION_PLAN").as_deref().unwrap_or(quiet).parse().unwrap();
    run(&plan);
}
