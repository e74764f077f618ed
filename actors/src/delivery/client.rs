//! Carries requests to receivers: one attempt, one exchange on the wire, one counted result.
//!
//! Which address is dialled (`dialer`), what a request looks like, what counts as an answer and whether a connection
//! may be used again (`connection`), and how long all of it may take (one deadline, here) is decided in one place. Who
//! keeps the connections is a matter of choice ([`Kind`]): a pool of our own (`direct`), or awc behind a guard (`awc`).
//! `docs/decisions/0003-delivery-client.md` tells why.

mod attempt;
mod awc;
mod connection;
mod dialer;
mod direct;
mod excerpt;
mod proxy;
mod reaper;
mod stream;
mod verdict;

use self::attempt::Attempt;
use self::awc::Awc;
use self::direct::Direct;
use self::excerpt::Excerpt;
pub use self::proxy::{Proxy, ProxyError};
use self::verdict::{conclude, refuse, unsent};
use super::http1::request::render_head;
use super::resolve::{NameLookup, Places, SystemNames};
use super::target::{EgressPolicy, check_target};
use super::tls::{self, TlsRootsError};
use super::{Exchange, Request, Transport};
use crate::domain::outcome::OutcomeClass;
use futures_util::future::{LocalBoxFuture, ready};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Who keeps the connections to receivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A pool of our own.
    #[default]
    Direct,
    /// awc, behind a guard.
    Awc,
}

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

/// The client of the current arbiter. Make one on each that sends.
///
/// # Panics
/// Outside of an arbiter, which has to run the task that closes idle connections.
#[must_use]
pub fn transport(kind: Kind, config: &ClientConfig) -> Rc<dyn Transport> {
    match kind {
        Kind::Direct => Rc::new(Client::new(Direct::new(config), config)),
        Kind::Awc => Rc::new(Client::new(Awc::new(config), config)),
    }
}

/// Takes an attempt to its receiver and back, on a connection that it keeps.
trait Carry {
    /// Sends the request and reads the answer. What comes of it is noted in the attempt.
    async fn carry(&self, attempt: &Rc<Attempt>, excerpt: &mut Excerpt);
}

/// A [`Transport`], whoever carries.
struct Client<C>(Rc<Parts<C>>);

struct Parts<C> {
    carrier: C,
    egress: Arc<EgressPolicy>,
    body_bytes_max: usize,
    excerpt_bytes_max: usize,
}

impl<C: Carry> Client<C> {
    fn new(carrier: C, config: &ClientConfig) -> Self {
        Self(Rc::new(Parts {
            carrier,
            egress: Arc::clone(&config.egress),
            body_bytes_max: config.body_bytes_max,
            excerpt_bytes_max: config.excerpt_bytes_max,
        }))
    }
}

impl<C: Carry + 'static> Transport for Client<C> {
    fn send(&self, request: Request) -> LocalBoxFuture<'static, Exchange> {
        match self.0.begin(request) {
            Ok(attempt) => {
                let parts = Rc::clone(&self.0);
                Box::pin(async move { parts.exchange(&attempt).await })
            }
            Err(unsent) => Box::pin(ready(*unsent)),
        }
    }
}

impl<C: Carry> Parts<C> {
    /// What is to be sent, or how it ended before that.
    fn begin(&self, request: Request) -> Result<Rc<Attempt>, Box<Exchange>> {
        check_target(&request.url, &self.egress).map_err(|rejection| Box::new(refuse(&rejection)))?;
        let impossible = |detail| Box::new(unsent(OutcomeClass::TemplateError, detail));
        let head = render_head(&request).map_err(|error| impossible(error.to_string()))?;
        let attempt = Attempt::new(request, head).map(Rc::new);
        attempt.ok_or_else(|| impossible("the url has no host".to_owned()))
    }

    async fn exchange(&self, attempt: &Rc<Attempt>) -> Exchange {
        let mut excerpt = Excerpt::new(self.excerpt_bytes_max, self.body_bytes_max);
        let carried = self.carrier.carry(attempt, &mut excerpt);
        let carried = tokio::time::timeout_at(attempt.deadline, carried).await;
        conclude(attempt, carried.is_err(), excerpt.freeze())
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
