//! Tenants and their keys.

use super::{
    client_certificate::ClientCertificate,
    id::{KeyId, TenantId},
    jwt_key::JwtKey,
    quota::Quotas,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Post events.
    #[serde(rename = "events:write")]
    EventsWrite,
    /// Read everything of the tenant but secrets.
    #[serde(rename = "read")]
    Read,
    /// Change pipelines, webhooks, dead letters and keys of the tenant; reveal signing secrets.
    #[serde(rename = "manage")]
    Manage,
    /// Everything, for every tenant.
    #[serde(rename = "operator")]
    Operator,
}

impl Scope {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EventsWrite => "events:write",
            Self::Read => "read",
            Self::Manage => "manage",
            Self::Operator => "operator",
        }
    }

    /// Reads a name on the wire.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::EventsWrite, Self::Read, Self::Manage, Self::Operator].into_iter().find(|s| s.as_str() == text)
    }
}

/// Some scopes, as a set that is copied with every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether `operator`, `manage`, … is among them; none of them stands for another here.
    #[must_use]
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & Self::bit(scope) != 0
    }

    fn bit(scope: Scope) -> u8 {
        1 << scope as u8
    }
}

impl From<&[Scope]> for Scopes {
    fn from(scopes: &[Scope]) -> Self {
        Self(scopes.iter().fold(0, |bits, scope| bits | Self::bit(*scope)))
    }
}

/// An API key as the log keeps it. The key itself is shown once and never stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Names it in lists and in the audit.
    pub id: KeyId,
    /// Keyed hash (HMAC-SHA256 under a key derived from the master key), hex.
    pub hash: String,
    /// The first characters, so that its owner recognises it.
    pub hint: Arc<str>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// For people.
    #[serde(default)]
    pub name: Option<Arc<str>>,
    /// When it ends, if it does.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// An Ed25519 key of a tenant: what it signs, receivers check without a secret (`v1a`, Standard Webhooks).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// Names it in lists and key sets.
    pub id: KeyId,
    /// `whpk_` and base64 of the public half.
    pub public: String,
    /// `whsk_` and both halves, encrypted under the master key.
    pub sealed: String,
}

/// Most keys of a tenant that are in force at a time.
pub const SIGNING_KEYS_MAX: usize = 4;

/// A [`SigningKey`] of a tenant, and how long it signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantKey {
    /// The key.
    pub key: SigningKey,
    /// When it was made.
    pub made_at: Timestamp,
    /// The first instant at which it signs nothing any more; a whole second. `None` for the newest.
    pub until: Option<Timestamp>,
}

/// One tenant as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// For people.
    pub name: String,
    /// The profile that it speaks.
    pub profile: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its keys that are not revoked, with the instant that each was made.
    pub keys: BTreeMap<KeyId, (ApiKey, Timestamp)>,
    /// The path under which its public keys are found; tells nothing of its id. Empty until it has a key.
    pub key_set: String,
    /// Its Ed25519 keys, the newest first.
    pub signing_keys: Vec<TenantKey>,
    /// Its keys for JWTs, likewise.
    pub jwt_keys: BTreeMap<KeyId, (JwtKey, Timestamp)>,
    /// Who is mailed when a delivery is dead-lettered (T-42); nobody if empty.
    #[serde(default)]
    pub contacts: Vec<String>,
    /// What receivers that ask for a certificate are shown.
    #[serde(default)]
    pub client_certificate: Option<ClientCertificate>,
    /// What the operator allows it.
    pub quotas: Quotas,
}

impl Tenant {
    /// The Ed25519 keys in force, the newest first.
    pub fn signing_keys_at(&self, now: Timestamp) -> impl Iterator<Item = &TenantKey> {
        self.signing_keys.iter().filter(move |key| key.until.is_none_or(|until| now < until))
    }
}

/// Longest mail address in bytes (RFC 5321 §4.5.3.1.3, without the angle brackets).
const ADDRESS_BYTES: usize = 254;

/// Whether a text is a mail address that every server takes: a dot-atom of RFC 5322 at most 64 bytes long, `@`, and a
/// host name. Comments, quotes, literals and other scripts are not taken; a domain in another script has its ASCII form.
#[must_use]
pub fn is_mail_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let atom = |part: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
        !part.is_empty() && part.bytes().all(plain)
    };
    let label = |part: &str| {
        let plain = part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (1..=63).contains(&part.len()) && plain && !part.starts_with('-') && !part.ends_with('-')
    };
    let fits = text.len() <= ADDRESS_BYTES && local.len() <= 64;
    fits && local.split('.').all(atom) && domain.contains('.') && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-42: nothing in an address can be read as a second one, a header or a command.
    #[test]
    fn mail_addresses_are_plain() {
        for good in
            ["a@example.com", "ops+hooks@mail.example.com", "x.y_z@xn--bcher-kva.example", "o'neil@a.b"]
        {
            assert!(is_mail_address(good), "{good}");
        }
        let long = format!("{}@example.com", "x".repeat(65));
        for bad in [
            "",
            "a",
            "@example.com",
            "a@",
            "a@localhost",
            "a@b..c",
            "a.@b.c",
            ".a@b.c",
            "a..b@c.d",
            "a@b@c.d",
            "a b@c.d",
            "a@b.c\r\nBcc: d@e.f",
            "a@b.c\n",
            "\"a\"@b.c",
            "a@[127.0.0.1]",
            "<a@b.c>",
            "A <a@b.c>",
            "a,b@c.d",
            "é@b.c",
            "a@é.c",
            "a@-b.c",
            "a@b-.c",
            "a\0@b.c",
            &long,
        ] {
            assert!(!is_mail_address(bad), "{bad:?}");
        }
    }
}
