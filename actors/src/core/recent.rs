//! Events that came a moment ago, so that their first attempts need not ask the log.
//!
//! Most are delivered within milliseconds and go again at once: what stays is small enough for a processor's cache.

use crate::{accepted::AcceptedEvent, domain::event::Route, log::Position};
use hashbrown::HashMap;
use std::{collections::VecDeque, sync::Arc};

/// By position, up to a number of bytes; what came first goes first.
#[derive(Default)]
pub(super) struct RecentEvents {
    events: HashMap<Position, Recent>,
    /// Positions as they came; some are gone already.
    order: VecDeque<Position>,
    bytes: usize,
}

struct Recent {
    event: Arc<AcceptedEvent>,
    /// Deliveries of it that have neither ended nor been put off.
    wanted: usize,
}

impl Recent {
    fn bytes(&self) -> usize {
        self.event.body.len() + 256
    }
}

impl RecentEvents {
    const BYTES_MAX: usize = 16 << 20;

    pub(super) fn get(&self, position: Position) -> Option<Arc<AcceptedEvent>> {
        self.events.get(&position).map(|recent| Arc::clone(&recent.event))
    }

    pub(super) fn put(&mut self, event: &Arc<AcceptedEvent>) {
        let routes: &[Route] = &event.accepted.routes;
        let wanted = routes.iter().filter(|route| !route.skipped).count();
        let recent = Recent { event: Arc::clone(event), wanted };
        self.bytes += recent.bytes();
        self.order.push_back(event.position);
        self.events.insert(event.position, recent);
        while self.bytes > Self::BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.remove(oldest);
        }
        // Those that are gone leave their place in the order; looked through each time it has doubled.
        if self.order.len() > 2 * self.events.len() + 64 {
            self.order.retain(|position| self.events.contains_key(position));
        }
    }

    /// One delivery of the event has ended, or waits for a retry; with the last one the event goes.
    pub(super) fn release(&mut self, position: Position) {
        let Some(recent) = self.events.get_mut(&position) else { return };
        recent.wanted = recent.wanted.saturating_sub(1);
        if recent.wanted == 0 {
            self.remove(position);
        }
    }

    fn remove(&mut self, position: Position) {
        if let Some(gone) = self.events.remove(&position) {
            self.bytes -= gone.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        event::Accepted,
        id::{PipelineId, TenantId},
        time::Timestamp,
    };

    fn event(position: u64, routes: &[bool], bytes: usize) -> Arc<AcceptedEvent> {
        let route = |(i, skipped): (usize, &bool)| Route {
            pipeline: PipelineId::new(format!("wh_{i}")),
            version: 1,
            skipped: *skipped,
        };
        let routes = routes.iter().enumerate().map(route).collect();
        let (id, event_type, resource) = ("evt_1".into(), "a.b".into(), "r".into());
        let accepted = Accepted { id, event_type, resource, routes, moment: None };
        let (tenant, at, body) = (TenantId::new("t"), Timestamp::EPOCH, vec![b' '; bytes].into());
        Arc::new(AcceptedEvent { position: Position(position), tenant, at, accepted, body })
    }

    #[test]
    fn an_event_goes_with_its_last_delivery() {
        let mut recent = RecentEvents::default();
        recent.put(&event(1, &[false, true, false], 10));
        recent.release(Position(1));
        assert!(recent.get(Position(1)).is_some(), "one of its two deliveries goes on");
        recent.release(Position(1));
        assert!(recent.get(Position(1)).is_none());
        recent.release(Position(1));
        assert_eq!((recent.bytes, recent.events.len()), (0, 0));
    }

    #[test]
    fn what_is_never_delivered_is_bounded_in_bytes() {
        let mut recent = RecentEvents::default();
        for position in 1..=100 {
            recent.put(&event(position, &[false], 1 << 20));
        }
        assert!(recent.bytes <= RecentEvents::BYTES_MAX);
        assert!(recent.get(Position(1)).is_none());
        assert!(recent.get(Position(100)).is_some());
    }

    #[test]
    fn one_that_stays_does_not_keep_the_places_of_others() {
        let mut recent = RecentEvents::default();
        for position in 1..=10_000 {
            recent.put(&event(position, &[false], 1));
            if position > 1 {
                recent.release(Position(position));
            }
        }
        assert!(recent.order.len() <= 128, "{}", recent.order.len());
        assert!(recent.get(Position(1)).is_some());
    }
}
