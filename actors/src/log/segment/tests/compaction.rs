//! Kills in the middle of letting go: expiry, removal and erasure are done, or not done, or done again.

use super::{super::stepped, *};
use crate::{
    domain::time::Timestamp,
    log::disk::simulated::{Fault, SimulatedDisk},
    testing::Dice,
};

const FOLDER: &str = "/log";

fn open(disk: &SimulatedDisk) -> Result<(SegmentLog, stepped::Stepper, OpenReport), LogError> {
    stepped::open(
        Arc::new(disk.clone()),
        Path::new(FOLDER),
        Options { segment_size: 6 << 10, ..tiny_options() },
    )
}

fn compact(log: &SegmentLog) -> Result<(), LogError> {
    log.expire_payloads(Timestamp(u64::MAX), Position(120))?;
    log.erase_payload(Position(130))?;
    log.erase_payload(Position(198))?; // in the segment that is written
    log.remove_below(Position(60)).map(drop)
}

/// CRS.8: stopped at every operation of a compaction, by a kill and by power cuts; the facts above the floor are all
/// there and the chain holds, and the compaction that is asked for again ends as one that was not interrupted.
#[test]
fn a_compaction_that_is_cut_short_at_any_step_loses_nothing() {
    let disk = SimulatedDisk::default();
    let (log, mut writer, _) = open(&disk).unwrap();
    for i in 0..200 {
        append_to(&log, &format!("s/{}", i % 5), &[numbered(i)]).unwrap();
        writer.step().unwrap();
    }
    let all = log.read(Position(1), usize::MAX, usize::MAX).unwrap();
    let hash = log.chain_hash(Position(200)).unwrap();
    drop((log, writer));
    disk.kill();
    let whole = disk.copy();
    let (log, ..) = open(&whole).unwrap();
    let before = whole.operations();
    compact(&log).unwrap();
    let operations = whole.operations() - before;
    let (floor, kept) = (log.floor(), contents(log.reader()));
    assert!(operations > 5 && floor > Position(1), "{operations} operations");

    for number in 1..=operations {
        for power_cut in [false, true] {
            let disk = disk.copy();
            let (log, writer, _) = open(&disk).unwrap();
            disk.plan(disk.operations() + number, Fault::Stop);
            assert!(compact(&log).is_err(), "operation {number}");
            drop((log, writer));
            disk.mend();
            if power_cut {
                let mut dice = Dice::new(number);
                disk.cut_power(&mut |below| dice.roll(below));
            } else {
                disk.kill();
            }
            let (log, ..) = open(&disk).unwrap_or_else(|error| panic!("operation {number}: {error}"));
            let found = log.read(log.floor(), usize::MAX, usize::MAX).unwrap();
            assert_eq!(found[..], all[usize::try_from(log.floor().0).unwrap() - 1..], "operation {number}");
            assert_eq!(log.chain_hash(Position(200)).unwrap(), hash);
            for s in 0..5 {
                assert_eq!(log.stream_version(&stream(&format!("s/{s}"))), 40);
            }
            compact(&log).unwrap();
            assert_eq!((log.floor(), contents(log.reader())), (floor, kept.clone()), "operation {number}");
            drop(log);
            disk.kill();
            let verified = stepped::verify(Arc::new(disk.clone()), Path::new(FOLDER)).unwrap();
            assert_eq!(verified.problems, [], "operation {number}");
        }
    }
}
