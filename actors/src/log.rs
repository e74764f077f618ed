//! The one ordered log that is the truth of everything.
//!
//! *Apply at append, react at durable*: [`EventLog::append`] fixes the order and answers final positions at
//! once; that they are on disk is told later, a batch at a time, through the [`Watermark`]. A caller evolves
//! its state after `append` and holds back everything that the outside may see until the position is durable.
//!
//! The trait fits a local file and a shared database alike: no offsets, no paths, asynchronous durability,
//! expected versions per stream, a gapless tail from a position.

pub mod codec;
#[cfg(test)]
pub(crate) mod conformance;
pub(crate) mod disk;
pub mod memory;
pub mod replay;
pub mod segment;
pub mod snapshot;

use crate::domain::time::Timestamp;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    future::poll_fn,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

/// Index of a record in the whole log: 1, 2, 3 … without gaps. Zero means "before the first".
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    /// Before the first record.
    pub const START: Self = Self(0);

    /// The position right behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Name of a stream, `category/id`: `tenant/…`, `pipeline/…`, `intake/…`, `engine`. At most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(pub Arc<str>);

impl StreamId {
    /// Makes a stream name; the caller keeps it within 255 bytes.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first slash.
    #[must_use]
    pub fn category(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a writer believes of a stream at the moment of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: the writer owns the stream by construction.
    Any,
    /// The stream has exactly so many records; 0 means that it does not exist.
    Version(u64),
}

/// One record to be appended. `kind` and `format` belong to the codec above; the log stores them as given.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// Which fact this is; see `domain::event`.
    pub kind: u16,
    /// How `body` is encoded, and in which schema version.
    pub format: u8,
    /// The fact itself, small. At most 1 MiB.
    pub body: Vec<u8>,
    /// Bytes that belong to the fact but may expire before it (an event's data, a response excerpt).
    /// The chain covers only their SHA-256 digest. At most 1 MiB.
    pub payload: Option<Bytes>,
}

/// A record as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Place in the whole log.
    pub position: Position,
    /// The stream that it belongs to.
    pub stream: StreamId,
    /// Place in the stream: 1, 2, 3 …
    pub version: u64,
    /// When it was appended, by the writer's clock.
    pub at: Timestamp,
    /// Which fact.
    pub kind: u16,
    /// Encoding of `body`.
    pub format: u8,
    /// The fact.
    pub body: Bytes,
    /// Length and SHA-256 of the payload, if there is one.
    pub payload: Option<PayloadInfo>,
}

/// What the chain keeps of a payload for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadInfo {
    /// Length in bytes.
    pub len: u32,
    /// SHA-256.
    pub digest: [u8; 32],
}

/// Where an append landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Position of its first record.
    pub first: Position,
    /// Position of its last record; durable at or above this means that all of it is on disk.
    pub last: Position,
    /// Version of the stream after it.
    pub version: u64,
}

/// Why the log could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another writer was there first, or the caller's state is old.
    #[error("stream `{stream}` is at version {actual}, not {expected}")]
    Conflict { stream: StreamId, expected: u64, actual: u64 },
    /// A record is larger than the format can hold.
    #[error("record of {size} bytes is over the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    /// The log takes no appends: it is shutting down, out of space, or has failed.
    #[error("the log takes no appends: {reason}")]
    Closed { reason: String },
    /// Free disk space fell below the watermark.
    #[error("disk space is below the watermark ({free} bytes free)")]
    DiskFull { free: u64 },
    /// No record with this position (any more, or yet).
    #[error("no record at position {0}")]
    NotFound(Position),
    /// Stored bytes contradict their checksums or the chain.
    #[error("damage in `{}` at byte {offset}: {what}", path.display())]
    Damaged { path: PathBuf, offset: u64, what: String },
    /// Another process owns the data folder.
    #[error("`{}` is in use by another process", .0.display())]
    Locked(PathBuf),
    /// The data folder was written by a newer version.
    #[error("`{}` has format {found}, and this version reads up to {supported}", path.display())]
    NewerFormat { path: PathBuf, found: u32, supported: u32 },
    /// The operating system refused.
    #[error("cannot {what} `{}`", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// One append: records that become visible together, in this order, or not at all.
pub struct Append<'a> {
    /// The stream that takes them.
    pub stream: &'a StreamId,
    /// What the writer believes of the stream.
    pub expected: Expected,
    /// The writer's clock.
    pub at: Timestamp,
    /// At least one.
    pub records: &'a [NewRecord],
}

/// The log, as everything above it sees it. All methods may be called from any thread.
pub trait EventLog: Send + Sync + 'static {
    /// Fixes the place of one or more appends in the log, all or nothing, and calls `placed` for each append,
    /// in order, while no other append can come between. `placed` must be short and must not call the log.
    ///
    /// Nothing is durable yet, and the writer may be asleep: call [`EventLog::kick`] once at the end of a turn.
    fn append(
        &self,
        appends: &[Append<'_>],
        placed: &mut dyn FnMut(usize, Appended),
    ) -> Result<Appended, LogError>;

    /// Wakes the writer if something waits to be written. Cheap when it is awake already.
    fn kick(&self);

    /// Kicks, or does the writer's work here and now: for a caller that has nothing to do before it is done. Blocks for
    /// at most one sync.
    fn commit(&self) {
        self.kick();
    }

    /// Position of the last record that was appended, durable or not.
    fn tail(&self) -> Position;

    /// Tells how far the log is durable, and wakes those who wait for it.
    fn watermark(&self) -> &Arc<Watermark>;

    /// Durable records from `from` on, in order, until `max_records` or about `max_bytes` are read.
    /// An empty answer means that the durable end is reached.
    fn read(&self, from: Position, max_records: usize, max_bytes: usize) -> Result<Vec<Record>, LogError>;

    /// Visits durable records from `from` on without copying them; stops at the durable end or when `visit`
    /// answers false. Returns the position behind the last record that was visited, the one that `visit` answered
    /// false to included. This is the loop of every fold.
    fn scan(
        &self,
        from: Position,
        visit: &mut dyn FnMut(RecordRef<'_>) -> bool,
    ) -> Result<Position, LogError>;

    /// One record.
    fn read_at(&self, position: Position) -> Result<Record, LogError>;

    /// The payload of the record at `position`: `None` if it had none, or if it has expired.
    fn payload(&self, position: Position) -> Result<Option<Bytes>, LogError>;

    /// Records of one stream from version `from` (1 is the first) on.
    fn read_stream(&self, stream: &StreamId, from: u64, max_records: usize) -> Result<Vec<Record>, LogError>;

    /// How many records the stream has.
    fn stream_version(&self, stream: &StreamId) -> u64;

    /// The lowest position that can still be read.
    fn floor(&self) -> Position;

    /// Hash of the chain at the end of the batch that holds `position`.
    fn chain_hash(&self, position: Position) -> Result<[u8; 32], LogError>;

    /// Free bytes on the disk, while they are too few for new payloads.
    fn low_space(&self) -> Option<u64> {
        None
    }

    /// How long the write that is under way, its sync included, has taken so far; `None` while there is none.
    fn writing_for(&self) -> Option<Duration> {
        None
    }

    /// Writes and syncs what is queued, then refuses further appends. Blocks; idempotent.
    fn close(&self) -> Result<(), LogError>;
}

/// A record in place, borrowed from the reader's buffer.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// Place in the whole log.
    pub position: Position,
    /// The stream that it belongs to.
    pub stream: &'a str,
    /// Place in the stream.
    pub version: u64,
    /// When it was appended.
    pub at: Timestamp,
    /// Which fact.
    pub kind: u16,
    /// Encoding of `body`.
    pub format: u8,
    /// The fact.
    pub body: &'a [u8],
    /// Length and digest of the payload.
    pub payload: Option<PayloadInfo>,
}

/// How far the log is durable: one number, and the threads that wait for it.
///
/// Each thread that appends registers one [`Follower`]. The writer publishes the number after a sync and wakes
/// only the followers that said they wait, so that nothing per record crosses a thread on the way back.
#[derive(Debug, Default)]
pub struct Watermark {
    durable: AtomicU64,
    failed: AtomicBool,
    followers: Mutex<Vec<Arc<Follower>>>,
}

impl Watermark {
    /// The last durable position.
    #[must_use]
    pub fn get(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }

    /// Whether the writer has failed for good: what is not durable now never will be.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Adds a follower; it stays until it is dropped by its owner.
    #[must_use]
    pub fn follow(&self) -> Arc<Follower> {
        let follower = Arc::new(Follower::default());
        let mut followers = self.followers.lock();
        followers.retain(|f| Arc::strong_count(f) > 1);
        followers.push(Arc::clone(&follower));
        follower
    }

    /// For backends: everything up to `position` is on disk.
    pub fn advance(&self, position: Position) {
        self.durable.fetch_max(position.0, Ordering::Release);
        self.wake();
    }

    /// For backends: nothing more will become durable.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        for follower in self.followers.lock().iter() {
            if follower.waiting.swap(false, Ordering::AcqRel) {
                follower.waker.wake();
            }
        }
    }

    /// Waits until `position` is durable; false if the log failed before. For cold paths and tests: hot paths
    /// keep a queue per thread and one follower.
    pub async fn reached(&self, position: Position) -> bool {
        let follower = self.follow();
        poll_fn(|cx| follower.poll_reached(self, position, cx)).await
    }

    /// The same for a thread that may block.
    pub(crate) fn wait(&self, position: Position) -> bool {
        let (follower, waker) = (self.follow(), Waker::from(Arc::new(Unpark(thread::current()))));
        loop {
            match follower.poll_reached(self, position, &mut Context::from_waker(&waker)) {
                Poll::Ready(reached) => return reached,
                Poll::Pending => thread::park(),
            }
        }
    }
}

/// One waiting thread's place at the [`Watermark`].
#[derive(Debug, Default)]
pub struct Follower {
    waiting: AtomicBool,
    waker: AtomicWaker,
}

impl Follower {
    /// Ready with true once `position` is durable, with false once the log has failed.
    pub fn poll_reached(
        &self,
        watermark: &Watermark,
        position: Position,
        cx: &mut Context<'_>,
    ) -> Poll<bool> {
        let look = || {
            if watermark.get() >= position { Some(true) } else { watermark.failed().then_some(false) }
        };
        if let Some(answer) = look() {
            return Poll::Ready(answer);
        }
        self.waker.register(cx.waker());
        self.waiting.store(true, Ordering::Release);
        // Looked at again after the registration: a sync that ended in between must not be missed.
        look().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Wakes a thread that is parked: for followers that are threads.
pub(crate) struct Unpark(pub(crate) Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
