//! The window of event ids that were accepted: one event for each (tenant, id), however often it is posted.
//!
//! A keyed hash of the id, and the position. A hit is verified against the log, so a collision costs a read and
//! no event. There may be ten millions of them: an id costs sixteen bytes in a ring, by age, and five for each
//! place of a table of the ring's numbers.

mod ring;

use self::ring::{Entry, Ring, table_hash};
use crate::{
    domain::{id::TenantId, time::Timestamp},
    error::EngineError,
    log::Position,
    view::{NewEvent, Receipt},
};
use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Each tenant's window is cut into so many parts, each behind a lock of its own.
const SHARDS: usize = 16;

/// What the window knew of an id.
pub(crate) enum Found {
    /// Nothing: it was accepted just now.
    New(Receipt),
    /// It was probably accepted before, here; the event, not taken.
    Before(Position, NewEvent),
}

/// The windows of all tenants. One tenant's ids never push out another's.
pub struct Dedup {
    hasher: RandomState,
    tenants: RwLock<HashMap<TenantId, Arc<Window>>>,
    /// Ids kept per tenant.
    ids_max: usize,
    /// How long an id is kept.
    period: Duration,
}

/// The ids of one tenant.
#[derive(Default)]
struct Window {
    shards: [Mutex<Shard>; SHARDS],
    /// Of each shard, where its oldest id was accepted: which is the oldest of all is found without their locks.
    oldest: [AtomicU64; SHARDS],
    /// How many there are.
    ids: AtomicUsize,
    /// Held by who makes room, so that no two of them forget one id too many.
    trimming: Mutex<()>,
}

#[derive(Default)]
struct Shard {
    /// Numbers of the ring's entries, by their hash.
    table: HashTable<u32>,
    /// By age, so that what is too old or too much goes first.
    ring: Ring,
}

impl Dedup {
    /// Empty windows that keep at most `ids_max` ids of each tenant, none longer than `period`.
    #[must_use]
    pub fn new(ids_max: u64, period: Duration) -> Self {
        // Their numbers have 32 bits.
        let ids_max = usize::try_from(ids_max).unwrap_or(usize::MAX).min(u32::MAX as usize);
        Self { hasher: RandomState::new(), tenants: RwLock::default(), ids_max, period }
    }

    /// Takes note of an id that the log holds.
    pub fn restore(&self, tenant: &TenantId, id: &str, position: Position, at: Timestamp) {
        let (hash, window) = (self.hasher.hash_one(id), self.window(tenant));
        window.insert(&mut window.shards[shard_of(hash)].lock(), hash, position, at);
        window.trim(self.ids_max);
    }

    /// Hands the event to `append` unless its id is known; nobody else can accept the same id in between. Positions in
    /// `passed_over` were looked at and belong to other ids. `now` is the engine's time: no jump of the wall clock makes
    /// an id old.
    pub(crate) fn accept(
        &self,
        tenant: &TenantId,
        event: NewEvent,
        now: Timestamp,
        passed_over: &[Position],
        append: impl FnOnce(NewEvent) -> Result<Receipt, EngineError>,
    ) -> Result<Found, EngineError> {
        let (hash, window) = (self.hasher.hash_one(&*event.id), self.window(tenant));
        let mut shard = window.shards[shard_of(hash)].lock();
        window.expire(&mut shard, shard_of(hash), now, self.period);
        if let Some(position) = shard.positions(hash).find(|position| !passed_over.contains(position)) {
            return Ok(Found::Before(position, event));
        }
        let receipt = append(event)?;
        window.insert(&mut shard, hash, receipt.event.position, now);
        drop(shard);
        window.trim(self.ids_max);
        Ok(Found::New(receipt))
    }

    /// Where an id was probably accepted; look at the log to be sure.
    pub(crate) fn find(&self, tenant: &TenantId, id: &str) -> Vec<Position> {
        let (hash, window) = (self.hasher.hash_one(id), self.window(tenant));
        let shard = window.shards[shard_of(hash)].lock();
        shard.positions(hash).collect()
    }

    fn window(&self, tenant: &TenantId) -> Arc<Window> {
        if let Some(window) = self.tenants.read().get(tenant) {
            return Arc::clone(window);
        }
        Arc::clone(self.tenants.write().entry(tenant.clone()).or_default())
    }
}

fn shard_of(hash: u64) -> usize {
    // Bits that the entries do not keep: within a shard they would tell nothing.
    usize::try_from(hash & 0xFFFF).unwrap_or(0) % SHARDS
}

impl Window {
    fn insert(&self, shard: &mut Shard, hash: u64, position: Position, at: Timestamp) {
        let is_first = shard.ring.len() == 0;
        shard.insert(hash, position, at);
        self.ids.fetch_add(1, Ordering::Relaxed);
        if is_first {
            self.oldest[shard_of(hash)].store(position.0, Ordering::Relaxed);
        }
    }

    /// Forgets what is older than `period` in one shard.
    fn expire(&self, shard: &mut Shard, number: usize, now: Timestamp, period: Duration) {
        let gone = shard.expire(now, period);
        if gone > 0 {
            self.went(shard, number, gone);
        }
    }

    /// Forgets the oldest ids beyond `ids_max`, wherever they are.
    fn trim(&self, ids_max: usize) {
        let is_full = || self.ids.load(Ordering::Relaxed) > ids_max;
        if !is_full() {
            return;
        }
        let _alone = self.trimming.lock();
        while is_full() {
            let oldest = |number: &usize| self.oldest[*number].load(Ordering::Relaxed).wrapping_sub(1);
            let Some(number) = (0..SHARDS).min_by_key(oldest) else { return };
            let mut shard = self.shards[number].lock();
            // One that was emptied meanwhile is looked at again.
            if shard.drop_oldest() {
                self.went(&shard, number, 1);
            }
        }
    }

    fn went(&self, shard: &Shard, number: usize, gone: usize) {
        self.ids.fetch_sub(gone, Ordering::Relaxed);
        // No position is zero: a shard without ids comes last.
        let oldest = shard.ring.oldest().map_or(0, |entry| entry.position().0);
        self.oldest[number].store(oldest, Ordering::Relaxed);
    }
}

impl Shard {
    /// Where ids with this hash were accepted.
    fn positions(&self, hash: u64) -> impl Iterator<Item = Position> {
        let hash = table_hash(hash);
        let entries = self.table.iter_hash(hash).map(|&number| self.ring.get(number));
        entries.filter(move |entry| entry.hash() == hash).map(Entry::position)
    }

    fn insert(&mut self, hash: u64, position: Position, at: Timestamp) {
        let number = self.ring.push(Entry::new(hash, position, seconds(at)));
        let ring = &self.ring;
        self.table.insert_unique(table_hash(hash), number, |&other| ring.get(other).hash());
    }

    /// Forgets what is older than `period`; how many that were.
    fn expire(&mut self, now: Timestamp, period: Duration) -> usize {
        let (before, floor) = (self.ring.len(), u64::from(seconds(now)).saturating_sub(period.as_secs()));
        while self.ring.oldest().is_some_and(|entry| entry.at() < floor) {
            self.drop_oldest();
        }
        before - self.ring.len()
    }

    /// Forgets the oldest id, if there is one.
    fn drop_oldest(&mut self) -> bool {
        let Some((number, entry)) = self.ring.pop() else { return false };
        if let Ok(entry) = self.table.find_entry(entry.hash(), |&other| other == number) {
            entry.remove();
        }
        true
    }
}

fn seconds(at: Timestamp) -> u32 {
    u32::try_from(at.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        accepted::AcceptedEvent,
        domain::{event::Accepted, testing::T0},
    };
    use bytes::Bytes;

    fn accept(dedup: &Dedup, tenant: &str, id: &str, position: u64) -> bool {
        accept_at(dedup, T0, tenant, id, position)
    }

    fn accept_at(dedup: &Dedup, now: Timestamp, tenant: &str, id: &str, position: u64) -> bool {
        let tenant = TenantId::new(tenant);
        let (event_type, resource, body) = ("a.b".into(), "r".into(), Bytes::new());
        let event = NewEvent { id: id.into(), event_type, resource, body, is_timed: true };
        let append = |NewEvent { id, event_type, resource, body, .. }| {
            let accepted = Accepted { id, event_type, resource, routes: Vec::new(), moment: None };
            let (position, tenant, at) = (Position(position), tenant.clone(), now);
            let event = Arc::new(AcceptedEvent { position, tenant, at, accepted, body });
            Ok(Receipt { event, duplicate: false })
        };
        matches!(dedup.accept(&tenant, event, now, &[], append), Ok(Found::New(_)))
    }

    /// ING.3, ING.5
    #[test]
    fn an_id_is_new_once_in_each_tenant() {
        let dedup = Dedup::new(1_000, Duration::from_hours(24));
        assert!(accept(&dedup, "a", "evt_1", 1));
        assert!(!accept(&dedup, "a", "evt_1", 2));
        assert!(accept(&dedup, "b", "evt_1", 3));
        assert_eq!(dedup.find(&TenantId::new("a"), "evt_1"), [Position(1)]);
    }

    /// The documented window: so many ids of a tenant, and so long.
    #[test]
    fn the_oldest_ids_go_first_and_old_ones_go_by_themselves() {
        for max in [1, 16, 100, 1_000] {
            let dedup = Dedup::new(max, Duration::from_hours(24));
            for n in 1..=2_000 {
                assert!(accept(&dedup, "a", &format!("evt_{n}"), n));
                assert!(accept(&dedup, "b", &format!("evt_{n}"), n), "another tenant's are its own");
            }
            for n in 1..=2_000 {
                let known = !dedup.find(&TenantId::new("a"), &format!("evt_{n}")).is_empty();
                assert_eq!(known, n > 2_000 - max, "{n} of the last {max}");
            }
        }
        let dedup = Dedup::new(1_000, Duration::from_hours(24));
        assert!(accept(&dedup, "a", "evt_1", 1));
        let later = |hours| T0.plus(Duration::from_hours(hours));
        assert!(!accept_at(&dedup, later(24), "a", "evt_1", 2));
        assert!(accept_at(&dedup, later(25), "a", "evt_1", 2));
        assert_eq!(dedup.window(&TenantId::new("a")).ids.load(Ordering::Relaxed), 1);
    }

    /// Threads that make room at a time forget as many as are too many.
    #[test]
    fn a_full_window_stays_full() {
        let dedup = Dedup::new(200, Duration::from_hours(24));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let dedup = &dedup;
                scope.spawn(move || {
                    (1..=2_000).for_each(|n| {
                        assert!(accept(dedup, "a", &format!("evt_{thread}_{n}"), n * 4 + thread));
                    });
                });
            }
        });
        let window = dedup.window(&TenantId::new("a"));
        let there: usize = window.shards.iter().map(|shard| shard.lock().ring.len()).sum();
        assert_eq!((there, window.ids.load(Ordering::Relaxed)), (200, 200));
    }

    /// A shard beside a plain list: what is found, what goes by age and what by number, over many blocks.
    #[test]
    fn a_shard_knows_what_a_plain_list_knows() {
        const IDS_MAX: usize = 3_000;
        let period = Duration::from_secs(50);
        let mut shard = Shard::default();
        let mut list: Vec<(u64, Position, Timestamp)> = Vec::new();
        let mut seed = 1_u64;
        let mut dice = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        let mut now = Timestamp(1_800_000_000_000);
        for n in 1..=40_000_u64 {
            // Few enough hashes that some are shared, as by ids that collide.
            let hash = (dice() % 20_000).wrapping_mul(0x9E37_79B9_7F4A_7C15) & !0xFFFF;
            // Full by number, then by age, then old all at once.
            let later = match n % 10_000 {
                0 => 60_000,
                1..5_000 => 10,
                _ => 30,
            };
            now = Timestamp(now.0 + later);
            shard.expire(now, period);
            list.retain(|(.., at)| at.as_secs() + 50 >= now.as_secs());
            let same = |list: &[(u64, Position, Timestamp)]| -> Vec<Position> {
                list.iter().filter(|(other, ..)| *other == hash).map(|(_, position, _)| *position).collect()
            };
            let mut found: Vec<_> = shard.positions(hash).collect();
            found.sort_unstable();
            assert_eq!(found, same(&list));
            shard.insert(hash, Position(n), now);
            if shard.ring.len() > IDS_MAX {
                shard.drop_oldest();
            }
            list.push((hash, Position(n), now));
            if list.len() > IDS_MAX {
                list.remove(0);
            }
            assert_eq!((shard.ring.len(), shard.table.len()), (list.len(), list.len()));
        }
    }

    /// DESIGN §1: ten million deliveries may wait, and the ids of all of them are kept.
    #[test]
    fn an_id_costs_less_than_twenty_eight_bytes() {
        let hasher = RandomState::new();
        let mut shard = Shard::default();
        for n in 0..200_000_u64 {
            shard.insert(hasher.hash_one(n), Position(n), Timestamp(0));
        }
        let each = (shard.ring.heap() + shard.table.allocation_size()) / 200_000;
        assert!(each < 28, "{each} bytes each");
    }
}
