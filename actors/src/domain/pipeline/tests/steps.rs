//! Several steps, and the failover.

use crate::domain::{
    event::{AttemptId, Queue},
    step::OnExhausted,
    testing::*,
};

/// AFM-09, T-29, I11: numbers rise over all steps.
#[test]
fn steps_run_one_after_the_other_and_attempts_are_numbered_through() {
    let config = pipeline([step("a").tries(2), step("b").tries(2)]);
    let mut story = given_pipeline(config, [accept(1, "c"), accept(2, "c")]);
    let told = story.run(|attempt, _, _| if attempt.number == 1 { 500 } else { 200 });
    assert_eq!(
        told[..6],
        [
            "0s 1#1 starts step 0",
            "0s 1#1 http_error: retry in 1s",
            "1s 1#2 starts step 0",
            "1s 1#2 success: succeeded, go to step 1",
            "1s 1#3 starts step 1",
            "1s 1#3 success: succeeded, delivered",
        ]
    );
    assert_eq!(told[6], "1s 2#1 starts step 0", "the next delivery waits for all steps");
}

/// AFM-22, T-29, ORD.9
#[test]
fn a_failed_step_stops_the_rest_only_if_it_says_so() {
    let config = |stop| {
        let second = step("b").tries(2).with(|step| step.stop_on_failure = stop);
        pipeline([step("a").tries(2), second, step("c").tries(2)])
    };
    let answers = |_: &AttemptId, step: u16, _: Queue| if step == 1 { 500 } else { 200 };
    let mut goes_on = given_pipeline(config(false), [accept(1, "r")]);
    let started = goes_on.starts(answers);
    assert_eq!(
        started,
        ["0s 1#1 starts step 0", "0s 1#2 starts step 1", "1s 1#3 starts step 1", "1s 1#4 starts step 2"]
    );
    goes_on.counts("1 dead").dead_letters(["1/1/1"]);
    let mut stops = given_pipeline(config(true), [accept(1, "r")]);
    let started = stops.starts(answers);
    assert_eq!(started, ["0s 1#1 starts step 0", "0s 1#2 starts step 1", "1s 1#3 starts step 1"]);
    stops.counts("1 dead").dead_letters(["1/1/1"]);
}

/// ORD.9: neither an attempt again nor a dead letter retried repeats a step that succeeded.
#[test]
fn a_retry_does_not_repeat_steps_that_succeeded() {
    for stop in [false, true] {
        let second = step("b").tries(1).with(|step| step.stop_on_failure = stop);
        let mut story = given_pipeline(pipeline([step("a"), second, step("c")]), [accept(1, "r")]);
        story.run(|_, step, _| if step == 1 { 500 } else { 200 });
        story.when(retry(1, "r", 1)).then(["1r2 again from step 1 of version 1"]);
        let started = story.starts(|_, _, _| 200);
        let all = ["0s 1r2#1 starts step 1", "0s 1r2#2 starts step 2"];
        assert_eq!(started, all[..if stop { 2 } else { 1 }]);
        story.counts("1 delivered").dead_letters([]);
    }
}

/// AFM-07, T-28, ORD.10, I11
#[test]
fn the_failover_is_a_second_phase_with_a_count_of_its_own() {
    let config = tries(2).with(|config| config.failover_url = Some("https://b.example".into()));
    let mut story = given_pipeline(config.clone(), [accept(1, "c"), accept(2, "c")]);
    let told = story.run(|attempt, _, queue| {
        if attempt.event.0 == 1 && (queue, attempt.number) != (Queue::Failover, 4) { 500 } else { 200 }
    });
    assert_eq!(
        told[..9],
        [
            "0s 1#1 starts step 0",
            "0s 1#1 http_error: retry in 1s",
            "1s 1#2 starts step 0",
            "1s 1#2 http_error: fail over",
            "1s 1#3 starts step 0 failover",
            "1s 1#3 http_error: retry in 1s",
            "2s 1#4 starts step 0 failover",
            "2s 1#4 success: failed over, delivered",
            "2s 2#1 starts step 0",
        ]
    );
    let mut exhausted = given_pipeline(config, [accept(1, "c")]);
    assert_eq!(exhausted.starts(|_, _, _| 500).len(), 4);
    exhausted.counts("1 dead").dead_letters(["1/0/1"]);
    let item = exhausted.state.dead_letters.iter().next().unwrap();
    assert_eq!(item.tries, (2, 2), "primary and failover are counted apart");
}

/// T-28: each step begins at its own URL again.
#[test]
fn a_step_behind_a_failover_starts_at_its_own_url() {
    let config = pipeline([step("a").tries(1), step("b").tries(1)]);
    let config = config.with(|config| config.failover_url = Some("https://b.example".into()));
    let mut story = given_pipeline(config, [accept(1, "c")]);
    let told = story.run(|_, step, queue| if step == 0 && queue == Queue::Primary { 500 } else { 200 });
    assert_eq!(
        told,
        [
            "0s 1#1 starts step 0",
            "0s 1#1 http_error: fail over",
            "0s 1#2 starts step 0 failover",
            "0s 1#2 success: failed over, go to step 1",
            "0s 1#3 starts step 1",
            "0s 1#3 success: succeeded, delivered",
        ]
    );
}

/// T-28: an answer that is final, is final without the failover.
#[test]
fn a_permanent_answer_does_not_fail_over() {
    let mut config = tries(2);
    config.failover_url = Some("https://b.example".into());
    config.rules.permanent = vec![(410, 410)];
    given_pipeline(config, [accept(1, "c")])
        .when(start())
        .when(answer(1, 410))
        .then(["1#1 http_error: permanent, dead-lettered"]);
}

/// T-31, ORD.2
#[test]
fn exhaustion_goes_on_or_halts_the_lane_as_configured() {
    let mut story = given_pipeline(tries(1), [accept(1, "c"), accept(2, "c")]);
    story.when(start()).when(answer(1, 500)).when(start()).then(["2#1 starts step 0"]);

    let halting = tries(1).with(|config| config.on_exhausted = OnExhausted::Halt);
    let mut story = given_pipeline(halting, [accept(1, "c"), accept(2, "c"), accept(3, "d")]);
    story
        .when(start())
        .when(answer(1, 500))
        .then(["1#1 http_error: exhausted, dead-lettered, halt"])
        .when(start())
        .then(["3#1 starts step 0"])
        .when(start())
        .then([])
        .and(accept(4, "c"))
        .when(start())
        .then([])
        .counts("1 in flight, 2 held, 1 dead")
        .when(answer(3, 200));
    assert!(story.pipeline().mailbox().lane("c").unwrap().is_halted());
}

/// T-31: a step that fails does not halt the lane before the delivery is over.
#[test]
fn a_lane_halts_at_the_end_of_the_delivery_that_failed() {
    let config = pipeline([step("a").tries(1), step("b")]);
    let config = config.with(|config| config.on_exhausted = OnExhausted::Halt);
    given_pipeline(config, [accept(1, "c")])
        .when(start())
        .when(answer(1, 500))
        .then(["1#1 http_error: exhausted, go to step 1"])
        .when(start())
        .when(answer(1, 200))
        .then(["1#2 success: succeeded, dead-lettered, halt"])
        .and(accept(2, "c"))
        .when(start())
        .then([])
        .counts("1 held, 1 dead");
}
