//! How an attempt ended.

use serde::{Deserialize, Serialize};

/// The classes of attempt outcomes, as the API names them (`API.md`, Deliveries out).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeClass {
    /// Any status 200–299.
    Success,
    /// Any other final status.
    HttpError,
    /// The attempt's one deadline passed, wherever it was.
    Timeout,
    /// Nothing listens there, or the network refused to carry us.
    ConnectionRefused,
    /// The name did not resolve.
    DnsError,
    /// The handshake failed, or the certificate is not to be trusted.
    TlsError,
    /// Egress policy forbids the address.
    BlockedAddress,
    /// The peer reset the connection or did not speak HTTP/1.1.
    ProtocolError,
    /// The request could not be built from its template.
    TemplateError,
    /// A crash fell into the attempt: nobody knows.
    Unknown,
    /// The operator's own egress proxy did not carry us: the receiver was never asked.
    ProxyError,
}
