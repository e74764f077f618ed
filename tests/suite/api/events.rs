//! Events in.

use super::position;
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
