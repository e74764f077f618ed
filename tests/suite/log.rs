//! The log as proof: state equal however it is folded, damage found, all of it offline and read-only.

use crate::support::{
    Receiver, Reply, TestServer, eventually, files,
    make::{Pipeline, conversion, post},
};
use serde_json::Value;
use std::fs;

/// Settles a small run with a bit of everything in it.
fn settled() -> (TestServer, Receiver) {
    let receiver = Receiver::start(|request| match (request.resource().as_str(), request.attempt()) {
        ("conv_3", _) => Reply::Status(500),
        ("conv_2", 1) => Reply::Status(503),
        _ => Reply::Status(200),
    });
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).retry(2, 0).create(&api);
    for n in 0..20 {
        post(&api, &conversion(&format!("evt_{n}"), &format!("conv_{}", n % 5), n));
    }
    eventually("all have ended", || {
        let state = api.get("/api/state").data(200)["deliveries"].clone();
        (state["delivered"] == 16 && state["dead_lettered"] == 4).then_some(())
    });
    (server, receiver)
}

fn replay(server: &TestServer, words: &[&str]) -> Value {
    let output = server.verb(&[&["log", "replay"], words].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// I21: equal in the running engine, after a restart, and folded from position zero.
#[test]
fn the_state_is_the_same_however_it_is_folded() {
    let (mut server, _receiver) = settled();
    let running = server.api().get("/api/state").data(200);
    server.terminate();
    let stopped = replay(&server, &[]);
    let position = running["position"].as_u64().expect("a position").to_string();
    assert_eq!(replay(&server, &["--to", &position]), running);
    assert_eq!(replay(&server, &[]), stopped);
    server.launch();
    let again = server.api().get("/api/state").data(200);
    for field in ["digest", "deliveries", "events"] {
        assert_eq!(again[field], running[field], "{field}");
    }
    let (past, ()) = (replay(&server, &["--to", "2"]), ());
    assert_eq!(past["position"], 2);
    assert_eq!(past["events"], 0);
}

#[test]
fn the_audit_of_the_engine_needs_no_tenant() {
    let server = TestServer::start();
    let api = server.api();
    api.delete("/api/tenants/tenant_default").data(200);
    assert_eq!(api.get("/api/audit/engine").status, 200);
    assert_eq!(api.with_key("lhk_nobody").get("/api/audit/engine").status, 401);
}

/// I22, UPG.6
#[test]
fn the_log_verifies_offline_without_a_change_to_the_folder() {
    let (mut server, _receiver) = settled();
    assert_eq!(server.api().get("/api/log/verify").status, 200);
    server.terminate();
    let before = files(&server.data_dir);
    let verified = server.verb(&["log", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    replay(&server, &[]);
    assert_eq!(files(&server.data_dir), before);
}

/// I23
#[test]
fn a_changed_byte_is_found_and_named() {
    let (mut server, _receiver) = settled();
    server.terminate();
    let segment = files(&server.data_dir)
        .into_keys()
        .find(|path| path.extension().is_some_and(|e| e == "seg"))
        .expect("a segment");
    let mut bytes = fs::read(&segment).expect("a segment");
    let at = bytes.windows(6).position(|text| text == b"conv_2").expect("an event");
    bytes[at] ^= 1;
    fs::write(&segment, bytes).expect("a damaged segment");
    let verified = server.verb(&["log", "verify"]);
    assert!(!verified.status.success());
    let text = [verified.stdout, verified.stderr].concat();
    assert!(String::from_utf8_lossy(&text).contains(".seg"), "{}", String::from_utf8_lossy(&text));
}

/// I4, I21
#[test]
fn what_the_api_tells_is_the_same_after_a_restart() {
    let (mut server, _receiver) = settled();
    let tell = |server: &TestServer| {
        let api = server.api();
        let mut deliveries = api.list("/api/deliveries", "items");
        deliveries.extend(api.list("/api/admin/webhooks/logs/dlq", "items"));
        deliveries.push(api.get("/api/admin/webhooks/pipelines").data(200));
        deliveries.push(api.get("/api/admin/webhooks/stats").data(200));
        deliveries
    };
    let before = tell(&server);
    server.restart();
    eventually("the read models have caught up", || (tell(&server) == before).then_some(()));
}
