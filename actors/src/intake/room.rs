//! How much may be between a request and the disk: so many events, so many bytes, and of these a share a tenant.
//!
//! Of both a tenant has a share ([`crate::share`]).

use crate::{domain::id::TenantId, share::is_over};
use dashmap::DashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Events and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// Counts what is under way.
#[derive(Debug)]
pub(crate) struct Room {
    max: Load,
    events: AtomicUsize,
    bytes: AtomicUsize,
    tenants: DashMap<TenantId, Load>,
}

/// A place between a request and the disk; given back when the answer is ready.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    room: &'a Room,
    tenant: TenantId,
    load: Load,
}

impl Room {
    pub(crate) fn new(max: Load) -> Self {
        Self { max, events: AtomicUsize::new(0), bytes: AtomicUsize::new(0), tenants: DashMap::new() }
    }

    /// What is under way.
    #[cfg(test)]
    fn taken(&self) -> Load {
        Load { events: self.events.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    /// Takes a place, or answers why there is none.
    pub(crate) fn take(&self, tenant: &TenantId, load: Load) -> Result<Permit<'_>, &'static str> {
        let before = Load {
            events: self.events.fetch_add(load.events, Ordering::Relaxed),
            bytes: self.bytes.fetch_add(load.bytes, Ordering::Relaxed),
        };
        let mut held = self.tenants.entry(tenant.clone()).or_default();
        let mine = *held;
        *held = Load { events: mine.events + load.events, bytes: mine.bytes + load.bytes };
        drop(held);
        // From here on what was taken is given back by the drop, whatever the answer is.
        let permit = Permit { room: self, tenant: tenant.clone(), load };
        // One request always passes, however large: otherwise it never could.
        if before.events == 0 {
            return Ok(permit);
        }
        let free = Load {
            events: self.max.events.saturating_sub(before.events),
            bytes: self.max.bytes.saturating_sub(before.bytes),
        };
        if load.events > free.events || load.bytes > free.bytes {
            return Err("too many events are on their way to the disk");
        }
        if is_over(mine.events, load.events, free.events) || is_over(mine.bytes, load.bytes, free.bytes) {
            return Err("too many events of this tenant are on their way to the disk");
        }
        Ok(permit)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.room.events.fetch_sub(self.load.events, Ordering::Relaxed);
        self.room.bytes.fetch_sub(self.load.bytes, Ordering::Relaxed);
        if let Some(mut held) = self.room.tenants.get_mut(&self.tenant) {
            held.events -= self.load.events;
            held.bytes -= self.load.bytes;
        }
        self.room.tenants.remove_if(&self.tenant, |_, held| *held == Load::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> Room {
        Room::new(Load { events: 90, bytes: 9_000 })
    }

    fn some(events: usize) -> Load {
        Load { events, bytes: events }
    }

    /// OVL.3, OVL.8: who holds most of it leaves room for the others, and both limits hold.
    #[test]
    fn a_tenant_leaves_room_for_others() {
        let room = room();
        let (loud, quiet) = (TenantId::new("loud"), TenantId::new("quiet"));
        let held: Vec<_> = std::iter::from_fn(|| room.take(&loud, some(1)).ok()).collect();
        assert_eq!(held.len(), 80, "eight ninths");
        assert!(room.take(&loud, some(1)).unwrap_err().contains("this tenant"));
        let others: Vec<_> = std::iter::from_fn(|| room.take(&quiet, some(1)).ok()).collect();
        assert!(others.len() >= 8, "{}", others.len());
        assert!(room.take(&TenantId::new("another"), some(90)).unwrap_err().contains("too many events are"));
        drop(held);
        assert!(room.take(&loud, some(1)).is_ok());
        drop(others);
        assert_eq!((room.taken(), room.tenants.len()), (Load::default(), 0));
    }

    /// Bytes are bounded as events are; what is larger than all of it passes alone.
    #[test]
    fn bytes_count_too() {
        let room = room();
        let tenant = TenantId::new("a");
        let huge = room.take(&tenant, Load { events: 1, bytes: 100_000 }).unwrap();
        assert!(room.take(&tenant, some(1)).is_err() && room.take(&TenantId::new("b"), some(1)).is_err());
        drop(huge);
        let large = room.take(&tenant, Load { events: 1, bytes: 8_000 }).unwrap();
        assert!(room.take(&tenant, Load { events: 1, bytes: 999 }).is_err());
        assert!(room.take(&TenantId::new("b"), Load { events: 1, bytes: 999 }).is_ok());
        drop(large);
    }
}
