//! So many requests a second: a token bucket, and turns for those who share it.
//!
//! The bucket holds one second's worth of requests and starts full or empty. Nothing is ever dropped: who finds it
//! empty is told when to come again, and comes before whoever asks later. Pure: the time comes in.

use crate::domain::{bucket::Bucket, time::Timestamp};
use std::{collections::VecDeque, time::Duration};

/// How long a place in the queue is kept for one who does not come.
const PATIENCE: Duration = Duration::from_millis(200);

/// Pays out requests to the threads of one engine.
#[derive(Clone, Debug)]
pub struct Pace {
    bucket: Bucket,
    /// Who waits, and when it may come.
    turns: VecDeque<(u16, Timestamp)>,
}

impl Pace {
    /// A bucket that is full.
    #[must_use]
    pub fn full() -> Self {
        Self { bucket: Bucket::full(), turns: VecDeque::new() }
    }

    /// A bucket that is empty at this instant: what an earlier process paid out is not known.
    #[must_use]
    pub fn empty(now: Timestamp) -> Self {
        Self { bucket: Bucket::empty(now), turns: VecDeque::new() }
    }

    /// Takes one request's worth for `part`, or answers when it may come again.
    pub fn take(&mut self, part: u16, now: Timestamp, per_second: u32) -> Result<(), Timestamp> {
        self.turns.retain(|(other, due)| *other == part || now.since(*due) < PATIENCE);
        let turn = self.turns.iter().position(|(other, _)| *other == part);
        let ahead = turn.unwrap_or(self.turns.len()) as u64;
        // With everyone ahead served, the bucket must still hold one.
        let due = self.bucket.due(ahead + 1, per_second);
        if due <= now {
            self.bucket.take(1, now, per_second);
            turn.map(|at| self.turns.remove(at));
            return Ok(());
        }
        match turn {
            Some(at) => self.turns[at].1 = due,
            None => self.turns.push_back((part, due)),
        }
        Err(due)
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&mut self, per_second: u32) {
        self.bucket.give_back(1, per_second);
    }

    /// Whether anyone waits.
    #[must_use]
    pub fn is_short(&self, now: Timestamp) -> bool {
        self.turns.iter().any(|(_, due)| now.since(*due) < PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: Timestamp = Timestamp(1_700_000_000_000);

    fn at(millis: u64) -> Timestamp {
        T0.plus(Duration::from_millis(millis))
    }

    /// APX-34, T-41: 100 a second, and 100 at once after a rest.
    #[test]
    fn a_full_bucket_pays_out_a_burst_and_then_the_rate() {
        let mut pace = Pace::full();
        for _ in 0..100 {
            assert_eq!(pace.take(0, T0, 100), Ok(()));
        }
        assert_eq!(pace.take(0, T0, 100), Err(at(10)));
        assert_eq!(pace.take(0, at(9), 100), Err(at(10)));
        assert_eq!(pace.take(0, at(10), 100), Ok(()));
        assert_eq!(pace.take(0, at(10), 100), Err(at(20)));
        // A long rest fills it, and no more than that.
        let mut rested = 0;
        while pace.take(0, at(60_000), 100).is_ok() {
            rested += 1;
        }
        assert_eq!(rested, 100);
    }

    #[test]
    fn an_empty_bucket_pays_one_at_a_time() {
        let mut pace = Pace::empty(T0);
        assert_eq!(pace.take(0, T0, 2), Err(at(500)));
        assert_eq!(pace.take(0, at(500), 2), Ok(()));
        assert_eq!(pace.take(0, at(500), 2), Err(at(1_000)));
    }

    /// I8: a thread that is always a little quicker does not take the other's share.
    #[test]
    fn threads_that_share_a_bucket_take_turns() {
        let mut pace = Pace::empty(T0);
        assert_eq!(pace.take(0, T0, 10), Err(at(100)));
        assert_eq!(pace.take(1, T0, 10), Err(at(200)));
        assert_eq!(pace.take(0, at(100), 10), Ok(()));
        assert_eq!(pace.take(0, at(100), 10), Err(at(300)), "behind the one that waits already");
        assert_eq!(pace.take(0, at(200), 10), Err(at(300)));
        assert_eq!(pace.take(1, at(201), 10), Ok(()));
        assert_eq!(pace.take(1, at(201), 10), Err(at(400)));
        assert_eq!(pace.take(0, at(300), 10), Ok(()));
    }

    /// I9: a place is not kept for ever for one who needs it no more.
    #[test]
    fn one_who_does_not_come_is_passed_over() {
        let mut pace = Pace::empty(T0);
        assert_eq!(pace.take(0, T0, 10), Err(at(100)));
        assert_eq!(pace.take(1, T0, 10), Err(at(200)));
        assert_eq!(pace.take(1, at(200), 10), Ok(()), "there are two, one of them for the other");
        assert!(pace.is_short(at(200)));
        assert_eq!(pace.take(1, at(200), 10), Err(at(300)));
        assert_eq!(pace.take(1, at(299), 10), Err(at(300)));
        assert_eq!(pace.take(1, at(300), 10), Ok(()));
        assert_eq!(pace.take(1, at(300), 10), Ok(()), "the other's place was kept long enough");
        assert!(!pace.is_short(at(300)));
    }

    #[test]
    fn what_was_not_used_is_given_back() {
        let mut pace = Pace::empty(T0);
        assert_eq!(pace.take(0, at(1), 1_000), Ok(()));
        assert!(pace.take(0, at(1), 1_000).is_err());
        pace.give_back(1_000);
        assert_eq!(pace.take(0, at(1), 1_000), Ok(()));
    }

    proptest! {
        /// APX-34: over any stretch of time no more than the burst and the rate, whoever asks and when; and all
        /// that the rate allows is paid out to one who always comes when told.
        #[test]
        fn no_stretch_of_time_sees_more_than_the_rate(
            per_second in 1_u32..300,
            asks in proptest::collection::vec((0..4_u16, 0..300_u64), 1..60),
        ) {
            let mut pace = Pace::full();
            let mut now = T0;
            let mut paid: Vec<Timestamp> = Vec::new();
            for (part, wait) in asks {
                now = now.plus(Duration::from_millis(wait));
                while pace.take(part, now, per_second).is_ok() {
                    paid.push(now);
                }
            }
            for (first, from) in paid.iter().enumerate().step_by(7) {
                let within = |millis: u64| {
                    paid[first..].partition_point(|at| at.since(*from) <= Duration::from_millis(millis))
                };
                for millis in [0, 100, 1_000, 10_000] {
                    let most = u64::from(per_second) * (1_000 + millis) / 1_000 + 1;
                    prop_assert!(within(millis) as u64 <= most, "{} in {millis} ms", within(millis));
                }
            }
        }

        /// I9: one who comes when told is paid at the rate.
        #[test]
        fn one_who_comes_when_told_gets_the_whole_rate(per_second in 1_u32..1_000) {
            let mut pace = Pace::empty(T0);
            let (mut now, mut paid) = (T0, 0_u64);
            while now < at(3_000) {
                match pace.take(0, now, per_second) {
                    Ok(()) => paid += 1,
                    Err(due) => {
                        prop_assert!(due > now);
                        now = due;
                    }
                }
            }
            let wanted = u64::from(per_second) * 3;
            prop_assert!(paid + 1 >= wanted - wanted / 100, "{paid} of {wanted}");
        }
    }
}
