//! Carries requests with awc, made safe: every byte in either direction passes a guard.
//!
//! awc keeps the pool of connections and streams the answers. What it must not decide is decided around it:
//! which address is dialled (`dialer`), what the request looks like and what counts as an answer
//! (`guard`), when an idle connection ends (`reaper`), and how long all of it may take (one deadline, here).
//! `docs/decisions/0003-delivery-client.md` tells why.

mod attempt;
mod dialer;
mod guard;
mod proxy;
mod reaper;
mod relay;
mod stream;

use self::attempt::{Attempt, Phase};
use self::dialer::{Connector, Dialer};
pub use self::proxy::{Proxy, ProxyError};
use self::reaper::Reaper;
use super::http1::request::render_head;
use super::resolve::{NameLookup, Places, Resolver, SystemNames};
use super::target::{EgressPolicy, UrlRejection, check_target};
use super::tls::{self, TlsRootsError};
use super::{Exchange, Request, Timings, Transport};
use crate::domain::outcome::OutcomeClass;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tracing::debug;

/// awc never forgets a host that it once dialled; after so many dials we begin with a new pool.
const DIALS_PER_POOL: u64 = 16_384;
/// awc's own timeouts are out of the way: the attempt's deadline rules.
const NEVER: Duration = Duration::from_hours(48);

/// How deliveries are carried. Made once, cloned for each arbiter: the parts are shared.
#[derive(Clone)]
pub struct ClientConfig {
    /// What may be dialled.
    pub egress: Arc<EgressPolicy>,
    /// Whom we trust, and the TLS sessions to resume.
    pub tls: Arc<rustls::ClientConfig>,
    /// Who looks names up.
    pub names: Arc<dyn NameLookup>,
    /// How many at a time.
    pub lookups: Arc<Places>,
    /// How many bytes of an answer's body are read before the connection is closed.
    pub body_bytes_max: usize,
    /// How many of them are kept.
    pub excerpt_bytes_max: usize,
    /// How long an idle connection is kept, unless its receiver names a shorter time.
    pub idle_timeout: Duration,
    /// The local address to dial from; addresses of the other family are then out of reach.
    pub bind_address: Option<IpAddr>,
    /// Who carries connections, if receivers are not dialled from here.
    pub proxy: Option<Proxy>,
}

impl ClientConfig {
    /// The defaults, with the system's roots and those in PEM files.
    pub fn new(egress: EgressPolicy, tls_roots: &[PathBuf]) -> Result<Self, TlsRootsError> {
        Ok(Self {
            egress: Arc::new(egress),
            tls: tls::client_config(tls_roots)?,
            names: Arc::new(SystemNames),
            lookups: Arc::default(),
            body_bytes_max: 64 << 10,
            excerpt_bytes_max: 16 << 10,
            idle_timeout: Duration::from_secs(15),
            bind_address: None,
            proxy: None,
        })
    }
}

/// A [`Transport`] on awc. Make one on each arbiter that sends.
pub struct AwcTransport {
    carrier: Rc<Carrier>,
}

impl AwcTransport {
    /// Sets up the client of the current arbiter.
    ///
    /// # Panics
    /// Outside of an arbiter, which has to run the task that closes idle connections.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        let dialer = Rc::new(Dialer {
            egress: Arc::clone(&config.egress),
            resolver: Resolver::new(config.names, config.lookups),
            tls: config.tls.into(),
            bind_address: config.bind_address,
            proxy: config.proxy,
            idle_timeout: config.idle_timeout,
            desk: Rc::default(),
            reaper: Reaper::start(config.idle_timeout),
            opened: Cell::default(),
        });
        Self {
            carrier: Rc::new(Carrier {
                client: RefCell::new(client(&dialer)),
                dialer,
                body_bytes_max: config.body_bytes_max,
                excerpt_bytes_max: config.excerpt_bytes_max,
            }),
        }
    }
}

impl Transport for AwcTransport {
    fn send(&self, request: Request) -> LocalBoxFuture<'static, Exchange> {
        let carrier = Rc::clone(&self.carrier);
        Box::pin(async move { carrier.exchange(request).await })
    }
}

fn client(dialer: &Rc<Dialer>) -> awc::Client {
    let connector = awc::Connector::new()
        .connector(Connector(Rc::clone(dialer)))
        .limit(0) // the engine bounds concurrency for each endpoint; awc would bound it over all of them
        .timeout(NEVER)
        .conn_keep_alive(NEVER); // the guard and the reaper know better
    awc::Client::builder()
        .connector(connector)
        .disable_redirects()
        .disable_timeout()
        .no_default_headers()
        .finish()
}

struct Carrier {
    client: RefCell<awc::Client>,
    dialer: Rc<Dialer>,
    body_bytes_max: usize,
    excerpt_bytes_max: usize,
}

impl Carrier {
    async fn exchange(&self, request: Request) -> Exchange {
        if let Err(rejection) = check_target(&request.url, &self.dialer.egress) {
            return refuse(&rejection);
        }
        let head = match render_head(&request) {
            Ok(head) => head,
            Err(error) => return unsent(OutcomeClass::TemplateError, error.to_string()),
        };
        let Some(attempt) = Attempt::new(request, head).map(Rc::new) else {
            return unsent(OutcomeClass::TemplateError, "the url has no host".to_owned());
        };
        let mut excerpt = BytesMut::new();
        let carried = tokio::time::timeout_at(attempt.deadline, self.carry(&attempt, &mut excerpt)).await;
        conclude(&attempt, carried.is_err(), excerpt.freeze())
    }

    /// Sends the request and reads the answer. What comes of it is noted in the attempt.
    async fn carry(&self, attempt: &Rc<Attempt>, excerpt: &mut BytesMut) {
        let ticket = self.dialer.desk.issue(Rc::clone(attempt));
        let uri = format!("http://{}/{}", attempt.pool_key(), ticket.number);
        let request = self.client().get(uri);
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return debug!(%error, "no answer"),
        };
        let mut received = 0;
        while let Some(Ok(bytes)) = answer.next().await {
            let room = self.excerpt_bytes_max - excerpt.len();
            excerpt.extend_from_slice(&bytes[..bytes.len().min(room)]);
            received += bytes.len();
            if received > self.body_bytes_max {
                return; // dropping an unfinished answer closes its connection
            }
        }
    }

    fn client(&self) -> awc::Client {
        if self.dialer.opened.get() >= DIALS_PER_POOL {
            self.dialer.opened.set(0);
            self.client.replace(client(&self.dialer));
        }
        self.client.borrow().clone()
    }
}

/// Turns what was noted into the exchange's result.
fn conclude(attempt: &Attempt, timed_out: bool, excerpt: Bytes) -> Exchange {
    let phase = attempt.phase();
    let timings = attempt.settle();
    let Some(answer) = attempt.take_answer() else {
        let failure = attempt.take_failure();
        let (class, detail) = match failure {
            Some(failure) => (failure.class, failure.detail.into_owned()),
            None if timed_out => {
                let proxy = phase == Some(Phase::Proxy);
                let class = if proxy { OutcomeClass::ProxyError } else { OutcomeClass::Timeout };
                (class, format!("deadline passed {}", during(phase)))
            }
            None => (OutcomeClass::ProtocolError, "the exchange failed".to_owned()),
        };
        return Exchange { timings, ..unsent(class, detail) };
    };
    if timed_out {
        attempt.remark("the answer's body was not complete at the deadline");
    }
    let remark = attempt.take_remark();
    let success = (200..300).contains(&answer.status);
    let detail = match (success, remark) {
        (true, None) => String::new(),
        (true, Some(remark)) => remark.into_owned(),
        (false, None) => format!("HTTP {}", answer.status),
        (false, Some(remark)) => format!("HTTP {}; {remark}", answer.status),
    };
    Exchange {
        class: if success { OutcomeClass::Success } else { OutcomeClass::HttpError },
        status: Some(answer.status),
        retry_after: answer.retry_after,
        excerpt,
        detail,
        timings,
    }
}

fn during(phase: Option<Phase>) -> &'static str {
    match phase {
        None => "before the attempt began",
        Some(Phase::Lookup) => "during the name lookup",
        Some(Phase::Proxy) => "while connecting to the egress proxy",
        Some(Phase::Connect) => "while connecting",
        Some(Phase::Tls) => "during the TLS handshake",
        Some(Phase::Answer) => "while waiting for the answer",
        Some(Phase::Body) => "while reading the answer's body",
    }
}

fn refuse(rejection: &UrlRejection) -> Exchange {
    match rejection {
        UrlRejection::Blocked
        | UrlRejection::InternalName
        | UrlRejection::PortNotOpen(_)
        | UrlRejection::Scheme(_) => {
            unsent(OutcomeClass::BlockedAddress, "blocked by egress policy".to_owned())
        }
        other => unsent(OutcomeClass::TemplateError, other.to_string()),
    }
}

/// The result of an exchange that ended before an answer.
fn unsent(class: OutcomeClass, detail: String) -> Exchange {
    Exchange {
        class,
        status: None,
        retry_after: None,
        excerpt: Bytes::new(),
        detail,
        timings: Timings::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_configuration_serves_all_arbiters() {
        fn shared<T: Clone + Send + Sync + 'static>() {}
        shared::<ClientConfig>();
    }
}
