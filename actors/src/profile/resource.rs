//! Which lane an event belongs to: what it is about, read off its data (AFF-27, §1.8 of the requirements).

use super::text::is_word_byte;
use crate::json::{BodyForm, Json};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Longest resource key in bytes.
pub const RESOURCE_MAX: usize = 256;

/// A prefix and fields to look in, one after the other; then `id`; then the event's own id, which is a lane of its
/// own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceRule {
    /// Keeps kinds of things apart: `conversion` makes `conversion:conv_1`. Without one the value stands alone.
    #[serde(default)]
    prefix: Option<Prefix>,
    #[serde(default)]
    fields: Vec<Fields>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Prefix(String);

/// Fields of the data that name a resource together; written `offer_id + user_id`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Fields(Vec<FieldPath>);

/// Keys that lead to a field; written `details.id`.
type FieldPath = Vec<String>;

impl TryFrom<String> for Prefix {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let plain = !text.is_empty() && text.len() <= 32 && text.bytes().all(is_word_byte);
        if plain { Ok(Self(text)) } else { Err("expected letters, digits and `_`, 1 to 32 bytes") }
    }
}

impl TryFrom<String> for Fields {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let path = |path: &str| -> FieldPath { path.trim().split('.').map(str::to_owned).collect() };
        let paths: Vec<_> = text.split('+').map(path).collect();
        let is_name = |name: &String| !name.is_empty() && name.bytes().all(|b| is_word_byte(b) || b == b'-');
        if paths.iter().flatten().all(is_name) {
            Ok(Self(paths))
        } else {
            Err(format!("`{text}` is not a field such as `id`, `details.id` or `offer_id + user_id`"))
        }
    }
}

impl ResourceRule {
    /// The lane of an event that names no resource itself.
    #[must_use]
    pub fn derive(&self, data: &Json<'_>, event_id: &str) -> String {
        let by_rule = self.fields.iter().find_map(|fields| fields.read(data));
        match by_rule.or_else(|| data.member("id").and_then(scalar)) {
            Some(value) => self.key(&value),
            None => event_id.to_owned(),
        }
    }

    /// `resource` without the prefix of this rule.
    #[must_use]
    pub fn without_prefix<'r>(&self, resource: &'r str) -> &'r str {
        let stripped = self.prefix.as_ref().and_then(|Prefix(prefix)| resource.strip_prefix(prefix.as_str()));
        stripped.and_then(|rest| rest.strip_prefix(':')).unwrap_or(resource)
    }

    fn key(&self, value: &str) -> String {
        let prefix = self.prefix.as_ref().map(|Prefix(prefix)| format!("{prefix}:")).unwrap_or_default();
        if prefix.len() + value.len() <= RESOURCE_MAX && !value.chars().any(char::is_control) {
            return prefix + value;
        }
        // Too long or unfit to be shown: its digest keeps the lane apart from every other one (ING.11).
        format!("{prefix}sha256-{}", hex::encode(Sha256::digest(value.as_bytes())))
    }
}

impl Fields {
    /// The value of all fields, or `None` if one has none. Joined by `+`; a `+` within is written `%2B`, so that
    /// two pairs never meet in one key.
    fn read(&self, data: &Json<'_>) -> Option<String> {
        if let [path] = self.0.as_slice() {
            return scalar(data.get(path)?);
        }
        let part = |path: &FieldPath| Some(scalar(data.get(path)?)?.replace('%', "%25").replace('+', "%2B"));
        let parts: Option<Vec<_>> = self.0.iter().map(part).collect();
        Some(parts?.join("+"))
    }
}

/// A string that is not empty, or a number as JavaScript writes it: `7`, `7.0` and `"7"` are one resource.
fn scalar(value: &Json<'_>) -> Option<String> {
    match value {
        Json::String(text) if !text.is_empty() => Some(text.to_string()),
        Json::Number(_) => String::from_utf8(value.to_bytes(BodyForm::Js)).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Limits, parse};

    fn rule(text: &str) -> ResourceRule {
        toml::from_str(text).unwrap()
    }

    fn key(rule: &ResourceRule, data: &str) -> String {
        rule.derive(&parse(data.as_bytes(), Limits::EVENT).unwrap(), "evt_1")
    }

    #[test]
    fn the_first_field_with_a_value_names_the_resource() {
        let rule = rule("prefix = 'click'\nfields = ['click_id', 'meta.id', 'code']");
        assert_eq!(key(&rule, r#"{"code":"c","click_id":"k"}"#), "click:k");
        assert_eq!(key(&rule, r#"{"code":"c","meta":{"id":"m"},"click_id":""}"#), "click:m");
        assert_eq!(key(&rule, r#"{"code":"c","click_id":null,"meta":{"id":["m"]}}"#), "click:c");
        assert_eq!(key(&rule, r#"{"click_id":true,"id":"i"}"#), "click:i");
        assert_eq!(key(&rule, r#"{"click_id":{}}"#), "evt_1");
        assert_eq!(rule.without_prefix("click:a:b"), "a:b");
        assert_eq!(rule.without_prefix("clicks"), "clicks");
    }

    #[test]
    fn numbers_have_one_spelling() {
        let rule = rule("fields = ['n']");
        for spelling in ["7", "7.0", "70e-1", "\"7\""] {
            assert_eq!(key(&rule, &format!("{{\"n\":{spelling}}}")), "7", "{spelling}");
        }
        assert_eq!(key(&rule, r#"{"n":12345678901234567890}"#), "12345678901234567890");
    }

    /// ING.11: no two pairs meet in one key.
    #[test]
    fn combined_fields_stay_apart() {
        let rule = rule("prefix = 'm'\nfields = ['a + b']");
        assert_eq!(key(&rule, r#"{"a":"1","b":2}"#), "m:1+2");
        assert_eq!(key(&rule, r#"{"a":"1+2","b":"3"}"#), "m:1%2B2+3");
        assert_eq!(key(&rule, r#"{"a":"1","b":"2+3"}"#), "m:1+2%2B3");
        assert_eq!(key(&rule, r#"{"a":"1%2B2","b":"3"}"#), "m:1%252B2+3");
        assert_eq!(key(&rule, r#"{"a":"1"}"#), "evt_1");
    }

    /// ING.11: values of any length and content, and no lane in common.
    #[test]
    fn unwieldy_values_are_digested() {
        let rule = rule("prefix = 'click'\nfields = ['id']");
        let long = |end| key(&rule, &format!(r#"{{"id":"{}{end}"}}"#, "x".repeat(1 << 20)));
        assert!(long('a').starts_with("click:sha256-") && long('a').len() == 13 + 64);
        assert_ne!(long('a'), long('b'));
        assert!(key(&rule, r#"{"id":"a\nb"}"#).starts_with("click:sha256-"));
        let fits = "x".repeat(RESOURCE_MAX - "click:".len());
        assert_eq!(key(&rule, &format!(r#"{{"id":"{fits}"}}"#)), format!("click:{fits}"));
        assert_ne!(key(&rule, r#"{"id":"é"}"#), key(&rule, "{\"id\":\"e\u{301}\"}"));
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        for text in ["fields = ['']", "fields = ['a +']", "fields = ['a..b']", "prefix = ''", "prefix = 'a:'"]
        {
            assert!(toml::from_str::<ResourceRule>(text).is_err(), "{text}");
        }
    }
}
