//! `kill -9` under load: nothing lost, no lane out of order, no number used twice.

use crate::support::{
    Api, Receiver, Reply, TestServer,
    checker::{Answered, Posted, Run},
    make::{Pipeline, conversion},
    server::OPERATOR_KEY,
    wait::{number, within},
};
use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A small generator, so that a failed run can be repeated by its seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Below `limit`.
    pub(crate) fn roll(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A receiver that fails a tenth of its requests.
pub(crate) fn flaky(seed: u64) -> Receiver {
    let dice = Mutex::new(Dice::new(seed));
    Receiver::start(move |_| match dice.lock().expect("dice").roll(10) {
        0 => Reply::Status(500),
        _ => Reply::Status(200),
    })
}

/// Posts events from several clients; each owns its resources, and posts again until an event is accepted.
pub(crate) struct Load {
    pub events: usize,
    pub resources: usize,
    pub clients: usize,
    /// Where the server is now; port 0 while it is down.
    pub server: Mutex<SocketAddr>,
    pub accepted: AtomicUsize,
}

impl Load {
    pub(crate) fn new(server: SocketAddr, events: usize, resources: usize) -> Self {
        Self { events, resources, clients: 4, server: Mutex::new(server), accepted: AtomicUsize::new(0) }
    }

    /// One client's share.
    pub(crate) fn run(&self, client: usize) -> Vec<Posted> {
        let mut posted = Vec::new();
        let mut api = Api::new(*self.server.lock().expect("an address"), OPERATOR_KEY);
        for n in (client..self.events).step_by(self.clients) {
            // Resources are dealt so that each belongs to one client.
            let resource = n % self.resources / self.clients * self.clients + client;
            let event = conversion(&format!("evt_{n}"), &format!("conv_{resource}"), n);
            let answered = self.insist(&mut api, event.to_string().as_bytes());
            self.accepted.fetch_add(1, Ordering::Relaxed);
            posted.push(Posted { event, client, answered: Some(answered) });
        }
        posted
    }

    fn insist(&self, api: &mut Api, event: &[u8]) -> Answered {
        within(Duration::from_mins(2), "the event is accepted", || {
            match api.try_send("POST", "/api/events", Some(event)) {
                Ok(answer) if answer.status < 500 && answer.status != 429 => Some(Answered::of(&answer)),
                Ok(_) => None,
                Err(_) => {
                    *api = Api::new(*self.server.lock().expect("an address"), OPERATOR_KEY);
                    None
                }
            }
        })
    }
}

/// AFF-26, I1 … I7, I11 … I13, I16 … I18, I20 … I22, CRS.1
#[test]
fn nothing_is_lost_or_reordered_by_twenty_kills() {
    let seed = number("SOAK_SEED", 42);
    let events = number("SOAK_EVENTS", 2_000);
    let kills = number("SOAK_KILLS", 20);
    let receiver = flaky(seed);
    let mut server = TestServer::start();
    Pipeline::to(&receiver).create(&server.api());
    let load = Load::new(server.address, events, number("SOAK_RESOURCES", events.div_ceil(20)));

    let mut dice = Dice::new(seed);
    let mut outages = Vec::new();
    let posted = thread::scope(|scope| {
        let clients: Vec<_> = (0..load.clients)
            .map(|client| {
                scope.spawn({
                    let load = &load;
                    move || load.run(client)
                })
            })
            .collect();
        for kill in 0..kills {
            // At a random moment: when so many events have been accepted, and so many attempts made since.
            let accepted = events * kill / kills;
            within(Duration::from_mins(2), "the load goes on", || {
                (load.accepted.load(Ordering::Relaxed) >= accepted).then_some(())
            });
            let attempts = receiver.count() + usize::try_from(dice.roll(50)).unwrap_or(0);
            let patience = Instant::now();
            within(Duration::from_mins(1), "attempts are made", || {
                let idle = patience.elapsed() > Duration::from_secs(2);
                (idle || receiver.count() >= attempts).then_some(())
            });
            let killed = Instant::now();
            server.restart();
            outages.push((killed, Instant::now()));
            *load.server.lock().expect("an address") = server.address;
        }
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect::<Vec<_>>()
    });

    let api = server.api();
    within(Duration::from_mins(2), "every delivery has ended", || {
        let state = api.get("/api/state").data(200);
        let pending = ["queued", "in_flight", "retrying", "held"];
        let pending: u64 = pending.iter().filter_map(|key| state["deliveries"][*key].as_u64()).sum();
        (pending == 0 && state["events"] == events).then_some(())
    });
    let mut run = Run::gather(&api, posted, receiver.received());
    run.outages = outages;
    run.check();

    let running = api.get("/api/state").data(200);
    server.terminate();
    let verified = server.verb(&["log", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let position = running["position"].as_u64().expect("a position").to_string();
    let replayed = server.verb(&["log", "replay", "--to", &position]);
    let replayed: serde_json::Value = serde_json::from_slice(&replayed.stdout).expect("one JSON object");
    assert_eq!(replayed, running);
    server.launch();
    assert_eq!(server.api().get("/api/state").data(200)["digest"], running["digest"]);
}

/// CRS.11
#[test]
fn attempts_made_before_a_kill_count_after_it() {
    let receiver = Receiver::start(|_| Reply::Status(500));
    let mut server = TestServer::start();
    Pipeline::to(&receiver).retry(4, 1).create(&server.api());
    super::support::make::post(&server.api(), &conversion("evt_0", "conv_1", 0));
    for so_far in 1..=3 {
        super::support::eventually("an attempt", || (receiver.count() == so_far).then_some(()));
        let api = server.api();
        super::support::eventually("its end is on record", || {
            (api.get("/api/state").data(200)["deliveries"]["retrying"] == 1).then_some(())
        });
        server.restart();
    }
    let api = server.api();
    super::support::eventually("it is a dead letter", || {
        api.list("/api/admin/webhooks/logs/dlq", "items").pop()
    });
    let attempts: Vec<_> = receiver.received().iter().map(super::support::Received::attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
}
