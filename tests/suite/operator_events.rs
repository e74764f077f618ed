//! What the engine tells of itself, as signed events: once each, to those who ask by name, and never of themselves.

use crate::support::{
    Api, Received, Receiver, Reply, TestServer,
    checker::signature_problems,
    eventually,
    make::{Pipeline, SIGNING_KEY, conversion, post},
    within,
};
use serde_json::{Value, json};
use std::time::Duration;

/// A pipeline of operator events.
fn subscribe(api: &Api, receiver: &Receiver, types: &[&str]) -> String {
    Pipeline::to(receiver).with("name", "Operators").with("trigger_type", json!(types)).create(api)
}

/// What a receiver was told, with its signatures checked: type and data.
#[track_caller]
fn told(received: &[Received]) -> Vec<(String, Value)> {
    let tell = |one: &Received| {
        assert_eq!(signature_problems(one, SIGNING_KEY), [] as [String; 0]);
        let body = one.json();
        assert_eq!(body["id"], one.event());
        (body["type"].as_str().expect("a type").to_owned(), body["data"].clone())
    };
    received.iter().map(tell).collect()
}

fn dead_letter(api: &Api, event: &str) -> Value {
    eventually("it is a dead letter", || {
        let items = api.list("/api/admin/webhooks/logs/dlq", "items");
        items.into_iter().find(|item| item["payload"]["id"] == event)
    })
}

/// Waits until all that was accepted has been delivered or has failed, and so often.
fn at_rest(api: &Api, ended: u64) {
    within(Duration::from_mins(1), "everything has ended", || {
        let deliveries = api.get("/api/state").data(200)["deliveries"].clone();
        let sum = |keys: &[&str]| keys.iter().filter_map(|key| deliveries[*key].as_u64()).sum::<u64>();
        let pending = sum(&["queued", "in_flight", "retrying", "held"]);
        (pending == 0 && sum(&["delivered", "dead_lettered"]) >= ended).then_some(())
    });
}

/// SOC-44: exhaustion and recovery are told in the tenant's own envelope and signature, in their order.
#[test]
fn a_dead_letter_and_its_recovery_are_told_by_signed_events() {
    let (receiver, operators) = (Receiver::start(|_| Reply::Status(503)), Receiver::healthy());
    let server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).retry(2, 0).create(&api);
    subscribe(&api, &operators, &["delivery.exhausted", "delivery.recovered"]);
    post(&api, &conversion("evt_0", "conv_1", 0));
    let item = dead_letter(&api, "evt_0");
    eventually("it is told", || (operators.count() == 1).then_some(()));
    receiver.now(|_| Reply::Status(200));
    let path = format!("/api/admin/webhooks/logs/dlq/{}/retry", item["id"].as_str().expect("an id"));
    api.send("POST", &path, None).data(200);
    eventually("its recovery is told", || (operators.count() == 2).then_some(()));

    let told = told(&operators.received());
    let delivery = item["delivery_id"].as_str().expect("an id");
    let about = json!({
        "pipeline_id": id, "pipeline_name": "Conversions", "delivery_id": delivery, "event_id": "evt_0",
        "event_type": "conversion.created", "resource": "conversion:conv_1",
    });
    let with = |more: Value| {
        let mut all = about.clone();
        all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        all
    };
    let exhausted = json!({
        "dead_letter_id": item["id"], "step": "Send", "round": 1, "attempts": 2, "failover_attempts": 0,
        "last_error": "HTTP 503", "outcome": "http_error", "http_status": 503,
    });
    assert_eq!(told[0], ("delivery.exhausted".to_owned(), with(exhausted)));
    assert_eq!(told[1], ("delivery.recovered".to_owned(), with(json!({"round": 2, "attempt": 1}))));
    let first = &operators.received()[0].json();
    assert_eq!(first["metadata"]["tenant_id"], "tenant_default", "the envelope is the profile's: {first}");
    let listed = api.list("/api/events?type=delivery.exhausted", "items");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["resource"], format!("delivery:{delivery}"));
}

/// ATT-14: no pattern matches them, and producers cannot make them.
#[test]
fn patterns_and_producers_have_no_part_in_them() {
    let (receiver, all) = (Receiver::start(|_| Reply::Status(500)), Receiver::healthy());
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).retry(1, 0).create(&api);
    for pattern in ["*", "d*"] {
        let made = json!({"name": "P", "trigger_type": pattern, "steps": [{"url": all.url()}]});
        let answer = api.post("/api/admin/webhooks/pipelines", &made);
        assert!([201, 422].contains(&answer.status), "{answer:?}");
    }
    let named = Receiver::healthy();
    subscribe(&api, &named, &["delivery.exhausted"]);
    post(&api, &conversion("evt_0", "conv_1", 0));
    eventually("it is told to those who name it", || (named.count() == 1).then_some(()));
    at_rest(&api, 3);
    let types: Vec<_> = all.received().iter().map(|one| one.json()["type"].clone()).collect();
    assert_eq!(types, ["conversion.created"]);

    let before = api.get("/api/state").data(200)["position"].clone();
    for event_type in [
        "delivery.exhausted",
        "delivery.recovered",
        "pipeline.failed",
        "webhook.paused",
        "egress_ips.changing",
    ] {
        let refused = api.post("/api/events", &json!({"type": event_type, "data": {}}));
        assert_eq!(refused.status, 422, "{refused:?}");
        let error = &refused.json["errors"][0];
        assert_eq!((&error["pointer"], &error["code"]), (&json!("/type"), &json!("reserved_type")));
    }
    assert_eq!(api.get("/api/state").data(200)["position"], before, "nothing was appended");
}

/// Every profile takes them as triggers, whatever its catalogue; their samples serve for tests.
#[test]
fn every_profile_can_name_them() {
    let server = TestServer::start();
    let api = server.api();
    let receiver = Receiver::healthy();
    let events = || json!(["egress_ips.changing", "webhook.paused", "pipeline.failed"]);
    for profile in ["afftok", "attribution", "apexmediation", "social", "standard"] {
        let tenant = api.post("/api/tenants", &json!({"name": profile, "profile": profile})).data(201);
        let tenant = api.with_key(tenant["api_key"]["key"].as_str().expect("a key"));
        let made = json!({"url": "https://hooks.example.com/a", "events": events()});
        tenant.post("/api/webhooks", &made).data(201);
    }
    let made = api.post("/api/webhooks", &json!({"url": receiver.url(), "events": events()})).data(201);
    let path = format!("/api/webhooks/{}/test", made["id"].as_str().expect("an id"));
    for body in [json!({}), json!({"type": "egress_ips.changing"})] {
        let run = api.post(&path, &body).data(200);
        assert_eq!(run["status"], "completed", "{run:#}");
        let body = receiver.received().last().expect("a request").json();
        assert_eq!(body["type"], "egress_ips.changing");
        assert_eq!(body["data"]["removed"], json!(["192.0.2.11"]));
    }
}

/// The exhaustion of an operator event makes no other: no loop, however long nobody answers.
#[test]
fn an_operator_event_that_is_exhausted_makes_no_other() {
    let nobody = Receiver::start(|_| Reply::Status(500));
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&nobody).retry(1, 0).create(&api);
    Pipeline::to(&nobody).retry(1, 0).with("trigger_type", json!(["delivery.exhausted"])).create(&api);
    Pipeline::to(&nobody).retry(1, 0).with("trigger_type", json!(["delivery.exhausted", "*"])).create(&api);
    post(&api, &conversion("evt_0", "conv_1", 0));
    // Two deliveries of the event, and two of each of the two that tell of them.
    at_rest(&api, 6);
    // What is accepted next is behind everything that could have been made of these.
    post(&api, &conversion("evt_1", "conv_2", 1));
    at_rest(&api, 12);
    let state = api.get("/api/state").data(200);
    assert_eq!((&state["events"], &state["deliveries"]["dead_lettered"]), (&json!(6), &json!(12)));
}

/// I3, CRS.1: each dead letter is told once, whenever the process is killed.
#[test]
fn every_dead_letter_is_told_once_over_kills() {
    const EVENTS: usize = 60;
    let (receiver, operators) = (Receiver::start(|_| Reply::Status(500)), Receiver::healthy());
    let mut server = TestServer::start();
    Pipeline::to(&receiver).retry(1, 0).create(&server.api());
    subscribe(&server.api(), &operators, &["delivery.exhausted"]);
    for round in 0..4 {
        for n in round * EVENTS / 4..(round + 1) * EVENTS / 4 {
            post(&server.api(), &conversion(&format!("evt_{n}"), &format!("conv_{n}"), n));
        }
        let so_far = (operators.count() + 3).min((round + 1) * EVENTS / 4);
        eventually("some are told", || (operators.count() >= so_far).then_some(()));
        server.restart();
    }
    let api = server.api();
    at_rest(&api, 2 * EVENTS as u64);
    let accepted = api.list("/api/events?type=delivery.exhausted", "items");
    let mut about: Vec<_> =
        operators.received().iter().map(|one| one.json()["data"]["event_id"].clone()).collect();
    let requests = about.len();
    about.sort_by_key(Value::to_string);
    about.dedup();
    assert_eq!((accepted.len(), about.len()), (EVENTS, EVENTS));
    // An attempt that a kill fell into is made again, as with every delivery.
    assert!(requests <= EVENTS + 4 * 64, "{requests}");
    server.terminate();
    assert!(server.verb(&["log", "verify"]).status.success());
}

/// SUP.1, SUP.4: the part that tells is supervised like the others, and what it missed it tells later.
#[cfg(feature = "chaos")]
#[test]
fn the_part_that_tells_is_supervised() {
    let (receiver, operators) = (Receiver::start(|_| Reply::Status(500)), Receiver::healthy());
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).retry(1, 0).create(&api);
    subscribe(&api, &operators, &["delivery.exhausted"]);
    let state = || {
        let actors = api.list("/api/actors", "items");
        actors.into_iter().find(|one| one["id"] == "notices").expect("the part")
    };
    assert_eq!(state()["state"], "running");
    post(&api, &conversion("evt_0", "conv_1", 0));
    eventually("it is told", || (operators.count() == 1).then_some(()));
    within(Duration::from_mins(1), "it is given up", || {
        api.send("POST", "/api/actors/notices/panic", None).data(200);
        (state()["state"] == "failed").then_some(())
    });
    let ready = api.get("/readyz?verbose");
    assert_eq!(ready.status, 200, "deliveries go on");
    assert_eq!(ready.json["degraded"][0]["part"], "notices", "{ready:?}");
    post(&api, &conversion("evt_1", "conv_2", 1));
    dead_letter(&api, "evt_1");
    assert_eq!(operators.count(), 1);
    api.send("POST", "/api/actors/notices/revive", None).data(200);
    eventually("what it missed is told", || (operators.count() == 2).then_some(()));
    assert_eq!(api.get("/readyz?verbose").json["degraded"], json!([]));
    assert_eq!(api.send("POST", "/api/actors/notices/revive", None).status, 409);
}

/// ATT-34: a pipeline that is given up tells its tenant.
#[cfg(feature = "chaos")]
#[test]
fn a_pipeline_that_is_given_up_is_told() {
    let (receiver, operators) = (Receiver::healthy(), Receiver::healthy());
    let server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).create(&api);
    subscribe(&api, &operators, &["pipeline.failed"]);
    within(Duration::from_mins(1), "it is given up", || {
        let actors = api.list("/api/actors", "items");
        let state = actors.into_iter().find(|one| one["id"] == *id)?["state"].clone();
        if state == "running" {
            api.send("POST", &format!("/api/actors/{id}/panic"), None);
        }
        (state == "failed").then_some(())
    });
    eventually("it is told", || (operators.count() == 1).then_some(()));
    let told = told(&operators.received());
    assert_eq!((&*told[0].0, &told[0].1["pipeline_id"]), ("pipeline.failed", &json!(id)));
    assert!(told[0].1["reason"].is_string());
}
