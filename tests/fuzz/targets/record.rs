//! A record's body of any bytes is a fact or an error; a fact is written as it was read.

#![no_main]

use ledgerhook_actors::{
    domain::time::Timestamp,
    log::{Position, RecordRef, codec},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [kind, format, body @ ..] = data else { return };
    let record = |kind, format, body| {
        let (position, at) = (Position(1), Timestamp(1));
        RecordRef { position, stream: "pipeline/pipe_1", version: 1, at, kind, format, body, payload: None }
    };
    let Ok(fact) = codec::decode(&record(u16::from(*kind), *format, body)) else { return };
    let again = codec::encode(&fact);
    let read = codec::decode(&record(again.kind, again.format, &again.body)).expect("what was written is read");
    assert_eq!(format!("{fact:?}"), format!("{read:?}"));
});
