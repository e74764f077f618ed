//! What came of a run, for people and for programs.

use crate::plan::Plan;
use crate::receiver::Seen;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The figures of one run.
pub(crate) struct Figures {
    events: usize,
    refused: usize,
    accepted: Duration,
    deliveries: usize,
    delivered: Duration,
    /// Milliseconds from post to receiver: median, 99th percentile, longest.
    latency: Option<[f64; 3]>,
    out_of_order: usize,
    repeated: usize,
}

impl Figures {
    pub(crate) fn of(
        plan: &Plan,
        seen: &Seen,
        refused: usize,
        accepted: Duration,
        delivered: Duration,
    ) -> Self {
        let latencies = seen.latencies();
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
        Self {
            events: plan.events,
            refused,
            accepted,
            deliveries: seen.requests(),
            delivered,
            latency: (!latencies.is_empty()).then(|| [at(0.5), at(0.99), at(1.0)]),
            out_of_order: seen.out_of_order.load(Relaxed),
            repeated: seen.repeated.load(Relaxed),
        }
    }

    pub(crate) fn to_json(&self) -> String {
        let [p50, p99, max] = self.latency.unwrap_or_default();
        format!(
            r#"{{"events":{},"refused":{},"accepted_s":{:.6},"deliveries":{},"delivered_s":{:.6},"p50_ms":{p50},"p99_ms":{p99},"max_ms":{max},"out_of_order":{},"repeated":{}}}"#,
            self.events,
            self.refused,
            self.accepted.as_secs_f64(),
            self.deliveries,
            self.delivered.as_secs_f64(),
            self.out_of_order,
            self.repeated
        )
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |count: usize, time: Duration| count as f64 / time.as_secs_f64();
        let (accepted, delivered) = (self.accepted, self.delivered);
        writeln!(
            f,
            "accepted  {:>8} in {accepted:.2?}  {:>8.0} a second",
            self.events,
            rate(self.events, accepted)
        )?;
        writeln!(
            f,
            "delivered {:>8} in {delivered:.2?}  {:>8.0} a second",
            self.deliveries,
            rate(self.deliveries, delivered)
        )?;
        if let Some([p50, p99, max]) = self.latency {
            writeln!(f, "post to receiver, ms: p50 {p50:.2}  p99 {p99:.2}  max {max:.2}")?;
        }
        write!(f, "refused {}, out of order {}, repeated {}", self.refused, self.out_of_order, self.repeated)
    }
}
