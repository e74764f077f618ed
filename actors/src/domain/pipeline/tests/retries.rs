//! When an attempt is made again, and when no more.

use crate::domain::{
    retry::{Backoff, RetryPolicy},
    step::ResponseRules,
    testing::*,
};

/// Seconds from the first attempt to each, with a receiver that always fails and dice that show `roll`.
fn timetable(policy: RetryPolicy, roll: f64) -> Vec<u64> {
    let mut story = given_pipeline(pipeline([step("a").with(|step| step.retry = policy)]), [accept(1, "c")]);
    story.roll = roll;
    let started = story.starts(|_, _, _| 500);
    story.counts("1 dead").dead_letters(["1/0/1"]);
    for (index, line) in started.iter().enumerate() {
        assert!(line.ends_with(&format!("s 1#{} starts step 0", index + 1)), "{line}");
    }
    started.iter().map(|line| line.split('s').next().unwrap().parse().unwrap()).collect()
}

fn preset(name: &str) -> Vec<u64> {
    timetable(RetryPolicy::preset(name).unwrap(), 0.9)
}

/// REQUIREMENTS §1.9, AFF-29, ATT-21, APX-35, SOC-42, T-12, T-53, ORD.2, ORD.3, I11
#[test]
fn each_preset_runs_to_its_end_by_the_contracts_timetable() {
    assert_eq!(preset("afftok-default"), [0, 5, 15, 45, 105, 405, 2_205, 5_805]);
    assert_eq!(preset("attribution"), [0, 60, 360, 1_260, 4_860]);
    assert_eq!(preset("apexmediation"), [0, 2, 6, 14]);
    assert_eq!(preset("social"), [0, 60, 360, 1_260, 4_860, 26_460]);
    let standard = [0, 5, 305, 2_105, 9_305, 27_305, 63_305, 113_705, 185_705, 272_105];
    assert_eq!(preset("standard"), standard);
    assert_eq!(5_805, 3_600 + 36 * 60 + 45, "1 h 36 m 45 s");
    assert_eq!(272_105, (75 * 60 + 35) * 60 + 5, "75 h 35 m");
}

/// AFM-16 … AFM-21, T-12, T-48, ORD.4
#[test]
fn the_sample_policies_of_the_management_api_run_as_printed() {
    let five = Backoff::Exponential { initial_ms: 5_000, max_ms: 300_000 };
    assert_eq!(timetable(RetryPolicy { attempts_max: 5, backoff: five }, 0.1), [0, 5, 15, 35, 75]);
    let eight = Backoff::ExponentialJitter { initial_ms: 5_000, max_ms: 3_600_000, factor: 0.2 };
    let eight = RetryPolicy { attempts_max: 8, backoff: eight };
    assert_eq!(timetable(eight.clone(), 0.5), [0, 5, 15, 35, 75, 155, 315, 635]);
    assert_eq!(timetable(eight.clone(), 0.0).last(), Some(&508));
    assert_eq!(timetable(eight, 1.0).last(), Some(&762));
    let fixed = RetryPolicy { attempts_max: 8, backoff: Backoff::Fixed { delay_ms: 7_000 } };
    assert_eq!(timetable(fixed, 1.0), [0, 7, 14, 21, 28, 35, 42, 49]);
}

/// T-12: one attempt is all of them.
#[test]
fn a_policy_of_one_attempt_never_retries() {
    given_pipeline(tries(1), [accept(1, "c")])
        .when(start())
        .when(answer(1, 0))
        .then(["1#1 timeout: exhausted, dead-lettered"])
        .when(start())
        .then([]);
}

/// T-53: the delay counts from the end of the attempt, and is stored as an instant.
#[test]
fn the_delay_counts_from_the_end_of_the_attempt() {
    let mut story = given([accept(1, "c")]);
    story.when(start()).later(25).when(answer(1, 500)).then(["1#1 http_error: retry in 5s"]);
    assert_eq!(story.pipeline().next_due(), Some(T0.plus(std::time::Duration::from_secs(30))));
    story.later(4).when(start()).then([]).later(1).when(start()).then(["1#2 starts step 0"]);
    assert_eq!(story.pipeline().next_due(), None);
}

/// I14, T-16: a receiver may ask for more time, never for less, and for a day at most.
#[test]
fn retry_after_lengthens_a_delay_up_to_a_day() {
    given([accept(1, "c")])
        .when(start())
        .when(answer_after(1, 503, Some(3)))
        .then(["1#1 http_error: retry in 5s"])
        .later(5)
        .when(start())
        .when(answer_after(1, 429, Some(120)))
        .then(["1#2 http_error: retry in 120s"])
        .later(120)
        .when(start())
        .when(answer_after(1, 429, Some(1_000_000)))
        .then(["1#3 http_error: retry in 86400s"]);
}

/// T-16: what the profile calls final, and a request that cannot be built.
#[test]
fn a_permanent_answer_is_never_retried() {
    let mut config = tries(8);
    config.rules =
        ResponseRules { permanent: vec![(400, 499)], retried: vec![408, 429], ..ResponseRules::default() };
    for (status, told) in [
        (410, "1#1 http_error: permanent, dead-lettered"),
        (429, "1#1 http_error: retry in 1s"),
        (500, "1#1 http_error: retry in 1s"),
        (0, "1#1 timeout: retry in 1s"),
        (1, "1#1 template_error: permanent, dead-lettered"),
    ] {
        given_pipeline(config.clone(), [accept(1, "c")]).when(start()).when(answer(1, status)).then([told]);
    }
}

/// T-12: a policy that is shortened counts what was done.
#[test]
fn a_shorter_policy_ends_a_delivery_that_has_used_it_up() {
    given_pipeline(tries(8), [accept(1, "c")])
        .when(start())
        .when(answer(1, 500))
        .later(1)
        .when(start())
        .and(update(tries(2)))
        .when(answer(1, 500))
        .then(["1#2 http_error: exhausted, dead-lettered"]);
}
