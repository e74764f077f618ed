//! The three contracts beside AffTok's, on the wire: every documented event, as its document prints it.

use crate::support::{Api, Received, Receiver, Reply, TestServer, eventually};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
};

/// The documents' own example.
const SECRET: &str = "your_webhook_secret_key";

/// One provider: its tenant, its tree, and how it signs.
struct Provider {
    profile: &'static str,
    tenant: &'static str,
    tree: &'static str,
    /// The key of the type in its envelope.
    type_key: &'static str,
    headers: &'static [&'static str],
    prefix: &'static str,
}

const ATTRIBUTION: Provider = Provider {
    profile: "attribution",
    tenant: "acme",
    tree: "/webhooks",
    type_key: "type",
    headers: &["x-attribution-signature"],
    prefix: "",
};

const APEXMEDIATION: Provider = Provider {
    profile: "apexmediation",
    tenant: "publisher",
    tree: "/v1/webhooks",
    type_key: "event",
    headers: &["x-apexmediation-signature", "x-adstack-signature"],
    prefix: "",
};

const SOCIAL: Provider = Provider {
    profile: "social",
    tenant: "ws_789",
    tree: "/api/v1/webhooks",
    type_key: "event",
    headers: &["x-webhook-signature"],
    prefix: "sha256=",
};

impl Provider {
    /// The events of the document, verbatim, by file name; without the one that only tests send.
    fn samples(&self) -> Vec<Value> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(self.profile);
        let files = fs::read_dir(folder).expect("fixtures").flatten().map(|file| file.path());
        let mut files: Vec<_> = files.filter(|path| !path.ends_with("webhook_test.json")).collect();
        files.sort();
        let read = |path| fs::read_to_string(path).expect("a sample");
        files.iter().map(|path| serde_json::from_str(&read(path)).expect("JSON")).collect()
    }

    /// What its producer posts for a document's event.
    fn posted(&self, sample: &Value) -> Value {
        let mut event =
            json!({"type": sample[self.type_key], "timestamp": sample["timestamp"], "data": sample["data"]});
        if let Some(id) = sample.get("id") {
            event["id"] = id.clone();
        }
        event
    }

    fn webhook(&self, api: &Api, receiver: &Receiver, events: &Value, more: &Value) -> String {
        let mut body = json!({"url": receiver.url(), "events": events, "secret": SECRET});
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        api.post(self.tree, &body).data(201)["id"].as_str().expect("an id").to_owned()
    }

    /// One signature under each of the provider's names, over the very bytes, in the provider's shape (T-6).
    #[track_caller]
    fn assert_signed(&self, request: &Received) {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
        mac.update(&request.message.body);
        let expected = format!("{}{}", self.prefix, hex::encode(mac.finalize().into_bytes()));
        for name in self.headers {
            let with_name =
                request.message.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
            let values: Vec<&str> = with_name.map(|(_, value)| value.as_str()).collect();
            assert_eq!(values, [expected.as_str()], "{name}");
        }
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            assert!(!request.header(name).is_empty(), "{name} is missing");
        }
    }
}

/// Compact, and numbers as JavaScript writes them: what `JSON.stringify` makes of the document's text.
fn as_javascript_writes(sample: &Value) -> String {
    sample.to_string().replace(".0,", ",").replace(".0}", "}")
}

fn every_event_is_sent_as_it_is_documented(provider: &Provider, count: usize) {
    let receiver = Receiver::https(|_| Reply::Status(200));
    let server = TestServer::https().start();
    let api = server.api().tenant_of(provider.profile, provider.tenant);
    let samples = provider.samples();
    assert_eq!(samples.len(), count);
    let types: Vec<&Value> = samples.iter().map(|sample| &sample[provider.type_key]).collect();
    provider.webhook(&api, &receiver, &json!(types), &json!({}));
    for (n, sample) in samples.iter().enumerate() {
        api.post("/api/events", &provider.posted(sample)).data(202);
        eventually("it is delivered", || (receiver.count() > n).then_some(()));
    }
    for (request, sample) in receiver.received().iter().zip(&samples) {
        assert_eq!(request.method, "POST");
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(String::from_utf8_lossy(&request.message.body), as_javascript_writes(sample));
        provider.assert_signed(request);
    }
}

/// ATT-01, ATT-09 … ATT-13, ATT-15, ATT-23, ATT-31, ATT-32, T-37
#[test]
fn attribution_sends_every_event_as_it_is_documented() {
    every_event_is_sent_as_it_is_documented(&ATTRIBUTION, 4);
}

/// APX-05 … APX-12, T-5, T-10, T-38, T-47
#[test]
fn apexmediation_sends_every_event_as_it_is_documented() {
    every_event_is_sent_as_it_is_documented(&APEXMEDIATION, 5);
}

/// SOC-01, SOC-12 … SOC-29, SOC-33, SOC-35, T-10
#[test]
fn social_sends_every_event_as_it_is_documented() {
    every_event_is_sent_as_it_is_documented(&SOCIAL, 13);
}

fn post(api: &Api, event: &Value) -> Value {
    api.post("/api/events", event).data(202)
}

/// The one delivery of an event, once it has ended.
fn ended(api: &Api, event: &str) -> Value {
    eventually("it has ended", || {
        let listed = api.list(&format!("/api/deliveries?event_id={event}"), "items");
        let status = listed.first()?["status"].as_str()?.to_owned();
        let path = format!("/api/deliveries/{}", listed[0]["id"].as_str()?);
        ["delivered", "dead_lettered"].contains(&status.as_str()).then(|| api.get(&path).data(200))
    })
}

fn once() -> Value {
    json!({"retry_policy": {"max_attempts": 1}})
}

/// APX-31: a webhook gets what it asked for and nothing else. ATT-14: and never by pattern what is of high volume.
#[test]
fn only_events_that_a_webhook_asked_for_are_sent() {
    let receiver = Receiver::https(|_| Reply::Status(200));
    let server = TestServer::https().start();
    let api = server.api().tenant_of("apexmediation", "publisher");
    APEXMEDIATION.webhook(&api, &receiver, &json!(["payout.failed"]), &json!({}));
    let event = |id: &str, kind: &str| json!({"id": id, "type": kind, "data": {"payout_id": id}});
    let unwanted = post(&api, &event("evt_1", "payout.succeeded"));
    assert_eq!(unwanted["pipelines"], json!([]), "{unwanted:#}");
    post(&api, &event("evt_2", "payout.failed"));
    ended(&api, "evt_2");

    let api = server.api().tenant_of("attribution", "acme");
    let all = ATTRIBUTION.webhook(&api, &receiver, &json!(["*"]), &json!({}));
    let tracked = json!({"id": "evt_3", "type": "event.tracked", "data": {"id": "evt_xyz"}});
    assert_eq!(post(&api, &tracked)["pipelines"], json!([]), "high volume is opt-in");
    api.put(&format!("/webhooks/{all}"), &json!({"events": ["*", "event.tracked"]})).data(200);
    let tracked = json!({"id": "evt_4", "type": "event.tracked", "data": {"id": "evt_xyz"}});
    assert_eq!(post(&api, &tracked)["pipelines"], json!([all]));
    ended(&api, "evt_4");
    let events: Vec<_> = receiver.received().iter().map(|one| one.event().to_owned()).collect();
    assert_eq!(events, ["evt_2", "evt_4"]);
}

/// ATT-20, ATT-36, SOC-41, SOC-45, SOC-46, T-16, T-17: which answers end a delivery, and how.
#[test]
fn answers_count_as_each_provider_says() {
    let receiver = Receiver::https(|request| {
        let status = request.path.rsplit('/').next().and_then(|text| text.parse().ok());
        Reply::Status(status.expect("a status in the path"))
    });
    let server = TestServer::https().start();
    let twice = json!({"max_attempts": 2, "backoff_type": "fixed", "initial_delay_seconds": 0});
    for (provider, event, status, attempts, end) in [
        (&SOCIAL, "post.created", 204, 1, "delivered"),
        (&SOCIAL, "post.created", 400, 1, "dead_lettered"),
        (&SOCIAL, "post.created", 429, 1, "dead_lettered"),
        (&SOCIAL, "post.created", 302, 2, "dead_lettered"),
        (&SOCIAL, "post.created", 500, 2, "dead_lettered"),
        (&ATTRIBUTION, "deal.attributed", 200, 1, "delivered"),
        (&ATTRIBUTION, "deal.attributed", 404, 2, "dead_lettered"),
        (&APEXMEDIATION, "payout.failed", 401, 2, "dead_lettered"),
    ] {
        let tenant = format!("{}-{status}", provider.profile);
        let api = server.api().tenant_of(provider.profile, &tenant);
        let url = format!("https://{}/{status}", receiver.address);
        let body = json!({"url": url, "events": [event], "retry_policy": twice});
        api.post(provider.tree, &body).data(201);
        post(&api, &json!({"id": "evt_1", "type": event, "data": {}}));
        let delivery = ended(&api, "evt_1");
        assert_eq!(delivery["status"], end, "{tenant}: {delivery:#}");
        assert_eq!(delivery["attempts"].as_array().map(Vec::len), Some(attempts), "{tenant}: {delivery:#}");
    }
}

/// APX-17, SOC-37, SOC-38, T-18: the deadline of an attempt is the provider's.
#[test]
fn an_attempt_has_as_long_as_the_provider_says() {
    let receiver = Receiver::https(|_| Reply::After(std::time::Duration::from_secs(8), 200));
    let server = TestServer::https().start();
    let apex = server.api().tenant_of("apexmediation", "publisher");
    let social = server.api().tenant_of("social", "ws_789");
    APEXMEDIATION.webhook(&apex, &receiver, &json!(["payout.failed"]), &once());
    SOCIAL.webhook(&social, &receiver, &json!(["post.created"]), &once());
    assert_eq!(apex.get("/v1/webhooks").json[0]["timeout_seconds"], 5);
    assert_eq!(social.get("/api/v1/webhooks").json[0]["timeout_seconds"], 30);
    post(&apex, &json!({"id": "evt_1", "type": "payout.failed", "data": {}}));
    post(&social, &json!({"id": "evt_1", "type": "post.created", "data": {}}));
    assert_eq!(ended(&apex, "evt_1")["attempts"][0]["outcome"], "timeout", "8 s are too long for 5");
    assert_eq!(ended(&social, "evt_1")["attempts"][0]["outcome"], "success", "and not for 30");
}

/// SOC-10, SOC-11, SOC-27, T-11: without a body, without a subscription, signed like everything else.
#[test]
fn the_test_event_is_sent_to_those_who_never_asked_for_it() {
    let receiver = Receiver::https(|_| Reply::Status(200));
    let server = TestServer::https().start();
    let api = server.api().tenant_of("social", "ws_789");
    let id = SOCIAL.webhook(&api, &receiver, &json!(["post.published"]), &json!({}));
    let answer = api.send("POST", &format!("/api/v1/webhooks/{id}/test"), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json["status"], "completed", "{answer:?}");
    assert_eq!(answer.json["steps"][0]["http_status"], 200);
    let request = &receiver.received()[0];
    SOCIAL.assert_signed(request);
    let text = include_str!("../fixtures/social/webhook_test.json");
    let mut documented: Value = serde_json::from_str(text).expect("JSON");
    let sent = request.json();
    let now = sent["timestamp"].as_str().expect("a time");
    assert!(now.ends_with('Z') && now.len() == "2024-01-10T12:00:00Z".len(), "whole seconds: {now}");
    documented["timestamp"] = now.into();
    assert_eq!(request.message.body, documented.to_string().as_bytes());
    assert_eq!(api.get(&format!("/api/v1/webhooks/{id}/logs")).json, json!([]), "no delivery, no lane");
    let again = api.send("POST", &format!("/api/v1/webhooks/{id}/test"), None);
    assert_eq!(again.status, 200);
    let requests = receiver.received();
    assert_ne!(requests[0].event(), requests[1].event(), "a test is no duplicate of the one before");
}

/// ATT-26, APX-22, APX-04: a test event of any documented type, asked for by its name.
#[test]
fn a_test_event_is_sent_by_its_type() {
    let receiver = Receiver::https(|_| Reply::Status(200));
    let server = TestServer::https().start();
    for (provider, field) in [(&ATTRIBUTION, "type"), (&APEXMEDIATION, "event"), (&SOCIAL, "type")] {
        let api = server.api().tenant_of(provider.profile, provider.tenant);
        let samples = provider.samples();
        let first = &samples[0][provider.type_key];
        let id = provider.webhook(&api, &receiver, &json!([first]), &json!({}));
        let test = format!("{}/{id}/test", provider.tree);
        for sample in &samples {
            let answer = api.post(&test, &json!({field: sample[provider.type_key]}));
            assert_eq!(answer.json["status"], "completed", "{answer:?}");
            let requests = receiver.received();
            let request = requests.last().expect("a request");
            let sent = request.json();
            assert_eq!(sent[provider.type_key], sample[provider.type_key]);
            assert_eq!(as_javascript_writes(&sent["data"]), as_javascript_writes(&sample["data"]));
            let ids: HashSet<_> = requests.iter().map(Received::event).collect();
            assert_eq!(ids.len(), requests.len(), "receivers that remember ids would drop it");
            assert!(sent["id"].is_null() || sent["id"] == request.event());
            provider.assert_signed(request);
        }
        let before = receiver.count();
        let unknown = api.post(&test, &json!({field: "nothing.happened"}));
        assert_eq!(unknown.status, 422, "{unknown:?}");
        assert_eq!(unknown.json["errors"][0]["pointer"], format!("/{field}"));
        assert_eq!(api.post(&test, &json!({"type": first, "event": first})).status, 422);
        assert_eq!(receiver.count(), before);
    }
}

/// ATT-24, ATT-28, APX-23 … APX-28, SOC-09, SOC-40, SOC-43, SOC-47, SOC-52, T-14: a delivery fails, its webhook does
/// not.
#[test]
fn a_webhook_has_its_log_and_its_rate_of_success() {
    let receiver =
        Receiver::https(|request| match (request.json()["data"]["postId"].as_str(), request.attempt()) {
            (Some("post_bad"), _) => Reply::Status(404),
            (_, 1) => Reply::Status(503),
            _ => Reply::Status(200),
        });
    let server = TestServer::https().start();
    let api = server.api().tenant_of("social", "ws_789");
    let policy = json!({"max_attempts": 3, "backoff_type": "fixed", "initial_delay_seconds": 0});
    let id = SOCIAL.webhook(&api, &receiver, &json!(["post.*"]), &json!({"retry_policy": policy}));
    post(&api, &json!({"id": "evt_1", "type": "post.created", "data": {"postId": "post_1"}}));
    ended(&api, "evt_1");
    post(&api, &json!({"id": "evt_2", "type": "post.failed", "data": {"postId": "post_bad"}}));
    ended(&api, "evt_2");
    let logs = eventually("both are in the log", || {
        let logs = api.get(&format!("/api/v1/webhooks/{id}/logs"));
        (logs.json[0]["status"] == "failed" && logs.json[1]["status"] == "success").then_some(logs.json)
    });
    assert_eq!(logs[0]["event_type"], "post.failed");
    assert_eq!((&logs[0]["response_code"], &logs[0]["retry_attempts"]), (&json!(404), &json!(0)));
    assert_eq!(logs[1]["event_type"], "post.created");
    assert_eq!((&logs[1]["response_code"], &logs[1]["retry_attempts"]), (&json!(200), &json!(1)));
    assert!(logs[1]["response_time_ms"].is_u64(), "{logs:#}");
    let codes: Vec<_> =
        logs[1]["attempts"].as_array().expect("attempts").iter().map(|one| &one["http_status"]).collect();
    assert_eq!(codes, [503, 200]);
    let failed = api.get(&format!("/api/v1/webhooks/{id}/logs?status=failed")).json;
    assert_eq!(failed.as_array().map(Vec::len), Some(1), "{failed:#}");
    eventually("the statistics know", || {
        let webhook = api.get(&format!("/api/v1/webhooks/{id}")).json;
        assert_eq!(webhook["status"], "active");
        let stats = &webhook["stats"];
        (stats["total_executions"] == 2 && stats["success_rate"] == 50.0).then_some(())
    });
}

/// ATT-33, ATT-34, T-43: the addresses are the operator's statement; a change is announced, and on record.
#[test]
fn published_addresses_are_told_with_their_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let documented = ["34.120.45.67", "34.120.45.68", "34.120.45.69"];
    let start = |ips: &[&str], from: Option<&str>| {
        let start = TestServer::with().on(&folder.path().join("data"));
        let start = ips.iter().fold(start, |start, ip| start.option("--published-ip").option(ip));
        match from {
            Some(from) => start.variable("LEDGERHOOK_EGRESS_PUBLISHED_FROM", from).start(),
            None => start.start(),
        }
    };
    let mut server = start(&documented, None);
    let api = server.api().tenant_of("attribution", "acme");
    let told = api.get("/api/egress-ips").data(200);
    assert_eq!(told, json!({"ips": documented, "changing": null}));
    server.terminate();

    let mut server = start(&["34.120.45.70"], Some("2999-01-01T00:00:00Z"));
    let told = server.api().get("/api/egress-ips").data(200);
    let changing = json!({"ips": ["34.120.45.70"], "effective_at": "2999-01-01T00:00:00Z"});
    assert_eq!(told, json!({"ips": documented, "changing": changing}));
    server.terminate();

    let mut server = start(&["34.120.45.70"], Some("2999-01-01T00:00:00Z"));
    let facts = server.api().list("/api/log?stream=engine", "items");
    let changes: Vec<&Value> =
        facts.iter().filter(|one| one.to_string().contains("egress_ips_changed")).collect();
    assert_eq!(changes.len(), 2, "one for each change, none for a start without: {changes:#?}");
    server.terminate();
    assert!(server.verb(&["log", "verify"]).status.success());
}

/// T-10, APX-18, SOC-39: receivers that tell events apart by type and time never take two for one.
#[test]
fn no_two_events_without_an_id_have_the_same_type_and_time() {
    let receiver = Receiver::https(|request| Reply::Status(if request.attempt() == 1 { 503 } else { 200 }));
    let mut server = TestServer::https().start();
    let api = server.api().tenant_of("apexmediation", "publisher");
    let policy = json!({"max_attempts": 3, "backoff_type": "fixed", "initial_delay_seconds": 0});
    APEXMEDIATION.webhook(&api, &receiver, &json!(["fraud.detected"]), &json!({"retry_policy": policy}));
    let event = |n: usize| json!({"id": format!("evt_{n}"), "type": "fraud.detected", "data": {"device_id": format!("d{n}")}});
    let events: Vec<Value> = (0..40).map(event).collect();
    api.post("/api/events/batch", &json!({"events": events})).data(202);
    // The kill may fall between an answer and its record: then the event comes once more.
    let all_are_there = |count: usize| {
        let requests = receiver.received();
        let there: HashSet<_> = requests.iter().filter(|one| one.is_success()).map(Received::event).collect();
        (there.len() == count).then_some(())
    };
    eventually("all are delivered", || all_are_there(40));
    server.restart();
    let api = Api::new(server.address, &api.key);
    for n in 40..50 {
        post(&api, &event(n));
    }
    eventually("all are delivered", || all_are_there(50));

    let mut bodies: HashMap<String, Vec<u8>> = HashMap::new();
    let mut times = HashSet::new();
    for request in receiver.received() {
        let known = bodies.entry(request.event().to_owned()).or_insert_with(|| {
            let time = request.json()["timestamp"].as_str().expect("a time").to_owned();
            assert!(times.insert(time.clone()), "{time} was there before");
            request.message.body.clone()
        });
        assert_eq!(*known, request.message.body, "every attempt sends the same bytes");
    }
    assert_eq!(times.len(), 50);
    assert!(times.iter().any(|time| !time.contains('.')), "whole seconds where they are free: {times:?}");

    // A replay, and what the API shows of it, too.
    let delivery = ended(&api, "evt_7");
    let shown = delivery["attempts"][0]["request"]["body"].to_string();
    assert_eq!(shown.as_bytes(), bodies["evt_7"]);
    let path = format!("/api/deliveries/{}/retry", delivery["id"].as_str().expect("an id"));
    assert_eq!(api.post(&path, &json!({})).status, 202);
    let replayed =
        eventually("it is sent again", || receiver.received().into_iter().find(|one| one.round() == 2));
    assert_eq!(replayed.message.body, bodies["evt_7"]);
}

/// T-10: who wants the id in the body gets it behind everything that is documented.
#[test]
fn an_id_stands_behind_all_other_keys_for_those_who_want_it() {
    let receiver = Receiver::https(|_| Reply::Status(200));
    let server = TestServer::https().start();
    let api = server.api().tenant_of("social", "ws_789");
    let id = SOCIAL.webhook(&api, &receiver, &json!(["post.created"]), &json!({"include_id": true}));
    assert_eq!(api.get(&format!("/api/v1/webhooks/{id}")).json["include_id"], true);
    let posted = json!({"id": "evt_1", "type": "post.created", "timestamp": "2024-01-10T12:00:00Z", "data": {"postId": "p"}});
    post(&api, &posted);
    ended(&api, "evt_1");
    let expected = concat!(
        r#"{"event":"post.created","timestamp":"2024-01-10T12:00:00Z","data":{"postId":"p"},"#,
        r#""workspaceId":"ws_789","id":"evt_1"}"#
    );
    assert_eq!(String::from_utf8_lossy(&receiver.received()[0].message.body), expected);
    SOCIAL.assert_signed(&receiver.received()[0]);

    let api = server.api().tenant_of("attribution", "acme");
    let body = json!({"url": "https://example.com/h", "events": ["deal.attributed"], "include_id": true});
    let refused = api.post("/webhooks", &body);
    assert_eq!((refused.status, &refused.json["errors"][0]["pointer"]), (422, &json!("/include_id")));
}

/// T-16: a customer of a provider that never retries 4xx may ask for some of them.
#[test]
fn statuses_are_retried_for_those_who_ask() {
    let receiver = Receiver::https(|request| Reply::Status(if request.attempt() == 1 { 429 } else { 200 }));
    let server = TestServer::https().start();
    let api = server.api().tenant_of("social", "ws_789");
    let policy = json!({"max_attempts": 2, "backoff_type": "fixed", "initial_delay_seconds": 0});
    let more = json!({"retry_on": [408, 425, 429], "retry_policy": policy});
    let id = SOCIAL.webhook(&api, &receiver, &json!(["post.created"]), &more);
    let one = format!("/api/v1/webhooks/{id}");
    assert_eq!(api.get(&one).json["retry_on"], json!([408, 425, 429]));
    post(&api, &json!({"id": "evt_1", "type": "post.created", "data": {}}));
    assert_eq!(ended(&api, "evt_1")["status"], "delivered");
    assert_eq!(api.put(&one, &json!({"retry_on": null})).json["retry_on"], json!([]));
    assert_eq!(api.put(&one, &json!({"retry_on": [200]})).status, 422);
}

/// SOC-48: the limits of the API are not those of deliveries.
#[test]
fn deliveries_go_on_while_callers_are_held_off() {
    let receiver = Receiver::https(|_| Reply::Status(200));
    let server = TestServer::https().start();
    let api = server.api().tenant_of("social", "ws_789");
    SOCIAL.webhook(&api, &receiver, &json!(["post.created"]), &json!({}));
    let stranger = api.with_key("nobody");
    let held_off = (0..5_000).any(|_| stranger.get("/api/v1/webhooks").status == 429);
    assert!(held_off, "wrong keys are held off at last");
    for n in 0..20 {
        post(
            &api,
            &json!({"id": format!("evt_{n}"), "type": "post.created", "data": {"postId": format!("p{n}")}}),
        );
    }
    eventually("all are delivered", || (receiver.succeeded() == 20).then_some(()));
}
