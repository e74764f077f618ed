//! What an operator does to lanes: cancel, skip, resume, delete.

use crate::domain::{
    event::{Fact, LaneEvent, Queue, Verdict},
    pipeline::{Command, Rejection},
    step::OnExhausted,
    testing::*,
};

fn halted() -> Scenario {
    let halting = tries(1).with(|config| config.on_exhausted = OnExhausted::Halt);
    let mut story = given_pipeline(halting, [accept(1, "c"), accept(2, "c"), accept(3, "c")]);
    story.when(start()).when(answer(1, 500)).counts("2 held, 1 dead");
    story
}

#[test]
fn a_delivery_can_be_called_off_until_it_is_in_flight() {
    let mut story = given([accept(1, "c"), accept(2, "c"), accept(3, "c"), accept(4, "c")]);
    story.when(start()).when(cancel(1, "c")).refused(&Rejection::InFlight);
    story.when(cancel(3, "c")).then(["3 cancelled"]).counts("2 queued, 1 in flight, 1 cancelled");
    story.when(cancel(3, "c")).refused(&Rejection::NotPending);
    story.when(cancel(2, "d")).refused(&Rejection::NotPending);
    story.when(answer(1, 500)).when(cancel(1, "c")).then(["1 cancelled"]);
    assert_eq!(story.starts(|_, _, _| 200), ["0s 2#1 starts step 0", "0s 4#1 starts step 0"]);
    story.counts("2 delivered, 2 cancelled");
}

#[test]
fn the_last_delivery_of_a_lane_called_off_takes_the_lane_with_it() {
    let mut story = given([accept(1, "c")]);
    story.when(cancel(1, "c")).counts("1 cancelled").when(start()).then([]);
    assert_eq!(story.pipeline().mailbox().lanes_count(), 0);
}

#[test]
fn what_waits_in_a_halted_lane_can_be_called_off() {
    halted()
        .when(cancel(3, "c"))
        .counts("1 held, 1 dead, 1 cancelled")
        .when(cancel(2, "c"))
        .counts("1 dead, 2 cancelled");
}

/// T-31: the lane stands behind a dead letter; passing over that one keeps the next.
#[test]
fn skipping_in_a_halted_lane_goes_on_with_the_next_delivery() {
    let mut story = halted();
    story.when(skip("c")).then(["c goes on"]).counts("2 queued, 1 dead").dead_letters(["1/0/1"]);
    assert_eq!(story.starts(|_, _, _| 200), ["0s 2#1 starts step 0", "0s 3#1 starts step 0"]);
}

/// T-31: whoever asks twice passes over nothing that was never tried.
#[test]
fn skipping_in_a_lane_that_runs_is_refused() {
    let mut story = given([accept(1, "c"), accept(2, "c")]);
    story.when(skip("d")).refused(&Rejection::LaneEmpty);
    story.when(start()).when(skip("c")).refused(&Rejection::NotHalted);
    story.when(answer(1, 500)).when(skip("c")).refused(&Rejection::NotHalted).counts("1 queued, 1 retrying");
    let mut twice = halted();
    twice.when(skip("c")).when(skip("c")).refused(&Rejection::NotHalted).counts("2 queued, 1 dead");
}

#[test]
fn a_halted_lane_goes_on_when_an_operator_says_so() {
    let mut story = halted();
    story.when(resume("d")).refused(&Rejection::LaneEmpty);
    story.when(resume("c")).then(["c resumes"]).counts("2 queued, 1 dead");
    story.when(resume("c")).refused(&Rejection::NotHalted).when(start()).then(["2#1 starts step 0"]);
}

#[test]
fn a_halted_lane_with_nothing_in_it_vanishes_when_it_resumes() {
    let mut story = halted();
    story.when(cancel(2, "c")).when(cancel(3, "c"));
    assert_eq!(story.pipeline().mailbox().lanes_count(), 1);
    story.when(resume("c"));
    assert_eq!(story.pipeline().mailbox().lanes_count(), 0);
}

/// AFM-44, T-34, I10, I20
#[test]
fn deleting_a_pipeline_cancels_everything_that_is_pending() {
    let mut story = given([accept(1, "c"), accept(2, "c"), accept(3, "d"), accept(4, "e")]);
    story.when(start()).when(answer(1, 500)).when(start()).then(["3#1 starts step 0"]);
    let under_way = story.attempt(3);
    story.and(delete());
    assert_eq!(story.pipeline().next_due(), None, "no retry of what is gone is waited for");
    story.later(60).when(start()).then([]);
    story.when(cancel_all()).then(["part 0 of 1 cancelled"]).counts("4 cancelled");
    let late = move |story: &Scenario| {
        let (outcome, now) = (outcome(200), story.now);
        let command =
            Command::RecordOutcome { attempt: under_way, outcome, retry_after: None, now, roll: 0.5 };
        story.pipeline().decide(command)
    };
    story.when(Box::new(late)).refused(&Rejection::StaleAttempt);
    story.when(cancel_all()).then([]);
    // It came to an end all the same, which the log keeps and the counts ignore.
    let told = LaneEvent::AttemptEnded {
        attempt: under_way,
        step: 0,
        queue: Queue::Primary,
        outcome: outcome(200),
        verdict: Verdict::CALLED_OFF,
    };
    story.write(&Fact::Lane(pipe(), told));
    story.counts("4 cancelled");
    assert!(story.pipeline().is_deleted());
}

/// I20: routed before the deletion was known, and handed over after.
#[test]
fn an_event_that_reaches_a_deleted_pipeline_is_counted_cancelled() {
    let mut story = given([accept(1, "c"), delete()]);
    story.and(accept(2, "c")).counts("2 queued").when(start()).then([]);
    story.when(cancel_all()).counts("2 cancelled").and(accept(3, "c")).counts("3 cancelled");
    assert_eq!(story.pipeline().mailbox().lanes_count(), 0);
}

/// T-31: halted lanes are cancelled too.
#[test]
fn deleting_a_pipeline_ends_its_halted_lanes() {
    halted().and(delete()).when(cancel_all()).counts("1 dead, 2 cancelled").dead_letters(["1/0/1"]);
}
