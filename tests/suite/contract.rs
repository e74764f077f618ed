//! The management API of the AffTok documents, field by field: what they print is what the server answers.

use crate::support::{
    Api, Receiver, Reply, TestServer, eventually,
    make::{Pipeline, conversion, post},
};
use serde_json::{Value, json};

const PIPELINES: &str = "/api/admin/webhooks/pipelines";

/// A JSON text of the documents; what they abridge as `{...}` and `[...]` stands for anything.
macro_rules! documented {
    ($name:literal) => {{
        let text = include_str!(concat!("../fixtures/afftok_api/", $name, ".json"));
        let text = text.replace("{...}", "\"(anything)\"").replace("[...]", "\"(anything)\"");
        serde_json::from_str::<Value>(&text).expect("the documents' JSON")
    }};
}

/// Every documented field is there with its documented type; more fields are allowed.
#[track_caller]
fn assert_shape(answer: &Value, documented: &Value, place: &str) {
    match documented {
        Value::Object(fields) => {
            for (name, value) in fields {
                let place = format!("{place}.{name}");
                let found = answer.get(name).unwrap_or_else(|| panic!("{place} is missing in {answer:#}"));
                assert_shape(found, value, &place);
            }
        }
        Value::Array(items) => {
            let found = answer.as_array().unwrap_or_else(|| panic!("{place} is no list: {answer:#}"));
            if let Some(item) = items.first() {
                assert!(!found.is_empty(), "{place} is empty");
                for one in found {
                    assert_shape(one, item, &format!("{place}[]"));
                }
            }
        }
        Value::String(text) if text == "(anything)" => {}
        Value::String(text) => {
            let found = answer.as_str().unwrap_or_else(|| panic!("{place} is no text: {answer}"));
            let prefix = text.split_once('_').map_or("", |(prefix, _)| prefix);
            if ["pipe", "step", "exec", "dlq"].contains(&prefix) {
                assert!(found.starts_with(&format!("{prefix}_")), "{place} is `{found}`");
            }
            if text.ends_with('Z') && text.contains('T') {
                assert!(found.ends_with('Z') && found.len() >= text.len(), "{place} is `{found}`");
            }
        }
        Value::Number(_) => assert!(answer.is_number(), "{place} is no number: {answer}"),
        Value::Bool(_) => assert!(answer.is_boolean(), "{place} is neither true nor false: {answer}"),
        Value::Null => {}
    }
}

/// May deliver to this machine, and resolve what the documents' examples name.
fn server() -> TestServer {
    let names = ["CRM_API_KEY", "WEBHOOK_SECRET", "API_TOKEN", "SIGNING_KEY"];
    names
        .iter()
        .fold(TestServer::with(), |start, name| {
            start.option("--template-env").option(name).variable(name, "canary-value-of-24-bytes")
        })
        .start()
}

fn delivered(api: &Api, count: u64) {
    eventually("it is delivered", || {
        (api.get("/api/state").data(200)["deliveries"]["delivered"] == count).then_some(())
    });
}

/// AFM-01 … AFM-10, AFM-13, AFM-14, AFM-23, AFM-27 … AFM-29, AFM-32, AFM-41 … AFM-44
#[test]
fn a_pipeline_is_created_shown_changed_and_deleted_as_documented() {
    let server = server();
    let api = server.api();
    let made = api.post(PIPELINES, &documented!("create_request"));
    assert_eq!(made.status, 201, "{made:?}");
    assert_shape(&made.json, &documented!("create_response"), "create");
    let id = made.json["data"]["id"].as_str().expect("an id").to_owned();
    let path = format!("{PIPELINES}/{id}");

    let shown = api.get(&path);
    assert_shape(&shown.json, &documented!("detail_response"), "detail");
    let text = String::from_utf8_lossy(&shown.message.body).into_owned();
    assert!(!text.contains("canary"), "{text}");
    let step = shown.json["data"]["steps"][0]["id"].clone();

    let mut update = documented!("update_request");
    update.as_object_mut().expect("an object").remove("steps");
    let changed = api.put(&path, &update).data(200);
    assert_eq!(changed["name"], "Updated Conversion Notifications");
    assert_eq!(changed["status"], "paused");
    assert_eq!(changed["steps"][0]["id"], step, "a step keeps its id");
    assert_eq!(changed["description"], "Notify external system of conversions");

    let full = json!({"steps": [documented!("step")]});
    assert_eq!(api.put(&path, &full).status, 200);
    assert!((200..300).contains(&api.delete(&path).status));
    assert_eq!(api.get(&path).status, 404);
}

/// AFM-30, AFM-31
#[test]
fn pipelines_are_listed_in_pages_and_by_filter() {
    let receiver = Receiver::healthy();
    let server = server();
    let api = server.api();
    for n in 0..3 {
        Pipeline::to(&receiver).with("name", format!("Pipeline {n}")).create(&api);
    }
    Pipeline::to(&receiver).with("trigger_type", "click").with("status", "paused").create(&api);
    post(&api, &conversion("evt_1", "conv_1", 0));
    delivered(&api, 3);
    let listed = eventually("the list knows of the delivery", || {
        let listed = api.get(&format!("{PIPELINES}?page=1&limit=20&status=active&trigger_type=conversion"));
        listed.json["data"]["pipelines"][0]["last_triggered"].is_string().then_some(listed)
    });
    assert_shape(&listed.json, &documented!("list_response"), "list");
    assert_eq!(listed.json["data"]["pagination"], json!({"page": 1, "limit": 20, "total": 3}));
    let second = api.get(&format!("{PIPELINES}?page=2&limit=3")).data(200);
    assert_eq!(second["pipelines"].as_array().map(Vec::len), Some(1));
    assert_eq!(api.get(&format!("{PIPELINES}?limit=0")).status, 422);
}

/// AFM-55 … AFM-57, AFM-67 … AFM-71
#[test]
fn executions_and_statistics_have_the_documented_shape() {
    let receiver = Receiver::start(|request| match request.resource().as_str() {
        "conv_bad" => Reply::Status(500),
        _ => Reply::Status(200),
    });
    let server = server();
    let api = server.api();
    Pipeline::to(&receiver).retry(1, 0).create(&api);
    post(&api, &conversion("evt_1", "conv_1", 0));
    post(&api, &conversion("evt_2", "conv_bad", 0));
    let recent = eventually("both are listed", || {
        let recent = api.get("/api/admin/webhooks/logs/recent");
        let ended =
            recent.json["data"]["logs"].as_array()?.iter().filter(|log| log["completed_at"].is_string());
        (ended.count() == 2).then_some(recent)
    });
    assert_shape(&recent.json, &documented!("recent_response"), "recent");
    let failures = api.get("/api/admin/webhooks/logs/failures").data(200);
    assert_eq!(failures["logs"].as_array().map(Vec::len), Some(1), "{failures:#}");
    assert_eq!(failures["logs"][0]["trigger_id"], "conv_bad");
    let letters = api.get("/api/admin/webhooks/logs/dlq");
    assert_shape(&letters.json, &documented!("dlq_response"), "dlq");

    let stats = api.get("/api/admin/webhooks/stats");
    let mut shape = documented!("stats_response");
    shape["data"]["by_trigger_type"].as_object_mut().expect("an object").remove("click");
    assert_shape(&stats.json, &shape, "stats");
    let stats = &stats.json["data"];
    assert_eq!(stats["summary"]["total_executions_today"], 2, "{stats:#}");
    assert_eq!(stats["summary"]["success_rate"], 50.0);
    assert_eq!(stats["by_trigger_type"]["conversion"]["executions"], 2);
    assert_eq!(stats["queues"], json!({"primary": 0, "failover": 0, "dlq": 1}));
    assert_eq!(stats["top_errors"][0], json!({"error": "HTTP 500", "count": 1}));
}

/// AFM-62 … AFM-66
#[test]
fn a_test_run_sends_for_real_and_leaves_no_trace() {
    let receiver = Receiver::healthy();
    let server = server();
    let api = server.api();
    let template = json!({"conversion_id": "{{conversion.id}}", "amount": "{{conversion.amount}}"});
    let id = Pipeline::to(&receiver).step("body_template", template).create(&api);
    let before = api.get("/api/state").data(200);
    let path = format!("/api/admin/webhooks/test/pipeline/{id}");
    let run = api.post(&path, &documented!("test_pipeline_request"));
    assert_shape(&run.json, &documented!("test_pipeline_response"), "test");
    assert!(run.json["data"]["execution_id"].as_str().is_some_and(|id| id.starts_with("exec_test_")));
    assert_eq!(receiver.received()[0].json(), json!({"conversion_id": "test_conv_123", "amount": 49.99}));

    let mut step = documented!("test_step_request");
    step["url"] = receiver.url().into();
    let tried = api.post("/api/admin/webhooks/test/step", &step).data(200);
    assert_eq!(tried["http_status"], 200, "{tried:#}");
    assert_eq!(receiver.received()[1].json()["message"], "Hello from AffTok");
    assert_eq!(api.get("/api/state").data(200), before);
}

/// ING.7: what a test sends is signed as well, so its event is no less an event; templates see its id.
#[test]
fn ing_7_the_event_of_a_test_run_is_checked() {
    let receiver = Receiver::healthy();
    let server = server();
    let api = server.api();
    let template = json!({"id": "{{event.id}}", "tenant": "{{metadata.tenant_id}}"});
    let id = Pipeline::to(&receiver).step("body_template", template).create(&api);
    let path = format!("/api/admin/webhooks/test/pipeline/{id}");
    let bad = json!({"type": "conversion.created", "id": "1795858447.evil", "timestamp": "then", "zzz": 1});
    for (body, at) in
        [(json!({"event": bad}), "/event"), (json!({"test_data": {"event": bad}}), "/test_data/event")]
    {
        let errors = api.post(&path, &body).data(422)["errors"].clone();
        let mut places: Vec<&str> =
            errors.as_array().expect("errors").iter().filter_map(|error| error["pointer"].as_str()).collect();
        places.sort_unstable();
        assert_eq!(places, ["id", "timestamp", "zzz"].map(|field| format!("{at}/{field}")));
    }
    assert_eq!(receiver.count(), 0);
    api.post(&path, &json!({"event": {"type": "conversion.created", "id": "evt_1", "data": {}}})).data(200);
    let sent = &receiver.received()[0];
    assert_eq!(sent.json(), json!({"id": "evt_1", "tenant": "tenant_default"}));
    assert_eq!(sent.message.header("webhook-id"), Some("evt_1"));
}

/// AFF-39, AFM-66: what may not be called is refused when it is written, for steps, failovers and tests alike.
#[test]
fn targets_without_https_or_on_this_machine_are_refused_unless_allowed() {
    let server = crate::support::server::Start::default().start();
    let api = server.api();
    for url in ["http://example.com/hook", "http://127.0.0.1:9/", "https://127.0.0.1/", "https://[::1]/"] {
        let refused = api.post(PIPELINES, &Pipeline::to_url(url).0);
        assert_eq!(refused.status, 422, "{url}: {refused:?}");
        assert!(
            refused.json["errors"][0]["pointer"].as_str().is_some_and(|at| at.contains("url")),
            "{refused:?}"
        );
        let tried = api.post("/api/admin/webhooks/test/step", &json!({"url": url, "method": "POST"}));
        assert_eq!(tried.status, 422, "{url}: {tried:?}");
    }
}

/// AFM-11, AFM-24 … AFM-26: the three signature modes, and headers with values from the environment.
#[test]
fn the_signature_mode_decides_which_headers_are_sent() {
    let receiver = Receiver::healthy();
    let server = server();
    let api = server.api();
    let mut unsigned = Pipeline::to(&receiver).step("signature_mode", "none");
    unsigned.0["steps"][0].as_object_mut().expect("a step").remove("signing_key");
    unsigned.create(&api);
    let headers = json!({"X-API-Key": "{{env.CRM_API_KEY}}"});
    Pipeline::to(&receiver).step("headers", headers).create(&api);
    Pipeline::to(&receiver).step("signature_mode", "jwt").create(&api);
    post(&api, &conversion("evt_1", "conv_1", 0));
    delivered(&api, 3);
    let requests = receiver.received();
    let signed = |header: &str| requests.iter().filter(|one| !one.header(header).is_empty()).count();
    assert_eq!(signed("x-afftok-signature"), 1);
    assert_eq!(signed("webhook-id"), 3);
    let bearer =
        requests.iter().find(|one| one.header("authorization").starts_with("Bearer ")).expect("a JWT");
    assert_eq!(bearer.header("authorization").matches('.').count(), 2);
    assert!(requests.iter().any(|one| one.header("x-api-key") == "canary-value-of-24-bytes"));
}

/// AFF-01, AFF-36, AFF-37, AFF-40: a POST with the event, its id the same on every attempt and in every record.
#[test]
fn an_event_keeps_its_id_over_retries_and_in_the_records() {
    let receiver = Receiver::start(|request| Reply::Status(if request.attempt() < 3 { 500 } else { 202 }));
    let server = server();
    let api = server.api();
    Pipeline::to(&receiver).retry(3, 0).create(&api);
    post(&api, &conversion("evt_1", "conv_1", 0));
    delivered(&api, 1);
    let requests = receiver.received();
    assert!(requests.iter().all(|one| one.method == "POST" && one.event() == "evt_1"));
    assert!(requests.iter().all(|one| one.json()["id"] == "evt_1"));
    let event = eventually("the event is on record", || {
        let event = api.get("/api/events/evt_1");
        (event.status == 200).then_some(event)
    });
    assert_eq!(event.data(200)["id"], "evt_1");
}
