//! Reads a log: the durable records, in place, while a writer appends or when none runs.

use super::{
    batch::Fact,
    folder::{File, Folder, damaged},
    format::{Envelope, digest},
    handle::Segment,
    recovery,
    retention::is_erased,
    walk::{AHEAD, NEAR},
};
use crate::{
    descriptors,
    log::{LogError, Position, Record, RecordRef, StreamId, Watermark, disk::Access},
};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::{path::Path, sync::Arc};

/// Segments that are kept open.
const OPEN_FILES: usize = 16;

/// The reading half of a [`super::SegmentLog`]; on its own, a view of a folder that changes nothing in it.
#[derive(Debug)]
pub struct SegmentReader {
    pub(super) folder: Folder,
    pub(super) segments: RwLock<Vec<Arc<Segment>>>,
    pub(super) watermark: Arc<Watermark>,
    /// The most recently used first.
    files: Mutex<Vec<(u64, Arc<File>)>>,
}

impl SegmentReader {
    /// Opens a folder for reading only, without its lock: for offline replay. What is there at this moment can be
    /// read; a torn tail is left out and left alone.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, LogError> {
        Self::view(Folder::at(dir))
    }

    pub(super) fn view(folder: Folder) -> Result<Self, LogError> {
        let recovered = recovery::recover(&folder, recovery::Mode::ReadOnly)?;
        let reader = Self::new(folder, recovered.segments);
        reader.watermark.advance(Position(recovered.end.next - 1));
        Ok(reader)
    }

    pub(super) fn new(folder: Folder, segments: Vec<Arc<Segment>>) -> Self {
        Self { folder, segments: RwLock::new(segments), watermark: Arc::default(), files: Mutex::default() }
    }

    /// The last record that can be read.
    #[must_use]
    pub fn durable(&self) -> Position {
        self.watermark.get()
    }

    /// See [`crate::log::EventLog::floor`].
    #[must_use]
    pub fn floor(&self) -> Position {
        Position(self.segments.read().first().map_or(1, |segment| segment.first()))
    }

    /// See [`crate::log::EventLog::scan`].
    pub fn scan(
        &self,
        from: Position,
        visit: &mut dyn FnMut(RecordRef<'_>) -> bool,
    ) -> Result<Position, LogError> {
        let durable = self.durable();
        let mut next = from.max(self.floor());
        while next <= durable {
            let segment = self.segment_of(next)?;
            let start = next;
            if !self.scan_segment(&segment, &mut next, durable, visit)? {
                return Ok(next);
            }
            if next == start {
                return Err(damaged(&segment.path, 0, format!("position {next} is missing")));
            }
        }
        Ok(next)
    }

    /// Visits a segment's records from `next` on; false if the visitor has had enough.
    fn scan_segment(
        &self,
        segment: &Segment,
        next: &mut Position,
        durable: Position,
        visit: &mut dyn FnMut(RecordRef<'_>) -> bool,
    ) -> Result<bool, LogError> {
        let file = self.file(segment)?;
        let mut walk = segment.walk(&*file, segment.near(&self.folder, &*file, next.0)?, AHEAD);
        while let Some((offset, batch)) = walk.next()? {
            let bad = |what| segment.source(&*file).bad(offset, what);
            if batch.next() <= next.0 {
                continue;
            }
            if batch.envelope.first > durable.0 {
                break;
            }
            if batch.envelope.first > next.0 {
                return Err(bad("positions are missing before this batch"));
            }
            for fact in batch.facts() {
                let record = fact.map_err(bad)?.record;
                if record.position < *next {
                    continue;
                }
                *next = record.position.next();
                if !visit(record) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// See [`crate::log::EventLog::read`].
    pub fn read(
        &self,
        from: Position,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        if max_records > 0 {
            self.scan(from, &mut |record| {
                bytes += record.body.len() + record.stream.len();
                records.push(owned(&record));
                records.len() < max_records && bytes < max_bytes
            })?;
        }
        Ok(records)
    }

    /// See [`crate::log::EventLog::read_at`].
    pub fn read_at(&self, position: Position) -> Result<Record, LogError> {
        self.find(position, |_, _, fact| Ok(owned(&fact.record)))
    }

    /// See [`crate::log::EventLog::chain_hash`].
    pub fn chain_hash(&self, position: Position) -> Result<[u8; 32], LogError> {
        self.find(position, |_, envelope, _| Ok(envelope.hash))
    }

    /// See [`crate::log::EventLog::payload`].
    pub fn payload(&self, position: Position) -> Result<Option<Bytes>, LogError> {
        self.find(position, |segment, _, fact| {
            let Some(info) = fact.record.payload else { return Ok(None) };
            let file = self.file(segment)?;
            let source = segment.source(&*file);
            match source.payload(info, fact.payload_at)? {
                Some(payload) if digest(&payload) == info.digest => Ok(Some(payload.into())),
                Some(payload) if is_erased(&payload) => Ok(None),
                // Expiry cuts a sealed segment where its facts end.
                None if segment.seal().is_some() => Ok(None),
                _ => {
                    Err(source.bad(fact.payload_at, format!("the payload of {position} is not what it was")))
                }
            }
        })
    }

    /// See [`crate::log::EventLog::read_stream`].
    pub fn read_stream(
        &self,
        stream: &StreamId,
        from: u64,
        max_records: usize,
    ) -> Result<Vec<Record>, LogError> {
        let segments = self.segments.read().clone();
        let mut records: Vec<Record> = Vec::new();
        for segment in &segments {
            let file = self.file(segment)?;
            for offset in segment.batches_of(&self.folder, &*file, stream, from)? {
                let mut walk = segment.walk(&*file, offset, NEAR);
                let Some((_, batch)) = walk.next()? else { break };
                for fact in batch.facts() {
                    let record = fact.map_err(|what| segment.source(&*file).bad(offset, what))?.record;
                    if record.stream != stream.as_str() || record.version < from {
                        continue;
                    }
                    if records.last().is_some_and(|last| last.version + 1 != record.version) {
                        let what = format!("versions of `{stream}` are missing");
                        return Err(segment.source(&*file).bad(offset, what));
                    }
                    if records.len() == max_records {
                        return Ok(records);
                    }
                    records.push(owned(&record));
                }
            }
        }
        Ok(records)
    }

    /// Finds one durable record and the batch that it is in.
    pub(super) fn find<T>(
        &self,
        position: Position,
        pick: impl FnOnce(&Segment, &Envelope, Fact<'_>) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        if position < self.floor() || position > self.durable() {
            return Err(LogError::NotFound(position));
        }
        let segment = self.segment_of(position)?;
        let file = self.file(&segment)?;
        let mut walk = segment.walk(&*file, segment.near(&self.folder, &*file, position.0)?, NEAR);
        while let Some((offset, batch)) = walk.next()? {
            if batch.next() <= position.0 {
                continue;
            }
            for fact in batch.facts() {
                let fact = fact.map_err(|what| segment.source(&*file).bad(offset, what))?;
                if fact.record.position == position {
                    return pick(&segment, &batch.envelope, fact);
                }
            }
        }
        Err(damaged(&segment.path, 0, format!("position {position} is missing")))
    }

    pub(super) fn segment_of(&self, position: Position) -> Result<Arc<Segment>, LogError> {
        let segments = self.segments.read();
        let behind = segments.partition_point(|segment| segment.first() <= position.0);
        let found = behind.checked_sub(1).and_then(|at| segments.get(at));
        found.cloned().ok_or(LogError::NotFound(position))
    }

    /// A handle of its own for reading, from a small cache.
    pub(super) fn file(&self, segment: &Segment) -> Result<Arc<File>, LogError> {
        let mut files = self.files.lock();
        if let Some(at) = files.iter().position(|(first, _)| *first == segment.first()) {
            files[..=at].rotate_right(1);
        } else {
            let mut opened = self.folder.open(&segment.path, Access::Read);
            // Where no descriptor is left, one of those that are kept is given up for it.
            while matches!(&opened, Err(LogError::Io { source, .. }) if descriptors::ran_out(source))
                && files.pop().is_some()
            {
                opened = self.folder.open(&segment.path, Access::Read);
            }
            let file = opened?;
            files.truncate(OPEN_FILES - 1);
            files.insert(0, (segment.first(), file));
        }
        Ok(Arc::clone(&files[0].1))
    }

    /// Forgets handles of segments that were removed.
    pub(super) fn forget_files(&self, below: u64) {
        self.files.lock().retain(|(first, _)| *first >= below);
    }
}

pub(super) fn owned(record: &RecordRef<'_>) -> Record {
    Record {
        position: record.position,
        stream: StreamId::new(record.stream),
        version: record.version,
        at: record.at,
        kind: record.kind,
        format: record.format,
        body: Bytes::copy_from_slice(record.body),
        payload: record.payload,
    }
}
