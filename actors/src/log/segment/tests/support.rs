//! Folders to break, and ways to look at what is left.

use super::*;
use crate::log::{
    NewRecord, Record,
    conformance::{append_to, settle, with_payload},
};
use std::{ops::Range, os::unix::fs::FileExt as _, path::PathBuf};

pub(super) fn roomy_options() -> Options {
    Options { segment_size: 8 << 20, min_free_bytes: 0, spacing: Duration::ZERO, ..Options::default() }
}

pub(super) fn tiny_options() -> Options {
    Options { segment_size: 16 << 10, ..roomy_options() }
}

pub(super) fn fresh(options: Options) -> (SegmentLog, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (SegmentLog::open(dir.path(), options).unwrap().0, dir)
}

pub(super) fn durable(log: &SegmentLog) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(settle(log));
}

pub(super) fn numbered(i: u64) -> NewRecord {
    with_payload(
        &format!("body {i}"),
        format!("payload {i} {}", "x".repeat(usize::try_from(i % 100).unwrap())),
    )
}

/// Appends numbered records to five streams, in batches of one to four.
pub(super) fn fill(log: &SegmentLog, range: Range<u64>) {
    let end = range.end;
    for i in range {
        append_to(log, &format!("s/{}", i % 5), &[numbered(i)]).unwrap();
        if i % 4 == 0 || i + 1 == end {
            durable(log);
        }
    }
}

/// A log whose writing failed closes with an error, its thread ended; a start has all that was acknowledged, and goes on.
pub(super) fn assert_failed_and_comes_back(log: SegmentLog, dir: &Path, acknowledged: Position) {
    assert!(log.close().is_err());
    drop(log);
    let (log, report) = SegmentLog::open(dir, tiny_options()).unwrap();
    assert!(report.last >= acknowledged);
    fill(&log, 20..30);
    assert_eq!(verify(dir).unwrap().problems, []);
}

/// Everything that can be read.
pub(super) fn contents(reader: &SegmentReader) -> Vec<(Record, Option<Bytes>)> {
    let records = reader.read(Position(1), usize::MAX, usize::MAX).unwrap();
    records.into_iter().map(|r| (r.clone(), reader.payload(r.position).unwrap())).collect()
}

pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

pub(super) fn segments(dir: &Path) -> Vec<PathBuf> {
    files(dir).into_iter().filter(|path| path.extension().is_some_and(|e| e == "seg")).collect()
}

pub(super) fn listing(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(dir).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// The folder as a kill at this moment would leave it.
pub(super) fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for path in files(dir) {
        // The spare may be renamed between the listing and the copy; it holds nothing.
        if path.file_name().is_some_and(|name| name != "spare") {
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    copy
}

pub(super) fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

pub(super) fn flip(path: &Path, at: u64, mask: u8) {
    let byte = fs::read(path).unwrap()[usize::try_from(at).unwrap()];
    overwrite(path, at, &[byte ^ mask]);
}
