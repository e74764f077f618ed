//! Strict RFC 8259: no comments, no trailing commas, no byte order mark, no second reading of a key.
//!
//! Recursive, and bounded by [`Limits::depth`], whose type keeps it far below what a stack can hold.

use super::{
    Json, Member,
    error::{Fault, JsonError, JsonErrorKind},
    number::Number,
};
use crate::scan::Stops;
use std::{borrow::Cow, collections::HashMap};

/// What the parser accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How deeply objects and arrays may be nested; a scalar alone has depth 0.
    pub depth: u8,
    /// What a key that stands twice means.
    pub duplicates: Duplicates,
}

/// What to do with an object that names a key twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    /// Refuse it: under no reading may the checked value differ from the used one (ADM.3).
    Reject,
    /// Refuse it in the outermost object, which is ours; within, keep the last value.
    RejectOuter,
    /// Keep the last value at the place of the first, as JavaScript, Python and PHP do (T-3).
    LastWins,
}

impl Limits {
    /// For input of the admin API.
    pub const ADMIN: Self = Self { depth: 128, duplicates: Duplicates::Reject };
    /// For an event as it is posted: strict about its own keys, not about its data.
    pub const POSTED: Self = Self { depth: 128, duplicates: Duplicates::RejectOuter };
    /// For data of events, which is never repaired nor refused for its style.
    pub const EVENT: Self = Self { depth: 128, duplicates: Duplicates::LastWins };
}

/// Reads one JSON text.
pub fn parse(input: &[u8], limits: Limits) -> Result<Json<'_>, JsonError> {
    let located = |fault: Fault| fault.locate(input);
    let text = std::str::from_utf8(input)
        .map_err(|error| located(Fault::new(JsonErrorKind::InvalidUtf8, error.valid_up_to())))?;
    Parser { text, at: 0, limits }.document().map_err(located)
}

type Parsed<T> = Result<T, Fault>;

/// A cursor over the text. `at` always stands on a character boundary: it moves over whole tokens.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    limits: Limits,
}

impl<'a> Parser<'a> {
    fn document(mut self) -> Parsed<Json<'a>> {
        self.skip_space();
        let value = self.value(0)?;
        self.skip_space();
        if self.at < self.text.len() { Err(self.fault(JsonErrorKind::Trailing)) } else { Ok(value) }
    }

    fn value(&mut self, depth: u8) -> Parsed<Json<'a>> {
        match self.peek() {
            Some(b'"') => self.string().map(Json::String),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'-' | b'0'..=b'9') => self.number().map(Json::Number),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(b'+' | b'.' | b'N' | b'I') => Err(self.fault(JsonErrorKind::Number)),
            _ => Err(self.expected("a value")),
        }
    }

    fn array(&mut self, depth: u8) -> Parsed<Json<'a>> {
        self.descend(depth)?;
        let mut elements = Vec::new();
        if self.skip_if(b']') {
            return Ok(Json::Array(elements));
        }
        loop {
            self.skip_space();
            match self.value(depth + 1) {
                Ok(element) => elements.push(element),
                Err(fault) => return Err(fault.within(elements.len().to_string())),
            }
            if self.skip_if(b']') {
                return Ok(Json::Array(elements));
            }
            self.expect(b',', "`,` or `]`")?;
        }
    }

    fn object(&mut self, depth: u8) -> Parsed<Json<'a>> {
        self.descend(depth)?;
        let mut members: Vec<Member<'a>> = Vec::new();
        if self.skip_if(b'}') {
            return Ok(Json::Object(members));
        }
        members.reserve(8);
        let rejects = match self.limits.duplicates {
            Duplicates::Reject => true,
            Duplicates::RejectOuter => depth == 0,
            Duplicates::LastWins => false,
        };
        let mut key_offsets = Vec::with_capacity(if rejects { 8 } else { 0 });
        loop {
            self.skip_space();
            if rejects {
                key_offsets.push(self.at);
            }
            if self.peek() != Some(b'"') {
                return Err(self.expected("a key"));
            }
            let key = self.string()?;
            self.skip_space();
            self.expect(b':', "`:`")?;
            self.skip_space();
            match self.value(depth + 1) {
                Ok(value) => members.push((key, value)),
                Err(fault) => return Err(fault.within(key)),
            }
            if self.skip_if(b'}') {
                break;
            }
            self.expect(b',', "`,` or `}`")?;
        }
        match repeats(&members).as_slice() {
            [] => {}
            [(later, _), ..] if rejects => {
                let key = members[*later].0.to_string();
                let kind = JsonErrorKind::DuplicateKey { key: key.clone() };
                return Err(Fault::new(kind, key_offsets[*later]).within(key));
            }
            repeats => collapse(&mut members, repeats),
        }
        Ok(Json::Object(members))
    }

    fn string(&mut self) -> Parsed<Cow<'a, str>> {
        let start = self.at + 1;
        self.at = self.plain_end(start);
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                Ok(Cow::Borrowed(&self.text[start..self.at - 1]))
            }
            Some(b'\\') => self.escaped_string(start).map(Cow::Owned),
            Some(_) => Err(self.fault(JsonErrorKind::ControlCharacter)),
            None => Err(self.fault(JsonErrorKind::End)),
        }
    }

    /// A string whose plain part from `start` ends at an escape.
    fn escaped_string(&mut self, start: usize) -> Parsed<String> {
        let mut out = String::with_capacity((self.at - start) * 2 + 16);
        let mut plain = start;
        loop {
            out.push_str(&self.text[plain..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return Err(self.fault(JsonErrorKind::ControlCharacter)),
                None => return Err(self.fault(JsonErrorKind::End)),
            }
            plain = self.at;
            self.at = self.plain_end(plain);
        }
    }

    /// One escape, the cursor on its backslash.
    fn escape(&mut self) -> Parsed<char> {
        let start = self.at;
        self.at += 2;
        Ok(match self.text.as_bytes().get(start + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(start),
            Some(_) => return Err(Fault::new(JsonErrorKind::Escape, start)),
            None => return Err(Fault::new(JsonErrorKind::End, start + 1)),
        })
    }

    /// The digits of `\uXXXX`, and the second half if they are the first half of a pair.
    fn unicode_escape(&mut self, start: usize) -> Parsed<char> {
        let lone = || Fault::new(JsonErrorKind::LoneSurrogate, start);
        let high = self.hex4(start)?;
        if !(0xD800..0xE000).contains(&high) {
            return char::from_u32(high).ok_or_else(lone);
        }
        if high >= 0xDC00 || !self.text[self.at..].starts_with("\\u") {
            return Err(lone());
        }
        self.at += 2;
        let low = self.hex4(start)?;
        if !(0xDC00..0xE000).contains(&low) {
            return Err(lone());
        }
        char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00)).ok_or_else(lone)
    }

    fn hex4(&mut self, start: usize) -> Parsed<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).unwrap_or_default();
        if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(Fault::new(JsonErrorKind::Escape, start));
        }
        let digits = &self.text[self.at..self.at + 4];
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| Fault::new(JsonErrorKind::Escape, start))
    }

    fn number(&mut self) -> Parsed<Number<'a>> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let int = self.digits();
        let leading_zero = int > 1 && self.text.as_bytes()[self.at - int] == b'0';
        let mut sound = int > 0 && !leading_zero;
        if self.peek() == Some(b'.') {
            self.at += 1;
            sound &= self.digits() > 0;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            sound &= self.digits() > 0;
        }
        if sound {
            Ok(Number::from_source(&self.text[start..self.at]))
        } else {
            Err(Fault::new(JsonErrorKind::Number, start))
        }
    }

    /// Skips digits and tells how many.
    fn digits(&mut self) -> usize {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn word(&mut self, word: &'static str, value: Json<'a>) -> Parsed<Json<'a>> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.expected("a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    /// Steps into an object or array.
    fn descend(&mut self, depth: u8) -> Parsed<()> {
        if depth >= self.limits.depth {
            return Err(self.fault(JsonErrorKind::Depth { limit: self.limits.depth }));
        }
        self.at += 1;
        Ok(())
    }

    /// Where the run of characters that stand for themselves ends: a quote, a backslash, a control character
    /// or the end of the text.
    fn plain_end(&self, from: usize) -> usize {
        from + Stops { others: *b"\"\\", beyond_ascii: false }.run(&self.text.as_bytes()[from..])
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn skip_if(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Parsed<()> {
        if self.peek() != Some(byte) {
            return Err(self.expected(what));
        }
        self.at += 1;
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expected(&self, expected: &'static str) -> Fault {
        let at_end = self.at >= self.text.len();
        self.fault(if at_end { JsonErrorKind::End } else { JsonErrorKind::Syntax { expected } })
    }

    fn fault(&self, kind: JsonErrorKind) -> Fault {
        Fault::new(kind, self.at)
    }
}

/// Each member whose key stood before, with the place of the first, in order. Small objects are compared
/// pair by pair; large ones go through a map, so that no input costs the square of its size.
fn repeats(members: &[Member<'_>]) -> Vec<(usize, usize)> {
    const SMALL: usize = 16;
    let mut repeats = Vec::new();
    if members.len() <= SMALL {
        for (later, (key, _)) in members.iter().enumerate().skip(1) {
            if let Some(first) = members[..later].iter().position(|(other, _)| other == key) {
                repeats.push((later, first));
            }
        }
    } else {
        let mut places = HashMap::with_capacity(members.len());
        for (place, (key, _)) in members.iter().enumerate() {
            let first = *places.entry(key.as_ref()).or_insert(place);
            if first != place {
                repeats.push((place, first));
            }
        }
    }
    repeats
}

/// Moves each repeated key's last value to the place of its first.
fn collapse(members: &mut Vec<Member<'_>>, repeats: &[(usize, usize)]) {
    for &(later, first) in repeats {
        members[first].1 = std::mem::take(&mut members[later].1);
    }
    let mut place = 0;
    let mut dropped = repeats.iter().map(|&(later, _)| later).peekable();
    members.retain(|_| {
        place += 1;
        dropped.next_if_eq(&(place - 1)).is_none()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Json<'_> {
        parse(text.as_bytes(), Limits::EVENT).unwrap()
    }

    fn refusal(input: impl AsRef<[u8]>) -> JsonError {
        parse(input.as_ref(), Limits::ADMIN).unwrap_err()
    }

    /// RFC 8259, T-3: order stays, text without escapes is borrowed, digits stay.
    #[test]
    fn values_of_every_kind_are_read() {
        let json = event(" { \"b\" : [ 1 , -0.50e+1, true,false ,null ] ,\r\n\t\"a\":\"x\" } ");
        let Json::Object(members) = &json else { panic!("{json:?}") };
        assert_eq!(members.iter().map(|(key, _)| key.as_ref()).collect::<Vec<_>>(), ["b", "a"]);
        assert!(matches!(&members[1].1, Json::String(Cow::Borrowed("x"))));
        assert_eq!(json.get(&["b", "1"]).unwrap().as_number().unwrap().as_str(), "-0.50e+1");
    }

    #[test]
    fn escapes_are_resolved() {
        let json = event(r#""\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00 é😀""#);
        assert_eq!(json.as_str(), Some("\"\\/\u{8}\u{c}\n\r\tAé😀 é😀"));
    }

    /// T-3: last value, first place; also in objects too large to compare pair by pair.
    #[test]
    fn duplicate_keys_of_events_collapse() {
        assert_eq!(event(r#"{"a":1,"b":2,"a":3,"\u0061":4}"#), event(r#"{"a":4,"b":2}"#));
        let many: Vec<_> = (0..40).map(|n| format!(r#""k{}":{n}"#, n % 20)).collect();
        let once: Vec<_> = (0..20).map(|n| format!(r#""k{n}":{}"#, n + 20)).collect();
        assert_eq!(event(&format!("{{{}}}", many.join(","))), event(&format!("{{{}}}", once.join(","))));
    }

    /// ADM.3
    #[test]
    fn duplicate_keys_of_admins_are_refused_with_their_place() {
        let error = refusal("{\"steps\": [{\"url\": 1,\n \"é/~\": {}, \"\\u0075rl\": 2}]}");
        assert_eq!(error.kind, JsonErrorKind::DuplicateKey { key: "url".into() });
        assert_eq!((error.pointer.as_str(), error.line, error.column), ("/steps/0/url", 2, 13));
        let many: Vec<_> = (0..40).map(|n| format!(r#""k{}":0"#, n % 39)).collect();
        assert_eq!(refusal(format!("{{{}}}", many.join(","))).pointer, "/k0");
    }

    #[test]
    fn duplicate_keys_of_posted_events_are_refused_outside_of_data_alone() {
        let posted = |text: &'static str| parse(text.as_bytes(), Limits::POSTED);
        assert_eq!(posted(r#"{"a":1,"a":2}"#).unwrap_err().pointer, "/a");
        assert_eq!(posted(r#"{"a":{"b":1,"b":2}}"#).unwrap(), event(r#"{"a":{"b":2}}"#));
        assert_eq!(posted(r#"[{"b":1,"b":2}]"#).unwrap(), event(r#"[{"b":2}]"#));
    }

    /// ADM.2, default limit 128
    #[test]
    fn nesting_is_bounded_and_cheap_to_refuse() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(128).as_bytes(), Limits::EVENT).is_ok());
        assert_eq!(refusal(nested(129)).kind, JsonErrorKind::Depth { limit: 128 });
        for open in ["[", "{\"a\":", "[{\"a\":"] {
            let error = refusal(open.repeat(100_000));
            assert_eq!(error.kind, JsonErrorKind::Depth { limit: 128 }, "{open}");
        }
        let deepest = Limits { depth: u8::MAX, ..Limits::EVENT };
        assert!(parse(nested(255).as_bytes(), deepest).is_ok());
        assert!(parse(nested(256).as_bytes(), deepest).is_err());
    }

    #[test]
    fn what_is_not_json_is_refused_where_it_stands() {
        use JsonErrorKind::{ControlCharacter, End, Escape, InvalidUtf8, LoneSurrogate, Number, Trailing};
        let cases: &[(&[u8], JsonErrorKind, usize)] = &[
            (b"", End, 0),
            (b"  ", End, 2),
            (b"[1,", End, 3),
            (b"{\"a\"", End, 4),
            (b"\"abc", End, 4),
            (b"\"\\", End, 2),
            (b"1 2", Trailing, 2),
            (b"NaN", Number, 0),
            (b"[Infinity]", Number, 1),
            (b"-Infinity", Number, 0),
            (b"+1", Number, 0),
            (b"[01]", Number, 1),
            (b"-01", Number, 0),
            (b".5", Number, 0),
            (b"1.", Number, 0),
            (b"1.e1", Number, 0),
            (b"1e", Number, 0),
            (b"1e+", Number, 0),
            (b"-", Number, 0),
            (b"0x1", Trailing, 1),
            (b"\"\\x\"", Escape, 1),
            (b"\"\\u12g4\"", Escape, 1),
            (b"\"\\u+123\"", Escape, 1),
            (b"\"\\u12", Escape, 1),
            (b"\"\\ud800\"", LoneSurrogate, 1),
            (b"\"\\ud800\\n\"", LoneSurrogate, 1),
            (b"\"\\ud800\\ud800\"", LoneSurrogate, 1),
            (b"\"\\udc00\"", LoneSurrogate, 1),
            (b"\"a\nb\"", ControlCharacter, 2),
            (b"\"\\n\0\"", ControlCharacter, 3),
            (b"\"\xff\"", InvalidUtf8, 1),
            (b"\"\xed\xa0\x80\"", InvalidUtf8, 1),
        ];
        for (input, kind, offset) in cases {
            let error = refusal(input);
            assert_eq!((&error.kind, error.offset), (kind, *offset), "{}", String::from_utf8_lossy(input));
        }
        for input in ["[1,]", "{,}", "{\"a\":1,}", "[1 2]", "{\"a\" 1}", "{1:2}", "tru", "nul", "'a'", "//"] {
            assert!(matches!(refusal(input).kind, JsonErrorKind::Syntax { .. }), "{input}");
        }
        assert!(matches!(refusal("\u{feff}1").kind, JsonErrorKind::Syntax { .. }), "byte order mark");
    }

    #[test]
    fn places_are_told_in_lines_and_characters() {
        let error = refusal("{\n  \"é\": [1, 2,\n  \"😀\" x]}");
        assert_eq!((error.line, error.column, error.pointer.as_str()), (3, 7, "/é"));
        assert_eq!(error.to_string(), "expected `,` or `]` at line 3, column 7");
    }

    mod property {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            /// Whatever comes in, the parser answers, and it agrees with an independent one.
            #[test]
            fn agrees_with_serde_json(input in r#"[\[\]{}:,"\\u0-9dDeE+\-. a\n]{0,24}"#) {
                let theirs = serde_json::from_str::<serde_json::Value>(&input);
                let ours = parse(input.as_bytes(), Limits::EVENT);
                // serde_json refuses numbers beyond f64; we keep their digits.
                let out_of_range = theirs.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
                prop_assert!(out_of_range || ours.is_ok() == theirs.is_ok(), "{input}: {ours:?} {theirs:?}");
            }
        }
    }
}
