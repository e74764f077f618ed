//! Keys in rotation (T-6, SIG.5): who is asked again with the other key, when, and how often.

use crate::domain::{
    retry::{Backoff, RetryPolicy},
    step::{FormerKey, PipelineConfig, SignatureMode, StoredKey},
    testing::*,
};
use std::time::Duration;

/// A pipeline whose one step is signed, with a former key for ten seconds.
fn rotating(attempts: u16) -> PipelineConfig {
    tries(attempts).with(|config| {
        let step = &mut config.steps[0];
        step.signature = SignatureMode::Hmac;
        step.signing_key = Some(StoredKey::Sealed("new".into()));
        let until = T0.plus(Duration::from_secs(10));
        step.former_keys = vec![FormerKey { key: StoredKey::Sealed("old".into()), until, fallback: true }];
    })
}

/// T-6: at once, as an attempt of its own, and after it the schedule goes on.
#[test]
fn a_refused_request_is_sent_once_more_with_the_other_key() {
    for status in [401, 403] {
        given_pipeline(rotating(3), [accept(1, "conv_1")])
            .when(start())
            .then(["1#1 starts step 0"])
            .when(answer(1, status))
            .then(["1#1 http_error: try the other key"])
            .when(start())
            .then(["1#2 starts step 0"])
            .when(answer(1, 200))
            .then(["1#2 success: succeeded, delivered"])
            .counts("1 delivered");
    }
}

/// Only what a wrong signature is answered with.
#[test]
fn other_failures_wait_for_their_retry() {
    for status in [0, 400, 404, 429, 500, 503] {
        let mut story = given_pipeline(rotating(3), [accept(1, "conv_1")]);
        story.when(start()).when(answer(1, status));
        assert!(story.told()[0].ends_with("retry in 1s"), "{:?}", story.told());
    }
}

/// SIG.5: after the overlap there is no other key.
#[test]
fn after_the_overlap_there_is_no_other_key() {
    given_pipeline(rotating(3), [accept(1, "conv_1")])
        .when(start())
        .later(10)
        .when(answer(1, 401))
        .then(["1#1 http_error: retry in 1s"]);
}

/// ORD.2, I11: it counts, so a policy's attempts are never exceeded.
#[test]
fn the_other_key_is_tried_within_the_attempts_of_the_policy() {
    given_pipeline(rotating(1), [accept(1, "conv_1")])
        .when(start())
        .when(answer(1, 401))
        .then(["1#1 http_error: exhausted, dead-lettered"]);
    let mut story = given_pipeline(rotating(5), [accept(1, "conv_1")]);
    assert_eq!(story.starts(|_, _, _| 403).len(), 5);
}

/// T-6, *once*: a receiver that takes neither key is not asked with the former one again.
#[test]
fn a_receiver_that_takes_neither_key_hears_the_former_one_once() {
    let mut story = given_pipeline(rotating(4), [accept(1, "conv_1")]);
    let told = story.run(|_, _, _| 401);
    assert_eq!(told.iter().filter(|line| line.ends_with("try the other key")).count(), 1, "{told:?}");
    assert_eq!(told[3], "0s 1#2 http_error: retry in 1s");
}

/// The former key may be the right one as long as the receiver has not refused it: trouble of another kind says
/// nothing about it, and neither does a crash.
#[test]
fn trouble_of_another_kind_leaves_the_other_key_for_later() {
    given_pipeline(rotating(9), [accept(1, "conv_1")])
        .when(start())
        .when(answer(1, 401))
        .when(start())
        .when(answer(1, 503))
        .then(["1#2 http_error: retry in 1s"])
        .later(1)
        .when(start())
        .when(answer(1, 401))
        .then(["1#3 http_error: try the other key"])
        .when(start())
        .when(crash())
        .then(["1#4 crash: retry in 0ns"])
        .when(start())
        .when(answer(1, 401))
        .then(["1#5 http_error: try the other key"]);
}

/// A receiver that has not heard of the new key may call it final (APX-36, SOC-43).
#[test]
fn a_final_refusal_is_asked_once_more_first() {
    let strict = rotating(3).with(|config| config.rules.permanent = vec![(400, 499)]);
    given_pipeline(strict, [accept(1, "conv_1")])
        .when(start())
        .when(answer(1, 403))
        .then(["1#1 http_error: try the other key"])
        .when(start())
        .when(answer(1, 403))
        .then(["1#2 http_error: permanent, dead-lettered"]);
}

/// Where there is room for all signatures, every request has carried them already; a token has room for one.
#[test]
fn only_headers_with_one_signature_need_the_other_key() {
    let first = |change: fn(&mut PipelineConfig)| {
        let mut story = given_pipeline(rotating(3).with(change), [accept(1, "conv_1")]);
        story.when(start()).when(answer(1, 401));
        story.told().remove(0)
    };
    let retried = "1#1 http_error: retry in 1s";
    assert_eq!(first(|config| config.steps[0].former_keys[0].fallback = false), retried);
    assert_eq!(first(|config| config.steps[0].signature = SignatureMode::None), retried);
    let token = first(|config| {
        config.steps[0].signature = SignatureMode::Jwt;
        config.steps[0].former_keys[0].fallback = false;
    });
    assert_eq!(token, "1#1 http_error: try the other key");
}

/// Each step, and the failover, has a receiver of its own, which may know the other key.
#[test]
fn the_failover_is_asked_with_both_keys_too() {
    let mut config = rotating(2);
    config.failover_url = Some("https://backup.example.com/".into());
    config.steps[0].retry = RetryPolicy { attempts_max: 2, backoff: Backoff::Fixed { delay_ms: 0 } };
    let mut story = given_pipeline(config, [accept(1, "conv_1")]);
    let told = story.run(|_, _, queue| if queue == crate::domain::event::Queue::Primary { 401 } else { 403 });
    let turns = told.iter().filter(|line| line.ends_with("try the other key")).count();
    assert_eq!(turns, 2, "{told:?}");
}
