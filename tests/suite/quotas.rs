//! What the operator allows a tenant, from both sides: set by name, told when it is used up, felt by nobody else.

use crate::support::{
    Api, Receiver, Reply, TestServer,
    api::Answer,
    eventually,
    make::{Pipeline, conversion, post},
};
use serde_json::{Value, json};

const PIPELINES: &str = "/api/admin/webhooks/pipelines";
const DEAD_LETTERS: &str = "/api/admin/webhooks/logs/dlq";

/// Two tenants of one engine: the one with quotas, and the other.
fn two(operator: &Api) -> (Api, Api) {
    (operator.tenant_of("afftok", "limited"), operator.tenant_of("afftok", "other"))
}

#[track_caller]
fn set(operator: &Api, quotas: &Value) -> Value {
    operator.send("PATCH", "/api/tenants/limited", Some(&json!({ "quotas": quotas }))).data(200)
}

#[track_caller]
fn usage(operator: &Api) -> Value {
    operator.get("/api/tenants/limited").data(200)["usage"].clone()
}

fn position(operator: &Api) -> Value {
    operator.get("/api/state").data(200)["position"].clone()
}

/// The answer to one who has used a quota up names it, its limit, and a way on.
#[track_caller]
fn exceeds(answer: &Answer, status: u16, quota: &str, limit: u64) {
    assert_eq!((answer.status, &answer.json["code"]), (status, &json!("quota_exceeded")), "{answer:?}");
    let detail = answer.json["detail"].as_str().expect("a detail");
    for part in [format!("`{quota}`"), format!(" {limit} "), "ask the operator for more".to_owned()] {
        assert!(detail.contains(&part), "{detail}");
    }
}

/// Seconds until the caller may come again.
#[track_caller]
fn retry_after(answer: &Answer) -> u64 {
    answer.message.header("retry-after").and_then(|text| text.parse().ok()).expect("whole seconds")
}

fn of_steps(count: usize) -> Value {
    let steps: Vec<Value> =
        (1..=count).map(|order| json!({"url": "https://example.com/hook", "order": order})).collect();
    json!({"name": "Conversions", "trigger_type": "conversion", "steps": steps})
}

/// Pipelines and webhooks count together, steps over all of them; what is refused leaves nothing in the log.
#[test]
fn ten_8_pipelines_and_steps_beyond_their_quota_are_refused_by_name() {
    let server = TestServer::start();
    let operator = server.api();
    let (limited, other) = two(&operator);
    set(&operator, &json!({"pipelines": 2, "steps": 3}));
    let first = limited.post(PIPELINES, &of_steps(1)).data(201)["id"].as_str().expect("an id").to_owned();
    let webhook = json!({"url": "https://example.com/hook", "events": ["conversion.created"]});
    limited.post("/api/webhooks", &webhook).data(201);
    assert_eq!(usage(&operator)["pipelines"], json!({"used": 2, "limit": 2}));
    assert_eq!(usage(&operator)["steps"], json!({"used": 2, "limit": 3}));

    let before = position(&operator);
    exceeds(&limited.post(PIPELINES, &of_steps(1)), 422, "pipelines", 2);
    exceeds(&limited.post("/api/webhooks", &webhook), 422, "pipelines", 2);
    let path = format!("{PIPELINES}/{first}");
    exceeds(&limited.put(&path, &json!({"steps": of_steps(3)["steps"]})), 422, "steps", 3);
    assert_eq!(position(&operator), before);
    for _ in 0..3 {
        other.post(PIPELINES, &of_steps(3)).data(201);
    }

    limited.put(&path, &json!({"steps": of_steps(2)["steps"]})).data(200);
    set(&operator, &json!({"pipelines": null}));
    exceeds(&limited.post(PIPELINES, &of_steps(1)), 422, "steps", 3);
    set(&operator, &json!({"steps": null}));
    limited.post(PIPELINES, &of_steps(1)).data(201);
    assert_eq!(usage(&operator)["pipelines"], json!({"used": 3, "limit": 10_000}));
}

/// A quota below what a tenant has takes nothing away.
#[test]
fn ten_8_what_is_there_stays_and_can_be_changed_but_does_not_grow() {
    let server = TestServer::start();
    let operator = server.api();
    let (limited, _) = two(&operator);
    let id = limited.post(PIPELINES, &of_steps(3)).data(201)["id"].as_str().expect("an id").to_owned();
    set(&operator, &json!({"pipelines": 0, "steps": 1}));
    assert_eq!(usage(&operator)["steps"], json!({"used": 3, "limit": 1}));
    let path = format!("{PIPELINES}/{id}");
    limited.put(&path, &json!({"name": "Renamed"})).data(200);
    limited.put(&path, &json!({"steps": of_steps(2)["steps"]})).data(200);
    exceeds(&limited.put(&path, &json!({"steps": of_steps(3)["steps"]})), 422, "steps", 1);
    exceeds(&limited.post(PIPELINES, &of_steps(1)), 422, "pipelines", 0);
    assert_eq!(limited.get(&path).data(200)["steps"].as_array().map(Vec::len), Some(2));
    limited.delete(&path).data(200);
    assert_eq!(usage(&operator)["pipelines"], json!({"used": 0, "limit": 0}));
}

/// The profile allows ten webhooks; the operator may allow more, and fewer.
#[test]
fn ten_8_a_quota_takes_the_place_of_the_profiles_limit() {
    let server = TestServer::start();
    let operator = server.api();
    let limited = operator.tenant_of("apexmediation", "limited");
    let webhook = json!({"url": "https://example.com/hook", "events": ["payout.succeeded"]});
    assert_eq!(usage(&operator)["pipelines"], json!({"used": 0, "limit": 10}));
    for _ in 0..10 {
        assert_eq!(limited.post("/api/webhooks", &webhook).status, 201);
    }
    assert_eq!(limited.post("/api/webhooks", &webhook).json["code"], "limit_reached");
    set(&operator, &json!({"pipelines": 11}));
    assert_eq!(limited.post("/api/webhooks", &webhook).status, 201);
    exceeds(&limited.post("/api/webhooks", &webhook), 422, "pipelines", 11);
}

/// A batch counts each of its events. One beyond the rate passes when nothing was posted before, and is paid off.
#[test]
fn ten_8_events_beyond_the_rate_are_refused_until_time_has_passed() {
    let mut server = TestServer::start();
    let operator = server.api();
    let (limited, other) = two(&operator);
    assert_eq!(usage(&operator)["events_per_second"], json!({"used": null, "limit": null}));
    set(&operator, &json!({"events_per_second": 1}));
    let events: Vec<Value> = (0..1_000).map(|n| conversion(&format!("evt_{n}"), "conv_1", n)).collect();
    let batch = json!({ "events": events });
    assert_eq!(limited.post("/api/events/batch", &batch).data(202)["accepted"], 1_000);
    // A thousand seconds are to pass: no machine is so slow.
    let used = usage(&operator)["events_per_second"].clone();
    assert_eq!(used["limit"], 1);
    assert!(used["used"].as_u64().is_some_and(|used| used > 500), "{used}");

    let before = position(&operator);
    for answer in [
        limited.post("/api/events", &conversion("evt_next", "conv_1", 0)),
        limited.post("/api/events/batch", &json!({"events": [conversion("evt_next", "conv_1", 0)]})),
        operator.with_header("X-Tenant-Id", "limited").post("/api/events", &conversion("evt_x", "conv_1", 0)),
    ] {
        exceeds(&answer, 429, "events_per_second", 1);
        assert!((500..=1_000).contains(&retry_after(&answer)), "{answer:?}");
    }
    assert_eq!(position(&operator), before);
    post(&other, &conversion("evt_next", "conv_1", 0));
    assert_eq!(other.post("/api/events/batch", &batch).data(202)["accepted"], 1_000);

    // The quota outlives the process; what was posted before it does not count.
    server.restart();
    let (operator, limited) = (server.api(), server.api().with_key(&limited.key));
    assert_eq!(usage(&operator)["events_per_second"], json!({"used": 0, "limit": 1}));
    post(&limited, &conversion("evt_next", "conv_1", 0));
    limited.post("/api/events/batch", &json!({"events": events[..500]}));
    set(&operator, &json!({"events_per_second": null}));
    post(&limited, &conversion("evt_last", "conv_1", 0));
}

/// Nothing is dropped for room: a tenant with too many dead letters lying posts nothing until it has seen to them.
#[test]
fn ten_8_events_wait_while_there_are_too_many_dead_letters() {
    let receiver = Receiver::start(|_| Reply::Status(500));
    let mut server = TestServer::start();
    let operator = server.api();
    let (limited, other) = two(&operator);
    Pipeline::to(&receiver).retry(1, 0).create(&limited);
    set(&operator, &json!({"dead_letters": 2}));
    for n in 0..2 {
        eventually("an event is taken", || {
            let answer = limited.post("/api/events", &conversion(&format!("evt_{n}"), "conv_1", n));
            (answer.status == 202).then_some(())
        });
    }
    eventually("both are dead letters", || (limited.list(DEAD_LETTERS, "items").len() == 2).then_some(()));
    eventually("they are counted", || {
        (usage(&operator)["dead_letters"] == json!({"used": 2, "limit": 2})).then_some(())
    });
    let refused = |limited: &Api| {
        let answer = limited.post("/api/events", &conversion("evt_2", "conv_2", 2));
        exceeds(&answer, 429, "dead_letters", 2);
        assert!(retry_after(&answer) >= 1);
    };
    let before = position(&operator);
    refused(&limited);
    assert_eq!(position(&operator), before);
    post(&other, &conversion("evt_2", "conv_2", 2));

    server.restart();
    let (operator, limited) = (server.api(), server.api().with_key(&limited.key));
    refused(&limited);
    let items = limited.list(DEAD_LETTERS, "items");
    limited.delete(&format!("{DEAD_LETTERS}/{}", items[0]["id"].as_str().expect("an id"))).data(200);
    assert_eq!(usage(&operator)["dead_letters"], json!({"used": 1, "limit": 2}));
    post(&limited, &conversion("evt_2", "conv_2", 2));
}

/// By the operator alone, by names that exist, and on the record with what was before.
#[test]
fn ten_8_quotas_are_the_operators_to_set_and_on_the_record() {
    let mut server = TestServer::start();
    let operator = server.api();
    let (limited, _) = two(&operator);
    let none = json!({"pipelines": null, "steps": null, "events_per_second": null, "dead_letters": null});
    assert_eq!(limited.get("/api/tenants/limited").data(200)["quotas"], none);

    let before = position(&operator);
    let own = limited.send("PATCH", "/api/tenants/limited", Some(&json!({"quotas": {"pipelines": 9}})));
    assert_eq!((own.status, &own.json["code"]), (403, &json!("missing_scope")), "{own:?}");
    let wrong = json!({"quotas": {"pipelines": 1, "webhooks": 1, "steps": -1}});
    let wrong = operator.send("PATCH", "/api/tenants/limited", Some(&wrong));
    assert_eq!(wrong.status, 422, "{wrong:?}");
    let errors = wrong.json["errors"].as_array().expect("errors");
    let told: Vec<_> = errors.iter().map(|error| (&error["pointer"], &error["code"])).collect();
    let at = |pointer, code| (json!(pointer), json!(code));
    let [below, unknown] = [at("/quotas/steps", "out_of_range"), at("/quotas/webhooks", "unknown_field")];
    assert_eq!(told, [(&below.0, &below.1), (&unknown.0, &unknown.1)]);
    assert!(errors[1]["message"].as_str().is_some_and(|message| message.contains("`dead_letters`")));
    assert_eq!(position(&operator), before);

    set(&operator, &json!({"pipelines": 5, "dead_letters": 7}));
    let changed = json!({"quotas": {"pipelines": 6, "dead_letters": null}, "name": "Renamed"});
    let shown = operator.send("PATCH", "/api/tenants/limited", Some(&changed)).data(200);
    assert_eq!((&shown["name"], &shown["quotas"]["pipelines"]), (&json!("Renamed"), &json!(6)));
    server.restart();
    let operator = server.api();
    let shown = operator.get("/api/tenants/limited").data(200);
    assert_eq!((&shown["name"], &shown["quotas"]["dead_letters"]), (&json!("Renamed"), &Value::Null));
    assert_eq!(shown["quotas"]["pipelines"], 6);

    let audit = operator.with_header("X-Tenant-Id", "limited").list("/api/audit", "items");
    // Each request is one record (I32), with what was before of all that it changed.
    let told: Vec<_> = audit.iter().filter(|one| one["target"] == "limited").collect();
    let actions: Vec<_> = told.iter().map(|one| one["action"].as_str().expect("an action")).collect();
    assert_eq!(actions, ["tenant.updated", "tenant.quotas_set", "tenant.created"], "{audit:#?}");
    assert_eq!(
        (&told[1]["before"], &told[1]["after"]),
        (&Value::Null, &json!({"pipelines": 5, "dead_letters": 7}))
    );
    assert_eq!(told[0]["after"], json!({"name": "Renamed", "quotas": {"pipelines": 6}}));
    assert_eq!(
        (&told[0]["before"]["quotas"], &told[0]["before"]["name"]),
        (&told[1]["after"], &told[2]["after"]["name"])
    );
    assert!(told.iter().all(|one| one["actor"] == "key_operator"));
    set(&operator, &Value::Null);
    let audit = operator.with_header("X-Tenant-Id", "limited").list("/api/audit", "items");
    assert_eq!(
        (&audit[0]["action"], &audit[0]["before"]),
        (&json!("tenant.quotas_set"), &json!({"pipelines": 6}))
    );
    assert_eq!(operator.get("/api/tenants/limited").data(200)["quotas"], none);
}
