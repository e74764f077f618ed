//! Staying awake while the log writes, where one delivery after the other waits for it alone.
//!
//! A thread that sleeps is woken after each sync, and on an idle machine that takes as long as a fifth of the sync. So
//! it looks again and again instead, as long as syncs are short and follow one upon the other. It does nothing else
//! meanwhile that could wait: whatever comes in is seen as soon as if it slept.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// How long a wait may take, and how soon it has to follow the one before: two syncs of a common disk.
pub(crate) const PATIENCE: Duration = Duration::from_micros(500);

/// Decides whether to look again or to sleep.
pub(super) struct Patience {
    /// Zero sleeps at once: where the order of tasks must not depend on time.
    max: Duration,
    since: Cell<Option<Instant>>,
    /// When the last wait ended, if it was a short one.
    last: Cell<Option<Instant>>,
    /// The wait under way follows soon upon a short one.
    soon: Cell<bool>,
}

impl Patience {
    pub(super) fn new(max: Duration) -> Self {
        Self { max, since: Cell::default(), last: Cell::default(), soon: Cell::default() }
    }

    /// Something waits for the log from now on.
    pub(super) fn begin(&self) {
        if !self.max.is_zero() && self.since.get().is_none() {
            let now = Instant::now();
            self.soon.set(self.last.get().is_some_and(|last| now - last < self.max));
            self.since.set(Some(now));
        }
    }

    /// Nothing waits any more.
    pub(super) fn end(&self) {
        if let Some(since) = self.since.take() {
            let now = Instant::now();
            self.last.set((now - since < self.max).then_some(now));
        }
    }

    /// Whether to look again at once.
    pub(super) fn lasts(&self) -> bool {
        self.soon.get() && self.since.get().is_some_and(|since| since.elapsed() < self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beyond what any test takes.
    const LONG: Duration = Duration::from_hours(1);

    #[test]
    fn the_first_wait_sleeps_and_those_that_follow_upon_a_short_one_do_not() {
        let patience = Patience::new(LONG);
        patience.begin();
        assert!(!patience.lasts(), "nothing came before it");
        patience.end();
        assert!(!patience.lasts(), "nothing waits");
        patience.begin();
        assert!(patience.lasts());
    }

    #[test]
    fn a_long_wait_is_given_up_and_the_next_one_sleeps() {
        let patience = Patience::new(Duration::from_nanos(1));
        for _ in 0..3 {
            patience.begin();
            std::thread::yield_now();
            assert!(!patience.lasts());
            patience.end();
        }
    }

    #[test]
    fn without_patience_no_clock_is_asked() {
        let patience = Patience::new(Duration::ZERO);
        patience.begin();
        assert_eq!(patience.since.get(), None);
        patience.end();
        patience.begin();
        assert!(!patience.lasts());
    }
}
