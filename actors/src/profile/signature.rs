//! How requests are signed, and what else a provider puts into the headers of each: patterns with places to fill.
//!
//! ```text
//! signed = "{timestamp}.{body}" ──HMAC-SHA256──> digest of each key ──> value = "t={timestamp},v1={hex}"
//!                                                                  └──> former_key = ",v1={hex}", once for each
//! ```
//! Pure text: keys and digests are made elsewhere.

use super::text;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, de::Error};
use std::fmt::Write as _;

/// How requests are signed in mode `hmac`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The provider's own headers. Two names for one signature are two entries (T-5).
    #[serde(default)]
    pub headers: Vec<SignatureHeader>,
    /// Whether the three headers of Standard Webhooks are sent beside them.
    #[serde(default = "yes")]
    pub standard_webhooks: bool,
    /// Whether `webhook-signature` carries a `v1a` signature of the tenant's Ed25519 key too; steps may say otherwise.
    #[serde(default = "yes")]
    pub ed25519: bool,
}

impl Signature {
    /// Whether a header has room for one signature only, so that a receiver may know another key than the one that it
    /// was made with (T-6).
    #[must_use]
    pub fn has_room_for_one(&self) -> bool {
        self.headers.iter().any(|header| !header.lists_keys())
    }
}

/// One signature header.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "HeaderFile")]
pub struct SignatureHeader {
    /// `X-Afftok-Signature`
    pub name: String,
    value: Pattern,
    signed: Pattern,
    former_key: Option<Pattern>,
}

/// A header as it is written in a profile.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderFile {
    #[serde(deserialize_with = "text::header_name")]
    name: String,
    #[serde(default, deserialize_with = "value")]
    value: Option<Pattern>,
    #[serde(default, deserialize_with = "signed")]
    signed: Option<Pattern>,
    #[serde(default, deserialize_with = "former_key")]
    former_key: Option<Pattern>,
}

impl From<HeaderFile> for SignatureHeader {
    fn from(HeaderFile { name, value, signed, former_key }: HeaderFile) -> Self {
        let place = |place| Pattern(vec![Part::Place(place)]);
        let (value, signed) =
            (value.unwrap_or_else(|| place(Place::Hex)), signed.unwrap_or_else(|| place(Place::Body)));
        Self { name, value, signed, former_key }
    }
}

/// What stands in the headers of an attempt beside its signature.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'s> {
    /// The event's id.
    pub id: &'s str,
    /// Unix seconds of the attempt.
    pub timestamp: u64,
}

impl SignatureHeader {
    /// Whether there is a signature of each key in force; else there is exactly one (T-6).
    #[must_use]
    pub fn lists_keys(&self) -> bool {
        self.former_key.is_some()
    }

    /// The time that a value in this shape tells, if the shape has room for one.
    #[must_use]
    pub fn timestamp_in(&self, value: &str) -> Option<u64> {
        let at = self.value.0.iter().position(|part| *part == Part::Place(Place::Timestamp))?;
        let before = at.checked_sub(1).map(|before| &self.value.0[before]);
        let rest = match before {
            Some(Part::Text(text)) => value.split_once(text.as_str())?.1,
            _ => value,
        };
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse().ok()
    }

    /// What is signed before and behind the body.
    #[must_use]
    pub fn around_body(&self, stamp: Stamp<'_>) -> (String, String) {
        let mut around = (String::new(), String::new());
        let mut behind = false;
        for part in &self.signed.0 {
            let out = if behind { &mut around.1 } else { &mut around.0 };
            match part {
                Part::Place(Place::Body) => behind = true,
                part => part.write(out, stamp, None),
            }
        }
        around
    }

    /// Appends the header's value: the first digest in its place, and one more piece for each of the others.
    pub fn write_value(
        &self,
        stamp: Stamp<'_>,
        digests: impl IntoIterator<Item = [u8; 32]>,
        out: &mut String,
    ) {
        let mut patterns = std::iter::once(&self.value)
            .chain(std::iter::repeat_with(|| self.former_key.as_ref().unwrap_or(&self.value)));
        for digest in digests {
            let Some(pattern) = patterns.next() else { break };
            pattern.0.iter().for_each(|part| part.write(out, stamp, Some(&digest)));
        }
    }

    /// The same as a text of its own.
    #[must_use]
    pub fn value(&self, stamp: Stamp<'_>, digests: impl IntoIterator<Item = [u8; 32]>) -> String {
        let mut out = String::new();
        self.write_value(stamp, digests, &mut out);
        out
    }
}

/// A header of every request that is no signature: the type of the event, or always the same.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileHeader {
    /// `X-GitHub-Event`
    #[serde(deserialize_with = "text::header_name")]
    pub name: String,
    #[serde(deserialize_with = "plain_value")]
    value: Pattern,
}

/// What a [`ProfileHeader`] may tell of an attempt.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Id and time.
    pub stamp: Stamp<'a>,
    /// The event's type.
    pub event_type: &'a str,
    /// The delivery's id.
    pub delivery: &'a str,
    /// The number of the attempt.
    pub attempt: u16,
}

impl ProfileHeader {
    /// Appends the header's value.
    pub fn write_value(&self, about: About<'_>, out: &mut String) {
        for part in &self.value.0 {
            match part {
                Part::Place(Place::Type) => out.push_str(about.event_type),
                Part::Place(Place::Delivery) => out.push_str(about.delivery),
                Part::Place(Place::Attempt) => write!(out, "{}", about.attempt).unwrap_or_default(),
                part => part.write(out, about.stamp, None),
            }
        }
    }
}

/// Text with places in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Place),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Hex,
    Base64,
    Timestamp,
    Id,
    Body,
    Type,
    Delivery,
    Attempt,
}

/// All places, by name.
const PLACES: [(&str, Place); 8] = [
    ("hex", Place::Hex),
    ("base64", Place::Base64),
    ("timestamp", Place::Timestamp),
    ("id", Place::Id),
    ("body", Place::Body),
    ("type", Place::Type),
    ("delivery", Place::Delivery),
    ("attempt", Place::Attempt),
];

/// Longest pattern in bytes.
const PATTERN_MAX: usize = 256;

impl Part {
    fn write(&self, out: &mut String, stamp: Stamp<'_>, digest: Option<&[u8; 32]>) {
        match (self, digest) {
            (Self::Text(text), _) => out.push_str(text),
            (Self::Place(Place::Hex), Some(digest)) => {
                let mut hex = [0; 64];
                // 32 bytes are 64 digits.
                hex::encode_to_slice(digest, &mut hex).unwrap_or_default();
                out.push_str(std::str::from_utf8(&hex).unwrap_or_default());
            }
            (Self::Place(Place::Base64), Some(digest)) => STANDARD.encode_string(digest, out),
            (Self::Place(Place::Timestamp), _) => write!(out, "{}", stamp.timestamp).unwrap_or_default(),
            (Self::Place(Place::Id), _) => out.push_str(stamp.id),
            // What a pattern may not hold was refused when it was read.
            (Self::Place(_), _) => {}
        }
    }
}

impl Pattern {
    /// Reads `text`, in which only `allowed` places may stand.
    fn parse(text: &str, allowed: &[Place]) -> Result<Self, String> {
        if text.is_empty() || text.len() > PATTERN_MAX {
            return Err(format!("expected 1 to {PATTERN_MAX} bytes"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let inner = from.strip_prefix('{').and_then(|from| from.split_once('}'));
            let Some((name, behind)) = inner else {
                return Err(format!("a brace of `{text}` stands alone"));
            };
            let place = PLACES.iter().find(|(known, place)| *known == name && allowed.contains(place));
            let Some(&(_, place)) = place else {
                let names = PLACES.iter().filter(|(_, place)| allowed.contains(place));
                let names: Vec<String> = names.map(|(name, _)| format!("`{{{name}}}`")).collect();
                return Err(format!("`{{{name}}}` is none of {}", names.join(", ")));
            };
            parts.push(Part::Place(place));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    fn count(&self, places: &[Place]) -> usize {
        let is_one = |part: &&Part| matches!(part, Part::Place(place) if places.contains(place));
        self.0.iter().filter(is_one).count()
    }
}

/// What a header's value may be: visible ASCII, and spaces within.
fn check_header_text(text: &str) -> Result<(), String> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if visible && text.trim() == text { Ok(()) } else { Err("expected visible ASCII characters".to_owned()) }
}

/// The value of a header with one signature in it.
fn with_digest(text: &str) -> Result<Pattern, String> {
    check_header_text(text)?;
    let pattern = Pattern::parse(text, &[Place::Hex, Place::Base64, Place::Timestamp, Place::Id])?;
    match pattern.count(&[Place::Hex, Place::Base64]) {
        1 => Ok(pattern),
        _ => Err("expected exactly one of `{hex}` and `{base64}`".to_owned()),
    }
}

fn with_body(text: &str) -> Result<Pattern, String> {
    let pattern = Pattern::parse(text, &[Place::Body, Place::Timestamp, Place::Id])?;
    if pattern.count(&[Place::Body]) == 1 { Ok(pattern) } else { Err("expected `{body}` once".to_owned()) }
}

fn without_digest(text: &str) -> Result<Pattern, String> {
    check_header_text(text)?;
    Pattern::parse(text, &[Place::Type, Place::Id, Place::Delivery, Place::Attempt, Place::Timestamp])
}

fn read<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    check: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    check(&String::deserialize(deserializer)?).map_err(Error::custom)
}

fn value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Pattern>, D::Error> {
    read(deserializer, with_digest).map(Some)
}

fn former_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Pattern>, D::Error> {
    read(deserializer, with_digest).map(Some)
}

fn signed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Pattern>, D::Error> {
    read(deserializer, with_body).map(Some)
}

fn plain_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
    read(deserializer, without_digest)
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp<'_> = Stamp { id: "evt_1", timestamp: 1_492_774_577 };

    fn header(toml: &str) -> Result<SignatureHeader, String> {
        toml::from_str(&format!("name = 'X-A'\n{toml}")).map_err(|error| error.message().to_owned())
    }

    /// AFF-32, SOC-29, T-6: without more, 64 hexadecimal digits of the body, behind a prefix or not.
    #[test]
    fn the_plain_shapes_are_one_signature() {
        for (toml, prefix) in [("", ""), ("value = 'sha256={hex}'", "sha256=")] {
            let header = header(toml).unwrap();
            assert_eq!(header.value(STAMP, [[0xAB; 32]]), format!("{prefix}{}", "ab".repeat(32)));
            assert_eq!(header.around_body(STAMP), (String::new(), String::new()));
            assert!(!header.lists_keys());
        }
    }

    #[test]
    fn stamps_are_signed_and_shown_where_the_pattern_says() {
        let header = header(
            "value = 't={timestamp},v1={hex}'\nformer_key = ',v1={hex}'\nsigned = '{timestamp}.{body}!{id}'",
        )
        .unwrap();
        assert_eq!(header.around_body(STAMP), ("1492774577.".to_owned(), "!evt_1".to_owned()));
        let (a, b) = ("aa".repeat(32), "bb".repeat(32));
        assert_eq!(header.value(STAMP, [[0xAA; 32]]), format!("t=1492774577,v1={a}"));
        assert_eq!(header.value(STAMP, [[0xAA; 32], [0xBB; 32]]), format!("t=1492774577,v1={a},v1={b}"));
        assert!(header.lists_keys());
        assert_eq!(header.timestamp_in(&format!("t=1492774577,v1={a}")), Some(1_492_774_577));
        assert_eq!(header.timestamp_in("v1=t"), None);
    }

    #[test]
    fn patterns_that_make_no_sense_are_refused_with_the_reason() {
        for (toml, message) in [
            ("value = 'x'", "exactly one of `{hex}` and `{base64}`"),
            ("value = '{hex}{base64}'", "exactly one of `{hex}` and `{base64}`"),
            ("value = '{hex'", "stands alone"),
            ("value = 'a}{hex}'", "stands alone"),
            ("value = '{body}{hex}'", "`{body}` is none of `{hex}`, `{base64}`, `{timestamp}`, `{id}`"),
            ("value = ' {hex}'", "visible ASCII"),
            ("value = \"{hex}\\r\\nX-B: 1\"", "visible ASCII"),
            ("value = ''", "1 to 256 bytes"),
            ("signed = '{timestamp}'", "`{body}` once"),
            ("signed = '{body}{body}'", "`{body}` once"),
            ("signed = '{hex}.{body}'", "`{hex}` is none of"),
            ("former_key = ','", "exactly one of"),
            ("shape = 'x'", "unknown field `shape`"),
        ] {
            let error = header(toml).unwrap_err();
            assert!(error.contains(message), "{toml}: {error}");
        }
    }

    #[test]
    fn other_headers_tell_of_the_attempt() {
        let value = |value: &str| {
            let header: ProfileHeader = toml::from_str(&format!("name = 'X-A'\nvalue = '{value}'")).unwrap();
            let about = About { stamp: STAMP, event_type: "push", delivery: "exec_1", attempt: 2 };
            let mut out = String::new();
            header.write_value(about, &mut out);
            out
        };
        assert_eq!(value("{type}"), "push");
        assert_eq!(value("{delivery}/{attempt} at {timestamp}"), "exec_1/2 at 1492774577");
        assert_eq!(value("GitHub-Hookshot/1"), "GitHub-Hookshot/1");
        let digest: Result<ProfileHeader, _> = toml::from_str("name = 'X-A'\nvalue = '{hex}'");
        assert!(digest.is_err());
    }
}
