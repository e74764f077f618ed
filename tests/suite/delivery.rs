//! Retries, failover, steps and what the API tells of them.

use crate::support::{
    Received, Receiver, Reply, TestServer, eventually,
    make::{Pipeline, conversion, post},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn gaps(received: &[Received]) -> Vec<Duration> {
    let pairs = received.windows(2);
    pairs.map(|pair| pair[1].start.duration_since(pair[0].end.expect("an end"))).collect()
}

/// Each gap is its delay, a little late at most (I14).
#[track_caller]
fn assert_gaps(received: &[Received], seconds: &[f64]) {
    let gaps = gaps(received);
    assert_eq!(gaps.len(), seconds.len(), "{gaps:?}");
    for (gap, seconds) in gaps.iter().zip(seconds) {
        let gap = gap.as_secs_f64();
        assert!((seconds - 0.05..=seconds + 1.0).contains(&gap), "{gap} s instead of {seconds} s");
    }
}

/// AFF-28, AFM-17, AFM-18, AFM-53, I14
#[test]
fn an_exponential_policy_doubles_its_delays() {
    let receiver = Receiver::start(|request| Reply::Status(if request.attempt() < 4 { 500 } else { 200 }));
    let server = TestServer::start();
    let api = server.api();
    let policy = json!({
        "max_attempts": 5, "backoff_type": "exponential", "initial_delay_seconds": 1, "max_delay_seconds": 2,
    });
    Pipeline::to(&receiver).step("retry_policy", policy).create(&api);
    post(&api, &conversion("evt_1", "conv_1", 0));
    eventually("it is delivered", || (receiver.succeeded() == 1).then_some(()));
    assert_gaps(&receiver.received(), &[1.0, 2.0, 2.0]);
}

#[test]
fn awc_carries_deliveries_where_it_is_chosen() {
    let receiver = Receiver::start(|request| Reply::Status(if request.attempt() < 2 { 503 } else { 200 }));
    let server = TestServer::with().option("--transport").option("awc").start();
    let api = server.api();
    Pipeline::to(&receiver).retry(3, 1).create(&api);
    post(&api, &conversion("evt_1", "conv_1", 0));
    eventually("it is delivered", || (receiver.succeeded() == 1).then_some(()));
    assert_eq!(receiver.received().len(), 2);
}

/// AFM-52
#[test]
fn a_fixed_policy_keeps_its_delay() {
    let receiver = Receiver::start(|request| Reply::Status(if request.attempt() < 3 { 503 } else { 200 }));
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).retry(3, 1).create(&api);
    post(&api, &conversion("evt_1", "conv_1", 0));
    eventually("it is delivered", || (receiver.succeeded() == 1).then_some(()));
    assert_gaps(&receiver.received(), &[1.0, 1.0]);
    let attempts: Vec<_> = receiver.received().iter().map(Received::attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
}

/// AFF-29: the published table, as far as a test can wait for it; the API tells when the rest is due.
#[test]
fn without_a_policy_the_published_table_holds() {
    let receiver = Receiver::start(|_| Reply::Status(500));
    let server = TestServer::start();
    let api = server.api();
    let mut pipeline = Pipeline::to(&receiver);
    pipeline.0["steps"][0].as_object_mut().expect("a step").remove("retry_policy");
    pipeline.create(&api);
    post(&api, &conversion("evt_1", "conv_1", 0));
    eventually("the second attempt", || (receiver.count() == 2).then_some(()));
    assert_gaps(&receiver.received(), &[5.0]);
}

/// AFF-30, AFM-07, AFM-70, T-28: failover gets the same body after the primary is exhausted, then the dead letters.
#[test]
fn an_exhausted_step_goes_to_the_failover_and_then_to_the_dead_letters() {
    let primary = Receiver::start(|_| Reply::Status(500));
    let failover = Receiver::start(|_| Reply::Status(502));
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&primary).retry(2, 0).with("failover_url", failover.url()).create(&api);
    post(&api, &conversion("evt_1", "conv_1", 0));
    let items = eventually("it is a dead letter", || {
        let items = api.list("/api/admin/webhooks/logs/dlq", "items");
        (!items.is_empty()).then_some(items)
    });
    assert_eq!((primary.count(), failover.count()), (2, 2));
    assert_eq!(items[0]["attempts"], 2, "{:#}", items[0]);
    let (primary, failover) = (primary.received(), failover.received());
    assert_eq!(primary[0].message.body, failover[0].message.body);
    assert_eq!(primary[0].event(), failover[0].event());
    assert_eq!(failover[0].header("x-afftok-failover"), "1");
    assert!(failover[0].start > primary[1].end.expect("an end"));
}

#[test]
fn a_failover_that_answers_completes_the_delivery() {
    let primary = Receiver::start(|_| Reply::Reset);
    let failover = Receiver::healthy();
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&primary).retry(2, 0).with("failover_url", failover.url()).create(&api);
    post(&api, &conversion("evt_1", "conv_1", 0));
    post(&api, &conversion("evt_2", "conv_1", 1));
    eventually("both are delivered", || (failover.succeeded() == 2).then_some(()));
    eventually("the API says so", || {
        (api.get("/api/state").data(200)["deliveries"]["delivered"] == 2).then_some(())
    });
}

/// AFM-06, AFM-09, AFM-22, ORD.9
#[test]
fn steps_run_in_their_order_and_a_failed_one_can_stop_the_rest() {
    let first = Receiver::healthy();
    let second = Receiver::start(|_| Reply::Status(500));
    let third = Receiver::healthy();
    let server = TestServer::start();
    let api = server.api();
    for stop in [false, true] {
        let step = |order: u32, receiver: &Receiver| {
            let Value::Array(mut steps) = Pipeline::to(receiver).retry(1, 0).0["steps"].take() else {
                unreachable!("steps are a list")
            };
            steps[0]["order"] = order.into();
            steps[0]["name"] = format!("Step {order}").into();
            steps[0]["stop_on_failure"] = stop.into();
            steps.remove(0)
        };
        let mut pipeline = Pipeline::to(&first);
        pipeline.0["steps"] = json!([step(3, &third), step(1, &first), step(2, &second)]);
        let id = pipeline.create(&api);
        let name = format!("evt_stop_{stop}");
        post(&api, &conversion(&name, "conv_1", 0));
        eventually("it has ended", || {
            let listed = api.list(&format!("/api/deliveries?event_id={name}"), "items");
            (listed.first()?["status"] == "dead_lettered").then_some(())
        });
        api.delete(&format!("/api/admin/webhooks/pipelines/{id}"));
    }
    assert_eq!((first.count(), second.count(), third.count()), (2, 2, 1));
}

/// `Retry-After` asks for more than the policy.
#[test]
fn a_receiver_can_ask_for_a_longer_wait() {
    let receiver = Receiver::start(|request| match request.attempt() {
        1 => Reply::With(503, vec![("Retry-After", "2".into())]),
        _ => Reply::Status(200),
    });
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).retry(2, 0).create(&api);
    post(&api, &conversion("evt_1", "conv_1", 0));
    eventually("it is delivered", || (receiver.succeeded() == 1).then_some(()));
    assert_gaps(&receiver.received(), &[2.0]);
}

/// AFM-15, I15
#[test]
fn a_receiver_that_hangs_is_cut_off_at_the_deadline() {
    let receiver = Receiver::start(|request| match request.attempt() {
        1 => Reply::After(Duration::from_secs(10), 200),
        _ => Reply::Status(200),
    });
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).step("timeout_seconds", 1).retry(2, 0).create(&api);
    // The deadline runs from before the connection is made, so it is measured from before the post.
    let posted = Instant::now();
    post(&api, &conversion("evt_1", "conv_1", 0));
    eventually("the second attempt", || (receiver.count() == 2).then_some(()));
    let waited = receiver.received()[1].start.duration_since(posted).as_secs_f64();
    assert!((1.0..2.5).contains(&waited), "{waited} s");
}

/// AFF-15 … AFF-21, T-2, T-11, T-21b: six keys in their order, numbers as JavaScript writes them.
#[test]
fn the_envelope_has_the_documented_keys_and_bytes() {
    let receiver = Receiver::healthy();
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).create(&api);
    let text = include_str!("../fixtures/afftok/overview_conversion_created.json");
    api.try_send("POST", "/api/events", Some(text.as_bytes())).expect("an answer").data(202);
    eventually("it is delivered", || (receiver.succeeded() == 1).then_some(()));
    let request = &receiver.received()[0];
    let body = std::str::from_utf8(&request.message.body).expect("UTF-8");
    let start = r#"{"id":"evt_def456","type":"conversion.created","timestamp":"2024-01-15T10:35:00Z","api_version":""#;
    assert!(body.starts_with(start), "{body}");
    assert!(body.contains(r#""amount":49.99,"currency":"USD","payout":5,"status":"pending""#), "{body}");
    let json = request.json();
    let keys: Vec<_> = json.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(keys.len(), 6);
    assert_eq!(json["metadata"]["tenant_id"], "tenant_default");
    assert!(json["metadata"]["correlation_id"].as_str().is_some_and(|id| id.starts_with("corr_")), "{json}");
    assert_eq!(request.method, "POST");
    assert_eq!(request.header("content-type"), "application/json");
}
