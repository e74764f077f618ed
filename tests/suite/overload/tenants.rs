//! One tenant beside others: what it may take from them, and what it may not.

use super::load::Producer;
use crate::support::{
    Api, Receiver, Reply, TestServer, eventually,
    make::{Pipeline, conversion, post},
    wait::number,
};
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// A tenant of its own with a pipeline to the receiver: its key.
fn tenant(server: &TestServer, name: &str, receiver: &Receiver) -> String {
    let api = server.api().tenant_of("afftok", name);
    Pipeline::to(receiver).create(&api);
    api.key
}

/// Lets quiet tenants post for a while, with or without loud clients beside them: events accepted, and the 99th of a
/// hundred waits, and what the loud ones got in.
fn measure(
    server: &TestServer,
    quiet: &[String],
    loud: Option<(&str, usize)>,
    round: usize,
) -> (usize, Duration, usize) {
    let (stop, accepted, refused) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let (loud_accepted, loud_refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let address = server.address;
    let mut took = thread::scope(|scope| {
        for client in 0..loud.map_or(0, |(_, clients)| clients) {
            let producer = Producer {
                address,
                key: loud.expect("loud").0,
                prefix: format!("loud_{round}_{client}"),
                pause: Duration::from_millis(number("OVERLOAD_LOUD_PAUSE_MS", 20)),
                pad: 0,
            };
            let (stop, accepted, refused) = (&stop, &loud_accepted, &loud_refused);
            scope.spawn(move || producer.run(stop, accepted, refused));
        }
        let quiet: Vec<_> = quiet
            .iter()
            .enumerate()
            .map(|(at, key)| {
                let prefix = format!("quiet_{round}_{at}");
                let producer = Producer {
                    address,
                    key,
                    prefix,
                    pause: Duration::from_millis(number("OVERLOAD_QUIET_PAUSE_MS", 400)),
                    pad: 0,
                };
                let (stop, accepted, refused) = (&stop, &accepted, &refused);
                scope.spawn(move || producer.run(stop, accepted, refused))
            })
            .collect();
        thread::sleep(Duration::from_secs(number("OVERLOAD_SECONDS", 4)));
        stop.store(true, Ordering::Relaxed);
        quiet.into_iter().flat_map(|one| one.join().expect("a producer")).collect::<Vec<_>>()
    });
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
    (accepted.into_inner(), p99, loud_accepted.into_inner())
}

/// OVL.3: nine quiet tenants beside one that posts a hundred times as much, on a disk that takes its time: the nine
/// keep what they had. That one alone cannot take all the room is shown in `intake/room.rs`.
#[test]
fn quiet_tenants_keep_their_throughput_beside_a_loud_one() {
    let receiver = Receiver::start(|_| Reply::Status(200));
    let server = TestServer::with().variable("LEDGERHOOK_FAILPOINTS", "log.sync=sleep(10)").start();
    let quiet: Vec<_> = (0..9).map(|n| tenant(&server, &format!("quiet_{n}"), &receiver)).collect();
    let loud = tenant(&server, "loud", &receiver);
    let (alone, p99_alone, _) = measure(&server, &quiet, None, 0);
    let (beside, p99, loud_accepted) = measure(&server, &quiet, Some((&loud, 8)), 1);
    eprintln!(
        "nine quiet tenants: {beside} events, p99 {p99:?}, beside {loud_accepted} of the loud one; {alone} alone, p99 {p99_alone:?}"
    );
    assert!(loud_accepted > beside * 4, "{loud_accepted} of the loud one, {beside} of nine quiet ones");
    assert!(beside * 10 >= alone * 8, "{beside} events beside a loud tenant, {alone} without it");
    assert!(p99 < Duration::from_secs(1), "{p99:?}");
}

/// OVL.4, I8: a receiver that hangs holds its own host's places and nobody else's.
#[test]
fn a_receiver_that_hangs_slows_no_other() {
    let hanging = Receiver::start(|_| Reply::After(Duration::from_mins(1), 200));
    let healthy = Receiver::start(|_| Reply::Status(200));
    let server = TestServer::start();
    let keys = [tenant(&server, "hanging", &hanging), tenant(&server, "healthy", &healthy)];
    let run = |round: usize| {
        let before = healthy.succeeded();
        let api = Api::new(server.address, &keys[1]);
        let began = Instant::now();
        for n in 0..200 {
            post(&api, &conversion(&format!("h_{round}_{n}"), &format!("c_{}", n % 40), n));
        }
        eventually("all are delivered", || (healthy.succeeded() == before + 200).then_some(()));
        began.elapsed()
    };
    let alone = run(0);
    let api = Api::new(server.address, &keys[0]);
    for n in 0..300 {
        post(&api, &conversion(&format!("x_{n}"), &format!("x_{n}"), n));
    }
    eventually("the hanging one has its requests", || (hanging.count() >= 16).then_some(()));
    let beside = run(1);
    // A tenth is what is promised; a busy machine varies by more.
    assert!(beside < alone * 2 + Duration::from_millis(500), "{beside:?} beside it, {alone:?} alone");
}

/// OVL.4: one tenant has more receivers that hang, on as many hosts, than a core has places; another's deliveries go
/// at once. Without its share, or if pipelines took turns instead of tenants, they would wait for the hanging ones' end.
#[test]
fn a_tenant_with_many_hosts_that_hang_slows_no_other() {
    let hanging: Vec<_> =
        (0..30).map(|_| Receiver::start(|_| Reply::After(Duration::from_mins(2), 200))).collect();
    let healthy = Receiver::healthy();
    // Two cores with 18 places each, one of them for each host: sixteen of them are one tenant's at most.
    let server = TestServer::with()
        .variable("LEDGERHOOK_DELIVERY_CORES", "2")
        .variable("LEDGERHOOK_DELIVERY_CONCURRENCY", "36")
        .variable("LEDGERHOOK_DELIVERY_CONCURRENCY_PER_HOST", "2")
        .start();
    let api = server.api().tenant_of("afftok", "hanging");
    for receiver in &hanging {
        Pipeline::to(receiver).step("timeout_seconds", 300).create(&api);
    }
    let other = Api::new(server.address, &tenant(&server, "healthy", &healthy));
    for n in 0..10 {
        post(&api, &conversion(&format!("x_{n}"), &format!("x_{n}"), n));
    }
    let held = || hanging.iter().map(Receiver::count).sum::<usize>();
    eventually("the tenant has all that it may have", || (held() >= 32).then_some(()));
    for n in 0..200 {
        post(&other, &conversion(&format!("h_{n}"), &format!("c_{n}"), n));
    }
    eventually("the other's events come", || (healthy.succeeded() == 200).then_some(()));
    assert_eq!(held(), 32, "eight ninths of both cores");
}
