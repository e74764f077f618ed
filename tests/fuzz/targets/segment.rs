//! A segment file of any bytes is read, refused or cut, and never a panic; what a reader gives has a sound chain.

#![no_main]

use ledgerhook_actors::log::segment::{Repair, SegmentReader, verify};
use libfuzzer_sys::fuzz_target;
use std::fs;

fuzz_target!(|data: &[u8]| {
    let dir = tempfile::tempdir().expect("a folder");
    let format = format!("ledgerhook log\nformat 1\nid {}\n", "07".repeat(16));
    fs::write(dir.path().join("FORMAT"), format).expect("a file");
    fs::write(dir.path().join(format!("{:020}.seg", 1)), data).expect("a file");
    let _ = verify(dir.path());
    let _ = SegmentReader::open(dir.path());
    let _ = Repair::examine(dir.path());
});
