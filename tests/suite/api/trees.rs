//! The providers' own trees: the calls of their documents as they are printed there, and what is not there for others.

use super::{PIPELINES, position};
use crate::support::{Answer, Api, TestServer};
use serde_json::{Value, json};

/// The caller as the Attribution document has it: `X-API-Key`.
fn attribution(api: &Api) -> Api {
    let mut api = api.tenant_of("attribution", "acme");
    api.key_header = "X-API-Key: ";
    api
}

/// The body of an answer that stands alone, without `success` and `data` around it (T-46).
#[track_caller]
fn plain(answer: Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.json.get("success").is_none() && answer.json.get("data").is_none(), "{answer:?}");
    answer.json
}

/// A webhook's whole life on one tree, with the bodies of the provider's document.
#[track_caller]
fn lives(api: &Api, tree: &str, prefix: &str, create: &Value, update: &Value) {
    let answer = api.post(tree, create);
    let location = answer.message.header("location").unwrap_or_default().to_owned();
    let made = plain(answer, 201);
    let id = made["id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with(&format!("{prefix}_")), "{id}");
    assert_eq!(location, format!("{tree}/{id}"));
    for field in ["url", "events", "secret"] {
        assert_eq!(made[field], create[field], "{field}");
    }
    assert_eq!(made["status"], "active");

    let listed = plain(api.get(tree), 200);
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "a list is an array: {listed:#}");
    assert_eq!(listed[0]["id"], made["id"]);
    assert!(listed[0].get("secret").is_none(), "the secret is shown once");

    let one = format!("{tree}/{id}");
    let changed = plain(api.put(&one, update), 200);
    assert_eq!(changed["events"], update["events"]);
    assert_eq!(changed["url"], create["url"], "what is left out stays");
    assert_eq!(plain(api.get(&one), 200)["events"], update["events"]);
    let patched = api.send("PATCH", &one, Some(&json!({"status": "paused"})));
    assert_eq!(plain(patched, 200)["status"], "paused");

    assert_eq!(plain(api.get(&format!("{one}/logs")), 200), json!([]));
    assert_eq!(plain(api.get(&format!("{one}/secret")), 200)["secret"], create["secret"]);
    let pipeline = api.get(&format!("{PIPELINES}/{id}")).data(200);
    assert_eq!(pipeline["steps"].as_array().map(Vec::len), Some(1), "it is a pipeline with one step");

    assert_eq!(plain(api.delete(&one), 200), json!({"id": id, "deleted": true}));
    assert_eq!(api.get(&one).status, 404);
    assert_eq!(plain(api.get(tree), 200), json!([]));
}

/// ATT-02 … ATT-08, T-33, T-44 … T-46
#[test]
fn attribution_webhooks_live_under_webhooks() {
    let server = TestServer::start();
    let create = json!({
        "url": "https://yourdomain.com/webhooks/attribution",
        "events": ["deal.attributed", "partner.created"],
        "secret": "your_webhook_secret",
    });
    lives(&attribution(&server.api()), "/webhooks", "wh", &create, &json!({"events": ["deal.attributed"]}));
}

/// APX-01, APX-03, APX-30, APX-37, T-44 … T-46
#[test]
fn apexmediation_webhooks_live_under_v1_webhooks() {
    let server = TestServer::start();
    let create = json!({
        "url": "https://yourapp.com/webhooks/apexmediation",
        "events": ["payout.succeeded", "fraud.detected"],
        "secret": "your_webhook_secret_key",
    });
    let api = server.api().tenant_of("apexmediation", "publisher");
    lives(&api, "/v1/webhooks", "wh", &create, &json!({"events": ["payout.failed"]}));
}

/// SOC-02, SOC-03, SOC-06 … SOC-09, SOC-34, T-33, T-44 … T-46
#[test]
fn social_webhooks_live_under_api_v1_webhooks() {
    let server = TestServer::start();
    let create = json!({
        "url": "https://your-app.com/webhooks/social-media",
        "events": ["post.published", "mention.created", "message.received"],
        "secret": "your_webhook_secret_key",
    });
    let api = server.api().tenant_of("social", "ws_789");
    let update = json!({"events": ["post.published", "mention.created"]});
    lives(&api, "/api/v1/webhooks", "webhook", &create, &update);
}

/// T-45: all trees are mounted at once, and each is there for the tenants of its profile alone.
#[test]
fn a_tree_of_another_profile_is_no_path() {
    let server = TestServer::start();
    let operator = server.api();
    let social = operator.tenant_of("social", "ws_789");
    let before = position(&operator);
    let body = json!({"url": "https://example.com/h", "events": ["post.created"]});
    for (method, path) in [("GET", "/webhooks"), ("POST", "/v1/webhooks"), ("GET", "/webhooks/wh_1/logs")] {
        let answer = social.send(method, path, (method == "POST").then_some(&body));
        assert_eq!((answer.status, &answer.json["code"]), (404, &json!("no_such_path")), "{answer:?}");
        let detail = answer.json["detail"].as_str().expect("a detail");
        assert!(detail.contains("`/api/v1/webhooks`") && detail.contains("`social`"), "{detail}");
        assert_eq!(answer.json["error"]["code"], "no_such_path", "the provider's form of errors");
    }
    assert_eq!(operator.get("/webhooks").status, 404, "the default tenant speaks another profile");
    assert_eq!(position(&operator), before);
    let mut named = server.api();
    named.tenant = Some("ws_789".into());
    assert_eq!(plain(named.get("/api/v1/webhooks"), 200), json!([]), "the operator names the tenant");
}

/// T-46, TEN.1: errors on a tree have the provider's form too, before anyone is known.
#[test]
fn errors_on_a_tree_have_both_forms() {
    let server = TestServer::start();
    let stranger = server.api().with_key("nobody");
    for tree in ["/webhooks", "/v1/webhooks", "/api/v1/webhooks"] {
        let answer = stranger.get(tree);
        assert_eq!(answer.status, 401);
        assert_eq!(answer.json["success"], false);
        assert_eq!(answer.json["error"]["code"], "unauthorized");
        assert_eq!(answer.json["error"]["message"], answer.json["detail"]);
    }
    let api = attribution(&server.api());
    let answer = api.post("/webhooks", &json!({"url": "https://example.com/h", "events": ["deal.lost"]}));
    assert_eq!(answer.status, 422, "{answer:?}");
    assert_eq!(answer.json["error"]["details"][0]["pointer"], "/events/0");
}

/// ATT-01, APX-20, SOC-36, T-19
#[test]
fn http_is_refused_where_the_provider_refuses_it() {
    let permissive = TestServer::start();
    let strict = TestServer::with_nothing().start();
    let body = |event: &str| json!({"url": "http://127.0.0.1:9/h", "events": [event]});
    for (server, profile, tree, event, status) in [
        (&permissive, "attribution", "/webhooks", "deal.attributed", 201),
        (&permissive, "apexmediation", "/v1/webhooks", "payout.failed", 422),
        (&permissive, "social", "/api/v1/webhooks", "post.created", 422),
        (&strict, "attribution", "/webhooks", "deal.attributed", 422),
    ] {
        let api = server.api().tenant_of(profile, &format!("t-{profile}"));
        let answer = api.post(tree, &body(event));
        assert_eq!(answer.status, status, "{profile}: {answer:?}");
        if status == 422 {
            assert_eq!(answer.json["errors"][0]["pointer"], "/url");
        }
    }
}

/// APX-29: nothing on this machine or in a private network is called, unless the operator opened it.
#[test]
fn addresses_that_are_not_public_are_refused() {
    let server = TestServer::with_nothing().start();
    let api = server.api().tenant_of("apexmediation", "publisher");
    for url in ["https://localhost/h", "https://127.0.0.1/h", "https://10.0.0.1/h", "https://[::1]/h"] {
        let answer = api.post("/v1/webhooks", &json!({"url": url, "events": ["payout.failed"]}));
        let refused = answer.status == 422 && answer.json["errors"][0]["pointer"] == "/url";
        // A literal address may also be judged at its first attempt.
        if !refused {
            let id = answer.json["id"].as_str().expect("an id").to_owned();
            let run = api.send("POST", &format!("/v1/webhooks/{id}/test"), None);
            assert_eq!(run.json["steps"][0]["error"], "blocked by egress policy", "{url}: {run:?}");
        }
    }
}

/// APX-33, TEN.8
#[test]
fn an_account_has_ten_webhooks_and_no_more() {
    let server = TestServer::start();
    let operator = server.api();
    let api = operator.tenant_of("apexmediation", "publisher");
    let body = json!({"url": "https://example.com/h", "events": ["payout.failed"]});
    let made: Vec<Value> = (0..10).map(|_| plain(api.post("/v1/webhooks", &body), 201)).collect();
    let before = position(&operator);
    let refused = api.post("/v1/webhooks", &body);
    assert_eq!((refused.status, &refused.json["code"]), (422, &json!("limit_reached")), "{refused:?}");
    assert!(
        refused.json["detail"].as_str().is_some_and(|text| text.contains("webhooks") && text.contains("10"))
    );
    let step = json!([{"url": "https://example.com/h"}]);
    let around = api.post(PIPELINES, &json!({"name": "x", "trigger_type": "payout.failed", "steps": step}));
    assert_eq!(around.status, 422, "a pipeline is no way around: {around:?}");
    assert_eq!(position(&operator), before);
    let other = operator.tenant_of("apexmediation", "neighbour");
    assert_eq!(other.post("/v1/webhooks", &body).status, 201, "another account has its own ten");
    let first = made[0]["id"].as_str().expect("an id");
    assert_eq!(api.delete(&format!("/v1/webhooks/{first}")).status, 200);
    assert_eq!(api.post("/v1/webhooks", &body).status, 201);
}

/// APX-04, ATT-29, T-27: a secret is made where none is given, shown by the answer that made it, and revealed on request.
#[test]
fn a_secret_is_made_where_none_is_given() {
    let server = TestServer::start();
    let api = server.api().tenant_of("apexmediation", "publisher");
    let body = json!({"url": "https://example.com/h", "events": ["payout.failed"]});
    let made = plain(api.post("/v1/webhooks", &body), 201);
    let secret = made["secret"].as_str().expect("a secret");
    assert!(secret.starts_with("whsec_"), "{secret}");
    let one = format!("/v1/webhooks/{}", made["id"].as_str().expect("an id"));
    assert!(plain(api.get(&one), 200).get("secret").is_none());
    assert_eq!(plain(api.get(&format!("{one}/secret")), 200)["secret"], secret);
    let short =
        json!({"url": "https://example.com/h", "events": ["payout.failed"], "secret": "fifteen-bytes-1"});
    assert_eq!(api.post("/v1/webhooks", &short).status, 422, "SIG.2");
}

/// T-46: an answer that is kept under an idempotency key looks as the first one did.
#[test]
fn an_answer_that_is_given_again_looks_the_same() {
    let server = TestServer::start();
    let api = server.api().tenant_of("social", "ws_789").with_header("Idempotency-Key", "once");
    let body = json!({"url": "https://example.com/h", "events": ["post.created"]});
    let first = api.post("/api/v1/webhooks", &body);
    let again = api.post("/api/v1/webhooks", &body);
    assert_eq!(again.message.header("idempotency-replayed"), Some("true"), "{again:?}");
    assert_eq!(first.message.body, again.message.body);
    assert!(plain(again, 201)["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")));
}
