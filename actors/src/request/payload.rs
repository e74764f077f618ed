//! What an attempt carries: an accepted event, or the data of a test.

use super::{AttemptInput, BuildError};
use crate::{
    delivery::template::{BODY_MAX, Context, EventFields, TemplateError},
    domain::{step::Step, time::Moment},
    event_input::is_event_id,
    json::{BodyForm, Json, Limits, parse},
    profile::{EnvelopeValues, is_event_type, metadata},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// An accepted event.
    Event(Event<'a>),
    /// `test_data` of a test run: JSON text, and an id for the occasion (AFM-63, T-50).
    Test { id: &'a str, test_data: &'a [u8] },
}

/// An accepted event.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// `evt_…`
    pub id: &'a str,
    /// `conversion.created`
    pub event_type: &'a str,
    /// Its time where its producer gave none.
    pub moment: Moment,
    /// As it was posted.
    pub body: &'a [u8],
}

impl<'a> Payload<'a> {
    pub(super) fn parse(&self) -> Result<Json<'a>, BuildError> {
        parse(self.bytes(), Limits::EVENT).map_err(|_| BuildError::Event)
    }

    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Event(event) => event.body,
            Self::Test { test_data, .. } => test_data,
        }
    }
}

/// What envelope and templates are made of.
pub(super) struct Parts<'p> {
    id: &'p str,
    event_type: &'p str,
    timestamp: Cow<'p, str>,
    trigger_type: &'p str,
    data: &'p Json<'p>,
    metadata: Json<'p>,
    test_data: Option<&'p Json<'p>>,
}

impl<'p> Parts<'p> {
    /// `tree` is the parsed payload.
    pub(super) fn of(input: &AttemptInput<'p>, tree: &'p Json<'p>) -> Result<Self, BuildError> {
        match input.payload {
            Payload::Event(event) => Self::of_event(input, event, tree),
            Payload::Test { id, .. } => Ok(Self::of_test(input, id, tree)),
        }
    }

    fn of_event(input: &AttemptInput<'p>, event: Event<'p>, tree: &'p Json<'p>) -> Result<Self, BuildError> {
        let text = |key| tree.member(key).and_then(Json::as_str);
        let accepted = || Cow::Owned(event.moment.to_iso());
        let trigger_type = input.profile.trigger_type(&input.pinned.triggers, event.event_type);
        Ok(Self {
            id: event.id,
            event_type: event.event_type,
            timestamp: text("timestamp").map_or_else(accepted, Cow::Borrowed),
            trigger_type,
            data: tree.member("data").ok_or(BuildError::Event)?,
            metadata: metadata(event.id, input.tenant.id.as_str(), tree.member("metadata")),
            test_data: None,
        })
    }

    /// An event that is given in part or not at all: what is missing is what the pipeline would be sent.
    fn of_test(input: &AttemptInput<'p>, id: &'p str, test_data: &'p Json<'p>) -> Self {
        let given = |key| test_data.get(&["event", key]).or_else(|| test_data.member(key));
        let text = |key| given(key).and_then(Json::as_str);
        let triggers = &input.pinned.triggers;
        let wanted = || {
            let mut kinds = input.profile.event_types();
            let kind = kinds.find(|kind| input.profile.triggers_match(triggers, &kind.name));
            kind.map_or("webhook.test", |kind| kind.name.as_str())
        };
        // A context is free to have an `id` and a `type` of its own, which need not be those of an event.
        let event_type = text("type").filter(|name| is_event_type(name)).unwrap_or_else(wanted);
        let id = text("id").filter(|id| is_event_id(id)).unwrap_or(id);
        let now = || Cow::Owned(input.now.to_iso_seconds());
        Self {
            id,
            event_type,
            timestamp: text("timestamp").map_or_else(now, Cow::Borrowed),
            trigger_type: input.profile.trigger_type(triggers, event_type),
            data: given("data").unwrap_or(test_data),
            metadata: metadata(id, input.tenant.id.as_str(), given("metadata")),
            test_data: Some(test_data),
        }
    }

    pub(super) fn id(&self) -> &'p str {
        self.id
    }

    pub(super) fn event_type(&self) -> &'p str {
        self.event_type
    }

    /// What templates see.
    pub(super) fn context(&self) -> Context<'_> {
        let event = EventFields {
            trigger_type: self.trigger_type,
            timestamp: &self.timestamp,
            event_type: self.event_type,
            event_id: self.id,
            data: self.data,
            metadata: &self.metadata,
        };
        match self.test_data {
            Some(test_data) => Context::from_test_data(test_data, event),
            None => Context::from_event(event),
        }
    }

    /// Appends the profile's envelope.
    pub(super) fn write_envelope(
        &self,
        input: &AttemptInput<'_>,
        step: &Step,
        out: &mut Vec<u8>,
    ) -> Result<(), BuildError> {
        let form = step.body_form;
        let is_raw_event = form == BodyForm::Raw && self.test_data.is_none();
        let data_raw = is_raw_event.then(|| raw_data(input.payload.bytes())).flatten();
        let values = EnvelopeValues {
            id: self.id,
            event_type: self.event_type,
            timestamp: &self.timestamp,
            tenant: input.tenant.id.as_str(),
            data: self.data,
            data_raw,
            metadata: &self.metadata,
            id_last: step.include_id,
        };
        input.profile.envelope.write(&values, form, out);
        if out.len() > BODY_MAX {
            return Err(TemplateError::TooLarge { what: "body", limit: BODY_MAX }.into());
        }
        Ok(())
    }
}

/// The bytes of `data` as they were posted.
fn raw_data(body: &[u8]) -> Option<&[u8]> {
    #[derive(Deserialize)]
    struct Posted<'b> {
        #[serde(borrow)]
        data: &'b RawValue,
    }
    serde_json::from_slice::<Posted<'_>>(body).ok().map(|posted| posted.data.get().as_bytes())
}
