//! Kills while a snapshot is stored, and flipped bits in those that are there: a start comes to the same state.

use super::*;
use crate::{
    domain::{
        event::{Accepted, Fact, LaneEvent, PipelineEvent, Route},
        testing::{operator, pipe, tenant, tries},
    },
    log::{
        codec,
        disk::simulated::{Fault, SimulatedDisk},
        memory::MemoryLog,
        replay,
    },
    testing::{Dice, number},
};

const DIR: &str = "/snapshots";

/// Forty lanes of one pipeline, with deliveries that wait and deliveries that were called off.
fn story() -> MemoryLog {
    let log = MemoryLog::new();
    let write = |fact: &Fact| {
        codec::append(&log, Timestamp(1), fact, None).unwrap();
    };
    let created = PipelineEvent::PipelineCreated { tenant: tenant(), config: tries(3), by: operator() };
    write(&Fact::Pipeline(pipe(), created));
    for event in 2..=81_u64 {
        let routes = vec![Route { pipeline: pipe(), version: 1, skipped: false }];
        let (id, resource) = (format!("evt_{event}").into(), format!("r{}", event % 40).into());
        let event_type = "conversion.created".into();
        write(&Fact::Accepted(tenant(), Accepted { id, event_type, resource, routes, moment: None }));
    }
    for event in (2..=81).step_by(2) {
        let (resource, by) = (format!("r{}", event % 40).into(), operator());
        write(&Fact::Lane(pipe(), LaneEvent::DeliveryCancelled { event: Position(event), resource, by }));
    }
    log
}

fn fold(log: &MemoryLog, state: State, to: u64) -> State {
    replay::fold(log, state, Position(to)).unwrap()
}

fn snapshot(log: &MemoryLog, to: u64) -> Snapshot {
    Snapshot { state: fold(log, State::default(), to), marks: Marks::default() }
}

/// The state as bytes: nothing of it is left out.
fn bytes(state: &State) -> Vec<u8> {
    postcard::to_stdvec(&state.to_image().unwrap()).unwrap()
}

/// What a start comes to: the newest snapshot that fits, and the tail.
fn started(disk: &SimulatedDisk, log: &MemoryLog) -> (Position, State) {
    let Snapshot { state, .. } = load_on(disk, Path::new(DIR), log).unwrap_or_default();
    (state.position, fold(log, state, log.tail().0))
}

/// CRS.9, I21: rebuilt three times, and from a snapshot at every position, the state is the same byte for byte.
#[test]
fn every_way_to_fold_comes_to_the_same_bytes() {
    let log = story();
    let end = log.tail().0;
    let whole = fold(&log, State::default(), end);
    for _ in 0..3 {
        let again = fold(&log, State::default(), end);
        assert_eq!(bytes(&again), bytes(&whole));
        assert_eq!(again.summary(), whole.summary());
    }
    for at in 1..=end {
        let disk = SimulatedDisk::default();
        store_on(&disk, Path::new(DIR), &log, &snapshot(&log, at)).unwrap();
        let (from, state) = started(&disk, &log);
        assert_eq!((from, bytes(&state)), (Position(at), bytes(&whole)), "with a snapshot at {at}");
    }
}

/// CRS.8: stopped at every operation of storing the third snapshot, by a kill and by power cuts.
#[test]
fn a_snapshot_that_is_cut_short_at_any_step_is_there_whole_or_not_at_all() {
    let log = story();
    let whole = bytes(&fold(&log, State::default(), log.tail().0));
    let before = SimulatedDisk::default();
    for at in [30, 60] {
        store_on(&before, Path::new(DIR), &log, &snapshot(&log, at)).unwrap();
    }
    let calm = before.copy();
    store_on(&calm, Path::new(DIR), &log, &snapshot(&log, 90)).unwrap();
    let operations = calm.operations();
    assert!(operations >= 5 && started(&calm, &log).0 == Position(90));
    for number in 1..=operations {
        for seed in 0..8 {
            let disk = before.copy();
            disk.plan(number, Fault::Stop);
            assert!(store_on(&disk, Path::new(DIR), &log, &snapshot(&log, 90)).is_err());
            disk.mend();
            let mut dice = Dice::new(seed);
            if seed == 0 {
                disk.kill();
            } else {
                disk.cut_power(&mut |below| dice.roll(below));
            }
            let (from, state) = started(&disk, &log);
            assert!([60, 90].contains(&from.0), "operation {number}, seed {seed}: begins at {from}");
            assert_eq!(bytes(&state), whole, "operation {number}, seed {seed}");
        }
    }
}

/// CRS.4, I23: a flip at any place of a snapshot has it dropped; the older one, or the log, stands in.
#[test]
fn a_flipped_bit_in_a_snapshot_changes_nothing() {
    let log = story();
    let whole = bytes(&fold(&log, State::default(), log.tail().0));
    let disk = SimulatedDisk::default();
    let old = store_on(&disk, Path::new(DIR), &log, &snapshot(&log, 60)).unwrap();
    let new = store_on(&disk, Path::new(DIR), &log, &snapshot(&log, 90)).unwrap();
    let length = disk.read(&new).unwrap().len();
    let mut dice = Dice::new(number("DAMAGE_SEED", 1));
    let flips = number("DAMAGE_FLIPS", 2_500_usize) / 5;
    let places = (0..HEAD_LEN).chain((0..flips).map(|_| usize::try_from(dice.roll(length as u64)).unwrap()));
    for at in places.collect::<Vec<_>>() {
        let copy = disk.copy();
        copy.damage(&new, at, |bytes| bytes[0] ^= 1 << (at % 8));
        let (from, state) = started(&copy, &log);
        assert_eq!((from, bytes(&state)), (Position(60), whole.clone()), "byte {at}");
        assert!(copy.read(&new).is_err() && copy.read(&old).is_ok());
        copy.damage(&old, HEAD_LEN + 1, |bytes| bytes[0] ^= 1);
        assert_eq!(started(&copy, &log).0, Position::START);
    }
}

/// UPG.2: a snapshot in a newer format is dropped like any other that does not fit; the log is the truth.
#[test]
fn a_snapshot_of_a_newer_format_is_not_used() {
    let log = story();
    let disk = SimulatedDisk::default();
    let path = store_on(&disk, Path::new(DIR), &log, &snapshot(&log, 60)).unwrap();
    disk.damage(&path, 4, |bytes| bytes[0] = u8::try_from(FORMAT + 1).unwrap());
    let (from, state) = started(&disk, &log);
    assert_eq!(from, Position::START);
    assert_eq!(bytes(&state), bytes(&fold(&log, State::default(), log.tail().0)));
}
