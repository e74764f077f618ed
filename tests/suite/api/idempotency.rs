//! `Idempotency-Key`: what is sent twice is done once.

use super::PIPELINES;
use crate::support::{Answer, Api, Receiver, TestServer};
use serde_json::{Value, json};

fn webhook() -> Value {
    json!({"url": "https://example.com/h", "events": ["conversion"]})
}

fn kinds(api: &Api) -> Vec<String> {
    let kind = |record: &Value| record["kind"].as_str().expect("a kind").to_owned();
    api.list("/api/log", "items").iter().map(kind).collect()
}

/// I4: the change and its answer are one append, so no kill can fall between them; what is shown only once is
/// shown again to whoever asks the same way.
#[test]
fn a_webhook_made_twice_is_made_once_also_after_a_kill() {
    let mut server = TestServer::start();
    let api = server.api().with_header("Idempotency-Key", "make-1");
    let first = api.post("/api/webhooks", &webhook());
    assert_eq!(first.message.header("idempotency-replayed"), None);
    let first = first.data(201);
    assert!(first["secret"].as_str().is_some_and(|secret| secret.len() >= 24));
    let kinds = kinds(&server.api());
    let [.., change, answer] = &*kinds else { panic!("{kinds:?}") };
    assert_eq!((change.as_str(), answer.as_str()), ("pipeline_created", "answered"));

    let again = api.post("/api/webhooks", &webhook());
    assert_eq!(again.message.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.data(201), first);
    server.kill();
    server.launch();
    let api = server.api().with_header("Idempotency-Key", "make-1");
    assert_eq!(api.post("/api/webhooks", &webhook()).data(201), first);
    assert_eq!(api.list("/api/webhooks", "items").len(), 1);
}

#[test]
fn tenants_and_keys_are_made_once_and_their_keys_work() {
    let server = TestServer::start();
    let api = server.api().with_header("Idempotency-Key", "t-1");
    let body = json!({"name": "Acme", "profile": "afftok"});
    let made = api.post("/api/tenants", &body).data(201);
    assert_eq!(api.post("/api/tenants", &body).data(201), made);
    let key = made["api_key"]["key"].as_str().expect("a key");
    let keys = format!("/api/tenants/{}/keys", made["id"].as_str().expect("an id"));
    let own = api.with_key(key).with_header("Idempotency-Key", "k-1");
    let second = own.post(&keys, &json!({"scopes": ["read"]})).data(201);
    assert_eq!(own.post(&keys, &json!({"scopes": ["read"]})).data(201), second);
    assert_eq!(own.list(&keys, "items").len(), 2);
    let reader = api.with_key(second["key"].as_str().expect("a key"));
    assert_eq!(reader.get("/api/webhooks").status, 200);
}

/// Every `POST` honours the key, not only those that make something.
#[test]
fn a_test_request_sent_twice_reaches_the_receiver_once() {
    let server = TestServer::start();
    let receiver = Receiver::healthy();
    let api = server.api().with_header("Idempotency-Key", "run-1");
    let call = json!({"url": receiver.url(), "body": {"a": 1}});
    let first = api.post("/api/admin/webhooks/test/step", &call).data(200);
    assert_eq!(api.post("/api/admin/webhooks/test/step", &call).data(200), first);
    assert_eq!(receiver.count(), 1);
}

#[test]
fn a_key_stands_for_one_request_and_refusals_are_not_kept() {
    let server = TestServer::start();
    let api = server.api().with_header("Idempotency-Key", "one");
    assert_eq!(api.post("/api/webhooks", &json!({"url": "nonsense"})).status, 422);
    api.post("/api/webhooks", &webhook()).data(201);
    let other = api.post("/api/webhooks", &json!({"url": "https://example.com/i", "events": ["conversion"]}));
    assert_eq!((other.status, other.json["code"].as_str()), (409, Some("idempotency_key_reused")));
    assert_eq!(api.post(PIPELINES, &webhook()).status, 409, "another path");
    let mut foreign = server.api();
    foreign.post("/api/tenants", &json!({"id": "other", "name": "Other", "profile": "afftok"})).data(201);
    foreign.tenant = Some("other".into());
    let foreign = foreign.with_header("Idempotency-Key", "one");
    assert_eq!(foreign.post("/api/webhooks", &webhook()).status, 201, "keys are the tenant's own");
}

/// TEN.2, I30: a kept answer may hold a key that is shown once. What the operator was answered is given to nobody else,
/// whatever tenant it acted for, and whoever may not call a path gets no answer of it again.
#[test]
fn a_kept_answer_is_given_only_to_those_who_may_ask_for_it() {
    let mut server = TestServer::start();
    let own = server.api().tenant_of("apexmediation", "own").key;
    let minted = server.api().post("/api/tenants/tenant_default/keys", &json!({"scopes": ["manage"]}));
    let other = minted.data(201)["key"].as_str().expect("a key").to_owned();
    let operator = server.api().key;
    let ask = |server: &TestServer, key: &str, call: &str, body: &Value| {
        let api = server.api().with_key(key).with_header("Idempotency-Key", call);
        api.post(&format!("/api/tenants/own/{call}"), body)
    };
    let replayed = |answer: &Answer| answer.message.header("idempotency-replayed").is_some();

    let secret = json!({"kty": "oct", "k": "a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U"});
    let key = json!({"scopes": ["events:write", "manage"]});
    let calls = [
        ("keys", &key),
        ("jwt-keys", &json!({"jwk": secret, "scopes": ["read"]})),
        ("signing-keys/rotate", &json!({})),
    ];
    for (call, body) in calls {
        let first = ask(&server, &operator, call, body);
        assert!(matches!(first.status, 200 | 201), "{first:?}");
        let refused = ask(&server, &other, call, body);
        assert_eq!((refused.status, replayed(&refused)), (404, false), "{call}: {refused:?}");
        let again = ask(&server, &operator, call, body);
        assert_eq!((replayed(&again), &again.json), (true, &first.json), "{call}");
        let mine = ask(&server, &own, call, body);
        assert!(!replayed(&mine) && mine.json != first.json, "{call}: {mine:?}");
    }
    server.kill();
    server.launch();
    let [operators, mine] = [&operator, &own].map(|caller| ask(&server, caller, "keys", &key));
    assert!(replayed(&operators) && replayed(&mine) && operators.json != mine.json, "each finds its own");
    assert_eq!(ask(&server, &other, "keys", &key).status, 404);
}
