//! What threads that share an endpoint see of each other.

use super::*;
use crate::domain::{
    endpoint::breaker::{BreakerPolicy, BreakerSetting},
    testing::{T0, operator},
};
use std::{sync::atomic::AtomicU32, time::Duration};

const URL: &str = "https://A.example:8443/hook?x=1";

fn control(rate_per_second: Option<u32>) -> Control {
    let policy =
        BreakerPolicy { failures: 2, resources: 1, seconds: 0, probe_seconds: 1, probe_seconds_max: 4 };
    Control { rate_per_second, breaker: BreakerSetting::On(policy) }
}

/// Endpoints with a bell for each of two parts, which counts how often it rang.
fn shared() -> (Endpoints, [Arc<AtomicU32>; 2]) {
    let endpoints = Endpoints::default();
    let bells: [Arc<AtomicU32>; 2] = Default::default();
    for (part, bell) in (0..).zip(&bells) {
        let bell = Arc::clone(bell);
        let ring = move || {
            bell.fetch_add(1, Ordering::Relaxed);
        };
        endpoints.listen(part, Arc::new(ring));
    }
    (endpoints, bells)
}

fn rung(bells: &[Arc<AtomicU32>; 2]) -> [u32; 2] {
    [0, 1].map(|part: usize| bells[part].swap(0, Ordering::Relaxed))
}

/// An attempt of part 0 that starts and ends at once.
fn attempt(endpoint: &Arc<Endpoint>, health: Health, now: Timestamp) -> Option<EndpointEvent> {
    let mut permit = endpoint.admit(0, now, &control(None)).expect("leave to start");
    permit.used();
    permit.report(health, LaneKey(1), now, &control(None))
}

fn opened() -> (Endpoints, [Arc<AtomicU32>; 2], Arc<Endpoint>) {
    let (endpoints, bells) = shared();
    let endpoint = endpoints.of(URL);
    assert_eq!(attempt(&endpoint, Health::Failing, T0), None);
    assert!(attempt(&endpoint, Health::Failing, T0).is_some());
    (endpoints, bells, endpoint)
}

#[test]
fn requests_in_flight_are_bounded_by_authority() {
    let endpoint = Endpoints::default().of(URL);
    assert_eq!(&**endpoint.admit(0, T0, &control(None)).ok().unwrap().host(), "a.example:8443");
}

/// ORD.12: one probe over all threads; who waited for it is woken by its end.
#[test]
fn one_part_probes_and_the_others_are_woken_when_it_has_ended() {
    let (endpoints, bells, endpoint) = opened();
    let due = T0.plus(Duration::from_secs(1));
    assert_eq!(endpoint.admit(1, T0, &control(None)).err(), Some(Deferral { until: Some(due) }));
    assert_eq!(endpoints.state(URL, &control(None), T0).name, "open");
    let probe = endpoint.admit(0, due, &control(None)).ok().unwrap();
    assert_eq!(endpoints.state(URL, &control(None), due).name, "half_open");
    assert_eq!(endpoint.admit(1, due, &control(None)).err(), Some(Deferral { until: None }));
    rung(&bells);
    let closed = probe.report(Health::Alive, LaneKey(1), due, &control(None));
    assert!(matches!(closed, Some(EndpointEvent::EndpointClosed { change: 2, by: None, .. })));
    assert_eq!(rung(&bells), [0, 1], "the one that waited");
    assert_eq!(endpoints.state(URL, &control(None), due).name, "recovering");
    assert!(endpoint.admit(1, due, &control(None)).is_ok());
    assert_eq!(endpoints.deferrals(), (1, 0), "one wait, however often it asked");
}

/// I9: a worker that panics with the probe in its hands gives it back.
#[test]
fn a_permit_that_is_dropped_gives_back_what_it_held() {
    let (_, bells, endpoint) = opened();
    let due = T0.plus(Duration::from_secs(1));
    let mut probe = endpoint.admit(0, due, &control(None)).ok().unwrap();
    probe.used();
    assert!(endpoint.admit(1, due, &control(None)).is_err());
    drop(probe);
    assert_eq!(rung(&bells), [0, 1]);
    assert!(endpoint.admit(1, due, &control(None)).is_ok());
}

/// I21: what was decided is true at once, so it is written whatever happens to the one who decided it.
#[test]
fn a_fact_that_was_decided_and_not_written_is_kept_for_the_next_life() {
    let (endpoints, _, _) = opened();
    let unwritten = endpoints.unwritten(0);
    assert_eq!((unwritten.len(), endpoints.unwritten(1).len()), (1, 0));
    let mut folded = Circuits::default();
    for event in &unwritten {
        folded.evolve(event);
    }
    assert_eq!(folded, endpoints.circuits());
    endpoints.written(1);
    assert_eq!(endpoints.unwritten(0), unwritten);
    endpoints.written(0);
    assert!(endpoints.unwritten(0).is_empty());
}

/// APX-34: what two threads take together is what one could take alone.
#[test]
fn a_rate_is_one_for_all_parts_and_what_found_no_room_is_given_back() {
    let (endpoints, bells) = shared();
    let endpoint = endpoints.of(URL);
    let start = |part| {
        let mut permit = endpoint.admit(part, T0, &control(Some(10))).ok()?;
        permit.used();
        Some(permit)
    };
    let taken: Vec<_> = [0, 1].into_iter().cycle().take(10).filter_map(start).collect();
    assert_eq!(taken.len(), 10);
    drop(taken);
    assert!(start(0).is_none() && start(1).is_none());
    let held = endpoints.state(URL, &control(Some(10)), T0).held;
    assert_eq!((held, endpoints.deferrals()), (Some(HeldReason::Rate), (0, 2)));
    let later = T0.plus(Duration::from_millis(100));
    drop(endpoint.admit(0, later, &control(Some(10))).ok().unwrap());
    assert_eq!(rung(&bells), [0, 1]);
    assert!(endpoint.admit(1, later, &control(Some(10))).is_ok(), "it was not used");
}

#[test]
fn a_breaker_that_is_turned_off_holds_nobody() {
    let (_, _, endpoint) = opened();
    let off = Control { breaker: BreakerSetting::Off, ..control(None) };
    assert!(endpoint.admit(0, T0, &off).is_ok());
}

#[test]
fn a_fold_brings_circuits_back_and_a_hand_closes_them() {
    let (endpoints, _, _) = opened();
    let circuits = endpoints.circuits();
    assert!(circuits.is_open(URL));
    let again = Endpoints::folded(circuits.clone(), Pace::full());
    assert_eq!(again.circuits(), circuits);
    assert_eq!(again.state(URL, &control(None), T0).name, "open");
    let mut written = Vec::new();
    let close = |written: &mut Vec<EndpointEvent>| {
        again.of(URL).close(operator(), |event| {
            written.push(event.clone());
            Ok::<(), ()>(())
        })
    };
    assert_eq!((close(&mut written), close(&mut written)), (Ok(true), Ok(false)));
    let mut folded = circuits;
    for event in &written {
        folded.evolve(event);
    }
    assert_eq!(again.circuits(), folded);
}

/// RCV.7: a receiver that is gone stops all parts until the pipeline is changed.
#[test]
fn a_pipeline_that_is_shut_starts_nothing_under_the_version_that_shut_it() {
    let (endpoints, bells) = shared();
    assert!(!endpoints.is_shut(1));
    endpoints.shut(2);
    assert!(endpoints.is_shut(1) && endpoints.is_shut(2) && !endpoints.is_shut(3));
    endpoints.unshut();
    assert!(!endpoints.is_shut(1));
    assert_eq!(rung(&bells), [1, 1]);
}
