//! What read models know of pipelines and tenants: enough to name things, also those that are gone.

use super::{
    names::Name,
    rows::{DeliveryRow, EventRow, Stand},
    store::{Store, Stored, Tag},
};
use crate::{
    domain::{
        event::End,
        id::LaneKey,
        step::{PipelineConfig, Status},
        time::Timestamp,
    },
    log::Position,
};
use fjall::{Keyspace, Slice};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One pipeline, whether it still exists or not.
#[derive(Serialize, Deserialize)]
pub(super) struct PipelineRow {
    pub(super) tenant: Name,
    pub(super) status: Status,
    pub(super) version: u32,
    /// Where its configuration in force stands in the log.
    pub(super) configured: Position,
    /// Parts of its lanes that were cancelled with it.
    pub(super) cancelled: Vec<CancelledPart>,
}

/// A part of the lanes that was cancelled when the pipeline was deleted.
#[derive(Serialize, Deserialize)]
pub(super) struct CancelledPart {
    pub(super) part: u16,
    pub(super) parts: u16,
    pub(super) at: Timestamp,
}

impl PipelineRow {
    /// When the lane of `resource` was cancelled with the whole pipeline, if it was.
    pub(super) fn closed_at(&self, resource: &str) -> Option<Timestamp> {
        if self.cancelled.is_empty() {
            return None;
        }
        let lane = LaneKey::of(resource);
        self.cancelled.iter().find(|mark| lane.part(mark.parts) == mark.part).map(|mark| mark.at)
    }

    /// When a delivery was called off with the whole pipeline, if it was. Such an end is not written into rows:
    /// there may be millions, and nothing can follow it.
    pub(super) fn cancelled_at(&self, event: &EventRow, delivery: &DeliveryRow) -> Option<Timestamp> {
        if delivery.stand.is_pending() { self.closed_at(&event.resource) } else { None }
    }

    /// Whether nothing can be pending any more.
    pub(super) fn all_cancelled(&self) -> bool {
        self.cancelled.iter().any(|one| {
            (0..one.parts).all(|n| self.cancelled.iter().any(|m| (m.part, m.parts) == (n, one.parts)))
        })
    }

    /// Where a delivery stands, and since when if it is over.
    pub(super) fn stand(&self, event: &EventRow, delivery: &DeliveryRow) -> (Stand, Option<Timestamp>) {
        self.cancelled_at(event, delivery)
            .map_or((delivery.stand, delivery.ended_at), |at| (Stand::Ended(End::Cancelled), Some(at)))
    }
}

impl Stored for PipelineRow {
    type Key = Name;

    fn space(store: &Store) -> &Keyspace {
        &store.book
    }

    fn key(pipeline: Name) -> Slice {
        Tag::Pipeline.key(&[&pipeline.bytes()])
    }
}

/// What lists show of one version of a configuration. Never changed.
#[derive(Serialize, Deserialize)]
pub(super) struct ConfigRow {
    /// Where the whole of it stands in the log.
    pub(super) position: Position,
    pub(super) name: Box<str>,
    pub(super) triggers: Vec<Box<str>>,
    pub(super) steps: Vec<StepRow>,
}

/// One step of a [`ConfigRow`].
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct StepRow {
    pub(super) id: Name,
    pub(super) name: Box<str>,
}

impl ConfigRow {
    /// The parts of `config` that lists show.
    pub(super) fn new(
        position: Position,
        config: &PipelineConfig,
        mut number: impl FnMut(&str) -> Name,
    ) -> Self {
        let steps = config.steps.iter();
        Self {
            position,
            name: config.name.as_str().into(),
            steps: steps
                .map(|s| StepRow { id: number(s.id.as_str()), name: s.name.as_str().into() })
                .collect(),
            triggers: config.triggers.iter().map(|trigger| trigger.as_str().into()).collect(),
        }
    }
}

impl Stored for ConfigRow {
    type Key = (Name, u32);

    fn space(store: &Store) -> &Keyspace {
        &store.book
    }

    fn key((pipeline, version): (Name, u32)) -> Slice {
        Tag::Config.key(&[&pipeline.bytes(), &version.to_be_bytes()])
    }
}

/// Where the facts stand that an audit compares with: the tenant's name, quotas and keys.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct TenantRow {
    pub(super) named: Position,
    pub(super) quotas: Position,
    pub(super) keys: BTreeMap<Box<str>, Position>,
}

impl Stored for TenantRow {
    type Key = Name;

    fn space(store: &Store) -> &Keyspace {
        &store.book
    }

    fn key(tenant: Name) -> Slice {
        Tag::Tenant.key(&[&tenant.bytes()])
    }
}

impl ConfigRow {
    /// The trigger that an event answers to, as the owner of the pipeline wrote it: the one that is the event's
    /// type or the provider's name for it; the type itself where a pattern matched (T-21).
    pub(super) fn trigger<'a>(&'a self, event_type: &'a str) -> &'a str {
        let alias = match event_type {
            "click.tracked" => "click",
            "conversion.created" => "conversion",
            "postback.received" => "postback",
            "fraud.detected" => "fraud",
            "api_key.used" | "api_key.rate_limited" => "api_key_event",
            _ => "",
        };
        let names_it = |trigger: &&str| {
            let joined =
                || trigger.len() == event_type.len() && trigger.split('_').eq(event_type.split(['.', '_']));
            *trigger == event_type || *trigger == alias || joined()
        };
        match &self.triggers[..] {
            [only] if !only.contains('*') => only,
            several => several.iter().map(|trigger| &**trigger).find(names_it).unwrap_or(event_type),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-21, AFM-33 … AFM-40
    #[test]
    fn the_trigger_of_an_event_is_the_one_that_names_it() {
        for (triggers, event_type, trigger) in [
            (&["conversion"][..], "conversion.created", "conversion"),
            (&["click", "conversion_approved"], "conversion.approved", "conversion_approved"),
            (&["click", "api_key_event"], "api_key.rate_limited", "api_key_event"),
            (&["post.*", "mention.created"], "mention.created", "mention.created"),
            (&["click", "post.*"], "post.published", "post.published"),
            (&["*"], "deal.attributed", "deal.attributed"),
        ] {
            let triggers = triggers.iter().map(|trigger| Box::from(*trigger)).collect();
            let config =
                ConfigRow { position: Position::START, name: "".into(), triggers, steps: Vec::new() };
            assert_eq!(config.trigger(event_type), trigger);
        }
    }
}
