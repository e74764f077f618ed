//! A disk in memory that does to files what real ones do at their worst.
//!
//! Each file has bytes that are durable and bytes that a program reads back; the difference is what was written since
//! the last sync, sector by sector. A power cut keeps, of each sector, some number of the writes to it; of names, a
//! prefix or any choice of the changes since the folder's last sync. A sync that fails leaves the bytes in memory,
//! marked as clean: the next sync answers well and writes nothing of them, as Linux does.

use super::{Access, Disk, DiskFile, Lock};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Written whole or not at all.
const SECTOR: usize = 512;

/// Answers a number below its argument.
pub(crate) type Roll<'a> = &'a mut dyn FnMut(u64) -> u64;

/// What goes wrong with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The device answers with an error; of a write, half is done.
    Error,
    /// The process ends here: this and all that follows is not done.
    Stop,
}

/// The disk, and what a machine knows of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What programs see.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Since the last sync of their folder; one change may be of two names.
    renamed: Vec<Vec<(PathBuf, Option<usize>)>>,
    files: Vec<Bytes>,
    locked: BTreeSet<PathBuf>,
    /// Files that were opened in an earlier life cannot be used.
    life: u64,
    /// Changes that were asked for so far.
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    stopped: bool,
    /// Bytes that can still be reserved; `None` is without end.
    free: Option<u64>,
    /// Files that can still be opened; `None` is without end.
    opens: Option<u32>,
}

/// One file.
#[derive(Debug, Default)]
struct Bytes {
    durable: Vec<u8>,
    /// What is read.
    cached: Vec<u8>,
    /// Since the last sync, in order.
    unsynced: Vec<Change>,
    /// A sync failed: `cached` has what neither `durable` nor `unsynced` has.
    is_stale: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Written { at: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Written { at, bytes } => {
                let end = at + bytes.len();
                file.resize(file.len().max(end), 0);
                file[*at..end].copy_from_slice(bytes);
            }
            Self::Length(length) => file.resize(*length, 0),
        }
    }

    /// The change, cut where sectors end.
    fn sectors(&self) -> Vec<(Option<usize>, Self)> {
        let Self::Written { at, bytes } = self else { return vec![(None, self.clone())] };
        let mut pieces = Vec::new();
        let (mut at, mut rest) = (*at, &bytes[..]);
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
            pieces.push((Some(at / SECTOR), Self::Written { at, bytes: piece.to_vec() }));
            (at, rest) = (at + piece.len(), behind);
        }
        pieces
    }
}

impl Bytes {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// Of each sector, and of the length, a number of the changes to it are left, the first ones.
    fn lose_power(&mut self, roll: Roll<'_>) {
        let mut places: BTreeMap<Option<usize>, Vec<Change>> = BTreeMap::new();
        for (place, change) in self.unsynced.drain(..).flat_map(|change| change.sectors()) {
            places.entry(place).or_default().push(change);
        }
        // The length comes first: bytes behind an end that was lost are lost with it.
        let mut bound = self.durable.len();
        for (place, changes) in places {
            let kept = usize::try_from(roll(changes.len() as u64 + 1)).unwrap_or_default();
            for change in &changes[..kept] {
                match (place, change) {
                    (None, Change::Length(length)) => bound = bound.max(*length),
                    (_, Change::Written { at, bytes }) => bound = bound.max(at + bytes.len()),
                    (Some(_), Change::Length(_)) => unreachable!("a length has no sector"),
                }
                change.apply(&mut self.durable);
            }
        }
        self.durable.truncate(bound);
        self.cached.clone_from(&self.durable);
        self.is_stale = false;
    }
}

impl SimulatedDisk {
    /// How many changes were asked for so far: writes, syncs, names, lengths.
    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Lets the `number`th change, counted from the beginning, go wrong.
    pub(crate) fn plan(&self, number: u64, fault: Fault) {
        self.0.lock().faults.insert(number, fault);
    }

    /// Forgets what was planned.
    pub(crate) fn mend(&self) {
        self.0.lock().faults.clear();
    }

    /// Whether a planned stop was reached.
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.lock().stopped
    }

    /// Bytes that can be reserved from now on.
    pub(crate) fn set_free(&self, free: Option<u64>) {
        self.0.lock().free = free;
    }

    /// Files that can be opened from now on, before descriptors run out.
    pub(crate) fn set_opens(&self, opens: Option<u32>) {
        self.0.lock().opens = opens;
    }

    /// The process is gone; what it wrote stays, synced or not.
    pub(crate) fn kill(&self) {
        self.0.lock().end_life();
    }

    /// The power is gone, and with it some of what was not synced.
    pub(crate) fn cut_power(&self, roll: Roll<'_>) {
        let mut state = self.0.lock();
        state.end_life();
        let changes = std::mem::take(&mut state.renamed);
        let is_ordered = roll(2) == 0;
        let prefix = roll(changes.len() as u64 + 1);
        for (number, change) in (0..).zip(changes) {
            if if is_ordered { number < prefix } else { roll(2) == 0 } {
                put(&mut state.durable_names, change);
            }
        }
        state.names = state.durable_names.clone();
        for file in &mut state.files {
            file.lose_power(roll);
        }
    }

    /// A disk of its own with the same files, all of it durable.
    pub(crate) fn copy(&self) -> Self {
        let state = self.0.lock();
        let mut copy = State::default();
        for (path, number) in &state.names {
            copy.names.insert(path.clone(), copy.files.len());
            let bytes = state.files[*number].cached.clone();
            copy.files.push(Bytes { durable: bytes.clone(), cached: bytes, ..Bytes::default() });
        }
        copy.durable_names = copy.names.clone();
        Self(Arc::new(Mutex::new(copy)))
    }

    /// Changes bytes behind the program's back, on the device and in memory.
    pub(crate) fn damage(&self, path: &Path, at: usize, change: impl Fn(&mut [u8])) {
        let mut state = self.0.lock();
        let number = state.number(path).expect("a file to damage");
        let file = &mut state.files[number];
        change(&mut file.cached[at..]);
        change(&mut file.durable[at..]);
    }

    fn file(&self, number: usize) -> Arc<dyn DiskFile> {
        Arc::new(SimulatedFile { disk: self.clone(), number, life: self.0.lock().life })
    }
}

impl State {
    fn end_life(&mut self) {
        self.locked.clear();
        self.stopped = false;
        self.life += 1;
    }

    /// Every read asks first.
    fn alive(&self) -> io::Result<()> {
        if self.stopped { Err(io::Error::other("the process has ended")) } else { Ok(()) }
    }

    /// Every change asks first; true if it is to fail.
    fn attempt(&mut self) -> io::Result<bool> {
        self.alive()?;
        self.operations += 1;
        match self.faults.remove(&self.operations) {
            None => Ok(false),
            Some(Fault::Error) => Ok(true),
            Some(Fault::Stop) => {
                self.stopped = true;
                self.alive().map(|()| false)
            }
        }
    }

    fn descriptor(&mut self) -> io::Result<()> {
        match &mut self.opens {
            Some(0) => Err(rustix::io::Errno::MFILE.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn rename(&mut self, change: Vec<(PathBuf, Option<usize>)>) {
        put(&mut self.names, change.clone());
        self.renamed.push(change);
    }

    fn number(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

fn put(names: &mut BTreeMap<PathBuf, usize>, change: Vec<(PathBuf, Option<usize>)>) {
    for (path, number) in change {
        match number {
            Some(number) => drop(names.insert(path, number)),
            None => drop(names.remove(&path)),
        }
    }
}

fn failed() -> io::Error {
    io::Error::other("the device failed")
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.alive()?;
        state.descriptor()?;
        let number = if access == Access::Create {
            if state.attempt()? {
                return Err(failed());
            }
            // In place of the old one, which those who have it open keep.
            state.files.push(Bytes::default());
            let number = state.files.len() - 1;
            state.rename(vec![(path.to_owned(), Some(number))]);
            number
        } else {
            state.number(path)?
        };
        drop(state);
        Ok(self.file(number))
    }

    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.0.lock();
        state.alive()?;
        Ok(state.names.keys().filter(|path| path.parent() == Some(folder)).cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.attempt()? {
            return Err(failed());
        }
        let number = state.number(from)?;
        state.rename(vec![(from.to_owned(), None), (to.to_owned(), Some(number))]);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.number(path)?;
        if state.attempt()? {
            return Err(failed());
        }
        state.rename(vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn open_folder(&self, folder: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.descriptor()?;
        let life = state.life;
        drop(state);
        Ok(Arc::new(SimulatedFolder { disk: self.clone(), folder: folder.to_owned(), life }))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let mut state = self.0.lock();
        state.alive()?;
        let (disk, path, life) = (self.clone(), path.to_owned(), state.life);
        let is_free = state.locked.insert(path.clone());
        Ok(is_free.then(|| Box::new(Held { disk, path, life }) as Lock))
    }

    fn lock_folder(&self, folder: &Path) -> io::Result<Option<Lock>> {
        self.lock(folder)
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.0.lock().free.unwrap_or(u64::MAX))
    }
}

/// A lock that ends with its owner.
struct Held {
    disk: SimulatedDisk,
    path: PathBuf,
    life: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.disk.0.lock();
        if state.life == self.life {
            state.locked.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    number: usize,
    life: u64,
}

impl SimulatedFile {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.0.lock();
        state.alive()?;
        if state.life != self.life {
            return Err(io::Error::other("the process that opened it has ended"));
        }
        act(&mut state)
    }

    fn change(&self, change: Change) -> io::Result<()> {
        self.with(|state| {
            let fails = state.attempt()?;
            let file = &mut state.files[self.number];
            match change {
                Change::Written { at, bytes } if fails => {
                    let bytes = bytes[..bytes.len() / 2].to_vec();
                    file.change(Change::Written { at, bytes });
                }
                _ if fails => {}
                change => file.change(change),
            }
            if fails { Err(failed()) } else { Ok(()) }
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state| {
            let fails = state.attempt()?;
            let file = &mut state.files[self.number];
            if fails {
                file.is_stale |= !file.unsynced.is_empty();
                file.unsynced.clear();
                return Err(failed());
            }
            file.sync();
            Ok(())
        })
    }
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("simulated files are small")
}

impl DiskFile for SimulatedFile {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.with(|state| {
            let file = &state.files[self.number].cached;
            let found = file.get(index(at)..index(at) + bytes.len());
            bytes.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.change(Change::Written { at: index(at), bytes: bytes.to_vec() })
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.files[self.number].cached.len() as u64))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(index(length)))
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        self.with(|state| match &mut state.free {
            Some(free) if *free < length => Err(ErrorKind::StorageFull.into()),
            Some(free) => {
                *free -= length;
                Ok(())
            }
            None => Ok(()),
        })?;
        self.change(Change::Length(index(length)))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn forget_cached(&self) {
        let _ = self.with(|state| {
            let file = &mut state.files[self.number];
            if std::mem::take(&mut file.is_stale) {
                file.cached.clone_from(&file.durable);
                for change in &file.unsynced {
                    change.apply(&mut file.cached);
                }
            }
            Ok(())
        });
    }
}

/// A folder that is kept open.
#[derive(Debug)]
struct SimulatedFolder {
    disk: SimulatedDisk,
    folder: PathBuf,
    life: u64,
}

impl DiskFile for SimulatedFolder {
    fn sync_all(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if state.life != self.life {
            return Err(io::Error::other("the process that opened it has ended"));
        }
        if state.attempt()? {
            return Err(failed());
        }
        let here =
            |change: &Vec<(PathBuf, _)>| change.iter().any(|(path, _)| path.parent() == Some(&self.folder));
        let (synced, rest) = std::mem::take(&mut state.renamed).into_iter().partition(here);
        state.renamed = rest;
        for change in synced {
            put(&mut state.durable_names, change);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn read_exact_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
        Err(ErrorKind::IsADirectory.into())
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(ErrorKind::IsADirectory.into())
    }

    fn length(&self) -> io::Result<u64> {
        Err(ErrorKind::IsADirectory.into())
    }

    fn set_length(&self, _: u64) -> io::Result<()> {
        Err(ErrorKind::IsADirectory.into())
    }

    fn reserve(&self, _: u64) -> io::Result<()> {
        Err(ErrorKind::IsADirectory.into())
    }

    fn forget_cached(&self) {}
}
