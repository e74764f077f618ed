//! The time in the body of an event that came without one (T-10, T-11).
//!
//! Receivers of envelopes without an id tell events apart by type and time, as ApexMediation's document shows them
//! how (APX-18). So no two events of one tenant and type get the same: whole seconds, as the contracts print them;
//! milliseconds where the second is taken, and microseconds where even the millisecond is. Decided at acceptance and
//! kept in the log, so that every attempt and every replay sends the same bytes.

use crate::domain::{
    id::TenantId,
    time::{Moment, Timestamp},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
};

const SHARDS: usize = 16;
/// Types in a shard before those whose second is over are forgotten.
const FULL: usize = 1024;

/// What was given last, by tenant and type.
pub(crate) struct Moments {
    /// Everything that was given before the process began is at most this.
    floor: Moment,
    hash: RandomState,
    /// A hash in place of the names: two that meet cost each other a few digits, and nothing else.
    last: [Mutex<HashMap<u64, Moment>>; SHARDS],
}

impl Moments {
    /// For a log that ends at this time.
    pub(crate) fn after(end: Timestamp) -> Self {
        let floor = Moment::last_of(end);
        Self { floor, hash: RandomState::new(), last: std::array::from_fn(|_| Mutex::default()) }
    }

    /// The time of an event that is accepted now; `None` where that is the whole second.
    pub(crate) fn give(&self, tenant: &TenantId, event_type: &str, now: Timestamp) -> Option<Moment> {
        let key = self.hash.hash_one((tenant.as_str(), event_type));
        let second = Moment::second_of(now);
        let shard = usize::try_from(key % SHARDS as u64).unwrap_or(0);
        let mut last = self.last[shard].lock();
        if last.len() >= FULL {
            last.retain(|_, given| *given >= second);
        }
        let last = last.entry(key).or_insert(self.floor);
        let candidates = [second, Moment::millisecond_of(now), last.next()];
        // The last of them always is.
        let given = candidates.into_iter().find(|candidate| candidate > last).unwrap_or(second);
        *last = given;
        (given != second).then_some(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(moments: &Moments, event_type: &str, at: u64) -> String {
        let (tenant, at) = (TenantId::new("t"), Timestamp(at));
        moments.give(&tenant, event_type, at).unwrap_or(Moment::second_of(at)).to_iso()
    }

    /// T-10
    #[test]
    fn digits_come_only_where_the_second_is_taken() {
        let moments = Moments::after(Timestamp::EPOCH);
        let at = |event_type, at| text(&moments, event_type, at);
        assert_eq!(at("fraud.detected", 5_250), "1970-01-01T00:00:05Z");
        assert_eq!(at("payout.failed", 5_250), "1970-01-01T00:00:05Z", "another type");
        assert_eq!(at("fraud.detected", 5_250), "1970-01-01T00:00:05.250Z");
        assert_eq!(at("fraud.detected", 5_250), "1970-01-01T00:00:05.250001Z");
        assert_eq!(at("fraud.detected", 5_251), "1970-01-01T00:00:05.251Z");
        assert_eq!(at("fraud.detected", 6_000), "1970-01-01T00:00:06Z");
    }

    /// What the process before gave is not known any more, and not given again.
    #[test]
    fn a_start_gives_nothing_that_was_given() {
        let moments = Moments::after(Timestamp(5_250));
        assert_eq!(text(&moments, "a", 5_250), "1970-01-01T00:00:05.251Z");
        assert_eq!(text(&moments, "b", 5_300), "1970-01-01T00:00:05.300Z");
        assert_eq!(text(&moments, "b", 6_100), "1970-01-01T00:00:06Z");
    }

    #[test]
    fn types_whose_second_is_over_are_forgotten() {
        let moments = Moments::after(Timestamp::EPOCH);
        for n in 0..100_000 {
            text(&moments, &format!("type.n{n}"), 1_000 + n);
        }
        let kept: usize = moments.last.iter().map(|shard| shard.lock().len()).sum();
        assert!(kept <= SHARDS * FULL, "{kept}");
    }

    proptest! {
        /// T-10: never the same twice, whatever the clock does as long as it does not go back.
        #[test]
        fn no_two_events_of_a_type_have_the_same_time(steps in proptest::collection::vec(0..700_u64, 1..60)) {
            let (moments, mut now) = (Moments::after(Timestamp::EPOCH), 10_000);
            let mut seen = std::collections::HashSet::new();
            for step in steps {
                now += step.saturating_sub(350);
                prop_assert!(seen.insert(text(&moments, "a", now)));
            }
        }
    }
}
