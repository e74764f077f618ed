//! Who has the writer work: its own thread, which sleeps while there is nothing to write, and now and then a thread that
//! would only wait for that one.
//!
//! ```text
//!   kick ────> writer's thread ── turn: write, sync ──> watermark ──> whoever waits
//!   commit ──> the same, here and now, where that thread sleeps: two hand-overs between threads less
//! ```
//! Whoever holds the lock writes.

use super::{BUSY, Turn, Writer};
use crate::log::{
    LogError,
    segment::{format::ENVELOPE_LEN, reader::SegmentReader, tail::Tail},
};
use parking_lot::Mutex;
use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The thread looks for work by itself this often, should a kick ever be forgotten.
const TICK: Duration = Duration::from_millis(250);
/// About what it takes to be woken: for as long the thread stays awake behind a sync, where more comes that soon.
const PATIENCE: Duration = Duration::from_micros(100);
/// A disk that took longer for the last sync holds up nobody but the writer's own thread.
const PROMPT: Duration = Duration::from_millis(2);
/// More bytes than this are for the thread, too.
const SMALL: usize = 64 * 1024;

/// The writer's thread, and why it ended.
pub(in super::super) type Thread = JoinHandle<Result<(), LogError>>;

/// Gives the writer its thread.
pub(in super::super) fn spawn(writer: Writer) -> io::Result<(Arc<Mutex<Writer>>, Thread)> {
    let (tail, reader) = (Arc::clone(&writer.tail), Arc::clone(&writer.reader));
    let writer = Arc::new(Mutex::new(writer));
    let shared = Arc::clone(&writer);
    let thread = thread::Builder::new().name("log-writer".to_owned()).spawn(move || {
        let _fuse = Fuse(Arc::clone(&tail), reader);
        tail.attend();
        let ended = run(&shared, &tail);
        if let Err(error) = &ended {
            shared.lock().fail(error);
        }
        tail.progress.notify_all();
        ended
    })?;
    Ok((writer, thread))
}

fn run(writer: &Mutex<Writer>, tail: &Tail) -> Result<(), LogError> {
    loop {
        let turn = writer.lock().turn()?;
        match turn {
            Turn::Worked => {}
            Turn::Idle if !tail.fall_asleep() => {}
            Turn::Idle => {
                let (synced, soon) = writer.lock().synced;
                if !soon || !linger(tail, synced + PATIENCE) {
                    thread::park_timeout(TICK);
                }
                tail.wake_up();
            }
            Turn::Full => thread::park_timeout(TICK),
            Turn::Ended => return Ok(()),
        }
    }
}

/// Half asleep behind a sync: true once it is kicked, false if that takes longer than waking would. Saves one of two
/// hand-overs where each record waits for the one before, as in a single lane.
fn linger(tail: &Tail, until: Instant) -> bool {
    while Instant::now() < until {
        if !tail.is_asleep() {
            return true;
        }
        thread::yield_now();
    }
    false
}

/// Whether a sync that began so long after the end of the one before was worth lingering for.
pub(super) fn is_soon(pause: Duration) -> bool {
    pause < PATIENCE * 2
}

impl Writer {
    /// A turn on the caller's thread, which is held up for as long as the disk takes. False if that is not for a caller:
    /// much comes, the disk is slow or full, or the segment is.
    pub(in super::super) fn commit(&mut self) -> bool {
        let room = (self.end.back - self.end.front) as usize;
        let queued = self.tail.queued();
        let is_small = self.last_sync.1 <= BUSY && queued <= SMALL && queued + 2 * ENVELOPE_LEN <= room;
        if !is_small || self.took > PROMPT || !self.waiting.is_empty() || self.reader.watermark.failed() {
            return false;
        }
        let _fuse = Fuse(Arc::clone(&self.tail), Arc::clone(&self.reader));
        match self.write_queued(false) {
            Ok(turn) => turn != Turn::Full,
            Err(error) => {
                self.fail(&error);
                // The thread ends, too.
                self.tail.wake();
                true
            }
        }
    }
}

/// Ends the log however its writing ends, by a panic too.
struct Fuse(Arc<Tail>, Arc<SegmentReader>);

impl Drop for Fuse {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.close("the log writer panicked");
            self.1.watermark.fail();
            self.0.wake();
        }
    }
}
