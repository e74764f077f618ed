//! Every place that can panic, three times each, under load: a part is restarted, nothing is lost or reordered, and the
//! restarts can be seen. `docs/supervision.md` has the table.

use crate::support::{
    Receiver, Reply, TestServer,
    checker::{Answered, Posted, Run},
    eventually,
    make::{Pipeline, conversion, post},
    wait::{number, within},
};
use std::time::Duration;

/// Sites inside a pipeline's worker or its attempts.
const WORKER_SITES: [&str; 5] =
    ["pipeline.started", "pipeline.enqueue", "pipeline.timer", "pipeline.ended", "attempt.task"];

/// SUP.1, SUP.2, SUP.3, SUP.5, SUP.9, I25, I27: handler, timer, start-up, outcome and the task of an attempt.
#[test]
fn a_panic_anywhere_in_a_worker_loses_and_reorders_nothing() {
    let panics = number("SUPERVISION_PANICS", 3_u32);
    for site in WORKER_SITES {
        // Every third request fails once, so that timers run too.
        let receiver = Receiver::start(|request| {
            let is_first =
                request.attempt() == 1 && request.json()["data"]["n"].as_u64().unwrap_or(0) % 3 == 0;
            Reply::Status(if is_first { 500 } else { 200 })
        });
        let mut server = TestServer::with()
            .variable("LEDGERHOOK_FAILPOINTS", &format!("{site}=panic*{panics}"))
            .variable("LEDGERHOOK_SUPERVISION_RESTARTS_MAX", &(panics + 2).to_string())
            .start();
        let api = server.api();
        // Only what waits has a timer.
        let delay = u32::from(site == "pipeline.timer");
        let id = Pipeline::to(&receiver).retry(8, delay).create(&api);
        let post = |n: usize| {
            let event = conversion(&format!("evt_{n}"), &format!("conv_{}", n % 6), n);
            let answered = Some(Answered::of(&api.post("/api/events", &event)));
            Posted { event, client: 0, answered }
        };
        let end = |count: usize| {
            within(Duration::from_mins(1), &format!("all has ended in spite of {site}"), || {
                let counts = api.get("/api/state").data(200)["deliveries"].clone();
                let ended = ["delivered", "dead_lettered"].map(|name| counts[name].as_u64().unwrap_or(0));
                (ended.iter().sum::<u64>() == count as u64).then_some(())
            });
        };
        let mut posted: Vec<_> = (0..60).map(post).collect();
        end(posted.len());
        // An attempt's own task ends alone; all others bring their worker down.
        let restarts = if site == "attempt.task" { 0 } else { u64::from(panics) };
        let worker = || api.list("/api/actors", "items").into_iter().find(|one| one["id"] == *id);
        let seen = || worker().expect("the worker is listed")["restarts"].as_u64();
        // What comes while a worker is down is read from the log by the next one, and passes no site.
        while seen() < Some(restarts) && posted.len() < 120 {
            posted.push(post(posted.len()));
            end(posted.len());
        }
        assert_eq!(seen(), Some(restarts), "{site}: {:?}", worker());
        let metrics = api.get("/metrics");
        let metrics = String::from_utf8_lossy(&metrics.message.body).into_owned();
        let told =
            metrics.lines().any(|line| line.contains("restarts") && line.ends_with(&format!(" {restarts}")));
        assert!(told, "{site}: {metrics}");
        let mut run = Run::gather(&api, posted, receiver.received());
        // An attempt that a panic ended may have reached its receiver.
        let (began, now) = (run.received[0].start, std::time::Instant::now());
        run.outages = vec![(began, now)];
        run.check();
        server.terminate();
        assert!(server.verb(&["log", "verify"]).status.success(), "{site}");
    }
}

/// SUP.1: the supervisor itself, while it takes on a pipeline's workers.
#[test]
fn a_panic_of_the_supervisor_loses_no_pipeline() {
    let receiver = Receiver::healthy();
    let server = TestServer::with().variable("LEDGERHOOK_FAILPOINTS", "supervisor.employ=panic*3").start();
    let api = server.api();
    Pipeline::to(&receiver).create(&api);
    post(&api, &conversion("evt_0", "conv_1", 0));
    eventually("it is delivered", || (receiver.succeeded() == 1).then_some(()));
}

/// SUP.6: the log's writer panics: no 202 from memory, the process ends with an error, and a start has everything.
#[test]
fn a_panic_of_the_log_writer_ends_the_process_and_loses_nothing() {
    let receiver = Receiver::healthy();
    let mut server = TestServer::with().variable("LEDGERHOOK_FAILPOINTS", "log.sync=panic@30").start();
    let api = server.api();
    Pipeline::to(&receiver).create(&api);
    let mut accepted = 0;
    for n in 0.. {
        let event = conversion(&format!("evt_{n}"), &format!("conv_{n}"), n).to_string();
        match api.try_send("POST", "/api/events", Some(event.as_bytes())) {
            Ok(answer) if answer.status == 202 => accepted += 1,
            Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
            Err(_) => break,
        }
    }
    let ended = server.wait_for_exit();
    assert!(!ended.success() && accepted > 0, "{ended}, {accepted} accepted");
    server.launch();
    let api = server.api();
    let events = api.get("/api/state").data(200)["events"].as_u64().expect("a count");
    assert!(events >= accepted, "{accepted} accepted, {events} there");
    eventually("all are delivered", || (receiver.succeeded() as u64 >= accepted).then_some(()));
}

/// I35: while the disk stalls, the health answer says so; no watchdog ends the process for it, and afterwards all goes on.
#[test]
fn a_disk_that_stalls_is_named_and_ends_nothing() {
    let receiver = Receiver::healthy();
    let server = TestServer::with()
        .variable("LEDGERHOOK_SUPERVISION_WATCHDOG_SECONDS", "6")
        .variable("LEDGERHOOK_FAILPOINTS", "log.sync=sleep(9000)@30")
        .start();
    let api = server.api();
    Pipeline::to(&receiver).create(&api);
    std::thread::scope(|scope| {
        let posting = scope.spawn(|| {
            for n in 0..30 {
                post(&server.api(), &conversion(&format!("evt_{n}"), &format!("conv_{n}"), n));
            }
        });
        within(Duration::from_secs(20), "the health answer names it", || {
            let health = api.get("/readyz?verbose");
            (health.status == 503 && health.json.to_string().contains("the disk has not answered"))
                .then_some(())
        });
        posting.join().expect("all are accepted in the end");
    });
    eventually("all are delivered", || (receiver.succeeded() == 30).then_some(()));
    assert_eq!(api.get("/readyz").status, 200);
}

/// SUP.7, I35: a worker that blocks its thread is named while it does; a thread beside it goes on.
#[test]
fn a_thread_that_stands_still_is_named() {
    let receiver = Receiver::healthy();
    let server = TestServer::with()
        .variable("LEDGERHOOK_DELIVERY_CORES", "2")
        .variable("LEDGERHOOK_FAILPOINTS", "pipeline.enqueue=sleep(9000)@3")
        .start();
    let api = server.api();
    Pipeline::to(&receiver).create(&api);
    for n in 0..3 {
        post(&api, &conversion(&format!("evt_{n}"), "conv_0", n));
    }
    within(Duration::from_secs(12), "the health answer names it", || {
        let health = api.get("/readyz?verbose");
        (health.status == 503 && health.json.to_string().contains("has not turned")).then_some(())
    });
    // Resources of the other thread are delivered meanwhile.
    for n in 3..23 {
        post(&api, &conversion(&format!("evt_{n}"), &format!("conv_{n}"), n));
    }
    eventually("another thread goes on", || (receiver.succeeded() >= 5).then_some(()));
    within(Duration::from_secs(20), "it is over", || (api.get("/readyz").status == 200).then_some(()));
    eventually("all are delivered", || (receiver.succeeded() == 23).then_some(()));
}
