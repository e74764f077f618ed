//! The endpoints of one pipeline at work: what the threads that serve it share.
//!
//! Lanes are dealt to threads, receivers are not: all of them call the same URLs, so breaker and pace of a URL lie in
//! one place that each asks before an attempt is written down. The place of a healthy URL without a rate is one
//! atomic that says so. Whoever is told to wait is woken when the reason for it is gone.
//!
//! It outlives panics of workers, and comes back from the log at a start (see [`Circuits`]).

use crate::domain::{
    by::By,
    delivery::HeldReason,
    endpoint::{
        Circuit, Circuits, Opening,
        breaker::{Admission, Breaker, Health, Pass, Report},
        pace::Pace,
    },
    event::EndpointEvent,
    id::LaneKey,
    step::Control,
    time::Timestamp,
};
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
};

/// How an endpoint stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointState {
    /// `closed`, `open`, `half_open`, `recovering`.
    pub name: &'static str,
    /// What is known of it while it is not closed.
    pub opening: Option<Opening>,
    /// Why what is due waits, if it does. What waits for an open breaker is held whether it is due or not.
    pub held: Option<HeldReason>,
}

impl EndpointState {
    /// One that was never in trouble.
    pub const CLOSED: Self = Self { name: "closed", opening: None, held: None };

    /// Why a delivery that goes there next is held, if it is; its own time comes at `due`.
    #[must_use]
    pub fn holds(&self, due: Option<Timestamp>, now: Timestamp) -> Option<HeldReason> {
        let is_due = due.is_none_or(|due| due <= now);
        self.held.filter(|_| is_due || self.opening.is_some())
    }
}

/// Wakes the worker of one part.
type Bell = Arc<dyn Fn() + Send + Sync>;

/// Bells by part.
type Bells = Mutex<Vec<Option<Bell>>>;

/// See the module.
pub(crate) struct Endpoints {
    by_url: Mutex<HashMap<Arc<str>, Arc<Endpoint>>>,
    bells: Arc<Bells>,
    /// Circuits to begin with.
    folded: Circuits,
    /// What buckets begin with.
    pace: Pace,
    /// Nothing starts under this version of the configuration or an earlier one: a receiver said that it is gone.
    shut: AtomicU32,
}

impl Default for Endpoints {
    /// Those of a pipeline that has just been made.
    fn default() -> Self {
        Self::folded(Circuits::default(), Pace::full())
    }
}

impl Endpoints {
    /// Those of a pipeline that was there before the process.
    pub(crate) fn folded(folded: Circuits, pace: Pace) -> Self {
        Self { by_url: Mutex::default(), bells: Arc::default(), folded, pace, shut: AtomicU32::new(0) }
    }

    /// The endpoint of a URL.
    pub(crate) fn of(&self, url: &str) -> Arc<Endpoint> {
        let mut by_url = self.by_url.lock();
        if let Some(known) = by_url.get(url) {
            return Arc::clone(known);
        }
        let url: Arc<str> = url.into();
        let (circuit, pace) = (self.folded.of(&url), self.pace.clone());
        let new = Arc::new(Endpoint::new(Arc::clone(&url), circuit, pace, Arc::clone(&self.bells)));
        by_url.insert(url, Arc::clone(&new));
        new
    }

    /// From now on the worker of this part is woken so.
    pub(crate) fn listen(&self, part: u16, bell: Bell) {
        let mut bells = self.bells.lock();
        let at = usize::from(part);
        if bells.len() <= at {
            bells.resize(at + 1, None);
        }
        bells[at] = Some(bell);
    }

    /// The circuits as they are now.
    pub(crate) fn circuits(&self) -> Circuits {
        let mut circuits = self.folded.clone();
        for (url, endpoint) in &*self.by_url.lock() {
            let circuit = *endpoint.live.lock().breaker.circuit();
            if circuit != Circuit::default() {
                circuits.put(url, circuit);
            }
        }
        circuits
    }

    /// How a URL stands.
    pub(crate) fn state(&self, url: &str, control: &Control, now: Timestamp) -> EndpointState {
        let known = self.by_url.lock().get(url).cloned();
        match known {
            Some(endpoint) => endpoint.state(control, now),
            None if self.folded.is_open(url) => self.of(url).state(control, now),
            None => EndpointState::CLOSED,
        }
    }

    /// How often something that was due had to wait: for a breaker, and for the rate.
    pub(crate) fn deferrals(&self) -> (u64, u64) {
        let by_url = self.by_url.lock();
        let sum =
            |of: fn(&Endpoint) -> &AtomicU64| by_url.values().map(|e| of(e).load(Ordering::Relaxed)).sum();
        (sum(|e| &e.breaker_deferrals), sum(|e| &e.rate_deferrals))
    }

    /// Facts that a part decided and did not write: it panicked in between. They are true here, and are to be
    /// written by its next life.
    pub(crate) fn unwritten(&self, part: u16) -> Vec<EndpointEvent> {
        let of = |endpoint: &Arc<Endpoint>| endpoint.live.lock().unwritten.clone();
        let all = self.by_url.lock().values().flat_map(of).collect::<Vec<_>>();
        all.into_iter().filter(|(by, _)| *by == part).map(|(_, event)| event).collect()
    }

    /// What a part decided is in the log.
    pub(crate) fn written(&self, part: u16) {
        for endpoint in self.by_url.lock().values() {
            endpoint.live.lock().unwritten.retain(|(by, _)| *by != part);
        }
    }

    /// Lets nothing start until there is a newer configuration than `version`.
    pub(crate) fn shut(&self, version: u32) {
        self.shut.fetch_max(version, Ordering::AcqRel);
    }

    /// Takes [`Endpoints::shut`] back.
    pub(crate) fn unshut(&self) {
        self.shut.store(0, Ordering::Release);
        ring(&self.bells, u64::MAX);
    }

    /// Whether anything may start under this version.
    pub(crate) fn is_shut(&self, version: u32) -> bool {
        self.shut.load(Ordering::Acquire) >= version
    }
}

/// One URL.
pub(crate) struct Endpoint {
    url: Arc<str>,
    /// Host and port, whose requests in flight are bounded together.
    host: Arc<str>,
    /// [`ASK`] and [`COUNTING`].
    flags: AtomicU8,
    live: Mutex<Live>,
    bells: Arc<Bells>,
    breaker_deferrals: AtomicU64,
    rate_deferrals: AtomicU64,
}

/// The breaker is to be asked before an attempt.
const ASK: u8 = 1;
/// The breaker counts failures, so that an answer ends their row.
const COUNTING: u8 = 2;

struct Live {
    breaker: Breaker,
    pace: Pace,
    /// Parts that were told to wait, one bit each.
    waiting: u64,
    /// Facts on their way to the log, and the part that writes them.
    unwritten: Vec<(u16, EndpointEvent)>,
}

/// Why an attempt may not start, and when to ask again without being woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deferral {
    pub(crate) until: Option<Timestamp>,
}

impl Endpoint {
    fn new(url: Arc<str>, circuit: Circuit, pace: Pace, bells: Arc<Bells>) -> Self {
        // Placeholders stand in path and query only, so the authority is final.
        let authority = url.split_once("://").map_or(&*url, |(_, rest)| rest).split(['/', '?', '#']).next();
        let host = authority.unwrap_or_default().to_ascii_lowercase().into();
        let breaker = Breaker::of(circuit);
        let flags = AtomicU8::new(if breaker.is_closed() { 0 } else { ASK });
        let live = Mutex::new(Live { breaker, pace, waiting: 0, unwritten: Vec::new() });
        let (breaker_deferrals, rate_deferrals) = Default::default();
        Self { url, host, flags, live, bells, breaker_deferrals, rate_deferrals }
    }

    /// May an attempt of `part` start?
    pub(crate) fn admit(
        self: &Arc<Self>,
        part: u16,
        now: Timestamp,
        control: &Control,
    ) -> Result<Permit, Deferral> {
        let permit = |pass, paid| Permit { endpoint: Arc::clone(self), part, pass, paid, gone: false };
        let asked = self.flags.load(Ordering::Acquire) & ASK != 0 && control.breaker.policy().is_some();
        if !asked && control.rate_per_second.is_none() {
            return Ok(permit(None, None));
        }
        let live = &mut *self.live.lock();
        let bit = 1_u64 << (part % 64);
        let pass = match if asked { live.breaker.admit(now) } else { Admission::Free } {
            Admission::Free => None,
            Admission::Under(pass) => Some(pass),
            Admission::Wait(until) => {
                defer(&mut live.waiting, bit, &self.breaker_deferrals);
                return Err(Deferral { until });
            }
        };
        if let Some(per_second) = control.rate_per_second
            && let Err(due) = live.pace.take(part, now, per_second)
        {
            live.breaker.back(pass);
            defer(&mut live.waiting, bit, &self.rate_deferrals);
            return Err(Deferral { until: Some(due) });
        }
        live.waiting &= !bit;
        Ok(permit(pass, control.rate_per_second))
    }

    /// Someone closes its breaker by hand. `write` appends the fact, or fails.
    pub(crate) fn close<E>(
        &self,
        by: By,
        write: impl FnOnce(&EndpointEvent) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut live = self.live.lock();
        let Some(event) = live.breaker.close(&self.url, by) else { return Ok(false) };
        write(&event)?;
        self.settled(live, true);
        Ok(true)
    }

    fn state(&self, control: &Control, now: Timestamp) -> EndpointState {
        let live = self.live.lock();
        let short = control.rate_per_second.is_some() && live.pace.is_short(now);
        let rate = short.then_some(HeldReason::Rate);
        if control.breaker.policy().is_none() {
            return EndpointState { held: rate, ..EndpointState::CLOSED };
        }
        let opening = live.breaker.circuit().opening().copied();
        let name = match opening {
            Some(_) if live.breaker.is_probing() => "half_open",
            Some(_) => "open",
            None if live.breaker.is_closed() => "closed",
            None => "recovering",
        };
        let held = if live.breaker.is_closed() { rate } else { Some(HeldReason::Breaker) };
        EndpointState { name, opening, held }
    }

    /// Publishes what changed, and wakes who may have waited for it.
    fn settled(&self, mut live: MutexGuard<'_, Live>, wake: bool) {
        let ask = if live.breaker.is_closed() { 0 } else { ASK };
        let counting = if live.breaker.is_counting() { COUNTING } else { 0 };
        self.flags.store(ask | counting, Ordering::Release);
        let waiting = if wake { std::mem::take(&mut live.waiting) } else { 0 };
        drop(live);
        ring(&self.bells, waiting);
    }
}

fn defer(waiting: &mut u64, bit: u64, count: &AtomicU64) {
    if *waiting & bit == 0 {
        *waiting |= bit;
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn ring(bells: &Bells, parts: u64) {
    if parts == 0 {
        return;
    }
    let bells = bells.lock();
    for (part, bell) in bells.iter().enumerate() {
        if let Some(bell) = bell
            && parts & (1_u64 << (part % 64)) != 0
        {
            bell();
        }
    }
}

/// Leave for one attempt. Dropped unreported, it gives back what it holds: a worker that panicked, or an attempt that
/// found no room at its host.
pub(crate) struct Permit {
    endpoint: Arc<Endpoint>,
    part: u16,
    pass: Option<Pass>,
    /// The rate that it was paid by.
    paid: Option<u32>,
    /// The attempt has started: what was paid is used up.
    gone: bool,
}

impl Permit {
    pub(crate) fn host(&self) -> &Arc<str> {
        &self.endpoint.host
    }

    pub(crate) fn url(&self) -> &str {
        &self.endpoint.url
    }

    /// The attempt starts.
    pub(crate) fn used(&mut self) {
        self.gone = true;
    }

    /// The attempt has ended; what follows from it is to be written down with its end.
    pub(crate) fn report(
        mut self,
        health: Health,
        lane: LaneKey,
        now: Timestamp,
        control: &Control,
    ) -> Option<EndpointEvent> {
        let pass = self.pass.take();
        let counting = self.endpoint.flags.load(Ordering::Acquire) != 0;
        if pass.is_none() && health != Health::Failing && !counting {
            return None;
        }
        let mut live = self.endpoint.live.lock();
        let report = Report { pass, health, lane, now };
        let event = if let Some(policy) = control.breaker.policy() {
            live.breaker.report(&self.endpoint.url, report, policy)
        } else {
            live.breaker.back(pass);
            None
        };
        live.unwritten.extend(event.clone().map(|event| (self.part, event)));
        self.endpoint.settled(live, pass.is_some() || event.is_some());
        event
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let refund = self.paid.take().filter(|_| !self.gone);
        if self.pass.is_none() && refund.is_none() {
            return;
        }
        let mut live = self.endpoint.live.lock();
        live.breaker.back(self.pass.take());
        if let Some(per_second) = refund {
            live.pace.give_back(per_second);
        }
        self.endpoint.settled(live, true);
    }
}

#[cfg(test)]
mod tests;
