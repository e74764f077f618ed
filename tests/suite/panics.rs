//! Workers that panic: they come back with their lanes whole, and one that goes on panicking is given up, visibly.

use crate::support::{
    Api, Receiver, Reply, TestServer, eventually,
    make::{Pipeline, conversion, post},
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

fn actor(api: &Api, id: &str) -> Option<Value> {
    let actors = api.list("/api/actors", "items");
    actors.into_iter().find(|one| one["id"] == id)
}

fn panic_once(api: &Api, id: &str) {
    let restarts = actor(api, id).expect("an actor")["restarts"].as_u64().expect("a count");
    assert!(api.send("POST", &format!("/api/actors/{id}/panic"), None).status < 300);
    eventually("the supervisor has noticed", || {
        let actor = actor(api, id)?;
        (actor["restarts"].as_u64()? > restarts || actor["state"] == "failed").then_some(())
    });
}

/// SUP.1, I25
#[test]
fn a_worker_that_panics_comes_back_with_its_lanes() {
    let receiver = Receiver::healthy();
    let server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).create(&api);
    post(&api, &conversion("evt_0", "conv_1", 0));
    panic_once(&api, &id);
    post(&api, &conversion("evt_1", "conv_1", 1));
    eventually("both are delivered", || {
        (api.get("/api/state").data(200)["deliveries"]["delivered"] == 2).then_some(())
    });
    let events: Vec<_> = receiver.received().iter().map(|one| one.event().to_owned()).collect();
    assert_eq!(events, ["evt_0", "evt_1"]);
    assert_eq!(actor(&api, &id).expect("an actor")["state"], "running");
}

/// SUP.4, I26
#[test]
fn five_panics_in_a_minute_give_the_worker_up_and_lose_nothing() {
    let receiver = Receiver::healthy();
    let other = Receiver::healthy();
    let mut server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).create(&api);
    Pipeline::to(&other).with("trigger_type", "click").create(&api);
    (0..6).for_each(|_| {
        if actor(&api, &id).is_some_and(|actor| actor["state"] != "failed") {
            panic_once(&api, &id);
        }
    });
    eventually("it is given up", || (actor(&api, &id)?["state"] == "failed").then_some(()));
    let problems = api.get("/readyz?verbose");
    assert!(String::from_utf8_lossy(&problems.message.body).contains(&id), "{problems:?}");

    // Its events wait; the other pipeline goes on.
    post(&api, &conversion("evt_0", "conv_1", 0));
    let click = serde_json::json!({"id": "evt_c", "type": "click.tracked", "data": {"click_id": "clk_1"}});
    post(&api, &click);
    eventually("the other goes on", || (other.succeeded() == 1).then_some(()));
    assert_eq!(receiver.count(), 0);

    let revived = api.send("POST", &format!("/api/actors/{id}/revive"), None);
    assert!((200..300).contains(&revived.status), "{revived:?}");
    eventually("what waited is delivered", || (receiver.succeeded() == 1).then_some(()));
    server.terminate();
    assert!(server.verb(&["log", "verify"]).status.success());
}

/// I1, I26, I34: the places at the receiver that the failed worker held are free again, for others too.
#[test]
fn a_pipeline_that_failed_with_requests_in_flight_delivers_after_its_revival() {
    let hangs = Arc::new(AtomicBool::new(true));
    let hanging = Arc::clone(&hangs);
    let receiver = Receiver::start(move |_| {
        Reply::After(
            if hanging.load(Ordering::Relaxed) { Duration::from_secs(5) } else { Duration::ZERO },
            200,
        )
    });
    let server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).retry(20, 0).create(&api);
    Pipeline::to(&receiver).with("trigger_type", "click").create(&api);
    let events: Vec<_> = (0..60).map(|n| conversion(&format!("evt_{n}"), &format!("conv_{n}"), n)).collect();
    api.post("/api/events/batch", &json!({ "events": events })).data(202);
    for _ in 0..5 {
        eventually("requests are in flight", || {
            let actor = actor(&api, &id)?;
            (actor["state"] == "running" && actor["in_flight"].as_u64()? > 0).then_some(())
        });
        panic_once(&api, &id);
    }
    eventually("it is given up", || (actor(&api, &id)?["state"] == "failed").then_some(()));
    hangs.store(false, Ordering::Relaxed);
    for n in 0..4 {
        let data = json!({"click_id": format!("clk_{n}")});
        post(&api, &json!({"id": format!("evt_c{n}"), "type": "click.tracked", "data": data}));
    }
    let clicks = || receiver.received().iter().filter(|one| one.event().starts_with("evt_c")).count();
    eventually("the other goes on", || (clicks() == 4).then_some(()));
    assert_eq!(api.send("POST", &format!("/api/actors/{id}/revive"), None).status, 200);
    eventually("all are delivered", || {
        (api.get("/api/state").data(200)["deliveries"]["delivered"] == 64).then_some(())
    });
}

/// I1: an event may name a pipeline before the pipeline's workers are there.
#[test]
fn events_that_come_while_their_pipeline_is_made_are_delivered() {
    let receiver = Receiver::healthy();
    let server = TestServer::with().variable("LEDGERHOOK_FAILPOINTS", "supervisor.employ=sleep(400)").start();
    let api = server.api();
    thread::scope(|scope| {
        scope.spawn(|| Pipeline::to(&receiver).create(&server.api()));
        let mut n = 0;
        eventually("an event goes to it", || {
            n += 1;
            let receipt = post(&api, &conversion(&format!("evt_{n}"), &format!("conv_{n}"), n));
            (receipt["pipelines"] != json!([])).then_some(())
        });
    });
    eventually("it is delivered", || (receiver.succeeded() == 1).then_some(()));
}
