//! Events that the engine itself makes: what operators and tenants want to know of their webhooks.
//!
//! They travel as every other event, through the log, lanes and signatures of their tenant, to the pipelines that
//! name their types. Producers cannot post them, and no pattern matches them (docs/events.md).

use super::id::TenantId;
use crate::log::Position;
use serde::{Deserialize, Serialize};

/// The types of operator events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OperatorEvent {
    /// A step of a delivery used up its attempts, or met an answer that is final.
    DeliveryExhausted,
    /// A delivery that was dead-lettered has been sent again, and arrived.
    DeliveryRecovered,
    /// The supervisor gave a pipeline up.
    PipelineFailed,
    /// The addresses that deliveries come from will change (ATT-34).
    EgressIpsChanging,
    /// The engine paused a pipeline: its receiver wants no more.
    WebhookPaused,
}

impl OperatorEvent {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::DeliveryExhausted,
        Self::DeliveryRecovered,
        Self::PipelineFailed,
        Self::EgressIpsChanging,
        Self::WebhookPaused,
    ];

    /// The type on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeliveryExhausted => "delivery.exhausted",
            Self::DeliveryRecovered => "delivery.recovered",
            Self::PipelineFailed => "pipeline.failed",
            Self::EgressIpsChanging => "egress_ips.changing",
            Self::WebhookPaused => "webhook.paused",
        }
    }

    /// What such an event looks like: JSON text of one as it is accepted.
    #[must_use]
    pub fn sample(self) -> &'static str {
        match self {
            Self::DeliveryExhausted => include_str!("operator_event/delivery.exhausted.json"),
            Self::DeliveryRecovered => include_str!("operator_event/delivery.recovered.json"),
            Self::PipelineFailed => include_str!("operator_event/pipeline.failed.json"),
            Self::EgressIpsChanging => include_str!("operator_event/egress_ips.changing.json"),
            Self::WebhookPaused => include_str!("operator_event/webhook.paused.json"),
        }
    }

    /// The operator event of this type, if it is one. Asked for each event that a pattern matches: the lengths tell
    /// most of them apart.
    #[must_use]
    pub fn parse(event_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == event_type)
    }
}

/// The types that a pipeline names, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorEvents(u8);

impl OperatorEvents {
    /// Those among a pipeline's triggers.
    #[must_use]
    pub fn among(triggers: &[String]) -> Self {
        let named = triggers.iter().filter_map(|trigger| OperatorEvent::parse(trigger));
        Self(named.fold(0, |set, event| set | 1 << event as u8))
    }

    /// Whether this type is one of them.
    #[must_use]
    pub fn contains(self, event: OperatorEvent) -> bool {
        self.0 & 1 << event as u8 != 0
    }
}

/// The id of an operator event: it follows from the fact that caused it, so that one fact makes one event however
/// often the engine starts, and it tells where that fact stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cause(pub Position);

impl Cause {
    const PREFIX: &'static str = "evt_op_";

    /// `evt_op_<position>_<tag>`. The tag is a keyed hash (see `Secrets::tag`): nobody can take the id beforehand.
    #[must_use]
    pub fn id(self, tag: &str) -> Box<str> {
        format!("{}{:x}_{tag}", Self::PREFIX, self.0.0).into()
    }

    /// What the tag is made of.
    #[must_use]
    pub fn tagged(self, tenant: &TenantId) -> String {
        format!("operator-event/{tenant}/{}", self.0)
    }

    /// Reads the cause off an id.
    #[must_use]
    pub fn of_id(id: &str) -> Option<Self> {
        let (position, _) = id.strip_prefix(Self::PREFIX)?.split_once('_')?;
        u64::from_str_radix(position, 16).ok().map(|position| Self(Position(position)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_by_name_and_nothing_else_is() {
        for event in OperatorEvent::ALL {
            assert_eq!(OperatorEvent::parse(event.as_str()), Some(event));
        }
        for other in ["delivery.*", "delivery", "Delivery.exhausted", "delivery.exhausted.x", "*", ""] {
            assert_eq!(OperatorEvent::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_pipeline_wants_what_it_names_and_patterns_name_nothing() {
        let triggers = ["*", "delivery.*", "pipeline.failed", "webhook.paused"].map(str::to_owned);
        let wanted = OperatorEvents::among(&triggers);
        let named: Vec<_> = OperatorEvent::ALL.into_iter().filter(|event| wanted.contains(*event)).collect();
        assert_eq!(named, [OperatorEvent::PipelineFailed, OperatorEvent::WebhookPaused]);
    }

    /// ATT-34: what the documentation shows is what tests send.
    #[test]
    fn the_documentation_shows_the_samples() {
        let page = include_str!("../../../docs/events.md");
        for event in OperatorEvent::ALL {
            assert!(page.contains(event.sample().trim()), "{}", event.as_str());
        }
    }

    #[test]
    fn an_id_tells_its_cause() {
        let cause = Cause(Position(48_879));
        assert_eq!(&*cause.id("0123abcd"), "evt_op_beef_0123abcd");
        assert_eq!(Cause::of_id("evt_op_beef_0123abcd"), Some(cause));
        for other in ["evt_beef_1", "evt_op_beef", "evt_op__1", "evt_op_-1_1", "evt_op_g_1", ""] {
            assert_eq!(Cause::of_id(other), None, "{other}");
        }
    }
}
