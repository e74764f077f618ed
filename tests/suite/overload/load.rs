//! Clients that post as fast as they are let.

use crate::support::{Api, make::conversion};
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Posts one event after the other until it is told to stop; counts what was accepted and what was refused. Whatever
/// else comes back, or nothing, is a failure (I33).
pub(super) struct Producer<'a> {
    pub(super) address: SocketAddr,
    pub(super) key: &'a str,
    pub(super) prefix: String,
    pub(super) pause: Duration,
    /// Bytes that each event is padded with.
    pub(super) pad: usize,
}

impl Producer<'_> {
    pub(super) fn run(
        &self,
        stop: &AtomicBool,
        accepted: &AtomicUsize,
        refused: &AtomicUsize,
    ) -> Vec<Duration> {
        let api = Api::new(self.address, self.key);
        let mut took = Vec::new();
        for n in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let prefix = &self.prefix;
            let mut event = conversion(&format!("{prefix}_{n}"), &format!("{prefix}_{}", n % 20), n);
            event["data"]["pad"] = "x".repeat(self.pad).into();
            let began = Instant::now();
            match api.try_send("POST", "/api/events", Some(event.to_string().as_bytes())) {
                Ok(answer) if answer.status == 202 => {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    took.push(began.elapsed());
                }
                Ok(answer) if matches!(answer.status, 429 | 503) => {
                    assert!(answer.message.header("retry-after").is_some(), "{answer:?}");
                    refused.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(5));
                }
                Ok(answer) => panic!("{answer:?}"),
                Err(error) => panic!("no answer to event {n} of {prefix}: {error}"),
            }
            thread::sleep(self.pause);
        }
        took
    }
}
