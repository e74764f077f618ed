//! JWTs of ApexMediation's customers: what their tokens open, and what no token opens.

use super::position;
use crate::support::{Api, TestServer};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

const SECRET: &[u8] = b"a-shared-secret-of-32-bytes-and-more";

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn in_seconds(seconds: i64) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    i64::try_from(since.as_secs()).expect("seconds") + seconds
}

fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    format!("{signed}.{}", base64(sign(signed.as_bytes())))
}

fn hs256(kid: &str, claims: &Value) -> String {
    let sign = |message: &[u8]| {
        let mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("a key");
        mac.chain_update(message).finalize().into_bytes().to_vec()
    };
    token(&json!({"alg": "HS256", "typ": "JWT", "kid": kid}), claims, sign)
}

fn shared() -> Value {
    json!({"jwk": {"kty": "oct", "k": base64(SECRET)}, "scopes": ["manage", "events:write"]})
}

/// A tenant of ApexMediation, and the path of its keys for JWTs.
fn publisher(operator: &Api) -> (Api, String) {
    (operator.tenant_of("apexmediation", "publisher"), "/api/tenants/publisher/jwt-keys".to_owned())
}

fn webhook() -> Value {
    json!({
        "url": "https://yourapp.com/webhooks/apexmediation",
        "events": ["payout.succeeded", "fraud.detected"],
        "secret": "your_webhook_secret_key",
    })
}

/// APX-02, T-44: the document's own call, with `Authorization: Bearer YOUR_JWT_TOKEN`.
#[test]
fn a_webhook_is_registered_with_a_jwt() {
    let server = TestServer::start();
    let (api, keys) = publisher(&server.api());
    let made = api.post(&keys, &shared()).data(201);
    assert_eq!(made["alg"], "HS256");
    assert_eq!(made["kid"], made["id"], "the server names it");
    let kid = made["kid"].as_str().expect("a kid");
    let bearer = api.with_key(&hs256(kid, &json!({"exp": in_seconds(60)})));
    assert_eq!(bearer.post("/v1/webhooks", &webhook()).status, 201);
    let event = json!({"type": "payout.failed", "data": {"payout_id": "p"}});
    assert_eq!(bearer.post("/api/events", &event).status, 202);
    assert_eq!(bearer.get("/api/state").status, 403, "nobody's token is the operator's");

    let narrow = api.with_key(&hs256(kid, &json!({"exp": in_seconds(60), "scope": "events:write"})));
    assert_eq!(narrow.post("/v1/webhooks", &webhook()).status, 403, "a scope claim takes away");
    assert_eq!(narrow.post("/api/events", &event).status, 202);

    let audit = api.get("/api/audit").data(200).to_string();
    assert!(audit.contains("jwt_key.created") && audit.contains("pipeline.created"), "{audit}");
    assert!(!audit.contains(&base64(SECRET)));
    let record = server.api().list("/api/log?kind=jwt_key_created", "items");
    assert!(!record[0].to_string().contains(&base64(SECRET)), "{record:#?}");
    let listed = api.list(&keys, "items");
    assert_eq!((&listed[0]["id"], listed.len()), (&made["id"], 1));
    assert_eq!(made["last_used_at"], json!(null));
    assert!(listed[0]["last_used_at"].as_str().is_some_and(|at| at.ends_with(":00Z")), "{listed:?}");
}

/// TEN.1, RFC 8725: whatever is wrong with a token, the answer is the same and nothing happens.
#[test]
fn a_token_that_does_not_hold_is_401_and_does_not_say_why() {
    let server = TestServer::start();
    let operator = server.api();
    let (api, keys) = publisher(&operator);
    let made = api.post(&keys, &shared()).data(201);
    let kid = made["kid"].as_str().expect("a kid");
    let good = json!({"exp": in_seconds(60)});
    let unsigned = token(&json!({"alg": "none", "kid": kid}), &good, |_| Vec::new());
    let wrong = token(&json!({"alg": "HS256", "kid": kid}), &good, |_| vec![0; 32]);
    let before = position(&operator);
    let mut answers = Vec::new();
    for text in [
        hs256(kid, &json!({"exp": in_seconds(-120)})),
        hs256(kid, &json!({})),
        hs256(kid, &json!({"exp": in_seconds(600), "nbf": in_seconds(300)})),
        hs256("jwk_unknown", &good),
        unsigned,
        wrong,
        format!("{}.", hs256(kid, &good)),
        "a.b.c".to_owned(),
    ] {
        let answer = api.with_key(&text).post("/v1/webhooks", &webhook());
        assert_eq!(answer.status, 401, "{text}: {answer:?}");
        answers.push((answer.json["detail"].clone(), answer.json["code"].clone()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    assert_eq!(position(&operator), before);
}

/// TEN.4: the key that is revoked, and the tenant that is another's.
#[test]
fn a_revoked_key_ends_its_tokens_at_once_also_after_a_restart() {
    let mut server = TestServer::start();
    let (api, keys) = publisher(&server.api());
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key())});
    let made = api.post(&keys, &json!({"jwk": jwk, "scopes": ["read"], "name": "auth service"})).data(201);
    assert_eq!(made["alg"], "EdDSA");
    let header = json!({"alg": "EdDSA", "kid": made["kid"]});
    let signed =
        token(&header, &json!({"exp": in_seconds(600)}), |message| pair.sign(message).as_ref().to_vec());
    assert_eq!(api.with_key(&signed).get("/v1/webhooks").status, 200);
    assert_eq!(api.with_key(&signed).post("/v1/webhooks", &webhook()).status, 403, "reads only");
    server.restart();
    let operator = server.api();
    assert_eq!(operator.with_key(&signed).get("/v1/webhooks").status, 200, "the log has the key");
    let api = operator.with_key(&api.key);
    let one = format!("{keys}/{}", made["id"].as_str().expect("an id"));
    assert_eq!(api.delete(&one).status, 200);
    assert_eq!(operator.with_key(&signed).get("/v1/webhooks").status, 401);
    assert_eq!(api.delete(&one).status, 404);
    server.restart();
    assert_eq!(server.api().with_key(&signed).get("/v1/webhooks").status, 401);
}

/// T-44: tokens are for profiles that take them, keys are checked, and a `kid` is the operator's to choose.
#[test]
fn keys_for_tokens_are_checked_when_they_are_registered() {
    let server = TestServer::start();
    let operator = server.api();
    let (api, keys) = publisher(&operator);
    let social = operator.tenant_of("social", "ws_789");
    assert_eq!(social.post("/api/tenants/ws_789/jwt-keys", &shared()).status, 409);
    let before = position(&operator);
    let point = base64([1; 32]);
    for (jwk, pointer) in [
        (json!({"kty": "oct", "k": base64([7; 31])}), "/jwk/k"),
        (json!({"kty": "oct", "k": "not base64!"}), "/jwk/k"),
        (json!({"kty": "oct"}), "/jwk/k"),
        (json!({"kty": "RSA", "n": base64([200; 128]), "e": "AQAB"}), "/jwk/n"),
        (json!({"kty": "EC", "crv": "P-521", "x": point, "y": point}), "/jwk/crv"),
        (json!({"kty": "EC", "crv": "P-256", "x": point, "y": point}), "/jwk/kty"),
        (json!({"kty": "OKP", "crv": "Ed25519", "x": point, "d": point}), "/jwk/d"),
        (json!({"kty": "AKP"}), "/jwk/kty"),
    ] {
        let answer = api.post(&keys, &json!({"jwk": jwk, "scopes": ["read"]}));
        assert_eq!(answer.status, 422, "{answer:?}");
        assert_eq!(answer.json["errors"][0]["pointer"], pointer, "{answer:?}");
    }
    let with = |name: &str, value: Value| {
        let mut body = shared();
        body[name] = value;
        body
    };
    assert_eq!(api.post(&keys, &with("kid", json!("k1"))).status, 422);
    assert_eq!(api.post(&keys, &with("scopes", json!(["operator"]))).status, 422);
    assert_eq!(api.post(&keys, &with("claims", json!({"exp": "1"}))).status, 422);
    assert_eq!(position(&operator), before);
}

/// One issuer for all accounts: the claims say whose token it is.
#[test]
fn one_issuer_serves_several_accounts_by_their_claims() {
    let server = TestServer::start();
    let operator = server.api();
    let register = |account: &str, claims: Value| {
        let mut body = shared();
        body["kid"] = "issuer-1".into();
        body["claims"] = claims;
        operator.post(&format!("/api/tenants/{account}/jwt-keys"), &body).status
    };
    operator.tenant_of("apexmediation", "one");
    operator.tenant_of("apexmediation", "two");
    assert_eq!(register("one", json!({"account": "acc_1"})), 201);
    assert_eq!(register("two", json!({})), 409, "a token of the first would be one of the second too");
    assert_eq!(register("two", json!({"account": "acc_1"})), 409);
    assert_eq!(register("two", json!({"account": "acc_2"})), 201);
    let bearer = |account: &str| {
        operator.with_key(&hs256("issuer-1", &json!({"exp": in_seconds(60), "account": account})))
    };
    assert_eq!(bearer("acc_2").post("/v1/webhooks", &webhook()).status, 201);
    assert_eq!(bearer("acc_1").get("/v1/webhooks").json, json!([]));
    assert_eq!(bearer("acc_2").get("/v1/webhooks").json.as_array().map(Vec::len), Some(1));
    assert_eq!(bearer("acc_3").get("/v1/webhooks").status, 401);
}
