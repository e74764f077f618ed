//! Letting go: payloads expire, old segments are removed, single payloads are erased. The chain holds throughout,
//! because it covers digests of payloads and the anchor keeps the hash before the floor.

use super::{
    SegmentLog,
    anchor::Anchor,
    folder::{During as _, Folder},
    format::BATCHES_AT,
    handle::Segment,
    index::IndexFile,
    walk::AHEAD,
};
use crate::{
    domain::time::Timestamp,
    failpoint,
    log::{EventLog as _, LogError, Position, RecordRef, disk::Access},
};
use std::{ffi::OsStr, sync::Arc};

/// What stands, over and over, where a payload was erased. Zeroes would look like a disk that lost it.
const ERASED: &[u8; 8] = b"erased; ";

/// What an expiry let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Segments whose payloads are gone now.
    pub segments: usize,
    /// Bytes given back to the disk.
    pub bytes: u64,
}

/// What an erasure overwrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// How many.
    pub payloads: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A sealed segment that holds payloads, or the room for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expirable {
    /// Position of its first record: names it.
    pub first: Position,
    /// Position behind its last record.
    pub next: Position,
    /// Nothing in it is newer.
    pub newest: Timestamp,
    /// What the disk gets back.
    pub bytes: u64,
}

impl SegmentLog {
    /// Sealed segments that hold payloads and lie wholly below `below`, the oldest first.
    pub fn expirable(&self, below: Position) -> Result<Vec<Expirable>, LogError> {
        let mut found = Vec::new();
        for segment in self.sealed_below(below) {
            let Some(seal) = segment.seal() else { continue };
            let bytes = self.length(&segment)?.saturating_sub(u64::from(seal.front));
            if bytes > 0 {
                let (first, next) = (Position(segment.first()), Position(seal.next));
                found.push(Expirable { first, next, newest: seal.newest, bytes });
            }
        }
        Ok(found)
    }

    /// Lets go of the payloads of these segments, which [`SegmentLog::expirable`] has named. Their facts stay. A crash
    /// in between leaves some that are whole and some that are cut.
    pub fn expire(&self, segments: &[Expirable]) -> Result<Expired, LogError> {
        let _alone = self.retention.lock();
        let mut expired = Expired::default();
        for Expirable { first, .. } in segments {
            let segment = self.reader.segment_of(*first)?;
            let Some(seal) = segment.seal() else { continue };
            let file = self.reader.folder.open(&segment.path, Access::Write)?;
            let length = file.length().during("read", &segment.path)?;
            if length > u64::from(seal.front) {
                file.set_length(u64::from(seal.front)).during("truncate", &segment.path)?;
                file.sync_all().during("sync", &segment.path)?;
                expired.segments += 1;
                expired.bytes += length - u64::from(seal.front);
                failpoint::hit("log.expired");
            }
        }
        Ok(expired)
    }

    /// Lets go of the payloads of sealed segments that lie wholly below `below` and hold nothing newer than
    /// `older_than`.
    #[cfg(test)]
    pub fn expire_payloads(&self, older_than: Timestamp, below: Position) -> Result<Expired, LogError> {
        let mut segments = self.expirable(below)?;
        segments.retain(|segment| segment.newest < older_than);
        self.expire(&segments)
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> Result<u64, LogError> {
        let segments = self.reader.segments.read().clone();
        segments.iter().map(|segment| self.length(segment)).sum()
    }

    /// Begins a new segment if the one that is written began before `at`: payloads go with their segment, so one that
    /// fills slowly would keep them.
    pub fn seal_older_than(&self, at: Timestamp) -> Result<bool, LogError> {
        let Some(active) = self.reader.segments.read().last().cloned() else { return Ok(false) };
        let is_older = match self.reader.read_at(Position(active.first())) {
            Ok(record) => record.at < at,
            Err(LogError::NotFound(_)) => false, // it is empty
            Err(error) => return Err(error),
        };
        // Without space for another one this would wait for it.
        if !is_older || self.tail.low_space().is_some() {
            return Ok(false);
        }
        self.await_seal(&active)?;
        Ok(true)
    }

    fn length(&self, segment: &Segment) -> Result<u64, LogError> {
        self.reader.folder.open(&segment.path, Access::Read)?.length().during("read", &segment.path)
    }

    /// Removes sealed segments that lie wholly below `floor`, and answers the new floor, which is at most that.
    pub fn remove_below(&self, floor: Position) -> Result<Position, LogError> {
        let _alone = self.retention.lock();
        let removed = self.sealed_below(floor);
        let Some(seal) = removed.last().and_then(|segment| segment.seal()) else { return Ok(self.floor()) };
        let folder = &self.reader.folder;
        let mut anchor = Anchor::read(folder, self.log_id)?;
        (anchor.floor, anchor.hash) = (seal.next, seal.hash);
        for segment in &removed {
            if let Some(index) = IndexFile::open(folder, segment.first(), segment.seed) {
                anchor.heads.extend(index.heads());
            } else {
                let index = segment.rebuild(&*self.reader.file(segment)?)?;
                anchor.heads.extend(index.heads());
            }
        }
        anchor.write(folder, self.log_id)?;
        self.reader.segments.write().retain(|segment| segment.first() >= anchor.floor);
        self.reader.forget_files(anchor.floor);
        for segment in &removed {
            remove_segment(folder, segment.first())?;
        }
        folder.sync()?;
        Ok(Position(anchor.floor))
    }

    /// Overwrites for good the payloads that `which` picks of the records from `from` to `through`; it is shown every
    /// record there. What was overwritten before is so again: repeat it after a crash.
    ///
    /// The records may lie in the segment that is written. Recovery takes for a torn tail what does not match its
    /// digest, but trusts unread what the mark covers; so the mark is synced before.
    pub fn erase_payloads(
        &self,
        from: Position,
        through: Position,
        which: &mut dyn FnMut(&RecordRef<'_>) -> bool,
    ) -> Result<Erased, LogError> {
        let _alone = self.retention.lock();
        let mut erased = Erased::default();
        let segments = self.reader.segments.read().clone();
        let behind = |at: usize| segments.get(at + 1).map_or(u64::MAX, |next| next.first());
        for (at, segment) in segments.iter().enumerate() {
            if behind(at) <= from.0 || segment.first() > through.0 {
                continue;
            }
            let file = self.reader.folder.open(&segment.path, Access::Write)?;
            let length = file.length().during("read", &segment.path)?;
            let mut places = Vec::new();
            let mut walk = segment.walk(&*file, BATCHES_AT, AHEAD);
            while let Some((offset, batch)) = walk.next()? {
                if batch.next() <= from.0 {
                    continue;
                }
                if batch.envelope.first > through.0 {
                    break;
                }
                for fact in batch.facts() {
                    let fact = fact.map_err(|what| segment.source(&*file).bad(offset, what))?;
                    let position = fact.record.position;
                    if position < from || position > through || !which(&fact.record) {
                        continue;
                    }
                    let Some(info) = fact.record.payload else { continue };
                    // Else it has expired, and is gone.
                    if fact.payload_at + u64::from(info.len) <= length {
                        places.push((fact.payload_at, info.len));
                    }
                }
            }
            if !places.is_empty() && segment.seal().is_none() {
                // Written before the records were called durable, and until now perhaps in memory alone.
                file.sync_data().during("sync", &segment.path)?;
            }
            for &(at, len) in &places {
                file.write_all_at(&overwritten(len as usize), at).during("write", &segment.path)?;
                erased.payloads += 1;
                erased.bytes += u64::from(len);
                failpoint::hit("log.erased");
            }
            if !places.is_empty() {
                file.sync_data().during("sync", &segment.path)?;
            }
        }
        Ok(erased)
    }

    /// Overwrites the payload of one record; false if there is none (any more).
    #[cfg(test)]
    pub fn erase_payload(&self, position: Position) -> Result<bool, LogError> {
        self.reader.read_at(position)?;
        let erased = self.erase_payloads(position, position, &mut |_| true)?;
        Ok(erased.payloads > 0)
    }

    fn await_seal(&self, segment: &Segment) -> Result<(), LogError> {
        let mut state = self.tail.state();
        while segment.seal().is_none() {
            if let Some(reason) = &state.closed {
                return Err(LogError::Closed { reason: reason.clone() });
            }
            state.seal = true;
            self.tail.wake();
            self.tail.progress.wait(&mut state);
        }
        Ok(())
    }

    fn sealed_below(&self, below: Position) -> Vec<Arc<Segment>> {
        let segments = self.reader.segments.read();
        let whole = |segment: &&Arc<Segment>| segment.seal().is_some_and(|seal| seal.next <= below.0);
        segments.iter().take_while(whole).cloned().collect()
    }
}

/// Finishes what a crash interrupted: removes segments below the floor, and files that belong to nothing.
pub(super) fn remove_leftovers(folder: &Folder, kept: &[Arc<Segment>]) -> Result<(), LogError> {
    let kept: Vec<_> = kept.iter().flat_map(|s| [s.path.clone(), folder.index(s.first())]).collect();
    for path in folder.list()? {
        let ours = ["seg", "idx", "tmp"].iter().any(|kind| path.extension() == Some(OsStr::new(kind)));
        if ours && !kept.contains(&path) {
            folder.remove(&path)?;
        }
    }
    Ok(())
}

/// Unlinks a segment and its index.
fn remove_segment(folder: &Folder, first: u64) -> Result<(), LogError> {
    folder.remove(&folder.index(first))?;
    folder.remove(&folder.segment(first))
}

pub(super) fn overwritten(len: usize) -> Vec<u8> {
    ERASED.iter().copied().cycle().take(len).collect()
}

/// Whether these bytes are what an erased payload leaves.
pub(super) fn is_erased(payload: &[u8]) -> bool {
    !payload.is_empty() && payload.iter().eq(ERASED.iter().cycle().take(payload.len()))
}
