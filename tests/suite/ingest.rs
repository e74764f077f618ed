//! What a 202 promises (ING), with the process killed right behind it, and with many senders at once.

use crate::support::{
    Receiver, TestServer, eventually,
    make::{Pipeline, conversion, post},
    wait::within,
};
use std::{collections::HashMap, thread, time::Duration};

/// ING.1, I1: an event whose 202 was read is known to the next start, and delivered.
#[test]
fn ing_1_what_was_answered_outlives_a_kill() {
    let receiver = Receiver::healthy();
    let mut server = TestServer::start();
    Pipeline::to(&receiver).create(&server.api());
    for n in 0..10 {
        let id = format!("evt_{n}");
        let position = post(&server.api(), &conversion(&id, "conv_1", n))["position"].clone();
        server.restart();
        let api = server.api();
        let again = post(&api, &conversion(&id, "conv_1", n));
        assert_eq!((&again["position"], &again["duplicate"]), (&position, &true.into()), "{again}");
        eventually("it is delivered", || {
            let found = api.get(&format!("/api/deliveries?event_id={id}")).data(200)["items"][0].clone();
            (found["status"] == "delivered").then_some(())
        });
    }
}

/// ING.13, I5: for every sender the order of delivery is the order of its answers, over one resource and many
/// connections. `INGEST_EVENTS` sets how many.
#[test]
fn ing_13_the_order_of_answers_is_the_order_of_delivery() {
    const SENDERS: usize = 50;
    let count = std::env::var("INGEST_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000);
    let receiver = Receiver::healthy();
    let server = TestServer::start();
    Pipeline::to(&receiver).create(&server.api());
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let api = server.api();
            thread::spawn(move || {
                let own = |n: usize| conversion(&format!("evt_{sender}_{n}"), "conv_1", n);
                (0..count / SENDERS).for_each(|n| drop(post(&api, &own(n))));
            })
        })
        .collect();
    for sender in senders {
        sender.join().expect("a sender");
    }
    within(Duration::from_mins(2), "all are delivered", || (receiver.succeeded() == count).then_some(()));
    let mut last: HashMap<String, usize> = HashMap::new();
    for request in receiver.received() {
        let event = request.event().to_owned();
        let (sender, n) = event.rsplit_once('_').expect("a number");
        let n: usize = n.parse().expect("a number");
        let expected = last.get(sender).map_or(0, |last| last + 1);
        assert_eq!(n, expected, "of {sender}");
        last.insert(sender.to_owned(), n);
    }
    assert_eq!(last.len(), SENDERS);
}
