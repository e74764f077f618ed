//! What a signing key may be, and how its text becomes bytes (T-54, SIG.2).
//!
//! The contracts' own headers and JWTs use the UTF-8 bytes of the whole text. Standard Webhooks decodes what
//! stands behind a `whsec_` or `whsk_` prefix from base64; a key without prefix stands for its own bytes, so
//! that a receiver uses it there as `whsec_` + base64 of the text.

use super::Prepared;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::Ed25519KeyPair;
use std::sync::Arc;

/// Fewest bytes in a key, where the tenant's profile does not take shorter ones.
pub const KEY_MIN: usize = 24;
/// Fewest bytes that any profile may take; nothing is ever signed with less.
pub const KEY_FLOOR: usize = 16;
/// Most bytes in a key.
pub(super) const KEY_MAX: usize = 1_024;

/// Why a text cannot be a signing key. Never holds the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Empty, or nothing but white space.
    #[error("signing key is empty")]
    Blank,
    /// Too few bytes, before or after decoding.
    #[error("signing key has {given} bytes, fewer than {least}")]
    TooShort { given: usize, least: usize },
    /// Too many bytes.
    #[error("signing key has {given} bytes, more than {KEY_MAX}")]
    TooLong { given: usize },
    /// A line break or another control character: no receiver's setting could hold it.
    #[error("signing key has a control character")]
    Control,
    /// A prefix that promises base64, and then something else.
    #[error("signing key is not base64 behind its `{prefix}`")]
    NotBase64 { prefix: &'static str },
    /// `whsk_` holds a secret of 32 bytes, alone or with its public half behind it.
    #[error("signing key is not an Ed25519 key behind its `whsk_`")]
    NotEd25519,
}

/// Checks a key when it is written: at least so many bytes, also after decoding where it has a prefix.
pub fn check_key(secret: &str, least: usize) -> Result<(), KeyError> {
    if secret.len() > KEY_MAX {
        return Err(KeyError::TooLong { given: secret.len() });
    }
    if !secret.trim().is_empty() && secret.contains(char::is_control) {
        return Err(KeyError::Control);
    }
    StandardKey::parse(secret, least).map(drop)
}

/// A key for `webhook-signature`.
#[derive(Clone)]
pub(super) enum StandardKey {
    /// `v1`
    Symmetric(Prepared),
    /// `v1a`
    Asymmetric(Arc<Ed25519KeyPair>),
}

impl StandardKey {
    pub(super) fn parse(secret: &str, least: usize) -> Result<Self, KeyError> {
        if secret.trim().is_empty() {
            return Err(KeyError::Blank);
        }
        check_length(secret.as_bytes(), least)?;
        if let Some(encoded) = secret.strip_prefix("whsk_") {
            return ed25519(&decode(encoded, "whsk_")?);
        }
        let decoded = match secret.strip_prefix("whsec_") {
            Some(encoded) => decode(encoded, "whsec_")?,
            None => secret.as_bytes().to_vec(),
        };
        check_length(&decoded, least)?;
        Ok(Self::Symmetric(Prepared::new(&decoded)))
    }
}

fn ed25519(decoded: &[u8]) -> Result<StandardKey, KeyError> {
    let pair = match decoded.len() {
        32 => Ed25519KeyPair::from_seed_unchecked(decoded),
        64 => Ed25519KeyPair::from_seed_and_public_key(&decoded[..32], &decoded[32..]),
        _ => return Err(KeyError::NotEd25519),
    };
    pair.map(|pair| StandardKey::Asymmetric(Arc::new(pair))).map_err(|_| KeyError::NotEd25519)
}

fn decode(encoded: &str, prefix: &'static str) -> Result<Vec<u8>, KeyError> {
    STANDARD.decode(encoded).map_err(|_| KeyError::NotBase64 { prefix })
}

fn check_length(key: &[u8], least: usize) -> Result<(), KeyError> {
    if key.len() < least { Err(KeyError::TooShort { given: key.len(), least }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_key(secret: &str) -> Result<(), KeyError> {
        super::check_key(secret, KEY_MIN)
    }

    /// SIG.2, default limit 24 bytes
    #[test]
    fn weak_keys_are_refused() {
        assert_eq!(check_key(""), Err(KeyError::Blank));
        assert_eq!(check_key(&" \t\n".repeat(20)), Err(KeyError::Blank));
        assert_eq!(check_key(&"k".repeat(23)), Err(KeyError::TooShort { given: 23, least: KEY_MIN }));
        assert_eq!(check_key(&"k".repeat(24)), Ok(()));
        assert_eq!(check_key("é".repeat(12).as_str()), Ok(()), "bytes, not characters");
        assert_eq!(super::check_key("your_webhook_secret", KEY_FLOOR), Ok(()), "ATT-04, as it is printed");
        assert!(super::check_key(&"k".repeat(15), KEY_FLOOR).is_err());
        assert_eq!(check_key(&"k".repeat(1_024)), Ok(()));
        assert_eq!(check_key(&"k".repeat(1_025)), Err(KeyError::TooLong { given: 1_025 }));
        assert_eq!(check_key(&format!("{}\n", "k".repeat(24))), Err(KeyError::Control));
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        assert_eq!(check_key(&short), Err(KeyError::TooShort { given: 23, least: KEY_MIN }));
        assert_eq!(check_key(&format!("whsec_{}", STANDARD.encode([7; 24]))), Ok(()));
        let not_base64 = Err(KeyError::NotBase64 { prefix: "whsec_" });
        assert_eq!(check_key("whsec_this is no base64, but long enough"), not_base64);
        assert_eq!(check_key(&format!("whsk_{}", STANDARD.encode([7; 32]))), Ok(()));
        assert_eq!(check_key(&format!("whsk_{}", STANDARD.encode([7; 33]))), Err(KeyError::NotEd25519));
        let foreign_half = format!("whsk_{}", STANDARD.encode([7; 64]));
        assert_eq!(check_key(&foreign_half), Err(KeyError::NotEd25519));
    }
}
