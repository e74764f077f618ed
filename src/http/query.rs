//! Query strings, read strictly: an unknown parameter, one that stands twice and one that cannot be read are 422.
//!
//! ```text
//! async fn list(query: Query) -> ApiResult<…> {
//!     let (status, limit) = query.read(|q| (q.choice("status", STATUSES), q.limit()))?;
//! ```

use super::{
    body::{Pagination, cursor_place},
    error::{ApiError, ApiResult, FieldError},
};
use actix_web::{FromRequest, HttpRequest, dev::Payload};
use std::{
    future::{Ready, ready},
    ops::RangeInclusive,
    str::FromStr,
};

/// Page size where the caller names none.
pub(crate) const LIMIT_DEFAULT: usize = 20;
/// Largest page of the provider lists.
pub(crate) const PAGE_LIMIT_MAX: usize = 100;
/// Largest page of the other lists.
pub(crate) const LIMIT_MAX: usize = 250;
/// Nobody pages further; whoever wants everything follows the log.
const PAGE_MAX: usize = 1_000_000;

/// Longest text of a parameter.
const TEXT_MAX: usize = 256;
/// Longest cursor: a list's name and a resource's, both encoded.
const CURSOR_MAX: usize = 512;

/// The parameters of a request, decoded.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    path: String,
    raw: String,
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes a query string.
    pub(crate) fn new(path: &str, raw: &str) -> ApiResult<Self> {
        let mut pairs = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = decode(name).zip(decode(value)).ok_or_else(|| {
                ApiError::unreadable("bad_query", "the query string is not percent-encoded UTF-8")
            })?;
            pairs.push((name, value));
        }
        Ok(Self { path: path.to_owned(), raw: raw.to_owned(), pairs })
    }

    /// Reads all parameters: 422 with everything that is wrong, unless nothing is.
    pub(crate) fn read<'q, T>(&'q self, read: impl FnOnce(&mut Reader<'q>) -> T) -> ApiResult<T> {
        let mut reader = Reader { query: self, asked: Vec::new(), errors: Vec::new() };
        let value = read(&mut reader);
        let Reader { asked, mut errors, .. } = reader;
        for (name, _) in &self.pairs {
            if !asked.contains(&name.as_str()) {
                let known: Vec<String> = asked.iter().map(|name| format!("`{name}`")).collect();
                let message = match &known[..] {
                    [] => "is unknown: this call takes no parameters".to_owned(),
                    known => format!("is unknown: this call takes {}", known.join(", ")),
                };
                errors.push(mistake(name, "unknown_parameter", message));
            }
        }
        if errors.is_empty() { Ok(value) } else { Err(ApiError::invalid(errors)) }
    }

    /// Makes sure that there are no parameters at all.
    pub(crate) fn none(&self) -> ApiResult<()> {
        self.read(|_| ())
    }

    /// The same request with another cursor.
    pub(crate) fn with_cursor(&self, cursor: &str) -> String {
        let others = self.raw.split('&').filter(|p| !p.is_empty() && p.split('=').next() != Some("cursor"));
        let mut parts: Vec<&str> = others.collect();
        let cursor = format!("cursor={cursor}");
        parts.push(&cursor);
        format!("{}?{}", self.path, parts.join("&"))
    }
}

impl FromRequest for Query {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::new(request.path(), request.query_string()))
    }
}

/// Reads parameters one by one and remembers what was wrong.
pub(crate) struct Reader<'q> {
    query: &'q Query,
    asked: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl<'q> Reader<'q> {
    /// Text, not empty, at most 256 bytes.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<&'q str> {
        self.text_up_to(TEXT_MAX, name)
    }

    fn text_up_to(&mut self, most: usize, name: &'static str) -> Option<&'q str> {
        self.asked.push(name);
        let mut values = self.query.pairs.iter().filter(|(key, _)| key == name);
        let (_, value) = values.next()?;
        if values.next().is_some() {
            return self.wrong(name, "duplicate_parameter", "is given more than once");
        }
        if value.is_empty() || value.len() > most {
            return self.wrong(name, "length", format!("is to have 1 to {most} bytes"));
        }
        Some(value)
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(name)?;
        choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).or_else(|| {
            let names: Vec<String> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
            self.wrong(name, "unknown_value", format!("is to be one of {}", names.join(", ")))
        })
    }

    /// A whole number in plain digits.
    pub(crate) fn integer(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let text = self.text(name)?;
        let plain = text.bytes().all(|b| b.is_ascii_digit());
        let value = plain.then(|| text.parse().ok()).flatten().filter(|value| range.contains(value));
        value.or_else(|| {
            let (least, most) = range.into_inner();
            self.wrong(name, "out_of_range", format!("is to be an integer from {least} to {most}"))
        })
    }

    /// `true` or `false`; a bare `name` means true.
    pub(crate) fn flag(&mut self, name: &'static str) -> bool {
        if self.query.pairs.iter().any(|(key, value)| key == name && value.is_empty()) {
            self.asked.push(name);
            return true;
        }
        self.choice(name, &[("true", true), ("1", true), ("false", false), ("0", false)]).unwrap_or(false)
    }

    #[allow(dead_code, reason = "lists that are filtered by time come with the read models")]
    /// An instant: ISO 8601 with an offset, or milliseconds since 1970.
    pub(crate) fn instant(
        &mut self,
        name: &'static str,
    ) -> Option<ledgerhook_actors::domain::time::Timestamp> {
        let text = self.text(name)?;
        super::instant::parse(text)
            .or_else(|| self.wrong(name, "not_an_instant", "is to be an instant like `2024-01-15T10:30:00Z`"))
    }

    /// `limit` of a cursored list: 1 to 250, by default 20.
    pub(crate) fn limit(&mut self) -> usize {
        self.limit_or(LIMIT_DEFAULT)
    }

    /// The same with another default.
    pub(crate) fn limit_or(&mut self, default: usize) -> usize {
        self.size("limit", LIMIT_MAX, default)
    }

    /// `cursor` of the list with this name: the place that it was made of.
    pub(crate) fn cursor(&mut self, list: &'static str) -> Option<String> {
        let text = self.text_up_to(CURSOR_MAX, "cursor")?;
        cursor_place(list, text).or_else(|| self.bad_cursor())
    }

    /// The same where places have a form of their own.
    pub(crate) fn parsed_cursor<T: FromStr>(&mut self, list: &'static str) -> Option<T> {
        let place = self.cursor(list)?;
        place.parse().ok().or_else(|| self.bad_cursor())
    }

    fn bad_cursor<T>(&mut self) -> Option<T> {
        self.wrong("cursor", "bad_cursor", "is not a cursor of this list")
    }

    /// `page` and `limit` of a provider list: from page 1, 1 to 100 items, by default 20 (AFM-30, ADM.13).
    pub(crate) fn page(&mut self) -> Pagination {
        let page = self.size("page", PAGE_MAX, 1);
        Pagination { page, limit: self.size("limit", PAGE_LIMIT_MAX, LIMIT_DEFAULT), total: 0 }
    }

    /// Reports that a parameter is wrong in a way that only the handler knows.
    pub(crate) fn wrong<T>(
        &mut self,
        name: &str,
        code: &'static str,
        message: impl Into<String>,
    ) -> Option<T> {
        self.errors.push(mistake(name, code, message.into()));
        None
    }

    fn size(&mut self, name: &'static str, most: usize, default: usize) -> usize {
        let value = self.integer(name, 1..=u64::try_from(most).unwrap_or(u64::MAX));
        value.and_then(|value| usize::try_from(value).ok()).unwrap_or(default)
    }
}

fn mistake(name: &str, code: &'static str, message: String) -> FieldError {
    let shown: String = name.chars().take(64).collect();
    FieldError { pointer: format!("/{}", shown.replace('~', "~0").replace('/', "~1")), code, message }
}

/// `application/x-www-form-urlencoded`, one name or value.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body::cursor;

    fn codes(raw: &str, read: impl Fn(&mut Reader<'_>)) -> Vec<(String, &'static str)> {
        let error = Query::new("/x", raw).unwrap().read(|q| read(q)).err();
        let errors = error.map(|error| error.problem().errors.clone()).unwrap_or_default();
        errors.into_iter().map(|error| (error.pointer, error.code)).collect()
    }

    /// ADM.13
    #[test]
    fn pages_are_bounded() {
        for raw in [
            "page=0",
            "page=-1",
            "page=1000000000",
            "page=18446744073709551615",
            "page=abc",
            "page=1&page=2",
            "limit=0",
            "limit=-1",
            "limit=101",
            "limit=1e9",
            "limit=99999999999999999999",
            "limit=",
            "limit=+5",
            "limit=%205",
            "offset=5",
        ] {
            assert_eq!(codes(raw, |q| _ = q.page()).len(), 1, "{raw}");
        }
        let page = |raw| Query::new("/x", raw).unwrap().read(Reader::page).map(|p| (p.page, p.limit));
        assert_eq!(page("page=3&limit=100").unwrap(), (3, 100));
        assert_eq!(page("").unwrap(), (1, 20));
    }

    #[test]
    fn what_a_call_does_not_know_is_refused_by_name() {
        assert_eq!(codes("a=1", |_| ()), [("/a".to_owned(), "unknown_parameter")]);
        assert_eq!(codes("cursor=zzz", |q| drop(q.cursor("lanes"))), [("/cursor".to_owned(), "bad_cursor")]);
        let garbage = format!("cursor={}", cursor("log", "1x"));
        let parsed = codes(&garbage, |q| _ = q.parsed_cursor::<u64>("log"));
        assert_eq!(parsed, [("/cursor".to_owned(), "bad_cursor")]);
        assert!(Query::new("/x", "a=%ff").is_err() && Query::new("/x", "a=%4").is_err());
    }

    /// A resource of 256 bytes is the longest place.
    #[test]
    fn the_longest_cursor_that_is_handed_out_is_taken() {
        let place = "r".repeat(256);
        let query = Query::new("/x", &format!("cursor={}", cursor("lanes", &place))).unwrap();
        assert_eq!(query.read(|q| q.cursor("lanes")).unwrap(), Some(place));
        assert_eq!(codes(&format!("cursor={}", "a".repeat(513)), |q| drop(q.cursor("lanes"))).len(), 1);
    }

    #[test]
    fn values_are_decoded_once() {
        let query = Query::new("/x", "type=a%2Bb+c%252B&verbose").unwrap();
        let (text, flag) = query.read(|q| (q.text("type").map(str::to_owned), q.flag("verbose"))).unwrap();
        assert_eq!((text.as_deref(), flag), (Some("a+b c%2B"), true));
    }
}
