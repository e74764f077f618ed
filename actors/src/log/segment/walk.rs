//! Walks a segment batch by batch: the one loop behind scans, lookups, recovery and verification.

use super::{
    batch::Batch,
    bytes::narrow,
    folder::{During as _, damaged},
    format::{ENVELOPE_LEN, Envelope},
};
use crate::log::LogError;
use std::{fs::File, io::ErrorKind, os::unix::fs::FileExt as _, path::Path};

/// Read ahead of a walk over everything.
pub(super) const AHEAD: usize = 512 * 1024;
/// Read ahead of a look at one batch.
pub(super) const NEAR: usize = 8 * 1024;

/// Batches of one segment, from an offset to a limit, through a buffer of its own.
pub(super) struct Walk<'a> {
    file: &'a File,
    path: &'a Path,
    seed: u32,
    limit: u32,
    ahead: usize,
    buffer: Vec<u8>,
    /// What the buffer holds, `start..end` of the file.
    start: u32,
    end: u32,
    /// Where the next batch stands in the file.
    at: u32,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        (file, path): (&'a File, &'a Path),
        seed: u32,
        from: u32,
        limit: u32,
        ahead: usize,
    ) -> Self {
        Self { file, path, seed, limit, ahead, buffer: Vec::new(), start: from, end: from, at: from }
    }

    /// The next batch and its offset; `None` at the limit.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Batch<'_>)>, LogError> {
        let at = self.at;
        if at >= self.limit {
            return Ok(None);
        }
        self.fill(ENVELOPE_LEN)?;
        let bad = |what| damaged(self.path, u64::from(at), what);
        let head = Envelope::decode(self.rest()).ok_or_else(|| bad("no batch where one should be"))?;
        self.fill(head.len as usize)?;
        // Borrows the buffer alone, so that the place can be moved on.
        let bytes = &self.buffer[(at - self.start) as usize..];
        let batch =
            Batch::decode(bytes, self.seed).map_err(|what| damaged(self.path, u64::from(at), what))?;
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
            return Err(damaged(self.path, u64::from(self.at), "a batch reaches over the limit"));
        }
        if len <= (self.end - self.at) as usize {
            return Ok(());
        }
        self.buffer.drain(..(self.at - self.start) as usize);
        self.start = self.at;
        let held = (self.end - self.at) as usize;
        self.buffer.resize(len.max(self.ahead).min(room), 0);
        match self.file.read_exact_at(&mut self.buffer[held..], u64::from(self.end)) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(damaged(self.path, u64::from(self.end), "the file ends early"));
            }
            read => read.during("read", self.path)?,
        }
        self.end = self.start + narrow(self.buffer.len());
        Ok(())
    }
}
