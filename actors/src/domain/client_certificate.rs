//! The certificate that a tenant shows to receivers that ask for one, as the log keeps it.

use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A certificate, and what it says of itself. Nothing of it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The tenant's own, and those behind it that lead to its authority: DER in base64.
    pub chain: Vec<String>,
    /// Whose it is, as RFC 4514 writes a name.
    pub subject: String,
    /// Who signed it, likewise.
    pub issuer: String,
    /// Its first instant.
    pub not_before: Timestamp,
    /// Its last.
    pub not_after: Timestamp,
    /// SHA-256 of the tenant's own, in hex.
    pub sha256: String,
}

/// A [`Certificate`] of a tenant with its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCertificate {
    /// What receivers see.
    pub certificate: Certificate,
    /// The private key in PEM form, encrypted under the master key.
    pub sealed: String,
    /// When it was put in force.
    pub set_at: Timestamp,
}
