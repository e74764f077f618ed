//! `scripts/read_log.py` shares nothing with this crate but `docs/log-format.md`; the two must agree.

use super::*;
use crate::domain::time::Timestamp;
use std::process::Command;

/// What the script says, and whether it is content; `None` where there is no Python.
fn read_log(dir: &Path) -> Option<(bool, String)> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/read_log.py");
    let output = Command::new("python3").arg(script).arg(dir).output().ok()?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Some((output.status.success(), said))
}

fn agrees(log: &SegmentLog, dir: &Path) {
    let Some((content, said)) = read_log(dir) else { return };
    assert!(content, "{said}");
    let (first, last) = (log.floor(), log.tail());
    assert!(said.contains(&format!("positions {first} to {last}, 5 streams")), "{said}");
    assert!(said.contains(&hex::encode(log.chain_hash(last).unwrap())), "{said}");
    let verified = verify(dir).unwrap();
    let payloads = format!("{} payloads, {} payloads gone", verified.payloads, verified.payloads_gone);
    assert!(said.contains(&payloads), "{said}");
}

#[test]
fn a_second_reader_sees_the_same_log() {
    let (log, dir) = fresh(tiny_options());
    fill(&log, 0..400);
    agrees(&log, dir.path());
    log.erase_payload(Position(390)).unwrap();
    log.expire_payloads(Timestamp(u64::MAX), Position(300)).unwrap();
    agrees(&log, dir.path());
    log.remove_below(Position(200)).unwrap();
    fill(&log, 400..410);
    agrees(&log, dir.path());
    drop(log);

    let path = segments(dir.path()).pop().unwrap();
    flip(&path, 1200, 1);
    if let Some((content, said)) = read_log(dir.path()) {
        assert!(!content && said.contains("checksum"), "{said}");
    }
}
