//! JSON as receivers see it: a tree that forgets nothing, a strict parser, and the byte forms of three languages.
//!
//! Receivers check signatures over bytes that *their* language wrote again after parsing (T-1). So this tree
//! keeps what general JSON libraries drop: the order of members (T-3) and the digits of every number (T-2, T-4).
//!
//! ```text
//! bytes ──parse──> Json ──write──> bytes that JSON.stringify, json.dumps or json_encode would not change
//! ```
//!
//! It leaves typed input to `serde_json` and knows nothing of events or templates.

mod error;
mod form;
mod number;
mod object;
mod parse;

pub(crate) use error::pointer_segment;
pub use error::{JsonError, JsonErrorKind};
pub(crate) use form::Writer;
pub use form::{BodyForm, Fidelity, write};
pub use number::Number;
pub use object::ObjectWriter;
pub use parse::{Duplicates, Limits, parse};

use std::borrow::Cow;

/// One JSON value. Text is borrowed from the input wherever it holds no escapes.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Json<'a> {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as its digits were written.
    Number(Number<'a>),
    /// A string, escapes resolved.
    String(Cow<'a, str>),
    /// Elements in order.
    Array(Vec<Json<'a>>),
    /// Members in the order in which they came; the parser lets no key stand twice.
    Object(Vec<Member<'a>>),
}

/// One key of an object and its value.
pub type Member<'a> = (Cow<'a, str>, Json<'a>);

impl<'a> Json<'a> {
    /// An object of these members, in this order.
    pub fn object<K: Into<Cow<'a, str>>>(members: impl IntoIterator<Item = (K, Json<'a>)>) -> Self {
        Self::Object(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// The value behind a path of keys; array elements go by their index (`"0"`, `"1"`, …).
    #[must_use]
    pub fn get(&self, path: &[impl AsRef<str>]) -> Option<&Self> {
        path.iter().try_fold(self, |value, segment| value.member(segment.as_ref()))
    }

    /// The value directly under `key`, or the element at that index.
    #[must_use]
    pub fn member(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            Self::Array(elements) => elements.get(index(key)?),
            _ => None,
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The number.
    #[must_use]
    pub fn as_number(&self) -> Option<&Number<'a>> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether JavaScript reads and writes every number in it without changing a value (T-4).
    #[must_use]
    pub fn is_js_stable(&self) -> bool {
        match self {
            Self::Number(number) => number.is_js_stable(),
            Self::Array(elements) => elements.iter().all(Self::is_js_stable),
            Self::Object(members) => members.iter().all(|(_, value)| value.is_js_stable()),
            Self::Null | Self::Bool(_) | Self::String(_) => true,
        }
    }

    /// The same tree, free of the input that it was parsed from.
    #[must_use]
    pub fn into_owned(self) -> Json<'static> {
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(value),
            Self::Number(number) => Json::Number(number.into_owned()),
            Self::String(text) => Json::String(Cow::Owned(text.into_owned())),
            Self::Array(elements) => Json::Array(elements.into_iter().map(Json::into_owned).collect()),
            Self::Object(members) => Json::Object(
                members
                    .into_iter()
                    .map(|(key, value)| (Cow::Owned(key.into_owned()), value.into_owned()))
                    .collect(),
            ),
        }
    }

    /// The bytes of this tree in one form; see [`write()`].
    #[must_use]
    pub fn to_bytes(&self, form: BodyForm) -> Vec<u8> {
        let mut out = Vec::new();
        write(self, form, &mut out);
        out
    }
}

impl<'a> From<&'a str> for Json<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Cow::Borrowed(text))
    }
}

impl From<String> for Json<'_> {
    fn from(text: String) -> Self {
        Self::String(Cow::Owned(text))
    }
}

impl From<bool> for Json<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Json<'_> {
    fn from(value: u64) -> Self {
        Self::Number(Number::from(value))
    }
}

impl From<i64> for Json<'_> {
    fn from(value: i64) -> Self {
        Self::Number(Number::from(value))
    }
}

/// An array index as JSON pointers write it: no sign, no leading zero.
fn index(key: &str) -> Option<usize> {
    let canonical = key == "0" || (!key.starts_with('0') && key.bytes().all(|byte| byte.is_ascii_digit()));
    canonical.then(|| key.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_through_objects_and_arrays() {
        let json = parse(br#"{"data":{"items":[{"id":7}],"0":"zero"}}"#, Limits::EVENT).unwrap();
        assert_eq!(json.get(&["data", "items", "0", "id"]), Some(&Json::from(7_u64)));
        assert_eq!(json.get(&["data", "0"]).and_then(Json::as_str), Some("zero"));
        assert_eq!(json.get(&["data", "items", "00"]), None);
        assert_eq!(json.get(&["data", "items", "-1"]), None);
        assert_eq!(json.get(&["data", "missing", "id"]), None);
        assert_eq!(json.get(&[""; 0]), Some(&json));
    }

    #[test]
    fn an_owned_tree_is_the_same_tree() {
        let json = parse(br#"{"a":[null,true,1.50,"x\n"],"b":{}}"#, Limits::EVENT).unwrap();
        assert_eq!(json.clone().into_owned(), json);
    }
}
