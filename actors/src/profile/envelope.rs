//! The body that goes out where a step has no template of its own: keys in the provider's order (AFF-15, T-21b).

use crate::json::{BodyForm, Fidelity, Json, ObjectWriter};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The keys, in their order on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<EnvelopeField>")]
pub struct Envelope {
    fields: Vec<EnvelopeField>,
}

/// One key and where its value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "FieldFile")]
pub struct EnvelopeField {
    /// As it stands on the wire.
    pub key: String,
    /// Where its value comes from.
    pub source: Source,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The event's id.
    Id,
    /// The event's type.
    Type,
    /// When it happened: the producer's own text, or when it was accepted (T-11).
    Timestamp,
    /// The event's data.
    Data,
    /// An object of `correlation_id`, `tenant_id` and what else the producer gave (AFF-21).
    Metadata,
    /// The tenant's id.
    Tenant,
    /// Always the same text.
    #[serde(skip)]
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldFile {
    key: String,
    from: Option<Source>,
    text: Option<String>,
}

impl TryFrom<FieldFile> for EnvelopeField {
    type Error = &'static str;

    fn try_from(file: FieldFile) -> Result<Self, Self::Error> {
        // Keys that look like numbers would be moved by JavaScript and PHP (T-3).
        if !file.key.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err("the key of an envelope starts with a letter");
        }
        let source = match (file.from, file.text) {
            (Some(source), None) => source,
            (None, Some(text)) => Source::Text(text),
            _ => return Err("a key of the envelope has either `from` or `text`"),
        };
        Ok(Self { key: file.key, source })
    }
}

impl TryFrom<Vec<EnvelopeField>> for Envelope {
    type Error = String;

    fn try_from(fields: Vec<EnvelopeField>) -> Result<Self, Self::Error> {
        for (place, field) in fields.iter().enumerate() {
            if fields[..place].iter().any(|other| other.key == field.key) {
                return Err(format!("the envelope has the key `{}` twice", field.key));
            }
        }
        if !fields.iter().any(|field| field.source == Source::Data) {
            return Err("the envelope has no key from `data`".to_owned());
        }
        Ok(Self { fields })
    }
}

/// What stands in the envelope of one event.
#[derive(Clone, Copy, Debug)]
pub struct EnvelopeValues<'v> {
    /// `evt_…`
    pub id: &'v str,
    /// `conversion.created`
    pub event_type: &'v str,
    /// ISO 8601.
    pub timestamp: &'v str,
    /// The owner.
    pub tenant: &'v str,
    /// What the producer sent.
    pub data: &'v Json<'v>,
    /// The same as it was posted, for [`BodyForm::Raw`]; `None` writes the tree.
    pub data_raw: Option<&'v [u8]>,
    /// [`metadata`] of the event.
    pub metadata: &'v Json<'v>,
    /// Whether `id` stands behind all other keys (T-10).
    pub id_last: bool,
}

impl Envelope {
    /// The keys, in their order on the wire.
    #[must_use]
    pub fn fields(&self) -> &[EnvelopeField] {
        &self.fields
    }

    /// Whether the event's id stands in it.
    #[must_use]
    pub fn has_id(&self) -> bool {
        self.fields.iter().any(|field| field.source == Source::Id)
    }

    /// Appends the envelope to `out`.
    pub fn write(&self, values: &EnvelopeValues<'_>, form: BodyForm, out: &mut Vec<u8>) -> Fidelity {
        let mut object = ObjectWriter::new(form, out);
        for EnvelopeField { key, source } in &self.fields {
            match source {
                Source::Id => object.text(key, values.id),
                Source::Type => object.text(key, values.event_type),
                Source::Timestamp => object.text(key, values.timestamp),
                Source::Tenant => object.text(key, values.tenant),
                Source::Text(text) => object.text(key, text),
                Source::Metadata => object.value(key, values.metadata),
                Source::Data => match values.data_raw {
                    Some(raw) if form == BodyForm::Raw => object.raw(key, raw),
                    _ => object.value(key, values.data),
                },
            };
        }
        if values.id_last {
            object.text("id", values.id);
        }
        object.finish()
    }
}

/// The metadata of an envelope: the producer's `correlation_id`, or one derived from the event's id so that it is
/// the same on every attempt; the tenant; then what else the producer gave, in its order.
#[must_use]
pub fn metadata<'a>(event_id: &str, tenant: &'a str, given: Option<&Json<'a>>) -> Json<'a> {
    let given = match given {
        Some(Json::Object(members)) => members.as_slice(),
        _ => &[],
    };
    let theirs = given.iter().find(|(key, value)| key == "correlation_id" && value.as_str().is_some());
    let correlation_id =
        theirs.map_or_else(|| Json::from(correlation_id(event_id)), |(_, value)| value.clone());
    let own = [("correlation_id".into(), correlation_id), ("tenant_id".into(), Json::from(tenant))];
    let others = given.iter().filter(|(key, _)| key != "correlation_id" && key != "tenant_id");
    Json::Object(own.into_iter().chain(others.cloned()).collect())
}

/// `corr_` and 16 hex digits of the SHA-256 of the event's id.
fn correlation_id(event_id: &str) -> String {
    let digest = Sha256::digest(event_id.as_bytes());
    let start = digest[..8].iter().fold(0_u64, |start, &byte| start << 8 | u64::from(byte));
    format!("corr_{start:016x}")
}
