//! One attempt, as everyone who works on it sees it.
//!
//! awc knows nothing of attempts: it carries a ticket number as the path of its request. The connector and the
//! guard read the number, find the attempt at the [`Desk`], and note there what happened.

use crate::delivery::{Request, Timings, tls::Trust};
use crate::domain::{id::TenantId, outcome::OutcomeClass};
use bytes::Bytes;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
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

/// A request under way, and what is known about it so far.
pub(super) struct Attempt {
    pub(super) tenant: TenantId,
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) trust: Option<Trust>,
    pub(super) head: Bytes,
    pub(super) body: Bytes,
    pub(super) deadline: Instant,
    started: Instant,
    phase: Cell<Option<(Phase, Instant)>>,
    timings: Cell<Timings>,
    failure: RefCell<Option<Failure>>,
    answer: RefCell<Option<Answer>>,
    /// What is wrong with the answer's body: the status stands all the same.
    remark: RefCell<Option<Cow<'static, str>>>,
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
        Some(Self {
            tenant: request.tenant,
            host,
            port: url.port_or_known_default()?,
            tls: url.scheme() == "https",
            trust: request.trust,
            head,
            body: request.body,
            deadline: started + request.timeout.min(TIMEOUT_MAX),
            started,
            phase: Cell::default(),
            timings: Cell::default(),
            failure: RefCell::default(),
            answer: RefCell::default(),
            remark: RefCell::default(),
        })
    }

    /// One key a scheme, host, port and trust, in the form of a URL's authority: connections are shared under it.
    pub(super) fn pool_key(&self) -> String {
        let (host, port) = (&self.host, self.port);
        match &self.trust {
            Some(trust) if self.tls => format!("tls-{}@{host}:{port}", trust.name()),
            _ => format!("{}@{host}:{port}", if self.tls { "tls" } else { "tcp" }),
        }
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

    pub(super) fn take_answer(&self) -> Option<Answer> {
        self.answer.take()
    }

    /// Notes what is wrong with the answer's body; the first remark stands.
    pub(super) fn remark(&self, what: impl Into<Cow<'static, str>>) {
        self.remark.borrow_mut().get_or_insert(what.into());
    }

    pub(super) fn take_remark(&self) -> Option<Cow<'static, str>> {
        self.remark.take()
    }
}

/// Where attempts are found by their number.
#[derive(Default)]
pub(super) struct Desk {
    attempts: RefCell<HashMap<u64, Rc<Attempt>>>,
    issued: Cell<u64>,
}

impl Desk {
    /// Registers an attempt for as long as the ticket is held.
    pub(super) fn issue(self: &Rc<Self>, attempt: Rc<Attempt>) -> Ticket {
        let number = self.issued.get();
        self.issued.set(number + 1);
        self.attempts.borrow_mut().insert(number, attempt);
        Ticket { number, desk: Rc::clone(self) }
    }

    /// The attempt with this number, written in decimal.
    pub(super) fn find(&self, number: &str) -> Option<Rc<Attempt>> {
        self.attempts.borrow().get(&number.parse().ok()?).cloned()
    }
}

/// Keeps an attempt registered.
pub(super) struct Ticket {
    pub(super) number: u64,
    desk: Rc<Desk>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.desk.attempts.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(url: &str) -> Attempt {
        let request = Request {
            tenant: TenantId::new("tenant_a"),
            method: "POST",
            url: url.parse().unwrap(),
            headers: vec![],
            body: Bytes::new(),
            trust: None,
            timeout: Duration::MAX,
        };
        Attempt::new(request, Bytes::new()).unwrap()
    }

    #[test]
    fn plain_and_encrypted_connections_never_share_a_pool() {
        for (url, key) in [
            ("https://example.com/a?b", "tls@example.com:443"),
            ("http://example.com:443/", "tcp@example.com:443"),
            ("http://example.com/", "tcp@example.com:80"),
            ("https://[2606::1]:8443/", "tls@[2606::1]:8443"),
        ] {
            assert_eq!(attempt(url).pool_key(), key);
            let uri: awc::http::Uri = format!("http://{key}/17").parse().unwrap();
            assert_eq!(uri.authority().unwrap().as_str(), key);
        }
    }

    #[test]
    fn the_first_failure_stands_and_a_ticket_ends_with_its_attempt() {
        let (desk, attempt) = (Rc::new(Desk::default()), Rc::new(attempt("https://example.com/")));
        let ticket = desk.issue(Rc::clone(&attempt));
        desk.find(&ticket.number.to_string()).unwrap().fail(Failure::new(OutcomeClass::TlsError, "first"));
        attempt.fail(Failure::new(OutcomeClass::ProtocolError, "second"));
        assert_eq!(attempt.take_failure().unwrap().detail, "first");
        let number = ticket.number.to_string();
        drop(ticket);
        assert!(desk.find(&number).is_none());
    }
}
