//! What receivers can rely on when they check who sent a request (SIG), with the real binary on the other side.

use crate::support::{
    Api, Received, Receiver, Reply, TestServer,
    checker::{mac, signature_problems},
    eventually,
    make::{Pipeline, SIGNING_KEY, conversion, post},
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use chrono::DateTime;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

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
        // By its id: a restart may send the one before again (I13).
        let id = format!("evt_{n}");
        eventually("it is delivered", || receiver.received().into_iter().find(|one| one.event() == id))
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

/// A server, a receiver that answers with these statuses in turn and then with 200, and what the first event became.
fn delivered(pipeline: impl FnOnce(Pipeline) -> Pipeline, statuses: &'static [u16]) -> Vec<Received> {
    let answer = |request: &Received| *statuses.get(request.attempt() as usize - 1).unwrap_or(&200);
    let receiver = Receiver::start(move |request| Reply::Status(answer(request)));
    let server = TestServer::start();
    pipeline(Pipeline::to(&receiver).retry(5, 1)).create(&server.api());
    post(&server.api(), &conversion("evt_1", "conv_1", 0));
    eventually("it is delivered", || (receiver.succeeded() == 1).then(|| receiver.received()))
}

/// SIG.1, I17: over exactly the bytes that came, the id and the time; one changed byte anywhere fails.
#[test]
fn sig_1_a_signature_covers_body_id_and_time() {
    let mut request = delivered(|pipeline| pipeline, &[]).remove(0);
    assert!(signature_problems(&request, SIGNING_KEY).is_empty());
    assert_eq!(signature_problems(&request, NEW_KEY).len(), 2);
    for place in 0..request.message.body.len() {
        request.message.body[place] ^= 1;
        assert_eq!(signature_problems(&request, SIGNING_KEY).len(), 2, "byte {place}");
        request.message.body[place] ^= 1;
    }
    let signature = standard(&request, SIGNING_KEY);
    for (name, value) in [("webhook-id", "evt_2"), ("webhook-timestamp", "1")] {
        let mut changed = request.clone();
        let header = changed.message.headers.iter_mut().find(|(other, _)| other.eq_ignore_ascii_case(name));
        header.expect("a header").1 = value.to_owned();
        assert_ne!(standard(&changed, SIGNING_KEY), signature, "{name}");
    }
}

/// SIG.2: a key that turns out to be empty stops the delivery where everybody sees it, and nothing leaves.
#[test]
fn sig_2_nothing_is_signed_with_an_empty_key() {
    let receiver = Receiver::healthy();
    let variables = TestServer::with().option("--template-env").option("HOOK_KEY");
    let server = variables.variable("HOOK_KEY", "   ").start();
    let api = server.api();
    for weak in ["", "   ", "short", "12345678901234567890123"] {
        let pipeline = Pipeline::to(&receiver).step("signing_key", weak);
        let refused = api.post("/api/admin/webhooks/pipelines", &pipeline.0);
        assert_eq!((refused.status, &refused.json["errors"][0]["code"]), (422, &json!("weak_key")), "{weak}");
    }
    Pipeline::to(&receiver).step("signing_key", "{{env.HOOK_KEY}}").create(&api);
    post(&api, &conversion("evt_1", "conv_1", 0));
    let delivery = eventually("it has failed", || {
        let delivery = api.get("/api/deliveries?event_id=evt_1").data(200)["items"][0].clone();
        (delivery["status"] == "dead_lettered").then_some(delivery)
    });
    assert_eq!((&delivery["last_outcome"], receiver.count()), (&json!("template_error"), 0));
}

/// SEC.3: nothing but the documented headers, and none of them tells of the machine or of somebody else's secret.
#[test]
fn sec_3_a_request_carries_the_documented_headers_and_no_others() {
    let request = delivered(|pipeline| pipeline.step("headers", json!({"X-Own": "value"})), &[500]).pop();
    let request = request.expect("a request");
    let mut names: Vec<String> =
        request.message.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort();
    let documented = [
        "accept-encoding",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
        "x-afftok-signature",
        "x-own",
        "x-webhook-attempt",
        "x-webhook-delivery",
    ];
    assert_eq!(names, documented);
    let values: Vec<&str> = request.message.headers.iter().map(|(_, value)| value.as_str()).collect();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    for hidden in [SIGNING_KEY, "tenant_", "pipe_", "step_", "key_", env!("CARGO_PKG_VERSION"), "/data"] {
        let found = values.iter().find(|value| value.contains(hidden) && !value.starts_with("ledgerhook/"));
        assert_eq!(found, None);
    }
    assert!(host.trim().len() < 4 || !values.iter().any(|value| value.contains(host.trim())), "{values:?}");
}

/// SIG.3: only the documented modes, and `none` sends no signature of any kind.
#[test]
fn sig_3_an_unsigned_request_has_no_signature_at_all() {
    let unsigned = |mut pipeline: Pipeline| {
        pipeline.0["steps"][0].as_object_mut().expect("a step").remove("signing_key");
        pipeline.step("signature_mode", "none")
    };
    let request = delivered(unsigned, &[]).remove(0);
    for name in ["x-afftok-signature", "webhook-signature", "authorization"] {
        assert_eq!(request.message.header(name), None, "{name}");
    }
    assert_eq!(request.event(), "evt_1");
}

/// SIG.4, T-26: the claims of a token, those of each attempt its own.
#[test]
fn sig_4_a_token_says_who_sends_what_to_whom() {
    let requests = delivered(|pipeline| pipeline.step("signature_mode", "jwt"), &[500]);
    let mut ids = Vec::new();
    for request in &requests {
        let token = request.header("authorization").strip_prefix("Bearer ").expect("a token");
        let [head, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().expect("three parts");
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64");
        assert_eq!(decode(signature), mac(SIGNING_KEY, format!("{head}.{claims}").as_bytes()));
        assert_eq!(decode(head), br#"{"alg":"HS256","typ":"JWT"}"#);
        let claims: Value = serde_json::from_slice(&decode(claims)).expect("JSON");
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!("ledgerhook"), &json!("127.0.0.1")));
        let (issued, expires) = (claims["iat"].as_u64(), claims["exp"].as_u64());
        assert_eq!(expires, issued.map(|issued| issued + 300));
        assert_eq!(claims["body_sha256"], hex::encode(Sha256::digest(&request.message.body)));
        assert!(claims["jti"].as_str().expect("an id").starts_with("evt_1."));
        ids.push(claims["jti"].clone());
    }
    assert_ne!(ids[0], ids[1]);
}

/// SIG.6: the id stays, the time is the attempt's, the signature is new.
#[test]
fn sig_6_a_retry_is_signed_anew() {
    let requests = delivered(|pipeline| pipeline, &[500, 500]);
    assert_eq!(requests.len(), 3);
    for pair in requests.windows(2) {
        assert_eq!((pair[0].event(), pair[0].delivery()), (pair[1].event(), pair[1].delivery()));
        assert_ne!(pair[0].header("webhook-timestamp"), pair[1].header("webhook-timestamp"));
        assert_ne!(signed(&pair[0]), signed(&pair[1]));
        assert_eq!(pair[0].message.body, pair[1].message.body);
    }
    assert!(requests.iter().all(|request| signature_problems(request, SIGNING_KEY).is_empty()));
}

/// SIG.7: whatever the body is, the signature is that of the bytes on the wire.
#[test]
fn sig_7_nothing_is_done_to_a_body_behind_its_signature() {
    let receiver = Receiver::healthy();
    let server = TestServer::start();
    let api = server.api();
    let large = "x".repeat(250_000);
    let raw = "{ \"conversion_id\": \"c\",\r\n\t\"payout\": 5.00 }";
    let cases = [
        (Pipeline::to(&receiver).step("method", "GET"), "{\"a\":1}", Some("")),
        (Pipeline::to(&receiver).step("body_template", 7), "{\"a\":1}", Some("7")),
        (
            Pipeline::to(&receiver).step("body_template", "ends in spaces  "),
            "{\"a\":1}",
            Some("\"ends in spaces  \""),
        ),
        (Pipeline::to(&receiver).step("body_format", "raw"), raw, None),
        (Pipeline::to(&receiver), &format!("{{\"a\":\"{large}\"}}"), None),
    ];
    for (n, (pipeline, data, body)) in cases.into_iter().enumerate() {
        let id = pipeline.create(&api);
        let event = format!("{{\"id\":\"evt_{n}\",\"type\":\"conversion.created\",\"data\":{data}}}");
        let posted = api.try_send("POST", "/api/events", Some(event.as_bytes())).expect("an answer");
        assert_eq!(posted.status, 202, "{posted:?}");
        let request = eventually("it is delivered", || receiver.received().into_iter().nth(n));
        assert!(
            own(&request, SIGNING_KEY) && signed(&request) == [standard(&request, SIGNING_KEY)],
            "case {n}"
        );
        let text = String::from_utf8(request.message.body).expect("text");
        match body {
            Some(body) => assert_eq!(text, body),
            None => assert!(text.contains(data), "the data is there as it was posted"),
        }
        assert_eq!(api.delete(&format!("/api/admin/webhooks/pipelines/{id}")).status, 200);
    }
}

/// SIG.8: after its creation a key is shown by the one call that is there for it, and by nothing else.
#[test]
fn sig_8_no_answer_holds_a_signing_key() {
    let receiver = Receiver::healthy();
    let server = TestServer::start();
    let api = server.api();
    let pipeline = Pipeline::to(&receiver).create(&api);
    rotate(&server, &pipeline, &json!({"secret": NEW_KEY, "overlap_seconds": 600}));
    post(&api, &conversion("evt_1", "conv_1", 0));
    let request = eventually("it is delivered", || receiver.received().into_iter().next());
    let delivery = eventually("the API tells", || {
        let delivery = api.get(&format!("/api/deliveries/{}", request.delivery())).data(200);
        (delivery["status"] == "delivered").then_some(delivery)
    });
    let mut texts = vec![delivery.to_string(), server.log()];
    for path in [
        "/api/admin/webhooks/pipelines".to_owned(),
        format!("/api/admin/webhooks/pipelines/{pipeline}"),
        "/api/admin/webhooks/logs/recent".to_owned(),
        "/api/audit".to_owned(),
        "/api/log?limit=250".to_owned(),
        "/api/state".to_owned(),
    ] {
        texts.push(api.get(&path).data(200).to_string());
    }
    let wrong = Pipeline::to(&receiver).with("status", "wrong");
    texts.push(format!("{:?}", api.put(&format!("/api/admin/webhooks/pipelines/{pipeline}"), &wrong.0)));
    let secrets = [SIGNING_KEY, NEW_KEY, request.header("x-afftok-signature"), signed(&request)[0]];
    for text in texts {
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "{text}");
    }
}
