//! What the operator lets a tenant post (TEN.8): so many events a second, and none while it leaves too many dead letters
//! lying. Stands before everything else, so that what is refused costs the others nothing.

use crate::{
    dead_letters::OpenCounts,
    domain::{
        bucket::Bucket,
        id::TenantId,
        quota::{Quota, Quotas},
        time::Timestamp,
    },
    error::EngineError,
};
use dashmap::DashMap;
use std::time::Duration;

/// How long a tenant with too many dead letters is told to stay away: someone has to look at them.
const WHILE_DEAD: u32 = 60;

/// Counts what tenants with quotas post.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// Full at a start: what an earlier process let in is not known. A deleted tenant's stays, some bytes, until the
    /// process ends.
    buckets: DashMap<TenantId, Bucket>,
    dead_letters: OpenCounts,
}

impl Allowance {
    pub(crate) fn new(dead_letters: OpenCounts) -> Self {
        Self { buckets: DashMap::new(), dead_letters }
    }

    /// Takes so many events off what the tenant may post, or answers which quota does not allow them.
    pub(crate) fn take(
        &self,
        tenant: &TenantId,
        quotas: &Quotas,
        events: usize,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        let exceeded = |quota, max, seconds| {
            Err(EngineError::QuotaExceeded { quota, max, retry_after_seconds: Some(seconds) })
        };
        if let Some(max) = quotas.get(Quota::DeadLetters).filter(|max| self.dead_letters.of(tenant) >= *max) {
            return exceeded(Quota::DeadLetters, max, WHILE_DEAD);
        }
        let Some(per_second) = quotas.events_per_second() else { return Ok(()) };
        let mut bucket = self.buckets.entry(tenant.clone()).or_insert_with(Bucket::full);
        let events = events as u64;
        // A batch beyond the rate passes when the bucket is full, and is paid off afterwards: else it never could.
        let due = bucket.due(events.min(per_second.into()), per_second);
        if due > now {
            return exceeded(Quota::EventsPerSecond, per_second.into(), whole_seconds(due.since(now)));
        }
        bucket.take(events, now, per_second);
        Ok(())
    }

    /// Gives back what was taken for events that were refused for another reason.
    pub(crate) fn give_back(&self, tenant: &TenantId, quotas: &Quotas, events: usize) {
        if let Some(per_second) = quotas.events_per_second()
            && let Some(mut bucket) = self.buckets.get_mut(tenant)
        {
            bucket.give_back(events as u64, per_second);
        }
    }

    /// How many events count against a rate at this moment.
    pub(crate) fn taken(&self, tenant: &TenantId, per_second: u32, now: Timestamp) -> u64 {
        self.buckets.get(tenant).map_or(0, |bucket| bucket.taken(now, per_second))
    }

    /// How many dead letters of a tenant are open.
    pub(crate) fn dead_letters(&self, tenant: &TenantId) -> u64 {
        self.dead_letters.of(tenant)
    }
}

fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: u64 = 1_700_000_000_000;

    fn quotas(quota: Quota, most: u64) -> Quotas {
        Quotas::default().with([(quota, Some(most))])
    }

    fn refusal(answer: Result<(), EngineError>) -> Option<(Quota, u64, u32)> {
        match answer {
            Ok(()) => None,
            Err(EngineError::QuotaExceeded { quota, max, retry_after_seconds }) => {
                Some((quota, max, retry_after_seconds.unwrap()))
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// TEN.8: the rate is the tenant's own, and who has none set is not counted.
    #[test]
    fn a_tenant_posts_at_its_rate_and_leaves_the_others_alone() {
        let allowance = Allowance::new(OpenCounts::default());
        let (loud, quiet) = (TenantId::new("loud"), TenantId::new("quiet"));
        let ten = quotas(Quota::EventsPerSecond, 10);
        let take = |tenant, events, at| refusal(allowance.take(tenant, &ten, events, Timestamp(T0 + at)));
        assert_eq!(take(&loud, 7, 0), None);
        assert_eq!(take(&loud, 3, 0), None);
        assert_eq!(take(&loud, 1, 0), Some((Quota::EventsPerSecond, 10, 1)));
        assert_eq!(take(&quiet, 10, 0), None);
        assert_eq!((take(&loud, 1, 99).is_some(), take(&loud, 1, 100)), (true, None));
        assert_eq!(allowance.taken(&loud, 10, Timestamp(T0 + 100)), 10);
        let unset = Quotas::default();
        assert!((0..1_000).all(|_| allowance.take(&loud, &unset, 1_000, Timestamp(T0)).is_ok()));
    }

    /// TEN.8: a batch counts each of its events, also those beyond the rate.
    #[test]
    fn a_batch_beyond_the_rate_passes_once_and_is_paid_off() {
        let allowance = Allowance::new(OpenCounts::default());
        let (tenant, ten) = (TenantId::new("a"), quotas(Quota::EventsPerSecond, 10));
        let take = |events, at| refusal(allowance.take(&tenant, &ten, events, Timestamp(T0 + at)));
        assert_eq!(take(1, 0), None);
        assert_eq!(take(50, 0), Some((Quota::EventsPerSecond, 10, 1)), "not while anything was taken");
        assert_eq!(take(50, 100), None);
        assert_eq!(take(1, 100), Some((Quota::EventsPerSecond, 10, 5)));
        assert_eq!(take(50, 1_100), Some((Quota::EventsPerSecond, 10, 4)));
        assert_eq!((take(1, 4_199).is_some(), take(1, 4_200)), (true, None));
    }

    #[test]
    fn what_was_refused_for_another_reason_does_not_count() {
        let allowance = Allowance::new(OpenCounts::default());
        let (tenant, one) = (TenantId::new("a"), quotas(Quota::EventsPerSecond, 1));
        assert!(allowance.take(&tenant, &one, 1, Timestamp(T0)).is_ok());
        allowance.give_back(&tenant, &one, 1);
        assert!(allowance.take(&tenant, &one, 1, Timestamp(T0)).is_ok());
    }

    /// TEN.8: with as many dead letters as it may have a tenant posts nothing, and once one is gone it does.
    #[test]
    fn dead_letters_up_to_the_quota_hold_events_back() {
        let counts = OpenCounts::default();
        let allowance = Allowance::new(counts.clone());
        let (tenant, two) = (TenantId::new("a"), quotas(Quota::DeadLetters, 2));
        let take = || refusal(allowance.take(&tenant, &two, 1, Timestamp(T0)));
        counts.set(&tenant, 1);
        assert_eq!(take(), None);
        counts.set(&tenant, 2);
        assert_eq!(take(), Some((Quota::DeadLetters, 2, WHILE_DEAD)));
        counts.set(&tenant, 0);
        assert_eq!(take(), None);
    }
}
