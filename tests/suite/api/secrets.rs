//! What nobody gets to see, and nobody else gets hold of.

use super::{PIPELINES, created, tenant};
use crate::support::{
    Receiver, Reply, TestServer, eventually,
    files::files,
    make::{Pipeline, conversion, post},
};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// SEC.7, TEN.3: the operator's key of a first run lies in a tenant, and is none of the tenant's business.
#[test]
fn a_tenants_key_cannot_lock_the_operator_out() {
    let mut server = TestServer::with_nothing().without_key().start();
    let operator = server.api().with_key(&shown_key(&server));
    let keys = operator.list("/api/tenants/tenant_default/keys", "items");
    let id = keys[0]["id"].as_str().expect("an id").to_owned();
    let manager = json!({"name": "m", "scopes": ["manage"]});
    let manager = operator.post("/api/tenants/tenant_default/keys", &manager).data(201);
    let manager = operator.with_key(manager["key"].as_str().expect("a key"));
    let seen = manager.list("/api/tenants/tenant_default/keys", "items");
    assert!(seen.iter().all(|key| key["id"] != *id) && seen.len() == 1, "{seen:#?}");
    let path = format!("/api/tenants/tenant_default/keys/{id}");
    assert_eq!(manager.delete(&path).status, 404);
    assert_eq!(manager.delete("/api/tenants/tenant_default").status, 403);
    // Nor does the operator saw off the branch.
    assert_eq!(operator.delete(&path).status, 409);
    assert_eq!(operator.delete("/api/tenants/tenant_default").status, 409);
    assert_eq!(operator.get("/api/state").status, 200);
    server.terminate();
}

fn shown_key(server: &TestServer) -> String {
    eventually("the key is shown", || {
        let log = server.log();
        log.lines().map(str::trim).find(|line| line.starts_with("lhk_")).map(str::to_owned)
    })
}

/// I4: the key is shown once, so it has to be on the disk by then.
#[test]
fn the_key_of_a_first_run_outlives_a_kill() {
    for _ in 0..5 {
        let mut server = TestServer::with_nothing().without_key().start();
        let key = shown_key(&server);
        server.restart();
        assert_eq!(server.api().with_key(&key).get("/api/tenants").status, 200);
        assert_eq!(server.log().matches("shown this once").count(), 1, "{}", server.log());
    }
}

/// SEC.1, I28: a header that was sealed for one host is not sent to another one on the word of somebody who cannot read
/// it.
#[test]
fn sealed_headers_stay_with_their_host() {
    let server = TestServer::with_nothing().start();
    let api = server.api();
    let step =
        |url: &str, value: &str| json!([{"name": "s", "url": url, "headers": {"Authorization": value}}]);
    let steps = step("https://a.example.com/x", "Bearer canary-of-the-header");
    let body = json!({"name": "n", "trigger_type": "conversion", "steps": steps});
    let path = format!("{PIPELINES}/{}", created(api.post(PIPELINES, &body)));
    assert_eq!(api.put(&path, &json!({"steps": step("https://a.example.com/y", "***")})).status, 200);
    for (change, pointer) in [
        (json!({"steps": step("https://b.example.com/x", "***")}), "/steps/0/url"),
        (json!({"steps": step("https://a.example.com:8443/x", "***")}), "/steps/0/url"),
        (json!({"failover_url": "https://b.example.com/x"}), "/failover_url"),
        (
            json!({"failover_url": "https://b.example.com/", "steps": step("https://a.example.com/y", "***")}),
            "/failover_url",
        ),
    ] {
        let refused = api.put(&path, &change);
        assert_eq!(refused.status, 422, "{refused:?}");
        let error = &refused.json["errors"][0];
        assert_eq!(
            (&error["pointer"], &error["code"]),
            (&json!(pointer), &json!("secret_needed")),
            "{change}"
        );
    }
    let moved = json!({"failover_url": "https://b.example.com/x", "steps": step("https://c.example.com/", "Bearer new-canary")});
    assert_eq!(api.put(&path, &moved).status, 200);
    // Both are known now.
    assert_eq!(api.put(&path, &json!({"steps": step("https://b.example.com/z", "***")})).status, 200);

    let hook = json!({"url": "https://a.example.com/x", "events": ["conversion.created"], "headers": {"X-Api-Key": "canary"}});
    let hook = format!("/api/webhooks/{}", created(api.post("/api/webhooks", &hook)));
    let elsewhere = api.send("PATCH", &hook, Some(&json!({"url": "https://b.example.com/x"})));
    assert_eq!((elsewhere.status, &elsewhere.json["errors"][0]["pointer"]), (422, &json!("/url")));
}

/// SEC.1, SEC.2, I28: a token in a URL's query is shown masked, kept when it comes back so, and stays with its host.
#[test]
fn credentials_in_a_query_are_write_only() {
    let server = TestServer::with_nothing().start();
    let api = server.api();
    let steps = |url: &str| json!([{"name": "s", "url": url}]);
    let url = "https://a.example.com/x?token=canary-of-the-query&page=2";
    let body = json!({"name": "n", "trigger_type": "conversion", "steps": steps(url), "failover_url": url});
    let path = format!("{PIPELINES}/{}", created(api.post(PIPELINES, &body)));
    let masked = "https://a.example.com/x?token=***&page=2";
    let shown = api.get(&path).data(200);
    assert_eq!((&shown["steps"][0]["url"], &shown["failover_url"]), (&json!(masked), &json!(masked)));
    let back = json!({"steps": shown["steps"], "failover_url": shown["failover_url"]});
    assert_eq!(api.put(&path, &back).data(200)["steps"][0]["url"], masked);
    let edited = "https://a.example.com/y?page=3&token=***";
    assert_eq!(api.put(&path, &json!({"steps": steps(edited)})).data(200)["steps"][0]["url"], edited);
    for (change, pointer, code) in [
        (json!({"steps": steps("https://b.example.com/x?token=***")}), "/steps/0/url", "secret_needed"),
        (json!({"failover_url": "https://b.example.com/x?token=***"}), "/failover_url", "secret_needed"),
        (json!({"steps": steps("https://a.example.com/x?password=***")}), "/steps/0/url", "masked"),
        (
            json!({"steps": steps("https://a.example.com/x?token={{sealed.v1.abc}}")}),
            "/steps/0/url",
            "template",
        ),
    ] {
        let refused = api.put(&path, &change);
        assert_eq!(refused.status, 422, "{change}: {refused:?}");
        let error = &refused.json["errors"][0];
        assert_eq!((&error["pointer"], &error["code"]), (&json!(pointer), &json!(code)), "{change}");
    }
    // Nor in two steps, by way of the failover's host, which never had it.
    assert_eq!(api.put(&path, &json!({"failover_url": "https://b.example.com/"})).status, 200);
    let moved = api.put(&path, &json!({"steps": steps("https://b.example.com/x?token=***")}));
    let error = &moved.json["errors"][0];
    assert_eq!((moved.status, &error["code"]), (422, &json!("secret_needed")), "{moved:?}");
    let audit = api.get("/api/audit?limit=100").message.body;
    assert!(!String::from_utf8_lossy(&audit).contains("canary"));
}

/// SEC.1, SEC.6: a receiver that repeats the token without its scheme.
#[test]
fn a_literal_call_shows_no_credential_that_comes_back() {
    let receiver = Receiver::start(|request| {
        let token = request.header("authorization").trim_start_matches("Bearer ");
        Reply::Text(token.chars().rev().collect::<String>() + token)
    });
    let server = TestServer::start();
    let headers = json!({"Authorization": "Bearer canary-1234567890-abcdef"});
    let call = json!({"url": receiver.url(), "headers": headers});
    let tried = server.api().post("/api/admin/webhooks/test/step", &call).data(200);
    assert_eq!(tried["response"]["body"], "******", "{tried:#}");
}

/// SEC.2: nobody else on the machine reads what is kept.
#[test]
fn the_data_folder_is_the_owners_alone() {
    let receiver = Receiver::start(|_| Reply::Status(200));
    let server = TestServer::start();
    let api = server.api();
    crate::support::make::Pipeline::to(&receiver).create(&api);
    post(&api, &conversion("evt_0", "conv_1", 0));
    eventually("it is delivered", || (receiver.succeeded() == 1).then_some(()));
    let mut open = Vec::new();
    visit(&server.data_dir, &mut open);
    assert_eq!(open, Vec::<String>::new());
}

fn visit(path: &Path, open: &mut Vec<String>) {
    let Ok(found) = fs::symlink_metadata(path) else { return };
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        open.push(format!("{mode:o} {}", path.display()));
    }
    if found.is_dir() {
        fs::read_dir(path).expect("a folder").flatten().for_each(|entry| visit(&entry.path(), open));
    }
}

const MASTER_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// SEC.7: a key that is kept apart from what it seals.
#[test]
fn the_master_key_may_lie_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, file) = (folder.path().join("data"), folder.path().join("key"));
    fs::write(&file, MASTER_KEY).expect("a file");
    let start = || TestServer::with_nothing().on(&data);
    let mut by_file = start().variable("LEDGERHOOK_MASTER_KEY_FILE", file.to_str().expect("a path")).start();
    let body =
        json!({"name": "n", "trigger_type": "conversion", "steps": [{"url": "https://a.example.com/"}]});
    let made = by_file.api().post(PIPELINES, &body).data(201);
    assert!(!data.join("master.key").exists());
    by_file.terminate();
    let mut by_value = start().variable("LEDGERHOOK_MASTER_KEY", MASTER_KEY).start();
    let (id, step) = (made["id"].as_str().expect("an id"), made["steps"][0]["id"].as_str().expect("an id"));
    let secret = by_value.api().get(&format!("/api/pipelines/{id}/steps/{step}/secret")).data(200);
    assert_eq!(secret["secret"], made["steps"][0]["signing_key"]);
    let checked = by_value.verb(&["config", "check"]);
    assert!(!String::from_utf8_lossy(&checked.stdout).contains(MASTER_KEY));
    by_value.terminate();
    for (name, value, wanted) in [
        ("LEDGERHOOK_MASTER_KEY", "changeme", "32 bytes"),
        ("LEDGERHOOK_MASTER_KEY_FILE", "/nowhere/key", "secrets.master_key_file"),
    ] {
        let Err((_, log)) = start().variable(name, value).try_start() else { panic!("{name} was taken") };
        assert!(log.contains(wanted), "{log}");
    }
}

/// SEC.7: another master key takes over; what was sealed stays usable, and the former key opens nothing any more.
#[test]
fn another_master_key_takes_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, file) = (folder.path().join("data"), folder.path().join("key"));
    fs::write(&file, MASTER_KEY).expect("a file");
    let file = file.to_str().expect("a path");
    let mut server = TestServer::with_nothing().on(&data).start();
    let body =
        json!({"name": "n", "trigger_type": "conversion", "steps": [{"url": "https://a.example.com/"}]});
    let made = server.api().post(PIPELINES, &body).data(201);
    let former = fs::read_to_string(data.join("master.key")).expect("a key");
    // While the server runs, and once more.
    let rewrap = |variables: &[(String, String)], told: &str| {
        let mut verb = crate::support::server::command(&data, &[], variables);
        let output =
            verb.args(["secrets", "rewrap", "--new-key-file", file]).output().expect("the binary runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains(told), "{text} {output:?}");
    };
    rewrap(&[], "is the one in");
    rewrap(&[("LEDGERHOOK_MASTER_KEY".to_owned(), former.clone())], "was the one in");
    assert!(!data.join("master.key").exists());
    server.terminate();
    let start = || TestServer::with_nothing().on(&data);
    for (variable, value) in [("LEDGERHOOK_MASTER_KEY", former.as_str()), ("LEDGERHOOK_LOG_FILTER", "info")] {
        let Err((_, log)) = start().variable(variable, value).try_start() else {
            panic!("started with {variable}")
        };
        assert!(log.contains("master key") || log.contains("master.key"), "{log}");
    }
    let server = start().variable("LEDGERHOOK_MASTER_KEY_FILE", file).start();
    let (id, step) = (made["id"].as_str().expect("an id"), made["steps"][0]["id"].as_str().expect("an id"));
    let secret = server.api().get(&format!("/api/pipelines/{id}/steps/{step}/secret")).data(200);
    assert_eq!(secret["secret"], made["steps"][0]["signing_key"]);
}

/// TEN.9, I32: what was done to a tenant outlives it, for the operator.
#[test]
fn the_audit_of_a_deleted_tenant_stays() {
    let server = TestServer::with_nothing().start();
    let operator = server.api();
    let own = tenant(&operator, "tenant_gone");
    assert_eq!(operator.delete("/api/tenants/tenant_gone").status, 200);
    let audit = operator.with_header("X-Tenant-Id", "tenant_gone").list("/api/audit", "items");
    let actions: Vec<&Value> = audit.iter().map(|record| &record["action"]).collect();
    assert!(
        actions.contains(&&json!("tenant.deleted")) && actions.contains(&&json!("tenant.created")),
        "{actions:?}"
    );
    assert_eq!(own.get("/api/audit").status, 401);
    assert_eq!(
        operator.with_header("X-Tenant-Id", "tenant_never").list("/api/audit", "items"),
        Vec::<Value>::new()
    );
    assert_eq!(operator.with_header("X-Tenant-Id", "tenant_gone").get(PIPELINES).status, 404);
    assert_eq!(
        operator.post("/api/tenants", &json!({"id": "operator", "name": "n", "profile": "afftok"})).status,
        422
    );
}

/// SEC.5: what was replaced is gone from every answer and from what is sent, at once and after a restart, and from disk but
/// for the sealed form in the fact that gave it (docs/operations.md).
#[test]
fn sec_5_a_secret_that_was_replaced_is_gone() {
    const OLD: &str = "former-canary-of-32-characters-00";
    const NEW: &str = "present-canary-of-32-characters-0";
    let receiver = Receiver::start(|_| Reply::Status(200));
    let mut server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver)
        .step("headers", json!({"X-Api-Key": format!("header-{OLD}")}))
        .step("signing_key", OLD)
        .create(&api);
    let path = format!("{PIPELINES}/{id}");
    let step = api.get(&path).data(200)["steps"][0]["id"].as_str().expect("an id").to_owned();
    let secret = format!("/api/pipelines/{id}/steps/{step}/secret");
    api.post(&format!("{secret}/rotate"), &json!({"secret": NEW})).data(200);
    let mut steps = api.get(&path).data(200)["steps"].clone();
    steps[0]["headers"] = json!({"X-Api-Key": "header-of-now"});
    api.put(&path, &json!({"steps": steps})).data(200);

    for round in 0..2 {
        let api = server.api();
        post(&api, &conversion(&format!("evt_{round}"), "conv_1", round));
        eventually("it is delivered", || (receiver.succeeded() > round).then_some(()));
        let sent = &receiver.received()[round];
        assert_eq!(sent.header("x-api-key"), "header-of-now");
        let shown = [
            &path,
            &secret,
            "/api/deliveries",
            "/api/audit",
            "/api/state",
            "/api/log",
            "/api/admin/webhooks/logs/recent",
        ]
        .map(|path| format!("{:?}", api.get(path)));
        assert!(shown.iter().all(|text| !text.contains(OLD)), "{shown:#?}");
        assert!(shown[1].contains(NEW) || !shown[1].contains("canary"), "{}", shown[1]);
        server.kill();
        let found = files(&server.data_dir).into_iter().find(|(_, bytes)| {
            bytes.windows(OLD.len()).any(|window| window == OLD.as_bytes() || window == NEW.as_bytes())
        });
        assert_eq!(found.map(|(path, _)| path), None);
        server.restart();
    }
}
