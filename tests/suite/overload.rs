//! More than there is room for: the surplus is refused, everybody gets a share, and nothing else slows down.
//!
//! All is judged by ratios within one run, with bounds that a busy machine of two cores keeps.

use crate::support::{
    Api, Receiver, Reply, TestServer, eventually,
    make::{Pipeline, conversion, post},
    server::OPERATOR_KEY,
    wait::within,
};
use serde_json::json;
use std::{
    io::{self, Read as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// The least room that intake may have.
const ONE_MIB: &str = "1048576";

/// A tenant of its own with a pipeline to the receiver: its key.
fn tenant(server: &TestServer, name: &str, receiver: &Receiver) -> String {
    let api = server.api().tenant_of("afftok", name);
    Pipeline::to(receiver).create(&api);
    api.key
}

/// Posts one event after the other until it is told to stop; counts what was accepted and what was refused.
struct Producer<'a> {
    address: SocketAddr,
    key: &'a str,
    prefix: String,
    pause: Duration,
    /// Bytes that each event is padded with.
    pad: usize,
}

impl Producer<'_> {
    fn run(&self, stop: &AtomicBool, accepted: &AtomicUsize, refused: &AtomicUsize) -> Vec<Duration> {
        let mut api = Api::new(self.address, self.key);
        let mut took = Vec::new();
        for n in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let prefix = &self.prefix;
            let mut event = conversion(&format!("{prefix}_{n}"), &format!("{prefix}_{}", n % 20), n);
            event["data"]["pad"] = "x".repeat(self.pad).into();
            let began = Instant::now();
            match api.try_send("POST", "/api/events", Some(event.to_string().as_bytes())) {
                Ok(answer) if answer.status == 202 => {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    took.push(began.elapsed());
                }
                Ok(answer) if matches!(answer.status, 429 | 503) => {
                    assert!(answer.message.header("retry-after").is_some(), "{answer:?}");
                    refused.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(5));
                }
                Ok(answer) => panic!("{answer:?}"),
                Err(_) => api = Api::new(self.address, self.key),
            }
            thread::sleep(self.pause);
        }
        took
    }
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
                pause: Duration::from_millis(20),
                pad: 0,
            };
            let (stop, accepted, refused) = (&stop, &loud_accepted, &loud_refused);
            scope.spawn(move || producer.run(stop, accepted, refused));
        }
        let quiet: Vec<_> = quiet
            .iter()
            .enumerate()
            .map(|(number, key)| {
                let prefix = format!("quiet_{round}_{number}");
                let producer = Producer { address, key, prefix, pause: Duration::from_millis(400), pad: 0 };
                let (stop, accepted, refused) = (&stop, &accepted, &refused);
                scope.spawn(move || producer.run(stop, accepted, refused))
            })
            .collect();
        thread::sleep(Duration::from_secs(4));
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
    let (alone, _, _) = measure(&server, &quiet, None, 0);
    let (beside, p99, loud_accepted) = measure(&server, &quiet, Some((&loud, 8)), 1);
    assert!(loud_accepted > beside * 4, "{loud_accepted} of the loud one, {beside} of nine quiet ones");
    assert!(beside * 10 >= alone * 8, "{beside} events beside a loud tenant, {alone} without it");
    assert!(p99 < Duration::from_secs(1), "{p99:?}");
}

/// OVL.1, OVL.8, OVL.9: events come faster than the disk takes them: the surplus gets 429 with `Retry-After`, every 202
/// is kept, and when the load is over everything drains by itself.
#[test]
fn a_slow_disk_sheds_the_surplus_and_keeps_every_202() {
    let receiver = Receiver::start(|_| Reply::Status(200));
    let server = TestServer::with()
        .variable("LEDGERHOOK_INTAKE_BYTES_MAX", ONE_MIB)
        .variable("LEDGERHOOK_FAILPOINTS", "log.sync=sleep(30)")
        .start();
    let api = server.api();
    Pipeline::to(&receiver).create(&api);
    let (stop, accepted, refused) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let mut took = thread::scope(|scope| {
        let producers: Vec<_> = (0..24)
            .map(|n| {
                let (address, prefix) = (server.address, format!("evt_{n}"));
                let producer =
                    Producer { address, key: OPERATOR_KEY, prefix, pause: Duration::ZERO, pad: 60_000 };
                let (stop, accepted, refused) = (&stop, &accepted, &refused);
                scope.spawn(move || producer.run(stop, accepted, refused))
            })
            .collect();
        thread::sleep(Duration::from_secs(5));
        stop.store(true, Ordering::Relaxed);
        producers.into_iter().flat_map(|one| one.join().expect("a producer")).collect::<Vec<_>>()
    });
    let (accepted, refused) = (accepted.into_inner(), refused.into_inner());
    assert!(refused > 100 && accepted > 20, "{accepted} accepted, {refused} refused");
    took.sort_unstable();
    assert!(took[took.len() * 99 / 100] < Duration::from_secs(1), "p99 of what was accepted");
    within(Duration::from_mins(1), "everything drains", || {
        let state = api.get("/api/state").data(200);
        (state["deliveries"]["delivered"] == accepted && state["events"] == accepted).then_some(())
    });
    assert_eq!(receiver.succeeded(), accepted);
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

/// OVL.5: one resource with thousands of events ahead of it, another with one.
#[test]
fn a_long_lane_holds_up_no_other() {
    let receiver = Receiver::start(|request| match request.resource().as_str() {
        "busy" => Reply::After(Duration::from_millis(5), 200),
        _ => Reply::Status(200),
    });
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).create(&api);
    let events: Vec<_> = (0..2_000).map(|n| conversion(&format!("b_{n}"), "busy", n)).collect();
    for batch in events.chunks(500) {
        api.post("/api/events/batch", &json!({ "events": batch })).data(202);
    }
    let began = Instant::now();
    post(&api, &conversion("one", "other", 0));
    eventually("the other's event comes", || {
        receiver.received().iter().any(|one| one.event() == "one").then_some(())
    });
    let took = began.elapsed();
    let busy = receiver.received().iter().filter(|one| one.resource() == "busy").count();
    assert!(busy < 1_000, "the lane was not long any more");
    assert!(took < Duration::from_secs(2), "{took:?} behind a lane of thousands");
}

/// OVL.6: lists as fast as they come: deliveries go on, and the key is told to wait when its share is used up.
#[test]
fn reading_at_full_speed_does_not_stop_deliveries() {
    let receiver = Receiver::start(|_| Reply::Status(200));
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).create(&api);
    let run = |round: usize| {
        let before = receiver.succeeded();
        let began = Instant::now();
        for n in 0..400 {
            post(&api, &conversion(&format!("e_{round}_{n}"), &format!("c_{}", n % 40), n));
        }
        eventually("all are delivered", || (receiver.succeeded() == before + 400).then_some(()));
        began.elapsed()
    };
    run(0);
    let alone = run(1);
    let stop = AtomicBool::new(false);
    let beside = thread::scope(|scope| {
        let read = || {
            let reader = Api::new(server.address, OPERATOR_KEY);
            while !stop.load(Ordering::Relaxed) {
                let answer = reader.get("/api/deliveries?limit=100");
                assert!(matches!(answer.status, 200 | 429), "{answer:?}");
            }
        };
        let _reader = scope.spawn(read);
        let took = run(2);
        stop.store(true, Ordering::Relaxed);
        took
    });
    // Readers, client and engine share two cores here, so that this is no measure of the engine; a stop would show.
    assert!(beside < alone * 6 + Duration::from_secs(1), "{beside:?} beside a reader, {alone:?} alone");
}

/// OVL.7: connections that say nothing cost nobody an answer, and are closed when their time is over.
#[test]
fn idle_connections_are_borne_and_closed() {
    let server = TestServer::with().variable("LEDGERHOOK_SERVER_KEEP_ALIVE_SECONDS", "3").start();
    let idle: Vec<_> = (0..2_000).map_while(|_| TcpStream::connect(server.address).ok()).collect();
    assert!(idle.len() >= 900, "only {} connections", idle.len());
    let began = Instant::now();
    server.api().get("/api/state").data(200);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    within(Duration::from_secs(30), "idle connections are closed", || {
        let is_closed = |mut stream: &TcpStream| {
            stream.set_nonblocking(true).expect("a socket");
            // A last word, 408, may stand before the end.
            let mut last = [0; 1024];
            match stream.read(&mut last) {
                Ok(0) => true,
                Ok(_) => false,
                Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
            }
        };
        idle.iter().all(is_closed).then_some(())
    });
    server.api().get("/api/state").data(200);
}
