//! One HTTP exchange with a receiver, behind the [`Transport`] trait.

pub mod client;
#[cfg(test)]
mod conformance;
pub mod headers;
pub(crate) mod http1;
pub mod resolve;
pub mod retry_after;
pub mod signing;
pub mod target;
pub mod template;
pub mod tls;

pub(crate) use http1::request::RESERVED as TRANSPORT_HEADERS;

use self::{headers::Headers, tls::Trust};
use crate::domain::{id::TenantId, outcome::OutcomeClass};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use std::{sync::Arc, time::Duration};
use url::Url;

/// What is sent: final bytes, nothing left to render.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whose it is: lookups of names are shared out by tenant.
    pub tenant: TenantId,
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'static str,
    /// Absolute `http` or `https` URL without credentials and fragment.
    pub url: Url,
    /// Never `Host`, `Content-Length` or connection headers, which the transport writes.
    pub headers: Arc<Headers>,
    /// The body, sent with `Content-Length`.
    pub body: Bytes,
    /// Whom to trust, if not the roots that all others trust, and which certificate to show, if any.
    pub trust: Option<Trust>,
    /// One deadline over the whole attempt, from name lookup to the last body byte.
    pub timeout: Duration,
}

/// What came of it. An exchange never fails to have a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The class that retry rules look at.
    pub class: OutcomeClass,
    /// Status of the final answer, if one was read.
    pub status: Option<u16>,
    /// `Retry-After` as the receiver wrote it, at most 64 bytes.
    pub retry_after: Option<String>,
    /// The first bytes of the answer's body, at most the configured excerpt.
    pub excerpt: Bytes,
    /// What went wrong, for people: short, without secrets, addresses or payload. Empty on success.
    pub detail: String,
    /// Where the time went.
    pub timings: Timings,
}

/// Time spent per phase; `None` where the phase did not happen (a reused connection has no connect).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Name lookup.
    pub dns: Option<Duration>,
    /// TCP handshake.
    pub connect: Option<Duration>,
    /// TLS handshake.
    pub tls: Option<Duration>,
    /// From the first request byte to the status line.
    pub first_byte: Option<Duration>,
    /// Reading the body.
    pub body: Option<Duration>,
    /// The whole attempt.
    pub total: Duration,
}

/// Carries requests to receivers. Lives on one arbiter (`!Send`), like the clients behind it.
///
/// Every implementation passes the same suite of misbehaving receivers: it never redirects, resends, inflates
/// or trusts an unframed answer, and dials only what the egress policy allows, judged on the very address.
pub trait Transport {
    /// Sends one request, once.
    fn send(&self, request: Request) -> LocalBoxFuture<'static, Exchange>;
}
