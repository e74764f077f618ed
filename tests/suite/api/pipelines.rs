//! Pipelines: bad input leaves no trace, and changes are what their answers say.

use super::{PIPELINES, created, pipeline, position};
use crate::support::TestServer;
use serde_json::{Value, json};

/// ADM.1, ADM.2, ADM.3, ADM.4, I33
#[test]
fn bad_bodies_are_refused_and_append_nothing() {
    let server = TestServer::start();
    let api = server.api();
    let before = position(&api);
    let deep = "[".repeat(100_000);
    let cases: [(&str, u16, &str); 8] = [
        ("nonsense", 400, "not_json"),
        ("", 400, "empty_body"),
        ("null", 400, "not_an_object"),
        ("[]", 400, "not_an_object"),
        (&deep, 400, "too_deep"),
        (r#"{"steps":[{"url":"https://a.example.com/","url":"http://10.0.0.1/"}]}"#, 400, "duplicate_key"),
        ("{}", 422, "validation_failed"),
        (
            r#"{"name":"n","trigger_type":"conversion","steps":[{"url":"http://169.254.169.254/"}]}"#,
            422,
            "validation_failed",
        ),
    ];
    for (body, status, code) in cases {
        let answer = api.try_send("POST", PIPELINES, Some(body.as_bytes())).expect("an answer");
        assert_eq!((answer.status, answer.json["code"].as_str()), (status, Some(code)), "{body:.80}");
        assert_eq!(answer.json["success"], false);
        assert_eq!(answer.json["error"]["code"], code);
    }
    assert_eq!(position(&api), before);
}

/// ADM.16
#[test]
fn a_body_over_the_limit_is_413() {
    let server = TestServer::start();
    let body = vec![b' '; (1 << 20) + 1];
    let answer = server.api().try_send("POST", PIPELINES, Some(&body)).expect("an answer");
    assert_eq!(answer.status, 413);
}

/// ADM.13
#[test]
fn pages_out_of_range_are_refused() {
    let server = TestServer::start();
    let api = server.api();
    for query in
        ["page=0", "limit=0", "limit=101", "page=abc", "page=1&page=2", "limit=18446744073709551615", "x=1"]
    {
        assert_eq!(api.get(&format!("{PIPELINES}?{query}")).status, 422, "{query}");
    }
}

/// ADM.14
#[test]
fn ids_that_are_none_are_404() {
    let server = TestServer::start();
    let api = server.api();
    let long = "x".repeat(10_000);
    for id in ["..%2f..%2fetc%2fpasswd", "%2e%2e%2f", "pipe_%00", "%ff", "exec_1_a", &long] {
        let status = api.get(&format!("{PIPELINES}/{id}")).status;
        assert!(matches!(status, 400 | 404), "{id:.40} {status}");
    }
}

/// ADM.18
#[test]
fn what_is_gone_is_gone_each_time() {
    let server = TestServer::start();
    let api = server.api();
    let path = format!("{PIPELINES}/{}", created(api.post(PIPELINES, &pipeline("n"))));
    assert_eq!(api.delete(&path).status, 200);
    let before = position(&api);
    for _ in 0..2 {
        assert_eq!(api.delete(&path).status, 404);
        assert_eq!(api.put(&path, &json!({"name": "x"})).status, 404);
        assert_eq!(api.send("POST", "/api/admin/webhooks/logs/dlq/dlq_1_0_1_a/retry", None).status, 404);
    }
    assert_eq!(position(&api), before);
}

/// T-27, SIG.8: shown once, if at all.
#[test]
fn a_key_is_shown_when_it_is_made_and_never_again() {
    let server = TestServer::start();
    let api = server.api();
    let made = api.post(PIPELINES, &pipeline("n")).data(201);
    let key = made["steps"][0]["signing_key"].as_str().expect("a key that was made").to_owned();
    assert!(key.starts_with("whsec_"));
    let path = format!("{PIPELINES}/{}", made["id"].as_str().expect("an id"));
    for answer in
        [api.get(&path), api.get(PIPELINES), api.put(&path, &json!({"name": "m"})), api.get("/api/log")]
    {
        assert!(!String::from_utf8_lossy(&answer.message.body).contains(&key));
    }
    let step = made["steps"][0]["id"].as_str().expect("an id");
    let pipeline = made["id"].as_str().expect("an id");
    let secret = api.get(&format!("/api/pipelines/{pipeline}/steps/{step}/secret"));
    assert_eq!(secret.message.header("cache-control"), Some("no-store"));
    assert_eq!(secret.data(200)["secret"], Value::from(key));
}

/// T-33
#[test]
fn updates_count_versions_and_keep_what_they_do_not_name() {
    let server = TestServer::start();
    let api = server.api();
    let made = api.post(PIPELINES, &pipeline("n")).data(201);
    let path = format!("{PIPELINES}/{}", made["id"].as_str().expect("an id"));
    let paused = api.put(&path, &json!({"status": "paused"})).data(200);
    assert_eq!((&paused["status"], &paused["version"]), (&json!("paused"), &json!(2)));
    assert_eq!(paused["steps"][0]["id"], made["steps"][0]["id"]);
    assert_eq!(api.get(&format!("{PIPELINES}?status=active")).data(200)["pagination"]["total"], 0);
}
