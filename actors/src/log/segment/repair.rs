//! Repair, which somebody has to ask for: what cannot be kept is shown, then set aside, never deleted.
//!
//! A log is its longest sound beginning. At the first batch that does not check out it is cut, also if sound batches
//! follow, since positions and versions have no gaps. A payload that does not match its digest is given up alone: it is
//! overwritten as an erased one is, and its record stays.

use super::{
    anchor::Anchor,
    batch::Batch,
    folder::{During as _, File, Folder, damaged},
    format::{BATCHES_AT, Header, MARK_AT, Mark, digest},
    handle::read_header,
    reader::owned,
    recovery::{End, Unsealed},
    retention::{is_erased, overwritten},
    walk::{AHEAD, Source},
};
use crate::log::{
    LogError, Position, Record,
    disk::{Access, Lock},
};
use std::path::{Path, PathBuf};

/// Says that a repair was begun; its content is the caller's. While it is there, no engine starts.
const BEGUN: &str = "repairing";

/// Where the log has to be cut.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The segment.
    pub path: PathBuf,
    /// Where in it the first batch stands that cannot be kept.
    pub offset: u64,
    /// What is wrong with it.
    pub what: String,
    /// The first position that is lost.
    pub first: Position,
    /// Records behind the cut that can still be read.
    pub lost: Vec<Record>,
    /// The segment that ends the log from then on, and where.
    kept: (u64, End),
    /// Segments behind that one.
    gone: Vec<u64>,
}

/// A payload that is not what it was.
#[derive(Clone, Debug)]
pub struct LostPayload {
    /// The segment.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// The record that it belongs to, which stays.
    pub record: Record,
    segment: u64,
}

/// A log under repair; nobody else can open it meanwhile.
pub struct Repair {
    folder: Folder,
    _lock: Lock,
    /// Where the log is to be cut, if anywhere.
    pub cut: Option<Cut>,
    /// Payloads that are to be given up in what is kept.
    pub payloads: Vec<LostPayload>,
    /// Sound ends of the segments so far.
    ends: Vec<(u64, End)>,
}

impl Repair {
    /// Examines the log in `dir` and changes nothing. Refuses while an engine has it, and where nothing is left to
    /// repair: without `FORMAT`, anchor or the first header it is not known what the bytes are.
    pub fn examine(dir: impl AsRef<Path>) -> Result<Self, LogError> {
        let folder = Folder::at(dir);
        let missing = || damaged(&folder.file("FORMAT"), 0, "the file is missing");
        let log_id = folder.log_id()?.ok_or_else(missing)?;
        let lock = folder.lock()?;
        let anchor = Anchor::read(&folder, log_id)?;
        let mut firsts = folder.segments()?;
        firsts.retain(|first| *first >= anchor.floor);
        let mut repair = Self {
            folder,
            _lock: lock,
            cut: None,
            payloads: Vec::new(),
            ends: Vec::with_capacity(firsts.len()),
        };
        let mut next = (anchor.floor, anchor.hash);
        for (i, first) in firsts.iter().enumerate() {
            match repair.segment(log_id, *first, next, i + 1 == firsts.len()) {
                Ok(end) => next = (end.next, end.hash),
                Err(LogError::Damaged { path, offset, what }) => {
                    let Some(kept) = repair.ends.last().copied() else {
                        return Err(damaged(&path, offset, what + ": nothing before it can be kept"));
                    };
                    let gone = firsts.iter().copied().filter(|first| *first > kept.0).collect();
                    let first = Position(kept.1.next);
                    let lost = repair.readable(log_id, first, &firsts[i..])?;
                    repair.cut = Some(Cut { path, offset, what, first, lost, kept, gone });
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if firsts.is_empty() {
            return Err(damaged(&repair.folder.segment(anchor.floor), 0, "the segment is missing"));
        }
        Ok(repair)
    }

    /// Whether there is nothing to repair.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.cut.is_none() && self.payloads.is_empty()
    }

    /// What an interrupted repair was begun with.
    pub fn begun(&self) -> Result<Option<Vec<u8>>, LogError> {
        let path = self.folder.file(BEGUN);
        match self.folder.disk.read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).during("read", &path),
        }
    }

    /// Does it: copies and moves to `aside` whatever is changed, then changes it. A kill at any moment leaves a log that
    /// refuses to open until the repair is asked for again, and [`finish`](Self::finish)ed.
    pub fn apply(&self, aside: &Path, note: &[u8]) -> Result<(), LogError> {
        let Folder { disk, .. } = &self.folder;
        disk.create_folder(aside).during("create", aside)?;
        self.folder.replace(&self.folder.file(BEGUN), note)?;
        let mut changed: Vec<u64> = self.payloads.iter().map(|payload| payload.segment).collect();
        changed.extend(self.cut.iter().map(|cut| cut.kept.0));
        changed.sort_unstable();
        changed.dedup();
        for first in changed {
            let path = self.folder.segment(first);
            let kept = aside.join(path.file_name().unwrap_or_default());
            // A repair that is repeated after a kill keeps what the first one found.
            if disk.open(&kept, Access::Read).is_err() {
                let bytes = disk.read(&path).during("read", &path)?;
                disk.replace(&kept, &kept.with_extension("tmp"), &[&bytes]).during("write", &kept)?;
            }
        }
        self.give_up_payloads()?;
        if let Some(cut) = &self.cut {
            self.cut_off(cut, aside)?;
        }
        Ok(())
    }

    /// The repair is on record in the log: engines may start again.
    pub fn finish(dir: impl AsRef<Path>) -> Result<(), LogError> {
        let folder = Folder::at(dir);
        folder.remove(&folder.file(BEGUN))?;
        folder.sync()
    }

    /// Checks one segment as a start would, and its payloads beside; answers where it ends.
    fn segment(
        &mut self,
        log_id: [u8; 16],
        first: u64,
        (next, hash): (u64, [u8; 32]),
        last: bool,
    ) -> Result<End, LogError> {
        let path = self.folder.segment(first);
        let file = self.folder.open(&path, Access::Read)?;
        let (header, mark) = read_header(&*file, &path, (Some(log_id), first))?;
        if (header.first, header.prev) != (next, hash) {
            return Err(damaged(&path, 0, format!("the segment does not go on at position {next}")));
        }
        let source = Source { file: &*file, path: &path, seed: header.seed() };
        let length = file.length().during("read", &path)?;
        let seal = mark.filter(|mark| mark.sealed);
        if length != u64::from(header.size) && seal.is_none_or(|seal| length != u64::from(seal.front)) {
            return Err(damaged(&path, length, "the file has the wrong length"));
        }
        let unsealed = Unsealed { source, header };
        let found = match seal {
            Some(seal) => Ok(seal.front),
            None => unsealed.end(mark.as_ref(), last).map(|end| end.front),
        };
        let limit = *found.as_ref().unwrap_or(&header.size);
        let mut end = End::of(&header);
        let mut walk = source.walk(BATCHES_AT..limit, AHEAD);
        let fault = loop {
            // What is kept up to here is kept whatever follows.
            self.keep(first, end);
            match walk.next() {
                Ok(Some((offset, batch))) => match unsealed.follow(end, offset, &batch) {
                    Ok(after) => {
                        self.check_payloads(source, first, (&batch, seal.is_some()))?;
                        end = after;
                    }
                    Err(error) => break Some(error),
                },
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        // Where there is no mark, it is the fault: behind the last batch there is nothing to be read.
        match fault {
            Some(fault) if mark.is_some() || found.is_ok() => return Err(fault),
            _ => found?,
        };
        match seal.filter(|_| last) {
            Some(seal) => Err(damaged(&self.folder.segment(seal.next), 0, "the segment is missing")),
            None => Ok(end),
        }
    }

    fn keep(&mut self, first: u64, end: End) {
        self.ends.retain(|(segment, _)| *segment != first);
        self.ends.push((first, end));
    }

    fn check_payloads(
        &mut self,
        source: Source<'_>,
        segment: u64,
        (batch, may_expire): (&Batch<'_>, bool),
    ) -> Result<(), LogError> {
        for fact in batch.facts() {
            let fact = fact.map_err(|what| source.bad(0_u32, what))?;
            let Some(info) = fact.record.payload else { continue };
            let sound = match source.payload(info, fact.payload_at)? {
                Some(payload) => digest(&payload) == info.digest || is_erased(&payload),
                None => may_expire,
            };
            if !sound {
                let (path, offset) = (source.path.to_owned(), fact.payload_at);
                self.payloads.push(LostPayload { path, offset, record: owned(&fact.record), segment });
            }
        }
        Ok(())
    }

    /// Records from `first` on that can be read in these segments, around whatever is damaged.
    fn readable(&self, log_id: [u8; 16], first: Position, segments: &[u64]) -> Result<Vec<Record>, LogError> {
        let mut lost = Vec::new();
        for number in segments {
            let path = self.folder.segment(*number);
            let file = self.folder.open(&path, Access::Read)?;
            let header = match read_header(&*file, &path, (Some(log_id), *number)) {
                Ok((header, _)) => header,
                Err(LogError::Damaged { .. }) => continue,
                Err(error) => return Err(error),
            };
            let source = Source { file: &*file, path: &path, seed: header.seed() };
            let length = file.length().during("read", &path)?;
            let limit = u32::try_from(length).unwrap_or(header.size).min(header.size);
            let mut at = BATCHES_AT;
            while let Some(offset) = source.look_ahead(at..limit, first.0)? {
                let mut walk = source.walk(offset..limit, AHEAD);
                let Some((_, batch)) = walk.next()? else { break };
                lost.extend(batch.facts().filter_map(Result::ok).map(|fact| owned(&fact.record)));
                at = offset + batch.envelope.len;
            }
        }
        Ok(lost)
    }

    fn give_up_payloads(&self) -> Result<(), LogError> {
        for LostPayload { path, offset, record, .. } in &self.payloads {
            let file = self.folder.open(path, Access::Write)?;
            let length = record.payload.map_or(0, |payload| payload.len as usize);
            file.write_all_at(&overwritten(length), *offset).during("write", path)?;
            file.sync_data().during("sync", path)?;
        }
        Ok(())
    }

    /// Moves the segments behind the cut away, the last one first, then ends the one that is kept.
    fn cut_off(&self, cut: &Cut, aside: &Path) -> Result<(), LogError> {
        let Folder { disk, .. } = &self.folder;
        let (kept, end) = cut.kept;
        let indexes = cut.gone.iter().chain([&kept]).map(|first| self.folder.index(*first));
        let segments = cut.gone.iter().rev().map(|first| self.folder.segment(*first));
        for path in segments.chain(indexes) {
            match disk.rename(&path, &aside.join(path.file_name().unwrap_or_default())) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                moved => moved.during("move", &path)?,
            }
        }
        disk.sync_names(aside).during("sync", aside)?;
        self.folder.sync()?;
        let path = self.folder.segment(kept);
        let file = self.folder.open(&path, Access::Write)?;
        let (header, _) = read_header(&*file, &path, (None, kept))?;
        end_segment(&*file, &path, (&header, &end.mark(false)))
    }
}

/// Ends a segment at a mark: zeroes what is behind it, and has it written again from there.
fn end_segment(file: &File, path: &Path, (header, mark): (&Header, &Mark)) -> Result<(), LogError> {
    let source = Source { file, path, seed: header.seed() };
    if file.length().during("read", path)? != u64::from(header.size) {
        // Its payloads had expired, and the file was cut where facts end: it is to be written again.
        file.reserve(u64::from(header.size)).during("lengthen", path)?;
        let mut walk = source.walk(BATCHES_AT..mark.front, AHEAD);
        while let Some((_, batch)) = walk.next()? {
            let gone = overwritten(batch.envelope.payload_len as usize);
            let mut at = u64::from(batch.envelope.payload_start);
            for fact in batch.facts().filter_map(Result::ok) {
                let length = fact.record.payload.map_or(0, |payload| payload.len as usize);
                file.write_all_at(&gone[..length], at).during("write", path)?;
                at += length as u64;
            }
        }
    }
    let unsealed = Unsealed { source, header: *header };
    let end = End { front: mark.front, back: mark.back, ..End::of(header) };
    unsealed.torn_bytes(end, true)?;
    file.write_all_at(&mark.encode(header.seed()), MARK_AT).during("write", path)?;
    file.sync_all().during("sync", path)
}

/// Refuses a log whose repair was begun and not finished.
pub(super) fn check_finished(folder: &Folder) -> Result<(), LogError> {
    let path = folder.file(BEGUN);
    match folder.disk.open(&path, Access::Read) {
        Ok(_) => {
            Err(damaged(&path, 0, "a repair was begun and not finished; ask for `log repair --yes` again"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).during("open", &path),
    }
}
