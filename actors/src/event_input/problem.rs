//! What is wrong with a posted event, in the words of the API's errors.

use super::ID_MAX;
use crate::{
    json::{JsonError, JsonErrorKind},
    profile::Profile,
};
use serde::Serialize;
use std::fmt;

/// Why an event is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// 400: the bytes are not JSON, or name a key of the event twice.
    #[error(transparent)]
    NotJson(#[from] JsonError),
    /// 400: JSON, and no object.
    #[error("an event is a JSON object")]
    NotAnObject,
    /// 413.
    #[error("the event has {bytes} bytes, over the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    /// 422: an object, and no event.
    #[error("the event is not valid: {}", list(.0))]
    Invalid(Vec<Problem>),
}

impl InputError {
    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::NotJson(_) | Self::NotAnObject => 400,
            Self::TooLarge { .. } => 413,
            Self::Invalid(_) => 422,
        }
    }

    /// Everything that is wrong, in the order of the text.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let one =
            |code, pointer: &str| Problem { pointer: pointer.to_owned(), code, message: self.to_string() };
        match self {
            Self::NotJson(error) => vec![one(json_code(&error.kind), &error.pointer)],
            Self::NotAnObject => vec![one("wrong_type", "")],
            Self::TooLarge { .. } => vec![one("too_large", "")],
            Self::Invalid(problems) => problems.clone(),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// JSON pointer (RFC 6901) of the field within the event.
    pub pointer: String,
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// What the producer should know of an event that is accepted all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// JavaScript cannot hold a number in it, so receivers that serialise again compute another signature (T-4).
    NumberBeyondJavaScript,
    /// Larger than what body parsers of receivers take by default (T-9).
    LargeBody { bytes: usize },
}

impl Warning {
    /// For programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NumberBeyondJavaScript => "number_beyond_javascript",
            Self::LargeBody { .. } => "large_body",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NumberBeyondJavaScript => {
                f.write_str("a number is beyond what JavaScript can hold; its digits are sent as they are")
            }
            Self::LargeBody { bytes } => {
                write!(f, "the event has {bytes} bytes; many receivers take no more than 100 kB")
            }
        }
    }
}

impl Problem {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { pointer: String::new(), code, message: message.into() }
    }

    /// The same problem, of this field.
    pub(super) fn at(self, field: &str) -> Self {
        let escaped = field.replace('~', "~0").replace('/', "~1");
        let pointer = format!("/{}", escaped.chars().take(ID_MAX).collect::<String>());
        Self { pointer, ..self }
    }

    pub(super) fn unknown_field() -> Self {
        Self::new("unknown_field", "an event has type, data, id, timestamp, resource and metadata")
    }

    pub(super) fn other_tenant() -> Self {
        Self::new(
            "tenant_mismatch",
            "names another `tenant_id` than the key's; leave it out, it is put there for you",
        )
    }

    pub(super) fn required() -> Self {
        Self::new("required", "is required")
    }

    pub(super) fn wrong_type(expected: &str) -> Self {
        Self::new("wrong_type", format!("must be {expected}"))
    }

    pub(super) fn unknown_type(name: &str, profile: &Profile) -> Self {
        if !profile.is_closed() {
            return Self::new("unknown_type", "must be words of letters, digits and `_`, joined by dots");
        }
        let known = profile.event_types().map(|kind| kind.name.as_str()).collect::<Vec<_>>().join(", ");
        let shown = name.chars().take(ID_MAX).collect::<String>();
        let message = format!("`{}` is none of {known}", shown.escape_debug());
        Self::new("unknown_type", message)
    }

    pub(super) fn reserved_type(name: &str) -> Self {
        Self::new(
            "reserved_type",
            format!("`{name}` is an event that the engine makes itself; choose another type"),
        )
    }

    pub(super) fn id() -> Self {
        Self::new("pattern", format!("must be 1 to {ID_MAX} letters, digits, `_` and `-`"))
    }

    pub(super) fn length(min: usize, max: usize) -> Self {
        Self::new("length", format!("must have {min} to {max} bytes"))
    }

    pub(super) fn control_character() -> Self {
        Self::new("control_character", "must not hold control characters")
    }

    pub(super) fn date() -> Self {
        Self::new("date", "must be an instant such as 2024-01-15T10:30:45Z (RFC 3339)")
    }
}

fn json_code(kind: &JsonErrorKind) -> &'static str {
    match kind {
        JsonErrorKind::DuplicateKey { .. } => "duplicate_key",
        JsonErrorKind::Depth { .. } => "too_deep",
        JsonErrorKind::LoneSurrogate => "lone_surrogate",
        JsonErrorKind::InvalidUtf8 => "invalid_utf8",
        _ => "not_json",
    }
}

fn list(problems: &[Problem]) -> String {
    let one = |problem: &Problem| format!("{} {}", problem.pointer, problem.message);
    problems.iter().map(one).collect::<Vec<_>>().join("; ")
}
