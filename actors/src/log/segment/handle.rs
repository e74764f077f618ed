//! One segment as the running log knows it.

use super::{
    folder::{During as _, File, Folder, damaged},
    format::{BATCHES_AT, FORMAT, FRAME_LEN, Header, MARK_AT, Mark},
    index::{Index, IndexFile, Row},
    walk::{AHEAD, Source, Walk},
};
use crate::log::{LogError, StreamId, disk::is_want};
use parking_lot::RwLock;
use std::{
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// How often a mark that does not check out is read again.
const MARK_LOOKS: u32 = 3;

/// A segment file: its fixed header, how far it may be read, where things are in it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: Header,
    pub(super) seed: u32,
    pub(super) path: PathBuf,
    /// End of the durable facts.
    front: AtomicU32,
    /// The seal, once there is one.
    seal: OnceLock<Mark>,
    /// While no index file exists: in the segment that is written, and wherever the file could not be used.
    index: RwLock<Option<Index>>,
    /// Positions of a segment whose index is in a file.
    positions: OnceLock<Row>,
}

impl Segment {
    /// A segment that is being written, durable up to `front`.
    pub(super) fn open(folder: &Folder, header: Header, front: u32, index: Index) -> Self {
        Self {
            seed: header.seed(),
            path: folder.segment(header.first),
            front: AtomicU32::new(front),
            seal: OnceLock::new(),
            index: RwLock::new(Some(index)),
            positions: OnceLock::new(),
            header,
        }
    }

    /// A segment that never changes any more.
    pub(super) fn sealed(folder: &Folder, header: Header, mark: Mark) -> Self {
        let segment = Self::open(folder, header, mark.front, Index::default());
        *segment.index.write() = None;
        let _ = segment.seal.set(mark);
        segment
    }

    pub(super) fn first(&self) -> u64 {
        self.header.first
    }

    pub(super) fn front(&self) -> u32 {
        self.front.load(Ordering::Acquire)
    }

    pub(super) fn seal(&self) -> Option<&Mark> {
        self.seal.get()
    }

    /// For the writer, after a sync: everything before `front` is durable.
    pub(super) fn grow(&self, front: u32, note: impl FnOnce(&mut Index)) {
        if let Some(index) = self.index.write().as_mut() {
            note(index);
        }
        self.front.store(front, Ordering::Release);
    }

    /// For the writer: the segment is sealed; its index goes to a file. The file is not synced, since a torn one
    /// does not check out and is built again. Where there is no space or descriptor for it, it stays in memory, and the
    /// next start builds it.
    pub(super) fn close(&self, folder: &Folder, mark: Mark) -> Result<(), LogError> {
        let _ = self.seal.set(mark);
        let mut index = self.index.write();
        if let Some(known) = &*index {
            match write_index(folder, self, known) {
                Err(LogError::Io { source, .. }) if is_want(&source) => {
                    tracing::warn!(error = %source, "no index of `{}` yet", self.path.display());
                    return Ok(());
                }
                written => written?,
            }
        }
        if let Some(index) = index.take() {
            let _ = self.positions.set(index.positions);
        }
        Ok(())
    }

    /// Walks its durable batches.
    pub(super) fn walk<'a>(&'a self, file: &'a File, from: u32, ahead: usize) -> Walk<'a> {
        self.source(file).walk(from..self.front(), ahead)
    }

    pub(super) fn source<'a>(&'a self, file: &'a File) -> Source<'a> {
        Source { file, path: &self.path, seed: self.seed }
    }

    /// Where to start looking for `position`.
    pub(super) fn near(&self, folder: &Folder, file: &File, position: u64) -> Result<u32, LogError> {
        let offset = |row: &Row| row.from(position).first().map_or(BATCHES_AT, |entry| entry.1);
        if let Some(row) = self.positions.get() {
            return Ok(offset(row));
        }
        if let Some(index) = self.index.read().as_ref() {
            return Ok(offset(&index.positions));
        }
        let stored = IndexFile::open(folder, self.first(), self.seed).and_then(|f| f.positions());
        let row = match stored {
            Some(row) => row,
            None => self.rebuild(file)?.positions,
        };
        Ok(offset(self.positions.get_or_init(|| row)))
    }

    /// Offsets of the batches that hold `stream` from `version` on.
    pub(super) fn batches_of(
        &self,
        folder: &Folder,
        file: &File,
        stream: &StreamId,
        version: u64,
    ) -> Result<Vec<u32>, LogError> {
        let offsets = |row: &Row| row.from(version).iter().map(|entry| entry.1).collect();
        let in_memory = |index: &Index| index.streams.get(stream.as_str()).map_or_else(Vec::new, offsets);
        if let Some(index) = self.index.read().as_ref() {
            return Ok(in_memory(index));
        }
        let stored = IndexFile::open(folder, self.first(), self.seed);
        if let Some(row) = stored.and_then(|index| index.stream(stream.as_str())) {
            return Ok(row.as_ref().map_or_else(Vec::new, offsets));
        }
        let index = self.rebuild(file)?;
        let found = in_memory(&index);
        *self.index.write() = Some(index);
        Ok(found)
    }

    /// Reads the whole segment to find out where everything is.
    pub(super) fn rebuild(&self, file: &File) -> Result<Index, LogError> {
        let mut index = Index::default();
        let mut walk = self.walk(file, BATCHES_AT, AHEAD);
        while let Some((offset, batch)) = walk.next()? {
            index.add_positions(batch.envelope.first, batch.envelope.count, offset);
            for fact in batch.facts() {
                let record = fact.map_err(|what| self.source(file).bad(offset, what))?.record;
                index.add_record(&record, offset);
            }
        }
        Ok(index)
    }
}

/// Writes a segment's index; a torn one is noticed by its checksum, so it is not synced.
pub(super) fn write_index(folder: &Folder, segment: &Segment, index: &Index) -> Result<(), LogError> {
    let path = folder.index(segment.first());
    folder.disk.write(&path, &[&index.encode(segment.seed)]).during("write", &path).map(drop)
}

/// Reads and checks a segment's header and its mark, if it has a sound one. A mark that is being written at this moment,
/// while somebody else reads along, is sound when it is looked at again.
pub(super) fn read_header(
    file: &File,
    path: &Path,
    owner: (Option<[u8; 16]>, u64),
) -> Result<(Header, Option<Mark>), LogError> {
    let mut found = header_and_mark(file, path, owner)?;
    for _ in 0..MARK_LOOKS {
        if found.1.is_some() {
            break;
        }
        found = header_and_mark(file, path, owner)?;
    }
    Ok(found)
}

fn header_and_mark(
    file: &File,
    path: &Path,
    (log_id, first): (Option<[u8; 16]>, u64),
) -> Result<(Header, Option<Mark>), LogError> {
    let mut area = [0; BATCHES_AT as usize];
    file.read_exact_at(&mut area, 0).map_err(|_| damaged(path, 0, "shorter than a header"))?;
    let header =
        Header::decode(&area).ok_or_else(|| damaged(path, 0, "the header's checksum does not hold"))?;
    if header.format > FORMAT {
        return Err(LogError::NewerFormat { path: path.to_owned(), found: header.format, supported: FORMAT });
    }
    if header.first != first || log_id.is_some_and(|id| id != header.log_id) {
        return Err(damaged(path, 0, "the header is that of another segment"));
    }
    let at = usize::try_from(MARK_AT).unwrap_or_default();
    let mark = Mark::decode(&area[at..at + FRAME_LEN], header.seed());
    let in_place =
        |mark: &Mark| mark.front >= BATCHES_AT && mark.front <= mark.back && mark.back <= header.size;
    Ok((header, mark.filter(in_place)))
}
