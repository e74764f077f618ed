//! The window of event ids that were accepted: one event for each (tenant, id), however often it is posted.
//!
//! Sixteen bytes an id: a keyed hash of tenant and id, and the position. A hit is verified against the log, so
//! a collision costs a read and no event.

use crate::{
    domain::{id::TenantId, time::Timestamp},
    error::EngineError,
    log::Position,
    view::Receipt,
};
use hashbrown::HashTable;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
};

const SHARDS: usize = 64;

/// What the window knew of an id.
pub(crate) enum Found {
    /// Nothing: it was accepted just now.
    New(Receipt),
    /// Probably accepted before, here.
    Before(Position),
}

/// The window.
pub struct Dedup {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    ids_max: usize,
}

#[derive(Default)]
struct Shard {
    table: HashTable<(u64, Position)>,
    /// By age, so that what is too old or too much goes first.
    order: VecDeque<(u64, Position, u32)>,
}

impl Dedup {
    /// An empty window that keeps at most `ids_max` ids, of all tenants together.
    #[must_use]
    pub fn new(ids_max: u64) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            hasher: RandomState::new(),
            shards,
            ids_max: usize::try_from(ids_max).unwrap_or(usize::MAX) / SHARDS,
        }
    }

    /// Takes note of an id that the log holds.
    pub fn restore(&self, tenant: &TenantId, id: &str, position: Position, at: Timestamp) {
        let hash = self.hash(tenant, id);
        self.shard(hash).lock().insert(hash, position, at, self.ids_max);
    }

    /// Forgets what was accepted before `floor`.
    pub fn expire(&self, floor: Timestamp) {
        let floor = u32::try_from(floor.as_secs()).unwrap_or(u32::MAX);
        for shard in &self.shards {
            let mut shard = shard.lock();
            while shard.order.front().is_some_and(|(_, _, at)| *at < floor) {
                shard.drop_oldest();
            }
        }
    }

    /// Calls `append` unless the id is known; nobody else can accept the same id in between. Positions in
    /// `passed_over` were looked at and belong to other ids.
    pub(crate) fn accept(
        &self,
        tenant: &TenantId,
        id: &str,
        passed_over: &[Position],
        append: impl FnOnce() -> Result<Receipt, EngineError>,
    ) -> Result<Found, EngineError> {
        let hash = self.hash(tenant, id);
        let mut shard = self.shard(hash).lock();
        if let Some(position) = shard.find(hash, passed_over) {
            return Ok(Found::Before(position));
        }
        let receipt = append()?;
        shard.insert(hash, receipt.position, crate::clock::wall(), self.ids_max);
        Ok(Found::New(receipt))
    }

    /// Where an id was probably accepted; look at the log to be sure.
    pub(crate) fn find(&self, tenant: &TenantId, id: &str) -> Vec<Position> {
        let hash = self.hash(tenant, id);
        let mut found = Vec::new();
        let shard = self.shard(hash).lock();
        while let Some(position) = shard.find(hash, &found) {
            found.push(position);
        }
        found
    }

    fn hash(&self, tenant: &TenantId, id: &str) -> u64 {
        self.hasher.hash_one((tenant.as_str(), id))
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        // The table uses the low bits and the seven highest.
        &self.shards[usize::try_from(hash >> 40).unwrap_or(0) % SHARDS]
    }
}

impl Shard {
    fn find(&self, hash: u64, passed_over: &[Position]) -> Option<Position> {
        let known = |(other, position): &(u64, Position)| *other == hash && !passed_over.contains(position);
        self.table.find(hash, known).map(|(_, position)| *position)
    }

    fn insert(&mut self, hash: u64, position: Position, at: Timestamp, ids_max: usize) {
        self.table.insert_unique(hash, (hash, position), |(hash, _)| *hash);
        self.order.push_back((hash, position, u32::try_from(at.as_secs()).unwrap_or(u32::MAX)));
        if self.order.len() > ids_max {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((hash, position, _)) = self.order.pop_front() else { return };
        if let Ok(entry) = self.table.find_entry(hash, |entry| *entry == (hash, position)) {
            entry.remove();
        }
    }
}
