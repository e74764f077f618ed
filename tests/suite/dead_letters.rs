//! What exhausts its attempts: listed, retried in its place, dismissed.

use crate::support::{
    Api, Receiver, Reply, TestServer, eventually,
    make::{Pipeline, conversion, post},
};
use serde_json::json;
use std::{thread, time::Duration};

/// AFF-30, AFM-58, AFM-59, AFM-60, I18, I19
#[test]
fn a_retried_dead_letter_goes_out_before_what_has_not_started() {
    let receiver = Receiver::start(|_| Reply::Status(500));
    let server = TestServer::start();
    let api = server.api();
    let pipeline = Pipeline::to(&receiver).retry(2, 0).create(&api);
    post(&api, &conversion("evt_0", "conv_1", 0));
    let item = eventually("it is a dead letter", || api.list("/api/admin/webhooks/logs/dlq", "items").pop());
    assert!(item["id"].as_str().is_some_and(|id| id.starts_with("dlq_")), "{item:#}");
    assert_eq!(item["pipeline_id"], *pipeline);
    assert_eq!(item["trigger_id"], "conv_1");
    assert_eq!(item["attempts"], 2);
    assert_eq!(item["last_error"], "HTTP 500");
    assert_eq!(item["payload"]["id"], "evt_0");

    // A later event whose attempt hangs in the air, and one behind it.
    let path = format!("/api/admin/webhooks/pipelines/{pipeline}");
    api.put(&path, &serde_json::json!({"status": "paused"})).data(200);
    post(&api, &conversion("evt_1", "conv_1", 1));
    let id = item["id"].as_str().expect("an id");
    let retried = api.send("POST", &format!("/api/admin/webhooks/logs/dlq/{id}/retry"), None);
    assert!((200..300).contains(&retried.status), "{retried:?}");
    receiver.now(|_| Reply::Status(200));
    api.put(&path, &serde_json::json!({"status": "active"})).data(200);
    eventually("both are delivered", || (receiver.succeeded() == 2).then_some(()));
    let sent = receiver.received();
    let order: Vec<_> = sent.iter().skip(2).map(|one| (one.event().to_owned(), one.round())).collect();
    assert_eq!(order, [("evt_0".to_owned(), 2), ("evt_1".to_owned(), 1)]);
    eventually("no dead letter is left", || {
        api.list("/api/admin/webhooks/logs/dlq", "items").is_empty().then_some(())
    });
}

/// AFM-61
#[test]
fn a_dismissed_dead_letter_is_gone_and_its_delivery_stays_on_record() {
    let receiver = Receiver::start(|_| Reply::Status(500));
    let mut server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).retry(1, 0).create(&api);
    post(&api, &conversion("evt_0", "conv_1", 0));
    let item = eventually("it is a dead letter", || api.list("/api/admin/webhooks/logs/dlq", "items").pop());
    let id = item["id"].as_str().expect("an id");
    let deleted = api.delete(&format!("/api/admin/webhooks/logs/dlq/{id}"));
    assert!((200..300).contains(&deleted.status), "{deleted:?}");
    assert_eq!(api.delete(&format!("/api/admin/webhooks/logs/dlq/{id}")).status, 404);
    server.restart();
    let api = server.api();
    assert!(api.list("/api/admin/webhooks/logs/dlq", "items").is_empty());
    assert_eq!(api.get("/api/state").data(200)["deliveries"]["dead_lettered"], 1);
}

/// AFM-61, I21
#[test]
fn a_dead_letter_outlives_its_pipeline_and_can_be_dismissed_after_a_restart() {
    let receiver = Receiver::start(|_| Reply::Status(500));
    let mut server = TestServer::start();
    let api = server.api();
    let pipeline = Pipeline::to(&receiver).retry(1, 0).create(&api);
    post(&api, &conversion("evt_0", "conv_1", 0));
    let item = eventually("it is a dead letter", || api.list("/api/admin/webhooks/logs/dlq", "items").pop());
    let path = format!("/api/admin/webhooks/logs/dlq/{}", item["id"].as_str().expect("an id"));
    api.delete(&format!("/api/admin/webhooks/pipelines/{pipeline}")).data(200);
    assert_eq!(api.send("POST", &format!("{path}/retry"), None).status, 409);
    server.restart();
    let api = server.api();
    assert_eq!(api.send("POST", &format!("{path}/retry"), None).status, 409);
    api.delete(&path).data(200);
    assert!(api.list("/api/admin/webhooks/logs/dlq", "items").is_empty());
}

/// ORD.6: retried long after later events of its resource: sent once more, marked, with its own place in the log.
#[test]
fn a_late_retry_says_that_it_is_one() {
    let receiver = Receiver::start(|request| match request.event() {
        "evt_0" => Reply::Status(500),
        _ => Reply::Status(200),
    });
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).retry(1, 0).create(&api);
    let place = post(&api, &conversion("evt_0", "conv_1", 0))["position"].clone();
    post(&api, &conversion("evt_1", "conv_1", 1));
    eventually("the later one is delivered", || (receiver.succeeded() == 1).then_some(()));
    let item = eventually("it is a dead letter", || api.list("/api/admin/webhooks/logs/dlq", "items").pop());
    receiver.now(|_| Reply::Status(200));
    let id = item["id"].as_str().expect("an id");
    let retried = api.send("POST", &format!("/api/admin/webhooks/logs/dlq/{id}/retry"), None);
    assert!((200..300).contains(&retried.status), "{retried:?}");
    eventually("it is delivered", || (receiver.succeeded() == 2).then_some(()));
    let sent = receiver.received();
    let again = sent.last().expect("a request");
    assert_eq!((again.event(), again.header("x-webhook-redelivery")), ("evt_0", "2"));
    let delivery = api.get(&format!("/api/deliveries/{}", again.delivery())).data(200);
    assert_eq!((&delivery["position"], &delivery["out_of_order"]), (&place, &true.into()), "{delivery:#}");
}

#[test]
fn a_halted_lane_waits_for_an_operator() {
    let receiver = Receiver::start(|request| match request.event() {
        "evt_0" => Reply::Status(500),
        _ => Reply::Status(200),
    });
    let server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).retry(1, 0).with("on_exhausted", "halt").create(&api);
    post(&api, &conversion("evt_0", "conv_1", 0));
    post(&api, &conversion("evt_1", "conv_1", 1));
    post(&api, &conversion("evt_2", "conv_2", 2));
    eventually("the other lane goes on", || (receiver.succeeded() == 1).then_some(()));
    eventually("the lane is halted", || {
        let lanes = api.list(&format!("/api/pipelines/{id}/lanes"), "items");
        lanes.iter().any(|lane| lane["state"] == "held").then_some(())
    });
    let lane = api.list(&format!("/api/pipelines/{id}/lanes"), "items").remove(0);
    let resource = lane["resource"].as_str().expect("a resource").to_owned();
    let resumed = api.send("POST", &format!("/api/pipelines/{id}/lanes/{resource}/resume"), None);
    assert!((200..300).contains(&resumed.status), "{resumed:?}");
    eventually("the lane goes on", || (receiver.succeeded() == 2).then_some(()));
}

/// I20: a step is dead, an operator calls the delivery off while it tries the next one, and the dead letter is retried:
/// what was counted as cancelled is delivered now, and nothing is counted twice.
#[test]
fn a_dead_letter_of_a_delivery_that_was_called_off_counts_once() {
    let receiver = Receiver::start(|_| Reply::Status(500));
    let server = TestServer::start();
    let api = server.api();
    let step = |name: &str, attempts: u32| {
        let retry =
            json!({"backoff_type": "fixed", "max_attempts": attempts, "initial_delay_seconds": 3_600});
        json!({"name": name, "url": receiver.url(), "retry_policy": retry, "stop_on_failure": false})
    };
    let steps = json!([step("first", 1), step("second", 2)]);
    let pipeline = Pipeline::to(&receiver).with("steps", steps).create(&api);
    post(&api, &conversion("evt_0", "conv_1", 0));
    let lanes = format!("/api/pipelines/{pipeline}/lanes");
    let lane = eventually("the second step waits for its retry", || {
        let lane = api.list(&lanes, "items").pop()?;
        (receiver.received().len() == 2 && lane["state"] != "in_flight").then_some(lane)
    });
    let resource = lane["resource"].as_str().expect("a resource");
    let skipped = api.send("POST", &format!("{lanes}/{resource}/skip"), None);
    assert_eq!(skipped.status, 409, "the lane is not halted: {skipped:?}");
    let delivery = api.list("/api/deliveries", "items").pop().expect("a delivery");
    let called_off = api.send(
        "POST",
        &format!("/api/deliveries/{}/cancel", delivery["id"].as_str().expect("an id")),
        None,
    );
    assert!((200..300).contains(&called_off.status), "{called_off:?}");
    let item = eventually("it is a dead letter", || api.list("/api/admin/webhooks/logs/dlq", "items").pop());
    receiver.now(|_| Reply::Status(200));
    let id = item["id"].as_str().expect("an id");
    let retried = api.send("POST", &format!("/api/admin/webhooks/logs/dlq/{id}/retry"), None);
    assert!((200..300).contains(&retried.status), "{retried:?}");
    eventually("it is delivered", || (receiver.succeeded() == 1).then_some(()));
    let counts = eventually("it is counted", || {
        let counts = api.get("/api/state").data(200)["deliveries"].clone();
        (counts["delivered"] == 1).then_some(counts)
    });
    assert_eq!((&counts["cancelled"], &counts["dead_lettered"]), (&json!(0), &json!(0)), "{counts:#}");
}

/// ORD.7: ten at once want the same item sent again: it is sent once, and everybody is told what is so.
#[test]
fn an_item_that_ten_retry_at_once_is_sent_again_once() {
    let receiver = Receiver::start(|_| Reply::Status(500));
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).retry(1, 0).create(&api);
    for round in 0..5 {
        let (event, before) = (format!("evt_{round}"), receiver.succeeded());
        receiver.now(|_| Reply::Status(500));
        post(&api, &conversion(&event, "conv_1", round));
        let item =
            eventually("it is a dead letter", || api.list("/api/admin/webhooks/logs/dlq", "items").pop());
        receiver.now(|_| Reply::After(Duration::from_millis(50), 200));
        let path = format!("/api/admin/webhooks/logs/dlq/{}/retry", item["id"].as_str().expect("an id"));
        let answers: Vec<_> = thread::scope(|scope| {
            let retry = || Api::new(server.address, &api.key).send("POST", &path, None).status;
            let all: Vec<_> = (0..10).map(|_| scope.spawn(retry)).collect();
            all.into_iter().map(|one| one.join().expect("an answer")).collect()
        });
        assert!(answers.iter().any(|status| (200..300).contains(status)), "{answers:?}");
        // Who comes when it is under way, or over, is told so.
        assert!(answers.iter().all(|s| (200..300).contains(s) || [404, 409].contains(s)), "{answers:?}");
        eventually("it is delivered", || (receiver.succeeded() > before).then_some(()));
        eventually("nothing is left to do", || {
            let counts = api.get("/api/state").data(200)["deliveries"].clone();
            (counts["delivered"] == round + 1).then_some(())
        });
        let again = receiver.received().iter().filter(|one| one.event() == event && one.round() > 1).count();
        assert_eq!(again, 1, "round {round}");
    }
}

/// ORD.11: a full queue lets go of its oldest item, and says so: a fact, a count, and the delivery stays on record and
/// can be sent again.
#[test]
fn a_full_queue_dismisses_its_oldest_item_on_the_record() {
    let receiver = Receiver::start(|_| Reply::Status(500));
    let mut server = TestServer::with().variable("LEDGERHOOK_DELIVERY_DEAD_LETTERS_MAX", "3").start();
    let api = server.api();
    Pipeline::to(&receiver).retry(1, 0).create(&api);
    for n in 0..10 {
        post(&api, &conversion(&format!("evt_{n}"), &format!("conv_{}", n % 2), n));
    }
    let kept = |api: &Api| {
        let items = api.list("/api/admin/webhooks/logs/dlq", "items");
        let mut events: Vec<_> = items.iter().map(|item| item["payload"]["id"].clone()).collect();
        events.sort_by_key(ToString::to_string);
        events
    };
    let newest = [json!("evt_7"), json!("evt_8"), json!("evt_9")];
    eventually("the newest three are left", || {
        let all = api.get("/api/state").data(200)["deliveries"]["dead_lettered"] == 10;
        (all && kept(&api) == newest).then_some(())
    });
    let metrics = String::from_utf8(api.get("/metrics").message.body).expect("text");
    assert!(metrics.contains("ledgerhook_dead_letters_dropped_total 7"), "{metrics}");
    let facts = api.list("/api/log?kind=dead_letter_deleted", "items");
    assert_eq!(facts.len(), 7, "{facts:#?}");
    assert!(facts.iter().all(|fact| fact.to_string().contains("key_engine")), "{facts:#?}");

    server.restart();
    let api = server.api();
    assert_eq!(kept(&api), newest);
    receiver.now(|_| Reply::Status(200));
    let oldest = api.list("/api/deliveries?status=dead_lettered", "items").pop().expect("a delivery");
    let id = oldest["id"].as_str().expect("an id");
    let again = api.send("POST", &format!("/api/deliveries/{id}/retry"), None);
    assert!((200..300).contains(&again.status), "{again:?}");
    eventually("it is delivered", || (receiver.succeeded() == 1).then_some(()));
}

/// I1, T-34: deliveries whose step was replaced while they waited are skipped: nobody took them, and nobody is told so.
#[test]
fn what_waits_for_a_step_that_was_replaced_is_skipped_and_not_delivered() {
    let (down, fresh) = (Receiver::start(|_| Reply::Status(500)), Receiver::healthy());
    let server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&down).create(&api);
    for n in 0..3 {
        post(&api, &conversion(&format!("evt_{n}"), &format!("conv_{n}"), n));
    }
    eventually("all were tried", || (down.received().len() >= 3).then_some(()));
    let change = json!({"steps": [{"name": "another", "url": fresh.url()}]});
    api.put(&format!("/api/admin/webhooks/pipelines/{id}"), &change).data(200);
    let counts = eventually("none is pending", || {
        let counts = api.get("/api/state").data(200)["deliveries"].clone();
        (counts["skipped"] == 3).then_some(counts)
    });
    assert_eq!(counts["delivered"], 0, "{counts:#}");
    assert_eq!(api.list("/api/deliveries?status=skipped", "items").len(), 3);
    post(&api, &conversion("evt_3", "conv_3", 3));
    eventually("what comes later goes to the new one", || (fresh.succeeded() == 1).then_some(()));
    assert_eq!(fresh.received().len(), 1);
}

/// I18, I20: what happened to a step is told of that step, though it has changed places since, and a dead letter names its
/// step though the delivery is pinned to a later version.
#[test]
fn steps_that_change_places_keep_their_history() {
    let receiver = Receiver::start(|_| Reply::Status(500));
    let server = TestServer::start();
    let api = server.api();
    let retry = json!({"backoff_type": "fixed", "max_attempts": 1});
    let step = |name: &str| json!({"name": name, "url": receiver.url(), "retry_policy": retry, "stop_on_failure": false});
    let id = Pipeline::to(&receiver).with("steps", json!([step("a"), step("b")])).create(&api);
    post(&api, &conversion("evt_0", "conv_1", 0));
    let dlq = "/api/admin/webhooks/logs/dlq";
    let items = eventually("both are dead letters", || {
        let items = api.list(dlq, "items");
        (items.len() == 2).then_some(items)
    });
    let path = format!("/api/admin/webhooks/pipelines/{id}");
    let mut steps = api.get(&path).data(200)["steps"].as_array().expect("steps").clone();
    (steps[0]["order"], steps[1]["order"]) = (json!(2), json!(1));
    api.put(&path, &json!({"steps": steps})).data(200);
    let of_a = items.iter().find(|item| item["step_name"] == "a").expect("an item of a");
    let retried = api.send("POST", &format!("{dlq}/{}/retry", of_a["id"].as_str().expect("an id")), None);
    assert_eq!(retried.status, 200, "{retried:?}");
    let items = eventually("it is one again", || {
        let items = api.list(dlq, "items");
        (items.len() == 2 && items.iter().any(|item| item["round"] == 2)).then_some(items)
    });
    let mut names: Vec<_> = items.iter().map(|item| item["step_name"].as_str().expect("a name")).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b"], "{items:#?}");
    let delivery = of_a["delivery_id"].as_str().expect("an id");
    let detail = api.get(&format!("/api/deliveries/{delivery}")).data(200);
    let told =
        detail["steps"].as_array().expect("steps").iter().map(|step| (&step["name"], &step["attempts_made"]));
    assert_eq!(told.collect::<Vec<_>>(), [(&json!("b"), &json!(1)), (&json!("a"), &json!(2))], "{detail:#}");
}
