//! ORD.12: when it opens, that one probe goes out, that lanes come back a few at a time.

use super::*;
use crate::domain::testing::operator;
use proptest::prelude::*;

const URL: &str = "https://a.example/hook";
const T0: Timestamp = Timestamp(1_700_000_000_000);

fn at(seconds: u64) -> Timestamp {
    T0.plus(Duration::from_secs(seconds))
}

/// Opens with the third failure of two lanes over ten seconds; probes after 2, 4 and then 8 seconds.
fn policy() -> BreakerPolicy {
    BreakerPolicy { failures: 3, resources: 2, seconds: 10, probe_seconds: 2, probe_seconds_max: 8 }
}

/// A breaker and its clock, told in words.
struct Story {
    breaker: Breaker,
    facts: Vec<EndpointEvent>,
}

impl Story {
    fn new() -> Self {
        Self { breaker: Breaker::default(), facts: Vec::new() }
    }

    /// An attempt of a lane ended.
    fn end(&mut self, seconds: u64, lane: u64, health: Health, pass: Option<Pass>) -> &mut Self {
        let report = Report { pass, health, lane: LaneKey(lane), now: at(seconds) };
        self.facts.extend(self.breaker.report(URL, report, &policy()));
        self
    }

    fn fail(&mut self, seconds: u64, lane: u64) -> &mut Self {
        self.end(seconds, lane, Health::Failing, None)
    }

    fn answer(&mut self, seconds: u64, lane: u64) -> &mut Self {
        self.end(seconds, lane, Health::Alive, None)
    }

    fn is_open(&self) -> bool {
        self.breaker.circuit().opening().is_some()
    }

    fn admit(&mut self, seconds: u64) -> Admission {
        self.breaker.admit(at(seconds))
    }

    /// Failures at 0, 5 and 10 seconds have opened it.
    fn open() -> Self {
        let mut story = Self::new();
        story.fail(0, 1).fail(5, 2).fail(10, 1);
        assert!(story.is_open());
        story
    }
}

#[test]
fn it_opens_when_failures_lanes_and_time_are_all_enough() {
    let mut story = Story::new();
    story.fail(0, 1).fail(10, 2);
    assert!(!story.is_open(), "two failures");
    story.fail(20, 1);
    assert!(story.is_open());
    let mut story = Story::new();
    story.fail(0, 1).fail(10, 1).fail(100, 1).fail(1_000, 1);
    assert!(!story.is_open(), "one lane");
    let mut story = Story::new();
    story.fail(0, 1).fail(3, 2).fail(6, 3).fail(9, 4);
    assert!(!story.is_open(), "nine seconds");
    story.fail(10, 1);
    assert!(story.is_open());
}

/// RCV.12: whoever else is answered breaks the row.
#[test]
fn a_lane_that_fails_alone_does_not_open_it_while_others_are_answered() {
    let mut story = Story::new();
    for n in 0..1_000 {
        story.fail(n, 1).fail(n, 2).answer(n, 3);
    }
    assert!(!story.is_open() && story.facts.is_empty());
}

#[test]
fn what_concerns_the_request_alone_is_no_failure_of_the_endpoint() {
    let http = |status| Health::of(OutcomeClass::HttpError, Some(status));
    for status in [301, 400, 401, 403, 404, 408, 410, 413, 422] {
        assert_eq!(http(status), Health::Alive, "{status}");
    }
    for status in [429, 500, 502, 503, 504, 599] {
        assert_eq!(http(status), Health::Failing, "{status}");
    }
    for class in [
        OutcomeClass::Timeout,
        OutcomeClass::ConnectionRefused,
        OutcomeClass::DnsError,
        OutcomeClass::TlsError,
        OutcomeClass::ProtocolError,
    ] {
        assert_eq!(Health::of(class, None), Health::Failing);
    }
    for class in [
        OutcomeClass::BlockedAddress,
        OutcomeClass::TemplateError,
        OutcomeClass::Unknown,
        OutcomeClass::ProxyError,
    ] {
        assert_eq!(Health::of(class, None), Health::Silent);
    }
    assert_eq!(Health::of(OutcomeClass::Success, Some(200)), Health::Alive);
}

#[test]
fn an_open_one_lets_nothing_through_but_one_probe_at_its_time() {
    let mut story = Story::open();
    assert_eq!(story.admit(10), Admission::Wait(Some(at(12))));
    assert_eq!(story.admit(11), Admission::Wait(Some(at(12))));
    assert_eq!(story.admit(12), Admission::Under(Pass::Probe));
    assert_eq!(story.admit(12), Admission::Wait(None));
    assert_eq!(story.admit(1_000), Admission::Wait(None), "one at a time, however long it takes");
}

#[test]
fn each_probe_that_fails_doubles_the_wait_up_to_its_bound() {
    let mut story = Story::open();
    let mut waits = Vec::new();
    let mut now = 12;
    for _ in 0..5 {
        assert_eq!(story.admit(now), Admission::Under(Pass::Probe));
        story.end(now, 1, Health::Failing, Some(Pass::Probe));
        let Admission::Wait(Some(next)) = story.admit(now) else { panic!("a time is told") };
        waits.push(next.since(at(now)).as_secs());
        now = next.since(T0).as_secs();
    }
    assert_eq!(waits, [4, 8, 8, 8, 8]);
    let opening = story.breaker.circuit().opening().unwrap();
    assert_eq!((opening.since, opening.failures, opening.probes), (at(10), 3, 5));
}

#[test]
fn answers_to_what_was_under_way_when_it_opened_do_not_lengthen_the_wait() {
    let mut story = Story::open();
    story.fail(11, 3).fail(11, 4);
    assert_eq!(story.admit(11), Admission::Wait(Some(at(12))));
    assert_eq!(story.facts.len(), 1);
    story.answer(11, 5);
    assert!(!story.is_open(), "whoever is answered shows that it is back");
}

#[test]
fn a_probe_that_tells_nothing_leaves_its_place_to_the_next() {
    let mut story = Story::open();
    assert_eq!(story.admit(12), Admission::Under(Pass::Probe));
    story.end(13, 1, Health::Silent, Some(Pass::Probe));
    assert_eq!(story.admit(13), Admission::Under(Pass::Probe));
    story.breaker.back(Some(Pass::Probe));
    assert_eq!(story.admit(13), Admission::Under(Pass::Probe));
    assert!(story.is_open());
}

#[test]
fn lanes_come_back_a_few_at_a_time() {
    let mut story = Story::open();
    story.admit(12);
    story.end(12, 1, Health::Alive, Some(Pass::Probe));
    assert!(!story.is_open());
    let mut rounds = Vec::new();
    loop {
        let mut under_way = 0;
        let last = loop {
            match story.admit(12) {
                Admission::Under(Pass::Ramp) => under_way += 1,
                other => break other,
            }
        };
        if last == Admission::Free {
            break;
        }
        assert_eq!(last, Admission::Wait(None));
        rounds.push(under_way);
        for lane in 0..under_way {
            story.end(12, lane, Health::Alive, Some(Pass::Ramp));
        }
    }
    assert_eq!(rounds, [2, 4, 8, 16, 32]);
}

#[test]
fn an_endpoint_that_fails_again_at_once_is_opened_by_two_lanes_and_not_by_one() {
    let back = || {
        let mut story = Story::open();
        story.admit(12);
        story.end(12, 1, Health::Alive, Some(Pass::Probe));
        story
    };
    let fail = |story: &mut Story, lane| {
        assert_eq!(story.admit(13), Admission::Under(Pass::Ramp));
        story.end(13, lane, Health::Failing, Some(Pass::Ramp));
    };
    let mut story = back();
    (0..20).for_each(|_| fail(&mut story, 1));
    assert!(!story.is_open());
    fail(&mut story, 2);
    assert!(story.is_open());
    let mut story = back();
    fail(&mut story, 1);
    fail(&mut story, 2);
    assert!(story.is_open());
    assert_eq!(story.admit(13), Admission::Wait(Some(at(15))), "as short a wait as at first");
}

#[test]
fn someone_closes_it_by_hand_once() {
    let mut story = Story::open();
    let by = operator();
    let closed = story.breaker.close(URL, by.clone()).unwrap();
    assert_eq!(closed, EndpointEvent::EndpointClosed { url: URL.into(), change: 2, by: Some(by.clone()) });
    assert_eq!(story.breaker.close(URL, by), None);
    assert_eq!(story.admit(10), Admission::Under(Pass::Ramp), "a few at a time all the same");
}

/// A restart: the row and the probe are gone, the opening is not.
#[test]
fn an_opening_outlives_the_process_and_its_probe_is_due() {
    let story = Story::open();
    let mut breaker = Breaker::of(*story.breaker.circuit());
    assert_eq!(breaker.admit(at(11)), Admission::Wait(Some(at(12))));
    assert_eq!(breaker.admit(at(500)), Admission::Under(Pass::Probe));
}

#[test]
fn what_is_out_of_range_is_named() {
    let field = |change: fn(&mut BreakerPolicy)| {
        let mut policy = BreakerPolicy::default();
        change(&mut policy);
        policy.validate().err().map(|error| error.field)
    };
    assert_eq!(field(|_| ()), None);
    assert_eq!(field(|p| p.failures = 0), Some("failures"));
    assert_eq!(field(|p| p.failures = 10_001), Some("failures"));
    assert_eq!(field(|p| p.resources = 0), Some("resources"));
    assert_eq!(field(|p| p.resources = 101), Some("resources"));
    assert_eq!(field(|p| p.seconds = 3_601), Some("seconds"));
    assert_eq!(field(|p| p.probe_seconds = 0), Some("probe_seconds"));
    assert_eq!(
        field(|p| p.probe_seconds = 6),
        Some("probe_seconds_max"),
        "the first wait is the longest at most"
    );
    assert_eq!(field(|p| p.probe_seconds_max = 3_601), Some("probe_seconds_max"));
}

/// ORD.3, I14: a hundred lanes that fail all attempts of the default policy see its delays and nothing else.
#[test]
fn a_hundred_lanes_that_use_up_the_default_policy_do_not_open_it() {
    let delays = crate::domain::retry::RetryPolicy::default();
    let mut breaker = Breaker::default();
    let mut now = T0;
    for attempt in 1..=delays.attempts_max {
        now = now.plus(delays.delay_before(attempt, 0.5));
        for lane in 0..100 {
            assert_eq!(breaker.admit(now), Admission::Free);
            let report = Report { pass: None, health: Health::Failing, lane: LaneKey(lane), now };
            assert_eq!(breaker.report(URL, report, &BreakerPolicy::default()), None);
        }
    }
}

proptest! {
    /// Whatever is asked and told in whatever order: one probe at a time, no wait without someone who ends it or a
    /// time that comes, and facts that fold to what the breaker holds.
    #[test]
    fn it_is_never_stuck_and_its_facts_are_its_state(
        acts in proptest::collection::vec((0..5_u8, 0..4_u64, 0..5_u64), 1..400),
    ) {
        let mut story = Story::new();
        let mut under_way: Vec<Option<Pass>> = Vec::new();
        let mut now = 0;
        for (act, lane, wait) in acts {
            now += wait;
            if act < 2 {
                match story.admit(now) {
                    Admission::Free => under_way.push(None),
                    Admission::Under(pass) => under_way.push(Some(pass)),
                    Admission::Wait(Some(due)) => prop_assert!(due > at(now) && due <= at(now + 8)),
                    Admission::Wait(None) => {
                        prop_assert!(under_way.iter().any(Option::is_some), "nobody would end the wait");
                    }
                }
            } else if !under_way.is_empty() {
                let pass = under_way.remove(usize::try_from(lane).unwrap() % under_way.len());
                let health = [Health::Failing, Health::Alive, Health::Silent][usize::from(act - 2)];
                story.end(now, lane, health, pass);
            }
            prop_assert!(under_way.iter().filter(|pass| **pass == Some(Pass::Probe)).count() <= 1);
            let mut folded = Circuit::default();
            for fact in &story.facts {
                folded.evolve(fact);
            }
            prop_assert_eq!(&folded, story.breaker.circuit());
        }
    }
}
