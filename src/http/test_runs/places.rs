//! Room for test runs: each holds a call to a receiver open, which may take as long as a step's deadline.

use crate::http::error::{ApiError, ApiResult};
use actix_web::http::StatusCode;
use ledgerhook_actors::domain::id::TenantId;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Runs at the same time, over all tenants.
const RUNS_MAX: usize = 32;
/// Of one tenant: receivers that answer late leave room for those of others.
const TENANT_RUNS_MAX: usize = 8;

static ROOM: Room = Room::new();

/// Who runs how many tests at this moment.
struct Room(Mutex<BTreeMap<TenantId, usize>>);

/// One run's place, given back when it is dropped.
pub(super) struct Place {
    room: &'static Room,
    tenant: TenantId,
}

/// A place for a run of this tenant.
pub(super) fn take(tenant: &TenantId) -> ApiResult<Place> {
    ROOM.take(tenant).map_err(|detail| {
        ApiError::later(StatusCode::TOO_MANY_REQUESTS, "busy", detail, Duration::from_secs(5))
    })
}

impl Room {
    const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    fn take(&'static self, tenant: &TenantId) -> Result<Place, String> {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.get(tenant).is_some_and(|own| *own >= TENANT_RUNS_MAX) {
            return Err(format!("{TENANT_RUNS_MAX} test runs of this tenant are under way"));
        }
        if runs.values().sum::<usize>() >= RUNS_MAX {
            return Err(format!("{RUNS_MAX} test runs are under way"));
        }
        *runs.entry(tenant.clone()).or_default() += 1;
        Ok(Place { room: self, tenant: tenant.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut runs = self.room.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = runs.get_mut(&self.tenant) {
            *own -= 1;
            if *own == 0 {
                runs.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_leaves_room_for_others() {
        static ROOM: Room = Room::new();
        let tenant = |name: &str| TenantId::new(name);
        let mut held: Vec<Place> = (0..TENANT_RUNS_MAX).map(|_| ROOM.take(&tenant("a")).unwrap()).collect();
        assert!(ROOM.take(&tenant("a")).is_err());
        held.push(ROOM.take(&tenant("b")).unwrap());
        held.remove(0);
        held.push(ROOM.take(&tenant("a")).unwrap());
        while held.len() < RUNS_MAX {
            held.push(ROOM.take(&tenant(&format!("other_{}", held.len()))).unwrap());
        }
        assert!(ROOM.take(&tenant("z")).is_err());
        held.clear();
        assert!(ROOM.0.lock().unwrap().is_empty());
    }
}
