//! What a folder holds after whatever happened: the sound prefix, a torn tail that is cut, or damage.
//!
//! Batches are acknowledged only after they were synced and the segment's mark says so. Whatever lies before the
//! mark is therefore sound or damaged, and what does not check out behind it is a torn tail. Where the mark itself
//! does not check out, nothing but the last batch may be torn, and what is left of it has to name one of the batches that
//! are there: a segment has a mark before it has a name, and a write that fails leaves one half new and half old, never
//! none. Damage is named, never cut.

use super::{
    anchor::Anchor,
    batch::Batch,
    folder::{During as _, File, Folder, damaged},
    format::{BATCHES_AT, Envelope, FRAME_LEN, GENESIS, Hash, Header, MARK_AT, Mark, MarkRemains, digest},
    handle::{Segment, read_header, write_index},
    index::{Index, IndexFile},
    walk::{AHEAD, NEAR, Source},
};
use crate::{
    domain::time::Timestamp,
    log::{LogError, StreamId, disk::Access},
};
use hashbrown::HashMap;
use std::{
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
    pub(super) fn of(header: &Header) -> Self {
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
    if mode == Mode::Repair {
        // What is seen may have its name in memory alone. A seal says that there is a successor: that one's name has to
        // be on disk first.
        folder.sync()?;
    }
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
        let access = if self.mode == Mode::Repair { Access::Write } else { Access::Read };
        let file = self.folder.open(&path, access)?;
        let (header, mark) = read_header(&*file, &path, (Some(self.recovered.log_id), first))?;
        let end = &self.recovered.end;
        if (header.first, header.prev) != (end.next, end.hash) {
            return Err(damaged(&path, 0, format!("the segment does not go on at position {}", end.next)));
        }
        let length = file.length().during("read", &path)?;
        match mark {
            Some(mark) if mark.sealed && last => {
                Err(damaged(&self.folder.segment(mark.next), 0, "the segment is missing"))
            }
            Some(mark) if mark.sealed => {
                // Whole, or cut where the facts end because its payloads have expired.
                if length != u64::from(header.size) && length != u64::from(mark.front) {
                    return Err(damaged(&path, length, "the file has the wrong length"));
                }
                self.sealed(&*file, header, mark)
            }
            mark => {
                if length != u64::from(header.size) {
                    return Err(damaged(&path, length, "the file has the wrong length"));
                }
                self.unsealed(&*file, &path, header, mark, last)
            }
        }
    }

    fn sealed(&mut self, file: &File, header: Header, mark: Mark) -> Result<(), LogError> {
        let segment = Segment::sealed(self.folder, header, mark);
        let heads = &mut self.recovered.heads;
        if let Some(index) = IndexFile::open(self.folder, header.first, segment.seed) {
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
        file.forget_cached();
        let unsealed = Unsealed { source: Source { file, path, seed: header.seed() }, header };
        let mut end = unsealed.end(mark.as_ref(), last)?;
        let torn = unsealed.torn_bytes(end, last && self.mode == Mode::Repair)?;
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
#[derive(Clone, Copy)]
pub(super) struct Unsealed<'a> {
    pub(super) source: Source<'a>,
    pub(super) header: Header,
}

impl Unsealed<'_> {
    /// Finds the end of the sound batches, and refuses if what follows is not a torn tail.
    pub(super) fn end(&self, mark: Option<&Mark>, last: bool) -> Result<End, LogError> {
        let mut end = End::of(&self.header);
        let mut trusted = end;
        let left = if mark.is_none() && last { self.left_of_mark()? } else { None };
        let names = |end: End| left.as_ref().is_some_and(|left| left.names(end.front, &end.hash));
        let mut is_there = names(end);
        let mut walk = self.source.walk(end.front..self.header.size, AHEAD);
        let fault = loop {
            match walk.next() {
                Ok(Some((offset, batch))) => {
                    // Without a mark, all but the last batch are known to be on disk.
                    let next = self.follow(end, offset, &batch)?;
                    trusted = match mark {
                        Some(mark) if next.front <= mark.front => next,
                        Some(_) => trusted,
                        None if names(next) => next,
                        None => end,
                    };
                    is_there |= names(next);
                    end = next;
                }
                Ok(None) => break "the segment ends".to_owned(),
                Err(LogError::Damaged { what, .. }) => break what,
                Err(error) => return Err(error),
            }
        };
        match mark {
            Some(mark) if (mark.front, mark.hash) != (trusted.front, trusted.hash) => {
                return Err(self.source.bad(end.front, format!("{fault}, before what is marked as on disk")));
            }
            Some(_) => {}
            None if last && !is_there => {
                let what = "the mark does not check out, so that it is not known where the log ends";
                return Err(self.source.bad(MARK_AT, what));
            }
            None => {
                if let Some(offset) = self.source.look_ahead(end.front..end.back, end.next)? {
                    let what = format!("{fault}, yet a sound batch follows at byte {offset}");
                    return Err(self.source.bad(end.front, what));
                }
            }
        }
        if last { self.with_payloads(trusted, end) } else { Ok(end) }
    }

    /// What stands where a mark should that checks out.
    fn left_of_mark(&self) -> Result<Option<MarkRemains>, LogError> {
        let mut bytes = [0; FRAME_LEN];
        self.source.read(&mut bytes, MARK_AT)?;
        Ok(MarkRemains::decode(&bytes))
    }

    /// Facts and payloads go to disk in one sync, in any order: a batch that is not trusted yet needs both.
    fn with_payloads(&self, trusted: End, end: End) -> Result<End, LogError> {
        let mut whole = trusted;
        let mut walk = self.source.walk(trusted.front..end.front, NEAR);
        while let Some((offset, batch)) = walk.next()? {
            for fact in batch.facts() {
                let fact = fact.map_err(|what| self.source.bad(offset, what))?;
                let Some(info) = fact.record.payload else { continue };
                let payload = self.source.payload(info, fact.payload_at)?;
                if payload.is_none_or(|payload| digest(&payload) != info.digest) {
                    return Ok(whole);
                }
            }
            whole = self.follow(whole, offset, &batch)?;
        }
        Ok(whole)
    }

    pub(super) fn follow(&self, end: End, offset: u32, batch: &Batch<'_>) -> Result<End, LogError> {
        let Envelope { len, first, payload_start, payload_len, prev, hash, .. } = batch.envelope;
        let in_place =
            payload_start.checked_add(payload_len) == Some(end.back) && offset + len <= payload_start;
        if first != end.next || prev != end.hash || !in_place || !batch.hash_holds() {
            return Err(self.source.bad(offset, "the batch breaks the chain"));
        }
        Ok(End { front: offset + len, back: payload_start, hash, next: batch.next(), newest: end.newest })
    }

    /// Counts what a torn batch left between facts and payloads; zeroes it if the folder may be mended.
    pub(super) fn torn_bytes(&self, end: End, cut: bool) -> Result<u64, LogError> {
        let mut torn = 0;
        self.source.pieces(end.front..end.back, |at, piece| {
            let first = piece.iter().position(|byte| *byte != 0);
            let last = piece.iter().rposition(|byte| *byte != 0);
            if let (Some(first), Some(last)) = (first, last) {
                let zeroes = vec![0; last - first + 1];
                torn += zeroes.len() as u64;
                if cut {
                    let at = u64::from(at) + first as u64;
                    self.source.file.write_all_at(&zeroes, at).during("write", self.source.path)?;
                }
            }
            Ok(true)
        })?;
        Ok(torn)
    }
}

/// Finishes the making of a log that a crash interrupted: its first segment exists, `FORMAT` does not.
pub(super) fn adopt(folder: &Folder) -> Result<Option<[u8; 16]>, LogError> {
    let missing = || damaged(&folder.file("FORMAT"), 0, "the file is missing, but there are segments");
    match folder.segments()?[..] {
        [] => Ok(None),
        [1] => {
            let path = folder.segment(1);
            let file = folder.open(&path, Access::Read)?;
            let (header, mark) = read_header(&*file, &path, (None, 1))?;
            let source = Source { file: &*file, path: &path, seed: header.seed() };
            let unsealed = Unsealed { source, header };
            if mark.is_none_or(|mark| mark.front != BATCHES_AT)
                || unsealed.torn_bytes(End::of(&header), false)? > 0
                || header.prev != GENESIS
            {
                return Err(missing());
            }
            folder.put_log_id(header.log_id)?;
            Ok(Some(header.log_id))
        }
        _ => Err(missing()),
    }
}
