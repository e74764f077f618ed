//! The checker itself: a run that holds is taken apart in every way that matters, and each break has to be seen.

use crate::support::{
    Receiver, Reply, TestServer,
    checker::{Answered, Posted, Run},
    eventually,
    make::{Pipeline, conversion},
};
use std::time::Duration;

/// Three events of each of two resources; the first of all needs two attempts.
fn sound() -> Run {
    let receiver = Receiver::start(|request| match (request.event(), request.attempt()) {
        ("evt_0", 1) => Reply::Status(500),
        _ => Reply::Status(200),
    });
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).create(&api);
    let mut posted = Vec::new();
    for n in 0..6 {
        let event = conversion(&format!("evt_{n}"), &format!("conv_{}", n % 2), n);
        let answered = Some(Answered::of(&api.post("/api/events", &event)));
        posted.push(Posted { event, client: 0, answered });
    }
    eventually("all is delivered", || {
        (api.get("/api/state").data(200)["deliveries"]["delivered"] == 6).then_some(())
    });
    let mut run = Run::gather(&api, posted, receiver.received());
    run.delay = Some(Duration::from_secs(1));
    run
}

/// What it breaks, and how.
type Case<'a> = (&'static str, &'a dyn Fn(&mut Run));

#[test]
fn each_break_of_an_invariant_is_seen() {
    let run = sound();
    assert_eq!(run.broken(), [""; 0], "the run itself holds");
    let broken = |change: &dyn Fn(&mut Run)| {
        let mut run = run.clone();
        change(&mut run);
        run.broken()
    };
    let at = |event: &str| run.received.iter().rposition(|one| one.event() == event).expect("a request");
    let (retried, first, second) = (at("evt_0"), at("evt_1"), at("evt_3"));
    let cases: [Case<'_>; 13] = [
        ("I1", &|run| drop(run.deliveries.pop())),
        ("I1", &|run| run.received.retain(|one| one.event() != "evt_1")),
        ("I2", &|run| drop(run.posted.remove(1))),
        ("I2", &|run| run.posted[1].event["data"]["amount"] = 50.into()),
        ("I3", &|run| run.deliveries.push(run.deliveries[0].clone())),
        ("I5", &|run| run.received.swap(first, second)),
        ("I6", &|run| run.posted.swap(0, 1)),
        ("I7", &|run| run.received[first].end = run.received[second].end),
        ("I11", &|run| run.received.iter_mut().for_each(|one| renumber(one, "1"))),
        ("I12", &|run| run.received[first].status = Some(202)),
        ("I13", &|run| run.received.push(run.received[first].clone())),
        ("I16", &|run| run.received[retried].message.body.push(b' ')),
        ("I18", &|run| run.dead.push(run.deliveries[0].id.clone())),
    ];
    for (invariant, change) in cases {
        let broken = broken(change);
        assert!(broken.contains(&invariant), "{invariant} was broken, and {broken:?} was seen");
    }
    let forged = broken(&|run| run.signing_key.push('x'));
    assert_eq!(forged, ["I17"]);
    let hurried = broken(&|run| run.delay = Some(Duration::from_secs(5)));
    assert_eq!(hurried, ["I14"]);
}

fn renumber(request: &mut crate::support::Received, attempt: &str) {
    for (name, value) in &mut request.message.headers {
        if name.eq_ignore_ascii_case("x-webhook-attempt") {
            attempt.clone_into(value);
        }
    }
}
