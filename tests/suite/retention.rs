//! What the log lets go, and what it keeps: payloads by age and size, and nothing that someone still needs.

use crate::support::{
    Api, Receiver, Reply, TestServer, eventually, files,
    make::{Pipeline, conversion, post},
};
use serde_json::{Value, json};
use std::path::Path;

const SEGMENT: u64 = 8 << 20;
/// The least that can be set.
const BYTES_MAX: u64 = 3 * SEGMENT;

fn limited() -> crate::support::server::Start {
    TestServer::with()
        .variable("LEDGERHOOK_LOG_SEGMENT_BYTES", &SEGMENT.to_string())
        .variable("LEDGERHOOK_LOG_BYTES_MAX", &BYTES_MAX.to_string())
}

/// Posts events of 200 KiB each, 30 a batch, which fill most of a segment.
fn fill(api: &Api, batches: std::ops::Range<usize>) {
    let filler = "x".repeat(200 << 10);
    for batch in batches {
        let events: Vec<Value> = (0..30)
            .map(|n| {
                let mut event = conversion(&format!("evt_{batch}_{n}"), &format!("conv_{n}"), n);
                event["data"]["filler"] = json!(filler);
                event
            })
            .collect();
        let answer = api.post("/api/events/batch", &json!({ "events": events })).data(202);
        assert_eq!(answer["accepted"], 30, "{batch}");
    }
}

fn log_bytes(data_dir: &Path) -> u64 {
    let segments = files(&data_dir.join("log"));
    let segments = segments.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "seg"));
    segments.map(|(_, bytes)| bytes.len() as u64).sum()
}

fn all_ended(api: &Api) {
    eventually("nothing is pending", || {
        let counts = api.get("/api/state").data(200)["deliveries"].clone();
        ["queued", "in_flight", "retrying", "held"].iter().all(|state| counts[state] == 0).then_some(())
    });
}

fn apply(api: &Api) -> Value {
    api.send("POST", "/api/log/retention", None).data(200)
}

fn degraded(api: &Api) -> String {
    api.get("/readyz?verbose").json["degraded"].to_string()
}

/// LOG-9: what is over the size goes, oldest first; a dead letter holds what it needs, and is named for it.
#[test]
fn the_oldest_payloads_go_when_the_log_is_over_its_size() {
    let receiver = Receiver::start(|request| match request.resource().as_str() {
        "stuck" => Reply::Status(500),
        _ => Reply::Status(200),
    });
    let mut server = limited().start();
    let api = server.api();
    Pipeline::to(&receiver).retry(1, 0).create(&api);
    post(&api, &conversion("evt_stuck", "stuck", 0));
    fill(&api, 0..5);
    all_ended(&api);

    let held = apply(&api);
    assert_eq!((&held["held_by"], &held["segments"]), (&json!("dead_letters"), &json!(0)), "{held}");
    assert!(held["excess_bytes"].as_u64() > Some(0), "{held}");
    let told = degraded(&api);
    assert!(told.contains("dead_letters") && told.contains("log.bytes_max"), "{told}");
    let metrics = String::from_utf8(api.get("/metrics").message.body).expect("text");
    assert!(metrics.contains("ledgerhook_retention_floor{held_by=\"dead_letters\"}"), "{metrics}");
    assert!(!api.get("/api/events/evt_stuck").data(200)["payload"].is_null());

    receiver.now(|_| Reply::Status(200));
    let item = api.list("/api/admin/webhooks/logs/dlq", "items")[0].clone();
    let retry = format!("/api/admin/webhooks/logs/dlq/{}/retry", item["id"].as_str().expect("an id"));
    api.send("POST", &retry, None);
    all_ended(&api);
    let applied = apply(&api);
    assert!(applied["segments"].as_u64() >= Some(1), "{applied}");
    assert_eq!((&applied["held_by"], &applied["excess_bytes"]), (&Value::Null, &json!(0)), "{applied}");
    assert!(log_bytes(&server.data_dir) <= BYTES_MAX);
    assert_eq!(degraded(&api), "[]");

    // What is gone is told as gone, and nothing breaks over it.
    let gone = api.get("/api/events/evt_stuck").data(200);
    assert!(gone["payload"].is_null(), "{gone}");
    assert!(!api.get("/api/events/evt_4_29").data(200)["payload"].is_null());
    let deliveries = api.list("/api/deliveries?event_id=evt_stuck", "items");
    let delivery = deliveries[0]["id"].as_str().expect("an id").to_owned();
    let shown = api.get(&format!("/api/deliveries/{delivery}")).data(200);
    assert_eq!(shown["attempts"].as_array().map(Vec::len), Some(2), "{shown}");
    assert!(shown["attempts"][0]["request"].is_null(), "{shown}");
    let again = api.send("POST", &format!("/api/deliveries/{delivery}/retry"), None);
    assert_eq!((again.status, &again.json["code"]), (409, &json!("payload_gone")));
    let facts = api.list("/api/log?kind=retention_applied", "items");
    assert_eq!(facts.len(), 1, "{facts:?}");
    let audit = api.list("/api/audit/engine", "items");
    assert_eq!(audit[0]["action"], "retention.applied");
    // The same id is still known, by the digest that the fact keeps.
    assert_eq!(post(&api, &conversion("evt_stuck", "stuck", 0))["duplicate"], true);

    let before = api.get("/api/state").data(200);
    assert_eq!(api.get("/api/log/verify").data(200)["sound"], true);
    server.restart();
    let after = server.api().get("/api/state").data(200);
    assert_eq!((&after["digest"], &after["events"]), (&before["digest"], &before["events"]));
    assert!(server.api().get("/api/events/evt_stuck").data(200)["payload"].is_null());
    assert!(server.terminate().success());
    assert!(server.verb(&["log", "verify"]).status.success());
}

/// CRS.1: killed between one segment and the next, it is as if it had gone on a moment later.
#[cfg(feature = "chaos")]
#[test]
fn a_kill_while_payloads_go_is_harmless() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    let mut server = limited().variable("LEDGERHOOK_FAILPOINTS", "log.expired=exit(9)").on(&data_dir).start();
    let api = server.api();
    fill(&api, 0..6);
    let before = api.get("/api/state").data(200);
    let full = log_bytes(&data_dir);
    assert!(api.try_send("POST", "/api/log/retention", None).is_err(), "it is killed before it answers");
    assert_eq!(server.wait_for_exit().code(), Some(9));
    let cut = log_bytes(&data_dir);
    assert!(cut < full && cut > BYTES_MAX, "{full} {cut}");
    assert!(server.verb(&["log", "verify"]).status.success());

    std::fs::remove_file(data_dir.join("address")).expect("the address of the one that was killed");
    let mut server = limited().on(&data_dir).start();
    let api = server.api();
    assert_eq!(api.get("/api/state").data(200)["digest"], before["digest"]);
    assert!(apply(&api)["segments"].as_u64() >= Some(1));
    assert!(log_bytes(&data_dir) <= BYTES_MAX);
    assert!(!api.get("/api/events/evt_5_29").data(200)["payload"].is_null());
    assert!(server.terminate().success());
    assert!(server.verb(&["log", "verify"]).status.success());
}
