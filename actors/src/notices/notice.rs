//! One thing to tell, and the operator event that tells it.

use crate::{
    domain::{
        dead_letter::DeadLetter,
        event::Accepted,
        id::{DeliveryId, PipelineId},
        operator_event::{Cause, OperatorEvent},
        time::Timestamp,
    },
    log::Position,
    projections::error_text,
    view::NewEvent,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Notice {
    /// When it happened.
    pub(super) at: Timestamp,
    /// The pipeline that it happened to, and its name then.
    pub(super) pipeline: Option<(PipelineId, Arc<str>)>,
    /// What happened.
    pub(super) what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum What {
    /// A step of a delivery was dead-lettered.
    Exhausted { item: Box<DeadLetter>, step: Box<str> },
    /// A delivery that was dead-lettered arrived, by this attempt.
    Recovered { event: Position, round: u16, number: u16 },
    /// The pipeline was given up.
    Failed { reason: Box<str> },
    /// The engine paused the pipeline.
    Paused,
    /// Deliveries will come from other addresses.
    EgressIps { before: Vec<String>, after: Vec<String>, effective_at: Timestamp },
}

impl What {
    /// The operator event that tells it.
    pub(super) fn event(&self) -> OperatorEvent {
        match self {
            Self::Exhausted { .. } => OperatorEvent::DeliveryExhausted,
            Self::Recovered { .. } => OperatorEvent::DeliveryRecovered,
            Self::Failed { .. } => OperatorEvent::PipelineFailed,
            Self::Paused => OperatorEvent::WebhookPaused,
            Self::EgressIps { .. } => OperatorEvent::EgressIpsChanging,
        }
    }

    /// Position of the accepted event that it is about.
    pub(super) fn subject(&self) -> Option<Position> {
        match self {
            Self::Exhausted { item, .. } => Some(item.event),
            Self::Recovered { event, .. } => Some(*event),
            Self::Failed { .. } | Self::Paused | Self::EgressIps { .. } => None,
        }
    }
}

impl Notice {
    pub(super) fn of_pipeline(at: Timestamp, id: &PipelineId, name: Arc<str>, what: What) -> Self {
        Self { at, pipeline: Some((id.clone(), name)), what }
    }

    /// The delivery that it is about.
    pub(super) fn delivery(&self) -> Option<DeliveryId> {
        let (pipeline, _) = self.pipeline.as_ref()?;
        Some(DeliveryId::new(self.what.subject()?, pipeline))
    }

    /// The operator event, ready to be accepted: a function of the log, byte for byte. `subject` is the accepted event
    /// that it is about, unless that is gone.
    pub(super) fn event(&self, cause: Cause, tag: &str, subject: Option<&Accepted>) -> NewEvent {
        let (id, event_type) = (cause.id(tag), self.what.event().as_str());
        let body = json!({
            "id": id,
            "type": event_type,
            "timestamp": self.at.to_iso_millis(),
            "data": self.data(subject),
        });
        let resource = self.resource();
        NewEvent {
            id,
            event_type: event_type.into(),
            resource,
            is_timed: true,
            body: body.to_string().into(),
        }
    }

    /// One lane a delivery, so that its recovery comes behind its exhaustion, and one a pipeline.
    fn resource(&self) -> Box<str> {
        match (self.delivery(), &self.pipeline) {
            (Some(delivery), _) => format!("delivery:{delivery}").into(),
            (None, Some((pipeline, _))) => format!("webhook:{pipeline}").into(),
            (None, None) => "egress_ips".into(),
        }
    }

    fn data(&self, subject: Option<&Accepted>) -> Value {
        let mut data = Map::new();
        let mut put = |key: &str, value: Value| drop(data.insert(key.to_owned(), value));
        if let Some((id, name)) = &self.pipeline {
            put("pipeline_id", json!(id));
            put("pipeline_name", json!(name));
        }
        if let Some(delivery) = self.delivery() {
            put("delivery_id", json!(delivery));
            put("event_id", json!(subject.map(|event| &event.id)));
            put("event_type", json!(subject.map(|event| &event.event_type)));
            put("resource", json!(subject.map(|event| &event.resource)));
        }
        match &self.what {
            What::Exhausted { item, step } => {
                put("dead_letter_id", json!(item.id().to_string()));
                put("step", json!(step));
                put("round", json!(item.round));
                put("attempts", json!(item.tries.0));
                put("failover_attempts", json!(item.tries.1));
                put("last_error", json!(error_text(item.class, item.status)));
                put("outcome", json!(item.class));
                put("http_status", json!(item.status));
            }
            What::Recovered { round, number, .. } => {
                put("round", json!(round));
                put("attempt", json!(number));
            }
            What::Failed { reason } => put("reason", json!(reason)),
            What::Paused => put("reason", json!("the receiver answered 410 Gone")),
            What::EgressIps { before, after, effective_at } => {
                let without = |of: &[String], other: &[String]| -> Vec<String> {
                    of.iter().filter(|address| !other.contains(address)).cloned().collect()
                };
                put("before", json!(before));
                put("after", json!(after));
                put("added", json!(without(after, before)));
                put("removed", json!(without(before, after)));
                put("effective_at", json!(effective_at.to_iso_millis()));
            }
        }
        Value::Object(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        outcome::OutcomeClass,
        testing::{T0, pipe, tenant},
    };

    fn exhausted() -> What {
        let item = DeadLetter {
            tenant: tenant(),
            pipeline: pipe(),
            event: Position(7),
            step: 0,
            round: 1,
            version: 1,
            stopped: false,
            failed_at: T0,
            tries: (8, 0),
            class: OutcomeClass::HttpError,
            status: Some(503),
            detail: "".into(),
        };
        What::Exhausted { item: Box::new(item), step: "Send".into() }
    }

    fn one_of_each() -> Vec<Notice> {
        let of_pipeline = |what| Notice::of_pipeline(T0, &pipe(), "Conversions".into(), what);
        let addresses = |last: u8| vec!["192.0.2.10".to_owned(), format!("192.0.2.{last}")];
        let (before, after) = (addresses(11), addresses(12));
        vec![
            of_pipeline(exhausted()),
            of_pipeline(What::Recovered { event: Position(7), round: 2, number: 1 }),
            of_pipeline(What::Failed { reason: "boom".into() }),
            of_pipeline(What::Paused),
            Notice { at: T0, pipeline: None, what: What::EgressIps { before, after, effective_at: T0 } },
        ]
    }

    fn subject() -> Accepted {
        let (id, event_type) = ("evt_abc123".into(), "conversion.created".into());
        Accepted { id, event_type, resource: "conversion:conv_123".into(), routes: Vec::new(), moment: None }
    }

    fn keys(value: &Value) -> Vec<&String> {
        value.as_object().unwrap().keys().collect()
    }

    /// ATT-34: what is sent has the documented keys, in their order.
    #[test]
    fn operator_events_look_like_their_samples() {
        for notice in one_of_each() {
            let kind = notice.what.event();
            let sample: Value = serde_json::from_str(kind.sample()).unwrap();
            let event = notice.event(Cause(Position(9)), "00ff", Some(&subject()));
            let body: Value = serde_json::from_slice(&event.body).unwrap();
            assert_eq!((keys(&body), keys(&body["data"])), (keys(&sample), keys(&sample["data"])));
            assert_eq!((&*event.id, &*event.event_type), ("evt_op_9_00ff", kind.as_str()));
            assert_eq!((&body["id"], &body["type"]), (&json!(event.id), &json!(event.event_type)));
            assert_eq!(sample["type"], kind.as_str());
        }
    }

    #[test]
    fn a_delivery_is_a_lane_and_a_pipeline_is_one() {
        let lanes: Vec<_> = one_of_each().iter().map(Notice::resource).collect();
        let (delivery, pipeline) = ("delivery:exec_7_a", "webhook:pipe_a");
        assert_eq!(
            lanes.iter().map(|lane| &**lane).collect::<Vec<_>>(),
            [delivery, delivery, pipeline, pipeline, "egress_ips"]
        );
    }

    /// An event that has expired is told of all the same.
    #[test]
    fn what_is_gone_is_null() {
        let event = one_of_each()[0].event(Cause(Position(9)), "00ff", None);
        let body: Value = serde_json::from_slice(&event.body).unwrap();
        assert_eq!((&body["data"]["event_id"], &body["data"]["http_status"]), (&Value::Null, &json!(503)));
    }
}
