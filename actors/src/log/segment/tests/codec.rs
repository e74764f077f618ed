//! Bytes in, bytes out, and bytes that nobody wrote.

use super::*;
use crate::{
    domain::time::Timestamp,
    log::{Expected, NewRecord},
};
use batch::{Batch, Filling};
use format::{Envelope, Hash, Mark, digest};
use proptest::{collection::vec, option, prelude::*};

fn new_record() -> impl Strategy<Value = NewRecord> {
    (any::<u16>(), any::<u8>(), vec(any::<u8>(), 0..300), option::of(vec(any::<u8>(), 0..300))).prop_map(
        |(kind, format, body, payload)| NewRecord { kind, format, body, payload: payload.map(Bytes::from) },
    )
}

proptest! {
    #[test]
    fn batches_round_trip(
        parts in vec(("[a-zü/]{0,40}", any::<u64>(), 1..u64::MAX / 2, vec(new_record(), 1..4)), 1..5),
        first in 1..u64::MAX / 2,
        prev: Hash,
        seed: u32,
    ) {
        let mut filling = Filling::default();
        filling.reset(first);
        for (name, at, version, records) in &parts {
            let stream = stream(name);
            let append = Append { stream: &stream, expected: Expected::Any, at: Timestamp(*at), records };
            let before = filling.size();
            let mut digests = records.iter().filter_map(|r| r.payload.as_deref()).map(digest);
            filling.push(&append, *version, &mut digests);
            prop_assert!(filling.size() - before <= Filling::bound(&append));
        }
        let envelope = Envelope {
            len: bytes::narrow(filling.bytes.len()),
            count: filling.count,
            first,
            payload_start: 5000,
            payload_len: bytes::narrow(filling.payload_len),
            prev,
            hash: [0; 32],
        };
        let hash = envelope.write(&mut filling.bytes, seed);
        filling.bytes.extend(b"and more");
        let batch = Batch::decode(&filling.bytes, seed).unwrap();
        prop_assert!(batch.hash_holds());
        prop_assert_eq!(batch.envelope, Envelope { hash, ..envelope });
        let mut payload_at = 5000;
        let mut facts = batch.facts();
        let mut position = first;
        for (name, at, version, records) in &parts {
            for (record, version) in records.iter().zip(*version..) {
                let fact = facts.next().unwrap().unwrap();
                let read = fact.record;
                prop_assert_eq!((read.position, read.stream, read.version), (Position(position), &name[..], version));
                prop_assert_eq!((read.at, read.kind, read.format), (Timestamp(*at), record.kind, record.format));
                prop_assert_eq!(read.body, &record.body[..]);
                prop_assert_eq!(read.payload.map(|p| p.digest), record.payload.as_deref().map(digest));
                prop_assert_eq!(fact.payload_at, payload_at);
                payload_at += record.payload.as_ref().map_or(0, |payload| payload.len() as u64);
                position += 1;
            }
        }
        prop_assert!(facts.next().is_none());
        prop_assert!(Batch::decode(&filling.bytes, seed ^ 1).is_err(), "another segment's");
    }

    #[test]
    fn headers_and_marks_round_trip(id: [u8; 16], prev: Hash, first: u64, front: u32, back: u32, sealed: bool) {
        let header = Header { format: FORMAT, size: 4096, log_id: id, first, prev };
        prop_assert_eq!(Header::decode(&header.encode()), Some(header));
        let mark = Mark { sealed, front, back, next: first, newest: Timestamp(first), hash: prev };
        prop_assert_eq!(Mark::decode(&mark.encode(header.seed()), header.seed()), Some(mark));
        prop_assert_eq!(Mark::decode(&mark.encode(header.seed()), header.seed() ^ 1), None);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in vec(any::<u8>(), 0..600)) {
        let _ = decode_any(&bytes);
    }

    /// Nearly right bytes get further than random ones.
    #[test]
    fn no_change_of_a_batch_makes_the_decoder_panic(at in 0..400usize, byte: u8, count in 1..4u32) {
        let mut filling = Filling::default();
        filling.reset(1);
        let (stream, records) = (stream("pipeline/pipe_1"), [numbered(1), record("x")]);
        let append = Append { stream: &stream, expected: Expected::Any, at: Timestamp(7), records: &records };
        filling.push(&append, 1, &mut std::iter::once([7; 32]));
        filling.bytes[12..16].copy_from_slice(&count.to_le_bytes());
        let len = filling.bytes.len();
        filling.bytes[at % len] ^= byte;
        let decoded = decode_any(&filling.bytes);
        prop_assert!(decoded.is_ok_and(|records| records <= 4) || decoded.is_err());
    }
}

/// A batch of two records of one stream at `first`, with what `change` makes of its facts and its envelope.
fn batch(first: u64, seed: u32, change: impl FnOnce(&mut Vec<u8>, &mut Envelope)) -> Vec<u8> {
    let mut filling = Filling::default();
    filling.reset(first);
    let (stream, records) = (stream("pipeline/pipe_1"), [numbered(1), numbered(2)]);
    let append = Append { stream: &stream, expected: Expected::Any, at: Timestamp(7), records: &records };
    filling.push(&append, 1, &mut std::iter::empty());
    let mut bytes = filling.bytes;
    let len = bytes::narrow(bytes.len());
    let (prev, hash) = ([3; 32], [0; 32]);
    let mut envelope = Envelope { len, count: 2, first, payload_start: 0, payload_len: 0, prev, hash };
    change(&mut bytes, &mut envelope);
    envelope.write(&mut bytes, seed);
    bytes
}

fn refusal(bytes: &[u8], seed: u32) -> &'static str {
    Batch::decode(bytes, seed).expect_err("it is no batch")
}

/// I23: sums that hold are no proof that positions can be.
#[test]
fn a_batch_of_no_record_or_beyond_the_last_position_is_refused() {
    assert!(Batch::decode(&batch(u64::MAX - 2, 9, |_, _| {}), 9).is_ok());
    let impossible = "the batch's positions are impossible";
    assert_eq!(refusal(&batch(u64::MAX - 1, 9, |_, _| {}), 9), impossible);
    assert_eq!(refusal(&batch(1, 9, |_, envelope| envelope.count = 0), 9), impossible);
}

#[test]
fn a_batch_with_another_magic_or_no_room_for_its_envelope_is_none() {
    let mut bytes = batch(1, 9, |_, _| {});
    bytes[0] ^= 1;
    assert_eq!(refusal(&bytes, 9), "no batch envelope");
    assert_eq!(refusal(&batch(1, 9, |_, envelope| envelope.len = 95), 9), "no batch envelope");
}

/// I23: the first record of a batch has none before it whose stream it could go on in.
#[test]
fn a_first_record_that_goes_on_in_a_stream_is_refused() {
    let bytes = batch(1, 9, |bytes, _| bytes[format::ENVELOPE_LEN] |= 2);
    let batch = Batch::decode(&bytes, 9).unwrap();
    let facts: Vec<_> = batch.facts().map(|fact| fact.map(|fact| fact.record.position)).collect();
    assert_eq!(facts, [Err("a fact is malformed")]);
}

/// The chain is judged apart from the checksum, which anyone can write anew.
#[test]
fn a_batch_whose_checksum_was_written_anew_has_a_hash_that_does_not_hold() {
    let mut bytes = batch(1, 9, |_, _| {});
    assert!(Batch::decode(&bytes, 9).unwrap().hash_holds());
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(refusal(&bytes, 9), "the batch's checksum does not hold");
    let checksum = crc32c::crc32c_append(9, &bytes[8..]);
    bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    assert!(!Batch::decode(&bytes, 9).unwrap().hash_holds());
}

/// What was written to one segment is nothing in another, of this log or of one that was copied over it.
#[test]
fn each_segment_has_a_seed_of_its_own() {
    let header = Header { format: FORMAT, size: 4096, log_id: [1; 16], first: 1, prev: [0; 32] };
    let others = [
        Header { first: 2, ..header },
        Header { log_id: [2; 16], ..header },
        Header { prev: [1; 32], ..header },
    ];
    assert!(others.iter().all(|other| other.seed() != header.seed()));
}
