//! Folded states on disk: caches that shorten a start, dropped whenever anything about them is in doubt.
//!
//! A snapshot is the fold of the log up to a position, by the same code that a start runs, never a copy of the
//! engine's memory. It names the chain's hash at its position, so that it cannot be taken for another log's, and
//! the state's digest, so that today's code must come to the same state.
//!
//! ```text
//! magic "LHSN" · format u32 · length u64 · CRC32C u32 · postcard( position, chain hash, digest, marks, image )
//! ```

use super::{
    EventLog, Position,
    disk::{Disk, OsDisk},
};
use crate::domain::{
    state::{Image, State},
    time::Timestamp,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    io,
    path::{Path, PathBuf},
};
use tracing::{info, warn};

const MAGIC: [u8; 4] = *b"LHSN";

/// Raised whenever the image or the meaning of the fold changes; others are dropped.
const FORMAT: u32 = 8;

/// Magic, format, length and checksum.
const HEAD_LEN: usize = 20;

/// How many snapshots are kept: the older one stands in when the newer one is damaged.
const KEPT: usize = 2;

/// Where in the log a time was, every so many records; see [`Marks`].
const MARK_EVERY: u64 = 100_000;

/// A state, and what a start wants to know beside it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The fold.
    pub state: State,
    /// Where in the log which time was.
    pub marks: Marks,
}

/// A sparse index of time: a start reads the ids of its dedup window from here on, not from the beginning.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Marks(Vec<(Position, Timestamp)>);

impl Marks {
    /// Takes note of a record.
    pub fn visit(&mut self, position: Position, at: Timestamp) {
        if position.0.is_multiple_of(MARK_EVERY) {
            self.0.push((position, at));
        }
    }

    /// A position before the first record of `floor` or later.
    #[must_use]
    pub fn before(&self, floor: Timestamp) -> Position {
        self.0
            .iter()
            .take_while(|(_, at)| *at < floor)
            .last()
            .map_or(Position::START, |(position, _)| *position)
    }
}

#[derive(Serialize, Deserialize)]
struct Content<I = Image> {
    position: Position,
    chain: [u8; 32],
    digest: String,
    marks: Marks,
    image: I,
}

/// Writes a snapshot beside the others and forgets all but the newest two.
pub fn store(dir: &Path, log: &dyn EventLog, snapshot: &Snapshot) -> io::Result<PathBuf> {
    store_on(&OsDisk, dir, log, snapshot)
}

pub(crate) fn store_on(
    disk: &dyn Disk,
    dir: &Path,
    log: &dyn EventLog,
    snapshot: &Snapshot,
) -> io::Result<PathBuf> {
    let Snapshot { state, marks } = snapshot;
    let content = Content {
        position: state.position,
        chain: log.chain_hash(state.position).map_err(io::Error::other)?,
        digest: state.summary().digest,
        marks: marks.clone(),
        image: state.to_image()?,
    };
    let path = dir.join(format!("{:020}.snapshot", state.position.0));
    write_on(disk, &path, (MAGIC, FORMAT), &content)?;
    for old in list(disk, dir).into_iter().skip(KEPT) {
        disk.remove(&old)?;
    }
    Ok(path)
}

/// The newest snapshot that fits the log; one that does not is removed.
#[must_use]
pub fn load(dir: &Path, log: &dyn EventLog) -> Option<Snapshot> {
    load_on(&OsDisk, dir, log)
}

pub(crate) fn load_on(disk: &dyn Disk, dir: &Path, log: &dyn EventLog) -> Option<Snapshot> {
    for path in list(disk, dir) {
        match read(disk, &path, log) {
            Ok(snapshot) => {
                info!(position = snapshot.state.position.0, "begin with a snapshot");
                return Some(snapshot);
            }
            Err(error) => {
                warn!(%error, "drop snapshot `{}`", path.display());
                disk.remove(&path).ok();
            }
        }
    }
    None
}

/// How far the newest snapshot in `dir` goes, sound or not.
#[must_use]
pub fn newest(dir: &Path) -> Option<Position> {
    let position = |path: &PathBuf| path.file_stem()?.to_str()?.parse().ok().map(Position);
    list(&OsDisk, dir).first().and_then(position)
}

/// Paths of the snapshots, newest first.
fn list(disk: &dyn Disk, dir: &Path) -> Vec<PathBuf> {
    let mut paths = disk.list(dir).unwrap_or_default();
    paths.retain(|path| path.extension().is_some_and(|e| e == "snapshot"));
    paths.sort_unstable();
    paths.reverse();
    paths
}

fn read(disk: &dyn Disk, path: &Path, log: &dyn EventLog) -> io::Result<Snapshot> {
    let content: Content = read_on(disk, path, (MAGIC, FORMAT))?;
    if content.position > log.watermark().get() {
        return Err(io::Error::other("ahead of the log"));
    }
    if log.chain_hash(content.position).map_err(io::Error::other)? != content.chain {
        return Err(io::Error::other("of another log"));
    }
    let state = State::from_image(content.image)?;
    if state.summary().digest != content.digest {
        return Err(io::Error::other("folded by another version"));
    }
    Ok(Snapshot { state, marks: content.marks })
}

/// Writes a file that [`read_sealed`] reads back whole or not at all; a reader sees the old one or the new one.
pub(crate) fn write_sealed(
    path: &Path,
    magic: [u8; 4],
    format: u32,
    content: &impl Serialize,
) -> io::Result<()> {
    write_on(&OsDisk, path, (magic, format), content)
}

/// Reads what [`write_sealed`] wrote.
pub(crate) fn read_sealed<T: DeserializeOwned>(path: &Path, magic: [u8; 4], format: u32) -> io::Result<T> {
    read_on(&OsDisk, path, (magic, format))
}

fn write_on(
    disk: &dyn Disk,
    path: &Path,
    (magic, format): ([u8; 4], u32),
    content: &impl Serialize,
) -> io::Result<()> {
    // Measured first: a vector that grows to millions of deliveries would take up twice the memory.
    let size = postcard::experimental::serialized_size(content).map_err(io::Error::other)?;
    let content = postcard::to_extend(content, Vec::with_capacity(size)).map_err(io::Error::other)?;
    let mut head = magic.to_vec();
    head.extend(format.to_le_bytes());
    head.extend((content.len() as u64).to_le_bytes());
    head.extend(crc32c::crc32c(&content).to_le_bytes());
    disk.create_folder(path.parent().unwrap_or(Path::new(".")))?;
    disk.replace(path, &path.with_extension("new"), &[&head, &content])
}

fn read_on<T: DeserializeOwned>(
    disk: &dyn Disk,
    path: &Path,
    (magic, format): ([u8; 4], u32),
) -> io::Result<T> {
    let file = disk.read(path)?;
    let (head, content) = file.split_at_checked(HEAD_LEN).ok_or_else(|| io::Error::other("cut off"))?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if head[..4] != magic || word(4) != format {
        return Err(io::Error::other("another format"));
    }
    let length = u64::from(word(8)) | u64::from(word(12)) << 32;
    if content.len() as u64 != length || crc32c::crc32c(content) != word(16) {
        return Err(io::Error::other("damaged"));
    }
    postcard::from_bytes(content).map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
