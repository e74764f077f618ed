//! One attempt, as everyone who works on it sees it: what is to be sent to whom, and what has happened so far.

use crate::delivery::{Request, Timings, tls::Trust};
use crate::domain::{id::TenantId, outcome::OutcomeClass};
use bytes::Bytes;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::time::Duration;
use tokio::time::Instant;
use url::Host;

/// No attempt lasts longer, whatever its request says.
const TIMEOUT_MAX: Duration = Duration::from_hours(24);

/// Where the time of an attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Lookup,
    /// To the egress proxy, where there is one.
    Proxy,
    Connect,
    Tls,
    /// From the first request byte to the answer's head.
    Answer,
    Body,
}

/// Why an attempt failed before an answer was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) class: OutcomeClass,
    pub(super) detail: Cow<'static, str>,
}

impl Failure {
    pub(super) fn new(class: OutcomeClass, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { class, detail: detail.into() }
    }
}

/// What the receiver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
}

/// Whom a connection leads to. Connections are shared among attempts at the same peer, and with nobody else.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) tls: bool,
    /// Whom to trust and what to show; `None` on a plain connection, or where the roots of all others do.
    pub(super) trust: Option<Trust>,
}

impl Peer {
    fn key(&self) -> (&Host, u16, bool, Option<&str>) {
        (&self.host, self.port, self.tls, self.trust.as_ref().map(Trust::name))
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Peer {}

impl Hash for Peer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// A request under way, and what is known about it so far.
pub(super) struct Attempt {
    pub(super) tenant: TenantId,
    pub(super) peer: Peer,
    pub(super) head: Bytes,
    pub(super) body: Bytes,
    pub(super) deadline: Instant,
    started: Instant,
    phase: Cell<Option<(Phase, Instant)>>,
    timings: Cell<Timings>,
    failure: RefCell<Option<Failure>>,
    answer: RefCell<Option<Answer>>,
    /// What is wrong with the answer's body.
    remark: RefCell<Option<Cow<'static, str>>>,
    /// Whether the connection ended before the answer did.
    cut: Cell<bool>,
}

impl Attempt {
    /// `None` if the URL names no host.
    pub(super) fn new(request: Request, head: Bytes) -> Option<Self> {
        let started = Instant::now();
        let url = request.url;
        let host = match url.host()? {
            Host::Domain(name) => Host::Domain(name.to_owned()),
            Host::Ipv4(ip) => Host::Ipv4(ip),
            Host::Ipv6(ip) => Host::Ipv6(ip),
        };
        let tls = url.scheme() == "https";
        let port = url.port_or_known_default()?;
        Some(Self {
            tenant: request.tenant,
            peer: Peer { host, port, tls, trust: request.trust.filter(|_| tls) },
            head,
            body: request.body,
            deadline: started + request.timeout.min(TIMEOUT_MAX),
            started,
            phase: Cell::default(),
            timings: Cell::default(),
            failure: RefCell::default(),
            answer: RefCell::default(),
            remark: RefCell::default(),
            cut: Cell::default(),
        })
    }

    /// Ends the current phase and begins another.
    pub(super) fn enter(&self, phase: Phase) {
        self.settle();
        self.phase.set(Some((phase, Instant::now())));
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        self.phase.get().map(|(phase, _)| phase)
    }

    /// Ends the current phase; tells where the time went.
    pub(super) fn settle(&self) -> Timings {
        let mut timings = self.timings.get();
        if let Some((phase, since)) = self.phase.take() {
            let slot = match phase {
                Phase::Lookup => &mut timings.dns,
                Phase::Proxy | Phase::Connect => &mut timings.connect,
                Phase::Tls => &mut timings.tls,
                Phase::Answer => &mut timings.first_byte,
                Phase::Body => &mut timings.body,
            };
            *slot = Some(slot.unwrap_or_default() + since.elapsed());
        }
        timings.total = self.started.elapsed();
        self.timings.set(timings);
        timings
    }

    pub(super) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Notes why the attempt fails. The first reason stands: later ones follow from it.
    pub(super) fn fail(&self, failure: Failure) {
        self.failure.borrow_mut().get_or_insert(failure);
    }

    pub(super) fn take_failure(&self) -> Option<Failure> {
        self.failure.take()
    }

    /// Notes the final answer: from here on, only its status counts.
    pub(super) fn answered(&self, answer: Answer) {
        self.answer.replace(Some(answer));
        self.enter(Phase::Body);
    }

    /// The status of the final answer, once its head is there.
    pub(super) fn status(&self) -> Option<u16> {
        self.answer.borrow().as_ref().map(|answer| answer.status)
    }

    pub(super) fn take_answer(&self) -> Option<Answer> {
        self.answer.take()
    }

    /// Notes what is wrong with the answer's body; the first remark stands.
    pub(super) fn remark(&self, what: impl Into<Cow<'static, str>>) {
        self.remark.borrow_mut().get_or_insert(what.into());
    }

    /// Notes that the connection ended before the answer did: only a part of it is there.
    pub(super) fn cut(&self) {
        self.cut.set(true);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.get()
    }

    pub(super) fn take_remark(&self) -> Option<Cow<'static, str>> {
        self.remark.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn peer(url: &str) -> Peer {
        Attempt::to(url).peer
    }

    impl Attempt {
        pub(in crate::delivery::client) fn to(url: &str) -> Self {
            let request = Request {
                tenant: TenantId::new("tenant_a"),
                method: "POST",
                url: url.parse().unwrap(),
                headers: Arc::default(),
                body: Bytes::new(),
                trust: None,
                timeout: Duration::MAX,
            };
            Self::new(request, Bytes::new()).unwrap()
        }
    }

    #[test]
    fn plain_and_encrypted_connections_never_share_a_peer() {
        assert_eq!(peer("https://example.com/a?b"), peer("https://EXAMPLE.com:443/"));
        assert_eq!(peer("http://example.com/"), peer("http://example.com:80/x"));
        for other in ["http://example.com:443/", "https://example.com:444/", "https://example.org/"] {
            assert_ne!(peer("https://example.com/"), peer(other));
        }
    }

    #[test]
    fn the_first_failure_stands() {
        let attempt = Attempt::to("https://example.com/");
        attempt.fail(Failure::new(OutcomeClass::TlsError, "first"));
        attempt.fail(Failure::new(OutcomeClass::ProtocolError, "second"));
        assert_eq!(attempt.take_failure().unwrap().detail, "first");
    }
}
