//! What the log asks of a disk. The operating system's files answer in production; in tests a simulated disk does, which
//! loses, tears and reorders what was not synced.

#[cfg(test)]
pub(crate) mod simulated;

use crate::descriptors;
use rustix::{
    fs::{Advice, FallocateFlags, FlockOperation, fadvise, fallocate, flock, statvfs},
    io::Errno,
};
use std::{
    any::Any,
    fmt::Debug,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Whether an operation failed for want of something that comes back: space, a quota, descriptors.
pub(crate) fn is_want(error: &io::Error) -> bool {
    let wanting = matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT));
    wanting || error.kind() == io::ErrorKind::StorageFull || descriptors::ran_out(error)
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// An existing one, to be read.
    Read,
    /// An existing one, to be read and written.
    Write,
    /// A new and empty one, in place of what had the name.
    Create,
}

/// Held for as long as a file is locked.
pub(crate) type Lock = Box<dyn Any + Send + Sync>;

/// Names of files, and what can be done with them.
pub(crate) trait Disk: Debug + Send + Sync {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes a folder and those above it, unless they are there.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Paths of the files in a folder, in no order.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// A folder, kept open: [`DiskFile::sync_all`] makes its names durable without another descriptor.
    fn open_folder(&self, folder: &Path) -> io::Result<Arc<dyn DiskFile>>;

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes created, renamed and removed names durable.
    fn sync_names(&self, folder: &Path) -> io::Result<()> {
        self.open_folder(folder)?.sync_all()
    }

    /// Locks a file, made if need be, until the answer is dropped or the process ends; `None` if another holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>>;

    /// Locks the folder itself, which nobody removes in passing; `None` if another holds it. On file systems that lock no
    /// folders nothing is locked.
    fn lock_folder(&self, folder: &Path) -> io::Result<Option<Lock>>;

    /// Bytes that can still be written to the disk of a folder.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;

    /// All of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, Access::Read)?;
        let mut bytes = vec![0; usize::try_from(file.length()?).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Writes a file from its beginning, one part behind the other, without a sync.
    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.open(path, Access::Create)?;
        let mut at = 0;
        for part in parts {
            file.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        Ok(file)
    }

    /// Writes a whole file under its name so that after a crash there is the old one or the new one; `draft` is its
    /// name until it is whole.
    fn replace(&self, path: &Path, draft: &Path, parts: &[&[u8]]) -> io::Result<()> {
        self.write(draft, parts)?.sync_all()?;
        self.rename(draft, path)?;
        self.sync_names(path.parent().unwrap_or(Path::new(".")))
    }
}

/// An open file.
pub(crate) trait DiskFile: Debug + Send + Sync {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    fn length(&self) -> io::Result<u64>;

    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Makes the file `length` bytes long with space for all of them, where the file system can.
    fn reserve(&self, length: u64) -> io::Result<()>;

    /// Makes the bytes durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the bytes and all about the file durable.
    fn sync_all(&self) -> io::Result<()>;

    /// Has the next reads come from the disk rather than from memory, as far as that can be had.
    fn forget_cached(&self);
}

/// The operating system's files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OsDisk;

impl Disk for OsDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let (write, create) = (access != Access::Read, access == Access::Create);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(write).create(create).truncate(create).open(path)?;
        Ok(Arc::new(file))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn open_folder(&self, folder: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(File::open(folder)?))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn lock_folder(&self, folder: &Path) -> io::Result<Option<Lock>> {
        let file = File::open(folder)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Ok(None),
            // NFS locks only what is open for writing, which a folder never is.
            _ => Ok(Some(Box::new(file))),
        }
    }

    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        let disk = statvfs(folder)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

impl DiskFile for File {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        match fallocate(self, FallocateFlags::empty(), 0, length) {
            Err(Errno::OPNOTSUPP) => self.set_len(length),
            reserved => Ok(reserved?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        Self::sync_all(self)
    }

    fn forget_cached(&self) {
        let _ = fadvise(self, 0, None, Advice::DontNeed);
    }
}
