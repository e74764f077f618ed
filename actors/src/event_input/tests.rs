//! ING: what is taken, what is refused, and how it is told.

use super::*;
use crate::{json::JsonErrorKind, profile::Profiles};

fn read_as(profile: &str, body: impl AsRef<[u8]>) -> Result<EventInput, InputError> {
    let profiles = Profiles::builtin();
    let body = Bytes::copy_from_slice(body.as_ref());
    read_by(profiles.get(profile).unwrap(), body, [7; 16])
}

fn read_by(profile: &Profile, body: Bytes, random: [u8; 16]) -> Result<EventInput, InputError> {
    read(profile, &TenantId::new("tenant_1"), body, || Ok(event_id(random)))
}

/// TEN.5
#[test]
fn an_event_for_another_tenant_is_refused() {
    let event = |tenant: &str| {
        format!(r#"{{"type":"conversion.created","data":{{}},"metadata":{{"tenant_id":{tenant}}}}}"#)
    };
    assert!(read_as("afftok", event(r#""tenant_1""#)).is_ok());
    for other in [r#""tenant_2""#, r#""""#, "null", "1"] {
        let refused = read_as("afftok", event(other)).unwrap_err().problems();
        assert_eq!(
            (refused[0].pointer.as_str(), refused[0].code),
            ("/metadata", "tenant_mismatch"),
            "{other}"
        );
    }
}

fn afftok(body: &str) -> EventInput {
    read_as("afftok", body).unwrap()
}

/// `pointer code` of every problem.
fn problems(body: &str) -> Vec<String> {
    let error = read_as("afftok", body).unwrap_err();
    error.problems().iter().map(|problem| format!("{} {}", problem.pointer, problem.code)).collect()
}

fn with(field: &str) -> String {
    format!(r#"{{"type":"conversion.created","data":{{"id":"conv_1"}},{field}}}"#)
}

#[test]
fn a_whole_event_is_taken_as_it_stands() {
    let body = r#" {"id":"evt_a-1", "type":"conversion.created","timestamp":"2024-01-15T10:30:45Z",
        "resource":"mine", "metadata":{"correlation_id":"corr_1"},"data":{"id":"conv_1","payout":5.00}} "#;
    let EventInput { event, warnings } = afftok(body);
    assert_eq!((&*event.id, &*event.event_type, &*event.resource), ("evt_a-1", "conversion.created", "mine"));
    assert_eq!(event.body, body.as_bytes());
    assert_eq!(warnings, []);
}

/// ING.6, ING.11: null is absent.
#[test]
fn what_is_left_out_is_minted_or_derived() {
    let expected = format!("evt_{}", "07".repeat(16));
    for body in
        [with(r#""id":null,"resource":null,"timestamp":null,"metadata":null"#), with(r#""metadata":{}"#)]
    {
        let event = afftok(&body).event;
        assert_eq!((&*event.id, &*event.resource), (&*expected, "conversion:conv_1"));
    }
    let lone = afftok(r#"{"type":"api_key.used","data":{}}"#).event;
    assert_eq!(lone.resource, lone.id);
}

/// ING.7
#[test]
fn ids_are_plain() {
    for good in ["a", "A-_9", &"x".repeat(128)] {
        assert_eq!(&*afftok(&with(&format!(r#""id":"{good}""#))).event.id, good);
    }
    let long = "x".repeat(129);
    for bad in ["", "a.b", "a/b", "a\\r", "a\\nb", "a\\u0000", "é", "a b", "*", &long] {
        assert_eq!(problems(&with(&format!(r#""id":"{bad}""#))), ["/id pattern"], "{bad}");
    }
    assert_eq!(problems(&with(r#""id":7"#)), ["/id wrong_type"]);
}

/// ING.8
#[test]
fn types_are_those_of_the_profile() {
    for bad in ["user.created", "Conversion.created", "conversion", "", "conversion.*"] {
        assert_eq!(problems(&format!(r#"{{"type":"{bad}","data":{{}}}}"#)), ["/type unknown_type"], "{bad}");
    }
    let error = read_as("afftok", r#"{"type":"user.created","data":{}}"#).unwrap_err();
    assert!(error.to_string().contains("/type `user.created` is none of click.tracked, "), "{error}");
    assert!(read_as("standard", r#"{"type":"user.created","data":{}}"#).is_ok());
    assert!(read_as("standard", r#"{"type":"user..created","data":{}}"#).is_err());
}

/// ING.9
#[test]
fn an_event_has_256_kib() {
    let sized = |size: usize| {
        let frame = r#"{"type":"click.tracked","data":{"id":"c","x":""}}"#;
        let body = frame.replace(r#""x":"""#, &format!(r#""x":"{}""#, "x".repeat(size - frame.len())));
        read_as("afftok", body)
    };
    for size in [256 * 1024 - 1, 256 * 1024] {
        assert_eq!(sized(size).unwrap().warnings, [Warning::LargeBody { bytes: size }]);
    }
    let error = sized(256 * 1024 + 1).unwrap_err();
    assert_eq!((error.status(), error.problems()[0].code), (413, "too_large"));
}

/// ING.10
#[test]
fn dates_are_checked_and_passed_on() {
    for good in ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59+01:00", "2016-12-31T23:59:60Z"] {
        let body = with(&format!(r#""timestamp":"{good}""#));
        assert_eq!(afftok(&body).event.body, body.as_bytes());
    }
    assert_eq!(problems(&with(r#""timestamp":"yesterday""#)), ["/timestamp date"]);
    assert_eq!(problems(&with(r#""timestamp":1705314645"#)), ["/timestamp wrong_type"]);
}

/// ING.11
#[test]
fn resources_are_taken_verbatim_or_refused() {
    let largest = "x".repeat(256);
    for good in ["a", "click:1", "é", "e\u{301}", " ", "a.b/c", &largest] {
        assert_eq!(&*afftok(&with(&format!(r#""resource":"{good}""#))).event.resource, good);
    }
    let million = "x".repeat(100_000);
    for (bad, problem) in [
        ("\"\"", "/resource length"),
        (&*format!("\"{largest}y\""), "/resource length"),
        (&*format!("\"{million}\""), "/resource length"),
        (r#""a\nb""#, "/resource control_character"),
        (r#""a\u0085b""#, "/resource control_character"),
        ("7", "/resource wrong_type"),
        ("{}", "/resource wrong_type"),
        ("[]", "/resource wrong_type"),
        ("true", "/resource wrong_type"),
    ] {
        assert_eq!(problems(&with(&format!(r#""resource":{bad}"#))), [problem], "{bad:.20}");
    }
}

#[test]
fn every_problem_is_named_at_once() {
    let body = r#"{"typ":"x","a/b~":1,"data":[],"id":"a.b","metadata":1}"#;
    let expected = [
        "/typ unknown_field",
        "/a~1b~0 unknown_field",
        "/data wrong_type",
        "/id pattern",
        "/metadata wrong_type",
        "/type required",
    ];
    assert_eq!(problems(body), expected);
    assert_eq!(read_as("afftok", body).unwrap_err().status(), 422);
    assert_eq!(problems("{}"), ["/type required", "/data required"]);
    assert_eq!(problems(r#"{"type":null,"data":null}"#), ["/type wrong_type", "/data wrong_type"]);
}

/// ADM.2, ADM.3, T-4
#[test]
fn what_is_not_json_is_another_kind_of_error() {
    let deep = format!(r#"{{"type":"click.tracked","data":{}}}"#, "[".repeat(100_000));
    let cases: [(&[u8], &str, &str); 11] = [
        (b"", "not_json", ""),
        (b"{", "not_json", ""),
        (b"{} {}", "not_json", ""),
        (b"{\"data\":\"\xff\"}", "invalid_utf8", ""),
        (br#"{"data":{"a":"\ud800"}}"#, "lone_surrogate", "/data/a"),
        (br#"{"type":"a","type":"b"}"#, "duplicate_key", "/type"),
        (deep.as_bytes(), "too_deep", ""),
        (b"null", "wrong_type", ""),
        (b"[]", "wrong_type", ""),
        (b"7", "wrong_type", ""),
        (b"\"\"", "wrong_type", ""),
    ];
    for (body, code, pointer) in cases {
        let error = read_as("afftok", body).unwrap_err();
        let problem = &error.problems()[0];
        assert_eq!((error.status(), problem.code), (400, code), "{}", String::from_utf8_lossy(body));
        assert!(code == "too_deep" || problem.pointer == pointer, "{problem:?}");
    }
    let InputError::NotJson(error) = read_as("afftok", deep).unwrap_err() else { panic!() };
    assert_eq!(error.kind, JsonErrorKind::Depth { limit: 128 });
}

/// T-3: in the data a key may stand twice.
#[test]
fn data_is_not_judged() {
    let event = afftok(r#"{"type":"click.tracked","data":{"id":"a","id":"b"}}"#).event;
    assert_eq!(&*event.resource, "click:b");
}

/// T-4
#[test]
fn numbers_beyond_javascript_are_warned_of() {
    let warnings = afftok(r#"{"type":"click.tracked","data":{"n":12345678901234567890}}"#).warnings;
    assert_eq!(warnings, [Warning::NumberBeyondJavaScript]);
    assert_eq!(afftok(r#"{"type":"click.tracked","data":{"n":9007199254740992}}"#).warnings, []);
}

/// Every sample can be posted as it stands.
#[test]
fn samples_are_events() {
    for profile in Profiles::builtin().iter() {
        for kind in profile.event_types() {
            for sample in &kind.samples {
                let body = Bytes::copy_from_slice(sample.event.as_bytes());
                let input = read_by(profile, body, [0; 16]).unwrap();
                assert_eq!(input.warnings, []);
                assert_ne!(input.event.resource, input.event.id, "{} finds its lane", kind.name);
            }
        }
    }
}
