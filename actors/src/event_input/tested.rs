//! Events of test runs: what is sent of them is signed like any other, so they are checked like any other.

use super::{Problem, event_id_text, instant, known_type, object, of_tenant, resource_text, text};
use crate::{
    domain::{id::TenantId, operator_event::OperatorEvent},
    json::{Json, Member},
    profile::Profile,
};

/// What is wrong with the event of a test run. It may be given in part, and beside the types that are posted there are
/// those that the engine and the profile's tests send.
#[must_use]
pub fn check_tested(profile: &Profile, tenant: &TenantId, event: &Json<'_>) -> Vec<Problem> {
    let Json::Object(members) = event else { return vec![Problem::wrong_type("an object")] };
    let problem = |(key, value): &Member<'_>| {
        let checked = match key.as_ref() {
            "type" => tested_type(value, profile),
            "data" => object(value),
            "id" | "timestamp" | "resource" | "metadata" if value.is_null() => Ok(()),
            "id" => event_id_text(value).map(drop),
            "timestamp" => instant(value),
            "resource" => resource_text(value).map(drop),
            "metadata" => object(value).and_then(|()| of_tenant(value, tenant)),
            _ => Err(Problem::unknown_field()),
        };
        checked.err().map(|problem| problem.at(key))
    };
    members.iter().filter_map(problem).collect()
}

fn tested_type(value: &Json<'_>, profile: &Profile) -> Result<(), Problem> {
    let name = text(value)?;
    let own = profile.test_event.as_ref().is_some_and(|event| event.event_type == name);
    if own || OperatorEvent::parse(name).is_some() { Ok(()) } else { known_type(value, profile).map(drop) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        json::{Limits, parse},
        profile::Profiles,
    };

    fn codes(event: &str) -> Vec<(String, &'static str)> {
        let profiles = Profiles::builtin();
        let event = parse(event.as_bytes(), Limits::ADMIN).unwrap();
        let found = check_tested(profiles.get("afftok").unwrap(), &TenantId::new("t"), &event);
        found.into_iter().map(|problem| (problem.pointer, problem.code)).collect()
    }

    /// ING.7
    #[test]
    fn an_event_of_a_test_is_an_event() {
        for good in [
            "{}",
            r#"{"id":null,"data":{}}"#,
            r#"{"type":"click.tracked","id":"a-b_1","timestamp":"2024-01-15T10:30:45Z","data":{"id":"1"}}"#,
            r#"{"type":"delivery.exhausted"}"#,
        ] {
            assert_eq!(codes(good), [], "{good}");
        }
        for (bad, pointer, code) in [
            (r#"{"id":"1795858447.evil"}"#.to_owned(), "/id", "pattern"),
            (r#"{"id":""}"#.to_owned(), "/id", "pattern"),
            (r#"{"id":"a\nb"}"#.to_owned(), "/id", "pattern"),
            (format!(r#"{{"id":"{}"}}"#, "x".repeat(129)), "/id", "pattern"),
            (r#"{"id":5}"#.to_owned(), "/id", "wrong_type"),
            (r#"{"type":"nope"}"#.to_owned(), "/type", "unknown_type"),
            (r#"{"timestamp":"not a date"}"#.to_owned(), "/timestamp", "date"),
            (r#"{"data":5}"#.to_owned(), "/data", "wrong_type"),
            (r#"{"metadata":{"tenant_id":"other"}}"#.to_owned(), "/metadata", "tenant_mismatch"),
            (r#"{"zzz":1}"#.to_owned(), "/zzz", "unknown_field"),
        ] {
            assert_eq!(codes(&bad), [(pointer.to_owned(), code)], "{bad}");
        }
    }
}
