//! Dead letters retried in their place, and deliveries sent again.

use crate::domain::{
    event::{End, LaneEvent},
    pipeline::Rejection,
    step::OnExhausted,
    testing::*,
};

/// Events 1 to `last` of one resource; those in `dead` are dead letters, the others wait.
fn dead(dead: &'static [u64], last: u64) -> Scenario {
    let mut story = given_pipeline(tries(1), (1..=last).map(|n| accept(n, "c")));
    for event in dead {
        story.when(start()).when(answer(*event, 500));
    }
    story
}

/// ORD.5, T-31, I19
#[test]
fn a_retried_dead_letter_goes_before_everything_later_that_has_not_started() {
    let mut story = dead(&[1], 3);
    story.counts("2 queued, 1 dead").when(retry(1, "c", 0)).then(["1r2 again from step 0 of version 1"]);
    story.counts("3 queued").dead_letters([]);
    let started = story.starts(|_, _, _| 200);
    assert_eq!(started, ["0s 1r2#1 starts step 0", "0s 2#1 starts step 0", "0s 3#1 starts step 0"]);
    story.counts("3 delivered");
}

/// ORD.5, T-31, I19
#[test]
fn what_is_in_flight_is_not_overtaken() {
    let mut story = dead(&[1], 3);
    story.when(start()).then(["2#1 starts step 0"]).when(retry(1, "c", 0)).when(start()).then([]);
    story.when(answer(2, 200));
    assert_eq!(story.starts(|_, _, _| 200), ["0s 1r2#1 starts step 0", "0s 3#1 starts step 0"]);
}

/// I14, I19: the head that waits for its retry has started; and it goes on waiting.
#[test]
fn a_retried_dead_letter_does_not_cut_short_the_delay_of_the_head() {
    let mut story = given([accept(1, "c"), accept(2, "c")]);
    story.run(|attempt, _, _| if attempt.event.0 == 1 { 500 } else { 200 });
    story.and(accept(3, "c")).when(start()).when(answer(3, 500)).then(["3#1 http_error: retry in 5s"]);
    story.when(retry(1, "c", 0)).when(start()).then([]).counts("1 queued, 1 retrying, 1 delivered");
    let begun = story.now.since(T0).as_secs();
    let started = story.starts(|_, _, _| 200);
    let due = begun + 5;
    assert_eq!(started, [format!("{due}s 3#2 starts step 0"), format!("{due}s 1r2#1 starts step 0")]);
}

/// I19
#[test]
fn several_retried_dead_letters_go_in_the_order_of_acceptance() {
    for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
        let mut story = dead(&[1, 2, 3], 4);
        for event in order {
            story.when(retry(event, "c", 0));
        }
        let started = story.starts(|_, _, _| 200);
        assert_eq!(
            started[..3],
            ["0s 1r2#1 starts step 0", "0s 2r2#1 starts step 0", "0s 3r2#1 starts step 0"]
        );
        story.counts("4 delivered");
    }
}

/// ORD.7
#[test]
fn a_dead_letter_that_is_retried_already_is_refused() {
    let mut story = dead(&[1], 2);
    let item = story.state.dead_letters.iter().next().unwrap().by_ref();
    let twice =
        move |story: &Scenario| story.pipeline().decide(again(End::DeadLettered).command(1, "c", Some(item)));
    story.when(retry(1, "c", 0)).when(Box::new(twice)).refused(&Rejection::AlreadyPending);
    story.when(start()).when(Box::new(twice)).refused(&Rejection::AlreadyPending);
    let mut behind = dead(&[1], 2);
    behind.when(start()).when(retry(1, "c", 0)).when(Box::new(twice)).refused(&Rejection::AlreadyPending);
}

/// T-12, I18: a round of its own, and one open item at most.
#[test]
fn a_dead_letter_that_fails_again_is_dead_again_in_the_next_round() {
    let mut story = dead(&[1], 1);
    story.when(retry(1, "c", 0)).when(start()).when(answer(1, 500));
    story.then(["1r2#1 http_error: exhausted, dead-lettered"]).counts("1 dead").dead_letters(["1/0/2"]);
    story
        .when(retry(1, "c", 0))
        .then(["1r3 again from step 0 of version 1"])
        .when(start())
        .when(answer(1, 200));
    story.then(["1r3#1 success: succeeded, delivered"]).counts("1 delivered").dead_letters([]);
}

/// I18, I20: DLQ unit = (execution, step); T-29
#[test]
fn a_delivery_with_two_dead_letters_is_delivered_when_both_are() {
    let config = pipeline([step("a").tries(1), step("b").tries(1), step("c").tries(1)]);
    let mut story = given_pipeline(config, [accept(1, "c")]);
    story.run(|_, step, _| if step < 2 { 500 } else { 200 });
    story.counts("1 dead").dead_letters(["1/0/1", "1/1/1"]);
    story.when(retry(1, "c", 0)).counts("1 queued").dead_letters(["1/1/1"]);
    story.when(start()).when(answer(1, 200)).then(["1r2#1 success: succeeded, dead-lettered"]);
    story.counts("1 dead");
    story.when(retry(1, "c", 1)).when(start()).then(["1r3#1 starts step 1"]).when(answer(1, 200));
    story.then(["1r3#1 success: succeeded, delivered"]).counts("1 delivered").dead_letters([]);
}

/// ORD.9, I18: what has run is not told by what the step says now.
#[test]
fn a_step_that_was_retried_alone_stays_alone_when_it_learns_to_stop() {
    let config = |stop| {
        let first = step("a").tries(1).with(|step| step.stop_on_failure = stop);
        pipeline([first, step("b").tries(1)])
    };
    let mut story = given_pipeline(config(false), [accept(1, "c"), accept(2, "d")]);
    story.run(|attempt, step, _| if attempt.event.0 == 1 && step == 0 { 500 } else { 200 });
    story.and(update(config(true))).when(retry(1, "c", 0)).when(start()).when(answer(1, 500));
    story.then(["1r2#1 http_error: exhausted, dead-lettered"]).when(retry(1, "c", 0));
    assert_eq!(story.starts(|_, _, _| 200), ["0s 1r3#1 starts step 0"]);
    story.counts("2 delivered").dead_letters([]);
}

/// AFM-61, I20: what is dismissed stays dead-lettered and is counted so.
#[test]
fn a_dismissed_dead_letter_leaves_the_queue_and_the_counts_alone() {
    let mut story = dead(&[1], 2);
    story.when(dismiss(1, "c", 0)).then(["1/0/1 dismissed"]).counts("1 queued, 1 dead").dead_letters([]);
}

/// I18, T-34: all steps run again, so all of its dead letters close.
#[test]
fn a_whole_delivery_sent_again_closes_its_dead_letters_and_no_others() {
    let config = pipeline([step("a").tries(1), step("b").tries(1)]);
    let mut story = given_pipeline(config, [accept(1, "c"), accept(2, "d")]);
    story.run(|_, _, _| 500);
    story.counts("2 dead").dead_letters(["1/0/1", "1/1/1", "2/0/1", "2/1/1"]);
    story.when(redeliver(1, "c", again(End::DeadLettered))).dead_letters(["2/0/1", "2/1/1"]);
    assert_eq!(story.starts(|_, _, _| 200), ["0s 1r2#1 starts step 0", "0s 1r2#2 starts step 1"]);
    story.counts("1 delivered, 1 dead");
}

/// I20: whatever state it leaves, it is counted once.
#[test]
fn a_delivery_sent_again_leaves_the_state_that_it_was_in() {
    let mut story = given([accept(1, "c")]);
    story.run(|_, _, _| 200);
    story.counts("1 delivered").when(redeliver(1, "c", again(End::Delivered))).counts("1 queued");
    story.when(cancel(1, "c")).counts("1 cancelled");
    let third = Again { round: 3, ..again(End::Cancelled) };
    story.when(redeliver(1, "c", third)).counts("1 queued").and(update(pipeline([step("b")])));
    story.when(start()).counts("1 skipped");
    let fourth = Again { round: 4, ..again(End::Skipped) };
    story.when(redeliver(1, "c", fourth)).when(start()).then(["1r4#1 starts step 0"]);
    story.when(redeliver(1, "c", fourth)).refused(&Rejection::AlreadyPending).counts("1 in flight");
}

/// T-31
#[test]
fn retrying_the_dead_letter_lets_a_halted_lane_go_on() {
    let halting = tries(1).with(|config| config.on_exhausted = OnExhausted::Halt);
    let mut story = given_pipeline(halting, [accept(1, "c"), accept(2, "c"), accept(3, "c")]);
    story
        .when(start())
        .when(answer(1, 200))
        .when(start())
        .when(answer(2, 500))
        .counts("1 held, 1 delivered, 1 dead");
    story.when(redeliver(1, "c", again(End::Delivered))).when(start()).then([]).counts("2 held, 1 dead");
    story.when(retry(2, "c", 0)).counts("3 queued");
    let started = story.starts(|_, _, _| 200);
    assert_eq!(started, ["0s 1r2#1 starts step 0", "0s 2r2#1 starts step 0", "0s 3#1 starts step 0"]);
}

/// T-31: a halted lane waits for the dead letter that halted it. An older one waits with the others.
#[test]
fn retrying_an_older_dead_letter_leaves_a_halted_lane_halted() {
    let halting = tries(1).with(|config| config.on_exhausted = OnExhausted::Halt);
    let mut story = given_pipeline(tries(1), [accept(1, "c"), accept(2, "c"), accept(3, "c")]);
    story.when(start()).when(answer(1, 500)).and(update(halting)).when(start()).when(answer(2, 500));
    story.counts("1 held, 2 dead").when(retry(1, "c", 0)).when(start()).then([]).counts("2 held, 1 dead");
    story.when(retry(2, "c", 0)).counts("3 queued");
    let started = story.starts(|_, _, _| 200);
    assert_eq!(started, ["0s 1r2#1 starts step 0", "0s 2r2#1 starts step 0", "0s 3#1 starts step 0"]);
}

/// T-31: whoever asks knows what was delivered before; that a later one has begun, and so ends first, is known here.
#[test]
fn a_delivery_behind_a_later_one_that_has_begun_is_out_of_order() {
    let out_of_order = |story: &Scenario| match &story.facts()[..] {
        [LaneEvent::Redelivered { redelivery, .. }] => redelivery.out_of_order,
        other => panic!("{other:?}"),
    };
    let mut story = dead(&[1], 3);
    story.when(retry(1, "c", 0));
    assert!(!out_of_order(&story), "2 waits, and goes out behind it");
    let mut begun = dead(&[1], 3);
    begun.when(start()).then(["2#1 starts step 0"]).when(retry(1, "c", 0));
    assert!(out_of_order(&begun), "2 is under way");
}

/// ORD.9: what stopped its delivery goes on with what had not run, and repeats nothing: where steps have changed places
/// since, that cannot be told from theirs.
#[test]
fn a_dead_letter_whose_steps_have_changed_places_is_not_retried_alone() {
    let named = |names: &[&str]| {
        pipeline(
            names.iter().map(|name| step(name).tries(1).with(|step| step.stop_on_failure = *name == "b")),
        )
    };
    for (now, may) in [
        (["a", "b", "c"].as_slice(), true),
        (&["b", "c"], true),
        (&["b"], true),
        (&["x", "a", "y", "b", "z", "c"], true),
        (&["b", "a", "c"], false),
        (&["a", "c", "b"], false),
    ] {
        let mut story = given_pipeline(named(&["a", "b", "c"]), [accept(1, "r")]);
        story.run(|_, step, _| if step == 1 { 500 } else { 200 });
        story.and(update(named(now))).when(retry(1, "r", 1));
        if may {
            assert!(matches!(story.facts()[..], [LaneEvent::Redelivered { .. }]), "{now:?}");
        } else {
            story.refused(&Rejection::StepsMoved).counts("1 dead").dead_letters(["1/1/1"]);
            story.when(redeliver(1, "r", again(End::DeadLettered)));
            assert_eq!(story.starts(|_, _, _| 200).len(), 3, "all of it again");
        }
    }
}

/// T-34: what is gone cannot be sent.
#[test]
fn nothing_of_a_deleted_pipeline_is_sent_again() {
    let mut story = dead(&[1], 1);
    story.and(delete()).when(retry(1, "c", 0)).refused(&Rejection::Deleted).dead_letters(["1/0/1"]);
}
