//! Reads typed fields out of a JSON tree and collects every mistake with its JSON pointer.
//!
//! A reader that finds a mistake reports it and yields `None`; the caller reads on, so that one answer names all
//! fields that are wrong. Whatever a closure did not ask for is an unknown field. [`Report::conclude`] turns the
//! outcome into a result.
//!
//! ```text
//! Value::root(&tree, &report).object(|step| {
//!     let name = step.require("name").and_then(|v| v.text(1..=200));
//!     let order = step.require("order").and_then(|v| v.integer(1..=1_000));
//!     Some(Step { name: name?, order: order? })
//! })
//! ```

use super::error::{ApiError, ApiResult, FieldError};
use ledgerhook_actors::json::{Json, Member};
use std::{cell::RefCell, fmt::Display, ops::RangeInclusive};

/// All mistakes of one body.
#[derive(Debug, Default)]
pub(crate) struct Report(RefCell<Vec<FieldError>>);

/// More than these are not told: nobody reads them, and a body of a megabyte holds many.
const MISTAKES_MAX: usize = 100;

impl Report {
    /// Adds one.
    pub(crate) fn add(&self, pointer: impl Into<String>, code: &'static str, message: impl Into<String>) {
        let mut errors = self.0.borrow_mut();
        if errors.len() < MISTAKES_MAX {
            errors.push(FieldError { pointer: pointer.into(), code, message: message.into() });
        }
    }

    /// The value, if no mistake was reported.
    pub(crate) fn conclude<T>(self, value: Option<T>) -> ApiResult<T> {
        let errors = self.0.into_inner();
        match value {
            Some(value) if errors.is_empty() => Ok(value),
            None if errors.is_empty() => Err(ApiError::internal(&"a reader gave up without a reason")),
            _ => Err(ApiError::invalid(errors)),
        }
    }
}

/// One value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Value<'j> {
    json: &'j Json<'j>,
    pointer: String,
    report: &'j Report,
}

impl<'j> Value<'j> {
    /// The whole body.
    pub(crate) fn root(json: &'j Json<'j>, report: &'j Report) -> Self {
        Self { json, pointer: String::new(), report }
    }

    /// The tree itself.
    pub(crate) fn json(&self) -> &'j Json<'j> {
        self.json
    }

    /// JSON pointer of the place.
    pub(crate) fn pointer(&self) -> &str {
        &self.pointer
    }

    /// Where mistakes go that concern more than this value.
    pub(crate) fn report(&self) -> &'j Report {
        self.report
    }

    /// Whether it is `null`.
    pub(crate) fn is_null(&self) -> bool {
        self.json.is_null()
    }

    /// Reports a mistake here.
    pub(crate) fn wrong<T>(&self, code: &'static str, message: impl Into<String>) -> Option<T> {
        self.report.add(self.pointer.clone(), code, message);
        None
    }

    fn wrong_type<T>(&self, wanted: &str) -> Option<T> {
        let given = match self.json {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        };
        self.wrong("wrong_type", format!("is to be {wanted}, not {given}"))
    }

    /// A string, of any length and content.
    pub(crate) fn string(&self) -> Option<&'j str> {
        self.json.as_str().or_else(|| self.wrong_type("a string"))
    }

    /// Text for people: so many bytes, something visible, nothing that hides or reorders what is shown (ADM.12).
    pub(crate) fn text(&self, bytes: RangeInclusive<usize>) -> Option<&'j str> {
        let text = self.string()?;
        if !bytes.contains(&text.len()) {
            let (least, most) = bytes.into_inner();
            return self
                .wrong("length", format!("is to have {least} to {most} bytes, and has {}", text.len()));
        }
        if let Some(hidden) = text.chars().find(|&c| is_hidden(c)) {
            let code = u32::from(hidden);
            return self.wrong("control_character", format!("holds U+{code:04X}, which cannot be seen"));
        }
        if !text.is_empty() && text.chars().all(char::is_whitespace) {
            return self.wrong("blank", "is only whitespace");
        }
        Some(text)
    }

    /// An integer, written as one.
    pub(crate) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let Some(number) = self.json.as_number() else { return self.wrong_type("an integer") };
        let value = number.as_u64().filter(|value| range.contains(value));
        value.or_else(|| {
            let (least, most) = range.into_inner();
            self.wrong("out_of_range", format!("is to be an integer from {least} to {most}"))
        })
    }

    /// Any number in the range.
    pub(crate) fn number(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let Some(number) = self.json.as_number() else { return self.wrong_type("a number") };
        let value = number.as_f64();
        if range.contains(&value) {
            return Some(value);
        }
        let (least, most) = range.into_inner();
        self.wrong("out_of_range", format!("is to be a number from {least} to {most}"))
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self) -> Option<bool> {
        if let Json::Bool(value) = self.json { Some(*value) } else { self.wrong_type("true or false") }
    }

    /// One of a few words, spelt exactly so.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.string()?;
        choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).or_else(|| {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
            self.wrong("unknown_value", format!("is to be one of {}", names.join(", ")))
        })
    }

    /// The elements of an array.
    pub(crate) fn array(&self, length: RangeInclusive<usize>) -> Option<Vec<Value<'j>>> {
        let Json::Array(elements) = self.json else { return self.wrong_type("an array") };
        if !length.contains(&elements.len()) {
            let (least, most) = length.into_inner();
            return self.wrong(
                "length",
                format!("is to have {least} to {most} entries, and has {}", elements.len()),
            );
        }
        Some(elements.iter().enumerate().map(|(index, json)| self.child(&index, json)).collect())
    }

    /// The members of an object whose keys are free, a header map say.
    pub(crate) fn entries(&self) -> Option<Vec<(&'j str, Value<'j>)>> {
        let Json::Object(members) = self.json else { return self.wrong_type("an object") };
        Some(members.iter().map(|(key, json)| (&**key, self.child(key, json))).collect())
    }

    /// An object of known fields. What `read` did not ask for is reported as unknown.
    pub(crate) fn object<T>(&self, read: impl FnOnce(&mut Object<'j>) -> Option<T>) -> Option<T> {
        let Json::Object(members) = self.json else { return self.wrong_type("an object") };
        let asked = vec![false; members.len()];
        let mut object = Object { members, asked, taken: Vec::new(), known: Vec::new(), at: self.clone() };
        let value = read(&mut object);
        let unknown = members.iter().zip(&object.asked).filter(|(_, asked)| !**asked);
        for ((key, _), _) in unknown.take(MISTAKES_MAX) {
            let shown: String = key.chars().take(64).collect();
            self.child_pointer_of(&shown, |pointer| {
                self.report.add(pointer, "unknown_field", object.told_unknown());
            });
        }
        value
    }

    fn child_pointer_of(&self, key: &str, then: impl FnOnce(String)) {
        then(format!("{}/{}", self.pointer, key.replace('~', "~0").replace('/', "~1")));
    }

    fn child(&self, segment: &impl Display, json: &'j Json<'j>) -> Value<'j> {
        let segment = segment.to_string();
        let shown: String = segment.chars().take(64).collect();
        let escaped = shown.replace('~', "~0").replace('/', "~1");
        Value { json, pointer: format!("{}/{escaped}", self.pointer), report: self.report }
    }
}

/// An object whose fields are being read.
pub(crate) struct Object<'j> {
    members: &'j [Member<'j>],
    asked: Vec<bool>,
    /// Members that count as absent by now.
    taken: Vec<usize>,
    /// Names of fields that may be given.
    known: Vec<String>,
    at: Value<'j>,
}

impl<'j> Object<'j> {
    /// A field, `null` included; `None` if it is absent.
    pub(crate) fn get(&mut self, key: &str) -> Option<Value<'j>> {
        self.known.push(key.to_owned());
        self.unlisted(key)
    }

    /// The same of a field that nobody needs to know of, since it changes nothing or is refused by name.
    pub(crate) fn unlisted(&mut self, key: &str) -> Option<Value<'j>> {
        let index = self.members.iter().position(|(name, _)| name == key)?;
        if self.taken.contains(&index) {
            return None;
        }
        self.asked[index] = true;
        Some(self.at.child(&key, &self.members[index].1))
    }

    /// Takes a field out if it is `null`, which is how a merge patch does it: from now on it counts as absent.
    pub(crate) fn take_null(&mut self, key: &str) -> bool {
        let is_null = self.unlisted(key).is_some_and(|value| value.is_null());
        let index = self.members.iter().position(|(name, _)| name == key).filter(|_| is_null);
        self.taken.extend(index);
        index.is_some()
    }

    /// A field that may be absent or `null`.
    pub(crate) fn optional(&mut self, key: &str) -> Option<Value<'j>> {
        self.get(key).filter(|value| !value.is_null())
    }

    /// A field that must be there; `null` is left to the type to refuse.
    pub(crate) fn require(&mut self, key: &str) -> Option<Value<'j>> {
        let value = self.get(key);
        if value.is_none() {
            self.at.child_pointer_of(key, |pointer| self.at.report.add(pointer, "required", "is required"));
        }
        value
    }

    /// A field of a merge (T-33): absent keeps what is, `null` clears it, anything else is read. `None` only if it
    /// is wrong.
    pub(crate) fn merge<T>(
        &mut self,
        key: &str,
        kept: T,
        cleared: T,
        read: impl FnOnce(&Value<'j>) -> Option<T>,
    ) -> Option<T> {
        match self.get(key) {
            None => Some(kept),
            Some(value) if value.is_null() => Some(cleared),
            Some(value) => read(&value),
        }
    }

    /// A field of a merge that has no empty form: absent keeps what is, or is a mistake if nothing is yet.
    pub(crate) fn needed<T>(
        &mut self,
        key: &str,
        kept: Option<T>,
        read: impl FnOnce(&Value<'j>) -> Option<T>,
    ) -> Option<T> {
        match kept {
            Some(kept) => self.get(key).map_or(Some(kept), |value| read(&value)),
            None => read(&self.require(key)?),
        }
    }

    /// Takes fields of answers that a caller sends back as they came: they change nothing.
    pub(crate) fn ignore(&mut self, keys: &[&str]) {
        for key in keys {
            let _ = self.unlisted(key);
        }
    }

    fn told_unknown(&self) -> String {
        let known: Vec<String> = self.known.iter().map(|name| format!("`{name}`")).collect();
        match &known[..] {
            [] => "is unknown: this object has no fields".to_owned(),
            known => format!("is unknown: this object has {}", known.join(", ")),
        }
    }

    /// The object as a value.
    pub(crate) fn value(&self) -> &Value<'j> {
        &self.at
    }
}

/// Controls, and what is invisible or turns the direction of text: nobody could see what is stored.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledgerhook_actors::json::{Limits, parse};

    fn mistakes(text: &str, read: impl FnOnce(&Value<'_>)) -> Vec<(String, &'static str)> {
        let tree = parse(text.as_bytes(), Limits::ADMIN).unwrap();
        let report = Report::default();
        read(&Value::root(&tree, &report));
        report.0.into_inner().into_iter().map(|error| (error.pointer, error.code)).collect()
    }

    /// ADM.4
    #[test]
    fn all_mistakes_are_told_with_their_place() {
        let found = mistakes(r#"{"steps":[{"order":"1","x/y":2}],"extra":null}"#, |root| {
            root.object(|body| {
                body.require("name");
                let steps = body.require("steps").and_then(|v| v.array(1..=20))?;
                steps[0].object(|step| step.require("order").and_then(|v| v.integer(1..=20)))
            });
        });
        let expected = [
            ("/name", "required"),
            ("/steps/0/order", "wrong_type"),
            ("/steps/0/x~1y", "unknown_field"),
            ("/extra", "unknown_field"),
        ];
        assert_eq!(found, expected.map(|(pointer, code)| (pointer.to_owned(), code)));
    }

    /// ADM.5, ADM.8
    #[test]
    fn integers_are_neither_rounded_nor_wrapped() {
        for text in [
            "0",
            "-1",
            "1.5",
            "\"8\"",
            "2147483648",
            "4294967296",
            "9007199254740993",
            "18446744073709551615",
            "1e400",
            "8.0",
            "1e1",
            "null",
            "51",
        ] {
            assert_eq!(mistakes(text, |v| _ = v.integer(1..=50)).len(), 1, "{text}");
        }
        assert!(mistakes("50", |v| assert_eq!(v.integer(1..=50), Some(50))).is_empty());
    }

    /// ADM.7
    #[test]
    fn numbers_stay_in_their_range() {
        for text in ["-0.1", "1.0000001", "1e308", "1e400", "\"0.2\"", "null"] {
            assert_eq!(mistakes(text, |v| _ = v.number(0.0..=1.0)).len(), 1, "{text}");
        }
        for text in ["0", "1", "0.2", "1.0"] {
            assert!(mistakes(text, |v| _ = v.number(0.0..=1.0)).is_empty(), "{text}");
        }
    }

    /// ADM.12
    #[test]
    fn text_that_hides_something_is_refused_and_the_rest_is_kept() {
        for text in
            ["", "   ", "a\u{0}b", "a\u{202e}b", "a\u{200b}b", "a\u{e000}b", "a\u{feff}", "a\nb", "a\u{7f}"]
        {
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(mistakes(&json, |v| _ = v.text(1..=200)).len(), 1, "{text:?}");
        }
        let long = serde_json::to_string(&"x".repeat(201)).unwrap();
        assert_eq!(mistakes(&long, |v| _ = v.text(1..=200))[0].1, "length");
        for text in ["Zoë's 訂單 🚀", " kept as it is ", "O\u{c3}\u{153}"] {
            let json = serde_json::to_string(text).unwrap();
            assert!(mistakes(&json, |v| assert_eq!(v.text(1..=200), Some(text))).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn mistakes_are_bounded() {
        let many: Vec<String> = (0..500).map(|n| format!("\"k{n}\":1")).collect();
        let text = format!("{{{}}}", many.join(","));
        assert_eq!(mistakes(&text, |v| _ = v.object(|_| Some(()))).len(), MISTAKES_MAX);
    }
}
