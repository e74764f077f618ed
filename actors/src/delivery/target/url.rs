//! Judges the URLs of steps, failover and test targets when they are written.

use super::{Blocked, EgressPolicy};
use std::net::{IpAddr, SocketAddr};
use url::{Host, ParseError, Url};

/// The longest URL that is accepted.
const URL_BYTES_MAX: usize = 8 << 10;

/// Names that mean something only inside a machine or a private network; subdomains of them as well.
const INTERNAL_SUFFIXES: &[&str] =
    &["local", "localdomain", "internal", "intranet", "lan", "home", "home.arpa", "corp", "private", "svc"];

/// Why a URL is refused. One clear sentence each, for the one who wrote the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlRejection {
    /// Longer than 8 KiB.
    #[error("the URL is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// A character that parsers read differently.
    #[error("the URL contains {0}, which clients read in different ways; percent-encode it")]
    Ambiguous(&'static str),
    /// Not `https` (nor `http` where allowed), or no scheme at all.
    #[error("the URL must start with {0}")]
    Scheme(&'static str),
    /// `user:password@`.
    #[error("the URL carries credentials; send them in a header instead")]
    Credentials,
    /// `#fragment`.
    #[error("the URL has a fragment, which is never sent")]
    Fragment,
    /// Not in 1..=65535, or left empty after the colon.
    #[error("the URL's port must be a number from 1 to 65535")]
    Port,
    /// In range, but not among those that may be called.
    #[error("the URL's port {0} is not open to webhooks")]
    PortNotOpen(u16),
    /// A name that means something only inside a machine or network.
    #[error("the URL's host name is not a public one")]
    InternalName,
    /// A literal of an address that may not be dialled.
    #[error("the URL's address is blocked by egress policy")]
    Blocked,
    /// Does not parse.
    #[error("the URL cannot be parsed: {0}")]
    Malformed(String),
}

/// Judges a URL as it was written, and parses it.
pub fn check_url(text: &str, policy: &EgressPolicy) -> Result<Url, UrlRejection> {
    if text.len() > URL_BYTES_MAX {
        return Err(UrlRejection::TooLong);
    }
    if let Some(what) = text.chars().find_map(ambiguous) {
        return Err(UrlRejection::Ambiguous(what));
    }
    let authority = authority(text).ok_or_else(|| scheme_rejection(policy))?;
    if authority.ends_with(':') {
        return Err(UrlRejection::Port);
    }
    let url = Url::parse(text).map_err(|error| match error {
        ParseError::InvalidPort => UrlRejection::Port,
        other => UrlRejection::Malformed(other.to_string()),
    })?;
    if authority.contains('@') {
        return Err(UrlRejection::Credentials);
    }
    check_target(&url, policy)?;
    if text.contains(is_hidden) {
        return Err(UrlRejection::Ambiguous("a character that cannot be seen"));
    }
    let path_at = text.find("://").map_or(0, |at| at + 3);
    if text[path_at..].split('/').next().is_some_and(|host| host.contains('@')) {
        // Some read `https://a?@b/` as a call of b.
        return Err(UrlRejection::Ambiguous("an `@` before the path"));
    }
    if let Some(Host::Ipv4(ip)) = url.host()
        && authority.split(':').next() != Some(ip.to_string().as_str())
    {
        // `0127.0.0.1` is 87.0.0.1 to some and 127.0.0.1 to others.
        return Err(UrlRejection::Ambiguous("an address that is not four plain decimal numbers"));
    }
    Ok(url)
}

/// Judges a parsed URL: what is left to check when a template has rendered it.
pub fn check_target(url: &Url, policy: &EgressPolicy) -> Result<(), UrlRejection> {
    match url.scheme() {
        "https" => {}
        "http" if policy.allow_http => {}
        _ => return Err(scheme_rejection(policy)),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlRejection::Credentials);
    }
    if url.fragment().is_some() {
        return Err(UrlRejection::Fragment);
    }
    let port = url.port_or_known_default().filter(|&port| port != 0).ok_or(UrlRejection::Port)?;
    match url.host() {
        Some(Host::Ipv4(ip)) => check_literal(SocketAddr::new(IpAddr::V4(ip), port), policy),
        Some(Host::Ipv6(ip)) => check_literal(SocketAddr::new(IpAddr::V6(ip), port), policy),
        Some(Host::Domain(name)) => check_name(name, port, policy),
        None => Err(UrlRejection::Malformed("no host".to_owned())),
    }
}

fn check_literal(address: SocketAddr, policy: &EgressPolicy) -> Result<(), UrlRejection> {
    policy.check_address(address).map_err(|Blocked| {
        if policy.is_public(address) {
            UrlRejection::PortNotOpen(address.port())
        } else {
            UrlRejection::Blocked
        }
    })
}

fn check_name(name: &str, port: u16, policy: &EgressPolicy) -> Result<(), UrlRejection> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')) {
        return Err(UrlRejection::Malformed("the host name has a forbidden character".to_owned()));
    }
    let labels_sound = name.split('.').all(|label| matches!(label.len(), 1..=63));
    if name.len() > 253 || !labels_sound {
        return Err(UrlRejection::Malformed("the host name has an empty or overlong part".to_owned()));
    }
    let (internal, allowed) = if is_within(name, "localhost") {
        (true, policy.allows_loopback(port))
    } else {
        let internal = !name.contains('.') || INTERNAL_SUFFIXES.iter().any(|suffix| is_within(name, suffix));
        // An internal name is judged at dial on its address; here it is enough that a rule could mean it.
        (internal, policy.allows_internal(port))
    };
    match (internal, allowed) {
        (true, true) => Ok(()),
        (true, false) => Err(UrlRejection::InternalName),
        (false, _) if policy.allow.iter().any(|rule| rule.names_port(port)) => Ok(()),
        (false, _) if policy.opens(port) => Ok(()),
        (false, _) => Err(UrlRejection::PortNotOpen(port)),
    }
}

/// Whether `name` is `parent` or one of its subdomains. Both are in lower case: the parser saw to it.
fn is_within(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn scheme_rejection(policy: &EgressPolicy) -> UrlRejection {
    UrlRejection::Scheme(if policy.allow_http { "https:// or http://" } else { "https://" })
}

/// Names a character that some client reads in another way than we do.
fn ambiguous(character: char) -> Option<&'static str> {
    match character {
        '\\' => Some("a backslash"),
        '\t' => Some("a tab"),
        '\n' | '\r' => Some("a line break"),
        space if space.is_whitespace() => Some("a space"),
        control if control.is_control() => Some("a control character"),
        _ => None,
    }
}

/// What no eye sees, and what turns the order of the letters round: the URL that an operator reads is another one.
pub(in crate::delivery) fn is_hidden(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The raw text between `://` and the path; `None` unless it is an `http` or `https` URL in full form.
///
/// The parser would also read `https:host`, `https:/host` and `https:///host`; other clients would not.
fn authority(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let known = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    let authority = rest.split(['/', '?', '#']).next()?;
    (known && !authority.is_empty()).then_some(authority)
}
