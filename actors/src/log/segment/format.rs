//! The fixed structures of a segment file, byte by byte as `docs/log-format.md` has them.
//!
//! ```text
//! 0        512     1024                                                     size
//! | header | mark  | batch | batch | …facts grow up → ……… ← payloads grow down |
//! ```
//!
//! Every checksum in a segment continues the one of its header, which covers the log's random id and the chain
//! so far: bytes of another log, of another segment, or made up by a sender of payloads never look valid here.

use super::bytes::Cursor;
use crate::domain::time::Timestamp;
use crc32c::{crc32c, crc32c_append};
use sha2::{Digest as _, Sha256};

/// The newest format that this code reads, and the one that it writes.
pub(super) const FORMAT: u32 = 1;
/// Where the mark stands: a sector of its own, so that a torn write of it cannot hurt the header.
pub(super) const MARK_AT: u64 = 512;
/// Where the first batch stands.
pub(super) const BATCHES_AT: u32 = 1024;
/// Length of a header or a mark.
pub(super) const FRAME_LEN: usize = 72;
/// Length of a batch's envelope before its facts.
pub(super) const ENVELOPE_LEN: usize = 96;

const HEADER_MAGIC: [u8; 4] = *b"LHsg";
const MARK_MAGIC: [u8; 4] = *b"LHmk";
pub(super) const BATCH_MAGIC: [u8; 4] = *b"LHbt";

/// A SHA-256 hash.
pub(super) type Hash = [u8; 32];

/// The chain's hash before the first record.
pub(super) const GENESIS: Hash = [0; 32];

/// Opens a segment; never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) format: u32,
    /// Length of the file while it holds payloads.
    pub(super) size: u32,
    pub(super) log_id: [u8; 16],
    /// Position of the first record; also the file's name.
    pub(super) first: u64,
    /// The chain's hash before that record.
    pub(super) prev: Hash,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; FRAME_LEN] {
        let mut content = Vec::with_capacity(FRAME_LEN);
        content.extend(self.format.to_le_bytes());
        content.extend(self.size.to_le_bytes());
        content.extend(self.log_id);
        content.extend(self.first.to_le_bytes());
        content.extend(self.prev);
        frame(HEADER_MAGIC, 0, &content)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut content = unframe(HEADER_MAGIC, 0, bytes)?;
        Some(Self {
            format: content.u32()?,
            size: content.u32()?,
            log_id: content.array()?,
            first: content.u64()?,
            prev: content.array()?,
        })
    }

    /// What every other checksum of the segment continues.
    pub(super) fn seed(&self) -> u32 {
        crc32c(&self.encode()[8..])
    }
}

/// What is known to be on disk: rewritten after each sync, before the batch is acknowledged. The last one seals the
/// segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) sealed: bool,
    /// Where the facts end.
    pub(super) front: u32,
    /// Where the payloads begin.
    pub(super) back: u32,
    /// The position behind the last record.
    pub(super) next: u64,
    /// The latest time of any record up to here.
    pub(super) newest: Timestamp,
    /// The chain's hash at the last record.
    pub(super) hash: Hash,
}

impl Mark {
    pub(super) fn encode(&self, seed: u32) -> [u8; FRAME_LEN] {
        let mut content = Vec::with_capacity(FRAME_LEN);
        content.extend(u64::from(self.sealed).to_le_bytes());
        content.extend(self.front.to_le_bytes());
        content.extend(self.back.to_le_bytes());
        content.extend(self.next.to_le_bytes());
        content.extend(self.newest.0.to_le_bytes());
        content.extend(self.hash);
        frame(MARK_MAGIC, seed, &content)
    }

    pub(super) fn decode(bytes: &[u8], seed: u32) -> Option<Self> {
        let mut content = unframe(MARK_MAGIC, seed, bytes)?;
        Some(Self {
            sealed: content.u64()? == 1,
            front: content.u32()?,
            back: content.u32()?,
            next: content.u64()?,
            newest: Timestamp(content.u64()?),
            hash: content.array()?,
        })
    }
}

/// A mark whose checksum does not hold. If a write of it failed half-way, it begins like the new one and ends like the old
/// one: its `front` or its hash is that of a batch which is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MarkRemains {
    front: u32,
    hash: Hash,
}

impl MarkRemains {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Cursor(bytes);
        let (magic, _crc, _sealed) = (fields.array::<4>()?, fields.u32()?, fields.u64()?);
        let front = fields.u32()?;
        let _back_next_newest: [u8; 20] = fields.array()?;
        (magic == MARK_MAGIC).then_some(Self { front, hash: fields.array()? })
    }

    /// Whether it says that the log goes as far as a batch that ends at `front`.
    pub(super) fn names(&self, front: u32, hash: &Hash) -> bool {
        self.front == front || (self.hash == *hash && *hash != GENESIS)
    }
}

/// Stands before the facts of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    /// Of the envelope and the facts.
    pub(super) len: u32,
    /// How many records.
    pub(super) count: u32,
    /// Position of the first of them.
    pub(super) first: u64,
    /// Where the payloads of the batch begin.
    pub(super) payload_start: u32,
    pub(super) payload_len: u32,
    /// The chain's hash before the batch.
    pub(super) prev: Hash,
    /// SHA-256 of all of the above and the facts.
    pub(super) hash: Hash,
}

impl Envelope {
    /// Fills the room that was left for it in front of the facts, and answers the batch's hash.
    pub(super) fn write(&self, batch: &mut [u8], seed: u32) -> Hash {
        let mut head = Vec::with_capacity(ENVELOPE_LEN);
        head.extend(BATCH_MAGIC);
        head.extend([0; 4]);
        head.extend(self.len.to_le_bytes());
        head.extend(self.count.to_le_bytes());
        head.extend(self.first.to_le_bytes());
        head.extend(self.payload_start.to_le_bytes());
        head.extend(self.payload_len.to_le_bytes());
        head.extend(self.prev);
        batch[..64].copy_from_slice(&head);
        let hash = chain(batch);
        batch[64..ENVELOPE_LEN].copy_from_slice(&hash);
        let crc = crc32c_append(seed, &batch[8..]);
        batch[4..8].copy_from_slice(&crc.to_le_bytes());
        hash
    }

    /// Reads the envelope without judging its checksum, which needs the whole batch: [`Envelope::holds`].
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Cursor(bytes);
        let magic: [u8; 4] = fields.array()?;
        let _crc = fields.u32()?;
        let envelope = Self {
            len: fields.u32()?,
            count: fields.u32()?,
            first: fields.u64()?,
            payload_start: fields.u32()?,
            payload_len: fields.u32()?,
            prev: fields.array()?,
            hash: fields.array()?,
        };
        (magic == BATCH_MAGIC && envelope.len as usize >= ENVELOPE_LEN).then_some(envelope)
    }

    /// Whether the checksum of the whole batch holds.
    pub(super) fn holds(batch: &[u8], seed: u32) -> bool {
        let mut fields = Cursor(batch);
        fields.u32().is_some() && fields.u32() == Some(crc32c_append(seed, fields.0))
    }
}

/// The chain's hash at the end of `batch`.
pub(super) fn chain(batch: &[u8]) -> Hash {
    Sha256::new().chain_update(&batch[8..64]).chain_update(&batch[ENVELOPE_LEN..]).finalize().into()
}

/// SHA-256 of a payload.
pub(super) fn digest(payload: &[u8]) -> Hash {
    Sha256::digest(payload).into()
}

fn frame(magic: [u8; 4], seed: u32, content: &[u8]) -> [u8; FRAME_LEN] {
    let mut bytes = [0; FRAME_LEN];
    bytes[..4].copy_from_slice(&magic);
    bytes[4..8].copy_from_slice(&crc32c_append(seed, content).to_le_bytes());
    bytes[8..].copy_from_slice(content);
    bytes
}

fn unframe(magic: [u8; 4], seed: u32, bytes: &[u8]) -> Option<Cursor<'_>> {
    let mut fields = Cursor(bytes.get(..FRAME_LEN)?);
    let sound = fields.array() == Some(magic) && fields.u32()? == crc32c_append(seed, fields.0);
    sound.then_some(fields)
}
