//! Flat webhooks.

use super::PIPELINES;
use crate::support::{Api, TestServer};
use serde_json::{Value, json};

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
    assert_eq!(api.get(&path).data(200)["former"], json!([]));
}

/// SIG.5, SIG.8: both keys are in force, the old one with its end, and no answer but the audited one shows them.
#[test]
fn a_rotation_with_an_overlap_keeps_the_old_secret_for_a_while() {
    let server = TestServer::start();
    let api = server.api();
    let body = json!({"url": "https://example.com/h", "events": ["conversion"], "secret": KEY});
    let id = api.post("/api/webhooks", &body).data(201)["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/webhooks/{id}/secret");
    let rotate = |body| api.post(&format!("{path}/rotate"), &body);
    for wrong in [json!(-1), json!(604_801), json!("60"), json!(0.5)] {
        let refused = rotate(json!({"overlap_seconds": wrong}));
        assert_eq!(
            (refused.status, &refused.json["errors"][0]["pointer"]),
            (422, &json!("/overlap_seconds"))
        );
    }
    let rotated = rotate(json!({"overlap_seconds": 60})).data(200);
    assert_eq!(rotated["former"][0]["secret"], Value::Null, "a rotation shows the old key: {rotated}");
    let shown = api.get(&path).data(200);
    assert_eq!((&shown["secret"], &shown["former"][0]["secret"]), (&rotated["secret"], &json!(KEY)));
    assert_eq!(shown["former"][0]["expires_at"], rotated["former"][0]["expires_at"]);
    let expires_at = &rotated["former"][0]["expires_at"];
    assert_eq!(
        api.get(&format!("/api/webhooks/{id}")).data(200)["former_keys"],
        json!([{"expires_at": expires_at}])
    );
    // What else is changed leaves the rotation as it is.
    let paused = api.put(&format!("/api/webhooks/{id}"), &json!({"status": "paused"})).data(200);
    assert_eq!(paused["former_keys"][0]["expires_at"], *expires_at);

    // The bound, and the way out of it.
    assert_eq!(rotate(json!({"overlap_seconds": 60})).data(200)["former"].as_array().expect("keys").len(), 2);
    assert_eq!(rotate(json!({"overlap_seconds": 60})).data(200)["former"].as_array().expect("keys").len(), 3);
    assert_eq!(rotate(json!({"overlap_seconds": 60})).status, 409);
    assert_eq!(rotate(json!({})).data(200)["former"], json!([]));

    let audit = api.list("/api/audit", "items");
    let rotations = audit.iter().filter(|record| record["action"] == "secret.rotated");
    assert_eq!(rotations.count(), 4);
    for path in [format!("/api/webhooks/{id}"), "/api/audit".into(), "/api/log?limit=250".into()] {
        let text = api.get(&path).data(200).to_string();
        assert!(!text.contains(KEY) && !text.contains(rotated["secret"].as_str().expect("a key")), "{path}");
    }
}

/// `If-Match` on `DELETE`: of a change and a deletion of the version before it, one counts, whoever comes first.
#[test]
fn a_deletion_does_not_take_a_version_that_nobody_read() {
    let server = TestServer::start();
    let body = json!({"url": "https://example.com/h", "events": ["conversion"]});
    for round in 0..60 {
        let id =
            server.api().post("/api/webhooks", &body).data(201)["id"].as_str().expect("an id").to_owned();
        let path = format!("/api/webhooks/{id}");
        let together = std::sync::Barrier::new(2);
        let [changed, deleted] = std::thread::scope(|scope| {
            let call = |method: &'static str, body: Option<Value>| {
                let (path, together) = (&path, &together);
                let api: Api = server.api().with_header("If-Match", "\"1\"");
                scope.spawn(move || {
                    together.wait();
                    api.send(method, path, body.as_ref()).status
                })
            };
            let calls = [call("PATCH", Some(json!({"name": "changed"}))), call("DELETE", None)];
            calls.map(|thread| thread.join().expect("an answer"))
        });
        assert!(
            matches!((changed, deleted), (200, 412) | (404, 200)),
            "round {round}: {changed} and {deleted}"
        );
    }
}
