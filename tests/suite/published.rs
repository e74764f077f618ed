//! Published libraries verify live deliveries: `standardwebhooks` of npm, `PyPI` and crates.io, `svix` of npm and `PyPI`,
//! and our own clients. They know nothing of us but the secret.
//!
//! SIG.5, SIG.7, SIG.9.

use crate::support::{Addresses, Api, Farm, Received, Receiver, Reply, TestServer, eventually, make};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const LIBRARIES: [&str; 7] = [
    "express/published/standardwebhooks",
    "express/published/svix",
    "express/published/ledgerhook",
    "flask/published/standardwebhooks",
    "flask/published/svix",
    "flask/published/ledgerhook",
    "crates.io/standardwebhooks",
];

/// One profile, and an event of its.
const PROFILES: [(&str, &str); 5] = [
    ("afftok", r#"{"type":"conversion.created","data":{"conversion_id":"conv_1","payout":5.00}}"#),
    ("attribution", r#"{"type":"partner.created","data":{"id":"partner_abc","name":"Müller & Söhne 😀"}}"#),
    ("apexmediation", r#"{"type":"payout.failed","data":{"payout_id":"payout_abc123","amount":1250.00}}"#),
    ("social", r##"{"type":"trend.detected","data":{"trendId":"trend_def","hashtags":["#a/b"]}}"##),
    ("standard", r#"{"type":"contact.created","data":{"id":"1f81eb52","name":"John Smith"}}"#),
];

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// A farm behind TLS, and a server that trusts it. `Receiver` and `Farm` end with it.
struct Stage {
    server: TestServer,
    gate: Receiver,
    _farm: Farm,
}

impl Stage {
    fn set() -> Self {
        let farm = Farm::start(LIBRARIES.into_iter().filter(|library| !library.starts_with("crates.io")));
        let addresses = farm.addresses();
        let gate = Receiver::https(move |request| Reply::Status(receive(request, &addresses)));
        Self { server: TestServer::https().start(), gate, _farm: farm }
    }

    /// A webhook of one attempt to a library that knows `secret`; the sender knows `signed_with`.
    fn webhook(&self, api: &Api, library: &str, event: &str, signed_with: &str, secret: &str) -> String {
        let known: String =
            url::form_urlencoded::byte_serialize(as_libraries_take_it(secret).as_bytes()).collect();
        let kind = serde_json::from_str::<Value>(event).expect("JSON")["type"].clone();
        let webhook = json!({
            "url": format!("https://{}/{library}/?secret={known}", self.gate.address),
            "events": [kind],
            "secret": signed_with,
            "retry_policy": {"max_attempts": 1},
        });
        api.post("/api/webhooks", &webhook).data(201)["id"].as_str().expect("an id").to_owned()
    }
}

/// T-54: a key without `whsec_` stands for its own bytes.
fn as_libraries_take_it(secret: &str) -> String {
    if secret.starts_with("whsec_") || secret.starts_with("whpk_") {
        secret.to_owned()
    } else {
        format!("whsec_{}", STANDARD.encode(secret))
    }
}

/// What the library at `/<folder>/published/<library>/?secret=…` answers.
fn receive(request: &Received, farm: &Addresses) -> u16 {
    let Some(query) = request.path.strip_prefix("/crates.io/standardwebhooks/?") else {
        return farm.forward(&request.path, request, &request.message.body, |_| true);
    };
    let secret = url::form_urlencoded::parse(query.as_bytes()).next().expect("a secret").1;
    let mut headers = HeaderMap::new();
    for (name, value) in &request.message.headers {
        let name: HeaderName = name.parse().expect("a name");
        headers.insert(name, HeaderValue::from_str(value).expect("a value"));
    }
    let webhook = standardwebhooks::Webhook::new(&secret).expect("a secret");
    if webhook.verify(&request.message.body, &headers).is_ok() { 200 } else { 401 }
}

/// Posts an event and answers with the status that each webhook's delivery ended with.
fn statuses(api: &Api, event: &str, webhooks: usize) -> BTreeMap<String, u64> {
    let posted = api.try_send("POST", "/api/events", Some(event.as_bytes())).expect("an answer").data(202);
    let id = posted["id"].as_str().expect("an id");
    eventually("all deliveries have ended", || {
        let all = api.list(&format!("/api/deliveries?event_id={id}"), "items");
        let over = |one: &&Value| one["status"] == "delivered" || one["status"] == "dead_lettered";
        let ended = all.iter().filter(over).map(|one| {
            let pipeline = one["pipeline_id"].as_str().unwrap_or_default().to_owned();
            (pipeline, one["last_http_status"].as_u64().unwrap_or_default())
        });
        let ended: BTreeMap<_, _> = ended.collect();
        (ended.len() == webhooks).then_some(ended)
    })
}

#[test]
fn published_libraries_verify_every_profile_and_refuse_another_secret() {
    let stage = Stage::set();
    let operator = stage.server.api();
    let mut wrong = Vec::new();
    for (profile, event) in PROFILES {
        for (tenant, known, expected) in
            [("right", [OLD, make::SIGNING_KEY], 200), ("wrong", [NEW, NEW], 401)]
        {
            // The two kinds of key each have a tenant, since a tenant may be allowed ten webhooks only.
            for (signed_with, known) in [OLD, make::SIGNING_KEY].into_iter().zip(known) {
                let kind = if signed_with == OLD { "encoded" } else { "plain" };
                let api = operator.tenant_of(profile, &format!("{profile}_{tenant}_{kind}"));
                let named = LIBRARIES
                    .map(|library| (stage.webhook(&api, library, event, signed_with, known), library));
                let named = BTreeMap::from(named);
                for (webhook, status) in statuses(&api, event, LIBRARIES.len()) {
                    if status != expected {
                        wrong.push(format!(
                            "{profile}, {tenant} {kind} secret, {}: {status}",
                            named[&webhook]
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// During the overlap those who have the old secret and those who have the new one both verify; behind it only the
/// latter do.
#[test]
fn published_libraries_verify_during_a_rotation() {
    let stage = Stage::set();
    let api = stage.server.api().tenant_of("standard", "rotating");
    let event = PROFILES[4].1;
    let names = |secret| LIBRARIES.map(|library| (stage.webhook(&api, library, event, OLD, secret), library));
    let webhooks = [BTreeMap::from(names(OLD)), BTreeMap::from(names(NEW))];
    let check = |when: &str, expected: [u64; 2]| {
        let ended = statuses(&api, event, 2 * LIBRARIES.len());
        for (named, expected) in webhooks.iter().zip(expected) {
            for (webhook, library) in named {
                assert_eq!(ended[webhook], expected, "{when}: {library}");
            }
        }
    };
    let rotate = |overlap: u32, secret: &str| {
        for webhook in webhooks.iter().flat_map(BTreeMap::keys) {
            let rotation = json!({"secret": secret, "overlap_seconds": overlap});
            api.post(&format!("/api/webhooks/{webhook}/secret/rotate"), &rotation).data(200);
        }
    };
    check("before", [200, 401]);
    rotate(3_600, NEW);
    check("in the overlap", [200, 200]);
    rotate(0, NEW);
    check("behind it", [401, 200]);
}

/// §2: who has no secret checks `v1a` by the tenant's public key, on every profile and while that key is rotated.
#[test]
fn our_clients_verify_by_a_public_key() {
    let stage = Stage::set();
    let operator = stage.server.api();
    let own = ["express/published/ledgerhook", "flask/published/ledgerhook"];
    for (profile, event) in PROFILES {
        let api = operator.tenant_of(profile, profile);
        let keys = api.get(&format!("/api/tenants/{profile}/signing-keys")).data(200);
        let public = keys["keys"][0]["public_key"].as_str().expect("a key").to_owned();
        for library in own {
            stage.webhook(&api, library, event, OLD, &public);
        }
        let check = |when: &str, expected: u64| {
            let ended = statuses(&api, event, own.len());
            assert!(ended.values().all(|status| *status == expected), "{profile} {when}: {ended:?}");
        };
        check("before", 200);
        for (overlap, expected) in [(3_600, 200), (0, 401)] {
            let rotation = json!({"overlap_seconds": overlap});
            api.post(&format!("/api/tenants/{profile}/signing-keys/rotate"), &rotation).data(200);
            check(&format!("with an overlap of {overlap} s"), expected);
        }
    }
}
