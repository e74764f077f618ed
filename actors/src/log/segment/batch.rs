//! A batch in memory: facts are encoded into it under the lock, and decoded from it in place.
//!
//! ```text
//! fact := flags u8                          bit 0: has a payload   bit 1: goes on in the stream of the fact before
//!         [len u8, stream, version, at]     unless bit 1; then version is one more and `at` the same
//!         kind, format u8, len, body
//!         [len, sha256]                     if bit 0
//! ```
//! Integers are varints where no width is given. Positions are implied, and so is where a payload stands: the
//! payloads of a batch lie one after the other, in the order of their facts.

use super::{
    bytes::{Cursor, narrow, put_varint},
    format::{ENVELOPE_LEN, Envelope, Hash, chain},
};
use crate::{
    domain::time::Timestamp,
    log::{Append, NewRecord, PayloadInfo, Position, RecordRef, StreamId},
};
use bytes::Bytes;

const HAS_PAYLOAD: u8 = 1;
const GOES_ON: u8 = 2;

/// A batch that is being filled.
#[derive(Debug, Default)]
pub(super) struct Filling {
    /// Room for the envelope, then the facts.
    pub(super) bytes: Vec<u8>,
    pub(super) payloads: Vec<Bytes>,
    pub(super) payload_len: usize,
    pub(super) count: u32,
    pub(super) first: u64,
    /// The streams in it, for the index: each with its first and last version here.
    pub(super) streams: Vec<(StreamId, u64, u64)>,
    pub(super) newest: Timestamp,
}

impl Filling {
    /// Empties the batch, keeping its memory, for records from `first` on.
    pub(super) fn reset(&mut self, first: u64) {
        self.bytes.clear();
        self.bytes.resize(ENVELOPE_LEN, 0);
        self.payloads.clear();
        self.payload_len = 0;
        self.count = 0;
        self.first = first;
        self.streams.clear();
        self.newest = Timestamp::EPOCH;
    }

    /// What it takes in the segment.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.payload_len
    }

    /// Adds the records of one append; `digests` yields the hash of each payload, in order.
    pub(super) fn push(
        &mut self,
        append: &Append<'_>,
        version: u64,
        digests: &mut impl Iterator<Item = Hash>,
    ) {
        for (i, record) in append.records.iter().enumerate() {
            let digest = record.payload.as_ref().and_then(|payload| Some((payload.len(), digests.next()?)));
            let goes_on = if i == 0 { 0 } else { GOES_ON };
            self.bytes.push(goes_on | if digest.is_some() { HAS_PAYLOAD } else { 0 });
            if i == 0 {
                let name = append.stream.as_str().as_bytes();
                self.bytes.push(narrow(name.len()).to_le_bytes()[0]);
                self.bytes.extend_from_slice(name);
                put_varint(&mut self.bytes, version);
                put_varint(&mut self.bytes, append.at.0);
            }
            self.put_content(record, digest);
        }
        self.count += narrow(append.records.len());
        self.newest = self.newest.max(append.at);
    }

    fn put_content(&mut self, record: &NewRecord, payload: Option<(usize, Hash)>) {
        put_varint(&mut self.bytes, u64::from(record.kind));
        self.bytes.push(record.format);
        put_varint(&mut self.bytes, record.body.len() as u64);
        self.bytes.extend_from_slice(&record.body);
        if let Some((len, digest)) = payload {
            put_varint(&mut self.bytes, len as u64);
            self.bytes.extend_from_slice(&digest);
            self.payload_len += len;
            self.payloads.extend(record.payload.clone());
        }
    }

    /// An upper bound of what `append` adds to a batch.
    pub(super) fn bound(append: &Append<'_>) -> usize {
        let records = append
            .records
            .iter()
            .map(|r| r.body.len() + r.payload.as_ref().map_or(0, |payload| payload.len() + 37) + 10);
        append.stream.as_str().len() + 21 + records.sum::<usize>()
    }
}

/// A whole batch in a reader's buffer, its checksum verified.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch<'a> {
    pub(super) envelope: Envelope,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Decodes the batch at the front of `bytes`; bytes behind it are left alone. Never panics and allocates
    /// nothing, whatever `bytes` are.
    pub(super) fn decode(bytes: &'a [u8], seed: u32) -> Result<Self, &'static str> {
        let envelope = Envelope::decode(bytes).ok_or("no batch envelope")?;
        let bytes = bytes.get(..envelope.len as usize).ok_or("the batch is cut off")?;
        if !Envelope::holds(bytes, seed) {
            return Err("the batch's checksum does not hold");
        }
        if envelope.count == 0 || envelope.first.checked_add(u64::from(envelope.count)).is_none() {
            return Err("the batch's positions are impossible");
        }
        Ok(Self { envelope, bytes })
    }

    /// The position behind its last record.
    pub(super) fn next(&self) -> u64 {
        self.envelope.first + u64::from(self.envelope.count)
    }

    /// Whether its SHA-256 is what the envelope says. Readers rely on the checksum; recovery and verification ask.
    pub(super) fn hash_holds(&self) -> bool {
        chain(self.bytes) == self.envelope.hash
    }

    pub(super) fn facts(&self) -> Facts<'a> {
        Facts {
            cursor: Cursor(&self.bytes[ENVELOPE_LEN..]),
            left: self.envelope.count,
            position: self.envelope.first,
            payload_at: u64::from(self.envelope.payload_start),
            run: None,
        }
    }
}

/// A fact in place, and where in the file its payload stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fact<'a> {
    pub(super) record: RecordRef<'a>,
    pub(super) payload_at: u64,
}

/// The facts of a batch, one after the other.
pub(super) struct Facts<'a> {
    cursor: Cursor<'a>,
    left: u32,
    position: u64,
    payload_at: u64,
    run: Option<Run<'a>>,
}

/// What a fact shares with the next one of its stream.
#[derive(Clone, Copy)]
struct Run<'a> {
    stream: &'a str,
    version: u64,
    at: Timestamp,
}

impl<'a> Facts<'a> {
    fn fact(&mut self) -> Option<Fact<'a>> {
        let fields = &mut self.cursor;
        let flags = fields.u8()?;
        let run = match self.run {
            Some(run) if flags & GOES_ON != 0 => Run { version: run.version.checked_add(1)?, ..run },
            None if flags & GOES_ON != 0 => return None,
            _ => {
                let len = fields.u8()?;
                let stream = std::str::from_utf8(fields.bytes(usize::from(len))?).ok()?;
                Run { stream, version: fields.varint()?, at: Timestamp(fields.varint()?) }
            }
        };
        self.run = Some(run);
        let kind = u16::try_from(fields.varint()?).ok()?;
        let format = fields.u8()?;
        let len = fields.length()?;
        let body = fields.bytes(len)?;
        let payload = if flags & HAS_PAYLOAD == 0 {
            None
        } else {
            Some(PayloadInfo { len: u32::try_from(fields.varint()?).ok()?, digest: fields.array()? })
        };
        let position = Position(self.position);
        let Run { stream, version, at } = run;
        let record = RecordRef { position, stream, version, at, kind, format, body, payload };
        let fact = Fact { record, payload_at: self.payload_at };
        self.position += 1;
        self.payload_at += u64::from(payload.map_or(0, |p| p.len));
        Some(fact)
    }
}

impl<'a> Iterator for Facts<'a> {
    type Item = Result<Fact<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let rest = std::mem::take(&mut self.cursor.0);
            return (!rest.is_empty()).then_some(Err("bytes behind the last fact"));
        }
        self.left -= 1;
        let fact = self.fact().ok_or("a fact is malformed");
        if fact.is_err() {
            (self.left, self.cursor.0) = (0, &[]);
        }
        Some(fact)
    }
}
