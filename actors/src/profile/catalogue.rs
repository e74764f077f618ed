//! The events that a provider documents, each with samples of what is sent.

use super::{Envelope, ResourceRule, Source, fault::Fault, is_event_type};
use crate::{
    domain::operator_event::OperatorEvent,
    json::{BodyForm, Json, Limits, parse},
};
use hashbrown::HashMap;
use serde::Deserialize;
use toml::Spanned;

/// One documented type of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventKind {
    /// `conversion.created`
    pub name: String,
    /// For people.
    pub description: String,
    /// How events of this type find their lane.
    pub resource: ResourceRule,
    /// Sent only to those who name it, never by a pattern (ATT-14).
    pub high_volume: bool,
    /// What such events look like; at least one.
    pub samples: Vec<Sample>,
}

/// An event to look at, to test with, and to post as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Where it is from: an id of the requirements, or `proposed` where the provider documents none.
    pub document: String,
    /// JSON text of an event as producers post it.
    pub event: String,
}

/// An [`EventKind`] as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KindFile {
    r#type: Spanned<String>,
    description: String,
    #[serde(default)]
    resource: ResourceRule,
    #[serde(default)]
    high_volume: bool,
    samples: Vec<SampleFile>,
}

/// `event` as producers post it, or `sent` as the provider's document prints it: in its envelope.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SampleFile {
    document: Spanned<String>,
    event: Option<Spanned<String>>,
    sent: Option<Spanned<String>>,
}

impl KindFile {
    fn build(self, at: &str, envelope: &Envelope) -> Result<EventKind, Fault> {
        let (span, name) = (self.r#type.span(), self.r#type.into_inner());
        if !is_event_type(&name) {
            return Err(Fault::new(span, format!("{at}.type"), format!("`{name}` is not an event type")));
        }
        if OperatorEvent::parse(&name).is_some() {
            let message = format!("`{name}` is an event of the engine's own");
            return Err(Fault::new(span, format!("{at}.type"), message));
        }
        if self.samples.is_empty() {
            return Err(Fault::new(span, format!("{at}.samples"), "there is no sample".to_owned()));
        }
        let samples = self.samples.into_iter().enumerate();
        let samples = samples.map(|(n, sample)| sample.build(&name, &format!("{at}.samples[{n}]"), envelope));
        let samples = samples.collect::<Result<_, _>>()?;
        let Self { description, resource, high_volume, .. } = self;
        Ok(EventKind { name, description, resource, high_volume, samples })
    }
}

impl SampleFile {
    fn build(self, of: &str, at: &str, envelope: &Envelope) -> Result<Sample, Fault> {
        let (text, is_sent) = match (self.event, self.sent) {
            (Some(event), None) => (event, false),
            (None, Some(sent)) => (sent, true),
            _ => {
                let message = "a sample has either `event` or `sent`".to_owned();
                return Err(Fault::new(self.document.span(), at.to_owned(), message));
            }
        };
        let field = format!("{at}.{}", if is_sent { "sent" } else { "event" });
        let (span, text) = (text.span(), text.into_inner());
        let fault = |message| Fault::new(span.clone(), field.clone(), message);
        let json = match parse(text.as_bytes(), Limits::ADMIN) {
            Ok(json) => json,
            Err(error) => return Err(fault(format!("not JSON: {error}"))),
        };
        let posted = if is_sent { taken_out(&json, envelope).map_err(fault)? } else { json };
        let is_of_type = posted.member("type").and_then(Json::as_str) == Some(of);
        if !is_of_type || !matches!(posted.member("data"), Some(Json::Object(_))) {
            return Err(fault(format!("not an event of type `{of}` with an object as data")));
        }
        let event = if is_sent { as_text(&posted) } else { text.clone() };
        Ok(Sample { document: self.document.into_inner(), event })
    }
}

/// The event that was posted if this is what was sent for it. The keys are those of the envelope, in its order.
fn taken_out<'j>(sent: &Json<'j>, envelope: &Envelope) -> Result<Json<'j>, String> {
    let Json::Object(members) = sent else { return Err("not an object".to_owned()) };
    let keys = envelope.fields().iter().map(|field| field.key.as_str());
    if !members.iter().map(|(key, _)| &**key).eq(keys.clone()) {
        return Err(format!("not in the envelope, whose keys are {}", keys.collect::<Vec<_>>().join(", ")));
    }
    let posted = envelope.fields().iter().zip(members).filter_map(|(field, (_, value))| {
        let key = match field.source {
            Source::Id => "id",
            Source::Type => "type",
            Source::Timestamp => "timestamp",
            Source::Data => "data",
            Source::Metadata | Source::Tenant | Source::Text(_) => return None,
        };
        Some((key.into(), value.clone()))
    });
    Ok(Json::Object(posted.collect()))
}

fn as_text(json: &Json<'_>) -> String {
    String::from_utf8(json.to_bytes(BodyForm::Raw)).unwrap_or_default()
}

/// All documented types; for some profiles also every other type there may be.
#[derive(Clone, Debug)]
pub(super) struct Catalogue {
    kinds: Vec<EventKind>,
    places: HashMap<String, usize>,
    any: Option<ResourceRule>,
    by_id: ResourceRule,
}

impl Catalogue {
    /// `any` is the rule of types that are not documented; without one there are none.
    pub(super) fn new(
        files: Vec<KindFile>,
        any: Option<ResourceRule>,
        envelope: &Envelope,
    ) -> Result<Self, Fault> {
        let mut kinds = Vec::with_capacity(files.len());
        let mut places = HashMap::with_capacity(files.len());
        for (place, file) in files.into_iter().enumerate() {
            let (at, span) = (format!("events[{place}]"), file.r#type.span());
            let kind = file.build(&at, envelope)?;
            if places.insert(kind.name.clone(), place).is_some() {
                let message = format!("`{}` stands in the catalogue twice", kind.name);
                return Err(Fault::new(span, at + ".type", message));
            }
            kinds.push(kind);
        }
        Ok(Self { kinds, places, any, by_id: ResourceRule::default() })
    }

    pub(super) fn kinds(&self) -> std::slice::Iter<'_, EventKind> {
        self.kinds.iter()
    }

    pub(super) fn kind(&self, name: &str) -> Option<&EventKind> {
        self.places.get(name).map(|&place| &self.kinds[place])
    }

    pub(super) fn is_closed(&self) -> bool {
        self.any.is_none()
    }

    pub(super) fn takes(&self, name: &str) -> bool {
        self.places.contains_key(name) || (self.any.is_some() && is_event_type(name))
    }

    pub(super) fn resource_rule(&self, event_type: &str) -> &ResourceRule {
        self.kind(event_type).map(|kind| &kind.resource).or(self.any.as_ref()).unwrap_or(&self.by_id)
    }
}
