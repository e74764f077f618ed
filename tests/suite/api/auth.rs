//! Keys, scopes and the walls between tenants.

use super::{PIPELINES, created, pipeline, position, tenant};
use crate::support::{Api, TestServer};
use serde_json::{Value, json};

/// TEN.1
#[test]
fn every_path_but_health_asks_for_a_key_and_gives_no_hint() {
    let server = TestServer::start();
    let operator = server.api();
    let before = position(&operator);
    for key in ["", " ", "null", "undefined", "op_tests_0123456789abcdefghijklmnox"] {
        let api = operator.with_key(key);
        for path in [
            PIPELINES,
            "/api/webhooks",
            "/api/state",
            "/api/tenants",
            "/api/log",
            "/api/actors",
            "/api/stream",
        ] {
            let answer = api.get(path);
            assert_eq!(
                (answer.status, &answer.json["code"]),
                (401, &json!("unauthorized")),
                "{path} {key:?}"
            );
        }
        for path in
            [PIPELINES, "/api/events", "/api/webhooks", "/api/tenants", "/api/deliveries/exec_1_a/retry"]
        {
            assert_eq!(api.post(path, &json!({})).status, 401, "{path} {key:?}");
        }
    }
    let anonymous = operator.with_key("");
    assert_eq!((anonymous.get("/livez").status, anonymous.get("/readyz").status), (200, 200));
    assert_eq!(position(&operator), before);
}

/// TEN.2, I30: another tenant's things look like what does not exist.
#[test]
fn another_tenants_ids_do_not_exist() {
    let server = TestServer::start();
    let operator = server.api();
    let (a, b) = (tenant(&operator, "tenant_a"), tenant(&operator, "tenant_b"));
    let id = created(a.post(PIPELINES, &pipeline("mine")));
    let theirs = format!("{PIPELINES}/{id}");
    let nobodys = format!("{PIPELINES}/pipe_0000000000000000");
    for (method, body) in [("GET", None), ("PUT", Some(json!({"name": "x"}))), ("DELETE", None)] {
        let (theirs, nobodys) =
            (b.send(method, &theirs, body.as_ref()), b.send(method, &nobodys, body.as_ref()));
        assert_eq!((theirs.status, nobodys.status), (404, 404), "{method}");
        assert_eq!(theirs.json["code"], nobodys.json["code"]);
    }
    assert_eq!(b.get(PIPELINES).data(200)["pagination"]["total"], 0);
    assert_eq!(b.get("/api/tenants/tenant_a").status, 404);
    assert_eq!(a.get(&theirs).status, 200);
}

/// TEN.4, TEN.5
#[test]
fn a_key_does_what_its_scopes_say_for_the_tenant_that_it_belongs_to() {
    let server = TestServer::start();
    let operator = server.api();
    let a = tenant(&operator, "tenant_a");
    let key = |scopes| {
        let made = a.post("/api/tenants/tenant_a/keys", &json!({"scopes": scopes})).data(201);
        a.with_key(made["key"].as_str().expect("a key"))
    };
    let (mut reader, writer) = (key(json!(["read"])), key(json!(["events:write"])));
    let before = position(&operator);
    assert_eq!(reader.post(PIPELINES, &pipeline("x")).status, 403);
    assert_eq!(reader.post("/api/events", &json!({})).status, 403);
    assert_eq!(reader.post("/api/tenants/tenant_a/keys", &json!({"scopes": ["manage"]})).status, 403);
    assert_eq!(writer.post("/api/tenants/tenant_a/keys", &json!({"scopes": ["manage"]})).status, 403);
    assert_eq!(writer.get(PIPELINES).status, 403);
    assert_eq!(a.get("/api/state").status, 403);
    assert_eq!(reader.get(PIPELINES).status, 200);
    reader.tenant = Some("tenant_default".to_owned());
    assert_eq!(reader.get(PIPELINES).json["code"], "tenant_mismatch");
    assert_eq!(position(&operator), before);
}

/// Who of many keys is still in use: told by the minute, and not over a restart.
#[test]
fn a_keys_last_use_is_told_by_the_minute() {
    let mut server = TestServer::start();
    let a = tenant(&server.api(), "tenant_a");
    let path = "/api/tenants/tenant_a/keys";
    let made = a.post(path, &json!({"scopes": ["read"], "name": "reader"})).data(201);
    let reader = a.with_key(made["key"].as_str().expect("a key"));
    let last_use = |api: &Api| {
        let keys = api.list(path, "items");
        keys.into_iter().find(|key| key["name"] == "reader").expect("the key")["last_used_at"].clone()
    };
    assert_eq!(last_use(&a), Value::Null);
    let before = position(&server.api());
    let created = a.list(path, "items").pop().expect("a key")["created_at"].clone();
    // One that is refused for its scope was used; one that is no key was not.
    assert_eq!(reader.post("/api/events", &json!({})).status, 403);
    assert_eq!(a.with_key("lh_0000").get(PIPELINES).status, 401);
    let told = last_use(&a);
    let told = told.as_str().expect("an instant");
    assert!(told.ends_with(":00Z"), "{told}");
    let created = created.as_str().expect("an instant");
    assert!(told[..16] >= created[..16], "{told} is before {created}");
    let own =
        a.list(path, "items").into_iter().find(|key| key["name"] == Value::Null).expect("the first key");
    assert!(own["last_used_at"].is_string(), "{own}");
    assert_eq!(position(&server.api()), before, "nothing is written for it");

    server.restart();
    let a = server.api().with_key(&a.key);
    assert_eq!(last_use(&a), Value::Null);
    assert_eq!(server.api().with_key(&reader.key).get(PIPELINES).status, 200);
    assert!(last_use(&a).is_string());
}

#[test]
fn a_revoked_key_is_no_key() {
    let server = TestServer::start();
    let a = tenant(&server.api(), "tenant_a");
    let made = a.post("/api/tenants/tenant_a/keys", &json!({"scopes": ["read"]})).data(201);
    let reader = a.with_key(made["key"].as_str().expect("a key"));
    assert_eq!(reader.get(PIPELINES).status, 200);
    let id = made["id"].as_str().expect("an id");
    assert_eq!(a.delete(&format!("/api/tenants/tenant_a/keys/{id}")).status, 200);
    assert_eq!(reader.get(PIPELINES).status, 401);
}
