//! When each key was last used, by the minute, since the process began. Kept in memory alone: as facts they would be one
//! a request.

use crate::domain::{id::KeyId, time::Timestamp};
use dashmap::DashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// See the module. One entry a key that was used, until it is taken back.
#[derive(Debug, Default)]
pub(super) struct LastUses(DashMap<KeyId, AtomicU64>);

const MINUTE: u64 = 60_000;

impl LastUses {
    /// A key was let in.
    pub(super) fn note(&self, key: &KeyId, now: Timestamp) {
        let minute = now.as_millis() / MINUTE;
        let Some(last) = self.0.get(key) else {
            self.0.insert(key.clone(), minute.into());
            return;
        };
        // Written once a minute: readers on all threads share the line of memory.
        if last.load(Ordering::Relaxed) < minute {
            last.fetch_max(minute, Ordering::Relaxed);
        }
    }

    /// The minute in which that was last so.
    pub(super) fn of(&self, key: &KeyId) -> Option<Timestamp> {
        self.0.get(key).map(|last| Timestamp(last.load(Ordering::Relaxed) * MINUTE))
    }

    /// A key is no more.
    pub(super) fn forget(&self, key: &KeyId) {
        self.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_use_is_told_by_the_minute_and_never_goes_back() {
        let (uses, key) = (LastUses::default(), KeyId::new("key_1"));
        assert_eq!(uses.of(&key), None);
        for (at, last) in [(60_001, 60_000), (119_999, 60_000), (120_000, 120_000), (61_000, 120_000)] {
            uses.note(&key, Timestamp(at));
            assert_eq!(uses.of(&key), Some(Timestamp(last)), "{at}");
        }
        assert_eq!(uses.of(&KeyId::new("key_2")), None);
        uses.forget(&key);
        assert_eq!(uses.of(&key), None);
    }
}
