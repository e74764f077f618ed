//! Writes the head of a request, exactly as it was asked for.

use crate::{delivery::Request, scan::Stops};
use bytes::Bytes;
use std::fmt::Write as _;

/// Headers that belong to the transport: they frame the message or name the host.
pub(crate) const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Room for what is written around the URL, the host and the request's own headers.
const LINES_LEN: usize = 256;

/// Why a request cannot be written. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("method `{0}` is not a webhook's")]
    Method(&'static str),
    #[error("`{0}` is not a header name")]
    HeaderName(String),
    #[error("the value of header `{0}` has a control character")]
    HeaderValue(String),
    #[error("header `{0}` is written by the engine alone")]
    Reserved(String),
    #[error("the url has no host")]
    Host,
}

/// Renders the request line and all headers: `Host` first, then the request's own headers in their order and
/// spelling, then `Accept-Encoding: identity` unless the request names its own, then `Content-Length`.
pub(crate) fn render_head(request: &Request) -> Result<Bytes, RequestError> {
    if !matches!(request.method, "GET" | "POST" | "PUT" | "PATCH" | "DELETE") {
        return Err(RequestError::Method(request.method));
    }
    let host = request.url.host_str().filter(|host| !host.is_empty()).ok_or(RequestError::Host)?;
    let mut out =
        String::with_capacity(request.headers.wire().len() + request.url.as_str().len() + LINES_LEN);
    out.push_str(request.method);
    out.push(' ');
    out.push_str(request.url.path());
    if let Some(query) = request.url.query() {
        out.push('?');
        out.push_str(query);
    }
    out.push_str(" HTTP/1.1\r\nHost: ");
    out.push_str(host);
    if let Some(port) = request.url.port() {
        let _ = write!(out, ":{port}");
    }
    out.push_str("\r\n");
    let mut names_encoding = false;
    for (name, value) in request.headers.iter() {
        check_header(name, value)?;
        names_encoding |= name.eq_ignore_ascii_case("accept-encoding");
    }
    out.push_str(request.headers.wire());
    if !names_encoding {
        out.push_str("Accept-Encoding: identity\r\n");
    }
    let _ = write!(out, "Content-Length: {}\r\n\r\n", request.body.len());
    Ok(out.into())
}

fn check_header(name: &str, value: &str) -> Result<(), RequestError> {
    if name.is_empty() || !name.bytes().all(|byte| TOKEN[usize::from(byte)]) {
        return Err(RequestError::HeaderName(name.escape_debug().take(64).collect()));
    }
    if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        return Err(RequestError::Reserved(name.to_owned()));
    }
    let plain = Stops { others: [0x7F], beyond_ascii: false }.run(value.as_bytes());
    if value.bytes().skip(plain).any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err(RequestError::HeaderValue(name.to_owned()));
    }
    Ok(())
}

/// Bytes of a name (RFC 9110 §5.6.2).
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut other = 0;
    while other < others.len() {
        table[others[other] as usize] = true;
        other += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::TenantId;
    use std::{sync::Arc, time::Duration};

    fn request(url: &str, headers: &[(&str, &str)]) -> Request {
        Request {
            tenant: TenantId::new("tenant_a"),
            method: "POST",
            url: url.parse().unwrap(),
            headers: Arc::new(headers.iter().copied().collect()),
            body: Bytes::from_static(b"{}"),
            trust: None,
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn headers_keep_their_order_and_spelling() {
        let headers =
            [("X-Afftok-Signature", "sha256=00"), ("content-type", "application/json"), ("X-Ä", "")];
        let head = render_head(&request("https://example.com:8443/a%20b?c={d}&e", &headers[..2])).unwrap();
        assert_eq!(
            head,
            "POST /a%20b?c={d}&e HTTP/1.1\r\nHost: example.com:8443\r\nX-Afftok-Signature: sha256=00\r\n\
             content-type: application/json\r\nAccept-Encoding: identity\r\nContent-Length: 2\r\n\r\n"
        );
        let named = render_head(&request("https://[2606::1]/", &[("accept-encoding", "br")])).unwrap();
        assert_eq!(
            named,
            "POST / HTTP/1.1\r\nHost: [2606::1]\r\naccept-encoding: br\r\nContent-Length: 2\r\n\r\n"
        );
        assert!(render_head(&request("https://example.com/", &headers)).is_err(), "names are ASCII");
    }

    #[test]
    fn values_may_be_any_text_but_no_control_character() {
        for good in ["", "café", "a\tb", "~ !\"§$%&/()=?", "日本"] {
            assert!(render_head(&request("https://example.com/", &[("X-A", good)])).is_ok(), "{good:?}");
        }
        for bad in ["a\r\nB: c", "a\nb", "a\rb", "\0", "\u{7f}", "\u{1b}[0m"] {
            let refused = render_head(&request("https://example.com/", &[("X-A", bad)]));
            assert_eq!(refused, Err(RequestError::HeaderValue("X-A".to_owned())), "{bad:?}");
        }
        for bad in ["", "a b", "a:", "a\r\nb", "é", "(x)"] {
            let refused = render_head(&request("https://example.com/", &[(bad, "v")]));
            assert!(matches!(refused, Err(RequestError::HeaderName(_))), "{bad:?}");
        }
    }

    #[test]
    fn framing_and_host_belong_to_the_transport() {
        for name in
            ["Host", "host", "Content-Length", "TRANSFER-ENCODING", "Connection", "Expect", "Upgrade", "TE"]
        {
            let refused = render_head(&request("https://example.com/", &[(name, "x")]));
            assert_eq!(refused, Err(RequestError::Reserved(name.to_owned())));
        }
    }
}
