//! When to try again: [`RetryPolicy`] turns the number of an attempt into the delay before it.
//!
//! Pure: the jitter roll comes in as an argument, and what came out is stored as an instant by the caller.
//! What counts as a failure, and whether `Retry-After` asks for more, is decided elsewhere.
//!
//! ```text
//! attempt 1 ──fails──> delay_before(2) ──> attempt 2 ──fails──> delay_before(3) ──> … attempt attempts_max
//! ```

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Most attempts that a policy may ask for.
pub const ATTEMPTS_MAX: u16 = 50;
/// Longest single delay: seven days.
pub const DELAY_MAX: Duration = Duration::from_hours(7 * 24);
/// Cap of the exponential kinds where the user names none (T-49).
pub const DEFAULT_CAP: Duration = Duration::from_hours(1);

/// How often to try, and how long to wait in between (AFM-16 … AFM-21).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// All attempts, the first one included: 1 to 50 (T-12).
    pub attempts_max: u16,
    /// The wait between two attempts, counted from the end of the earlier one (T-53).
    pub backoff: Backoff,
}

/// The rule behind the delays. All lengths are whole milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// The same delay each time (AFM-52).
    Fixed {
        /// Before every attempt but the first.
        delay_ms: u64,
    },
    /// Doubles each time (AFM-53).
    Exponential {
        /// Before attempt 2.
        initial_ms: u64,
        /// No delay is longer.
        max_ms: u64,
    },
    /// Doubles each time, spread by chance (AFM-54, T-48).
    ExponentialJitter {
        /// Before attempt 2, on average.
        initial_ms: u64,
        /// No delay is longer, jitter included.
        max_ms: u64,
        /// Share by which a delay may be shorter or longer: 0 to 1.
        factor: f64,
    },
    /// A written table: the delays before attempt 2, 3, …; the last one repeats.
    Schedule {
        /// At least one, unless there is only one attempt.
        delays_ms: Vec<u64>,
    },
}

/// What is wrong with a policy. [`PolicyError::field`] names the field of the API that is to blame.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// Outside 1 to 50.
    #[error("`max_attempts` is {0}, outside 1..={ATTEMPTS_MAX}")]
    Attempts(u16),
    /// Longer than seven days.
    #[error("`{field}` is {given_ms} ms, over the limit of {} s", DELAY_MAX.as_secs())]
    Delay { field: &'static str, given_ms: u64 },
    /// The first delay is over the cap.
    #[error("`initial_delay_seconds` is above `max_delay_seconds`")]
    InitialAboveMax,
    /// Not a number between 0 and 1.
    #[error("`jitter_factor` is {0}, outside 0..=1")]
    Jitter(f64),
    /// No delay for the second attempt, or more delays than there can be attempts.
    #[error("`delays_seconds` has {given} entries, outside 1..={max}", max = ATTEMPTS_MAX - 1)]
    ScheduleLength { given: usize },
}

impl PolicyError {
    /// The field of `retry_policy`, as the API spells it.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::Attempts(_) => "max_attempts",
            Self::Delay { field, .. } => field,
            Self::InitialAboveMax => "initial_delay_seconds",
            Self::Jitter(_) => "jitter_factor",
            Self::ScheduleLength { .. } => "delays_seconds",
        }
    }
}

impl Default for RetryPolicy {
    /// The table of `AffTok`, which is also the engine's own default (AFF-29, T-12).
    fn default() -> Self {
        Self::table(&[5, 10, 30, 60, 300, 1_800, 3_600])
    }
}

impl RetryPolicy {
    /// The policy behind a preset's name (§1.9 of the contracts), or `None` if there is none such.
    ///
    /// `afftok-default`, `attribution` (`att`), `apexmediation` (`apx`), `social` (`soc`), `standard`.
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        Some(match name {
            "afftok-default" | "afftok" => Self::default(),
            // ATT-21, T-13: "Immediately, 1 m, 5 m, 15 m, 1 h" are five attempts.
            "attribution" | "att" => Self::table(&[60, 300, 900, 3_600]),
            // APX-35, T-15: three retries.
            "apexmediation" | "apx" => Self::table(&[2, 4, 8]),
            // SOC-42, T-14: five retries, the last one six hours after the fourth.
            "social" | "soc" => Self::table(&[60, 300, 900, 3_600, 21_600]),
            // Standard Webhooks 1.0.0, the schedule of its sample.
            "standard" => Self::table(&[5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]),
            _ => return None,
        })
    }

    /// One attempt more than there are delays, given in seconds.
    fn table(delays_seconds: &[u64]) -> Self {
        let delays_ms: Vec<u64> = delays_seconds.iter().map(|seconds| seconds * 1_000).collect();
        let attempts_max = u16::try_from(delays_ms.len() + 1).unwrap_or(ATTEMPTS_MAX);
        Self { attempts_max, backoff: Backoff::Schedule { delays_ms } }
    }

    /// Checks every field against its range (ADM.5, ADM.6, ADM.7).
    pub fn validate(&self) -> Result<(), PolicyError> {
        if !(1..=ATTEMPTS_MAX).contains(&self.attempts_max) {
            return Err(PolicyError::Attempts(self.attempts_max));
        }
        match &self.backoff {
            Backoff::Fixed { delay_ms } => check_delay("initial_delay_seconds", *delay_ms),
            Backoff::Exponential { initial_ms, max_ms } => check_range(*initial_ms, *max_ms),
            Backoff::ExponentialJitter { initial_ms, max_ms, factor } => {
                check_range(*initial_ms, *max_ms)?;
                if (0.0..=1.0).contains(factor) { Ok(()) } else { Err(PolicyError::Jitter(*factor)) }
            }
            Backoff::Schedule { delays_ms } => {
                let most = usize::from(ATTEMPTS_MAX) - 1;
                if delays_ms.len() > most || (delays_ms.is_empty() && self.attempts_max > 1) {
                    return Err(PolicyError::ScheduleLength { given: delays_ms.len() });
                }
                delays_ms.iter().try_for_each(|&delay| check_delay("delays_seconds", delay))
            }
        }
    }

    /// Whether the policy has an attempt with this number: 1 is the first.
    #[must_use]
    pub fn allows(&self, attempt: u16) -> bool {
        attempt <= self.attempts_max
    }

    /// The wait before attempt number `attempt` (2 is the first retry; nothing waits before attempt 1).
    ///
    /// `roll` is a uniform draw from 0 to 1 and moves only [`Backoff::ExponentialJitter`]; the middle, 0.5,
    /// yields the delay itself. Never longer than the cap, nor than [`DELAY_MAX`], whatever the fields hold.
    #[must_use]
    pub fn delay_before(&self, attempt: u16, roll: f64) -> Duration {
        let Some(retry) = attempt.checked_sub(2) else { return Duration::ZERO };
        let delay_ms = match &self.backoff {
            Backoff::Fixed { delay_ms } => *delay_ms,
            Backoff::Exponential { initial_ms, max_ms } => doubled(*initial_ms, retry).min(*max_ms),
            Backoff::ExponentialJitter { initial_ms, max_ms, factor } => {
                spread(doubled(*initial_ms, retry), *factor, roll).min(*max_ms)
            }
            Backoff::Schedule { delays_ms } => {
                delays_ms.get(usize::from(retry)).or(delays_ms.last()).copied().unwrap_or(0)
            }
        };
        Duration::from_millis(delay_ms).min(DELAY_MAX)
    }
}

/// `initial · 2^retry`, or the largest number if that overflows.
fn doubled(initial_ms: u64, retry: u16) -> u64 {
    1_u64.checked_shl(u32::from(retry)).map_or_else(
        || if initial_ms == 0 { 0 } else { u64::MAX },
        |factor| initial_ms.saturating_mul(factor),
    )
}

/// `delay · (1 ± factor)`, uniform over the roll (T-48).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer saturates, and a delay that matters is far below 2^53 ms"
)]
fn spread(delay_ms: u64, factor: f64, roll: f64) -> u64 {
    let swing = (2.0 * roll - 1.0).clamp(-1.0, 1.0) * factor.clamp(0.0, 1.0);
    let swing = if swing.is_nan() { 0.0 } else { swing };
    (delay_ms as f64 * (1.0 + swing)).round() as u64
}

fn check_range(initial_ms: u64, max_ms: u64) -> Result<(), PolicyError> {
    check_delay("initial_delay_seconds", initial_ms)?;
    check_delay("max_delay_seconds", max_ms)?;
    if initial_ms > max_ms { Err(PolicyError::InitialAboveMax) } else { Ok(()) }
}

fn check_delay(field: &'static str, given_ms: u64) -> Result<(), PolicyError> {
    if Duration::from_millis(given_ms) > DELAY_MAX {
        return Err(PolicyError::Delay { field, given_ms });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(policy: &RetryPolicy, roll: f64) -> Vec<f64> {
        (1..=policy.attempts_max).map(|n| policy.delay_before(n, roll).as_secs_f64()).collect()
    }

    fn preset(name: &str) -> RetryPolicy {
        RetryPolicy::preset(name).unwrap()
    }

    /// AFF-29, ATT-21, APX-35, SOC-42, T-12 … T-15, ORD.3
    #[test]
    fn presets_follow_the_contracts_tables() {
        let table = |name| seconds(&preset(name), 0.9);
        assert_eq!(table("afftok-default"), [0., 5., 10., 30., 60., 300., 1_800., 3_600.]);
        assert_eq!(table("attribution"), [0., 60., 300., 900., 3_600.]);
        assert_eq!(table("apexmediation"), [0., 2., 4., 8.]);
        assert_eq!(table("social"), [0., 60., 300., 900., 3_600., 21_600.]);
        let standard = [5., 300., 1_800., 7_200., 18_000., 36_000., 50_400., 72_000., 86_400.];
        assert_eq!(table("standard")[1..], standard);
        assert_eq!(preset("att"), preset("attribution"));
        assert_eq!(RetryPolicy::preset("unheard-of"), None);
    }

    /// AFM-17 … AFM-20, AFM-53
    #[test]
    fn exponential_doubles_up_to_its_cap() {
        let backoff = Backoff::Exponential { initial_ms: 5_000, max_ms: 300_000 };
        let policy = RetryPolicy { attempts_max: 9, backoff };
        assert_eq!(seconds(&policy, 0.0), [0., 5., 10., 20., 40., 80., 160., 300., 300.]);
        assert_eq!(policy.delay_before(u16::MAX, 0.0), Duration::from_mins(5));
    }

    /// AFM-52
    #[test]
    fn fixed_repeats_its_delay() {
        let policy = RetryPolicy { attempts_max: 3, backoff: Backoff::Fixed { delay_ms: 7_000 } };
        assert_eq!(seconds(&policy, 1.0), [0., 7., 7.]);
        assert!(policy.allows(3) && !policy.allows(4));
    }

    /// AFM-21, AFM-54, T-48
    #[test]
    fn jitter_spreads_first_and_is_capped_after() {
        let backoff = Backoff::ExponentialJitter { initial_ms: 5_000, max_ms: 11_000, factor: 0.2 };
        let policy = RetryPolicy { attempts_max: 4, backoff };
        assert_eq!(seconds(&policy, 0.0), [0., 4., 8., 11.]);
        assert_eq!(seconds(&policy, 0.5), [0., 5., 10., 11.]);
        assert_eq!(seconds(&policy, 1.0), [0., 6., 11., 11.]);
        assert_eq!(seconds(&policy, f64::NAN), seconds(&policy, 0.5));
    }

    /// ADM.5, ADM.6, ADM.7
    #[test]
    fn what_is_out_of_range_is_named() {
        let field = |attempts_max, backoff| {
            RetryPolicy { attempts_max, backoff }.validate().err().map(|error| error.field())
        };
        let jitter = |factor| Backoff::ExponentialJitter { initial_ms: 1, max_ms: 1, factor };
        let exponential = |initial_ms, max_ms| Backoff::Exponential { initial_ms, max_ms };
        assert_eq!(field(0, jitter(0.0)), Some("max_attempts"));
        assert_eq!(field(51, jitter(0.0)), Some("max_attempts"));
        assert_eq!(field(8, exponential(u64::MAX, u64::MAX)), Some("initial_delay_seconds"));
        assert_eq!(field(8, exponential(1, 604_800_001)), Some("max_delay_seconds"));
        assert_eq!(field(8, exponential(2, 1)), Some("initial_delay_seconds"));
        assert_eq!(field(8, jitter(-0.1)), Some("jitter_factor"));
        assert_eq!(field(8, jitter(1.000_000_1)), Some("jitter_factor"));
        assert_eq!(field(8, jitter(f64::NAN)), Some("jitter_factor"));
        assert_eq!(field(2, Backoff::Schedule { delays_ms: vec![] }), Some("delays_seconds"));
        assert_eq!(field(1, Backoff::Schedule { delays_ms: vec![] }), None);
        assert_eq!(field(50, exponential(0, 604_800_000)), None);
    }

    #[test]
    fn stored_form_names_its_units() {
        let json = serde_json::to_string(&preset("apx")).unwrap();
        assert_eq!(json, r#"{"attempts_max":4,"backoff":{"schedule":{"delays_ms":[2000,4000,8000]}}}"#);
        assert_eq!(serde_json::from_str::<RetryPolicy>(&json).unwrap(), preset("apx"));
    }

    fn backoffs() -> impl Strategy<Value = Backoff> {
        let length = prop_oneof![0..10_000_u64, any::<u64>()];
        prop_oneof![
            length.clone().prop_map(|delay_ms| Backoff::Fixed { delay_ms }),
            (length.clone(), length.clone())
                .prop_map(|(initial_ms, max_ms)| Backoff::Exponential { initial_ms, max_ms }),
            (length.clone(), length.clone(), any::<f64>()).prop_map(|(initial_ms, max_ms, factor)| {
                Backoff::ExponentialJitter { initial_ms, max_ms, factor }
            }),
            proptest::collection::vec(length, 0..5).prop_map(|delays_ms| Backoff::Schedule { delays_ms }),
        ]
    }

    proptest! {
        /// ADM.6, T-48, T-49: no overflow, no delay above the cap, for any fields, attempt and roll.
        #[test]
        fn delays_stay_under_the_cap(backoff in backoffs(), attempt: u16, roll: f64) {
            let cap = match &backoff {
                Backoff::Exponential { max_ms, .. } | Backoff::ExponentialJitter { max_ms, .. } => *max_ms,
                Backoff::Fixed { .. } | Backoff::Schedule { .. } => u64::MAX,
            };
            let delay = RetryPolicy { attempts_max: 8, backoff }.delay_before(attempt, roll);
            prop_assert!(delay <= DELAY_MAX && delay <= Duration::from_millis(cap));
        }

        /// AFM-53: without jitter a later attempt never waits less.
        #[test]
        fn exponential_never_shrinks(initial_ms: u64, max_ms: u64, attempt in 1..u16::MAX) {
            let backoff = Backoff::Exponential { initial_ms, max_ms };
            let policy = RetryPolicy { attempts_max: 8, backoff };
            prop_assert!(policy.delay_before(attempt, 0.5) <= policy.delay_before(attempt + 1, 0.5));
        }
    }
}
