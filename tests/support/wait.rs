//! Waiting for a condition with a deadline; nothing in the tests waits for time to pass.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Waits up to half a minute, times `TEST_PATIENCE`, until `look` finds something.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(Duration::from_secs(30), what, look)
}

/// Waits until `look` finds something; panics with `what` after `patience`.
#[track_caller]
pub(crate) fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let patience = patience.mul_f64(number("TEST_PATIENCE", 1.0));
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < patience, "waited {patience:?} in vain: {what}");
        thread::sleep(LOOK);
    }
}

/// A number from the environment, for runs that are larger or more patient than usual.
pub(crate) fn number<T: std::str::FromStr>(variable: &str, usual: T) -> T {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
