//! How many names are looked up at the same time, over all cores, and by one tenant (URL.13).
//!
//! The system's resolver takes a thread for each name and cannot be told to stop. Without a bound, the names of one
//! tenant that hang would take every thread there is.

use crate::{domain::id::TenantId, share};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::Notify;

/// Lookups at the same time, over all cores.
const PLACES: usize = 64;

/// The places to look names up, shared out by tenant (`share`).
#[derive(Debug, Default)]
pub struct Places {
    held: Mutex<HashMap<TenantId, usize>>,
    freed: Notify,
}

impl Places {
    /// Waits for a place. Who gives up waiting has taken none.
    pub(super) async fn take(self: &Arc<Self>, tenant: &TenantId) -> Place {
        loop {
            let freed = self.freed.notified();
            if let Some(place) = self.try_take(tenant) {
                return place;
            }
            freed.await;
        }
    }

    fn try_take(self: &Arc<Self>, tenant: &TenantId) -> Option<Place> {
        let mut held = self.held.lock();
        let free = PLACES - held.values().sum::<usize>();
        let own = held.get(tenant).copied().unwrap_or_default();
        if free == 0 || share::is_over(own, 1, free) {
            return None;
        }
        held.insert(tenant.clone(), own + 1);
        Some(Place { of: Arc::clone(self), tenant: tenant.clone() })
    }
}

/// A lookup under way.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Places>,
    tenant: TenantId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.of.held.lock();
        if let Some(own) = held.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.tenant);
            }
        }
        drop(held);
        self.of.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn a_place_that_is_given_back_goes_to_who_waits() {
        let places = Arc::new(Places::default());
        let (bad, good) = (TenantId::new("bad"), TenantId::new("good"));
        let mut taken = Vec::new();
        while let Some(place) = places.try_take(&bad) {
            taken.push(place);
        }
        assert!(taken.len() < PLACES, "all were taken by one");
        let mut waiting = Box::pin(places.take(&bad));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(places.try_take(&good).is_some());
        taken.pop();
        assert!(waiting.now_or_never().is_some());
        taken.clear();
        assert!(places.held.lock().is_empty());
    }
}
