//! Takes secrets out of text that other people wrote: response excerpts, messages (SEC.1, SEC.6).

use super::MASK;
use base64::{Engine as _, engine::general_purpose};
use std::fmt::Write as _;

/// A piece of a secret at the very end of a cut text is masked from this length on.
const TAIL_MIN: usize = 4;

/// The secrets of one step, in every form in which they may come back.
///
/// Give it the signing keys, the values of environment variables, credentials written in headers, and the
/// signatures that were sent.
#[derive(Clone, Default)]
pub struct Masker {
    /// Longest first, so that a longer form is not spoilt by a shorter one within it.
    needles: Vec<Vec<u8>>,
}

impl Masker {
    /// Shorter secrets are not looked for: they would blank out innocent text and protect nothing.
    pub const SECRET_MIN: usize = 4;

    /// Prepares the search for these secrets.
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut needles: Vec<Vec<u8>> =
            secrets.into_iter().flat_map(|secret| forms(secret.as_ref())).collect();
        needles.retain(|needle| needle.len() >= Self::SECRET_MIN);
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        Self { needles }
    }

    /// The text with `***` for every secret in it, and for a piece of one that the end of the text cut off.
    #[must_use]
    pub fn mask(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            if let Some(needle) = self.needles.iter().find(|needle| rest.starts_with(needle)) {
                out.extend_from_slice(MASK.as_bytes());
                at += needle.len();
            } else if rest.len() >= TAIL_MIN && self.needles.iter().any(|needle| needle.starts_with(rest)) {
                out.extend_from_slice(MASK.as_bytes());
                break;
            } else {
                out.push(rest[0]);
                at += 1;
            }
        }
        out
    }
}

/// As it is and reversed, base64, hexadecimal, percent-encoded once and twice, and JSON-escaped.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let (percent, whole) = (percent(secret, is_plain), percent(secret, |_| false));
    let twice = percent.replace('%', "%25");
    let mut forms = vec![
        secret.to_vec(),
        secret.iter().rev().copied().collect(),
        hex::encode(secret).into_bytes(),
        hex::encode_upper(secret).into_bytes(),
    ];
    for text in [percent, whole, twice] {
        forms.push(lower_escapes(&text).into_bytes());
        forms.push(text.into_bytes());
    }
    forms.extend((0..3).flat_map(|before| base64(secret, before)));
    if let Ok(text) = std::str::from_utf8(secret) {
        let escaped = |upper: bool| {
            let unit = |unit: u16| if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
            text.encode_utf16().map(unit).collect::<String>().into_bytes()
        };
        forms.extend([escaped(false), escaped(true)]);
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        use crate::json::{BodyForm, Json};
        forms.extend([BodyForm::Js, BodyForm::Python, BodyForm::Php].map(|form| {
            let quoted = Json::from(text).to_bytes(form);
            quoted[1..quoted.len() - 1].to_vec()
        }));
    }
    forms
}

/// Percent-encodes what is not plain.
fn percent(secret: &[u8], is_plain: impl Fn(u8) -> bool) -> String {
    let mut text = String::new();
    for &byte in secret {
        if is_plain(byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// `%2F` as `%2f`, and nothing else changed.
fn lower_escapes(text: &str) -> String {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.len().min(if part.starts_with("25") && part.len() >= 4 { 4 } else { 2 });
        out.push('%');
        out.push_str(&part[..digits].to_ascii_lowercase());
        out.push_str(&part[digits..]);
    }
    out
}

/// The secret in base64, of either alphabet, behind so many bytes of something else: whole, and without the last digit,
/// of which what follows may decide a part. Of the first digits the neighbours decide, so that they are left out.
fn base64(secret: &[u8], before: usize) -> Vec<Vec<u8>> {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(secret);
    let from = [0, 2, 3][before];
    let texts =
        [general_purpose::STANDARD_NO_PAD.encode(&bytes), general_purpose::URL_SAFE_NO_PAD.encode(&bytes)];
    let cut = |text: &String| {
        let ends = [text.len(), text.len() - usize::from(!bytes.len().is_multiple_of(3))];
        ends.map(|end| text.as_bytes().get(from..end).unwrap_or_default().to_vec())
    };
    texts.iter().flat_map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let masker = Masker::new(["s3cret/\"value\"", "abc", "0123456789abcdef"]);
        String::from_utf8(masker.mask(text.as_bytes())).unwrap()
    }

    /// SEC.1, SEC.6
    #[test]
    fn secrets_are_masked_in_every_form() {
        assert_eq!(masked("you sent s3cret/\"value\", thanks"), "you sent ***, thanks");
        assert_eq!(masked(r#"{"h":"s3cret/\"value\""}"#), r#"{"h":"***"}"#);
        assert_eq!(masked(r#"{"h":"s3cret\/\"value\""}"#), r#"{"h":"***"}"#);
        assert_eq!(masked("k=s3cret%2F%22value%22"), "k=***");
        assert_eq!(masked("czNjcmV0LyJ2YWx1ZSI="), "***=");
        assert_eq!(masked(&hex::encode_upper("s3cret/\"value\"")), "***");
        assert_eq!(masked("0123456789abcdef0123456789abcdef"), "******");
        assert_eq!(masked("abc and nothing else"), "abc and nothing else");
    }

    /// I28, SEC.1: what nobody writes by chance.
    #[test]
    fn secrets_are_masked_in_unusual_forms() {
        let secret = "s3cret/\"value\"";
        assert_eq!(masked(&secret.chars().rev().collect::<String>()), "***");
        let all = |each: fn(u8) -> String| secret.bytes().map(each).collect::<String>();
        assert_eq!(masked(&all(|byte| format!("%{byte:02X}"))), "***");
        assert_eq!(masked(&all(|byte| format!("%{byte:02x}"))), "***");
        assert_eq!(masked(&all(|byte| format!("\\u{byte:04x}"))), "***");
        assert_eq!(masked("s3cret%252F%2522value%2522"), "***");
        assert_eq!(masked("s3cret%252f%2522value%2522"), "***");
        for before in ["", "x", "xy", "xyz"] {
            for behind in ["", "x", "xy"] {
                let text = masked(&general_purpose::STANDARD.encode(format!("{before}{secret}{behind}")));
                assert!(text.contains("***") && text.len() < 14, "{before}…{behind}: {text}");
            }
        }
    }

    /// SEC.6: an excerpt that ends within a secret.
    #[test]
    fn a_cut_secret_is_masked_too() {
        assert_eq!(masked("token 01234567"), "token ***");
        assert_eq!(masked("token 012"), "token 012");
        assert_eq!(Masker::default().mask(b"text"), b"text");
    }
}
