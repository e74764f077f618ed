//! Receiver control: circuit breakers, pace, `410 Gone` and `Retry-After`.

use crate::support::{
    Api, Received, Receiver, Reply, TestServer, eventually,
    make::{Pipeline, conversion, post},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

/// Opens with the fifth failure in a row of three resources, and probes every one or two seconds.
fn quick() -> Value {
    json!({"failures": 5, "resources": 3, "seconds": 0, "probe_seconds": 1, "probe_seconds_max": 2})
}

fn pipeline(api: &Api, id: &str) -> Value {
    api.get(&format!("/api/admin/webhooks/pipelines/{id}")).data(200)
}

fn endpoint(api: &Api, id: &str) -> Value {
    pipeline(api, id)["steps"][0]["endpoint"].clone()
}

fn counts(api: &Api) -> Value {
    api.get("/api/state").data(200)["deliveries"].clone()
}

/// The deliveries of a pipeline by event, each whole.
fn deliveries(api: &Api, id: &str) -> BTreeMap<String, Value> {
    let listed = api.list(&format!("/api/deliveries?pipeline_id={id}"), "items");
    let whole = listed.iter().map(|one| {
        let path = format!("/api/deliveries/{}", one["id"].as_str().expect("an id"));
        (one["event_id"].as_str().expect("an event").to_owned(), api.get(&path).data(200))
    });
    whole.collect()
}

/// A dead receiver, its breaker open, and ten resources with two events each.
fn outage() -> (Receiver, TestServer, String) {
    let receiver = Receiver::start(|_| Reply::Status(503));
    let server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).with("breaker", quick()).retry(50, 1).create(&api);
    for n in 0..20 {
        post(&api, &conversion(&format!("evt_{n}"), &format!("conv_{}", n % 10), n));
    }
    eventually("the breaker opens", || (endpoint(&api, &id)["state"] != "closed").then_some(()));
    (receiver, server, id)
}

/// ORD.12, I9: attempts stop, one probe at a time goes on, what waits keeps its place and its attempts, and is told
/// to be held; when the receiver is back, everything comes in order.
#[test]
fn an_open_breaker_holds_everything_and_lets_one_probe_through() {
    let (receiver, server, id) = outage();
    let api = server.api();
    let before = receiver.count();
    eventually("three probes go out", || (receiver.count() >= before + 3).then_some(()));
    let shown = endpoint(&api, &id);
    assert!(["open", "half_open"].contains(&shown["state"].as_str().expect("a state")), "{shown}");
    assert!(shown["opened_at"].is_string() && shown["next_probe_at"].is_string(), "{shown}");
    let probes: Vec<Received> = receiver.received().split_off(before);
    for pair in probes.windows(2) {
        assert!(pair[0].end.expect("an end") <= pair[1].start, "two probes at a time");
    }
    let held = counts(&api);
    assert_eq!(held["held"].as_u64().unwrap() + held["in_flight"].as_u64().unwrap(), 20, "{held}");
    let lanes = api.list(&format!("/api/pipelines/{id}/lanes"), "items");
    let waiting = lanes.iter().filter(|lane| lane["held_reason"] == "breaker").count();
    assert!(waiting >= 9, "{lanes:?}");
    let listed = api.list("/api/deliveries?status=held", "items");
    assert!(listed.len() >= 19 && listed.iter().all(|one| one["held_reason"] == "breaker"), "{listed:?}");
    let metrics = String::from_utf8(api.get("/metrics").message.body).expect("text");
    assert!(metrics.contains("ledgerhook_deferrals_total{reason=\"breaker\"}"), "{metrics}");

    receiver.now(|_| Reply::Status(200));
    eventually("all are delivered", || (counts(&api)["delivered"] == 20).then_some(()));
    let seen = receiver.received();
    for (event, delivery) in deliveries(&api, &id) {
        let requests = seen.iter().filter(|one| one.event() == event).count();
        assert_eq!(delivery["attempts_made"], requests, "a deferral is no attempt: {event}");
    }
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for one in seen.iter().filter(|one| one.is_success()) {
        let n = one.json()["data"]["n"].as_u64().expect("a number");
        let earlier = last.insert(one.resource(), n);
        assert!(earlier.is_none_or(|earlier| earlier < n), "{n} was overtaken");
    }
    let check = server.verb(&["log", "verify", "--data-dir", server.data_dir.to_str().expect("a path")]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

/// ORD.12, I21: an opening is a fact, and the state that is folded from it is the same as the running engine's.
#[test]
fn an_open_breaker_is_still_open_after_a_kill() {
    let (receiver, mut server, id) = outage();
    let opened_at = endpoint(&server.api(), &id)["opened_at"].clone();
    server.restart();
    let api = server.api();
    let shown = endpoint(&api, &id);
    assert_eq!(shown["opened_at"], opened_at, "{shown}");
    let before = receiver.count();
    eventually("probes go on", || (receiver.count() > before).then_some(()));
    let kinds: BTreeSet<_> = api
        .list(&format!("/api/log?stream=pipeline/{id}&kind=endpoint_opened"), "items")
        .into_iter()
        .map(|fact| fact["kind"].as_str().expect("a kind").to_owned())
        .collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["endpoint_opened"]);
    // Paused, so that nothing moves while both are asked.
    api.put(&format!("/api/admin/webhooks/pipelines/{id}"), &json!({"status": "paused"})).data(200);
    let state = eventually("nothing is in flight", || {
        let state = api.get("/api/state").data(200);
        (state["deliveries"]["in_flight"] == 0).then_some(state)
    });
    let position = state["position"].to_string();
    let folder = server.data_dir.to_str().expect("a path").to_owned();
    let replayed = server.verb(&["log", "replay", "--data-dir", &folder, "--to", &position]);
    let replayed: Value = serde_json::from_slice(&replayed.stdout).expect("JSON");
    assert_eq!(replayed["digest"], state["digest"]);
    assert_eq!(replayed["deliveries"], state["deliveries"]);
}

#[test]
fn someone_closes_a_breaker_by_hand_and_the_audit_tells_who() {
    let (receiver, server, id) = outage();
    let api = server.api();
    receiver.now(|_| Reply::Status(200));
    let step = pipeline(&api, &id)["steps"][0]["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/pipelines/{id}/steps/{step}/breaker/close");
    let closed = api.post(&path, &json!({}));
    // A probe may have been quicker.
    assert!([200, 409].contains(&closed.status), "{closed:?}");
    eventually("all are delivered", || (counts(&api)["delivered"] == 20).then_some(()));
    assert_eq!(api.post(&path, &json!({})).status, 409);
    assert_eq!(api.post(&format!("/api/pipelines/{id}/failover/breaker/close"), &json!({})).status, 404);
    let told = api.list("/api/audit", "items");
    let by_hand = told.iter().filter(|record| record["action"] == "endpoint.closed").count();
    assert_eq!(by_hand, usize::from(closed.status == 200));
}

/// RCV.12: an event that no receiver takes does not open the breaker while others are taken.
#[test]
fn a_poisonous_event_does_not_open_the_breaker() {
    let receiver = Receiver::start(|request| match request.resource().as_str() {
        "conv_poison" => Reply::Status(500),
        _ => Reply::Status(200),
    });
    let server = TestServer::start();
    let api = server.api();
    let strict = json!({"failures": 3, "resources": 1, "seconds": 0});
    let id = Pipeline::to(&receiver).with("breaker", strict).retry(6, 0).create(&api);
    post(&api, &conversion("evt_poison", "conv_poison", 0));
    for n in 1..40 {
        post(&api, &conversion(&format!("evt_{n}"), &format!("conv_{n}"), n));
    }
    eventually("all are over", || {
        let counts = counts(&api);
        (counts["delivered"] == 39 && counts["dead_lettered"] == 1).then_some(())
    });
    let poison = &deliveries(&api, &id)["evt_poison"];
    assert_eq!(poison["attempts_made"], 6);
}

#[test]
fn a_breaker_is_read_checked_and_turned_off() {
    let receiver = Receiver::healthy();
    let server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).create(&api);
    let path = format!("/api/admin/webhooks/pipelines/{id}");
    let usual = pipeline(&api, &id)["breaker"].clone();
    assert_eq!(usual["failures"], 1_000);
    assert_eq!(endpoint(&api, &id), json!({"state": "closed"}));
    let set = api.put(&path, &json!({"breaker": {"failures": 7}})).data(200);
    assert_eq!((&set["breaker"]["failures"], &set["breaker"]["resources"]), (&json!(7), &usual["resources"]));
    assert_eq!(api.put(&path, &json!({"name": "B"})).data(200)["breaker"]["failures"], 7);
    assert_eq!(api.put(&path, &json!({"breaker": "off"})).data(200)["breaker"], "off");
    assert_eq!(api.put(&path, &json!({"breaker": null})).data(200)["breaker"], usual);
    for (body, pointer) in [
        (json!({"breaker": "on"}), "/breaker"),
        (json!({"breaker": {"failures": 0}}), "/breaker/failures"),
        (json!({"breaker": {"resources": 101}}), "/breaker/resources"),
        (json!({"breaker": {"probe_seconds": 9, "probe_seconds_max": 8}}), "/breaker/probe_seconds_max"),
        (json!({"breaker": {"patience": 1}}), "/breaker/patience"),
        (json!({"rate_limit_per_second": 0}), "/rate_limit_per_second"),
        (json!({"rate_limit_per_second": 10_001}), "/rate_limit_per_second"),
    ] {
        let refused = api.put(&path, &body);
        assert_eq!(refused.status, 422, "{body}: {refused:?}");
        assert_eq!(refused.json["errors"][0]["pointer"], pointer, "{refused:?}");
    }
}

/// APX-34, T-41: more than the rate waits, in order, over all threads together; nothing is dropped, and no attempt
/// is counted that was not made.
#[test]
fn events_over_the_rate_wait_and_none_is_lost() {
    let receiver = Receiver::healthy();
    let server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).with("rate_limit_per_second", 40).create(&api);
    let events: Vec<_> =
        (0..120).map(|n| conversion(&format!("evt_{n}"), &format!("conv_{}", n % 60), n)).collect();
    api.post("/api/events/batch", &json!({ "events": events })).data(202);
    eventually("some are held for the rate", || {
        let lanes = api.list(&format!("/api/pipelines/{id}/lanes"), "items");
        lanes.iter().any(|lane| lane["state"] == "held" && lane["held_reason"] == "rate").then_some(())
    });
    eventually("all are delivered", || (counts(&api)["delivered"] == 120).then_some(()));
    let deliveries = deliveries(&api, &id);
    let mut starts: Vec<i64> = deliveries
        .values()
        .map(|delivery| {
            assert_eq!(delivery["attempts_made"], 1);
            let at = delivery["attempts"][0]["started_at"].as_str().expect("an instant");
            chrono::DateTime::parse_from_rfc3339(at).expect("an instant").timestamp_millis()
        })
        .collect();
    starts.sort_unstable();
    for (first, from) in starts.iter().enumerate() {
        let within = starts[first..].iter().take_while(|at| **at < from + 1_000).count();
        assert!(within <= 80, "{within} in a second: more than the rate and one burst");
    }
    assert!(starts.last().unwrap() - starts[0] >= 1_900, "eighty of them at forty a second");
    let order: BTreeMap<String, Vec<u64>> =
        receiver.received().iter().fold(BTreeMap::new(), |mut all, one| {
            all.entry(one.resource()).or_default().push(one.json()["data"]["n"].as_u64().unwrap_or_default());
            all
        });
    assert!(order.values().all(|ns| ns.is_sorted()), "{order:?}");
}

/// APX-34, APX-35, T-15, T-41: the profile's rate is that of each of its webhooks, which may ask for less and not for
/// more; its schedule comes with it.
#[test]
fn a_webhook_has_the_rate_and_the_schedule_of_its_profile() {
    let server = TestServer::with().option("--default-profile").option("apexmediation").start();
    let api = server.api();
    let webhook = json!({"url": "https://receiver.example/hook", "events": ["payout.succeeded"]});
    let made = api.post("/api/webhooks", &webhook).data(201);
    assert_eq!(made["rate_limit_per_second"], 100);
    assert_eq!(made["retry_policy"]["max_attempts"], 4);
    let path = format!("/api/webhooks/{}", made["id"].as_str().expect("an id"));
    assert_eq!(api.put(&path, &json!({"rate_limit_per_second": 5})).data(200)["rate_limit_per_second"], 5);
    assert_eq!(
        api.put(&path, &json!({"rate_limit_per_second": null})).data(200)["rate_limit_per_second"],
        100
    );
    let refused = api.put(&path, &json!({"rate_limit_per_second": 101}));
    assert_eq!(
        (refused.status, &refused.json["errors"][0]["pointer"]),
        (422, &json!("/rate_limit_per_second"))
    );
}

/// RCV.7, T-16, Standard Webhooks (410 disables the endpoint): the pipeline is paused by the engine, and says why;
/// what waits is held in order and goes on when it is resumed.
#[test]
fn a_receiver_that_is_gone_pauses_its_pipeline() {
    let receiver = Receiver::start(|_| Reply::Status(410));
    let server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).create(&api);
    let path = format!("/api/admin/webhooks/pipelines/{id}");
    post(&api, &conversion("evt_0", "conv_1", 0));
    eventually("it is paused", || (pipeline(&api, &id)["status"] == "paused").then_some(()));
    assert_eq!(pipeline(&api, &id)["paused_reason"], "gone");
    for n in 1..4 {
        post(&api, &conversion(&format!("evt_{n}"), &format!("conv_{}", n % 2), n));
    }
    assert_eq!(counts(&api)["held"], 4);
    assert_eq!(receiver.count(), 1, "no further attempt");
    let listed = api.list("/api/deliveries?status=held", "items");
    assert!(listed.len() == 4 && listed.iter().all(|one| one["held_reason"] == "pause"), "{listed:?}");
    let told = api.list("/api/audit", "items");
    let paused = told.iter().find(|record| record["action"] == "pipeline.updated").expect("a record");
    assert_eq!(paused["actor"], "key_engine");

    receiver.now(|_| Reply::Status(200));
    let resumed = api.put(&path, &json!({"status": "active"})).data(200);
    assert_eq!(resumed.get("paused_reason"), None);
    eventually("all are delivered", || (counts(&api)["delivered"] == 4).then_some(()));
    let first: Vec<_> = receiver.received().into_iter().filter(|one| one.resource() == "conv_1").collect();
    let order: Vec<_> = first.iter().map(|one| (one.event().to_owned(), one.attempt())).collect();
    let expected = [("evt_0", 1), ("evt_0", 2), ("evt_1", 1), ("evt_3", 1)];
    assert_eq!(order, expected.map(|(event, attempt)| (event.to_owned(), attempt)));
}

/// RCV.7: the same holds for the failover.
#[test]
fn a_failover_that_is_gone_pauses_the_pipeline_too() {
    let (receiver, failover) =
        (Receiver::start(|_| Reply::Status(500)), Receiver::start(|_| Reply::Status(410)));
    let server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).with("failover_url", failover.url()).retry(1, 0).create(&api);
    post(&api, &conversion("evt_0", "conv_1", 0));
    eventually("it is paused", || (pipeline(&api, &id)["status"] == "paused").then_some(()));
    assert_eq!((receiver.count(), failover.count()), (1, 1));
}

/// RCV.7, T-16, T-17, SOC-45: the table of answers of a profile that retries everything outside of 2xx.
#[test]
fn every_failing_status_is_retried_by_a_profile_that_names_none_as_final() {
    let receiver = Receiver::start(|request| match request.json()["data"]["n"].as_u64() {
        Some(status) if request.attempt() == 1 => Reply::Status(u16::try_from(status).expect("a status")),
        _ => Reply::Status(200),
    });
    let server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).retry(2, 0).create(&api);
    let statuses = [301, 400, 401, 403, 404, 405, 408, 413, 422, 425, 429, 500, 502, 503, 504];
    for status in statuses {
        post(&api, &conversion(&format!("evt_{status}"), &format!("conv_{status}"), status));
    }
    eventually("all are delivered", || (counts(&api)["delivered"] == statuses.len()).then_some(()));
    for (event, delivery) in deliveries(&api, &id) {
        let attempts = delivery["attempts"].as_array().expect("attempts").iter();
        let got: Vec<_> = attempts.map(|one| one["http_status"].as_u64().unwrap_or_default()).collect();
        let first: u64 = event.trim_start_matches("evt_").parse().expect("a status");
        assert_eq!(got, [first, 200], "{event}");
    }
}

/// RCV.8: a sane wish moves the next attempt, capped at a day; garbage, the past and less than the policy's own delay
/// leave it alone. It concerns the delivery that got it and no other.
#[test]
fn retry_after_is_followed_within_its_limits() {
    let soon: chrono::DateTime<chrono::Utc> = (SystemTime::now() + Duration::from_mins(50)).into();
    let date = soon.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let past = "Tue, 14 Nov 2023 22:13:20 GMT".to_owned();
    let wishes: [(u16, String, [i64; 2]); 10] = [
        (429, "7".into(), [10, 11]),
        (429, "70".into(), [70, 71]),
        (503, "70".into(), [70, 71]),
        (503, date, [2_900, 3_001]),
        (503, past, [10, 11]),
        (429, "0".into(), [10, 11]),
        (429, "-5".into(), [10, 11]),
        (429, "1e9".into(), [10, 11]),
        (429, "1000000000".into(), [86_400, 86_401]),
        (429, "99999999999999999999".into(), [86_400, 86_401]),
    ];
    let script = wishes.clone();
    let receiver = Receiver::start(move |request| {
        let n = usize::try_from(request.json()["data"]["n"].as_u64().unwrap_or_default()).unwrap_or_default();
        script.get(n).map_or(Reply::Status(200), |(status, wish, _)| {
            Reply::With(*status, vec![("Retry-After", wish.clone())])
        })
    });
    let server = TestServer::start();
    let api = server.api();
    let id = Pipeline::to(&receiver).retry(3, 10).create(&api);
    for n in 0..wishes.len() {
        post(&api, &conversion(&format!("evt_{n}"), &format!("conv_{n}"), n));
    }
    post(&api, &conversion("evt_other", "conv_other", wishes.len()));
    let waiting = u64::try_from(wishes.len()).expect("few");
    eventually("all wait for their retry, and another lane does not", || {
        let counts = counts(&api);
        (counts["retrying"] == waiting && counts["delivered"] == 1).then_some(())
    });
    let millis = |text: &Value| {
        let at = chrono::DateTime::parse_from_rfc3339(text.as_str().expect("an instant"));
        at.expect("an instant").timestamp_millis()
    };
    let found = deliveries(&api, &id);
    for (n, (status, wish, [least, most])) in wishes.iter().enumerate() {
        let delivery = &found[&format!("evt_{n}")];
        let waits = millis(&delivery["due_at"]) - millis(&delivery["attempts"][0]["ended_at"]);
        assert!(
            (least * 1_000 - 50..=most * 1_000).contains(&waits),
            "{status} with `Retry-After: {wish}` waits {waits} ms"
        );
    }
}
