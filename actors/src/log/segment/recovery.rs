//! What a folder holds after whatever happened: the sound prefix, a torn tail that is cut, or damage.
//!
//! A batch is written only after the one before it was synced, so a crash can tear no more than the last batch.
//! A batch that does not check out is therefore a torn tail only if nothing sound comes after it and no mark says
//! that it was on disk; everything else is damage and is named, never cut.

use super::{
    anchor::Anchor,
    batch::Batch,
    bytes::narrow,
    folder::{During as _, Folder, damaged},
    format::{BATCH_MAGIC, BATCHES_AT, Envelope, GENESIS, Hash, Header, MARK_AT, Mark, digest},
    handle::{Segment, read_header, write_index},
    index::{Index, IndexFile},
    walk::{AHEAD, NEAR, Walk},
};
use crate::{
    domain::time::Timestamp,
    log::{LogError, StreamId},
};
use hashbrown::HashMap;
use rustix::fs::{Advice, fadvise};
use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Whether recovery may mend the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Repair,
    ReadOnly,
}

/// Where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Where the next batch goes in the last segment.
    pub(super) front: u32,
    /// Where the last batch's payloads begin.
    pub(super) back: u32,
    pub(super) hash: Hash,
    /// The next position.
    pub(super) next: u64,
    pub(super) newest: Timestamp,
}

impl End {
    fn of(header: &Header) -> Self {
        Self {
            front: BATCHES_AT,
            back: header.size,
            hash: header.prev,
            next: header.first,
            newest: Timestamp::EPOCH,
        }
    }

    fn of_mark(mark: &Mark) -> Self {
        Self { front: mark.front, back: mark.back, hash: mark.hash, next: mark.next, newest: mark.newest }
    }

    pub(super) fn mark(&self, sealed: bool) -> Mark {
        Mark {
            sealed,
            front: self.front,
            back: self.back,
            next: self.next,
            newest: self.newest,
            hash: self.hash,
        }
    }
}

/// A torn tail: bytes of a batch that was never known to be on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub path: PathBuf,
    /// Where the batch began.
    pub offset: u64,
    /// How many of its bytes had reached the file.
    pub bytes: u64,
}

pub(super) struct Recovered {
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) heads: HashMap<StreamId, u64>,
    pub(super) end: End,
    pub(super) log_id: [u8; 16],
    pub(super) torn: Option<TornTail>,
    pub(super) indexes_rebuilt: usize,
}

/// Reads a folder that holds a log.
pub(super) fn recover(folder: &Folder, mode: Mode) -> Result<Recovered, LogError> {
    let log_id = folder.log_id()?;
    let log_id = log_id.ok_or_else(|| damaged(&folder.file("FORMAT"), 0, "the file is missing"))?;
    let anchor = Anchor::read(folder, log_id)?;
    let mut firsts = folder.segments()?;
    firsts.retain(|first| *first >= anchor.floor);
    let mut recovery = Recovery {
        folder,
        mode,
        recovered: Recovered {
            segments: Vec::with_capacity(firsts.len()),
            heads: anchor.heads,
            end: End { front: 0, back: 0, hash: anchor.hash, next: anchor.floor, newest: Timestamp::EPOCH },
            log_id,
            torn: None,
            indexes_rebuilt: 0,
        },
    };
    for (i, first) in firsts.iter().enumerate() {
        recovery.segment(*first, i + 1 == firsts.len())?;
    }
    if firsts.is_empty() {
        return Err(damaged(&folder.segment(anchor.floor), 0, "the segment is missing"));
    }
    Ok(recovery.recovered)
}

struct Recovery<'a> {
    folder: &'a Folder,
    mode: Mode,
    recovered: Recovered,
}

impl Recovery<'_> {
    fn segment(&mut self, first: u64, last: bool) -> Result<(), LogError> {
        let path = self.folder.segment(first);
        let repair = self.mode == Mode::Repair;
        let file = OpenOptions::new().read(true).write(repair).open(&path).during("open", &path)?;
        let (header, mark) = read_header(&file, &path, (Some(self.recovered.log_id), first))?;
        let end = &self.recovered.end;
        if (header.first, header.prev) != (end.next, end.hash) {
            return Err(damaged(&path, 0, format!("the segment does not go on at position {}", end.next)));
        }
        let length = file.metadata().during("read", &path)?.len();
        match mark {
            Some(mark) if mark.sealed && last => {
                Err(damaged(&self.folder.segment(mark.next), 0, "the segment is missing"))
            }
            Some(mark) if mark.sealed => {
                // Whole, or cut where the facts end because its payloads have expired.
                if length != u64::from(header.size) && length != u64::from(mark.front) {
                    return Err(damaged(&path, length, "the file has the wrong length"));
                }
                self.sealed(&file, header, mark)
            }
            mark => {
                if length != u64::from(header.size) {
                    return Err(damaged(&path, length, "the file has the wrong length"));
                }
                self.unsealed(&file, &path, header, mark, last)
            }
        }
    }

    fn sealed(&mut self, file: &File, header: Header, mark: Mark) -> Result<(), LogError> {
        let segment = Segment::sealed(self.folder, header, mark);
        let heads = &mut self.recovered.heads;
        if let Some(index) = IndexFile::open(&self.folder.index(header.first), segment.seed) {
            heads.extend(index.heads());
        } else {
            let index = segment.rebuild(file)?;
            heads.extend(index.heads());
            if self.mode == Mode::Repair {
                write_index(self.folder, &segment, &index)?;
            }
            self.recovered.indexes_rebuilt += 1;
        }
        self.recovered.end = End::of_mark(&mark);
        self.recovered.segments.push(Arc::new(segment));
        Ok(())
    }

    /// The last segment, or the one before it if the crash came between the making of a segment and the sealing of
    /// its predecessor.
    fn unsealed(
        &mut self,
        file: &File,
        path: &Path,
        header: Header,
        mark: Option<Mark>,
        last: bool,
    ) -> Result<(), LogError> {
        // After a failed sync the page cache may hold what the disk does not (CRS.5): read from the disk.
        let _ = fadvise(file, 0, None, Advice::DontNeed);
        let tail = Tail { file, path, header, seed: header.seed() };
        let mut end = tail.end(mark.as_ref(), last)?;
        let torn = tail.torn_bytes(end, last && self.mode == Mode::Repair)?;
        if torn > 0 {
            let torn = TornTail { path: path.to_owned(), offset: u64::from(end.front), bytes: torn };
            self.recovered.torn = Some(torn);
        }
        let segment = Segment::open(self.folder, header, end.front, Index::default());
        let index = segment.rebuild(file)?;
        end.newest = index.newest;
        self.recovered.heads.extend(index.heads());
        if self.mode == Mode::Repair {
            if !last {
                let seal = end.mark(true).encode(segment.seed);
                file.write_all_at(&seal, MARK_AT).during("write", path)?;
            }
            // What was read may have been in the page cache alone, and is about to be called durable.
            file.sync_data().during("sync", path)?;
        }
        segment.grow(end.front, |known| *known = index);
        if !last && self.mode == Mode::Repair {
            segment.close(self.folder, end.mark(true))?;
        }
        self.recovered.segments.push(Arc::new(segment));
        self.recovered.end = end;
        Ok(())
    }
}

/// A segment without a seal.
struct Tail<'a> {
    file: &'a File,
    path: &'a Path,
    header: Header,
    seed: u32,
}

impl Tail<'_> {
    /// Finds the end of the sound batches, and refuses if what follows is not a torn tail.
    fn end(&self, mark: Option<&Mark>, last: bool) -> Result<End, LogError> {
        let mut end = End::of(&self.header);
        let mut before = end;
        let mut walk = self.walk(BATCHES_AT, AHEAD);
        let fault = loop {
            match walk.next() {
                Ok(Some((offset, batch))) => {
                    before = end;
                    end = self.follow(end, offset, &batch)?;
                }
                Ok(None) => break None,
                Err(LogError::Damaged { what, .. }) => break Some(what),
                Err(error) => return Err(error),
            }
        };
        let known = mark.map_or(BATCHES_AT, |mark| mark.front);
        if end.front < known || mark.is_some_and(|m| m.front == end.front && m.hash != end.hash) {
            let what = fault.unwrap_or_else(|| "the chain differs from the mark".to_owned());
            return Err(damaged(self.path, end.front.into(), what));
        }
        if let Some(offset) = self.look_ahead(end)? {
            let what = fault.unwrap_or_default();
            let what = format!("{what}, yet a sound batch follows at byte {offset}");
            return Err(damaged(self.path, end.front.into(), what));
        }
        // Facts and payloads of the last batch go to disk in one sync, in any order.
        if last && end.front > known && !self.payloads_hold(before)? {
            end = before;
        }
        Ok(end)
    }

    fn follow(&self, end: End, offset: u32, batch: &Batch<'_>) -> Result<End, LogError> {
        let Envelope { len, first, payload_start, payload_len, prev, hash, .. } = batch.envelope;
        let in_place =
            payload_start.checked_add(payload_len) == Some(end.back) && offset + len <= payload_start;
        if first != end.next || prev != end.hash || !in_place || !batch.hash_holds() {
            return Err(damaged(self.path, offset.into(), "the batch breaks the chain"));
        }
        Ok(End { front: offset + len, back: payload_start, hash, next: batch.next(), newest: end.newest })
    }

    /// The first sound batch behind the end, if there is one.
    fn look_ahead(&self, end: End) -> Result<Option<u32>, LogError> {
        let mut found = None;
        self.gap(end, |at, chunk| {
            for (i, window) in chunk.windows(BATCH_MAGIC.len()).enumerate() {
                if window != BATCH_MAGIC {
                    continue;
                }
                let offset = at + narrow(i);
                if let Ok(Some((_, batch))) = self.walk(offset, NEAR).next()
                    && batch.envelope.first >= end.next
                {
                    found = Some(offset);
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        Ok(found)
    }

    /// Whether the payloads of the batch that begins where `before` ends are those that its facts name.
    fn payloads_hold(&self, before: End) -> Result<bool, LogError> {
        let mut walk = self.walk(before.front, NEAR);
        let Some((offset, batch)) = walk.next()? else { return Ok(true) };
        for fact in batch.facts() {
            let fact = fact.map_err(|what| damaged(self.path, offset.into(), what))?;
            let Some(info) = fact.record.payload else { continue };
            let mut payload = vec![0; info.len as usize];
            self.file.read_exact_at(&mut payload, fact.payload_at).during("read", self.path)?;
            if digest(&payload) != info.digest {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Counts what a torn batch left between facts and payloads; zeroes it if the folder may be mended.
    fn torn_bytes(&self, end: End, cut: bool) -> Result<u64, LogError> {
        let mut torn = 0;
        self.gap(end, |at, chunk| {
            let first = chunk.iter().position(|byte| *byte != 0);
            let last = chunk.iter().rposition(|byte| *byte != 0);
            if let (Some(first), Some(last)) = (first, last) {
                let zeroes = vec![0; last - first + 1];
                torn += zeroes.len() as u64;
                if cut {
                    let at = u64::from(at) + first as u64;
                    self.file.write_all_at(&zeroes, at).during("write", self.path)?;
                }
            }
            Ok(true)
        })?;
        Ok(torn)
    }

    /// Visits what lies between facts and payloads, in pieces that overlap by less than a magic number.
    fn gap(
        &self,
        end: End,
        mut visit: impl FnMut(u32, &[u8]) -> Result<bool, LogError>,
    ) -> Result<(), LogError> {
        let mut at = end.front;
        let mut piece = vec![0; AHEAD];
        loop {
            piece.truncate((end.back - at) as usize);
            self.file.read_exact_at(&mut piece, u64::from(at)).during("read", self.path)?;
            if !visit(at, &piece)? || at + narrow(piece.len()) == end.back {
                return Ok(());
            }
            at += narrow(piece.len() - BATCH_MAGIC.len() + 1);
        }
    }

    fn walk(&self, from: u32, ahead: usize) -> Walk<'_> {
        Walk::new((self.file, self.path), self.seed, from, self.header.size, ahead)
    }
}

/// Finishes the making of a log that a crash interrupted: its first segment exists, `FORMAT` does not.
pub(super) fn adopt(folder: &Folder) -> Result<Option<[u8; 16]>, LogError> {
    let missing = || damaged(&folder.file("FORMAT"), 0, "the file is missing, but there are segments");
    match folder.segments()?[..] {
        [] => Ok(None),
        [1] => {
            let path = folder.segment(1);
            let file = File::open(&path).during("open", &path)?;
            let (header, mark) = read_header(&file, &path, (None, 1))?;
            let tail = Tail { file: &file, path: &path, header, seed: header.seed() };
            if mark.is_some() || tail.torn_bytes(End::of(&header), false)? > 0 || header.prev != GENESIS {
                return Err(missing());
            }
            folder.put_log_id(header.log_id)?;
            Ok(Some(header.log_id))
        }
        _ => Err(missing()),
    }
}
