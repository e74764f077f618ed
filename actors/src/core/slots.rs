//! Who may send on one core: so many requests to a host, so many in all, and those that wait take turns.
//!
//! A place that comes free while others wait is kept for the first of them: whoever gave it back cannot take it
//! again, and a pipeline with a long backlog shares a host with the others that go there.

use crate::domain::id::PipelineId;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// A place that is kept for someone: at a host, or, without one, among all that the core may have.
pub(super) type Place = Option<Arc<str>>;

/// Limits of requests in flight, and who waits for room.
pub(super) struct Slots {
    per_host_max: usize,
    free: usize,
    hosts: HashMap<Arc<str>, Host>,
    /// Workers that met the limit of the whole core.
    waiting: VecDeque<PipelineId>,
    /// Places that are kept, and counted, until their owner takes them or forgoes them.
    kept: HashMap<PipelineId, Vec<Place>>,
}

#[derive(Default)]
struct Host {
    in_flight: usize,
    waiting: VecDeque<PipelineId>,
}

impl Slots {
    pub(super) fn new(per_host_max: usize, free: usize) -> Self {
        let (hosts, waiting, kept) = (HashMap::new(), VecDeque::new(), HashMap::new());
        Self { per_host_max, free, hosts, waiting, kept }
    }

    /// Takes a place at `host`, or a place in the queue.
    pub(super) fn take(&mut self, host: &Arc<str>, id: &PipelineId) -> bool {
        if self.redeem(id, Some(host)) {
            return true;
        }
        if let Some(at) = self.hosts.get_mut(host)
            && at.in_flight >= self.per_host_max
        {
            stand(&mut at.waiting, id);
            return false;
        }
        if !self.redeem(id, None) {
            if self.free == 0 {
                stand(&mut self.waiting, id);
                return false;
            }
            self.free -= 1;
        }
        self.hosts.entry(Arc::clone(host)).or_default().in_flight += 1;
        true
    }

    /// Gives a place back; answers with the one it is kept for now, who must be told.
    pub(super) fn release(
        &mut self,
        host: &Arc<str>,
        works: &dyn Fn(&PipelineId) -> bool,
    ) -> Option<PipelineId> {
        let Some(at) = self.hosts.get_mut(host) else { return self.pass_on(None, works) };
        // While the whole core is full, its queue is the only one.
        let here = if self.waiting.is_empty() { first(&mut at.waiting, works) } else { None };
        if let Some(next) = here {
            self.kept.entry(next.clone()).or_default().push(Some(Arc::clone(host)));
            return Some(next);
        }
        at.in_flight -= 1;
        if let Some(next) = at.waiting.pop_front() {
            stand(&mut self.waiting, &next);
        }
        if at.in_flight == 0 && at.waiting.is_empty() {
            self.hosts.remove(host);
        }
        self.pass_on(None, works)
    }

    /// As [`Slots::release`], for a place that was kept and not taken.
    pub(super) fn pass_on(
        &mut self,
        place: Place,
        works: &dyn Fn(&PipelineId) -> bool,
    ) -> Option<PipelineId> {
        if let Some(host) = place {
            return self.release(&host, works);
        }
        let Some(next) = first(&mut self.waiting, works) else {
            self.free += 1;
            return None;
        };
        self.kept.entry(next.clone()).or_default().push(None);
        Some(next)
    }

    /// What is kept for `id`; it is the caller's to pass on.
    pub(super) fn forgo(&mut self, id: &PipelineId) -> Vec<Place> {
        self.kept.remove(id).unwrap_or_default()
    }

    fn redeem(&mut self, id: &PipelineId, host: Option<&Arc<str>>) -> bool {
        let Some(places) = self.kept.get_mut(id) else { return false };
        let Some(at) = places.iter().position(|place| place.as_ref() == host) else { return false };
        places.swap_remove(at);
        if places.is_empty() {
            self.kept.remove(id);
        }
        true
    }
}

fn stand(queue: &mut VecDeque<PipelineId>, id: &PipelineId) {
    if !queue.contains(id) {
        queue.push_back(id.clone());
    }
}

fn first(queue: &mut VecDeque<PipelineId>, works: &dyn Fn(&PipelineId) -> bool) -> Option<PipelineId> {
    std::iter::from_fn(|| queue.pop_front()).find(|id| works(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> PipelineId {
        PipelineId::new(name)
    }

    fn all(_: &PipelineId) -> bool {
        true
    }

    /// I8: the one that gives a place back has more to send, and still it is the other's turn.
    #[test]
    fn pipelines_that_share_a_host_take_turns() {
        let (host, busy, other) = (Arc::from("host"), id("busy"), id("other"));
        let mut slots = Slots::new(1, 9);
        assert!(slots.take(&host, &busy));
        assert!(!slots.take(&host, &other));
        assert!(!slots.take(&host, &busy));
        assert_eq!(slots.release(&host, &all), Some(other.clone()));
        assert!(!slots.take(&host, &busy), "the place is kept for the other");
        assert!(slots.take(&host, &other));
        assert_eq!(slots.release(&host, &all), Some(busy.clone()));
        assert!(slots.take(&host, &busy));
        assert_eq!(slots.release(&host, &all), None);
        assert!(slots.hosts.is_empty() && slots.kept.is_empty());
        assert_eq!(slots.free, 9);
    }

    #[test]
    fn a_place_that_is_not_taken_goes_to_the_next_who_works() {
        let (host, busy, paused, gone, other) =
            (Arc::from("host"), id("busy"), id("paused"), id("gone"), id("other"));
        let mut slots = Slots::new(1, 9);
        assert!(slots.take(&host, &busy));
        for waiting in [&paused, &gone, &other] {
            assert!(!slots.take(&host, waiting));
        }
        let works = |id: &PipelineId| *id != gone;
        assert_eq!(slots.release(&host, &works), Some(paused.clone()));
        let kept = slots.forgo(&paused);
        assert_eq!(kept, [Some(Arc::clone(&host))]);
        assert_eq!(slots.pass_on(kept[0].clone(), &works), Some(other.clone()));
        assert!(slots.take(&host, &other));
    }

    #[test]
    fn a_full_core_has_one_queue() {
        let (near, far): (Arc<str>, Arc<str>) = (Arc::from("near"), Arc::from("far"));
        let (busy, second, third) = (id("busy"), id("second"), id("third"));
        let mut slots = Slots::new(1, 1);
        assert!(slots.take(&near, &busy));
        assert!(!slots.take(&near, &second), "the host is full");
        assert!(!slots.take(&far, &third), "the core is full");
        assert_eq!(slots.release(&near, &all), Some(third.clone()));
        assert!(!slots.take(&near, &busy));
        assert!(slots.take(&far, &third));
        assert_eq!(slots.release(&far, &all), Some(second.clone()));
        assert!(slots.take(&near, &second));
    }
}
