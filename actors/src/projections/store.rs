//! Where read models are kept: three key spaces of one fjall database, with their keys.
//!
//! | space | key | value |
//! |---|---|---|
//! | `book` | tag, then what it is about | small things: position, names, pipelines, statistics, audit |
//! | `rows` | event position / [`PAGE`](super::rows::PAGE) | the events of that stretch of the log with their deliveries |
//! | `terms` | stretch of the log, [`Term`], first position | positions of events behind it (see [`terms`](super::terms)) |
//!
//! Everything here can be rebuilt from the log, so nothing is synced, and a folder that refuses to open is
//! deleted. Numbers in keys are big-endian: the order of keys is the order of the log.

use super::{HeldSource, names::Names, terms::Term};
use crate::log::Position;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, Readable, Slice, Snapshot,
    compaction::Leveled, config::FilterPolicy,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

/// Version of the stored shapes; another one means that everything is built anew.
const SCHEMA: u64 = 4;

/// Bytes of a table on the disk. What is new is merged with the newest table: a larger one is written again more
/// often before it is full.
const TABLE_BYTES: u64 = 16 << 20;

/// Why read models could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database said no.
    #[error("the read models cannot be used: {0}")]
    Database(#[from] fjall::Error),
    /// A value is not what its key promises.
    #[error("a read model is damaged: {0}")]
    Damaged(#[from] postcard::Error),
    /// The folder cannot be used.
    #[error("cannot use `{}`", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A value that has a place in the store.
pub(super) trait Stored: Serialize + DeserializeOwned {
    /// What it is found by.
    type Key: Copy + Eq + std::hash::Hash;

    /// The key space that holds it.
    fn space(store: &Store) -> &Keyspace;

    /// The key as it is stored.
    fn key(key: Self::Key) -> Slice;
}

/// First byte of every key in `book`.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Tag {
    Schema = 1,
    Position,
    Name,
    Pipeline,
    Config,
    Stats,
    Day,
    Halted,
    Tenant,
    Audit,
    Chain,
    Home,
}

impl Tag {
    /// A key of `book`: this tag and what follows, together at most 20 bytes, which a slice holds without an allocation.
    pub(super) fn key(self, parts: &[&[u8]]) -> Slice {
        let (mut key, mut end) = ([self as u8; 20], 1);
        for part in parts {
            key[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        Slice::from(&key[..end])
    }
}

/// One generation of the read models on disk.
pub(super) struct Store {
    db: Database,
    pub(super) book: Keyspace,
    pub(super) rows: Keyspace,
    pub(super) terms: Keyspace,
    /// Numbers for texts that come again and again.
    pub(super) names: Names,
    folder: PathBuf,
}

impl Store {
    /// Opens the read models under `dir`, or begins new ones if there are none that can be used.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let newest = generations(dir)?.pop();
        let Some(number) = newest else { return Self::create(dir) };
        // A damaged database may panic instead of telling; both mean the same here.
        let opened = catch_unwind(AssertUnwindSafe(|| Self::open_folder(&folder(dir, number))));
        match opened {
            Ok(Ok(store)) if store.schema()? == Some(SCHEMA) => Ok(store),
            Ok(Err(StoreError::Database(fjall::Error::Locked))) => Err(fjall::Error::Locked.into()),
            Ok(Ok(_)) => {
                tracing::info!("read models have another schema, building them anew");
                Self::create(dir)
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "read models refuse to open, building them anew");
                Self::create(dir)
            }
            Err(_) => {
                tracing::warn!("read models are damaged, building them anew");
                Self::create(dir)
            }
        }
    }

    /// Begins a new generation under `dir` and deletes the older ones, even if something still reads them.
    pub(super) fn create(dir: &Path) -> Result<Self, StoreError> {
        let old = generations(dir)?;
        let store = Self::open_folder(&folder(dir, old.last().map_or(1, |last| last + 1)))?;
        store.book.insert(Tag::Schema.key(&[]), SCHEMA.to_be_bytes())?;
        store.settle()?;
        for number in old {
            let path = folder(dir, number);
            fs::remove_dir_all(&path).map_err(|source| StoreError::Folder { path, source })?;
        }
        Ok(store)
    }

    fn open_folder(folder: &Path) -> Result<Self, StoreError> {
        let db = Database::builder(folder)
            .worker_threads(1)
            .cache_size(16 << 20)
            .max_journaling_size(64 << 20)
            .open()?;
        let options = |memory| {
            let merged = Leveled::default().with_table_target_size(TABLE_BYTES);
            KeyspaceCreateOptions::default().max_memtable_size(memory).compaction_strategy(Arc::new(merged))
        };
        let book = db.keyspace("book", || options(2 << 20))?;
        let rows = db.keyspace("rows", || options(8 << 20).expect_point_read_hits(true))?;
        // Terms are only ever read as ranges, which filters do not help.
        let terms = db.keyspace("terms", || options(4 << 20).filter_policy(FilterPolicy::disabled()))?;
        let names = Names::load(&book)?;
        Ok(Self { db, book, rows, terms, names, folder: folder.into() })
    }

    fn schema(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.book.get(Tag::Schema.key(&[]))?.and_then(|value| number(&value)))
    }

    /// The last position that was folded in.
    pub(super) fn position(&self) -> Result<Position, StoreError> {
        self.view(None).position()
    }

    /// The log's chain hash at that position, unless it was folded by a version that did not keep it.
    pub(super) fn chain(&self) -> Result<Option<[u8; 32]>, StoreError> {
        Ok(self.book.get(Tag::Chain.key(&[]))?.and_then(|value| value.as_ref().try_into().ok()))
    }

    /// Writes the position, and the log's chain hash there, into the batch that reaches it.
    pub(super) fn set_position(&self, batch: &mut OwnedWriteBatch, position: Position, chain: [u8; 32]) {
        batch.insert(&self.book, Tag::Position.key(&[]), position.0.to_be_bytes());
        batch.insert(&self.book, Tag::Chain.key(&[]), chain);
    }

    /// Whether the folder is a copy of the one that was written.
    pub(super) fn is_copied(&self) -> Result<bool, StoreError> {
        let home = self.book.get(Tag::Home.key(&[]))?;
        Ok(home.is_some_and(|home| *home != self.home()))
    }

    /// From now on this folder is the one that is written.
    pub(super) fn settle(&self) -> Result<(), StoreError> {
        let (key, home) = (Tag::Home.key(&[]), self.home());
        if self.book.get(&key)?.is_none_or(|known| *known != home) {
            self.book.insert(key, home)?;
        }
        Ok(())
    }

    /// What a folder has and its copy has not: number and time of birth.
    fn home(&self) -> [u8; 24] {
        let mut home = [0; 24];
        if let Ok(known) = fs::metadata(&self.folder) {
            let born = known.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            home[..8].copy_from_slice(&known.ino().to_be_bytes());
            home[8..].copy_from_slice(&born.map_or(0, |born| born.as_nanos()).to_be_bytes());
        }
        home
    }

    /// An empty batch: all of it becomes visible at once, or nothing.
    pub(super) fn batch(&self) -> OwnedWriteBatch {
        self.db.batch()
    }

    /// The newest value, for the one who writes it.
    pub(super) fn load<V: Stored>(&self, key: V::Key) -> Result<Option<V>, StoreError> {
        let value = V::space(self).get(V::key(key))?;
        value.map(|value| Ok(postcard::from_bytes(&value)?)).transpose()
    }

    /// The newest value behind a key of `book`, for the one who writes it.
    pub(super) fn mark(&self, key: &Slice) -> Result<Option<Slice>, StoreError> {
        Ok(self.book.get(key)?)
    }

    /// Everything as it is now, for a reader.
    pub(super) fn view<'a>(&'a self, held: Option<&'a HeldSource>) -> View<'a> {
        View { store: self, snapshot: self.db.snapshot(), held }
    }
}

/// All read models at one position.
pub(super) struct View<'a> {
    pub(super) store: &'a Store,
    snapshot: Snapshot,
    /// Who knows what is held back at this moment.
    pub(super) held: Option<&'a HeldSource>,
}

impl View<'_> {
    /// The last position that was folded in.
    pub(super) fn position(&self) -> Result<Position, StoreError> {
        let value = self.snapshot.get(&self.store.book, Tag::Position.key(&[]))?;
        Ok(Position(value.and_then(|value| number(&value)).unwrap_or(0)))
    }

    /// The value behind a key.
    pub(super) fn get<V: Stored>(&self, key: V::Key) -> Result<Option<V>, StoreError> {
        let value = self.snapshot.get(V::space(self.store), V::key(key))?;
        value.map(|value| Ok(postcard::from_bytes(&value)?)).transpose()
    }

    /// Whether a key of `book` is there.
    pub(super) fn has(&self, key: &Slice) -> Result<bool, StoreError> {
        Ok(self.snapshot.contains_key(&self.store.book, key)?)
    }

    /// Keys and values of `book` between two keys, both included.
    pub(super) fn book(&self, from: &Slice, to: &Slice) -> fjall::Iter {
        self.snapshot.range::<&Slice, _>(&self.store.book, from..=to)
    }

    /// Entries of `term` whose first position lies between two positions of one stretch, both included.
    pub(super) fn term(&self, term: Term, from: Position, to: Position) -> fjall::Iter {
        self.snapshot.range(&self.store.terms, term.key(from)..=term.key(to))
    }
}

/// A big-endian number at the end of a key, or as a value.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    bytes.last_chunk().copied().map(u64::from_be_bytes)
}

fn folder(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("generation-{generation}"))
}

pub(super) fn generations(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let refused = |source| StoreError::Folder { path: dir.into(), source };
    fs::create_dir_all(dir).map_err(refused)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(refused)? {
        let name = entry.map_err(refused)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("generation-"));
        found.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}
