//! Events in.

use super::{position, tenant};
use crate::support::TestServer;
use serde_json::{Value, json};

fn event(id: &str) -> Value {
    json!({"id": id, "type": "conversion.created", "data": {"conversion_id": "conv_1"}})
}

/// ING.3, ING.4
#[test]
fn an_id_is_accepted_once_and_with_one_body() {
    let server = TestServer::start();
    let api = server.api();
    let first = api.post("/api/events", &event("evt_1")).data(202);
    assert_eq!(first["duplicate"], false);
    let again = api.post("/api/events", &event("evt_1")).data(202);
    assert_eq!((&again["duplicate"], &again["position"]), (&json!(true), &first["position"]));
    let mut other = event("evt_1");
    other["data"]["amount"] = json!(1);
    let refused = api.post("/api/events", &other);
    assert_eq!((refused.status, &refused.json["code"]), (409, &json!("event_differs")));
}

/// ING.7, ING.8, I33
#[test]
fn what_is_no_event_is_refused_and_appends_nothing() {
    let server = TestServer::start();
    let api = server.api();
    let before = position(&api);
    for (field, value) in [
        ("id", json!("a.b")),
        ("id", json!("")),
        ("type", json!("Conversion.Created")),
        ("resource", json!(7)),
    ] {
        let mut event = event("evt_1");
        event[field] = value;
        let answer = api.post("/api/events", &event);
        assert_eq!(answer.status, 422);
        assert_eq!(answer.json["errors"][0]["pointer"], format!("/{field}"));
    }
    assert_eq!(position(&api), before);
}

/// An event takes a shortcut past the router (docs/decisions/0019-shortcut.md), unless its path is spelled otherwise:
/// both ways answer alike, to the last header, and refuse alike.
#[test]
fn the_shortcut_and_the_router_answer_alike() {
    let server = TestServer::start();
    let operator = server.api();
    let tenant = tenant(&operator, "tenant_a");
    let reads = tenant.post("/api/tenants/tenant_a/keys", &json!({"scopes": ["read"]})).data(201);
    let good = event("evt_1").to_string();
    for api in [&operator, &tenant] {
        api.post("/api/events", &event("evt_1")).data(202); // from now on it is a duplicate
    }
    let long = format!(r#"{{"type":"conversion.created","data":{{"x":"{}"}}}}"#, "x".repeat(300_000));
    let broken = ["{", "[]", "{}", r#"{"type":"Conversion.Created","data":{}}"#, "", &long];
    let callers = [
        operator.with_key(""),
        operator.with_key("op_tests_0123456789abcdefghijklmnox"),
        operator.with_key(reads["key"].as_str().expect("a key")),
        operator.with_header("X-Tenant-Id", "tenant_unknown"),
        operator.with_header("X-Tenant-Id", "tenant_a").with_header("X-Tenant-Id", "tenant_a"),
        tenant.with_header("X-Tenant-Id", "tenant_b"),
        operator.with_header("Idempotency-Key", "no visible\tASCII"),
        operator.with_header("X-Padding", &"x".repeat(70_000)),
        operator.with_header("X-API-Key", "another"),
        operator.with_header("Content-Type", "text/plain"),
        operator.with_header("Idempotency-Key", "k-1"),
        operator.with_header("X-Tenant-Id", "tenant_a"),
    ];
    let before = position(&operator);
    let bodies = broken.iter().map(|body| (&operator, *body));
    let cases = bodies.chain(callers.iter().map(|caller| (caller, good.as_str())));
    let mut statuses = Vec::new();
    for (caller, body) in cases {
        let caller = caller.with_header("X-Request-Id", "the-same");
        let answer = |path| {
            let answer = caller.try_send("POST", path, Some(body.as_bytes())).expect("an answer");
            let mut message = answer.message;
            message.headers.retain(|(name, _)| !["date", "content-length"].contains(&name.as_str()));
            message.headers.sort();
            let mut json = answer.json;
            json.as_object_mut().and_then(|json| json.remove("instance"));
            (answer.status, message.first, message.headers, json)
        };
        let short = answer("/api/events");
        assert_eq!(short, answer("/api/%65vents"), "{}", &body[..body.len().min(80)]);
        statuses.push(short.0);
    }
    let expected = [400, 400, 422, 422, 400, 413, 401, 401, 403, 404, 400, 403, 400, 431, 401, 415, 202, 202];
    assert_eq!(statuses, expected);
    assert_eq!(position(&operator), before, "a refused event or a duplicate appends nothing");
}

/// ING.12
#[test]
fn each_event_of_a_batch_has_its_own_outcome() {
    let server = TestServer::start();
    let api = server.api();
    let mut events: Vec<Value> = (0..1_000).map(|n| event(&format!("evt_{n}"))).collect();
    events[499] = json!({"type": "conversion.created"});
    let batch = api.post("/api/events/batch", &json!({"events": events})).data(202);
    assert_eq!((&batch["accepted"], &batch["refused"]), (&json!(999), &json!(1)));
    assert_eq!(batch["events"][499]["error"]["errors"][0]["pointer"], "/events/499/data");
    assert_eq!(batch["events"][998]["id"], "evt_998");
    events.push(event("evt_more"));
    assert_eq!(api.post("/api/events/batch", &json!({"events": events})).status, 422);
}
