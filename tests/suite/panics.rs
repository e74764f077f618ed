//! Workers that panic: they come back with their lanes whole, and one that goes on panicking is given up, visibly.

use crate::support::{
    Api, Receiver, TestServer, eventually,
    make::{Pipeline, conversion, post},
};
use serde_json::Value;

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
