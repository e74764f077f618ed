//! What receivers can rely on when they check who sent a request (SIG), with the real binary on the other side.

use crate::support::{
    Api, Received, Receiver, Reply, TestServer,
    checker::mac,
    eventually,
    make::{Pipeline, SIGNING_KEY, conversion, post},
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use chrono::DateTime;
use serde_json::{Value, json};

const NEW_KEY: &str = "another-signing-key-of-tests-9876";

/// The signature that `key` makes for `webhook-signature`.
fn standard(request: &Received, key: &str) -> String {
    let (id, timestamp) = (request.event(), request.header("webhook-timestamp"));
    let signed = [format!("{id}.{timestamp}.").as_bytes(), &request.message.body].concat();
    format!("v1,{}", BASE64_STANDARD.encode(mac(key, &signed)))
}

/// The signatures in `webhook-signature` that were made with a secret.
fn signed(request: &Received) -> Vec<&str> {
    request.header("webhook-signature").split(' ').filter(|entry| entry.starts_with("v1,")).collect()
}

/// Whether the provider's own header is signed with `key`.
fn own(request: &Received, key: &str) -> bool {
    request.header("x-afftok-signature") == hex::encode(mac(key, &request.message.body))
}

fn rotate(server: &TestServer, pipeline: &str, body: &Value) -> Value {
    let api = server.api();
    let step =
        api.get(&format!("/api/admin/webhooks/pipelines/{pipeline}")).data(200)["steps"][0]["id"].clone();
    let step = step.as_str().expect("an id");
    api.post(&format!("/api/pipelines/{pipeline}/steps/{step}/secret/rotate"), body).data(200)
}

/// SIG.5, I17: which keys a request carries is decided by its own timestamp, for a hundred deliveries that were
/// pending when the key was rotated, over the end of the overlap.
#[test]
fn requests_carry_both_keys_during_the_overlap_and_the_new_one_after_it() {
    let receiver = Receiver::start(|_| Reply::Status(500));
    let server = TestServer::start();
    let api = server.api();
    let pipeline = Pipeline::to(&receiver).retry(50, 1).create(&api);
    for n in 0..100 {
        post(&api, &conversion(&format!("evt_{n}"), &format!("conv_{n}"), n));
    }
    eventually("all are waiting", || (receiver.count() >= 100).then_some(()));
    assert!(receiver.received().iter().all(|request| signed(request) == [standard(request, SIGNING_KEY)]));
    let rotated = rotate(&server, &pipeline, &json!({"secret": NEW_KEY, "overlap_seconds": 3}));
    let since = receiver.count() + 100;
    let expires_at = rotated["former"][0]["expires_at"].as_str().expect("an end");
    let expires_at = DateTime::parse_from_rfc3339(expires_at).expect("an instant").timestamp();
    let second = |request: &Received| request.header("webhook-timestamp").parse::<i64>().expect("a number");
    eventually("the overlap is over", || {
        receiver.received().iter().filter(|request| second(request) > expires_at).nth(100).map(drop)
    });
    receiver.now(|_| Reply::Status(200));
    eventually("all are delivered", || (receiver.succeeded() == 100).then_some(()));

    let (mut both, mut alone) = (0, 0);
    // What was on its way while the new key came into force is signed with the old one.
    for request in receiver.received().iter().skip(since) {
        let (old, new) = (standard(request, SIGNING_KEY), standard(request, NEW_KEY));
        assert!(own(request, NEW_KEY), "one signature, of the new key");
        if second(request) < expires_at {
            assert_eq!(signed(request), [new, old]);
            both += 1;
        } else {
            assert_eq!(signed(request), [new]);
            alone += 1;
        }
    }
    assert!(both > 0 && alone > 100, "{both} with both keys, {alone} with the new one");
}

/// T-6: a receiver that knows only the old key loses nothing and sees no retry delay; the attempt says why it was
/// made, and the log proves that it was allowed.
#[test]
fn a_receiver_with_the_old_key_is_served_during_the_overlap() {
    let receiver =
        Receiver::start(|request| Reply::Status(if own(request, SIGNING_KEY) { 200 } else { 401 }));
    let mut server = TestServer::start();
    let api = server.api();
    let pipeline = Pipeline::to(&receiver).retry(4, 3_600).create(&api);
    rotate(&server, &pipeline, &json!({"secret": NEW_KEY, "overlap_seconds": 600}));
    post(&api, &conversion("evt_1", "conv_1", 0));
    eventually("it is delivered", || (receiver.succeeded() == 1).then_some(()));
    let requests = receiver.received();
    assert_eq!(requests.iter().map(Received::attempt).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(requests[0].message.body, requests[1].message.body);
    assert!(own(&requests[0], NEW_KEY));
    for request in &requests {
        assert_eq!(signed(request), [standard(request, NEW_KEY), standard(request, SIGNING_KEY)]);
    }
    let delivery = eventually("the API tells", || {
        let delivery = api.get(&format!("/api/deliveries/{}", requests[0].delivery())).data(200);
        (delivery["status"] == "delivered").then_some(delivery)
    });
    let reasons: Vec<_> =
        delivery["attempts"].as_array().expect("attempts").iter().map(|a| &a["reason"]).collect();
    assert_eq!(reasons, [&Value::Null, &json!("rotation_fallback")]);

    // Rotated again without an overlap: the old keys are nothing any more, and nobody is asked with them.
    rotate(&server, &pipeline, &json!({"secret": "a-third-signing-key-of-tests-0001"}));
    post(&api, &conversion("evt_2", "conv_2", 0));
    eventually("it is refused", || {
        let delivery = api.get("/api/deliveries?event_id=evt_2").data(200)["items"][0].clone();
        (delivery["status"] == "retrying").then_some(())
    });
    assert_eq!(receiver.count(), 3);
    server.terminate();
    let proof = server.verb(&["log", "verify"]);
    assert!(proof.status.success(), "{}", String::from_utf8_lossy(&proof.stdout));
}

/// The keys of a JWK set, as the bytes of Ed25519.
fn public_keys(server: &TestServer, path: &str) -> Vec<Vec<u8>> {
    let set = Api::new(server.address, "").get(path);
    assert_eq!((set.status, set.message.header("cache-control")), (200, Some("public, max-age=300")));
    let keys = set.json["keys"].as_array().expect("keys").iter();
    keys.map(|key| {
        assert_eq!(
            (&key["kty"], &key["crv"], &key["alg"]),
            (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA"))
        );
        BASE64_URL_SAFE_NO_PAD.decode(key["x"].as_str().expect("a key")).expect("base64")
    })
    .collect()
}

/// How many of the request's `v1a` signatures the keys verify, each one's own.
fn verified(request: &Received, keys: &[Vec<u8>]) -> Vec<bool> {
    let message = [request.event(), request.header("webhook-timestamp"), ""].join(".").into_bytes();
    let message = [&message[..], &request.message.body].concat();
    let signatures =
        request.header("webhook-signature").split(' ').filter_map(|entry| entry.strip_prefix("v1a,"));
    let signatures = signatures.map(|text| BASE64_STANDARD.decode(text).expect("base64"));
    signatures
        .zip(keys)
        .map(|(signature, key)| {
            let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key);
            key.verify(&message, &signature).is_ok()
        })
        .collect()
}

/// §2: every request of every profile can be checked without a secret, by keys that anybody can fetch; also those of
/// tenants from before there were such keys, also after a restart, also while the tenant's key is rotated.
#[test]
fn anybody_can_check_who_sent_a_request() {
    let receiver = Receiver::healthy();
    let mut server = TestServer::start();
    let api = server.api();
    let pipeline = Pipeline::to(&receiver).create(&api);
    let keys = api.get("/api/tenants/tenant_default/signing-keys").data(200);
    let path = keys["key_set"].as_str().expect("a path").to_owned();
    assert!(!path.contains("tenant"));
    let first = public_keys(&server, &path);
    let whpk = format!("whpk_{}", BASE64_STANDARD.encode(&first[0]));
    assert_eq!(
        (&keys["keys"][0]["public_key"], &keys["keys"][0]["status"]),
        (&json!(whpk), &json!("current"))
    );
    let send = |server: &TestServer, n: usize| {
        post(&server.api(), &conversion(&format!("evt_{n}"), &format!("conv_{n}"), n));
        eventually("it is delivered", || receiver.received().into_iter().nth(n))
    };
    assert_eq!(verified(&send(&server, 0), &first), [true]);

    let rotated =
        api.post("/api/tenants/tenant_default/signing-keys/rotate", &json!({"overlap_seconds": 600}));
    assert_eq!(rotated.data(200)["keys"].as_array().expect("keys").len(), 2);
    let both = public_keys(&server, &path);
    assert_eq!((both.len(), &both[1]), (2, &first[0]));
    assert_eq!(verified(&send(&server, 1), &both), [true, true]);
    server.restart();
    assert_eq!(public_keys(&server, &path), both);
    assert_eq!(verified(&send(&server, 2), &both), [true, true]);

    let api = server.api();
    api.post("/api/tenants/tenant_default/signing-keys/rotate", &json!({"overlap_seconds": 0})).data(200);
    let alone = public_keys(&server, &path);
    assert!(!both.contains(&alone[0]) && alone.len() == 1);
    let mut request = send(&server, 3);
    assert_eq!(verified(&request, &alone), [true]);
    request.message.body[0] ^= 1;
    assert_eq!(verified(&request, &alone), [false]);

    // Whoever needs the time more than the signature can leave it out.
    let step = api.get(&format!("/api/admin/webhooks/pipelines/{pipeline}")).data(200)["steps"][0].clone();
    let url = step["url"].clone();
    let steps =
        json!({"steps": [{"id": step["id"], "name": "Send", "url": url, "ed25519_signature": false}]});
    api.put(&format!("/api/admin/webhooks/pipelines/{pipeline}"), &steps).data(200);
    assert!(verified(&send(&server, 4), &alone).is_empty());

    let audit = api.list("/api/audit", "items");
    assert_eq!(audit.iter().filter(|record| record["action"] == "signing_key.made").count(), 3);
    let log = api.get("/api/log?limit=250").data(200).to_string();
    assert!(
        !log.contains("whsk_") && !log.contains("\"sealed\":\"v1."),
        "nothing of a private half is shown"
    );
    assert_eq!(Api::new(server.address, "").get("/.well-known/webhook-keys/tenant_default").status, 404);
}
