//! Crashes, panics, and what they cost.

use crate::domain::{
    event::{AbandonReason, LaneEvent},
    pipeline::{Command, Rejection},
    step::OnExhausted,
    testing::*,
};
use crate::log::Position;

/// CRS.11, T-12: the attempt counts, nobody knows how it ended, and the next is due at once.
#[test]
fn a_crash_counts_the_attempt_under_way_and_makes_it_again_at_once() {
    let mut story = given_pipeline(tries(8), [accept(1, "c"), accept(2, "c")]);
    for _ in 0..2 {
        story.when(start()).when(answer(1, 500)).later(1);
    }
    story.when(start()).then(["1#3 starts step 0"]).later(300);
    story.when(crash()).then(["1#3 crash: retry in 0ns"]).counts("1 queued, 1 retrying");
    let started = story.starts(|attempt, _, _| if attempt.event.0 == 1 { 500 } else { 200 });
    assert_eq!(started[0], "302s 1#4 starts step 0");
    assert_eq!(started.iter().filter(|line| line.contains(" 1#")).count(), 5, "3 of 8 were made before");
}

/// CRS.11: what was waiting waits on.
#[test]
fn a_crash_leaves_recorded_retry_times_alone() {
    let mut story = given([accept(1, "c"), accept(2, "d")]);
    story.when(start()).when(answer(1, 500)).then(["1#1 http_error: retry in 5s"]);
    story.later(2).when(crash()).then([]).when(start()).then(["2#1 starts step 0"]).when(start()).then([]);
    story.later(3).when(start()).then(["1#2 starts step 0"]);
}

/// CRS.12, I11: the attempt after a crash has a higher number, and the last one may be lost.
#[test]
fn a_delivery_whose_last_attempt_a_crash_fell_into_is_exhausted() {
    let mut story = given_pipeline(tries(2), [accept(1, "c"), accept(2, "c")]);
    story.when(start()).when(crash()).when(start()).then(["1#2 starts step 0"]);
    story.when(crash()).then(["1#2 crash: exhausted, dead-lettered"]).dead_letters(["1/0/1"]);
    assert_eq!(story.state.dead_letters.iter().next().unwrap().tries, (2, 0));
    story.when(start()).then(["2#1 starts step 0"]);
}

/// T-28: after the last attempt at its own URL a crash leads to the failover.
#[test]
fn a_crash_in_the_last_attempt_fails_over_where_there_is_a_failover() {
    let config = tries(1).with(|config| config.failover_url = Some("https://b.example".into()));
    given_pipeline(config, [accept(1, "c")])
        .when(start())
        .when(crash())
        .then(["1#1 crash: fail over"])
        .when(start())
        .then(["1#2 starts step 0 failover"]);
}

/// The log's order means something; that of memory, where the places of former lanes are used again, does not.
#[test]
fn a_crash_abandons_attempts_in_the_order_of_acceptance() {
    let mut story = given((1..=20).map(|n| accept(n, &format!("r{n}"))));
    story.run(|_, _, _| 200);
    for n in 21..=40 {
        story.and(accept(n, &format!("r{n}"))).when(start());
    }
    let lanes = story.pipeline().mailbox().lanes();
    let in_memory: Vec<_> = lanes.map(|lane| lane.head.as_ref().unwrap().entry.event).collect();
    assert!(!in_memory.is_sorted(), "the orders differ");
    story.when(crash());
    let told: Vec<_> = (21..=40).map(|n| format!("{n}#1 crash: retry in 0ns")).collect();
    assert_eq!(story.told(), told);
    story.counts("20 retrying, 20 delivered");
}

/// SUP.5
#[test]
fn a_worker_that_panics_blames_the_delivery_that_it_was_at() {
    let mut story = given([accept(1, "c"), accept(2, "d")]);
    story.when(start()).when(start());
    story.when(Box::new(|story| {
        let reason = AbandonReason::Panic("boom".into());
        let culprit = Some(Position(2));
        story.pipeline().decide(Command::Recover { now: story.now, reason: &reason, culprit })
    }));
    story.then(["1#1 crash: retry in 0ns", "2#1 boom: retry in 0ns"]);
}

/// SUP.5, I11: a panic of the attempt's own task is a failed attempt with the policy's delay.
#[test]
fn an_attempt_whose_task_panics_is_counted_and_retried_by_the_policy() {
    let mut story = given([accept(1, "c")]);
    story.when(start()).when(lose(1)).then(["1#1 boom: retry in 5s"]);
    story.when(lose(1)).refused(&Rejection::StaleAttempt).later(5).when(start()).then(["1#2 starts step 0"]);
    let mut last = given_pipeline(tries(1), [accept(1, "c")]);
    last.when(start()).when(lose(1)).then(["1#1 boom: exhausted, dead-lettered"]);
    assert_eq!(&*last.state.dead_letters.iter().next().unwrap().detail, "boom");
}

/// SUP.3
#[test]
fn a_delivery_that_panics_its_worker_is_put_aside_and_the_lane_goes_on() {
    let mut story = given([accept(1, "c"), accept(2, "c")]);
    story.when(poison(1, "c")).then(["1 poisoned by boom: permanent, dead-lettered"]).dead_letters(["1/0/1"]);
    assert_eq!(&*story.state.dead_letters.iter().next().unwrap().detail, "boom");
    story.when(poison(1, "c")).refused(&Rejection::NotPending).when(start()).then(["2#1 starts step 0"]);
    story.when(poison(2, "c")).counts("2 dead");
    let halting = tries(1).with(|config| config.on_exhausted = OnExhausted::Halt);
    let mut story = given_pipeline(halting, [accept(1, "c"), accept(2, "c")]);
    story
        .when(poison(1, "c"))
        .then(["1 poisoned by boom: permanent, dead-lettered, halt"])
        .counts("1 held, 1 dead");
}

/// I18: a step that is a dead letter already is not tried once more because an older delivery came in front.
#[test]
fn a_delivery_with_a_failed_step_is_not_displaced() {
    let config = pipeline([step("a").tries(1), step("b").tries(1)]);
    let mut story = given_pipeline(config, [accept(1, "c"), accept(2, "c")]);
    story.when(start()).when(answer(1, 200)).when(start()).when(answer(1, 500)).dead_letters(["1/1/1"]);
    story.when(poison(2, "c")).then(["2 poisoned by boom: permanent, go to step 1"]);
    story.when(retry(1, "c", 1)).counts("2 queued");
    assert_eq!(story.starts(|_, _, _| 200), ["0s 2#1 starts step 1", "0s 1r2#1 starts step 1"]);
    story.counts("1 delivered, 1 dead").dead_letters(["2/0/1"]);
}

/// A fact that speaks of what is over changes nothing: `evolve` cannot fail.
#[test]
fn facts_about_deliveries_that_are_over_change_nothing() {
    let mut story = given_pipeline(tries(2), [accept(1, "c"), accept(2, "c")]);
    let mut facts = Vec::new();
    for act in [start(), answer(1, 500)] {
        story.when(act);
        facts.extend(story.facts());
    }
    story.when(cancel(1, "c"));
    facts.extend(story.facts());
    story.when(start());
    for act in [crash(), poison(2, "c"), dismiss(2, "c", 0)] {
        story.when(act);
        facts.extend(story.facts());
    }
    let before = story.state.summary().digest;
    for fact in facts {
        assert!(!matches!(fact, LaneEvent::Redelivered { .. }));
        story.state.pipelines.get_mut(&pipe()).unwrap().evolve(&fact);
    }
    assert_eq!(story.state.summary().digest, before);
}

/// A delivery in its second round is not ended by a fact of its first, although it heads the lane again.
#[test]
fn facts_of_a_former_round_change_nothing() {
    let mut story = given([accept(1, "c")]);
    let mut facts = Vec::new();
    for act in [start(), crash(), poison(1, "c")] {
        story.when(act);
        facts.extend(story.facts());
    }
    story.when(retry(1, "c", 0)).when(start()).then(["1r2#1 starts step 0"]);
    for fact in &facts[1..] {
        story.state.pipelines.get_mut(&pipe()).unwrap().evolve(fact);
    }
    story.counts("1 in flight").when(answer(1, 200)).counts("1 delivered");
}
