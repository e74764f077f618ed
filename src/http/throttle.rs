//! Slows down whoever guesses keys: a bucket of wrong keys an address (TEN.7). Right keys never wait here.

use super::error::{ApiError, ApiResult};
use actix_web::http::StatusCode;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Wrong keys that an address has free, and how fast they come back.
const BURST: f64 = 1_000.0;
const PER_SECOND: f64 = 20.0;
/// Addresses that are remembered; beyond it those that are full again are forgotten.
const ADDRESSES_MAX: usize = 10_000;

/// Wrong keys by address.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn refilled(self, now: Instant) -> f64 {
        let back = now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND;
        (self.left + back).min(BURST)
    }
}

impl Throttle {
    /// Counts a wrong key; 429 once the address has used up what it had.
    pub(crate) fn wrong_key(&self, address: IpAddr) -> ApiResult<()> {
        self.take(address, Instant::now())
    }

    fn take(&self, address: IpAddr, now: Instant) -> ApiResult<()> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= ADDRESSES_MAX && !buckets.contains_key(&address) {
            buckets.retain(|_, bucket| bucket.refilled(now) < BURST);
            if buckets.len() >= ADDRESSES_MAX {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(address).or_insert(Bucket { left: BURST, at: now });
        let left = bucket.refilled(now) - 1.0;
        *bucket = Bucket { left: left.max(0.0), at: now };
        if left >= 0.0 {
            return Ok(());
        }
        let detail = "too many wrong keys from this address";
        Err(ApiError::later(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_wrong_keys",
            detail,
            Duration::from_secs(1),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TEN.7
    #[test]
    fn a_thousand_wrong_keys_are_free_and_more_are_refused_until_time_passes() {
        let throttle = Throttle::default();
        let (here, there) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let start = Instant::now();
        assert!((0..1_000).all(|_| throttle.take(here, start).is_ok()));
        assert!(throttle.take(here, start).is_err());
        assert!(throttle.take(there, start).is_ok());
        assert!(throttle.take(here, start + Duration::from_secs(1)).is_ok());
    }
}
