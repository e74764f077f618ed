//! Torn tails and flipped bits over every file of a log that has everything in it: what was acknowledged is held,
//! unchanged, or the log is refused by a message that names file and byte.

use super::{super::stepped, *};
use crate::{
    domain::time::Timestamp,
    log::{
        Record,
        disk::{Disk, simulated::SimulatedDisk},
    },
    testing::{Dice, number},
};
use std::{collections::HashMap, path::PathBuf};

const FOLDER: &str = "/log";
/// "The last 4 KiB" of the requirements.
const TAIL: usize = 4 << 10;

type Contents = Vec<(Record, Option<Bytes>)>;

/// A log as a kill left it, and what was acknowledged before.
struct Scene {
    disk: SimulatedDisk,
    acknowledged: Contents,
    /// The segment that was being written, and where facts end and payloads begin in it.
    last: PathBuf,
    front: usize,
    back: usize,
}

fn options() -> Options {
    Options { segment_size: 16 << 10, batch_facts: 300, ..tiny_options() }
}

fn open(disk: &SimulatedDisk) -> Result<(SegmentLog, stepped::Stepper, OpenReport), LogError> {
    stepped::open(Arc::new(disk.clone()), Path::new(FOLDER), options())
}

fn write(log: &SegmentLog, writer: &mut stepped::Stepper, count: u64) {
    let from = log.tail().0;
    for i in from..from + count {
        append_to(log, &format!("s/{}", i % 5), &[numbered(i)]).unwrap();
        if i % 4 == 0 {
            writer.step().unwrap();
        }
    }
    while writer.step().unwrap() {}
}

impl Scene {
    /// Sealed segments with and without payloads, an anchor, an erased payload, indexes, and at the end a segment
    /// that is being written, more than [`TAIL`] of it facts.
    fn new() -> Self {
        let disk = SimulatedDisk::default();
        let (log, mut writer, _) = open(&disk).unwrap();
        write(&log, &mut writer, 500);
        log.expire_payloads(Timestamp(u64::MAX), Position(380)).unwrap();
        assert!(log.erase_payload(Position(400)).unwrap());
        assert!(log.remove_below(Position(250)).unwrap() > Position(1));
        let end =
            |log: &SegmentLog| usize::try_from(log.reader.segments.read().last().unwrap().front()).unwrap();
        while !(TAIL + 1700..TAIL + 2400).contains(&end(&log)) {
            write(&log, &mut writer, 1);
        }
        let last = log.reader.segments.read().last().unwrap().path.clone();
        let back = log.reader.find(log.tail(), |_, envelope, _| Ok(envelope.payload_start)).unwrap();
        let (front, back) = (end(&log), usize::try_from(back).unwrap());
        let acknowledged = contents(log.reader());
        disk.kill();
        Self { disk: disk.copy(), acknowledged, last, front, back }
    }

    /// With the mark as it was when everything before `next` was on disk, and the rest was not known to be.
    fn marked_before(&self, next: u64) -> SimulatedDisk {
        let disk = self.disk.copy();
        let folder = Folder::on(FOLDER, Arc::new(disk.clone()));
        let file = folder.open(&self.last, crate::log::disk::Access::Write).unwrap();
        let first = self.last.file_stem().and_then(|name| name.to_str()).unwrap().parse().unwrap();
        let (header, mark) = handle::read_header(&*file, &self.last, (None, first)).unwrap();
        let mut end = recovery::End::of(&header);
        let source = walk::Source { file: &*file, path: &self.last, seed: header.seed() };
        let mut walk = source.walk(format::BATCHES_AT..mark.unwrap().front, walk::AHEAD);
        while let Some((offset, batch)) = walk.next().unwrap() {
            if batch.next() > next {
                break;
            }
            let format::Envelope { len, payload_start, hash, .. } = batch.envelope;
            end = recovery::End { front: offset + len, back: payload_start, hash, next: batch.next(), ..end };
        }
        file.write_all_at(&end.mark(false).encode(header.seed()), format::MARK_AT).unwrap();
        disk
    }

    /// What was acknowledged of the segment that was being written.
    fn recent(&self) -> &[(Record, Option<Bytes>)] {
        let first = self.last.file_stem().and_then(|name| name.to_str()).unwrap().parse().unwrap();
        let at = self.acknowledged.partition_point(|(record, _)| record.position.0 < first);
        &self.acknowledged[at..]
    }

    /// Whole batches of the last segment: where each ends, where its payloads begin, the position behind it.
    fn batches(&self) -> Vec<(usize, usize, u64)> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let reader = SegmentReader::view(Folder::on(FOLDER, disk)).unwrap();
        let segment = reader.segments.read().last().unwrap().clone();
        let file = reader.file(&segment).unwrap();
        let mut walk = segment.walk(&*file, format::BATCHES_AT, walk::AHEAD);
        let mut batches = Vec::new();
        while let Some((offset, batch)) = walk.next().unwrap() {
            let end = usize::try_from(offset + batch.envelope.len).unwrap();
            batches.push((end, usize::try_from(batch.envelope.payload_start).unwrap(), batch.next()));
        }
        batches
    }
}

/// All that can be asked of a log.
fn everything(log: &SegmentLog) -> Result<Contents, LogError> {
    let mut streams: HashMap<StreamId, Vec<Record>> = HashMap::new();
    let mut found = Vec::new();
    for record in log.read(log.floor(), usize::MAX, usize::MAX)? {
        if record.position.0.is_multiple_of(16) {
            assert_eq!(log.read_at(record.position)?, record);
        }
        streams.entry(record.stream.clone()).or_default().push(record.clone());
        found.push((record.clone(), log.payload(record.position)?));
    }
    for (stream, records) in streams {
        assert_eq!(log.read_stream(&stream, 1, usize::MAX)?, records);
        assert_eq!(log.stream_version(&stream), records.last().unwrap().version);
    }
    Ok(found)
}

/// The records, and the payloads of the segment that was being written: those before it no cut has touched.
fn recent(log: &SegmentLog) -> Result<Contents, LogError> {
    let last = log.reader.segments.read().last().unwrap().first();
    let records = log.read(log.floor(), usize::MAX, usize::MAX)?.into_iter();
    let behind = records.filter(|record| record.position.0 >= last);
    behind.map(|record| Ok((record.clone(), log.payload(record.position)?))).collect()
}

/// Opens and reads; then, now and then, goes on with another record, which has to be there at the next start.
fn live_on(disk: &SimulatedDisk, turn: usize) -> Result<(Contents, OpenReport), LogError> {
    let (log, mut writer, report) = open(disk)?;
    let found = recent(&log)?;
    if turn.is_multiple_of(8) {
        write(&log, &mut writer, 1);
        let last = log.tail();
        drop((log, writer));
        disk.kill();
        let (log, _, again) = open(disk)?;
        assert_eq!((again.last, &again.torn), (last, &None));
        assert_eq!(recent(&log)?[..found.len()], found);
    }
    Ok((found, report))
}

fn problems(disk: &SimulatedDisk) -> usize {
    stepped::verify(Arc::new(disk.clone()), Path::new(FOLDER)).map_or(1, |verified| verified.problems.len())
}

/// CRS.3: cut at every byte of the last 4 KiB of facts, where nothing of it was acknowledged: whole batches before the
/// cut are kept, what is torn is dropped and reported, and the log goes on behind the last whole one.
#[test]
fn a_tail_cut_at_every_byte_of_the_last_4_kib_is_dropped_and_the_log_goes_on() {
    let scene = Scene::new();
    let batches = scene.batches();
    let kept_at_least = batches.iter().rfind(|(end, ..)| *end <= scene.front - TAIL).unwrap().2;
    let written = scene.marked_before(kept_at_least);
    for cut in scene.front - TAIL..scene.front {
        let disk = written.copy();
        disk.damage(&scene.last, cut, |bytes| bytes[..scene.front - cut].fill(0));
        let torn_off = batches.iter().rfind(|(end, ..)| *end <= cut).unwrap();
        assert_eq!(problems(&disk), 0, "cut at {cut}: a torn tail is no damage");
        let (found, report) = live_on(&disk, cut).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        // Zeroes at the end of a batch are as good as a cut behind them.
        let kept = report.last.0 + 1;
        assert!(kept >= torn_off.2 && kept_at_least <= kept, "cut at {cut}: {report:?}");
        assert_eq!(found, scene.recent()[..found.len()], "cut at {cut}");
        let torn = report.torn.unwrap_or_else(|| panic!("cut at {cut}: nothing is said"));
        assert_eq!((&torn.path, usize::try_from(torn.offset).unwrap()), (&scene.last, torn_off.0));
        assert!(torn.bytes > 0);
    }
}

/// CRS.3: payloads that had not reached the disk, at every byte of theirs.
#[test]
fn payloads_cut_at_every_byte_take_their_batch_along() {
    let scene = Scene::new();
    let batches = scene.batches();
    let (_, marked, kept_at_least) = *batches.iter().rfind(|(end, ..)| *end <= scene.front - TAIL).unwrap();
    let written = scene.marked_before(kept_at_least);
    for at in scene.back..marked {
        let disk = written.copy();
        disk.damage(&scene.last, scene.back, |bytes| bytes[..=at - scene.back].fill(0));
        // Payloads grow downwards: the batch that the last cut byte belongs to is the first one torn.
        let whole = batches.iter().rfind(|(_, begin, _)| *begin > at).map_or(kept_at_least, |batch| batch.2);
        let (found, report) = live_on(&disk, at).unwrap_or_else(|error| panic!("cut up to {at}: {error}"));
        assert_eq!(report.last.0 + 1, whole.max(kept_at_least), "cut up to {at}");
        assert!(report.torn.is_some());
        assert_eq!(found, scene.recent()[..found.len()], "cut up to {at}");
    }
}

/// CRS.3, I23: the same cuts in what was acknowledged are damage: refused, by segment and byte, nothing changed.
#[test]
fn a_cut_into_what_was_acknowledged_is_refused_and_named() {
    let scene = Scene::new();
    for cut in scene.front - TAIL..scene.front - 1 {
        let disk = scene.disk.copy();
        disk.damage(&scene.last, cut, |bytes| bytes[..scene.front - cut].fill(0));
        let before = disk.read(&scene.last).unwrap();
        match open(&disk) {
            Err(LogError::Damaged { path, offset, .. }) => {
                assert_eq!(path, scene.last);
                assert!(usize::try_from(offset).unwrap() <= cut, "byte {offset}, cut at {cut}");
            }
            Err(error) => panic!("cut at {cut}: {error}"),
            Ok((log, ..)) => assert_eq!(recent(&log).unwrap(), scene.recent(), "cut at {cut}"),
        }
        assert_eq!(disk.read(&scene.last).unwrap(), before, "a refusal changes nothing");
        assert!(problems(&disk) > 0 || open(&disk).is_ok());
    }
}

/// What a flip came to.
#[derive(Debug, Default)]
struct Tally {
    held: u32,
    refused: u32,
    /// Refused when the record was read.
    late: u32,
}

impl Tally {
    fn flip(&mut self, scene: &Scene, path: &Path, at: usize, mask: u8) {
        let place = format!("{mask:#04x} at byte {at} of {}", path.display());
        let disk = scene.disk.copy();
        disk.damage(path, at, |bytes| bytes[0] ^= mask);
        let found_by_verify = problems(&disk) > 0;
        let late = match open(&disk) {
            Ok((log, ..)) => match everything(&log) {
                Ok(found) => {
                    assert!(found == scene.acknowledged, "{place}: silently changed");
                    assert!(
                        open_again(&disk, log) == scene.acknowledged.len() + 1,
                        "{place}: it does not go on"
                    );
                    self.held += 1;
                    return;
                }
                Err(error) => (true, error),
            },
            Err(error) => (false, error),
        };
        let (late, error) = late;
        assert!(found_by_verify, "{place}: {error}, but the checker is content");
        let said = error.to_string();
        match &error {
            LogError::Damaged { path: named, offset, .. } => {
                // The log's id is in `FORMAT` and in every header: which of them is wrong cannot be known.
                let of_folder = path.ends_with("FORMAT") && named.starts_with(FOLDER);
                assert!(named == path || of_folder, "{place}: {error}");
                assert!(said.contains(&format!("at byte {offset}")), "{place}: {error}");
                let after = usize::try_from(*offset).unwrap() > at;
                // A seal that does not check out shows where the batches end.
                assert!(!after || at < 1024, "{place}: {error}");
            }
            LogError::NewerFormat { .. } => assert!(path.ends_with("FORMAT"), "{place}: {error}"),
            _ => panic!("{place}: {error}"),
        }
        if late {
            self.late += 1;
        } else {
            self.refused += 1;
        }
    }
}

/// Goes on with one more record and answers how many there are at the next start.
fn open_again(disk: &SimulatedDisk, log: SegmentLog) -> usize {
    drop(log);
    disk.kill();
    let (log, mut writer, _) = open(disk).unwrap();
    write(&log, &mut writer, 1);
    drop((log, writer));
    disk.kill();
    everything(&open(disk).unwrap().0).unwrap().len()
}

/// CRS.4, I23: at every byte of the last 4 KiB of facts, of payloads, of header and mark.
#[test]
fn a_bit_flipped_anywhere_in_the_last_4_kib_is_harmless_or_refused() {
    let scene = Scene::new();
    let masks = number("DAMAGE_MASKS", 1);
    let mut tally = Tally::default();
    let places = (0..1024).chain(scene.front - TAIL..scene.front).chain(scene.back..scene.back + TAIL);
    for at in places {
        for turn in 0..masks {
            tally.flip(&scene, &scene.last, at, 1 << ((at + turn) % 8));
        }
    }
    // All facts are covered by checksums, all payloads by digests; a header has gaps.
    assert!(
        tally.refused as usize >= (TAIL + 72) * masks && tally.late as usize >= TAIL * masks,
        "{tally:?}"
    );
}

/// CRS.4, I23: at random places of every file.
#[test]
fn bits_flipped_in_any_file_are_harmless_or_refused() {
    let scene = Scene::new();
    let seed = number("DAMAGE_SEED", 1);
    let mut dice = Dice::new(seed);
    let files: Vec<_> = scene.disk.list(Path::new(FOLDER)).unwrap();
    let files: Vec<_> = files.into_iter().map(|path| (scene.disk.read(&path).unwrap().len(), path)).collect();
    for name in ["FORMAT", "anchor", ".seg", ".idx"] {
        assert!(files.iter().any(|(_, path)| path.to_string_lossy().ends_with(name)), "{name}");
    }
    let mut tally = Tally::default();
    for turn in 0..number("DAMAGE_FLIPS", 2_500) {
        let (length, path) = &files[turn % files.len()];
        if *length > 0 {
            let at = usize::try_from(dice.roll(*length as u64)).unwrap();
            tally.flip(&scene, path, at, 1 << dice.roll(8));
        }
    }
    println!("seed {seed}: {tally:?}");
    assert!(tally.held > 0 && tally.refused > 0 && tally.late > 0, "{tally:?}");
}
