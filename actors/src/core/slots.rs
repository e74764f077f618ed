//! Who may send on one core: so many requests to a host, so many in all, of these a share a tenant, and those that
//! wait take turns.
//!
//! A place that comes free while others wait is kept for the first of them: whoever gave it back cannot take it
//! again. Turns go by tenant, and by pipeline within each: neither a long backlog nor many pipelines get more of a
//! host than the others that go there. A tenant whose receivers hang cannot take the whole core ([`crate::share`]).
//!
//! ```text
//!  host full ────────────────────────> waits at the host
//!  core full, or more than its share ─> waits at the host, and its tenant for any place, with the host's name
//! ```
//! Whenever a host has room, all tenants that wait at it wait for any place too, so nobody is forgotten.

mod turns;

use crate::{
    domain::id::{PipelineId, TenantId},
    share,
};
use hashbrown::HashMap;
use std::{cell::Cell, rc::Rc, sync::Arc};
use turns::Turns;

/// Limits of requests in flight, and who waits for room.
pub(super) struct Slots {
    per_host_max: usize,
    free: usize,
    hosts: HashMap<Arc<str>, Host>,
    /// Those of them that have work here.
    tenants: HashMap<TenantId, Rc<Share>>,
    /// Tenants that wait for any place, and the hosts that had room for them; these may be full by now.
    waiting: Turns<Arc<str>>,
    /// Places at hosts that are kept, and counted, until their owner takes them or forgoes them.
    kept: HashMap<PipelineId, Vec<Arc<str>>>,
}

#[derive(Default)]
struct Host {
    in_flight: usize,
    waiting: Turns<PipelineId>,
}

/// How many of the core's places a tenant holds.
pub(crate) struct Share {
    tenant: TenantId,
    held: Cell<usize>,
}

impl Share {
    fn add(&self) {
        self.held.set(self.held.get() + 1);
    }

    fn fits(&self, free: usize) -> bool {
        free > 0 && !share::is_over(self.held.get(), 1, free)
    }
}

/// Whether the worker of a pipeline lives.
type Works<'a> = &'a dyn Fn(&PipelineId) -> bool;

impl Slots {
    pub(super) fn new(per_host_max: usize, free: usize) -> Self {
        let (hosts, tenants, kept) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { per_host_max, free, hosts, tenants, waiting: Turns::default(), kept }
    }

    /// What `tenant` holds here, for each of its workers.
    pub(super) fn join(&mut self, tenant: &TenantId) -> Rc<Share> {
        let new = || Rc::new(Share { tenant: tenant.clone(), held: Cell::new(0) });
        Rc::clone(self.tenants.entry(tenant.clone()).or_insert_with(new))
    }

    /// A worker ends that holds no place any more.
    pub(super) fn leave(&mut self, tenant: &Rc<Share>) {
        // One that still stands in a queue, or has other workers, stays.
        if Rc::strong_count(tenant) == 2 {
            self.tenants.remove(&tenant.tenant);
        }
    }

    /// Takes a place at `host`, or a place in the queue.
    pub(super) fn take(&mut self, host: &Arc<str>, tenant: &Rc<Share>, id: &PipelineId) -> bool {
        if self.redeem(id, host) {
            return true;
        }
        let at = match self.hosts.get_mut(host) {
            Some(at) => at,
            None => self.hosts.entry(Arc::clone(host)).or_default(),
        };
        let full = at.in_flight >= self.per_host_max;
        if full || !tenant.fits(self.free) {
            at.waiting.stand(tenant, id);
            if !full {
                self.waiting.stand(tenant, host);
            }
            return false;
        }
        at.in_flight += 1;
        self.free -= 1;
        tenant.add();
        true
    }

    /// Gives a place back; answers with those that a place is kept for now, who must be told.
    pub(super) fn release(&mut self, host: &Arc<str>, tenant: &Share, works: Works<'_>) -> Vec<PipelineId> {
        tenant.held.set(tenant.held.get() - 1);
        self.free += 1;
        let mut told = Vec::new();
        let free = self.free;
        let Some(at) = self.hosts.get_mut(host) else { return told };
        at.in_flight -= 1;
        // Whoever waits for any place has waited longer than those that found this host full.
        if !at.waiting.is_empty()
            && !self.waiting.tenants().any(|one| one.fits(free))
            && let Some((next, id)) = at.next(|one| one.fits(free), works)
        {
            told.push(self.keep(host, &next, id));
        }
        self.open(host);
        told.extend(std::iter::from_fn(|| self.next(works)));
        told
    }

    /// Gives back what was kept for `id` and not taken; answers as [`Slots::release`] does.
    pub(super) fn forgo(&mut self, id: &PipelineId, tenant: &Share, works: Works<'_>) -> Vec<PipelineId> {
        let kept = self.kept.remove(id).unwrap_or_default();
        kept.iter().flat_map(|host| self.release(host, tenant, works)).collect()
    }

    /// The next who gets any place.
    fn next(&mut self, works: Works<'_>) -> Option<PipelineId> {
        loop {
            let free = self.free;
            let (tenant, host) = self.waiting.next(|one| one.fits(free))?;
            let Some(at) = self.hosts.get_mut(&host) else { continue };
            if at.in_flight >= self.per_host_max {
                continue; // it waits at the host
            }
            let next = at.next(|one| Rc::ptr_eq(one, &tenant), works);
            if at.waiting.has(&tenant) {
                self.waiting.stand(&tenant, &host);
            }
            match next {
                Some((tenant, id)) => return Some(self.keep(&host, &tenant, id)),
                None => self.open(&host),
            }
        }
    }

    /// Lets those who wait at a host that has room wait for any place.
    fn open(&mut self, host: &Arc<str>) {
        let Some(at) = self.hosts.get(host) else { return };
        if at.in_flight == 0 && at.waiting.is_empty() {
            self.hosts.remove(host);
        } else if at.in_flight < self.per_host_max {
            at.waiting.tenants().for_each(|tenant| self.waiting.stand(tenant, host));
        }
    }

    fn keep(&mut self, host: &Arc<str>, tenant: &Share, id: PipelineId) -> PipelineId {
        if let Some(at) = self.hosts.get_mut(host) {
            at.in_flight += 1;
        }
        self.free -= 1;
        tenant.add();
        self.kept.entry(id.clone()).or_default().push(Arc::clone(host));
        id
    }

    fn redeem(&mut self, id: &PipelineId, host: &Arc<str>) -> bool {
        let Some(hosts) = self.kept.get_mut(id) else { return false };
        let Some(at) = hosts.iter().position(|kept| kept == host) else { return false };
        hosts.swap_remove(at);
        if hosts.is_empty() {
            self.kept.remove(id);
        }
        true
    }
}

impl Host {
    fn next(
        &mut self,
        may: impl Fn(&Rc<Share>) -> bool,
        works: Works<'_>,
    ) -> Option<(Rc<Share>, PipelineId)> {
        std::iter::from_fn(|| self.waiting.next(&may)).find(|(_, id)| works(id))
    }
}

#[cfg(test)]
mod tests;
