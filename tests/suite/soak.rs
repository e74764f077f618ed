//! Load: many resources, a flaky receiver, a large backlog. Sizes come from the environment.

use crate::{
    crashes::{Load, flaky},
    support::{
        Receiver, Reply, TestServer,
        checker::Run,
        make::{Pipeline, conversion},
        wait::{number, within},
    },
};
use std::{thread, time::Duration};

/// I1 … I7, I9, I11 … I14, I16 … I18, I20
#[test]
fn a_receiver_that_fails_a_tenth_breaks_no_invariant() {
    let events = number("SOAK_EVENTS", 2_000);
    let receiver = flaky(number("SOAK_SEED", 42));
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).create(&api);
    let load = Load::new(server.address, events, number("SOAK_RESOURCES", events.div_ceil(20)));
    let posted = thread::scope(|scope| {
        let load = &load;
        let clients: Vec<_> = (0..load.clients).map(|client| scope.spawn(move || load.run(client))).collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect::<Vec<_>>()
    });
    within(Duration::from_mins(2), "every event is delivered", || {
        (api.get("/api/state").data(200)["deliveries"]["delivered"] == events).then_some(())
    });
    let mut run = Run::gather(&api, posted, receiver.received());
    run.delay = Some(Duration::from_secs(1));
    run.check();
}

/// OVL.2: waiting deliveries live in the log, and a restart finds them all.
#[test]
fn a_backlog_costs_little_memory_and_survives_a_restart() {
    const BATCH: usize = 1_000;
    let events: usize = number("BACKLOG_EVENTS", 20_000);
    let limit_mib = number("BACKLOG_MIB", 512);
    let receiver = Receiver::start(|_| Reply::Status(503));
    let mut server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).retry(8, 3600).create(&api);
    for first in (0..events).step_by(BATCH) {
        let batch: Vec<_> = (first..events.min(first + BATCH))
            .map(|n| conversion(&format!("evt_{n}"), &format!("conv_{}", n % 10_000), n))
            .collect();
        let answer = api.post("/api/events/batch", &serde_json::json!({ "events": batch }));
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    let resident = server.memory_kib("VmRSS") / 1024;
    assert!(resident <= limit_mib, "{resident} MiB resident with {events} waiting deliveries");

    receiver.now(|_| Reply::Status(200));
    let before = receiver.count();
    server.kill();
    server.launch();
    let api = server.api();
    let state = api.get("/api/state").data(200);
    assert_eq!(state["events"], events, "{state}");
    drop(api);
    super::support::make::post(&server.api(), &conversion("evt_new", "conv_new", 0));
    within(Duration::from_mins(1), "the first delivery after the restart", || {
        (receiver.count() > before).then_some(())
    });
}
