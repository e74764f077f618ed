//! The data folder: names, the lock, the `FORMAT` file, and files that are replaced whole.
//!
//! ```text
//! FORMAT                       format number and the log's random id, text; written last when a log is made
//! lock                         held with flock(2) while an engine runs
//! 00000000000000000001.seg     a segment, named by its first position
//! 00000000000000000001.idx     where its streams are; derived, rebuilt when missing or damaged
//! spare                        the next segment, filled with zeroes ahead of time
//! anchor                       where the log begins, once old segments were removed
//! ```

use super::format::FORMAT;
use crate::log::LogError;
use rustix::fs::{FlockOperation, flock};
use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

/// Names the step and the file that an I/O error belongs to.
pub(super) trait During<T> {
    fn during(self, what: &'static str, path: &Path) -> Result<T, LogError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, what: &'static str, path: &Path) -> Result<T, LogError> {
        self.map_err(|source| LogError::Io { what, path: path.to_owned(), source: source.into() })
    }
}

pub(super) fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> LogError {
    LogError::Damaged { path: path.to_owned(), offset, what: what.into() }
}

/// The folder that one log lives in.
#[derive(Clone, Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn segment(&self, first: u64) -> PathBuf {
        self.0.join(format!("{first:020}.seg"))
    }

    pub(super) fn index(&self, first: u64) -> PathBuf {
        self.0.join(format!("{first:020}.idx"))
    }

    pub(super) fn spare(&self) -> PathBuf {
        self.file("spare")
    }

    /// First positions of all segments, rising.
    pub(super) fn segments(&self) -> Result<Vec<u64>, LogError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0).during("list", &self.0)? {
            let path = entry.during("list", &self.0)?.path();
            if path.extension() != Some(OsStr::new("seg")) {
                continue;
            }
            let first = path.file_stem().and_then(OsStr::to_str).and_then(|name| name.parse().ok());
            found.push(first.ok_or_else(|| damaged(&path, 0, "not the name of a segment"))?);
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Makes created, renamed and removed names durable.
    pub(super) fn sync(&self) -> Result<(), LogError> {
        File::open(&self.0).and_then(|dir| dir.sync_all()).during("sync", &self.0)
    }

    /// Writes a whole file so that after a crash there is the old one or the new one.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), LogError> {
        let draft = path.with_extension("tmp");
        let mut file = File::create(&draft).during("create", &draft)?;
        file.write_all(bytes).during("write", &draft)?;
        file.sync_all().during("sync", &draft)?;
        fs::rename(&draft, path).during("rename", &draft)?;
        self.sync()
    }

    /// Removes a file that may be missing.
    pub(super) fn remove(path: &Path) -> Result<(), LogError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).during("remove", path),
            _ => Ok(()),
        }
    }

    /// Takes the folder for this process; freed when the file is dropped, also by a crash.
    pub(super) fn lock(&self) -> Result<File, LogError> {
        let path = self.file("lock");
        let options = OpenOptions::new().create(true).truncate(false).write(true).clone();
        let file = options.open(&path).during("open", &path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LogError::Locked(self.0.clone())),
            Err(errno) => Err(errno).during("lock", &path),
        }
    }

    /// The log's id, or `None` if there is no log here yet. A newer format is refused.
    pub(super) fn log_id(&self) -> Result<Option<[u8; 16]>, LogError> {
        let path = self.file("FORMAT");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(damaged(&path, 0, "not text"));
            }
            Err(error) => return Err(error).during("read", &path),
        };
        let mut lines = text.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name);
        let malformed = || damaged(&path, 0, "not the FORMAT file of a log");
        field("ledgerhook log").ok_or_else(malformed)?;
        let format = field("format ").and_then(|n| n.parse().ok()).ok_or_else(malformed)?;
        if format > FORMAT {
            return Err(LogError::NewerFormat { path: self.0.clone(), found: format, supported: FORMAT });
        }
        let mut id = [0; 16];
        let parsed = field("id ").and_then(|text| hex::decode_to_slice(text, &mut id).ok());
        parsed.filter(|()| format == FORMAT).ok_or_else(malformed)?;
        Ok(Some(id))
    }

    /// Says that a log lives here from now on; its first segment exists already.
    pub(super) fn put_log_id(&self, id: [u8; 16]) -> Result<(), LogError> {
        let text = format!("ledgerhook log\nformat {FORMAT}\nid {}\n", hex::encode(id));
        self.replace(&self.file("FORMAT"), text.as_bytes())
    }
}
