//! What was erased on request: payloads that are gone though nobody's time had come. Facts stay, so it is known for good.

use super::{
    event::{EngineEvent, Fact, TenantEvent},
    id::{KeyId, TenantId},
};
use crate::log::Position;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One request to erase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// Whose events.
    pub tenant: TenantId,
    /// Which of them.
    pub extent: Extent,
    /// Who asked.
    pub by: KeyId,
}

/// Which events of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extent {
    /// These.
    Events(Vec<Position>),
    /// All that were accepted up to here.
    Through(Position),
}

impl Erasure {
    /// What a fact asks for, if it does.
    #[must_use]
    pub fn asked_by(tenant: &TenantId, event: &TenantEvent) -> Option<Self> {
        let (extent, by) = match event {
            TenantEvent::EventErased { events, by, .. } => (Extent::Events(events.clone()), by),
            TenantEvent::PayloadsErased { through, by } => (Extent::Through(*through), by),
            _ => return None,
        };
        Some(Self { tenant: tenant.clone(), extent, by: by.key.clone() })
    }

    /// Whether an event of its tenant is meant.
    #[must_use]
    pub fn covers(&self, event: Position) -> bool {
        match &self.extent {
            Extent::Events(events) => events.contains(&event),
            Extent::Through(through) => event <= *through,
        }
    }

    /// Nothing of it stands before this position.
    #[must_use]
    pub fn first(&self) -> Position {
        match &self.extent {
            Extent::Events(events) => events.iter().min().copied().unwrap_or_default(),
            Extent::Through(_) => Position::START,
        }
    }
}

/// Everything that was erased, and what of it is not known to be gone from the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasures {
    through: BTreeMap<TenantId, Position>,
    events: BTreeSet<Position>,
    unfinished: BTreeMap<Position, Erasure>,
}

impl Erasures {
    /// What is now true.
    pub fn evolve(&mut self, position: Position, fact: &Fact) {
        match fact {
            Fact::Tenant(tenant, event) => {
                let Some(erasure) = Erasure::asked_by(tenant, event) else { return };
                match &erasure.extent {
                    Extent::Events(events) => self.events.extend(events),
                    Extent::Through(through) => drop(self.through.insert(tenant.clone(), *through)),
                }
                self.unfinished.insert(position, erasure);
            }
            Fact::Engine(EngineEvent::ErasureFinished { erasure, .. }) => {
                self.unfinished.remove(erasure);
            }
            _ => {}
        }
    }

    /// Whether the payload of an event was erased, or is about to be.
    #[must_use]
    pub fn covers(&self, tenant: &TenantId, event: Position) -> bool {
        self.events.contains(&event) || self.through.get(tenant).is_some_and(|through| event <= *through)
    }

    /// Those that have to be carried out still, by the position of their facts.
    pub fn unfinished(&self) -> impl Iterator<Item = (Position, &Erasure)> {
        self.unfinished.iter().map(|(position, erasure)| (*position, erasure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{operator, tenant};

    #[test]
    fn what_was_erased_is_known_for_good_and_what_is_not_done_is_known_until_it_is() {
        let mut erasures = Erasures::default();
        let events = vec![Position(4), Position(9)];
        let one = TenantEvent::EventErased { id: "evt_1".into(), events, by: operator() };
        erasures.evolve(Position(12), &Fact::Tenant(tenant(), one));
        let all = TenantEvent::PayloadsErased { through: Position(7), by: operator() };
        let other = TenantId::new("other");
        erasures.evolve(Position(13), &Fact::Tenant(other.clone(), all));
        let covered = |erasures: &Erasures, tenant: &TenantId| {
            (1..=14).filter(|event| erasures.covers(tenant, Position(*event))).collect::<Vec<_>>()
        };
        // A position is of one tenant only, so that events need not name theirs.
        assert_eq!(covered(&erasures, &tenant()), [4, 9]);
        assert_eq!(covered(&erasures, &other), [1, 2, 3, 4, 5, 6, 7, 9]);
        let firsts: Vec<_> = erasures.unfinished().map(|(at, erasure)| (at.0, erasure.first().0)).collect();
        assert_eq!(firsts, [(12, 4), (13, 0)]);
        let done = EngineEvent::ErasureFinished { erasure: Position(12), payloads: 2, bytes: 20 };
        erasures.evolve(Position(14), &Fact::Engine(done));
        assert_eq!(erasures.unfinished().map(|(at, _)| at.0).collect::<Vec<_>>(), [13]);
        assert_eq!(covered(&erasures, &tenant()), [4, 9]);
    }
}
