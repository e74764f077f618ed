//! A token bucket that holds one second's worth. Pure: the time comes in.

use super::time::Timestamp;

/// Known by one instant alone: when it will be full again, in nanoseconds. One that more was taken from than it held
/// pays that back first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// One that is full.
    #[must_use]
    pub fn full() -> Self {
        Self { full_at: 0 }
    }

    /// One that is empty at this instant.
    #[must_use]
    pub fn empty(now: Timestamp) -> Self {
        Self { full_at: nanos(now).saturating_add(SECOND) }
    }

    /// When it holds so many.
    #[must_use]
    pub fn due(&self, count: u64, per_second: u32) -> Timestamp {
        let wanted = step(per_second).saturating_mul(count);
        Timestamp(self.full_at.saturating_add(wanted).saturating_sub(SECOND).div_ceil(1_000_000))
    }

    /// Takes so many, whether it holds them or not.
    pub fn take(&mut self, count: u64, now: Timestamp, per_second: u32) {
        let taken = step(per_second).saturating_mul(count);
        self.full_at = self.full_at.max(nanos(now)).saturating_add(taken);
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&mut self, count: u64, per_second: u32) {
        self.full_at = self.full_at.saturating_sub(step(per_second).saturating_mul(count));
    }

    /// How many were taken that have not come back yet.
    #[must_use]
    pub fn taken(&self, now: Timestamp, per_second: u32) -> u64 {
        self.full_at.saturating_sub(nanos(now)).div_ceil(step(per_second))
    }
}

/// One second in nanoseconds: how much the bucket holds.
const SECOND: u64 = 1_000_000_000;

/// What one takes. Rounded down, so that a full bucket holds as many as its rate says.
fn step(per_second: u32) -> u64 {
    (SECOND / u64::from(per_second.max(1))).max(1)
}

fn nanos(at: Timestamp) -> u64 {
    at.as_millis().saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: u64 = 1_700_000_000_000;

    #[test]
    fn a_full_bucket_holds_what_its_rate_says() {
        for per_second in [1, 3, 7, 100, 500_000, 1_000_000] {
            let (mut bucket, all) = (Bucket::full(), u64::from(per_second));
            bucket.take(all - 1, Timestamp(T0), per_second);
            assert!(bucket.due(1, per_second) <= Timestamp(T0), "{per_second}");
            bucket.take(1, Timestamp(T0), per_second);
            assert!(bucket.due(1, per_second) > Timestamp(T0), "{per_second}");
            assert_eq!(bucket.taken(Timestamp(T0), per_second), all);
            assert!(bucket.due(all, per_second) <= Timestamp(T0 + 1_000), "{per_second}");
        }
    }

    /// More than it holds is paid back at the rate: over time nobody gets more than that.
    #[test]
    fn what_was_taken_beyond_it_is_owed() {
        let mut bucket = Bucket::full();
        bucket.take(50, Timestamp(T0), 10);
        assert_eq!(bucket.taken(Timestamp(T0), 10), 50);
        assert_eq!(bucket.due(1, 10), Timestamp(T0 + 4_100));
        assert_eq!(bucket.taken(Timestamp(T0 + 4_000), 10), 10);
        bucket.give_back(50, 10);
        assert_eq!((bucket.taken(Timestamp(T0), 10), bucket.due(10, 10)), (0, Timestamp(T0)));
    }
}
