//! Starts of a server whose profiles are not what they were.

use crate::support::{Receiver, Reply, TestServer, eventually, make::post, program::checkout};
use serde_json::json;
use std::{fs, path::Path};

/// A folder with one profile, whose envelope has the data under `key`.
fn profiles(key: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    put(folder.path(), key);
    folder
}

fn put(folder: &Path, key: &str) {
    let text = fs::read_to_string(checkout("examples/profiles/github-style.toml")).expect("a profile");
    let changed = text.replace(r#"{ key = "payload","#, &format!("{{ key = \"{key}\","));
    assert!(key == "payload" || changed != text);
    fs::write(folder.join("github-style.toml"), changed).expect("a profile");
}

/// A server with `--profiles`, stopped while an event of a tenant of that profile waits for its second attempt.
fn with_pending(folder: &Path, receiver: &Receiver) -> TestServer {
    let mut server = TestServer::with().option("--profiles").option(folder.to_str().expect("a path")).start();
    let tenant = server.api().tenant_of("github-style", "t_own");
    let retry = json!({"backoff_type": "fixed", "initial_delay_seconds": 3, "max_attempts": 5});
    let webhook = json!({"url": receiver.url(), "events": ["push"], "retry_policy": retry});
    tenant.post("/api/webhooks", &webhook).data(201);
    post(&tenant, &json!({"type": "push", "id": "evt_1", "data": {"id": "1"}}));
    eventually("the first attempt has come", || (!receiver.received().is_empty()).then_some(()));
    server.terminate();
    server
}

/// UPG.5, I35: nothing of the tenant could be delivered, so there is no start, and nothing becomes a dead letter.
#[test]
fn upg_5_a_start_without_the_profile_of_a_tenant_is_refused() {
    let receiver = Receiver::start(|request| Reply::Status(if request.attempt() == 1 { 500 } else { 200 }));
    let folder = profiles("payload");
    let mut server = with_pending(folder.path(), &receiver);
    let data_dir = server.data_dir.clone();
    let (status, log) =
        TestServer::with().on(&data_dir).try_start().err().expect("a start without the profile is refused");
    assert!(!status.success());
    for named in ["`t_own`", "`github-style`", "`tenants.profiles_dir`", "`--profiles`"] {
        assert!(log.contains(named), "{named}: {log}");
    }
    server.launch();
    eventually("it is delivered after all", || (receiver.succeeded() == 1).then_some(()));
}

/// I16, T-34: what a profile's change does to deliveries under way is told.
#[test]
fn a_changed_envelope_is_told_at_the_start() {
    const TOLD: &str = "another envelope than at the last start";
    let receiver = Receiver::start(|request| Reply::Status(if request.attempt() == 1 { 500 } else { 200 }));
    let folder = profiles("payload");
    let mut server = with_pending(folder.path(), &receiver);
    server.launch();
    server.terminate();
    assert!(!server.log().contains(TOLD), "{}", server.log());
    put(folder.path(), "content");
    server.launch();
    eventually("it is told", || server.log().contains(TOLD).then_some(()));
}
