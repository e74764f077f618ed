//! One lane per resource, one attempt in flight per lane.

use crate::domain::{
    mailbox::Target,
    pipeline::{Command, Rejection},
    step::Status,
    testing::*,
};

/// AFF-27, T-30, I5, I7
#[test]
fn second_delivery_of_a_resource_waits_for_the_first() {
    given([accept(1, "conv_1"), accept(2, "conv_1"), accept(3, "conv_2")])
        .when(start())
        .then(["1#1 starts step 0"])
        .when(start())
        .then(["3#1 starts step 0"])
        .when(start())
        .then([])
        .counts("1 queued, 2 in flight")
        .when(answer(1, 200))
        .then(["1#1 success: succeeded, delivered"])
        .when(start())
        .then(["2#1 starts step 0"]);
}

/// ORD.1, T-31, I5
#[test]
fn nothing_of_a_resource_starts_while_its_first_delivery_fails() {
    let mut story =
        given_pipeline(tries(3), [accept(1, "c"), accept(2, "c"), accept(3, "c"), accept(4, "d")]);
    let told = story.run(|attempt, _, _| if attempt.event.0 == 1 { 500 } else { 200 });
    assert_eq!(
        told,
        [
            "0s 1#1 starts step 0",
            "0s 1#1 http_error: retry in 1s",
            "0s 4#1 starts step 0",
            "0s 4#1 success: succeeded, delivered",
            "1s 1#2 starts step 0",
            "1s 1#2 http_error: retry in 1s",
            "2s 1#3 starts step 0",
            "2s 1#3 http_error: exhausted, dead-lettered",
            "2s 2#1 starts step 0",
            "2s 2#1 success: succeeded, delivered",
            "2s 3#1 starts step 0",
            "2s 3#1 success: succeeded, delivered",
        ]
    );
    story.counts("3 delivered, 1 dead").dead_letters(["1/0/1"]);
}

/// T-55, I6: hand-overs come in the order of the log, however late.
#[test]
fn acceptance_orders_a_lane_and_nothing_else_does() {
    let mut story = given((1..=9).map(|n| accept(n, "c")));
    let started = story.starts(|_, _, _| 200);
    assert_eq!(started, (1..=9).map(|n| format!("0s {n}#1 starts step 0")).collect::<Vec<_>>());
}

/// A lane waits for room at its target and takes none from others meanwhile; I8.
#[test]
fn a_target_without_room_does_not_hold_up_another() {
    let first_step = |target: Target| target.step == 0;
    given_pipeline(pipeline([step("a"), step("b")]), [accept(1, "c"), accept(2, "d")])
        .when(start())
        .then(["1#1 starts step 0"])
        .when(answer(1, 200))
        .then(["1#1 success: succeeded, go to step 1"])
        .when(start_if(move |target| !first_step(target)))
        .then(["1#2 starts step 1"])
        .when(start_if(move |target| !first_step(target)))
        .then([])
        .when(start_if(first_step))
        .then(["2#1 starts step 0"]);
}

/// Whoever waited longest starts first, so that no step starves another of a host that both share.
#[test]
fn lanes_start_in_the_order_in_which_they_became_ready() {
    given_pipeline(pipeline([step("a"), step("b")]), [accept(1, "c"), accept(2, "d")])
        .when(start())
        .when(answer(1, 200))
        .when(start())
        .then(["2#1 starts step 0"])
        .and(accept(3, "e"))
        .when(start())
        .then(["1#2 starts step 1"])
        .when(start())
        .then(["3#1 starts step 0"]);
}

/// ORD.8, T-32, I10
#[test]
fn a_paused_pipeline_keeps_everything_in_order_and_starts_nothing() {
    let paused = tries(2).with(|config| config.status = Status::Paused);
    let mut story = given_pipeline(tries(2), [accept(1, "c"), accept(2, "c"), accept(3, "d")]);
    story
        .when(start())
        .when(start())
        .and(update(paused))
        .and(accept(4, "c"))
        .when(answer(1, 500))
        .then(["1#1 http_error: retry in 1s"])
        .counts("1 in flight, 3 held");
    assert_eq!(story.pipeline().next_due(), None);
    story.later(5).when(start()).then([]);
    story.when(answer(3, 200)).and(update(tries(2)));
    let started = story.starts(|_, _, _| 200);
    assert_eq!(started, ["5s 1#2 starts step 0", "5s 2#1 starts step 0", "5s 4#1 starts step 0"]);
    story.counts("4 delivered");
}

/// T-32
#[test]
fn a_disabled_pipeline_records_events_as_skipped_and_holds_what_was_pending() {
    let disabled = tries(2).with(|config| config.status = Status::Disabled);
    given_pipeline(tries(2), [accept(1, "c"), update(disabled)])
        .and(Given::Accept { event: 2, resource: "c".into(), version: None, skipped: true })
        .when(start())
        .then([])
        .counts("1 held, 1 skipped")
        .and(update(tries(2)))
        .when(start())
        .then(["1#1 starts step 0"]);
}

/// I7, I12: an answer counts once.
#[test]
fn an_answer_that_comes_twice_or_from_a_former_attempt_is_refused() {
    let mut story = given_pipeline(tries(3), [accept(1, "c")]);
    story.when(start());
    let first = story.attempt(1);
    let again = move |story: &Scenario| {
        let (outcome, now) = (outcome(200), story.now);
        let command = Command::RecordOutcome { attempt: first, outcome, retry_after: None, now, roll: 0.5 };
        story.pipeline().decide(command)
    };
    story
        .when(answer(1, 500))
        .when(Box::new(again))
        .refused(&Rejection::StaleAttempt)
        .later(1)
        .when(start())
        .then(["1#2 starts step 0"])
        .when(Box::new(again))
        .refused(&Rejection::StaleAttempt)
        .when(answer(1, 200))
        .when(Box::new(again))
        .refused(&Rejection::StaleAttempt)
        .counts("1 delivered");
}
