//! Kills, torn writes, flipped bits, failing disks.

use super::*;

/// A log whose last batch has no mark behind it, as a kill under load leaves it; and that batch's place.
struct Torn {
    dir: tempfile::TempDir,
    segment: std::path::PathBuf,
    facts: std::ops::Range<u64>,
    payloads: std::ops::Range<u64>,
}

fn log_with_a_last_batch() -> Torn {
    let (log, dir) = fresh(tiny_options());
    fill(&log, 0..4);
    let front = |log: &SegmentLog| u64::from(log.reader.segments.read().last().unwrap().front());
    let start = front(&log);
    let group: Vec<_> = (4..7).map(numbered).collect();
    append_to(&log, "s/last", &group).unwrap();
    durable(&log);
    let end = front(&log);
    let payloads = log
        .reader
        .find(Position(5), |_, e, _| Ok((u64::from(e.payload_start), u64::from(e.payload_len))))
        .unwrap();
    let segment = segments(dir.path())[0].clone();
    let copy = copy_of(dir.path());
    let segment = copy.path().join(segment.file_name().unwrap());
    // The mark, if the writer was at rest already, would say that the batch is on disk.
    overwrite(&segment, format::MARK_AT, &[0; format::FRAME_LEN]);
    Torn { dir: copy, segment, facts: start..end, payloads: payloads.0..payloads.0 + payloads.1 }
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_the_log_goes_on() {
    let torn = log_with_a_last_batch();
    let whole = fs::read(&torn.segment).unwrap();
    let cuts = torn.facts.clone().map(|at| at..torn.facts.end);
    let cuts = cuts.chain(torn.payloads.clone().map(|at| at..torn.payloads.end));
    for cut in cuts {
        fs::write(&torn.segment, &whole).unwrap();
        overwrite(&torn.segment, cut.start, &vec![0; usize::try_from(cut.end - cut.start).unwrap()]);
        if fs::read(&torn.segment).unwrap() == whole {
            continue; // the cut part was zeroes
        }
        let view = SegmentReader::open(torn.dir.path()).unwrap();
        assert_eq!(view.durable(), Position(4), "cut {cut:?}");
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
