//! How often a part may fail before it is given up, and how long to wait in between. Pure.

use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// The rule: so many failures within a period are too many.
#[derive(Clone, Copy, Debug)]
pub struct RestartPolicy {
    /// The failure with this number within `period` is the last.
    pub max: usize,
    /// The window.
    pub period: Duration,
    /// Wait after the first failure; doubles with each further one in the window.
    pub backoff: Duration,
    /// No wait is longer.
    pub backoff_max: Duration,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start again after this wait.
    Restart(Duration),
    /// Too often.
    GiveUp,
}

/// The recent failures of one part.
#[derive(Debug, Default)]
pub struct History {
    recent: VecDeque<Instant>,
}

impl History {
    /// Takes note of a failure and decides.
    pub fn failed(&mut self, now: Instant, policy: &RestartPolicy) -> Decision {
        while self.recent.front().is_some_and(|then| now.duration_since(*then) > policy.period) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        if self.recent.len() >= policy.max {
            return Decision::GiveUp;
        }
        let doublings = u32::try_from(self.recent.len() - 1).unwrap_or(u32::MAX).min(16);
        Decision::Restart(policy.backoff.saturating_mul(1 << doublings).min(policy.backoff_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RestartPolicy = RestartPolicy {
        max: 5,
        period: Duration::from_mins(1),
        backoff: Duration::from_millis(100),
        backoff_max: Duration::from_millis(300),
    };

    /// SUP.4
    #[test]
    fn the_fifth_failure_in_a_minute_is_the_last() {
        let (mut history, now) = (History::default(), Instant::now());
        let waits: Vec<_> = (0..5).map(|_| history.failed(now, &POLICY)).collect();
        let ms = |n| Decision::Restart(Duration::from_millis(n));
        assert_eq!(waits, [ms(100), ms(200), ms(300), ms(300), Decision::GiveUp]);
    }

    #[test]
    fn failures_outside_the_window_are_forgiven() {
        let (mut history, start) = (History::default(), Instant::now());
        for n in 0..20 {
            let decision = history.failed(start + Duration::from_secs(61 * n), &POLICY);
            assert_eq!(decision, Decision::Restart(Duration::from_millis(100)));
        }
    }
}
