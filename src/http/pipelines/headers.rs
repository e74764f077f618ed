//! Headers of a step: names that HTTP allows and the engine does not need itself, values that are templates.

use super::rules::Rules;
use crate::http::fields::Value;
use ledgerhook_actors::{
    delivery::template::MASK,
    domain::step::{Header, HeaderValue, SignatureMode},
    json::Json,
    request::reserved_headers,
};

/// Most headers a step may set.
const HEADERS_MAX: usize = 50;
/// Longest name in bytes.
const NAME_BYTES: usize = 128;

/// A header as it was given: with a new value, or with the one that it had.
pub(super) struct HeaderDraft {
    /// As it is sent.
    pub(super) name: String,
    /// What follows the colon.
    pub(super) value: ValueDraft,
}

/// The value of a [`HeaderDraft`].
pub(super) enum ValueDraft {
    /// A template, to be sealed if it is said to be secret, or spells out a credential.
    Given { template: String, secret: bool },
    /// As it is kept already.
    Kept(HeaderValue),
}

impl From<&Header> for HeaderDraft {
    fn from(header: &Header) -> Self {
        Self { name: header.name.clone(), value: ValueDraft::Kept(header.value.clone()) }
    }
}

/// The entries of a map whose names are all sound. Every mistake is told before it ends.
pub(super) fn checked_entries<'j>(value: &Value<'j>, rules: &Rules<'_>) -> Option<Vec<(&'j str, Value<'j>)>> {
    let entries = value.entries()?;
    if entries.len() > HEADERS_MAX {
        return value.wrong("length", format!("is to have at most {HEADERS_MAX} headers"));
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut sound = true;
    for (name, value) in &entries {
        sound &= check_name(name, value, rules, &seen).is_some();
        seen.push(name);
    }
    sound.then_some(entries)
}

/// Reads the map whole. A value that answers masked keeps what `kept` has under that name.
pub(super) fn read(
    value: &Value<'_>,
    rules: &Rules<'_>,
    hosts: &[&str],
    kept: &[Header],
) -> Option<Vec<HeaderDraft>> {
    let read = |(name, value): &(&str, Value<'_>)| {
        let draft = one(name, value, rules, hosts, kept)?;
        Some(HeaderDraft { name: (*name).to_owned(), value: draft })
    };
    let entries = checked_entries(value, rules)?;
    entries.iter().map(read).collect::<Vec<_>>().into_iter().collect()
}

/// Merges a patch into the map (RFC 7396): `null` takes a header out.
pub(super) fn patch(
    value: &Value<'_>,
    rules: &Rules<'_>,
    hosts: &[&str],
    kept: &[Header],
) -> Option<Vec<HeaderDraft>> {
    let mut headers: Vec<HeaderDraft> = kept.iter().map(HeaderDraft::from).collect();
    for (name, value) in value.entries()? {
        headers.retain(|header| !header.name.eq_ignore_ascii_case(name));
        if !value.is_null() {
            check_name(name, &value, rules, &[])?;
            headers
                .push(HeaderDraft { name: name.to_owned(), value: one(name, &value, rules, hosts, kept)? });
        }
    }
    if headers.len() > HEADERS_MAX {
        return value.wrong("length", format!("is to have at most {HEADERS_MAX} headers"));
    }
    Some(headers)
}

fn one(
    name: &str,
    value: &Value<'_>,
    rules: &Rules<'_>,
    hosts: &[&str],
    kept: &[Header],
) -> Option<ValueDraft> {
    if matches!(value.json(), Json::Object(_)) {
        return value.object(|fields| {
            let template = fields.require("value").and_then(|value| rules.header_value(&value, hosts));
            let secret = fields.optional("secret").map_or(Some(false), |secret| secret.boolean());
            Some(ValueDraft::Given { template: template?, secret: secret? })
        });
    }
    if value.json().as_str() != Some(MASK) {
        let template = rules.header_value(value, hosts)?;
        return Some(ValueDraft::Given { template, secret: false });
    }
    match kept.iter().find(|header| header.name.eq_ignore_ascii_case(name)) {
        Some(header) => Some(ValueDraft::Kept(header.value.clone())),
        None => value.wrong("masked", "is the mask of a value that was never set; send the value itself"),
    }
}

fn check_name(name: &str, value: &Value<'_>, rules: &Rules<'_>, seen: &[&str]) -> Option<()> {
    if name.is_empty() || name.len() > NAME_BYTES || !name.bytes().all(is_token) {
        let message = format!("a header name has 1 to {NAME_BYTES} letters, digits and `!#$%&'*+-.^_`|~`");
        return value.wrong("header_name", message);
    }
    let reserved = reserved_headers(rules.profile);
    if reserved.contains(&name.to_ascii_lowercase()) {
        return value
            .wrong("reserved_header", format!("is set by the engine; reserved are {}", reserved.join(", ")));
    }
    if seen.iter().any(|earlier| earlier.eq_ignore_ascii_case(name)) {
        return value.wrong("duplicate", "is named twice, in other capitals");
    }
    Some(())
}

/// A mode that fills `Authorization` leaves no room for another (T-26).
pub(super) fn check_mode(value: &Value<'_>, headers: &[HeaderDraft], mode: SignatureMode) -> Option<()> {
    let taken = headers.iter().find(|header| header.name.eq_ignore_ascii_case("authorization"));
    if let (SignatureMode::Jwt, Some(header)) = (mode, taken) {
        let pointer = format!("{}/headers/{}", value.pointer(), header.name.replace('~', "~0"));
        value.report().add(pointer, "conflict", "`signature_mode: jwt` sends its token in this header");
        return None;
    }
    Some(())
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
