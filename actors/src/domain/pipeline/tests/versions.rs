//! Deliveries keep the steps that they were accepted with; transport follows the configuration in force (T-34).

use crate::domain::{
    event::{LaneEvent, PipelineEvent, Queue},
    id::StepId,
    pipeline::Rejection,
    testing::*,
};

fn transports(story: &mut Scenario) -> Vec<u32> {
    let facts = story.facts().into_iter();
    facts
        .filter_map(|fact| {
            if let LaneEvent::AttemptStarted { transport, .. } = fact { Some(transport) } else { None }
        })
        .collect()
}

/// T-34
#[test]
fn steps_come_from_the_pinned_version_and_transport_from_the_latest() {
    let one = pipeline([step("a").tries(8)]);
    let two = pipeline([step("a").tries(2).with(|step| step.url = "https://new.example".into()), step("b")]);
    let mut story = given_pipeline(one, [accept(1, "c"), update(two), accept(2, "c")]);
    story.when(start()).then(["1#1 starts step 0"]);
    assert_eq!(transports(&mut story), [2]);
    let live = story.pipeline().live_step(1, 0).unwrap();
    assert_eq!((live.url.as_str(), live.retry.attempts_max), ("https://new.example", 2));
    story.when(answer(1, 200)).then(["1#1 success: succeeded, delivered"]);
    assert_eq!(story.starts(|_, _, _| 200), ["0s 2#1 starts step 0", "0s 2#2 starts step 1"]);
}

/// T-33, T-34: steps are found by their id wherever they now stand.
#[test]
fn a_pinned_step_is_found_where_it_now_stands() {
    let one = pipeline([step("a"), step("b").tries(1)]);
    let two = pipeline([step("b").tries(3), step("new"), step("a")]);
    let mut story = given_pipeline(one, [accept(1, "c"), update(two)]);
    story.when(start()).when(answer(1, 200)).when(start()).then(["1#2 starts step 1"]);
    story.when(answer(1, 500)).then(["1#2 http_error: retry in 1s"]);
}

/// T-34
#[test]
fn a_step_that_no_longer_exists_is_skipped() {
    let both = pipeline([step("a"), step("b")]);
    let second = pipeline([step("b")]);
    let mut story = given_pipeline(both.clone(), [accept(1, "c"), accept(2, "d"), update(second.clone())]);
    let told = story.run(|_, _, _| 200);
    assert_eq!(
        told[..3],
        [
            "0s 1 settles step 0: step skipped, go to step 1",
            "0s 2 settles step 0: step skipped, go to step 1",
            "0s 1#1 starts step 1"
        ]
    );
    story.counts("2 delivered");
    let mut under_way = given_pipeline(both, [accept(1, "c")]);
    under_way.when(start()).and(update(second)).when(answer(1, 500));
    under_way.then(["1#1 http_error: step skipped, go to step 1"]);
}

/// T-34, I1: a delivery whose steps are all gone is skipped, since nobody took it; it takes no room.
#[test]
fn a_delivery_without_steps_left_is_skipped() {
    let other = pipeline([step("b")]);
    let mut story = given_pipeline(pipeline([step("a")]), [accept(1, "c"), update(other.clone())]);
    story.when(start_if(|_| false)).then(["1 settles step 0: step skipped, skipped"]).counts("1 skipped");
    let mut tried = given_pipeline(pipeline([step("a").tries(9)]), [accept(1, "c")]);
    tried.when(start()).when(answer(1, 500)).and(update(other.clone()));
    tried.later(9).when(start()).then(["1 settles step 0: step skipped, skipped"]).counts("1 skipped");
    let mut under_way = given_pipeline(pipeline([step("a"), step("c")]), [accept(1, "c")]);
    under_way.when(start()).and(update(other)).when(answer(1, 200));
    under_way.then(["1#1 success: succeeded, go to step 1"]).when(start());
    under_way.then(["1 settles step 1: step skipped, delivered"]).counts("1 delivered");
}

/// I1, I18: a dead letter whose step goes while it waits to be sent again was never taken either.
#[test]
fn a_retried_dead_letter_without_a_step_left_is_skipped() {
    let mut story = given_pipeline(tries(1), [accept(1, "c")]);
    story.run(|_, _, _| 500);
    story.when(retry(1, "c", 0)).and(update(pipeline([step("b")])));
    story
        .when(start())
        .then(["1 settles step 0: step skipped, skipped"])
        .counts("1 skipped")
        .dead_letters([]);
}

/// T-28, T-34
#[test]
fn a_failover_that_is_taken_away_exhausts_those_that_wait_for_it() {
    let with = tries(1).with(|config| config.failover_url = Some("https://b.example".into()));
    let mut story = given_pipeline(with.clone(), [accept(1, "c"), accept(2, "d")]);
    story.when(start()).when(answer(1, 500)).then(["1#1 http_error: fail over"]).and(update(tries(1)));
    let told = story.run(|_, _, queue| if queue == Queue::Failover { 500 } else { 200 });
    assert!(told.contains(&"0s 1 settles step 0: exhausted, dead-lettered".to_owned()), "{told:?}");
    story.counts("1 delivered, 1 dead").dead_letters(["1/0/1"]);
    let mut under_way = given_pipeline(with, [accept(1, "c")]);
    under_way.when(start()).and(update(tries(1))).when(answer(1, 500));
    under_way.then(["1#1 http_error: exhausted, dead-lettered"]);
}

/// T-34: a retry pins anew, and finds its step by id.
#[test]
fn a_retried_dead_letter_is_pinned_to_the_version_in_force() {
    let one = pipeline([step("a").tries(1)]);
    let two = pipeline([step("new").tries(1), step("a").tries(1)]);
    let mut story = given_pipeline(one, [accept(1, "c")]);
    story.run(|_, _, _| 500);
    story.and(update(two)).when(retry(1, "c", 0)).then(["1r2 again from step 1 of version 2"]);
    story.when(start()).when(answer(1, 500)).dead_letters(["1/1/2"]);
    story.and(update(tries(1).with(|config| config.steps[0].id = StepId::new("other"))));
    story.when(retry(1, "c", 1)).refused(&Rejection::StepGone);
    story.when(dismiss(1, "c", 1)).dead_letters([]);
}

/// T-34: what waits keeps its version, however often the pipeline is edited; what nobody needs is forgotten.
#[test]
fn a_version_is_kept_as_long_as_something_refers_to_it() {
    let mut story = given_pipeline(tries(1), [accept(1, "c"), accept(2, "c")]);
    story.when(start()).when(answer(1, 500));
    story.and(update(tries(1)));
    for n in 0..40 {
        story.and(accept(100 + n, "d")).and(update(tries(1)));
    }
    let kept =
        |story: &Scenario| (1..=42).filter(|n| story.pipeline().pinned(*n).is_some()).collect::<Vec<_>>();
    assert_eq!(
        kept(&story),
        (1..=42).collect::<Vec<_>>(),
        "all but the first two were routed by an older one"
    );
    story.run(|_, _, _| 200);
    assert_eq!(kept(&story)[..2], [1, 26], "the dead letter needs its own; the newest stay a little");
    story.when(retry(1, "c", 0)).then(["1r2 again from step 0 of version 42"]);
    assert_eq!(kept(&story)[0], 26);
}

/// T-34: a version that this thread has not heard of yet is no version without steps.
#[test]
fn a_delivery_waits_for_the_version_that_routed_it() {
    let mut story = given_pipeline(tries(1), []);
    story.and(Given::Accept { event: 1, resource: "c".into(), version: Some(2), skipped: false });
    story.when(start()).then([]).counts("1 queued");
    story.and(update(pipeline([step("a"), step("b")]))).when(start()).then(["1#1 starts step 0"]);
    story.when(answer(1, 200)).then(["1#1 success: succeeded, go to step 1"]);
}

#[test]
fn creation_told_twice_changes_nothing() {
    let mut story = given([accept(1, "c")]);
    let (tenant, config, by) = (tenant(), tries(1), operator());
    let mut pipeline = story.pipeline().clone();
    pipeline.evolve_config(&PipelineEvent::PipelineCreated { tenant, config, by });
    assert_eq!(pipeline.digest().to_string(), story.pipeline().digest().to_string());
    story.when(start()).then(["1#1 starts step 0"]);
}
