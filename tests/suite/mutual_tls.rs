//! Receivers that ask for a certificate, and the ones that tenants show them.

use crate::support::{
    Api, Receiver, Reply, TestServer, eventually, files,
    make::{Pipeline, conversion, post},
    server::command,
    tls::{self, Authority},
};
use serde_json::{Value, json};

const TEST_STEP: &str = "/api/admin/webhooks/test/step";

fn path(tenant: &str) -> String {
    format!("/api/tenants/{tenant}/client-certificate")
}

fn pair(authority: &Authority) -> Value {
    json!({"certificate": authority.pem("cert.pem"), "private_key": authority.pem("key.pem")})
}

/// Whether a test of a literal call gets through.
fn reaches(api: &Api, receiver: &Receiver) -> bool {
    api.post(TEST_STEP, &json!({"url": receiver.url()})).data(200)["status"] == "success"
}

fn last(api: &Api, pipeline: &str) -> Value {
    api.get(&format!("/api/deliveries?pipeline_id={pipeline}")).data(200)["items"][0].clone()
}

#[track_caller]
fn ends(api: &Api, pipeline: &str, event: &str, status: &str) {
    post(api, &conversion(event, event, 0));
    eventually("it has ended as it should", || {
        let found = last(api, pipeline);
        (found["event_id"] == event && found["status"] == status).then_some(())
    });
}

/// Steps, failover and tests of a tenant show its certificate, from the next attempt on, beside whatever a step trusts;
/// those of others do not.
#[test]
fn a_tenants_attempts_show_its_certificate() {
    let clients = Authority::new();
    let asking = Receiver::mutual(tls::authority().demanding(&clients), |_| Reply::Status(200));
    let own = Authority::new();
    let asking_with_own_root = Receiver::mutual(own.demanding(&clients), |_| Reply::Status(200));
    let failing = Receiver::https(|_| Reply::Status(500));
    let mut server = TestServer::https().start();
    let api = server.api().tenant_of("afftok", "shows");
    let other = server.api().tenant_of("afftok", "shows_not");

    let pipeline = Pipeline::to(&asking).retry(1, 0).create(&api);
    ends(&api, &pipeline, "evt_1", "dead_lettered");
    assert!(!reaches(&api, &asking));
    assert_eq!(api.get(&path("shows")).status, 404);
    assert_eq!(api.delete(&path("shows")).status, 404);

    let set = api.put(&path("shows"), &pair(&clients)).data(200);
    assert_eq!(set["status"], "valid");
    ends(&api, &pipeline, "evt_2", "delivered");
    assert!(reaches(&api, &asking));
    assert!(!reaches(&other, &asking), "another tenant showed it");
    let run = api.post(&format!("/api/admin/webhooks/test/pipeline/{pipeline}"), &json!({})).data(200);
    assert_eq!(run["status"], "completed", "{run}");

    let over = Pipeline::to(&failing).retry(1, 0).with("failover_url", asking.url()).create(&api);
    let trusting =
        Pipeline::to(&asking_with_own_root).retry(1, 0).step("tls_ca", own.pem("roots.pem")).create(&api);
    post(&api, &conversion("evt_3", "conv_3", 0));
    for pipeline in [&over, &trusting] {
        eventually("it is delivered", || (last(&api, pipeline)["status"] == "delivered").then_some(()));
    }
    assert_eq!(asking_with_own_root.succeeded(), 1);

    server.restart();
    let (api, other) = (server.api().with_key(&api.key), server.api().with_key(&other.key));
    ends(&api, &pipeline, "evt_4", "delivered");
    // One of an authority that the receiver does not know is none.
    other.put(&path("shows_not"), &pair(&Authority::new())).data(200);
    assert!(!reaches(&other, &asking));
    other.put(&path("shows_not"), &pair(&clients)).data(200);
    assert!(reaches(&other, &asking), "a new one is shown at once");

    api.delete(&path("shows")).data(200);
    assert!(!reaches(&api, &asking), "a connection of before is not used");
    assert!(reaches(&other, &asking), "whoever showed the same one does so still");
    ends(&api, &pipeline, "evt_5", "dead_lettered");
}

/// SEC.1, SEC.2, TEN.9: the key comes in and never out; what was done is in the audit.
#[test]
fn the_key_of_a_certificate_is_write_only() {
    let (first, second) = (Authority::new(), Authority::new());
    let mut server = TestServer::https().start();
    let api = server.api().tenant_of("afftok", "keeps");
    let mut seen = String::new();
    for authority in [&first, &second] {
        let set = api.put(&path("keeps"), &pair(authority));
        let shown = api.get(&path("keeps"));
        assert_eq!(set.json, shown.json);
        seen.push_str(&shown.json.to_string());
        let shown = shown.data(200);
        assert_eq!(shown["fingerprint_sha256"].as_str().map(str::len), Some(64), "{shown}");
        assert_eq!(shown["certificates"], 1);
        assert!(shown["subject"].as_str().is_some_and(|name| name.contains("CN=")), "{shown}");
    }
    assert_eq!(api.with_key(&api.key).delete(&path("keeps")).status, 200);
    let audit = api.list("/api/audit", "items");
    let actions: Vec<&Value> = audit.iter().map(|record| &record["action"]).collect();
    let count = |action: &str| actions.iter().filter(|one| **one == action).count();
    assert_eq!((count("client_certificate.set"), count("client_certificate.removed")), (2, 1), "{actions:?}");
    seen.push_str(&json!(audit).to_string());
    let log = server.api().list("/api/log?kind=client_certificate_set", "items");
    assert_eq!(log.len(), 2);
    seen.push_str(&json!(log).to_string());
    server.terminate();
    let mut all = vec![seen.into_bytes(), server.log().into_bytes()];
    all.extend(files(&server.data_dir).into_values());
    for authority in [&first, &second] {
        let key = authority.pem("key.pem");
        for line in key.lines().filter(|line| !line.starts_with("-----") && line.len() > 20) {
            let found = all.iter().any(|bytes| String::from_utf8_lossy(bytes).contains(line));
            assert!(!found, "a line of the key came out");
        }
    }
}

/// SEC.7: another master key takes over the key of a certificate as well.
#[test]
fn a_certificate_outlives_the_master_key() {
    let clients = Authority::new();
    let asking = Receiver::mutual(tls::authority().demanding(&clients), |_| Reply::Status(200));
    let folder = tempfile::tempdir().expect("a folder");
    let (data, file) = (folder.path().join("data"), folder.path().join("key"));
    std::fs::write(&file, hex::encode((0..32).collect::<Vec<u8>>())).expect("a file");
    let file = file.to_str().expect("a path");
    let mut server = TestServer::https().on(&data).start();
    server.api().put(&path("tenant_default"), &pair(&clients)).data(200);
    server.terminate();
    let mut verb = command(&data, &[], &[]);
    let output = verb.args(["secrets", "rewrap", "--new-key-file", file]).output().expect("the binary runs");
    assert!(output.status.success(), "{output:?}");
    let server = TestServer::https().on(&data).variable("LEDGERHOOK_MASTER_KEY_FILE", file).start();
    assert!(reaches(&server.api(), &asking));
}

/// What could not be shown is refused when it is set, with the field that is wrong; what has ended is said and taken.
#[test]
fn certificates_that_cannot_be_shown_are_refused() {
    let (one, other) = (Authority::new(), Authority::new());
    let server = TestServer::start();
    let api = server.api();
    let path = path("tenant_default");
    let (certificate, key) = (one.pem("cert.pem"), one.pem("key.pem"));
    for (certificate, key, pointer, code) in [
        ("nothing", key.as_str(), "/certificate", "certificate"),
        (&key, &key, "/certificate", "certificate"),
        (&(certificate.clone() + &key), &key, "/certificate", "certificate"),
        (&certificate, "nothing", "/private_key", "private_key"),
        (&certificate, &certificate, "/private_key", "private_key"),
        (&certificate, &other.pem("key.pem"), "/private_key", "private_key"),
        (&" ".repeat(40_000), &key, "/certificate", "length"),
        (&certificate, &" ".repeat(20_000), "/private_key", "length"),
    ] {
        let refused = api.put(&path, &json!({"certificate": certificate, "private_key": key}));
        let error = &refused.json["errors"][0];
        assert_eq!((refused.status, &error["pointer"], &error["code"]), (422, &json!(pointer), &json!(code)));
        assert!(!refused.json.to_string().contains("PRIVATE KEY-----"), "{refused:?}");
    }
    assert_eq!(api.put(&path, &json!({"certificate": certificate})).status, 422);
    assert_eq!(api.get(&path).status, 404, "nothing was set");
    let read = api.post("/api/tenants/tenant_default/keys", &json!({"scopes": ["read"]})).data(201);
    let reader = api.with_key(read["key"].as_str().expect("a key"));
    assert_eq!(reader.put(&path, &pair(&one)).status, 403);
    api.put(&path, &pair(&one)).data(200);
    reader.get(&path).data(200);

    let ended = Authority::ended();
    assert_eq!(api.put(&path, &pair(&ended)).data(200)["status"], "expired");
    eventually("it is warned of", || {
        server.log().contains("a client certificate is not valid now").then_some(())
    });
}
