//! Counts and digests: what a summary tells, and that it tells every difference.

use super::*;
use crate::domain::{
    endpoint::{Opening, breaker::BreakerSetting},
    event::{Accepted, EndpointEvent, EngineEvent, PipelineEvent, Route},
    step::PipelineConfig,
    testing::*,
};

/// The URL of the first step, and that of the second.
const URLS: [&str; 2] = ["https://a.example", "https://b.example"];

fn opened(url: &str) -> Fact {
    let opening = Opening { since: T0, failures: 5, probes: 0, probe_at: T0 };
    Fact::Endpoint(pipe(), EndpointEvent::EndpointOpened { url: url.into(), change: 1, opening })
}

fn two_urls() -> PipelineConfig {
    let [first, second] = URLS.map(|url| step(url).tries(3).with(|step| step.url = url.into()));
    pipeline([first, second])
}

/// One delivery waits for its retry at the first URL with another behind it, and three wait, have failed and are in
/// flight at the first, the second and the first.
fn busy(config: PipelineConfig) -> Scenario {
    let mut story = given_pipeline(config, [accept(1, "c"), accept(2, "c"), accept(3, "d"), accept(4, "e")]);
    story.when(start()).when(answer(1, 500));
    story.when(start()).when(answer(3, 200)).when(start()).then(["4#1 starts step 0"]);
    story.when(start()).when(answer(3, 500)).counts("1 queued, 1 in flight, 2 retrying");
    story
}

fn held(story: &Scenario) -> (u64, u64, u64) {
    let DeliveryCounts { queued, retrying, held, .. } = story.state.summary().deliveries;
    (queued, retrying, held)
}

/// What waits for an open endpoint is held, whatever stage it is in; what waits for another one is not.
#[test]
fn deliveries_that_wait_for_an_open_endpoint_are_counted_held() {
    let mut story = busy(two_urls());
    assert_eq!(held(&story), (1, 2, 0));
    story.write(&opened("https://elsewhere.example"));
    assert_eq!(held(&story), (1, 2, 0));
    story.write(&opened(URLS[1]));
    assert_eq!(held(&story), (1, 1, 1));
    story.write(&opened(URLS[0]));
    assert_eq!((held(&story), story.state.summary().deliveries.in_flight), ((0, 0, 3), 1));
    let (queued, retrying) = story.pipeline().waiting_for(|url| url == URLS[0]);
    assert_eq!((queued, retrying), (1, 1));
    story.and(accept(5, "f")).and(accept(6, "g"));
    assert_eq!((held(&story), story.pipeline().waiting_for(|url| url == URLS[0])), ((0, 0, 5), (3, 1)));
}

/// The failover's URL is an endpoint of its own.
#[test]
fn deliveries_on_their_way_to_the_failover_wait_for_its_endpoint() {
    let config = tries(1).with(|config| config.failover_url = Some(URLS[1].into()));
    let mut story = given_pipeline(config, [accept(1, "c"), accept(2, "d")]);
    story.when(start()).when(answer(1, 500)).then(["1#1 http_error: fail over"]);
    assert_eq!(story.pipeline().waiting_for(|url| url == URLS[1]), (0, 1));
    assert_eq!(story.pipeline().waiting_for(|url| url == step("a").url), (1, 0));
}

/// A breaker that is off holds nothing, and a pipeline that is paused holds everything already.
#[test]
fn an_open_endpoint_holds_nothing_where_the_breaker_is_off_or_the_pipeline_paused() {
    let off = two_urls().with(|config| config.control.breaker = BreakerSetting::Off);
    let mut story = busy(off);
    story.write(&opened(URLS[0]));
    assert_eq!(held(&story), (1, 2, 0));
    let mut story = busy(two_urls());
    story.write(&opened(URLS[0]));
    story.and(update(two_urls().with(|config| config.status = Status::Paused)));
    assert_eq!(held(&story), (0, 0, 3));
}

/// I21: a difference anywhere in what became of events is a difference of the digest.
#[test]
fn every_difference_shows_in_the_digest() {
    let alike = || busy(two_urls());
    let before = alike().state.summary();
    assert_eq!(alike().state.summary().digest, before.digest);
    let other = |change: fn(&mut Scenario)| {
        let mut story = alike();
        change(&mut story);
        let summary = story.state.summary();
        assert_ne!(summary.digest, before.digest);
        summary
    };
    assert_eq!(other(|story| _ = story.and(accept(5, "f"))).events, before.events + 1);
    other(|story| _ = story.and(update(tries(2))));
    other(|story| story.write(&opened(URLS[0])));
    other(|story| story.state.catalog = Catalog::default());
    other(|story| story.state.dead_letters = poisoned().state.dead_letters.clone());
    // The counts stay: another delivery, in another lane, the same in another phase.
    let renamed = |resource: &str| {
        let mut story = given([accept(1, resource)]);
        (story.pipeline().digest().to_string(), story.when(start()).pipeline().digest().to_string())
    };
    let digests = [renamed("c"), renamed("d")].map(|(queued, started)| [queued, started]).concat();
    assert!((1..4).all(|n| !digests[..n].contains(&digests[n])), "{digests:?}");
}

fn poisoned() -> Scenario {
    let mut story = given([accept(1, "c")]);
    story.when(poison(1, "c")).dead_letters(["1/0/1"]);
    story
}

/// What several threads hold adds up to what one fold holds.
#[test]
fn shares_of_the_state_add_up_to_its_summary() {
    let mut story = busy(two_urls());
    story.when(poison(2, "c")).when(poison(4, "e"));
    let state = &story.state;
    let share = |events: u64, add: &dyn Fn(&mut StateParts)| {
        let mut parts = StateParts { events, ..StateParts::default() };
        add(&mut parts);
        parts
    };
    let mut sum = share(1, &|parts| parts.add_catalog(&state.catalog));
    sum.merge(share(2, &|parts| parts.add_dead_letters(&state.dead_letters)));
    for part in story.pipeline().clone().split(3) {
        sum.merge(share(0, &|parts| parts.add_pipeline(&part, &Circuits::default())));
    }
    sum.merge(share(1, &|_| {}));
    assert_eq!(sum.summary(state.position), state.summary());
    assert_eq!(state.summary().events, 4);
}

/// ATT-34: a start from a snapshot knows what was announced.
#[test]
fn a_snapshot_keeps_the_published_addresses() {
    let mut state = State::default();
    let (before, after) = (vec!["192.0.2.1".to_owned()], vec!["192.0.2.2".to_owned()]);
    let changed = EngineEvent::EgressIpsChanged { before, after, effective_at: T0 };
    state.evolve(Position(1), T0, &Fact::Engine(changed));
    let stored = postcard::to_stdvec(&state.to_image().unwrap()).unwrap();
    let restored = State::from_image(postcard::from_bytes(&stored).unwrap()).unwrap();
    assert_eq!(restored.egress, state.egress);
    assert_ne!(restored.egress, EgressIps::default());
}

/// `evolve` cannot fail: a fact about a pipeline that nobody knows moves the position, and nothing else.
#[test]
fn facts_about_unknown_pipelines_change_nothing() {
    let mut story = given([accept(1, "c")]);
    story.when(start());
    let mut state = State::default();
    for fact in story.facts() {
        state.evolve(Position(1), T0, &Fact::Lane(pipe(), fact));
    }
    let by = operator();
    state.evolve(Position(2), T0, &Fact::Pipeline(pipe(), PipelineEvent::PipelineDeleted { by }));
    state.evolve(Position(3), T0, &opened(URLS[0]));
    let route = Route { pipeline: pipe(), version: 1, skipped: false };
    let (id, event_type, resource) = ("evt_1".into(), "conversion.created".into(), "c".into());
    let accepted = Accepted { id, event_type, resource, routes: vec![route], moment: None };
    state.evolve(Position(4), T0, &Fact::Accepted(tenant(), accepted));
    let (summary, blank) = (state.summary(), State { events: 1, ..State::default() }.summary());
    assert_eq!((summary.digest, summary.deliveries), (blank.digest, blank.deliveries));
    assert_eq!((summary.position, summary.events), (Position(4), 1));
}
