//! Texts and numbers of a profile file, checked while they are read, so that an error names their place.

use crate::{
    delivery::signing::{KEY_FLOOR, KEY_MIN},
    domain::{retry::RetryPolicy, step::RATE_MAX},
};
use serde::{Deserialize, Deserializer, de::Error};

/// Longest event type in bytes.
const TYPE_MAX: usize = 128;

/// Whether `name` is `[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*`, at most 128 bytes (Standard Webhooks, Payload).
#[must_use]
pub fn is_event_type(name: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(is_word_byte);
    name.len() <= TYPE_MAX && name.split('.').all(is_word)
}

pub(super) fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The name of a profile: short, and safe in paths and logs.
pub(super) fn profile_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let ok = |text: &str| text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(plain);
    text(deserializer, 32, ok, "lower-case letters, digits, `-` and `_`, a letter first")
}

/// Ids are read back from their last underscore, so their prefix may have none at its end.
pub(super) fn id_prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    text(deserializer, 16, |text| text.bytes().all(|b| b.is_ascii_lowercase()), "lower-case letters")
}

/// RFC 9110 §5.6.2: a token.
pub(super) fn header_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    text(deserializer, 128, |text| text.bytes().all(is_token), "the name of a header")
}

/// Visible ASCII; may be empty.
pub(super) fn header_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let value = String::deserialize(deserializer)?;
    let plain = value.bytes().all(|byte| byte.is_ascii_graphic());
    if plain { Ok(value) } else { Err(Error::custom("expected visible ASCII characters")) }
}

pub(super) fn retry_preset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RetryPolicy, D::Error> {
    let name = String::deserialize(deserializer)?;
    RetryPolicy::preset(&name).ok_or_else(|| Error::custom(format!("there is no retry preset `{name}`")))
}

pub(super) fn timeout_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let seconds = u16::deserialize(deserializer)?;
    if (1..=300).contains(&seconds) { Ok(seconds) } else { Err(Error::custom("expected 1 to 300")) }
}

pub(super) fn secret_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let bytes = usize::deserialize(deserializer)?;
    if (KEY_FLOOR..=KEY_MIN).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(Error::custom(format!("expected {KEY_FLOOR} to {KEY_MIN}")))
    }
}

pub(super) fn per_second<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let rate = u32::deserialize(deserializer)?;
    if (1..=RATE_MAX).contains(&rate) {
        Ok(Some(rate))
    } else {
        Err(Error::custom(format!("expected 1 to {RATE_MAX}")))
    }
}

/// A text of 1 to `max` bytes that is `ok`.
pub(super) fn text<'de, D: Deserializer<'de>>(
    deserializer: D,
    max: usize,
    ok: impl Fn(&str) -> bool,
    expected: &str,
) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() || text.len() > max || !ok(&text) {
        return Err(Error::custom(format!("expected {expected}, 1 to {max} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_types_are_words_joined_by_dots() {
        for good in ["a", "click.tracked", "api_key.rate_limited", "A.b.C_1", &"x".repeat(128)] {
            assert!(is_event_type(good), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a-b", "é", "a\n", "*", &"x".repeat(129)] {
            assert!(!is_event_type(bad), "{bad}");
        }
    }
}
