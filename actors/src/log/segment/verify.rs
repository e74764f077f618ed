//! The offline checker: reads a whole folder and says what is wrong with it. Changes nothing, takes no lock, goes
//! on behind damage as far as anything sound follows.

use super::{
    anchor::Anchor,
    batch::{Batch, Fact},
    folder::{During as _, Folder, damaged},
    format::{Hash, Header, Mark, digest},
    handle::read_header,
    recovery::{End, Unsealed},
    retention::is_erased,
    walk::{AHEAD, Source},
};
use crate::log::{LogError, Position, disk::Access};
use hashbrown::HashMap;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Something that is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What.
    pub what: String,
}

/// What a log holds, and whether it holds together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments read.
    pub segments: usize,
    /// Records read.
    pub records: u64,
    /// The lowest position.
    pub first: Position,
    /// The highest position.
    pub last: Position,
    /// The chain's hash at the last record.
    pub chain_hash: Hash,
    /// Payloads that match their digests.
    pub payloads: u64,
    /// Payloads that have expired or were erased.
    pub payloads_gone: u64,
    /// Where a torn tail begins, if there is one. Not a problem: the next start cuts it.
    pub torn_at: Option<u64>,
    /// Everything that is wrong, in order.
    pub problems: Vec<Problem>,
}

/// Checks checksums, the chain, positions, versions per stream, seals, and payloads that are still there.
pub fn verify(dir: impl AsRef<Path>) -> Result<Verified, LogError> {
    verify_folder(&Folder::at(dir))
}

pub(super) fn verify_folder(folder: &Folder) -> Result<Verified, LogError> {
    let log_id = folder.log_id()?.ok_or_else(|| damaged(&folder.file("FORMAT"), 0, "the file is missing"))?;
    let anchor = Anchor::read(folder, log_id)?;
    let mut check = Check {
        heads: anchor.heads.into_iter().map(|(stream, version)| (stream.0, version)).collect(),
        next: anchor.floor,
        hash: anchor.hash,
        result: Verified { first: Position(anchor.floor), ..Verified::default() },
    };
    let mut firsts = folder.segments()?;
    firsts.retain(|first| *first >= anchor.floor);
    for (i, first) in firsts.iter().enumerate() {
        let path = folder.segment(*first);
        let last = i + 1 == firsts.len();
        match check.segment((folder, &path), log_id, *first, last) {
            Err(LogError::Damaged { path, offset, what }) => check.problem(&path, offset, what),
            checked => checked?,
        }
    }
    if firsts.is_empty() {
        check.problem(&folder.segment(anchor.floor), 0, "the segment is missing");
    }
    check.result.last = Position(check.next - 1);
    check.result.chain_hash = check.hash;
    Ok(check.result)
}

struct Check {
    heads: HashMap<Arc<str>, u64>,
    next: u64,
    hash: Hash,
    result: Verified,
}

impl Check {
    fn problem(&mut self, path: &Path, offset: u64, what: impl Into<String>) {
        self.result.problems.push(Problem { path: path.to_owned(), offset, what: what.into() });
    }

    fn segment(
        &mut self,
        (folder, path): (&Folder, &Path),
        log_id: [u8; 16],
        first: u64,
        last: bool,
    ) -> Result<(), LogError> {
        let file = folder.open(path, Access::Read)?;
        let (header, mark) = read_header(&*file, path, (Some(log_id), first))?;
        let source = Source { file: &*file, path, seed: header.seed() };
        self.result.segments += 1;
        if (header.first, header.prev) != (self.next, self.hash) {
            self.problem(path, 0, format!("the segment does not go on at position {}", self.next));
            (self.next, self.hash) = (header.first, header.prev);
        }
        let seal = mark.filter(|mark| mark.sealed);
        let length = file.length().during("read", path)?;
        let expired = seal.is_some_and(|seal| length == u64::from(seal.front));
        if length != u64::from(header.size) && !expired {
            return Err(source.bad(length, "the file has the wrong length"));
        }
        let limit = match seal {
            Some(seal) => seal.front,
            None => self.unsealed_end(Unsealed { source, header }, mark.as_ref(), last)?,
        };
        let end = self.batches(source, &header, limit)?;
        let places = |mark: Mark| (mark.front, mark.back, mark.next, mark.hash);
        if mark.is_some_and(|mark| {
            if mark.sealed { places(mark) != places(end.mark(true)) } else { end.front < mark.front }
        }) {
            self.problem(path, u64::from(end.front), "the segment does not end as its mark says");
        }
        if let Some(seal) = seal.filter(|_| last) {
            self.problem(path, 0, format!("the segment at position {} is missing", seal.next));
        }
        Ok(())
    }

    /// Where recovery would end the segment; its whole length if recovery would refuse it.
    fn unsealed_end(
        &mut self,
        segment: Unsealed<'_>,
        mark: Option<&Mark>,
        last: bool,
    ) -> Result<u32, LogError> {
        match segment.end(mark, last) {
            Ok(end) => {
                let torn = segment.torn_bytes(end, false)? > 0;
                self.result.torn_at = torn.then_some(u64::from(end.front));
                Ok(end.front)
            }
            Err(LogError::Damaged { path, offset, what }) => {
                // What is missing before a mark shows in the batches; a mark that is missing does not.
                if mark.is_none() {
                    self.problem(&path, offset, what);
                }
                Ok(segment.header.size)
            }
            Err(error) => Err(error),
        }
    }

    /// Checks all batches before `limit`, jumping over damage.
    fn batches(&mut self, source: Source<'_>, header: &Header, limit: u32) -> Result<End, LogError> {
        let mut end = End::of(header);
        let mut walk = source.walk(end.front..limit, AHEAD);
        loop {
            match walk.next() {
                Ok(Some((offset, batch))) => end = self.batch(source, (offset, &batch), end)?,
                Ok(None) => return Ok(end),
                Err(LogError::Damaged { offset, what, .. }) => {
                    let behind = end.front + 1..limit.min(end.back).max(end.front + 1);
                    let Some(sound) = source.look_ahead(behind, end.next)? else {
                        if limit < header.size {
                            self.problem(source.path, offset, what);
                        }
                        return Ok(end);
                    };
                    self.problem(source.path, offset, what);
                    walk = source.walk(sound..limit, AHEAD);
                    end.front = sound;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn batch(
        &mut self,
        source: Source<'_>,
        (offset, batch): (u32, &Batch<'_>),
        end: End,
    ) -> Result<End, LogError> {
        let (path, at) = (source.path, u64::from(offset));
        let envelope = &batch.envelope;
        if envelope.first != self.next {
            self.problem(path, at, format!("positions jump from {} to {}", self.next - 1, envelope.first));
        }
        if envelope.prev != self.hash {
            self.problem(path, at, "the chain is broken before this batch");
        }
        if !batch.hash_holds() {
            self.problem(path, at, "the batch's hash does not hold");
        }
        let adjoins = envelope.payload_start.checked_add(envelope.payload_len) == Some(end.back);
        if envelope.first == end.next && !adjoins {
            self.problem(path, at, "the batch's payloads are out of place");
        }
        for fact in batch.facts() {
            match fact {
                Ok(fact) => self.fact(source, at, fact)?,
                Err(what) => self.problem(path, at, what),
            }
        }
        (self.next, self.hash) = (batch.next(), envelope.hash);
        let (front, back) = (offset + envelope.len, envelope.payload_start);
        Ok(End { front, back, hash: self.hash, next: self.next, newest: end.newest })
    }

    fn fact(&mut self, source: Source<'_>, offset: u64, fact: Fact<'_>) -> Result<(), LogError> {
        self.result.records += 1;
        let record = fact.record;
        let expected = self.heads.get(record.stream).map_or(1, |version| version + 1);
        if record.version != expected {
            let what = format!("`{}` jumps to version {}, not {expected}", record.stream, record.version);
            self.problem(source.path, offset, what);
        }
        match self.heads.get_mut(record.stream) {
            Some(version) => *version = record.version,
            None => drop(self.heads.insert(record.stream.into(), record.version)),
        }
        let Some(info) = record.payload else { return Ok(()) };
        match source.payload(info, fact.payload_at)? {
            Some(payload) if digest(&payload) == info.digest => self.result.payloads += 1,
            Some(payload) if !is_erased(&payload) => {
                self.problem(source.path, fact.payload_at, "the payload does not match its digest");
            }
            _ => self.result.payloads_gone += 1,
        }
        Ok(())
    }
}
