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

/// First words of values that announce one.
const SCHEMES: [&str; 6] = ["basic", "bearer", "digest", "token", "apikey", "key"];

impl Secrets {
    /// What the log keeps of a header's template: sealed if it spells out a credential. One that only refers to
    /// `{{variables}}` stays readable (AFM-11).
    pub fn keep_header(&self, name: &str, template: &str) -> Result<HeaderValue, SecretsError> {
        if holds_credential(name, template) {
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

/// Whether the value of a header with this name is never shown.
#[must_use]
pub fn is_sensitive_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    TELLTALE.iter().any(|part| name.contains(part))
}

/// Whether `template` holds a credential in clear: in a telltale header anything that is neither a placeholder
/// nor the name of a scheme, elsewhere what follows a scheme.
fn holds_credential(name: &str, template: &str) -> bool {
    let literal = without_placeholders(template);
    let mut words = literal.split_whitespace().peekable();
    let is_scheme = |word: &&str| SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme));
    let with_scheme = words.next_if(is_scheme).is_some();
    (with_scheme || is_sensitive_header(name)) && words.next().is_some()
}

/// The text outside of `{{…}}`; a space stands where a placeholder was.
fn without_placeholders(template: &str) -> String {
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
        ];
        for (name, value) in sealed {
            let kept = secrets.keep_header(name, value).unwrap();
            assert!(matches!(kept, HeaderValue::Sealed(_)), "{name}: {value}");
            assert_eq!(secrets.header_template(&kept).unwrap().expose(), value);
        }
        let plain = [
            ("Authorization", "Bearer {{env.API_TOKEN}}"),
            ("X-API-Key", "{{env.CRM_API_KEY}}"),
            ("Content-Type", "application/json"),
            ("X-Source", "afftok {{event.id}}"),
            ("X-Api-Key", ""),
        ];
        for (name, value) in plain {
            let kept = secrets.keep_header(name, value).unwrap();
            assert_eq!(kept, HeaderValue::Template(value.into()));
            assert_eq!(secrets.header_template(&kept).unwrap().expose(), value);
        }
    }
}
