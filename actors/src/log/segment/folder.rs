//! The data folder: names, the lock, the `FORMAT` file, and files that are replaced whole.
//!
//! ```text
//! FORMAT                       format number and the log's random id, text; written last when a log is made
//! lock                         held with flock(2) while an engine runs, as is the folder itself
//! 00000000000000000001.seg     a segment, named by its first position
//! 00000000000000000001.idx     where its streams are; derived, rebuilt when missing or damaged
//! spare                        the next segment, filled with zeroes ahead of time
//! anchor                       where the log begins, once old segments were removed
//! ```

use super::format::FORMAT;
use crate::log::{
    LogError,
    disk::{Access, Disk, DiskFile, Lock, OsDisk},
};
use std::{
    ffi::OsStr,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

/// An open file of whatever disk the folder is on.
pub(super) type File = dyn DiskFile;

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
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    /// The folder, once it is kept open.
    kept: Option<Arc<File>>,
}

impl Folder {
    /// A folder of the operating system.
    pub(super) fn at(path: impl AsRef<Path>) -> Self {
        Self::on(path, Arc::new(OsDisk))
    }

    /// A folder on any disk.
    pub(super) fn on(path: impl AsRef<Path>, disk: Arc<dyn Disk>) -> Self {
        Self { path: path.as_ref().to_owned(), disk, kept: None }
    }

    /// Keeps the folder open, so that a segment can begin when no descriptor is left (CRS.15).
    pub(super) fn keep_open(&mut self) -> Result<(), LogError> {
        self.kept = Some(self.disk.open_folder(&self.path).during("open", &self.path)?);
        Ok(())
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn open(&self, path: &Path, access: Access) -> Result<Arc<File>, LogError> {
        self.disk.open(path, access).during("open", path)
    }

    pub(super) fn segment(&self, first: u64) -> PathBuf {
        self.path.join(format!("{first:020}.seg"))
    }

    pub(super) fn index(&self, first: u64) -> PathBuf {
        self.path.join(format!("{first:020}.idx"))
    }

    pub(super) fn spare(&self) -> PathBuf {
        self.file("spare")
    }

    /// First positions of all segments, rising.
    pub(super) fn segments(&self) -> Result<Vec<u64>, LogError> {
        let mut found = Vec::new();
        for path in self.list()? {
            if path.extension() != Some(OsStr::new("seg")) {
                continue;
            }
            let first = path.file_stem().and_then(OsStr::to_str).and_then(|name| name.parse().ok());
            found.push(first.ok_or_else(|| damaged(&path, 0, "not the name of a segment"))?);
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Paths of all files.
    pub(super) fn list(&self) -> Result<Vec<PathBuf>, LogError> {
        self.disk.list(&self.path).during("list", &self.path)
    }

    /// Makes created, renamed and removed names durable.
    pub(super) fn sync(&self) -> Result<(), LogError> {
        let synced = match &self.kept {
            Some(folder) => folder.sync_all(),
            None => self.disk.sync_names(&self.path),
        };
        synced.during("sync", &self.path)
    }

    /// Makes the folder's own name durable, once it has been made.
    pub(super) fn sync_own_name(&self) -> Result<(), LogError> {
        let above = self.path.parent().filter(|path| !path.as_os_str().is_empty());
        let above = above.unwrap_or(Path::new("."));
        self.disk.sync_names(above).during("sync", above)
    }

    /// Writes a whole file so that after a crash there is the old one or the new one.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), LogError> {
        self.disk.replace(path, &path.with_extension("tmp"), &[bytes]).during("write", path)
    }

    /// Removes a file that may be missing.
    pub(super) fn remove(&self, path: &Path) -> Result<(), LogError> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).during("remove", path),
            _ => Ok(()),
        }
    }

    /// Takes the folder for this process; freed when the lock is dropped, also by a crash. The file `lock` is what earlier
    /// versions look at; the folder itself is locked, too, since a file can be removed while an engine runs.
    pub(super) fn lock(&self) -> Result<Lock, LogError> {
        let taken = || LogError::Locked(self.path.clone());
        let of_folder = self.disk.lock_folder(&self.path).during("lock", &self.path)?.ok_or_else(taken)?;
        let path = self.file("lock");
        let of_file = self.disk.lock(&path).during("lock", &path)?.ok_or_else(taken)?;
        Ok(Box::new((of_folder, of_file)))
    }

    /// The log's id, or `None` if there is no log here yet. A newer format is refused.
    pub(super) fn log_id(&self) -> Result<Option<[u8; 16]>, LogError> {
        let path = self.file("FORMAT");
        let bytes = match self.disk.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).during("read", &path),
        };
        let text = String::from_utf8(bytes).map_err(|_| damaged(&path, 0, "not text"))?;
        let mut lines = text.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name);
        let malformed = || damaged(&path, 0, "not the FORMAT file of a log");
        field("ledgerhook log").ok_or_else(malformed)?;
        let format = field("format ").and_then(|n| n.parse().ok()).ok_or_else(malformed)?;
        if format > FORMAT {
            return Err(LogError::NewerFormat { path: self.path.clone(), found: format, supported: FORMAT });
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
