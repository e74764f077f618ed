//! Order per resource, independence between resources, pause and resume.

use crate::support::{
    Receiver, Reply, TestServer,
    checker::{Answered, Posted, Run},
    eventually,
    make::{self, Pipeline, conversion, post},
};
use serde_json::json;
use std::time::Duration;

/// AFF-27, I5, I7
#[test]
fn a_failing_head_holds_back_its_own_resource_only() {
    let receiver = Receiver::start(|request| match request.json()["data"]["n"].as_u64() {
        Some(0) if request.attempt() < 3 && request.resource() == "conv_slow" => Reply::Status(500),
        _ => Reply::Status(200),
    });
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).create(&api);
    let mut posted = Vec::new();
    for n in 0..5 {
        for resource in ["conv_slow", "conv_fast"] {
            let event = conversion(&format!("evt_{resource}_{n}"), resource, n);
            let answered = Some(Answered::of(&api.post("/api/events", &event)));
            posted.push(Posted { event, client: 0, answered });
        }
    }
    eventually("all are delivered", || (receiver.succeeded() == 10).then_some(()));
    let requests = receiver.received();
    let last = |resource: &str| requests.iter().rposition(|one| one.resource() == resource);
    assert!(last("conv_fast") < last("conv_slow"), "the healthy resource waited for the failing one");
    let mut run = Run::gather(&api, posted, requests);
    run.delay = Some(Duration::from_secs(1));
    run.check();
}

/// I8: a backlog of one pipeline does not keep another one from the host that both deliver to.
#[test]
fn a_pipeline_does_not_wait_for_the_backlog_of_another_at_the_same_host() {
    let receiver = Receiver::start(|_| Reply::After(Duration::from_millis(50), 200));
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).create(&api);
    Pipeline::to(&receiver).with("trigger_type", "click").create(&api);
    let events: Vec<_> = (0..800).map(|n| conversion(&format!("evt_{n}"), &format!("conv_{n}"), n)).collect();
    api.post("/api/events/batch", &json!({ "events": events })).data(202);
    for n in 0..4 {
        let data = json!({"click_id": format!("clk_{n}")});
        post(&api, &json!({"id": format!("evt_click_{n}"), "type": "click.tracked", "data": data}));
    }
    let clicks = || receiver.received().iter().filter(|one| one.event().starts_with("evt_click")).count();
    eventually("the other's events are there", || (clicks() == 4).then_some(()));
    assert!(receiver.count() < 500, "{} requests of the backlog went before", receiver.count());
}

/// AFM-05, I10
#[test]
fn a_paused_pipeline_takes_events_and_sends_nothing_until_it_is_resumed() {
    let receiver = Receiver::healthy();
    let server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).create(&api);
    let path = format!("/api/admin/webhooks/pipelines/{id}");
    post(&api, &conversion("evt_before", "conv_1", 0));
    eventually("the first is delivered", || (receiver.succeeded() == 1).then_some(()));

    api.put(&path, &json!({"status": "paused"})).data(200);
    for n in 1..=3 {
        post(&api, &conversion(&format!("evt_{n}"), "conv_1", n));
    }
    let held = api.get("/api/state").data(200);
    assert_eq!(held["deliveries"]["held"], 3, "{held}");
    assert_eq!(receiver.count(), 1);

    api.put(&path, &json!({"status": "active"})).data(200);
    eventually("the rest is delivered", || (receiver.succeeded() == 4).then_some(()));
    let order: Vec<_> = receiver.received().iter().map(|one| one.event().to_owned()).collect();
    assert_eq!(order, ["evt_before", "evt_1", "evt_2", "evt_3"]);
}

/// AFM-05, T-32
#[test]
fn a_disabled_pipeline_skips_events() {
    let receiver = Receiver::healthy();
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).with("status", "disabled").create(&api);
    let receipt = post(&api, &conversion("evt_1", "conv_1", 0));
    assert_eq!(receipt["pipelines"], json!([]));
    assert_eq!(api.get("/api/state").data(200)["deliveries"]["skipped"], 1);
    assert_eq!(receiver.count(), 0);
}

/// ADM.17, I1: each of five hundred pending deliveries is cancelled by name, and none is gone.
#[test]
fn adm_17_what_a_deleted_pipeline_had_pending_is_listed_as_cancelled() {
    let receiver = Receiver::start(|_| Reply::Status(503));
    let mut server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).retry(8, 3600).create(&api);
    (0..500).for_each(|n| drop(post(&api, &conversion(&format!("evt_{n}"), &format!("conv_{}", n % 50), n))));
    assert_eq!(api.delete(&format!("/api/admin/webhooks/pipelines/{id}")).status, 200);
    let cancelled = |api: &crate::support::Api| {
        let listed = api.list("/api/deliveries?status=cancelled", "items");
        let mut ids: Vec<String> = listed.iter().map(|one| one["event_id"].to_string()).collect();
        ids.sort();
        ids.dedup();
        ids.len()
    };
    eventually("all are listed", || (cancelled(&api) == 500).then_some(()));
    server.restart();
    let api = server.api();
    eventually("also after a kill", || (cancelled(&api) == 500).then_some(()));
    assert_eq!(api.get("/api/state").data(200)["deliveries"]["cancelled"], 500);
}

/// AFM-44, I10
#[test]
fn a_deleted_pipeline_cancels_what_waits() {
    let receiver = Receiver::start(|_| Reply::Status(503));
    let server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).retry(8, 3600).create(&api);
    (0..3).for_each(|n| drop(post(&api, &conversion(&format!("evt_{n}"), "conv_1", n))));
    eventually("the head waits", || {
        (api.get("/api/state").data(200)["deliveries"]["retrying"] == 1).then_some(())
    });
    let deleted = api.delete(&format!("/api/admin/webhooks/pipelines/{id}"));
    assert!((200..300).contains(&deleted.status), "{deleted:?}");
    let deliveries = api.get("/api/state").data(200)["deliveries"].clone();
    assert_eq!(deliveries["cancelled"], 3, "{deliveries}");
    assert_eq!(receiver.count(), 1);
}

/// I3, I6: the same id is accepted once; the same id with another body is refused.
#[test]
fn an_event_posted_twice_is_delivered_once() {
    let receiver = Receiver::healthy();
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).create(&api);
    let event = conversion("evt_1", "conv_1", 0);
    let first = post(&api, &event);
    let second = post(&api, &event);
    assert_eq!(first["duplicate"], false);
    assert_eq!(second["duplicate"], true);
    assert_eq!(first["position"], second["position"]);
    assert_eq!(api.post("/api/events", &conversion("evt_1", "conv_1", 1)).status, 409);
    post(&api, &conversion("evt_2", "conv_1", 2));
    eventually("both are delivered", || (receiver.succeeded() == 2).then_some(()));
    let order: Vec<_> = receiver.received().iter().map(|one| one.event().to_owned()).collect();
    assert_eq!(order, ["evt_1", "evt_2"]);
}

/// Signatures are checked by their own code, on the bytes that came in.
#[test]
fn every_request_is_signed_twice() {
    let receiver = Receiver::healthy();
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).create(&api);
    post(&api, &conversion("evt_1", "conv_1", 0));
    eventually("it is delivered", || (receiver.succeeded() == 1).then_some(()));
    let request = &receiver.received()[0];
    let problems = crate::support::checker::signature_problems(request, make::SIGNING_KEY);
    assert!(problems.is_empty(), "{problems:?}");
    assert!(request.header("user-agent").starts_with("ledgerhook/"));
}
