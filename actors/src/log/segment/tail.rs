//! The tail of the log: where appends get their places, under one lock, straight into the batch that is filling.

use super::{
    batch::Filling,
    format::{ENVELOPE_LEN, digest},
};
use crate::log::{Append, Appended, Expected, LogError, Position, StreamId};
use hashbrown::HashMap;
use parking_lot::{Condvar, Mutex};
use std::{
    collections::VecDeque,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::Thread,
    time::{Duration, Instant},
};

/// Longest body, and longest payload.
const RECORD_MAX: usize = 1024 * 1024;
const STREAM_MAX: usize = 255;
/// Buffers of written batches that are kept for the next ones.
const RECYCLED_MAX: usize = 64;

/// How much one batch takes before the next is begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) batch_facts: usize,
    /// What fits an empty segment: the most that can be appended as one.
    pub(super) append_bytes: usize,
}

/// What appenders and the writer share.
#[derive(Debug)]
pub(super) struct Tail {
    limits: Limits,
    state: Mutex<State>,
    /// Told when the writer has sealed a segment on request, or has stopped.
    pub(super) progress: Condvar,
    /// Bytes that were appended and not yet written.
    queued: AtomicUsize,
    /// Free bytes on the disk while they are below the watermark; otherwise `u64::MAX`.
    pub(super) disk_free: AtomicU64,
    asleep: AtomicBool,
    /// When the write began that is under way.
    writing_since: Mutex<Option<Instant>>,
    writer: OnceLock<Thread>,
}

#[derive(Debug)]
pub(super) struct State {
    heads: HashMap<StreamId, Head>,
    filling: Filling,
    full: VecDeque<Filling>,
    /// Batches that were written, for their memory.
    recycled: Vec<Filling>,
    next: u64,
    /// Why no appends are taken any more.
    pub(super) closed: Option<String>,
    /// Asks the writer to begin a new segment.
    pub(super) seal: bool,
}

/// A stream's version, and its place in the batch that is filling, if it is there.
#[derive(Clone, Copy, Debug)]
struct Head {
    version: u64,
    batch: u64,
    place: usize,
}

impl Tail {
    pub(super) fn new(limits: Limits, next: u64, heads: HashMap<StreamId, u64>) -> Self {
        let heads = heads.into_iter().map(|(id, version)| (id, Head { version, batch: 0, place: 0 }));
        let mut filling = Filling::default();
        filling.reset(next);
        let state = State {
            heads: heads.collect(),
            filling,
            full: VecDeque::new(),
            recycled: Vec::new(),
            next,
            closed: None,
            seal: false,
        };
        Self {
            limits,
            state: Mutex::new(state),
            progress: Condvar::new(),
            queued: AtomicUsize::new(0),
            disk_free: AtomicU64::new(u64::MAX),
            asleep: AtomicBool::new(false),
            writing_since: Mutex::default(),
            writer: OnceLock::new(),
        }
    }

    /// Free bytes on the disk, while they are below the watermark.
    pub(super) fn low_space(&self) -> Option<u64> {
        Some(self.disk_free.load(Ordering::Relaxed)).filter(|&free| free != u64::MAX)
    }

    pub(super) fn append(
        &self,
        appends: &[Append<'_>],
        placed: &mut dyn FnMut(usize, Appended),
    ) -> Result<Appended, LogError> {
        self.check_sizes(appends)?;
        // Hashed before the lock is taken: it is most of the work.
        let payloads = appends.iter().flat_map(|a| a.records).filter_map(|r| r.payload.as_ref());
        let mut digests = payloads.map(|payload| digest(payload));
        let first = digests.next();
        if let Some(free) = self.low_space().filter(|_| first.is_some()) {
            return Err(LogError::DiskFull { free });
        }
        // Most appends have one payload or none, and need no vector.
        let rest: Vec<_> = digests.collect();
        let mut digests = first.into_iter().chain(rest);

        let mut state = self.state.lock();
        if let Some(reason) = &state.closed {
            return Err(LogError::Closed { reason: reason.clone() });
        }
        state.check_versions(appends)?;
        state.make_room(appends, &self.limits);
        let before = state.filling.size();
        let mut group = Appended { first: Position(state.next), last: Position(state.next - 1), version: 0 };
        for (i, append) in appends.iter().enumerate() {
            let appended = state.place(append, &mut digests);
            group = Appended { first: group.first, ..appended };
            placed(i, appended);
        }
        self.queued.fetch_add(state.filling.size() - before, Ordering::Relaxed);
        Ok(group)
    }

    fn check_sizes(&self, appends: &[Append<'_>]) -> Result<(), LogError> {
        let within =
            |size, limit| if size > limit { Err(LogError::TooLarge { size, limit }) } else { Ok(()) };
        for append in appends {
            within(append.stream.as_str().len(), STREAM_MAX)?;
            for record in append.records {
                within(record.body.len(), RECORD_MAX)?;
                within(record.payload.as_ref().map_or(0, bytes::Bytes::len), RECORD_MAX)?;
            }
        }
        within(appends.iter().map(Filling::bound).sum(), self.limits.append_bytes)
    }

    pub(super) fn kick(&self) {
        if self.queued() > 0 && self.asleep.swap(false, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Wakes the writer whatever is queued.
    pub(super) fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    pub(super) fn position(&self) -> Position {
        Position(self.state.lock().next - 1)
    }

    pub(super) fn version(&self, stream: &StreamId) -> u64 {
        self.state.lock().heads.get(stream).map_or(0, |head| head.version)
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Takes no more appends; the first reason stays.
    pub(super) fn close(&self, reason: &str) {
        self.state.lock().closed.get_or_insert_with(|| reason.to_owned());
        self.progress.notify_all();
    }

    pub(super) fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    /// For the writer, once: who is to be woken.
    pub(super) fn attend(&self) {
        let _ = self.writer.set(std::thread::current());
    }

    /// For the writer: whether the log was closed, and whether a seal was asked for.
    pub(super) fn asked(&self) -> (bool, bool) {
        let state = self.state.lock();
        (state.closed.is_some(), state.seal)
    }

    /// For the writer: what waits, oldest first, up to about `bytes`.
    pub(super) fn take(&self, bytes: usize) -> Vec<Filling> {
        let mut state = self.state.lock();
        if state.filling.count > 0 {
            let filling = state.turn_over();
            state.full.push_back(filling);
        }
        let mut room = bytes;
        let fits = |batch: &&Filling| {
            let fits = room > 0;
            room = room.saturating_sub(batch.size());
            fits
        };
        let count = state.full.iter().take_while(fits).count();
        state.full.drain(..count).collect()
    }

    /// For the writer: says that it sleeps, unless something waits already.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::Release);
        // Looked at after the announcement: an append before it would not have woken anyone.
        let state = self.state.lock();
        let idle = state.full.is_empty() && state.filling.count == 0 && state.closed.is_none() && !state.seal;
        drop(state);
        if !idle {
            self.wake_up();
        }
        idle
    }

    /// For the writer: whether nobody has kicked it since it fell asleep.
    pub(super) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Acquire)
    }

    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Release);
    }

    /// For the writer: since when it has been at it, if it is.
    pub(super) fn tell_writing(&self, since: Option<Instant>) {
        *self.writing_since.lock() = since;
    }

    pub(super) fn writing_for(&self) -> Option<Duration> {
        self.writing_since.lock().map(|since| since.elapsed())
    }

    /// For the writer: `batch` is on disk.
    pub(super) fn written(&self, mut batch: Filling) {
        self.queued.fetch_sub(batch.size() - ENVELOPE_LEN, Ordering::Relaxed);
        batch.reset(0); // its payloads are let go of here and now, not when it is used again
        let mut state = self.state.lock();
        if state.recycled.len() < RECYCLED_MAX {
            state.recycled.push(batch);
        }
    }
}

impl State {
    fn check_versions(&self, appends: &[Append<'_>]) -> Result<(), LogError> {
        for (i, append) in appends.iter().enumerate() {
            let Expected::Version(expected) = append.expected else { continue };
            let stored = self.heads.get(append.stream).map_or(0, |head| head.version);
            // Groups are a handful of appends, so looking back over them is cheaper than a map.
            let earlier = appends[..i].iter().filter(|earlier| earlier.stream == append.stream);
            let actual = stored + earlier.map(|earlier| earlier.records.len() as u64).sum::<u64>();
            if actual != expected {
                return Err(LogError::Conflict { stream: append.stream.clone(), expected, actual });
            }
        }
        Ok(())
    }

    /// Begins another batch if the present one is large enough, or would not fit a segment with this group. A group is never split.
    fn make_room(&mut self, appends: &[Append<'_>], limits: &Limits) {
        let size = self.filling.size() + appends.iter().map(Filling::bound).sum::<usize>();
        let over = self.filling.bytes.len() >= limits.batch_facts || size > limits.append_bytes;
        if over && self.filling.count > 0 {
            let full = self.turn_over();
            self.full.push_back(full);
        }
    }

    fn turn_over(&mut self) -> Filling {
        let mut fresh = self.recycled.pop().unwrap_or_default();
        fresh.reset(self.next);
        std::mem::replace(&mut self.filling, fresh)
    }

    fn place(&mut self, append: &Append<'_>, digests: &mut impl Iterator<Item = [u8; 32]>) -> Appended {
        let batch = self.filling.first;
        let head = match self.heads.get_mut(append.stream) {
            Some(head) => head,
            None => {
                self.heads.entry(append.stream.clone()).or_insert(Head { version: 0, batch: 0, place: 0 })
            }
        };
        let first = Position(self.next);
        if !append.records.is_empty() {
            let version = head.version + 1;
            head.version += append.records.len() as u64;
            if head.batch == batch {
                self.filling.streams[head.place].2 = head.version;
            } else {
                (head.batch, head.place) = (batch, self.filling.streams.len());
                self.filling.streams.push((append.stream.clone(), version, head.version));
            }
            self.filling.push(append, version, digests);
            self.next += append.records.len() as u64;
        }
        Appended { first, last: Position(self.next - 1), version: head.version }
    }
}
