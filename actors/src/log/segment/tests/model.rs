//! Random lives of a log, held against the log in memory.

use super::*;
use crate::{
    domain::time::Timestamp,
    log::{Expected, NewRecord, Record, conformance::T0, memory::MemoryLog},
};
use proptest::{collection::vec, prelude::*};

/// Streams, each with the sizes of its records: body, payload.
type Group = Vec<(u8, Vec<(usize, Option<usize>)>)>;

#[derive(Clone, Debug)]
enum Action {
    Append(Group),
    Settle,
    Close,
    /// Goes on in a copy of the folder, as after a kill.
    Kill,
    LoseIndexes,
}

fn action() -> impl Strategy<Value = Action> {
    let record = (0..200usize, proptest::option::of(0..600usize));
    let append = (0..6u8, vec(record, 1..5));
    prop_oneof![
        6 => vec(append, 1..4).prop_map(Action::Append),
        2 => Just(Action::Settle),
        1 => Just(Action::Close),
        1 => Just(Action::Kill),
        1 => Just(Action::LoseIndexes),
    ]
}

fn append(log: &dyn EventLog, at: Timestamp, group: &Group) -> Appended {
    let bytes =
        |len: usize, seed: u8| Bytes::from((0..len).map(|i| i.to_le_bytes()[0] ^ seed).collect::<Vec<_>>());
    let content = |(body, payload): &(usize, Option<usize>), seed| NewRecord {
        kind: u16::from(seed),
        format: seed,
        body: bytes(*body, seed).into(),
        payload: payload.map(|len| bytes(len, !seed)),
    };
    let parts: Vec<(StreamId, Vec<NewRecord>)> = group
        .iter()
        .map(|(s, records)| (stream(&format!("s/{s}")), records.iter().map(|r| content(r, *s)).collect()))
        .collect();
    let appends: Vec<_> = parts
        .iter()
        .map(|(stream, records)| Append { stream, expected: Expected::Any, at, records })
        .collect();
    log.append(&appends, &mut |_, _| {}).unwrap()
}

fn everything(log: &dyn EventLog) -> Vec<(Record, Option<Bytes>)> {
    let records = log.read(Position(1), usize::MAX, usize::MAX).unwrap();
    records.into_iter().map(|r| (r.clone(), log.payload(r.position).unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_log_on_files_is_the_log_in_memory(actions in vec(action(), 1..40), facts in 100..2000usize) {
        let options = Options { segment_size: 16 << 10, batch_facts: facts, ..tiny_options() };
        let model = MemoryLog::new();
        let mut dir = tempfile::tempdir().unwrap();
        let mut log = SegmentLog::open(dir.path(), options.clone()).unwrap().0;
        for (i, action) in actions.iter().enumerate() {
            let at = Timestamp(T0.0 + i as u64);
            match action {
                Action::Append(group) => prop_assert_eq!(append(&log, at, group), append(&model, at, group)),
                Action::Settle => durable(&log),
                Action::Close => {
                    drop(log);
                    log = SegmentLog::open(dir.path(), options.clone()).unwrap().0;
                }
                Action::Kill => {
                    durable(&log);
                    let copy = copy_of(dir.path());
                    drop(log);
                    dir = copy;
                    log = SegmentLog::open(dir.path(), options.clone()).unwrap().0;
                }
                Action::LoseIndexes => {
                    for path in files(dir.path()).iter().filter(|p| p.extension().is_some_and(|e| e == "idx")) {
                        fs::remove_file(path).unwrap();
                    }
                }
            }
        }
        durable(&log);
        model.kick();
        prop_assert_eq!(everything(&log), everything(&model));
        for s in 0..6 {
            let id = stream(&format!("s/{s}"));
            prop_assert_eq!(log.stream_version(&id), model.stream_version(&id));
            let from = log.stream_version(&id) / 2;
            prop_assert_eq!(log.read_stream(&id, from, 9).unwrap(), model.read_stream(&id, from, 9).unwrap());
        }
        let verified = verify(dir.path()).unwrap();
        prop_assert_eq!(verified.problems, vec![]);
        prop_assert_eq!(verified.records, model.tail().0);
    }
}
