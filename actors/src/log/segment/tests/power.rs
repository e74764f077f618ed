//! The log on a simulated disk: power cuts, kills, failing operations, at every step of a life, recoveries included.

use super::{super::stepped, *};
use crate::{
    log::{
        PayloadInfo, Record,
        conformance::T0,
        disk::{
            Disk,
            simulated::{Fault, SimulatedDisk},
        },
    },
    testing::{Dice, number},
};

const FOLDER: &str = "/log";

/// What the outside knows of a log.
#[derive(Default)]
struct World {
    disk: SimulatedDisk,
    /// All that was ever placed, by position; what a crash took is cut off again.
    placed: Vec<(Record, Option<Bytes>)>,
    acknowledged: usize,
    crashes: u32,
}

impl World {
    fn open(&self) -> Result<(SegmentLog, stepped::Stepper, OpenReport), LogError> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        stepped::open(disk, Path::new(FOLDER), Options { segment_size: 6 << 10, ..tiny_options() })
    }

    /// Some appends, some turns of the writer; ends early when the disk does not go on.
    fn work(&mut self, log: &SegmentLog, writer: &mut stepped::Stepper, dice: &mut Dice) {
        for _ in 0..dice.roll(30) {
            let number = self.placed.len() as u64;
            let group: Vec<_> = (0..=dice.roll(3)).map(|n| numbered(number + n)).collect();
            let stream = format!("s/{}", dice.roll(5));
            let Ok(appended) = append_to(log, &stream, &group) else { break };
            let id = StreamId::new(stream);
            for (position, record) in (appended.first.0..).zip(group) {
                let version = appended.version - (appended.last.0 - position);
                let kept = Record {
                    position: Position(position),
                    stream: id.clone(),
                    version,
                    at: T0,
                    kind: record.kind,
                    format: record.format,
                    body: record.body.into(),
                    payload: record.payload.as_ref().map(|payload| PayloadInfo {
                        len: u32::try_from(payload.len()).unwrap(),
                        digest: format::digest(payload),
                    }),
                };
                self.placed.push((kept, record.payload));
            }
            if dice.one_in(3) && writer.step().is_err() {
                break;
            }
            self.acknowledged = index(log.watermark().get());
        }
    }

    /// Ends a life, and looks at what the next one finds.
    fn crash(&mut self, dice: &mut Dice) {
        self.crashes += 1;
        if dice.one_in(3) {
            self.disk.kill();
        } else {
            self.disk.cut_power(&mut |below| dice.roll(below));
        }
    }

    /// Everything that was acknowledged is there, unchanged, and nothing that was never placed.
    fn check(&mut self, log: &SegmentLog, context: &str) {
        let found = contents(log.reader());
        assert!(found.len() >= self.acknowledged, "{context}: {} of {}", found.len(), self.acknowledged);
        assert!(found.len() <= self.placed.len(), "{context}: more than was placed");
        for (found, placed) in found.iter().zip(&self.placed) {
            assert_eq!(found, placed, "{context}");
        }
        self.placed.truncate(found.len());
        self.acknowledged = found.len();
    }
}

fn index(position: Position) -> usize {
    usize::try_from(position.0).unwrap()
}

/// Lives until the log is found whole after some crashes; every one may fall into the recovery from the one before.
fn live(seed: u64) -> u32 {
    let mut dice = Dice::new(seed);
    let mut world = World::default();
    while world.crashes < 8 {
        let context = format!("seed {seed}, crash {}", world.crashes);
        let moment = world.disk.operations() + 1 + dice.roll(60);
        let fault = if dice.one_in(4) { Fault::Error } else { Fault::Stop };
        world.disk.plan(moment, fault);
        match world.open() {
            Ok((log, mut writer, _)) => {
                if !world.disk.is_stopped() {
                    let before = world.acknowledged;
                    world.check(&log, &context);
                    assert!(world.acknowledged >= before);
                    world.work(&log, &mut writer, &mut dice);
                    world.acknowledged = index(log.watermark().get());
                }
            }
            Err(LogError::Io { .. }) => {}
            Err(error) => panic!("{context}: {error}"),
        }
        world.disk.mend();
        world.crash(&mut dice);
        let verified = stepped::verify(Arc::new(world.disk.clone()), Path::new(FOLDER));
        match verified {
            Ok(verified) => assert_eq!(verified.problems, [], "{context}"),
            // A log whose making was cut short.
            Err(error) => assert!(world.acknowledged == 0, "{context}: {error}"),
        }
    }
    let (log, ..) = world.open().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    world.check(&log, &format!("seed {seed}, at the end"));
    world.crashes
}

/// CRS.2, CRS.5, CRS.10: what was acknowledged is there after any crash, also one in the middle of a recovery.
#[test]
fn nothing_acknowledged_is_lost_to_power_cuts_at_any_step() {
    let first = number("SIMULATION_SEED", 1);
    let seeds = number("SIMULATION_LOG_SEEDS", 500);
    let crashes: u32 = (first..first + seeds).map(live).sum();
    assert!(u64::from(crashes) >= seeds * 8);
}

/// CRS.6: while there is no space for another segment, what is queued waits, and goes on when there is.
#[test]
fn a_full_disk_holds_the_writer_up_and_loses_nothing() {
    let mut world = World::default();
    let mut dice = Dice::new(7);
    let (log, mut writer, _) = world.open().unwrap();
    world.disk.set_free(Some(0));
    let mut refused = false;
    for _ in 0..50 {
        world.work(&log, &mut writer, &mut dice);
        refused |= !writer.step().unwrap() && world.acknowledged < world.placed.len();
    }
    assert!(refused, "the disk was never full");
    assert!(!writer.step().unwrap());
    world.disk.set_free(None);
    while writer.step().unwrap() {}
    assert_eq!(index(log.watermark().get()), world.placed.len());
    world.check(&log, "with space again");
}

/// CRS.15: when descriptors run out while a segment ends, at whichever of its files, what is queued waits, goes on when
/// there are some, and an index that could not be written is built by the next start.
#[test]
fn no_descriptor_left_holds_the_writer_up_and_loses_nothing() {
    for opens in 0..3 {
        let mut world = World::default();
        let mut dice = Dice::new(7);
        let (log, mut writer, _) = world.open().unwrap();
        world.disk.set_opens(Some(opens));
        for _ in 0..50 {
            world.work(&log, &mut writer, &mut dice);
            while writer.step().unwrap() {}
            world.acknowledged = index(log.watermark().get());
        }
        assert!(world.acknowledged < world.placed.len(), "{opens}: descriptors never ran out");
        world.disk.set_opens(None);
        while writer.step().unwrap() {}
        assert_eq!(index(log.watermark().get()), world.placed.len());
        world.check(&log, &format!("{opens}: with descriptors again"));
        drop((log, writer));
        world.disk.kill();
        let (log, ..) = world.open().unwrap();
        world.check(&log, &format!("{opens}: at the next start"));
    }
}
