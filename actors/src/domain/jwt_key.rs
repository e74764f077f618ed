//! A key that a tenant's callers sign their JWTs with, as the log keeps it (APX-02).

use super::{id::KeyId, tenant::Scope, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Verifies JWTs, and says what their bearers may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwtKey {
    /// Names it in lists and in the audit; stands for whoever comes with a token of it.
    pub id: KeyId,
    /// What tokens name it by.
    pub kid: String,
    /// What they are verified with.
    pub verifying: VerifyingKey,
    /// The most that a bearer may do.
    pub scopes: Vec<Scope>,
    /// Claims that a token must have, with these texts.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
    /// For people.
    #[serde(default)]
    pub name: Option<String>,
    /// When it ends, if it does.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// The key itself; it has one algorithm, whatever a token says. Numbers and points are base64url, as in a JWK.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyingKey {
    /// A shared secret, encrypted under the master key.
    Hmac { sealed: String },
    /// Modulus and exponent.
    Rsa { n: String, e: String },
    /// A point on P-256.
    P256 { x: String, y: String },
    /// A point on Ed25519.
    Ed25519 { x: String },
}

impl VerifyingKey {
    /// `alg` of its tokens.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Hmac { .. } => "HS256",
            Self::Rsa { .. } => "RS256",
            Self::P256 { .. } => "ES256",
            Self::Ed25519 { .. } => "EdDSA",
        }
    }
}
