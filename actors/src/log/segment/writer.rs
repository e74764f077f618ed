//! What writes: takes what has queued up, writes it, syncs once, tells. `writer/thread.rs` has who has it do so.
//!
//! A failed write or sync ends it for good. What the page cache and the disk hold then is unknown, so the file is
//! not touched again: the next start reads back what is really there.

mod thread;

pub(super) use thread::{Thread, spawn};

use super::{
    Options, Step,
    batch::Filling,
    bytes::narrow,
    folder::{During as _, File, Folder},
    format::{BATCHES_AT, Envelope, FORMAT, Header, MARK_AT},
    handle::Segment,
    index::Index,
    reader::SegmentReader,
    recovery::End,
    tail::Tail,
};
use crate::{
    failpoint,
    log::{
        LogError, Position,
        disk::{Access, is_want},
    },
};
use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How often the free space is asked for.
const SPACE_CHECK: Duration = Duration::from_secs(1);
/// More records in a sync than this mean that more are on their way.
const BUSY: u32 = 8;
/// About as much as one sync covers.
const SYNC_BYTES: usize = 4 * 1024 * 1024;

pub(super) struct Writer {
    tail: Arc<Tail>,
    reader: Arc<SegmentReader>,
    options: Options,
    log_id: [u8; 16],
    segment: Arc<Segment>,
    file: Arc<File>,
    end: End,
    /// The next segment's file, in the making.
    spare: Option<JoinHandle<io::Result<Arc<File>>>>,
    /// Batches that were taken and not yet written: more than none only while the disk is full.
    waiting: VecDeque<Filling>,
    /// Batches that are written and not synced, and where.
    unsynced: Vec<(u32, Filling)>,
    payloads: Vec<u8>,
    /// When the last sync was set about, and how many records it covered.
    last_sync: (Instant, u32),
    /// When it was over, and whether it had followed soon upon the one before.
    synced: (Instant, bool),
    /// How long the last writes and their sync took.
    took: Duration,
    last_space_check: Option<Instant>,
    /// What kept the next segment from being made, while it does.
    want: Option<io::Error>,
}

/// What a turn of the writer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Something was written and is durable.
    Worked,
    /// There was nothing to do.
    Idle,
    /// There is no space for another segment, or no descriptor; what waits stays.
    Full,
    /// The log was closed, and all is written.
    Ended,
}

impl Writer {
    pub(super) fn new(
        tail: Arc<Tail>,
        reader: Arc<SegmentReader>,
        options: Options,
        log_id: [u8; 16],
        (segment, end): (Arc<Segment>, End),
    ) -> Result<Self, LogError> {
        let file = reader.folder.open(&segment.path, Access::Write)?;
        Ok(Self {
            tail,
            reader,
            options,
            log_id,
            segment,
            file,
            end,
            spare: None,
            waiting: VecDeque::new(),
            unsynced: Vec::new(),
            payloads: Vec::new(),
            last_sync: (Instant::now(), 0),
            synced: (Instant::now(), false),
            took: Duration::ZERO,
            last_space_check: None,
            want: None,
        })
    }

    /// Ends the log: nothing is taken any more, and what is not durable never will be.
    pub(super) fn fail(&self, error: &LogError) {
        if !self.reader.watermark.failed() {
            let source = error as &dyn std::error::Error;
            tracing::error!(error = source, "the log writer failed, nothing is written any more");
        }
        self.tail.close(&format!("{error}"));
        self.reader.watermark.fail();
    }

    /// Takes what has queued up, writes it, syncs once, tells.
    pub(super) fn turn(&mut self) -> Result<Turn, LogError> {
        if self.reader.watermark.failed() {
            return Err(LogError::Closed { reason: "the log writer failed".to_owned() });
        }
        self.check_space()?;
        self.space_out();
        // Asked before the take: what was appended before the end was asked for is still written.
        let (closed, seal) = self.tail.asked();
        let turn = self.write_queued(closed)?;
        if turn != Turn::Idle {
            return Ok(turn);
        }
        if seal && !self.seal()? {
            return self.out_of_space(closed);
        }
        if closed {
            self.finish()?;
            return Ok(Turn::Ended);
        }
        Ok(Turn::Idle)
    }

    /// Writes and syncs what has queued up, if anything has.
    fn write_queued(&mut self, closed: bool) -> Result<Turn, LogError> {
        if self.waiting.is_empty() {
            self.waiting.extend(self.tail.take(SYNC_BYTES));
        }
        if self.waiting.is_empty() {
            return Ok(Turn::Idle);
        }
        let began = Instant::now();
        self.tail.tell_writing(Some(began));
        let turn = self.write_waiting(began, closed);
        self.tail.tell_writing(None);
        turn
    }

    fn write_waiting(&mut self, began: Instant, closed: bool) -> Result<Turn, LogError> {
        let soon = thread::is_soon(began.saturating_duration_since(self.synced.0));
        self.last_sync = (began, self.waiting.iter().map(|batch| batch.count).sum());
        while let Some(batch) = self.waiting.pop_front() {
            if !self.make_room(&batch)? {
                self.waiting.push_front(batch);
                return self.out_of_space(closed);
            }
            self.write(batch)?;
        }
        self.sync()?;
        self.prepare_spare();
        self.synced = (Instant::now(), soon);
        self.took = began.elapsed();
        Ok(Turn::Worked)
    }

    /// While the disk is full or no descriptor is left, what is queued stays queued and goes on once there is one; but a
    /// log that is to be closed does not wait for it.
    fn out_of_space(&mut self, closed: bool) -> Result<Turn, LogError> {
        self.last_space_check = None;
        self.check_space()?;
        if closed {
            let full = Err(self.want.take().unwrap_or_else(|| ErrorKind::StorageFull.into()));
            return full.during("create", &self.reader.folder.spare());
        }
        Ok(Turn::Full)
    }

    /// Sees to it that the batch fits the segment; false if that takes another one, for which there is no space.
    fn make_room(&mut self, batch: &Filling) -> Result<bool, LogError> {
        if batch.size() <= (self.end.back - self.end.front) as usize {
            return Ok(true);
        }
        self.sync()?;
        self.begin_segment()
    }

    /// Under load a sync begins no sooner than `spacing` after the one before: fewer, larger ones. A lone record is
    /// written at once.
    fn space_out(&self) {
        let (began, count) = self.last_sync;
        if count > BUSY
            && let Some(rest) = self.options.spacing.checked_sub(began.elapsed())
        {
            std::thread::sleep(rest);
        }
    }

    fn write(&mut self, mut batch: Filling) -> Result<(), LogError> {
        let offset = self.end.front;
        self.end = self.seal_batch(&mut batch);
        let path = &self.segment.path;
        let written = self.file.write_all_at(&batch.bytes, u64::from(offset));
        written.and_then(|()| self.options.reached(Step::FactsWritten)).during("write", path)?;
        self.payloads.clear();
        for payload in &batch.payloads {
            self.payloads.extend_from_slice(payload);
        }
        let written = self.file.write_all_at(&self.payloads, u64::from(self.end.back));
        written.and_then(|()| self.options.reached(Step::PayloadsWritten)).during("write", path)?;
        self.unsynced.push((offset, batch));
        Ok(())
    }

    /// Makes everything durable that was written, and says so.
    fn sync(&mut self) -> Result<(), LogError> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let path = &self.segment.path;
        failpoint::hit("log.sync");
        self.options.reached(Step::Sync).and_then(|()| self.file.sync_data()).during("sync", path)?;
        self.mark()?;
        self.options.reached(Step::Marked).during("write", path)?;
        self.segment.grow(self.end.front, |index| {
            for (offset, batch) in &self.unsynced {
                index.add_batch(batch, *offset);
            }
        });
        for (_, batch) in self.unsynced.drain(..) {
            self.tail.written(batch);
        }
        self.reader.watermark.advance(Position(self.end.next - 1));
        Ok(())
    }

    /// Writes the envelope and answers where the log will end with this batch.
    fn seal_batch(&self, batch: &mut Filling) -> End {
        let End { front, back, hash, newest, .. } = self.end;
        let envelope = Envelope {
            len: narrow(batch.bytes.len()),
            count: batch.count,
            first: batch.first,
            payload_start: back - narrow(batch.payload_len),
            payload_len: narrow(batch.payload_len),
            prev: hash,
            hash: [0; 32],
        };
        End {
            front: front + envelope.len,
            back: envelope.payload_start,
            hash: envelope.write(&mut batch.bytes, self.segment.seed),
            next: batch.first + u64::from(batch.count),
            newest: newest.max(batch.newest),
        }
    }

    /// Says in the segment's mark how far it is on disk, before anyone else is told: recovery then takes nothing for
    /// a torn tail that was acknowledged. It goes to disk with the next sync; until then a kill cannot lose it, and
    /// after a power cut the batches stand for themselves.
    fn mark(&self) -> Result<(), LogError> {
        let mark = self.end.mark(false).encode(self.segment.seed);
        self.file.write_all_at(&mark, MARK_AT).during("write", &self.segment.path)
    }

    fn finish(&mut self) -> Result<(), LogError> {
        self.mark()?;
        self.file.sync_data().during("sync", &self.segment.path)?;
        if let Some(spare) = self.spare.take() {
            let _ = spare.join();
            self.reader.folder.remove(&self.reader.folder.spare())?;
        }
        Ok(())
    }

    /// Seals the segment because someone asked for it; false if there is no space for another.
    fn seal(&mut self) -> Result<bool, LogError> {
        let sealed = self.end.front == BATCHES_AT || self.begin_segment()?;
        self.tail.state().seal &= !sealed;
        Ok(sealed)
    }

    /// Goes on in a new segment. It is made durable, name and all, before the old one is sealed: so a sealed
    /// segment always has a successor, and one that is missing is noticed. False if there is no space for it.
    fn begin_segment(&mut self) -> Result<bool, LogError> {
        let header = Header {
            format: FORMAT,
            size: self.options.segment_size,
            log_id: self.log_id,
            first: self.end.next,
            prev: self.end.hash,
        };
        let Some(file) = self.take_spare()? else { return Ok(false) };
        let folder = &self.reader.folder;
        self.options.reached(Step::SpareReady).during("write", &folder.spare())?;
        name_segment(folder, &*file, &header)?;
        self.options.reached(Step::SegmentNamed).during("rename", &folder.spare())?;

        let seal = self.end.mark(true);
        self.file
            .write_all_at(&seal.encode(self.segment.seed), MARK_AT)
            .during("write", &self.segment.path)?;
        self.options.reached(Step::SealWritten).during("write", &self.segment.path)?;
        self.file.sync_data().during("sync", &self.segment.path)?;

        let next = Arc::new(Segment::open(folder, header, BATCHES_AT, Index::default()));
        self.reader.segments.write().push(Arc::clone(&next));
        self.segment.close(folder, seal)?;
        self.options.reached(Step::IndexWritten).during("write", &self.segment.path)?;
        self.end = End { front: BATCHES_AT, back: header.size, newest: self.end.newest, ..self.end };
        (self.segment, self.file) = (next, file);
        drop(self.tail.state());
        self.tail.progress.notify_all();
        Ok(true)
    }

    /// The file for the next segment; `None` while the disk is full, or no descriptor is left.
    fn take_spare(&mut self) -> Result<Option<Arc<File>>, LogError> {
        let folder = &self.reader.folder;
        let made = match self.spare.take().map(JoinHandle::join) {
            Some(Ok(made)) => made,
            _ => make_spare(folder, self.options.segment_size, false),
        };
        match made {
            Err(error) if is_want(&error) => {
                if self.want.is_none() {
                    tracing::warn!(%error, "the next segment of the log cannot be made yet, what is to be written waits");
                }
                self.want = Some(error);
                Ok(None)
            }
            made => {
                if made.is_ok() && self.want.take().is_some() {
                    tracing::info!("the next segment of the log is made, writing goes on");
                }
                made.map(Some).during("create", &folder.spare())
            }
        }
    }

    /// Has the next segment's file made once half of this one is used.
    fn prepare_spare(&mut self) {
        if self.options.spare_ahead
            && self.spare.is_none()
            && (self.end.back - self.end.front) < self.segment.header.size / 2
        {
            let (folder, size, zeroes) =
                (self.reader.folder.clone(), self.options.segment_size, self.options.zero_fill);
            let thread = std::thread::Builder::new().name("log-spare".to_owned());
            self.spare = thread.spawn(move || make_spare(&folder, size, zeroes)).ok();
        }
    }

    fn check_space(&mut self) -> Result<(), LogError> {
        if self.last_space_check.is_some_and(|last| last.elapsed() < SPACE_CHECK) {
            return Ok(());
        }
        self.last_space_check = Some(Instant::now());
        let folder = &self.reader.folder;
        let free = folder.disk.free_bytes(&folder.path).during("ask for free space of", &folder.path)?;
        let low = free < self.options.min_free_bytes;
        let shown = if low { free } else { u64::MAX };
        if (self.tail.disk_free.swap(shown, Ordering::Relaxed) != u64::MAX) != low {
            tracing::warn!(free, low, "disk space crossed the watermark");
        }
        Ok(())
    }
}

/// Writes the header and the first mark and gives the file its name, in an order that leaves a whole segment or none.
pub(super) fn name_segment(folder: &Folder, file: &File, header: &Header) -> Result<(), LogError> {
    let spare = folder.spare();
    file.write_all_at(&header.encode(), 0).during("write", &spare)?;
    let mark = End::of(header).mark(false).encode(header.seed());
    file.write_all_at(&mark, MARK_AT).during("write", &spare)?;
    file.sync_all().during("sync", &spare)?;
    folder.disk.rename(&spare, &folder.segment(header.first)).during("rename", &spare)?;
    folder.sync()
}

/// Makes an empty file of a segment's size, its blocks reserved. Overwriting blocks that hold zeroes already halves
/// the cost of a sync: docs/log-format.md has the figures.
pub(super) fn make_spare(folder: &Folder, size: u32, zeroes: bool) -> io::Result<Arc<File>> {
    let file = folder.disk.open(&folder.spare(), Access::Create)?;
    file.reserve(u64::from(size))?;
    if zeroes {
        let piece = vec![0; 1024 * 1024];
        for at in (0..u64::from(size)).step_by(piece.len()) {
            let len = piece.len().min(usize::try_from(u64::from(size) - at).unwrap_or(piece.len()));
            file.write_all_at(&piece[..len], at)?;
            // Bit by bit, so that no sync of the log has to wait for all of it.
            file.sync_data()?;
        }
    }
    file.sync_all()?;
    Ok(file)
}
