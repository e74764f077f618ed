//! Flat webhooks.

use super::PIPELINES;
use crate::support::TestServer;
use serde_json::json;

const KEY: &str = "0123456789abcdef01234567";

/// T-45
#[test]
fn a_webhook_is_found_as_a_pipeline_too() {
    let server = TestServer::start();
    let api = server.api();
    let body = json!({"url": "https://example.com/h", "events": ["conversion"], "secret": KEY});
    let made = api.post("/api/webhooks", &body).data(201);
    assert_eq!(made["secret"], KEY, "T-46: shown by the answer that made it");
    let id = made["id"].as_str().expect("an id");
    assert!(api.get(&format!("/api/webhooks/{id}")).data(200).get("secret").is_none(), "and by no other");
    assert_eq!(api.list("/api/webhooks", "items")[0]["id"], id);
    assert_eq!(api.get(&format!("{PIPELINES}/{id}")).data(200)["steps"][0]["url"], "https://example.com/h");
    let patched = api.send("PATCH", &format!("/api/webhooks/{id}"), Some(&json!({"headers": {"X-A": "1"}})));
    assert_eq!(patched.data(200)["headers"], json!({"X-A": "1"}));
    assert_eq!(api.delete(&format!("/api/webhooks/{id}")).status, 200);
    assert_eq!(api.get(&format!("/api/webhooks/{id}")).status, 404);
}

#[test]
fn a_rotated_secret_replaces_the_old_one_at_once() {
    let server = TestServer::start();
    let api = server.api();
    let made = api
        .post("/api/webhooks", &json!({"url": "https://example.com/h", "events": ["conversion"]}))
        .data(201);
    let path = format!("/api/webhooks/{}/secret", made["id"].as_str().expect("an id"));
    assert_eq!(api.get(&path).data(200)["secret"], made["secret"]);
    let rotated = api.post(&format!("{path}/rotate"), &json!({"secret": KEY})).data(200);
    assert_eq!(rotated["secret"], KEY);
    assert_eq!(api.get(&path).data(200)["secret"], KEY);
    assert_eq!(api.post(&format!("{path}/rotate"), &json!({"secret": "short"})).status, 422);
    assert_eq!(api.post(&format!("{path}/rotate"), &json!({"overlap_seconds": 60})).status, 422);
}
