//! Header values that hold a credential: found by name or by scheme, sealed before they reach the log.

use super::{Secret, Secrets, SecretsError};
use crate::domain::step::HeaderValue;

/// Parts of header names that announce a credential.
const TELLTALE: [&str; 11] = [
    "auth",
    "token",
    "secret",
    "key",
    "passw",
    "cookie",
    "credential",
    "signature",
    "session",
    "jwt",
    "bearer",
];

/// Whole words of names that announce one; as parts they would stand in `X-Shipping`.
const WORDS: [&str; 9] = ["pin", "pwd", "pass", "sig", "sid", "otp", "hmac", "access", "sas"];

/// Headers whose values are long, mixed, and no secret.
const HARMLESS: [&str; 5] = ["accept", "accept-language", "content-type", "content-language", "user-agent"];

/// First words of values that announce one.
const SCHEMES: [&str; 6] = ["basic", "bearer", "digest", "token", "apikey", "key"];

impl Secrets {
    /// What the log keeps of a header's template: sealed if it is said to be `secret`, or spells out a credential. One
    /// that only refers to `{{variables}}` stays readable (AFM-11).
    pub fn keep_header(&self, name: &str, template: &str, secret: bool) -> Result<HeaderValue, SecretsError> {
        if secret || holds_credential(name, template) {
            self.seal(template).map(HeaderValue::Sealed)
        } else {
            Ok(HeaderValue::Template(template.to_owned()))
        }
    }

    /// The template that [`keep_header`](Self::keep_header) was given.
    pub fn header_template(&self, kept: &HeaderValue) -> Result<Secret, SecretsError> {
        match kept {
            HeaderValue::Template(text) => Ok(Secret::new(text.clone())),
            HeaderValue::Sealed(sealed) => self.open(sealed),
        }
    }
}

/// Whether the value of a header or parameter with this name is never shown.
#[must_use]
pub fn is_sensitive_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    TELLTALE.iter().any(|part| name.contains(part)) || words.any(|word| WORDS.contains(&word))
}

/// Whether `template` holds a credential in clear: in a telltale header anything that is neither a placeholder
/// nor the name of a scheme, elsewhere what follows a scheme or looks as nothing else does.
fn holds_credential(name: &str, template: &str) -> bool {
    let literal = literal_of(template);
    let is_harmless = HARMLESS.iter().any(|harmless| name.eq_ignore_ascii_case(harmless));
    if !is_harmless && looks_like_credential(&literal) {
        return true;
    }
    let mut words = literal.split_whitespace().peekable();
    let is_scheme = |word: &&str| SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme));
    let with_scheme = words.next_if(is_scheme).is_some();
    (with_scheme || is_sensitive_name(name)) && words.next().is_some()
}

/// Whether some word of it was drawn by chance: long, letters and digits mixed, few of them twice. A name that says
/// nothing may hold a credential all the same.
pub(super) fn looks_like_credential(literal: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_+/=~.%".contains(c);
    literal.split(|c: char| !is_part(c)).filter(|word| word.len() >= 20).any(|word| {
        let count = |is: fn(&u8) -> bool| word.bytes().filter(is).count();
        let mut distinct: Vec<u8> = word.bytes().collect();
        distinct.sort_unstable();
        distinct.dedup();
        count(u8::is_ascii_digit) >= 4 && count(u8::is_ascii_alphabetic) >= 4 && distinct.len() >= 10
    })
}

/// The text outside of `{{…}}`; a space stands where a placeholder was.
pub(super) fn literal_of(template: &str) -> String {
    let mut literal = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((_, behind)) = after.split_once("}}") else { break };
        literal.push_str(before);
        literal.push(' ');
        rest = behind;
    }
    literal + rest
}

#[cfg(test)]
mod tests {
    use super::super::tests::secrets;
    use super::*;

    /// AFM-11, T-27, SEC.2
    #[test]
    fn credentials_are_sealed_and_references_are_not() {
        let secrets = secrets(3);
        let sealed = [
            ("Authorization", "Bearer abc"),
            ("authorization", "Basic dXNlcjpwYXNz"),
            ("X-API-Key", "abc"),
            ("X-Api-Key", "abc{{env.REST}}"),
            ("Cookie", "sid=1"),
            ("X-Custom", "Bearer abc"),
            ("X-Auth-Token", "{{unclosed"),
            ("X-Pin", "1234"),
            ("X-Partner-Id", "Zk3uQ9pT7vX2mN4bR8sW"),
            ("X-Any", "id 550e8400-e29b-41d4-a716-446655440000"),
        ];
        for (name, value) in sealed {
            let kept = secrets.keep_header(name, value, false).unwrap();
            assert!(matches!(kept, HeaderValue::Sealed(_)), "{name}: {value}");
            assert_eq!(secrets.header_template(&kept).unwrap().expose(), value);
        }
        let plain = [
            ("Authorization", "Bearer {{env.API_TOKEN}}"),
            ("X-API-Key", "{{env.CRM_API_KEY}}"),
            ("Content-Type", "application/json"),
            ("X-Source", "afftok {{event.id}}"),
            ("X-Shipping", "fast"),
            ("X-Since", "2024-01-15T10:30:45Z"),
            ("Accept", "application/vnd.company.event-v2024+json"),
            ("X-Api-Key", ""),
        ];
        let said = secrets.keep_header("X-Source", "afftok", true).unwrap();
        assert!(matches!(said, HeaderValue::Sealed(_)));
        for (name, value) in plain {
            let kept = secrets.keep_header(name, value, false).unwrap();
            assert_eq!(kept, HeaderValue::Template(value.into()));
            assert_eq!(secrets.header_template(&kept).unwrap().expose(), value);
        }
    }
}
