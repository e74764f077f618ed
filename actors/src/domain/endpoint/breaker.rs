//! The circuit breaker of one endpoint: when it opens, who may probe, and how lanes come back.
//!
//! ```text
//!            enough failures in a row, of enough lanes, over enough time
//!   closed ───────────────────────────────────────────────────────────> open ──┐ a probe fails:
//!     ▲                                                                  │ ▲   │ a longer wait
//!     │  window grows past its end            one probe, when it is due  ▼ └───┘
//!   ramping <───────────── any answer but a failure ──────────────── probing
//! ```
//! A probe is no request of its own: it is the first delivery that is due, and its attempt counts as any other. What
//! waits meanwhile has its place, its due time and its attempts as they were. A lane that fails alone therefore never
//! sees its schedule changed: its retry is the probe.
//!
//! Pure: time comes in, facts come out. Only the [`Circuit`] is state that facts bring back; the row of failures that
//! leads to an opening, the probe under way and the ramp behind it are lost with the process, which then starts
//! closed or with an opening whose probe is due.

use super::{Circuit, Opening};
use crate::domain::{by::By, event::EndpointEvent, id::LaneKey, outcome::OutcomeClass, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// When a breaker opens, and how it probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerPolicy {
    /// Failures in a row, without one other answer between them: 1 to 10,000.
    pub failures: u32,
    /// Of at least so many resources: 1 to 100.
    pub resources: u16,
    /// From the first of them to the last, in seconds: 0 to 3,600.
    pub seconds: u32,
    /// From the opening to the first probe, in seconds: 1 to 3,600. Doubles with each probe that fails.
    pub probe_seconds: u32,
    /// The longest wait for a probe, in seconds: `probe_seconds` to 3,600.
    pub probe_seconds_max: u32,
}

impl Default for BreakerPolicy {
    /// Careful: a hundred lanes that fail all of the default policy's attempts do not open it, so that their schedule
    /// is the documented one; and five seconds after a receiver is well again it is asked.
    fn default() -> Self {
        Self { failures: 1_000, resources: 50, seconds: 60, probe_seconds: 1, probe_seconds_max: 5 }
    }
}

/// A field of a policy that is out of range, as the API spells it, and its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is to be an integer from {least} to {most}")]
pub struct BreakerError {
    /// The field.
    pub field: &'static str,
    least: u32,
    most: u32,
}

impl BreakerPolicy {
    /// Checks every field against its range.
    pub fn validate(&self) -> Result<(), BreakerError> {
        let resources = u32::from(self.resources);
        for (field, value, least, most) in [
            ("failures", self.failures, 1, 10_000),
            ("resources", resources, 1, 100),
            ("seconds", self.seconds, 0, 3_600),
            ("probe_seconds", self.probe_seconds, 1, 3_600),
            ("probe_seconds_max", self.probe_seconds_max, self.probe_seconds, 3_600),
        ] {
            if !(least..=most).contains(&value) {
                return Err(BreakerError { field, least, most });
            }
        }
        Ok(())
    }

    /// The wait for the next probe when so many have failed.
    fn wait(&self, probes: u32) -> Duration {
        let doubled = u64::from(self.probe_seconds).saturating_mul(1 << probes.min(16));
        Duration::from_secs(doubled.min(self.probe_seconds_max.into()))
    }
}

/// What a pipeline says of breakers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerSetting {
    /// There are none.
    Off,
    /// One for each URL.
    On(BreakerPolicy),
}

impl Default for BreakerSetting {
    fn default() -> Self {
        Self::On(BreakerPolicy::default())
    }
}

impl BreakerSetting {
    /// The policy, if there is one.
    #[must_use]
    pub fn policy(&self) -> Option<&BreakerPolicy> {
        match self {
            Self::Off => None,
            Self::On(policy) => Some(policy),
        }
    }

    /// Whether it says what holds without it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What the end of an attempt tells of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answered, and with no failure of its own: also 4xx, which concerns the request.
    Alive,
    /// 5xx, 429, no answer, or none in time.
    Failing,
    /// Nothing: it was never asked, or nobody knows what came of it.
    Silent,
}

impl Health {
    /// What an outcome tells.
    #[must_use]
    pub fn of(class: OutcomeClass, status: Option<u16>) -> Self {
        match class {
            OutcomeClass::HttpError if status.is_none_or(|status| status >= 500 || status == 429) => {
                Self::Failing
            }
            OutcomeClass::Success | OutcomeClass::HttpError => Self::Alive,
            OutcomeClass::Timeout
            | OutcomeClass::ConnectionRefused
            | OutcomeClass::DnsError
            | OutcomeClass::TlsError
            | OutcomeClass::ProtocolError => Self::Failing,
            // Our own rules kept the request back, or it could not be built, or a crash fell into it.
            OutcomeClass::BlockedAddress
            | OutcomeClass::TemplateError
            | OutcomeClass::Unknown
            | OutcomeClass::ProxyError => Self::Silent,
        }
    }
}

/// What goes under the breaker's eyes, and is told to it when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The one attempt that finds out whether the endpoint is back.
    Probe,
    /// One of the few at a time that follow a probe.
    Ramp,
}

/// Whether an attempt may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Yes, and the breaker need not be told that it ended.
    Free,
    /// Yes, as this.
    Under(Pass),
    /// Not before this instant; without one, not before something else has ended.
    Wait(Option<Timestamp>),
}

/// How an attempt ended, for the breaker.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// What it went as.
    pub pass: Option<Pass>,
    /// What it tells.
    pub health: Health,
    /// Whose it was.
    pub lane: LaneKey,
    /// When it ended.
    pub now: Timestamp,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    circuit: Circuit,
    row: Row,
    probing: bool,
    ramp: Option<Ramp>,
    /// Attempts of this and of earlier ramps that are under way.
    ramping: u32,
}

/// Failures without another answer between them.
#[derive(Clone, Debug, Default)]
struct Row {
    failures: u32,
    since: Timestamp,
    /// Different lanes among them, as many as the policy asks for.
    lanes: Vec<LaneKey>,
}

/// How many may be under way while lanes come back: more with each answer, fewer with each failure.
#[derive(Clone, Debug)]
struct Ramp {
    window: u32,
    /// Whose failure came last.
    failed: Option<LaneKey>,
}

impl Ramp {
    /// Attempts at a time right behind a probe.
    const FIRST: u32 = 2;
    /// With a window wider than this, only the limits of every healthy endpoint hold.
    const LAST: u32 = 32;
}

impl Breaker {
    /// A breaker as facts left it.
    #[must_use]
    pub fn of(circuit: Circuit) -> Self {
        Self { circuit, ..Self::default() }
    }

    /// What facts would bring back.
    #[must_use]
    pub fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    /// Whether a probe is under way.
    #[must_use]
    pub fn is_probing(&self) -> bool {
        self.circuit.opening().is_some() && self.probing
    }

    /// Whether it lets everything through unasked.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.circuit.opening().is_none() && self.ramp.is_none()
    }

    /// Whether it counts failures.
    #[must_use]
    pub fn is_counting(&self) -> bool {
        self.row.failures > 0
    }

    /// May an attempt start? Whoever gets a [`Pass`] reports its end with it.
    pub fn admit(&mut self, now: Timestamp) -> Admission {
        match (self.circuit.opening(), &self.ramp) {
            (Some(_), _) if self.probing => Admission::Wait(None),
            (Some(opening), _) if now < opening.probe_at => Admission::Wait(Some(opening.probe_at)),
            (Some(_), _) => {
                self.probing = true;
                Admission::Under(Pass::Probe)
            }
            (None, Some(ramp)) if self.ramping >= ramp.window => Admission::Wait(None),
            (None, Some(_)) => {
                self.ramping += 1;
                Admission::Under(Pass::Ramp)
            }
            (None, None) => Admission::Free,
        }
    }

    /// An attempt has ended; what follows from it for `url`, which is to be written down and has come true here.
    pub fn report(&mut self, url: &str, report: Report, policy: &BreakerPolicy) -> Option<EndpointEvent> {
        let Report { pass, health, lane, now } = report;
        self.back(pass);
        let event = match (health, self.circuit.opening()) {
            (Health::Silent, _) => None,
            // Also one that went out before the opening: it was answered now.
            (Health::Alive, Some(_)) => Some(self.closed(url, None)),
            (Health::Alive, None) => {
                self.row = Row::default();
                if pass == Some(Pass::Ramp) {
                    self.widen();
                }
                None
            }
            (Health::Failing, Some(opening)) => {
                let probes = opening.probes + 1;
                let again = Opening { probes, probe_at: now.plus(policy.wait(probes)), ..*opening };
                // Others that were under way when it opened tell nothing new.
                (pass == Some(Pass::Probe)).then(|| self.opened(url, again))
            }
            (Health::Failing, None) => {
                self.row.add(lane, now, policy);
                let relapsed = pass == Some(Pass::Ramp) && self.narrow(lane);
                let opening = Opening {
                    since: now,
                    failures: self.row.failures,
                    probes: 0,
                    probe_at: now.plus(policy.wait(0)),
                };
                (relapsed || self.row.is_enough(now, policy)).then(|| self.opened(url, opening))
            }
        }?;
        self.evolve(&event);
        Some(event)
    }

    /// Something went and will not be reported, or did not go after all.
    pub fn back(&mut self, pass: Option<Pass>) {
        match pass {
            Some(Pass::Probe) => self.probing = false,
            Some(Pass::Ramp) => self.ramping = self.ramping.saturating_sub(1),
            None => {}
        }
    }

    /// Someone closes it by hand; `None` if it is not open. Has come true here.
    pub fn close(&mut self, url: &str, by: By) -> Option<EndpointEvent> {
        self.circuit.opening()?;
        let event = self.closed(url, Some(by));
        self.evolve(&event);
        Some(event)
    }

    fn evolve(&mut self, event: &EndpointEvent) {
        self.circuit.evolve(event);
        self.row = Row::default();
        let closed = self.circuit.opening().is_none();
        self.ramp = closed.then_some(Ramp { window: Ramp::FIRST, failed: None });
    }

    fn opened(&self, url: &str, opening: Opening) -> EndpointEvent {
        EndpointEvent::EndpointOpened { url: url.into(), change: self.circuit.next_change(), opening }
    }

    fn closed(&self, url: &str, by: Option<By>) -> EndpointEvent {
        EndpointEvent::EndpointClosed { url: url.into(), change: self.circuit.next_change(), by }
    }

    fn widen(&mut self) {
        let Some(ramp) = &mut self.ramp else { return };
        (ramp.window, ramp.failed) = (ramp.window + 1, None);
        if ramp.window > Ramp::LAST {
            self.ramp = None;
        }
    }

    /// Answers whether the endpoint is down again: a window of one, and another lane than the last one failed.
    /// One lane alone may be failing for reasons of its own.
    fn narrow(&mut self, lane: LaneKey) -> bool {
        let Some(ramp) = &mut self.ramp else { return false };
        let another = ramp.failed.is_some_and(|last| last != lane);
        let down = ramp.window == 1 && another;
        (ramp.window, ramp.failed) = ((ramp.window / 2).max(1), Some(lane));
        down
    }
}

impl Row {
    fn add(&mut self, lane: LaneKey, now: Timestamp, policy: &BreakerPolicy) {
        if self.failures == 0 {
            self.since = now;
        }
        self.failures = self.failures.saturating_add(1);
        if self.lanes.len() < usize::from(policy.resources) && !self.lanes.contains(&lane) {
            self.lanes.push(lane);
        }
    }

    fn is_enough(&self, now: Timestamp, policy: &BreakerPolicy) -> bool {
        self.failures >= policy.failures
            && self.lanes.len() >= usize::from(policy.resources)
            && now.since(self.since) >= Duration::from_secs(policy.seconds.into())
    }
}

#[cfg(test)]
mod tests;
