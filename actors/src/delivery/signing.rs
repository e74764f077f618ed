//! Signatures: over exactly the bytes that are sent, with the time of the attempt as an argument.
//!
//! | mode | headers |
//! |---|---|
//! | `none` | no signature of any kind |
//! | `hmac` | the profile's own header ([`Signer::digest`]), and `webhook-signature` beside it |
//! | `jwt` | `Authorization: Bearer` ([`Signer::jwt`]), and `webhook-signature` beside it |
//!
//! How a receiver verifies them stands in `docs/signatures.md`. This module knows no header names but those of
//! Standard Webhooks, and holds no key longer than its caller does.

mod jwt;
mod key;
mod standard;

pub use crate::domain::step::SignatureMode;
pub use jwt::{JWT_LIFETIME, JwtClaims, token_id};
pub use key::{KEY_FLOOR, KEY_MIN, KeyError, check_key};
pub use standard::{
    ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, standard_signature, write_standard_signature,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt;

/// A key made ready: hashed into its HMAC once, copied for each message.
#[derive(Clone)]
pub struct Signer {
    /// Keyed with the bytes of the secret's text, as the contracts' samples do (AFF-35, T-54).
    text: Prepared,
    standard: key::StandardKey,
}

impl Signer {
    /// Prepares a secret; refuses what [`check_key`] refuses for every profile (SIG.2).
    pub fn new(secret: &str) -> Result<Self, KeyError> {
        let standard = key::StandardKey::parse(secret, KEY_FLOOR)?;
        Ok(Self { text: Prepared::new(secret.as_bytes()), standard })
    }

    /// HMAC-SHA256 over the parts as if they were one text: what the profile's own header shows (AFM-25).
    #[must_use]
    pub fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.text.sign(parts)
    }
}

/// Shows nothing of the key.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(***)")
    }
}

/// HMAC-SHA256 with its key already in it.
#[derive(Clone)]
struct Prepared(Hmac<Sha256>);

impl Prepared {
    fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// Signs the parts as if they were one text.
    fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "your_webhook_secret_key_0";

    /// AFF-32 … AFF-35, SOC-28; value from `printf … | openssl dgst -sha256 -hmac …`.
    #[test]
    fn digests_are_those_of_the_contracts_samples() {
        let digest = Signer::new(SECRET).unwrap().digest(&[br#"{"payout":5}"#]);
        assert_eq!(hex::encode(digest), "df483c323d09f87bfe4dec638558c97c275be068a6a24118105f30ab19c55600");
    }

    /// RFC 4231, test case 3: the HMAC itself, against a published vector.
    #[test]
    fn hmac_is_hmac_sha256() {
        let digest = Prepared::new(&[0xAA; 20]).sign(&[&[0xDD; 20], &[0xDD; 30]]);
        assert_eq!(hex::encode(digest), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
    }

    /// SIG.7: whatever the body holds, nothing of it is normalised.
    #[test]
    fn every_byte_counts() {
        let signer = Signer::new(SECRET).unwrap();
        let sign = |body: &[u8]| signer.digest(&[body]);
        let bodies: [&[u8]; 6] = [b"", b" ", b"{}", b"{} ", b"{}\r\n", b"{}\n"];
        for (place, body) in bodies.iter().enumerate() {
            assert!(bodies[..place].iter().all(|other| sign(other) != sign(body)));
        }
    }

    /// SIG.8, SEC.1
    #[test]
    fn debug_output_shows_no_key() {
        assert_eq!(format!("{:?}", Signer::new(SECRET).unwrap()), "Signer(***)");
    }
}
