//! The dialer as awc's connector.

use super::desk::Desk;
use super::guard::{Guard, Guarded};
use super::watched::Watched;
use crate::delivery::client::attempt::Peer;
use crate::delivery::client::dialer::Dialer;
use crate::delivery::tls::Trust;
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use futures_util::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};

/// Opens guarded connections. The path of the URI is the number of the attempt's ticket.
#[derive(Clone)]
pub(super) struct Connector(pub(super) Rc<Parts>);

/// What a connector works with.
pub(super) struct Parts {
    pub(super) dialer: Dialer,
    pub(super) desk: Rc<Desk>,
    pub(super) watched: Watched,
    /// How many connections were opened.
    pub(super) opened: Cell<u64>,
}

impl Service<ConnectInfo<Uri>> for Connector {
    type Response = Connection<Uri, Guard>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let parts = Rc::clone(&self.0);
        Box::pin(async move {
            let uri = info.request().clone();
            let number = uri.path().trim_start_matches('/');
            let attempt = parts.desk.find(number).ok_or(ConnectError::Unresolved)?;
            match parts.dialer.open(&attempt).await {
                Ok(connection) => {
                    let guarded = Rc::new(RefCell::new(Guarded::new(connection, Rc::clone(&parts.desk))));
                    parts.watched.add(&guarded);
                    parts.opened.set(parts.opened.get() + 1);
                    Ok(Connection::new(uri, Guard(guarded)))
                }
                Err(failure) => {
                    attempt.fail(failure);
                    Err(ConnectError::Unresolved) // the attempt knows why
                }
            }
        })
    }
}

/// A peer in the form of a URL's authority: awc pools connections under it.
pub(super) fn authority(peer: &Peer) -> String {
    let Peer { host, port, tls, trust } = peer;
    match trust.as_ref().map(Trust::name) {
        Some(trust) => format!("tls-{trust}@{host}:{port}"),
        None => format!("{}@{host}:{port}", if *tls { "tls" } else { "tcp" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::client::attempt::Attempt;

    #[test]
    fn each_peer_has_an_authority_of_its_own() {
        for (url, expected) in [
            ("https://example.com/a?b", "tls@example.com:443"),
            ("http://example.com:443/", "tcp@example.com:443"),
            ("http://example.com/", "tcp@example.com:80"),
            ("https://[2606::1]:8443/", "tls@[2606::1]:8443"),
        ] {
            let authority = authority(&Attempt::to(url).peer);
            assert_eq!(authority, expected);
            let uri: Uri = format!("http://{authority}/17").parse().unwrap();
            assert_eq!(uri.authority().unwrap().as_str(), authority);
        }
    }
}
