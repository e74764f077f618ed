//! An egress proxy that receivers are reached through: HTTP `CONNECT` (RFC 9110 §9.3.6).
//!
//! What may be called is judged here, before the proxy is asked, and it is asked for the very address: TLS runs from end
//! to end inside of the tunnel. What the proxy itself does wrong is no failure of the receiver (`proxy_error`).

use super::attempt::Failure;
use crate::domain::outcome::OutcomeClass;
use crate::secrets::Secret;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::{Position, Url};

/// Longest head of the proxy's answer.
const HEAD_MAX: usize = 8 << 10;

/// Where the proxy is, and who we are to it.
#[derive(Clone, Debug)]
pub struct Proxy {
    authority: String,
    authorization: Option<Secret>,
}

/// Why a proxy cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no proxy; write `http://HOST:PORT` or `http://USER:PASSWORD@HOST:PORT`")]
pub struct ProxyError;

impl Proxy {
    /// Reads `http://[USER:PASSWORD@]HOST:PORT`.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        let url = Url::parse(text).map_err(|_| ProxyError)?;
        let plain = url.scheme() == "http" && matches!(url.path(), "" | "/") && url.query().is_none();
        if !plain || url.fragment().is_some() || url.host().is_none() {
            return Err(ProxyError);
        }
        let port = url.port_or_known_default().ok_or(ProxyError)?;
        let authority = match url.port() {
            Some(_) => url[Position::BeforeHost..Position::AfterPort].to_owned(),
            None => format!("{}:{port}", &url[Position::BeforeHost..Position::AfterHost]),
        };
        let decoded = |text: &str| percent_decoded(text);
        let login = (!url.username().is_empty())
            .then(|| format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default())));
        let authorization = login.map(|login| Secret::new(format!("Basic {}", STANDARD.encode(login))));
        Ok(Self { authority, authorization })
    }

    /// Host and port.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Asks for a connection to `address`; what comes next on `tcp` is the receiver's.
    pub(super) async fn open_tunnel(&self, tcp: &mut TcpStream, address: SocketAddr) -> Result<(), Failure> {
        let mut ask = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n");
        if let Some(authorization) = &self.authorization {
            ask.push_str("Proxy-Authorization: ");
            ask.push_str(authorization.expose());
            ask.push_str("\r\n");
        }
        ask.push_str("\r\n");
        let broken = |_: io::Error| Failure::new(OutcomeClass::ProxyError, "the egress proxy broke off");
        tcp.write_all(ask.as_bytes()).await.map_err(broken)?;
        match read_status(tcp).await.map_err(broken)? {
            Some(200..=299) => Ok(()),
            // It was willing, and the receiver was not there.
            Some(502 | 504) => Err(Failure::new(
                OutcomeClass::ConnectionRefused,
                "the egress proxy cannot connect to the receiver",
            )),
            Some(status) => {
                Err(Failure::new(OutcomeClass::ProxyError, format!("the egress proxy answered {status}")))
            }
            None => Err(Failure::new(OutcomeClass::ProxyError, "the egress proxy does not speak HTTP")),
        }
    }
}

/// The status, once the head was read to its end and not a byte further.
async fn read_status(tcp: &mut TcpStream) -> io::Result<Option<u16>> {
    let mut head = Vec::with_capacity(128);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_MAX {
            return Ok(None);
        }
        head.push(tcp.read_u8().await?);
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut headers);
    let parsed = answer.parse(&head);
    Ok(answer.code.filter(|_| parsed.is_ok()))
}

fn percent_decoded(text: &str) -> String {
    // The parser of forms would take `+` for a space.
    let text = text.replace('+', "%2B");
    url::form_urlencoded::parse(text.as_bytes()).map(|(name, _)| name.into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_a_port_and_a_login() {
        for (text, authority, authorization) in [
            ("http://proxy.example:3128", "proxy.example:3128", None),
            ("http://10.0.0.1/", "10.0.0.1:80", None),
            ("http://[::1]:8080", "[::1]:8080", None),
            ("http://user:p%40ss+1@proxy.example:3128", "proxy.example:3128", Some("Basic dXNlcjpwQHNzKzE=")),
        ] {
            let proxy = Proxy::parse(text).unwrap();
            assert_eq!(proxy.authority(), authority);
            assert_eq!(proxy.authorization.as_ref().map(Secret::expose), authorization);
            assert!(!format!("{proxy:?}").contains("Basic"));
        }
        for text in [
            "",
            "proxy:3128",
            "https://proxy:3128",
            "socks5://proxy:1",
            "http://proxy/path",
            "http://proxy?x",
        ] {
            assert!(Proxy::parse(text).is_err(), "{text}");
        }
    }
}
