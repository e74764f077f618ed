//! Walks a segment batch by batch: the one loop behind scans, lookups, recovery and verification.

use super::{
    batch::Batch,
    bytes::narrow,
    folder::{During as _, File, damaged},
    format::{BATCH_MAGIC, ENVELOPE_LEN, Envelope},
};
use crate::log::{LogError, PayloadInfo};
use std::{io::ErrorKind, ops::Range, path::Path};

/// Read ahead of a walk over everything.
pub(super) const AHEAD: usize = 512 * 1024;
/// Read ahead of a look at one batch: most batches, whole.
pub(super) const NEAR: usize = 20 * 1024;

/// A segment file to read from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: &'a File,
    pub(super) path: &'a Path,
    /// What its checksums continue: [`super::format::Header::seed`].
    pub(super) seed: u32,
}

impl<'a> Source<'a> {
    /// Walks the batches in a range.
    pub(super) fn walk(self, range: Range<u32>, ahead: usize) -> Walk<'a> {
        let (at, limit) = (range.start, range.end);
        Walk { source: self, limit, ahead, buffer: Vec::new(), start: at, end: at, at }
    }

    /// The first sound batch in a range that begins at position `next` or later.
    pub(super) fn look_ahead(self, range: Range<u32>, next: u64) -> Result<Option<u32>, LogError> {
        let limit = range.end;
        let mut found = None;
        self.pieces(range, |at, piece| {
            let magics = piece.windows(BATCH_MAGIC.len()).enumerate().filter(|(_, w)| **w == BATCH_MAGIC);
            for offset in magics.map(|(i, _)| at + narrow(i)) {
                // The checksum continues the header's, so a payload that imitates a batch is not taken for one.
                match self.walk(offset..limit, NEAR).next() {
                    Ok(Some((_, batch))) if batch.envelope.first >= next => {
                        found = Some(offset);
                        return Ok(false);
                    }
                    Ok(_) | Err(LogError::Damaged { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(true)
        })?;
        Ok(found)
    }

    /// Visits a range in pieces that overlap by less than a magic number, until `visit` says false.
    pub(super) fn pieces(
        self,
        range: Range<u32>,
        mut visit: impl FnMut(u32, &[u8]) -> Result<bool, LogError>,
    ) -> Result<(), LogError> {
        let mut at = range.start;
        let mut piece = vec![0; AHEAD.min(range.len())];
        while at < range.end {
            piece.truncate((range.end - at) as usize);
            self.read(&mut piece, u64::from(at))?;
            let end = at + narrow(piece.len());
            if !visit(at, &piece)? || end == range.end {
                break;
            }
            at = end - narrow(BATCH_MAGIC.len() - 1);
        }
        Ok(())
    }

    /// Fills `bytes` from the file.
    pub(super) fn read(self, bytes: &mut [u8], at: u64) -> Result<(), LogError> {
        match self.file.read_exact_at(bytes, at) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(self.bad(at, "the file ends early"))
            }
            read => read.during("read", self.path),
        }
    }

    /// What stands where a payload should; `None` if the file ends before it.
    pub(super) fn payload(self, info: PayloadInfo, at: u64) -> Result<Option<Vec<u8>>, LogError> {
        let mut payload = vec![0; info.len as usize];
        match self.file.read_exact_at(&mut payload, at) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            read => read.during("read", self.path).map(|()| Some(payload)),
        }
    }

    pub(super) fn bad(self, offset: impl Into<u64>, what: impl Into<String>) -> LogError {
        damaged(self.path, offset.into(), what)
    }
}

/// Batches of one segment, from an offset to a limit, through a buffer of its own.
pub(super) struct Walk<'a> {
    source: Source<'a>,
    limit: u32,
    ahead: usize,
    buffer: Vec<u8>,
    /// What the buffer holds, `start..end` of the file.
    start: u32,
    end: u32,
    /// Where the next batch stands in the file.
    at: u32,
}

impl Walk<'_> {
    /// The next batch and its offset; `None` at the limit.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Batch<'_>)>, LogError> {
        let at = self.at;
        if at >= self.limit {
            return Ok(None);
        }
        self.fill(ENVELOPE_LEN)?;
        let source = self.source;
        let head =
            Envelope::decode(self.rest()).ok_or_else(|| source.bad(at, "no batch where one should be"))?;
        self.fill(head.len as usize)?;
        // Borrows the buffer alone, so that the place can be moved on.
        let bytes = &self.buffer[(at - self.start) as usize..];
        let batch = Batch::decode(bytes, source.seed).map_err(|what| source.bad(at, what))?;
        self.at = at + head.len;
        Ok(Some((at, batch)))
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[(self.at - self.start) as usize..]
    }

    /// Sees to it that the next `len` bytes are in the buffer, and reads ahead if it has to read.
    fn fill(&mut self, len: usize) -> Result<(), LogError> {
        let room = (self.limit - self.at) as usize;
        if len > room {
            return Err(self.source.bad(self.at, "a batch reaches over the limit"));
        }
        if len <= (self.end - self.at) as usize {
            return Ok(());
        }
        self.buffer.drain(..(self.at - self.start) as usize);
        self.start = self.at;
        let held = (self.end - self.at) as usize;
        self.buffer.resize(len.max(self.ahead).min(room), 0);
        self.source.read(&mut self.buffer[held..], u64::from(self.end))?;
        self.end = self.start + narrow(self.buffer.len());
        Ok(())
    }
}
