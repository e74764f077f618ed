//! Takes secrets out of text that other people wrote: response excerpts, messages (SEC.1, SEC.6).

use super::MASK;
use base64::{Engine as _, engine::general_purpose};
use std::fmt::Write as _;

/// Shorter secrets are not looked for: they would blank out innocent text and protect nothing.
const SECRET_MIN: usize = 4;
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
    /// Prepares the search for these secrets.
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut needles: Vec<Vec<u8>> =
            secrets.into_iter().flat_map(|secret| forms(secret.as_ref())).collect();
        needles.retain(|needle| needle.len() >= SECRET_MIN);
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

/// As it is, base64, hexadecimal, percent-encoded and JSON-escaped.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut percent = String::new();
    for &byte in secret {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            percent.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(percent, "%{byte:02X}");
        }
    }
    let mut forms = vec![
        secret.to_vec(),
        general_purpose::STANDARD_NO_PAD.encode(secret).into_bytes(),
        general_purpose::URL_SAFE_NO_PAD.encode(secret).into_bytes(),
        hex::encode(secret).into_bytes(),
        hex::encode_upper(secret).into_bytes(),
        percent.to_ascii_lowercase().into_bytes(),
        percent.into_bytes(),
    ];
    if let Ok(text) = std::str::from_utf8(secret) {
        use crate::json::{BodyForm, Json};
        forms.extend([BodyForm::Js, BodyForm::Python, BodyForm::Php].map(|form| {
            let quoted = Json::from(text).to_bytes(form);
            quoted[1..quoted.len() - 1].to_vec()
        }));
    }
    forms
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

    /// SEC.6: an excerpt that ends within a secret.
    #[test]
    fn a_cut_secret_is_masked_too() {
        assert_eq!(masked("token 01234567"), "token ***");
        assert_eq!(masked("token 012"), "token 012");
        assert_eq!(Masker::default().mask(b"text"), b"text");
    }
}
