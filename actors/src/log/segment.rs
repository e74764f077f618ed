//! The log on append-only files: one file per segment, one writer thread, one sync for all that queued up.
//!
//! ```text
//!  append ──lock──> tail: batch being filled ──> writer: write, sync, advance ──> readers, by their own handles
//!                   (positions fixed here)              │
//!                                                       └─ segment full: seal it, go on in the spare
//! ```
//! `docs/log-format.md` has every byte; `docs/decisions/0010-one-file-per-segment.md` says why it looks as it does.

mod anchor;
mod batch;
mod bytes;
mod folder;
mod format;
mod handle;
mod index;
mod reader;
mod recovery;
mod repair;
mod retention;
mod tail;
mod verify;
mod walk;
mod writer;

pub use reader::SegmentReader;
pub use recovery::TornTail;
pub use repair::{Cut, LostPayload, Repair};
pub use retention::{Erased, Expirable, Expired};
pub use verify::{Problem, Verified, verify};

use self::{
    folder::{During as _, Folder},
    format::{BATCHES_AT, ENVELOPE_LEN, FORMAT, GENESIS, Header},
    recovery::{Mode, recover},
    tail::{Limits, Tail},
    writer::Writer,
};
use crate::log::{
    Append, Appended, EventLog, LogError, Position, Record, RecordRef, StreamId, Watermark, disk::Lock,
};
use ::bytes::Bytes;
use parking_lot::Mutex;
use std::{path::Path, sync::Arc, thread::JoinHandle, time::Duration};

/// How the log uses its folder. Segments keep the size that they were made with.
#[derive(Clone)]
pub struct Options {
    /// Bytes per segment, at most 1 GiB. An append must fit one; the default of 64 MiB holds what the trait allows.
    pub segment_size: u32,
    /// Bytes of facts after which a batch is closed. A reader that wants one record reads and checks its batch; how
    /// many batches share a sync does not depend on this.
    pub batch_facts: usize,
    /// Least time between the beginnings of two syncs while there is much to write.
    pub spacing: Duration,
    /// Below this, appends with payloads are refused with [`LogError::DiskFull`]; facts alone go on.
    pub min_free_bytes: u64,
    /// Whether the next segment is made ahead of time, on a thread of its own.
    pub spare_ahead: bool,
    /// Whether it is filled with zeroes then, which halves the cost of a sync.
    pub zero_fill: bool,
    /// Whether an unfinished repair is no hindrance: the repair itself has to write into the log.
    pub repairing: bool,
    /// Tests fail a step here, or look at the folder as a crash would leave it.
    #[cfg(any(test, feature = "chaos"))]
    pub probe: Option<Arc<dyn Fn(Step) -> std::io::Result<()> + Send + Sync>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_size: 64 << 20,
            batch_facts: 16 << 10,
            spacing: Duration::from_micros(500),
            min_free_bytes: 256 << 20,
            spare_ahead: true,
            zero_fill: true,
            repairing: false,
            #[cfg(any(test, feature = "chaos"))]
            probe: None,
        }
    }
}

/// Moments in a writer's life that a test may want to stop at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A batch's facts are written, its payloads are not.
    FactsWritten,
    /// All of a batch is written, not synced.
    PayloadsWritten,
    /// The sync itself, of all batches written since the last.
    Sync,
    /// The mark says that they are on disk; nobody has been told.
    Marked,
    /// The next segment's file lies ready without a name.
    SpareReady,
    /// It has its name; the old segment is not sealed.
    SegmentNamed,
    /// The seal is written, not synced.
    SealWritten,
    /// The sealed segment has its index.
    IndexWritten,
}

impl Options {
    #[cfg(any(test, feature = "chaos"))]
    fn reached(&self, step: Step) -> std::io::Result<()> {
        self.probe.as_ref().map_or(Ok(()), |probe| probe(step))
    }

    #[cfg(not(any(test, feature = "chaos")))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "only tests can fail a step")]
    fn reached(&self, _step: Step) -> std::io::Result<()> {
        Ok(())
    }

    /// What the tail has to keep to so that every batch fits an empty segment.
    fn limits(&self) -> Limits {
        let room = (self.segment_size.clamp(BATCHES_AT * 2, 1 << 30) - BATCHES_AT) as usize;
        Limits { batch_facts: self.batch_facts, append_bytes: room - ENVELOPE_LEN }
    }
}

/// What an open found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// Whether the log was made just now.
    pub created: bool,
    /// The lowest position that can be read.
    pub first: Position,
    /// The last durable record.
    pub last: Position,
    /// How many segments there are.
    pub segments: usize,
    /// How many streams have records.
    pub streams: usize,
    /// What a crash left behind the last durable record; it was never acknowledged and has been cut.
    pub torn: Option<TornTail>,
    /// Indexes that were missing or damaged and have been built again.
    pub indexes_rebuilt: usize,
}

/// The embedded log. One process has a folder open at a time.
pub struct SegmentLog {
    tail: Arc<Tail>,
    reader: Arc<SegmentReader>,
    /// None where a test writes by steps.
    writer: Option<Arc<Mutex<Writer>>>,
    thread: Mutex<Option<writer::Thread>>,
    /// Held while segments are removed or changed.
    retention: Mutex<()>,
    log_id: [u8; 16],
    _lock: Lock,
}

impl SegmentLog {
    /// Whether there is a log in `dir`, whole or not.
    pub fn is_in(dir: impl AsRef<Path>) -> Result<bool, LogError> {
        let folder = Folder::at(dir);
        Ok(folder.path.is_dir() && (folder.log_id()?.is_some() || !folder.segments()?.is_empty()))
    }

    /// Opens the log in `dir`, or makes one. A newer format is refused before anything is touched.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<(Self, OpenReport), LogError> {
        let (mut log, writer, report) = Self::prepare(Folder::at(dir), options)?;
        let (writer, thread) =
            writer::spawn(writer).during("start the writer of", &log.reader.folder.path)?;
        (log.writer, log.thread) = (Some(writer), Mutex::new(Some(thread)));
        Ok((log, report))
    }

    /// Opens the log without anyone who writes.
    fn prepare(mut folder: Folder, mut options: Options) -> Result<(Self, Writer, OpenReport), LogError> {
        options.segment_size = options.segment_size.clamp(BATCHES_AT * 2, 1 << 30);
        folder.disk.create_folder(&folder.path).during("create", &folder.path)?;
        let known = folder.log_id()?;
        let lock = folder.lock()?;
        folder.keep_open()?;
        if !options.repairing {
            repair::check_finished(&folder)?;
        }
        folder.remove(&folder.spare())?;
        let known = if known.is_some() { known } else { recovery::adopt(&folder)? };
        if known.is_none() {
            create(&folder, &options)?;
        }
        let recovered = recover(&folder, Mode::Repair)?;
        retention::remove_leftovers(&folder, &recovered.segments)?;

        let report = OpenReport {
            created: known.is_none(),
            first: Position(recovered.segments.first().map_or(1, |segment| segment.first())),
            last: Position(recovered.end.next - 1),
            segments: recovered.segments.len(),
            streams: recovered.heads.len(),
            torn: recovered.torn,
            indexes_rebuilt: recovered.indexes_rebuilt,
        };
        let active = recovered.segments.last().map(Arc::clone);
        let active = active.ok_or_else(|| folder::damaged(&folder.path, 0, "no segments"))?;
        let reader = Arc::new(SegmentReader::new(folder, recovered.segments));
        reader.watermark.advance(report.last);
        let tail = Arc::new(Tail::new(options.limits(), recovered.end.next, recovered.heads));
        let place = (active, recovered.end);
        let writer = Writer::new(Arc::clone(&tail), Arc::clone(&reader), options, recovered.log_id, place)?;
        let log = Self {
            tail,
            reader,
            writer: None,
            thread: Mutex::default(),
            retention: Mutex::new(()),
            log_id: recovered.log_id,
            _lock: lock,
        };
        Ok((log, writer, report))
    }

    /// Bytes that were appended and are not on disk yet. The log itself never makes an appender wait, since that
    /// would stop a whole arbiter: intake keeps this bounded by its permits.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.tail.queued()
    }

    /// The reading half, which outlives the log's writer.
    #[must_use]
    pub fn reader(&self) -> &Arc<SegmentReader> {
        &self.reader
    }
}

/// Makes an empty log: its first segment, then `FORMAT`, which says that there is one.
fn create(folder: &Folder, options: &Options) -> Result<(), LogError> {
    let mut log_id = [0; 16];
    getrandom::fill(&mut log_id).map_err(std::io::Error::other).during("draw an id for", &folder.path)?;
    let header = Header { format: FORMAT, size: options.segment_size, log_id, first: 1, prev: GENESIS };
    let file = writer::make_spare(folder, options.segment_size, false).during("create", &folder.spare())?;
    writer::name_segment(folder, &*file, &header)?;
    folder.put_log_id(log_id)?;
    folder.sync_own_name()
}

/// For fuzzing: decodes arbitrary bytes as a batch, its length and checksum made to hold so that the facts are
/// reached, and answers how many records came out. Never panics, and allocates no more than `bytes`.
#[cfg(any(test, feature = "chaos"))]
pub fn decode_any(bytes: &[u8]) -> Result<usize, &'static str> {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= ENVELOPE_LEN {
        bytes[..4].copy_from_slice(&format::BATCH_MAGIC);
        let len = bytes::narrow(bytes.len());
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    }
    let batch = batch::Batch::decode(&bytes, 0)?;
    batch.facts().try_fold(0, |count, fact| fact.map(|_| count + 1))
}

/// For `benches/hot`: a batch of these appends, each the first of its stream, encoded and sealed as the writer does it.
#[cfg(any(test, feature = "chaos"))]
#[must_use]
pub fn seal_any(appends: &[Append<'_>]) -> Vec<u8> {
    let mut batch = batch::Filling::default();
    batch.reset(1);
    for append in appends {
        let payloads = append.records.iter().filter_map(|record| record.payload.as_ref());
        batch.push(append, 1, &mut payloads.map(|payload| format::digest(payload)));
    }
    let envelope = format::Envelope {
        len: bytes::narrow(batch.bytes.len()),
        count: batch.count,
        first: batch.first,
        payload_start: 0,
        payload_len: bytes::narrow(batch.payload_len),
        prev: GENESIS,
        hash: [0; 32],
    };
    envelope.write(&mut batch.bytes, 0);
    batch.bytes
}

impl EventLog for SegmentLog {
    fn append(
        &self,
        appends: &[Append<'_>],
        placed: &mut dyn FnMut(usize, Appended),
    ) -> Result<Appended, LogError> {
        self.tail.append(appends, placed)
    }

    fn kick(&self) {
        self.tail.kick();
    }

    fn commit(&self) {
        let writer = self.writer.as_ref().filter(|_| self.tail.is_asleep());
        let committed = writer.and_then(|writer| writer.try_lock()).is_some_and(|mut writer| writer.commit());
        if !committed {
            self.kick();
        }
    }

    fn tail(&self) -> Position {
        self.tail.position()
    }

    fn watermark(&self) -> &Arc<Watermark> {
        &self.reader.watermark
    }

    fn read(&self, from: Position, max_records: usize, max_bytes: usize) -> Result<Vec<Record>, LogError> {
        self.reader.read(from, max_records, max_bytes)
    }

    fn scan(
        &self,
        from: Position,
        visit: &mut dyn FnMut(RecordRef<'_>) -> bool,
    ) -> Result<Position, LogError> {
        self.reader.scan(from, visit)
    }

    fn read_at(&self, position: Position) -> Result<Record, LogError> {
        self.reader.read_at(position)
    }

    fn payload(&self, position: Position) -> Result<Option<Bytes>, LogError> {
        self.reader.payload(position)
    }

    fn read_stream(&self, stream: &StreamId, from: u64, max_records: usize) -> Result<Vec<Record>, LogError> {
        self.reader.read_stream(stream, from, max_records)
    }

    fn stream_version(&self, stream: &StreamId) -> u64 {
        self.tail.version(stream)
    }

    fn floor(&self) -> Position {
        self.reader.floor()
    }

    fn chain_hash(&self, position: Position) -> Result<[u8; 32], LogError> {
        self.reader.chain_hash(position)
    }

    fn low_space(&self) -> Option<u64> {
        self.tail.low_space()
    }

    fn writing_for(&self) -> Option<Duration> {
        self.tail.writing_for()
    }

    fn close(&self) -> Result<(), LogError> {
        self.tail.close("it was closed");
        self.tail.wake();
        let mut thread = self.thread.lock();
        match thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(LogError::Closed { reason: "the log writer panicked".to_owned() }),
            None if self.reader.watermark.failed() => {
                Err(LogError::Closed { reason: "the log writer failed".to_owned() })
            }
            None => Ok(()),
        }
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(error = &error as &dyn std::error::Error, "the log did not close cleanly");
        }
    }
}

#[cfg(test)]
pub(crate) mod stepped;
#[cfg(test)]
mod tests;
