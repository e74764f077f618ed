//! Kills, torn writes, flipped bits, failing disks, missing files.

use super::*;
use parking_lot::Mutex;
use std::{io, ops::Range, path::PathBuf};

/// A log whose last batch was written and not marked, as a kill before the sync leaves it; and that batch's place.
struct Torn {
    dir: tempfile::TempDir,
    segment: PathBuf,
    facts: Range<u64>,
    payloads: Range<u64>,
}

fn log_with_a_last_batch() -> Torn {
    let (log, dir) = fresh(tiny_options());
    fill(&log, 0..4);
    let segment = segments(dir.path())[0].clone();
    let at = usize::try_from(format::MARK_AT).unwrap();
    let mark = fs::read(&segment).unwrap()[at..at + format::FRAME_LEN].to_vec();
    let front = |log: &SegmentLog| u64::from(log.reader.segments.read().last().unwrap().front());
    let start = front(&log);
    let group: Vec<_> = (4..7).map(numbered).collect();
    append_to(&log, "s/last", &group).unwrap();
    durable(&log);
    let end = front(&log);
    let place = |e: &format::Envelope| (u64::from(e.payload_start), u64::from(e.payload_len));
    let payloads = log.reader.find(Position(5), |_, envelope, _| Ok(place(envelope))).unwrap();
    let copy = copy_of(dir.path());
    let segment = copy.path().join(segment.file_name().unwrap());
    overwrite(&segment, format::MARK_AT, &mark);
    Torn { dir: copy, segment, facts: start..end, payloads: payloads.0..payloads.0 + payloads.1 }
}

fn zeroes(range: &Range<u64>) -> Vec<u8> {
    vec![0; usize::try_from(range.end - range.start).unwrap()]
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_the_log_goes_on() {
    let torn = log_with_a_last_batch();
    let whole = fs::read(&torn.segment).unwrap();
    let cuts = torn.facts.clone().map(|at| at..torn.facts.end);
    let cuts = cuts.chain(torn.payloads.clone().map(|at| at..torn.payloads.end));
    for cut in cuts {
        fs::write(&torn.segment, &whole).unwrap();
        overwrite(&torn.segment, cut.start, &zeroes(&cut));
        if fs::read(&torn.segment).unwrap() == whole {
            continue; // what was cut was zeroes
        }
        let view = SegmentReader::open(torn.dir.path()).unwrap();
        assert_eq!(view.durable(), Position(4), "cut {cut:?}");
        let verified = verify(torn.dir.path()).unwrap();
        assert_eq!((verified.torn_at, verified.problems), (Some(torn.facts.start), vec![]));

        let (log, report) = SegmentLog::open(torn.dir.path(), tiny_options()).unwrap();
        assert_eq!(report.last, Position(4));
        assert_eq!(log.stream_version(&stream("s/last")), 0);
        let reported = report.torn.expect("it says so");
        assert_eq!((reported.path, reported.offset), (torn.segment.clone(), torn.facts.start));
        assert!(reported.bytes > 0);
        append_to(&log, "s/last", &[numbered(9)]).unwrap();
        drop(log);
        let (log, report) = SegmentLog::open(torn.dir.path(), tiny_options()).unwrap();
        assert_eq!((report.last, report.torn), (Position(5), None));
        assert_eq!(contents(log.reader()).len(), 5);
    }
}

/// A segment has its mark before it has its name: without one, or with one that does not check out, it would be guessed
/// where the log ends. A repair says so on the record, and keeps all that is there.
#[test]
fn a_last_segment_without_its_mark_is_refused() {
    let (log, dir) = fresh(tiny_options());
    fill(&log, 0..9);
    let (whole, last) = (contents(log.reader()), log.tail());
    drop(log);
    let segment = segments(dir.path())[0].clone();
    let length = usize::try_from(fs::metadata(&segment).unwrap().len() - format::MARK_AT).unwrap();
    for (lost, kept) in [(vec![0; format::FRAME_LEN], last), (vec![0; length], Position::START)] {
        let copy = copy_of(dir.path());
        let segment = copy.path().join(segment.file_name().unwrap());
        overwrite(&segment, format::MARK_AT, &lost);
        for refused in
            [SegmentLog::open(copy.path(), tiny_options()).err(), SegmentReader::open(copy.path()).err()]
        {
            let named =
                |error| matches!(error, LogError::Damaged { path, offset: 512, .. } if path == segment);
            assert!(refused.is_some_and(named));
        }
        assert_eq!(verify(copy.path()).unwrap().problems.len(), 1);

        let repair = Repair::examine(copy.path()).unwrap();
        assert_eq!(repair.cut.as_ref().map(|cut| (cut.first, cut.lost.len())), Some((kept.next(), 0)));
        repair.apply(&copy.path().join("aside"), b"").unwrap();
        drop(repair);
        Repair::finish(copy.path()).unwrap();
        let (log, report) = SegmentLog::open(copy.path(), tiny_options()).unwrap();
        assert_eq!((report.last, report.torn), (kept, None));
        assert_eq!(contents(log.reader()), whole[..usize::try_from(kept.0).unwrap()]);
    }
}

/// A write of the mark that failed half-way, at any byte, does not hold the log up: what is left of it names a batch.
#[test]
fn a_mark_that_is_half_new_and_half_old_is_no_damage() {
    let (log, dir) = fresh(tiny_options());
    let segment = segments(dir.path())[0].clone();
    let at = usize::try_from(format::MARK_AT).unwrap();
    let mark = || fs::read(&segment).unwrap()[at..at + format::FRAME_LEN].to_vec();
    fill(&log, 0..5);
    let old = mark();
    fill(&log, 5..9);
    let (new, last) = (mark(), log.tail());
    drop(log);
    for cut in 0..format::FRAME_LEN {
        overwrite(&segment, format::MARK_AT, &[&new[..cut], &old[cut..]].concat());
        assert_eq!(verify(dir.path()).unwrap().problems, [], "cut at {cut}");
        assert_eq!(SegmentReader::open(dir.path()).unwrap().durable(), last, "cut at {cut}");
    }
}

/// The same damage behind the mark's back is not a crash: the batch was acknowledged.
#[test]
fn a_marked_batch_is_never_cut() {
    let (log, dir) = fresh(tiny_options());
    fill(&log, 0..5);
    let copy = copy_of(dir.path());
    let segment = segments(copy.path())[0].clone();
    let front = u64::from(log.reader.segments.read()[0].front());
    flip(&segment, front - 1, 1);
    let refused = SegmentLog::open(copy.path(), tiny_options()).err();
    assert!(matches!(&refused, Some(LogError::Damaged { path, .. }) if *path == segment), "{refused:?}");
}

#[test]
fn every_flipped_bit_is_harmless_or_refused() {
    let options = Options { segment_size: 3 << 10, ..tiny_options() };
    let (log, dir) = fresh(options);
    fill(&log, 0..40);
    let expected = contents(log.reader());
    drop(log);
    assert!(segments(dir.path()).len() > 1);
    let (mut harmless, mut refused) = (0, 0);
    for path in files(dir.path()) {
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            flip(&path, at as u64, 1 << (at % 8));
            match try_contents(dir.path()) {
                Ok(found) => {
                    assert_eq!(found, expected, "byte {at} of {}", path.display());
                    harmless += 1;
                }
                Err(LogError::Damaged { .. } | LogError::NewerFormat { .. }) => refused += 1,
                Err(error) => panic!("byte {at} of {}: {error}", path.display()),
            }
            fs::write(&path, &whole).unwrap();
        }
    }
    assert!(refused > 2000 && harmless > 0, "{refused} refused, {harmless} harmless");
}

fn try_contents(dir: &Path) -> Result<Vec<(crate::log::Record, Option<Bytes>)>, LogError> {
    let reader = SegmentReader::open(dir)?;
    let records = reader.read(Position(1), usize::MAX, usize::MAX)?;
    records.into_iter().map(|r| Ok((r.clone(), reader.payload(r.position)?))).collect()
}

/// Copies the folder at every step of the writer, as a kill there would leave it, and opens every copy.
#[test]
fn a_kill_between_any_two_steps_loses_nothing_that_was_acknowledged() {
    type Copies = Arc<Mutex<Vec<(Step, Position, tempfile::TempDir)>>>;
    let dir = tempfile::tempdir().unwrap();
    let copies = Copies::default();
    let watermark = Arc::new(std::sync::OnceLock::<Arc<Watermark>>::new());
    let probe = {
        let (folder, copies, watermark) =
            (dir.path().to_owned(), Arc::clone(&copies), Arc::clone(&watermark));
        move |step| {
            let acknowledged = watermark.get().map_or(Position::START, |watermark| watermark.get());
            copies.lock().push((step, acknowledged, copy_of(&folder)));
            Ok(())
        }
    };
    let options = Options { segment_size: 4 << 10, probe: Some(Arc::new(probe)), ..tiny_options() };
    let (log, _) = SegmentLog::open(dir.path(), options).unwrap();
    watermark.set(Arc::clone(log.watermark())).unwrap();
    fill(&log, 0..90);
    let all = contents(log.reader());
    let copies = std::mem::take(&mut *copies.lock());
    for step in [Step::SpareReady, Step::SegmentNamed, Step::SealWritten, Step::IndexWritten, Step::Marked] {
        assert!(copies.iter().filter(|(at, ..)| *at == step).count() > 1, "{step:?} was seen");
    }
    for (step, acknowledged, copy) in copies {
        let verified = verify(copy.path()).unwrap();
        assert_eq!(verified.problems, [], "{step:?}");
        let view = contents(&SegmentReader::open(copy.path()).unwrap());
        let (log, report) = SegmentLog::open(copy.path(), tiny_options()).unwrap();
        assert!(report.last >= acknowledged, "{step:?}: {report:?}");
        assert_eq!(report.last, verified.last);
        let found = contents(log.reader());
        assert_eq!(found, all[..found.len()], "{step:?}");
        assert_eq!(view, found, "a view shows what a start would");
        append_to(&log, "s/1", &[numbered(1)]).unwrap();
        drop(log);
        let (log, again) = SegmentLog::open(copy.path(), tiny_options()).unwrap();
        assert_eq!((again.last, again.torn), (report.last.next(), None));
        drop(log);
        assert_eq!(verify(copy.path()).unwrap().problems, []);
    }
}

#[test]
fn a_failed_sync_acknowledges_nothing_and_ends_the_log() {
    for fails in [Step::FactsWritten, Step::PayloadsWritten, Step::Sync, Step::Marked] {
        let (acknowledged, armed) = (Position(12), Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let trigger = Arc::clone(&armed);
        let probe = move |step| {
            let fail = step == fails && trigger.swap(false, std::sync::atomic::Ordering::SeqCst);
            if fail { Err(io::Error::from(io::ErrorKind::Other)) } else { Ok(()) }
        };
        let (log, dir) = fresh(Options { probe: Some(Arc::new(probe)), ..tiny_options() });
        fill(&log, 0..12);
        armed.store(true, std::sync::atomic::Ordering::SeqCst);
        let lost = append_to(&log, "s/0", &[numbered(12)]).unwrap();
        log.kick();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(!runtime.block_on(log.watermark().reached(lost.last)), "{fails:?}");
        assert!(matches!(append_to(&log, "s/0", &[numbered(13)]), Err(LogError::Closed { .. })));
        assert_eq!(log.watermark().get(), acknowledged);
        assert_eq!(contents(log.reader()).len(), 12, "what was durable can still be read");
        assert_failed_and_comes_back(log, dir.path(), acknowledged);
    }
}

#[test]
fn missing_or_cut_files_are_named() {
    let (log, dir) = fresh(tiny_options());
    fill(&log, 0..300);
    drop(log);
    let all = segments(dir.path());
    assert!(all.len() > 2);
    let refused = |change: &dyn Fn(&Path)| {
        let copy = copy_of(dir.path());
        change(copy.path());
        let before = listing(copy.path());
        let error = SegmentLog::open(copy.path(), tiny_options()).err();
        assert!(matches!(error, Some(LogError::Damaged { .. })), "{error:?}");
        assert_eq!(listing(copy.path()), before, "a refusal changes nothing");
    };
    let name = |i: usize| all[i].file_name().unwrap();
    for i in [0, 1, all.len() - 1] {
        refused(&|dir| fs::remove_file(dir.join(name(i))).unwrap());
        for len in [0, 100, 1024, 5000] {
            let cut =
                |dir: &Path| fs::OpenOptions::new().write(true).open(dir.join(name(i))).unwrap().set_len(len);
            refused(&|dir| cut(dir).unwrap());
        }
        // Zeroes, as of a disk that lost a page. In a sealed segment the reader finds them.
        let copy = copy_of(dir.path());
        overwrite(&copy.path().join(name(i)), 1300, &[0; 300]);
        assert!(matches!(try_contents(copy.path()), Err(LogError::Damaged { .. })));
    }
    refused(&|dir| fs::remove_file(dir.join("FORMAT")).unwrap());
    refused(&|dir| fs::write(dir.join("FORMAT"), [0xff; 20]).unwrap());
    refused(&|dir| fs::rename(dir.join(name(0)), dir.join("00000000000000000007.seg")).unwrap());
    refused(&|dir| fs::rename(dir.join(name(0)), dir.join("first.seg")).unwrap());
}

#[test]
fn a_log_whose_making_was_interrupted_is_made_on_the_next_start() {
    let (log, dir) = fresh(tiny_options());
    drop(log);
    fs::remove_file(dir.path().join("FORMAT")).unwrap();
    fs::write(dir.path().join("FORMAT.tmp"), "half").unwrap();
    fs::write(dir.path().join("spare"), "half").unwrap();
    let (log, report) = SegmentLog::open(dir.path(), tiny_options()).unwrap();
    assert_eq!(report.last, Position(0));
    fill(&log, 0..5);
    drop(log);
    assert_eq!(SegmentLog::open(dir.path(), tiny_options()).unwrap().1.last, Position(5));
}

/// A sender of payloads cannot make recovery believe in a batch: checksums continue the header's, which has the
/// log's random id.
#[test]
fn a_batch_inside_a_payload_is_not_taken_for_one() {
    let torn = log_with_a_last_batch();
    let whole = fs::read(&torn.segment).unwrap();
    let cut = |range: &Range<u64>| usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
    let batch = whole[cut(&torn.facts)].to_vec();
    let (log, dir) = fresh(tiny_options());
    let at = usize::try_from(format::MARK_AT).unwrap();
    let mark = fs::read(&segments(dir.path())[0]).unwrap()[at..at + format::FRAME_LEN].to_vec();
    append_to(&log, "a", &[with_payload("x", batch)]).unwrap();
    durable(&log);
    drop(log);
    // Facts of the batch never reached the disk, its payload did.
    let segment = segments(dir.path())[0].clone();
    overwrite(&segment, format::MARK_AT, &mark);
    overwrite(&segment, u64::from(format::BATCHES_AT), &[0; 200]);
    let (_, report) = SegmentLog::open(dir.path(), tiny_options()).unwrap();
    assert_eq!(report.last, Position(0));
    assert!(report.torn.is_some());
}
