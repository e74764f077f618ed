//! The four byte forms of a body (T-1): whichever language a receiver re-serialises in, its bytes are ours.
//!
//! | form | fixed point of |
//! |---|---|
//! | `js` | `JSON.stringify(JSON.parse(x))` |
//! | `python` | `json.dumps(json.loads(x))` |
//! | `php` | `json_encode(json_decode(x, true))` |
//! | `raw` | nothing: a tree in the source's digits and order, without spaces |
//!
//! Where a language cannot keep a value, the value stays and [`Fidelity`] tells. `tests/body_forms.rs` holds
//! this file against the real Node, Python and PHP.

use super::{
    Json, index,
    number::{Number, Spelling},
};
use crate::scan::Stops;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;

/// How a JSON body is spelled on the wire: `body_format` of the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyForm {
    /// As JavaScript writes it: compact, ECMAScript numbers. Satisfies every contract as written but APX's
    /// Python and PHP samples.
    #[default]
    Js,
    /// As Python writes it: `, ` and `: `, ASCII only.
    Python,
    /// As PHP writes it: compact, ASCII only, `\/`.
    Php,
    /// As it came in.
    Raw,
}

/// What a language's own reading of the bytes would change. `default()` is "nothing".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fidelity {
    /// A number is beyond what the language holds. Its digits were kept, so a receiver that re-serialises
    /// gets other bytes than were signed (`js_stable=false`, T-4).
    pub number_kept: bool,
    /// PHP reads an object that is empty or has the keys `0`, `1`, … as a list, and it is written as one.
    pub object_as_list: bool,
}

impl Fidelity {
    /// Whether the bytes are a fixed point of their language.
    #[must_use]
    pub fn is_stable(self) -> bool {
        !self.number_kept
    }

    pub(super) fn join(&mut self, other: Self) {
        self.number_kept |= other.number_kept;
        self.object_as_list |= other.object_as_list;
    }
}

/// Appends `json` to `out` in `form`.
pub fn write(json: &Json<'_>, form: BodyForm, out: &mut Vec<u8>) -> Fidelity {
    let mut writer = Writer::new(form, out);
    writer.value(json);
    writer.fidelity()
}

/// Appends `text` as a JSON string.
pub(super) fn write_string(text: &str, form: BodyForm, out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text;
    loop {
        let (plain, other) = rest.split_at(form.plain_run(rest.as_bytes()));
        out.extend_from_slice(plain.as_bytes());
        if other.is_empty() {
            break;
        }
        rest = &other[escape(other, out)..];
    }
    out.push(b'"');
}

/// Writes values in one form: trees of [`Json`], and whatever else is an array or object of parts.
pub(crate) struct Writer<'o> {
    form: BodyForm,
    out: &'o mut Vec<u8>,
    fidelity: Fidelity,
}

impl<'o> Writer<'o> {
    /// Appends to `out`.
    pub(crate) fn new(form: BodyForm, out: &'o mut Vec<u8>) -> Self {
        Self { form, out, fidelity: Fidelity::default() }
    }

    /// What was not kept so far.
    pub(crate) fn fidelity(&self) -> Fidelity {
        self.fidelity
    }

    /// Length of the whole output.
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    /// A finished value. Recursive; the depth of a tree is bounded where it is parsed.
    pub(crate) fn value(&mut self, json: &Json<'_>) {
        let each = |writer: &mut Self, value: &Json<'_>| -> Result<(), Infallible> {
            writer.value(value);
            Ok(())
        };
        match json {
            Json::Null => self.out.extend_from_slice(b"null"),
            Json::Bool(true) => self.out.extend_from_slice(b"true"),
            Json::Bool(false) => self.out.extend_from_slice(b"false"),
            Json::Number(number) => self.number(number),
            Json::String(text) => self.string(text),
            Json::Array(elements) => {
                let Ok(()) = self.array(elements.iter(), each);
            }
            Json::Object(members) => {
                let Ok(()) = self.object(members, each);
            }
        }
    }

    pub(crate) fn string(&mut self, text: &str) {
        write_string(text, self.form, self.out);
    }

    fn number(&mut self, number: &Number<'_>) {
        let Spelling { text, stable } = match self.form {
            BodyForm::Js => number.js(),
            BodyForm::Python => number.python(),
            BodyForm::Php => number.php(),
            BodyForm::Raw => number.raw(),
        };
        self.out.extend_from_slice(text.as_bytes());
        self.fidelity.number_kept |= !stable;
    }

    /// An array whose elements `each` writes.
    pub(crate) fn array<'t, T: 't, E>(
        &mut self,
        elements: impl Iterator<Item = &'t T>,
        each: impl Fn(&mut Self, &T) -> Result<(), E>,
    ) -> Result<(), E> {
        self.out.push(b'[');
        for (place, element) in elements.enumerate() {
            self.separate(place);
            each(self, element)?;
        }
        self.out.push(b']');
        Ok(())
    }

    /// An object whose values `each` writes, in the order of the form's language; as a list, if PHP reads it
    /// as one.
    pub(crate) fn object<K: AsRef<str>, T, E>(
        &mut self,
        members: &[(K, T)],
        each: impl Fn(&mut Self, &T) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.form {
            BodyForm::Php if is_list(members) => {
                self.fidelity.object_as_list = true;
                self.array(members.iter().map(|(_, value)| value), each)
            }
            BodyForm::Js if members.iter().any(|(key, _)| array_index(key.as_ref()).is_some()) => {
                let mut hoisted: Vec<_> = members.iter().collect();
                // Stable: the other keys keep their order behind the indices.
                hoisted.sort_by_key(|(key, _)| array_index(key.as_ref()).unwrap_or(u32::MAX));
                self.members(hoisted.into_iter(), each)
            }
            _ => self.members(members.iter(), each),
        }
    }

    fn members<'t, K: AsRef<str> + 't, T: 't, E>(
        &mut self,
        members: impl Iterator<Item = &'t (K, T)>,
        each: impl Fn(&mut Self, &T) -> Result<(), E>,
    ) -> Result<(), E> {
        self.out.push(b'{');
        for (place, (key, value)) in members.enumerate() {
            self.separate(place);
            self.string(key.as_ref());
            self.out.extend_from_slice(self.form.colon());
            each(self, value)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn separate(&mut self, place: usize) {
        if place > 0 {
            self.out.extend_from_slice(self.form.comma());
        }
    }
}

impl BodyForm {
    pub(super) fn comma(self) -> &'static [u8] {
        if self == Self::Python { b", " } else { b"," }
    }

    pub(super) fn colon(self) -> &'static [u8] {
        if self == Self::Python { b": " } else { b":" }
    }

    /// How many bytes of a text stand for themselves before one is escaped: control characters are, `"` and `\\`, and
    /// what each language adds. A run ends in front of a character, never within one.
    fn plain_run(self, bytes: &[u8]) -> usize {
        match self {
            Self::Js | Self::Raw => Stops { others: *b"\"\\", beyond_ascii: false }.run(bytes),
            Self::Python => Stops { others: *b"\"\\\x7F", beyond_ascii: true }.run(bytes),
            Self::Php => Stops { others: *b"\"\\/", beyond_ascii: true }.run(bytes),
        }
    }
}

/// Escapes the first character of `text`, and tells how many bytes it took there.
fn escape(text: &str, out: &mut Vec<u8>) -> usize {
    let Some(character) = text.chars().next() else { return 0 };
    let short = match character {
        '"' | '\\' | '/' => character,
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{c}' => 'f',
        '\r' => 'r',
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let digit = |shift: u16| b"0123456789abcdef"[usize::from(*unit >> shift & 0xF)];
                out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
            }
            return character.len_utf8();
        }
    };
    out.push(b'\\');
    out.extend_from_slice(short.encode_utf8(&mut [0; 4]).as_bytes());
    1
}

/// ECMA-262 §6.1.7: a canonical numeric string below 2^32 - 1. JavaScript lists such keys first, ascending.
fn array_index(key: &str) -> Option<u32> {
    let first = key.as_bytes().first()?;
    if !first.is_ascii_digit() || (*first == b'0' && key.len() > 1) {
        return None;
    }
    key.parse().ok().filter(|&index| index < u32::MAX)
}

/// Whether PHP holds the object as a list: the keys are 0, 1, 2 … in order, or there is none.
fn is_list<T>(members: &[(impl AsRef<str>, T)]) -> bool {
    members.iter().enumerate().all(|(place, (key, _))| index(key.as_ref()) == Some(place))
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, parse};
    use super::*;

    fn form(source: &str, form: BodyForm) -> (String, Fidelity) {
        let mut out = Vec::new();
        let fidelity = write(&parse(source.as_bytes(), Limits::EVENT).unwrap(), form, &mut out);
        (String::from_utf8(out).unwrap(), fidelity)
    }

    fn text(source: &str, of: BodyForm) -> String {
        form(source, of).0
    }

    /// T-1, T-2, T-3, AFF-23, APX-16
    #[test]
    fn one_event_in_four_forms() {
        let source = r#"{ "payout": 5.00, "url": "a/é", "b": [], "10": {"x": 1e-7}, "2": "\u007f" }"#;
        assert_eq!(
            text(source, BodyForm::Js),
            "{\"2\":\"\u{7f}\",\"10\":{\"x\":1e-7},\"payout\":5,\"url\":\"a/é\",\"b\":[]}"
        );
        assert_eq!(
            text(source, BodyForm::Python),
            r#"{"payout": 5.0, "url": "a/\u00e9", "b": [], "10": {"x": 1e-07}, "2": "\u007f"}"#
        );
        assert_eq!(
            text(source, BodyForm::Php),
            "{\"payout\":5,\"url\":\"a\\/\\u00e9\",\"b\":[],\"10\":{\"x\":1.0e-7},\"2\":\"\u{7f}\"}"
        );
        assert_eq!(
            text(source, BodyForm::Raw),
            "{\"payout\":5.00,\"url\":\"a/é\",\"b\":[],\"10\":{\"x\":1e-7},\"2\":\"\u{7f}\"}"
        );
    }

    #[test]
    fn strings_are_escaped_as_each_language_does() {
        let source = r#""\"\\\/\b\f\n\r\t\u0001\u001F\u2028😀""#;
        assert_eq!(text(source, BodyForm::Js), "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\u{2028}😀\"");
        assert_eq!(text(source, BodyForm::Python), r#""\"\\/\b\f\n\r\t\u0001\u001f\u2028\ud83d\ude00""#);
        assert_eq!(text(source, BodyForm::Php), r#""\"\\\/\b\f\n\r\t\u0001\u001f\u2028\ud83d\ude00""#);
    }

    /// T-3
    #[test]
    fn javascript_lists_array_indices_first() {
        let source = r#"{"b":1,"4294967295":2,"4294967294":3,"01":4,"-1":5,"10":6,"2":7,"0":8,"1.5":9}"#;
        let sorted = r#"{"0":8,"2":7,"10":6,"4294967294":3,"b":1,"4294967295":2,"01":4,"-1":5,"1.5":9}"#;
        assert_eq!(text(source, BodyForm::Js), sorted);
        assert_eq!(text(source, BodyForm::Raw), source);
    }

    /// T-4: PHP has no empty object and no object with a list's keys.
    #[test]
    fn php_turns_some_objects_into_lists_and_says_so() {
        let list = Fidelity { object_as_list: true, ..Fidelity::default() };
        assert_eq!(form("{}", BodyForm::Php), ("[]".into(), list));
        assert_eq!(form(r#"{"0":1,"1":{"a":{}}}"#, BodyForm::Php), (r#"[1,{"a":[]}]"#.into(), list));
        assert!(list.is_stable());
        for other in [r#"{"1":1,"0":2}"#, r#"{"0":1,"x":2}"#, r#"{"1":1}"#, r#"{"00":1}"#, r#"{"+0":1}"#] {
            assert_eq!(form(other, BodyForm::Php), (other.into(), Fidelity::default()));
        }
        assert_eq!(form("{}", BodyForm::Js), ("{}".into(), Fidelity::default()));
    }

    /// T-4
    #[test]
    fn digits_that_a_language_would_change_stay() {
        let kept = Fidelity { number_kept: true, ..Fidelity::default() };
        let source = r#"{"id":12345678901234567890}"#;
        assert_eq!(form(source, BodyForm::Js), (source.into(), kept));
        assert_eq!(form(source, BodyForm::Php), (source.into(), kept));
        assert_eq!(form(source, BodyForm::Python).1, Fidelity::default());
        assert!(!kept.is_stable());
    }

    #[test]
    fn forms_are_named_as_the_api_names_them() {
        let names = serde_json::to_string(&[BodyForm::Js, BodyForm::Python, BodyForm::Php, BodyForm::Raw]);
        assert_eq!(names.unwrap(), r#"["js","python","php","raw"]"#);
    }
}
