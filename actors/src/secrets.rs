//! What must never be read back from the log, a dump or a screen: how it is made, sealed, hashed and held.
//!
//! ```text
//! master key ──unwrap──> `sealing.key`, from which all others are derived:
//!            ┌─derive──> sealing key   text ──seal──> `v1.…` in the log ──open──> Secret, in memory only
//!            └─derive──> hashing key   API key ──hash──> hex in the log; the key itself is shown once
//! ```
//!
//! Who may see a secret is decided elsewhere; here nothing prints one.

mod api_key;
mod header;
pub mod jwt;
mod master;
mod sealing;
mod url;

pub use api_key::{KeyHash, NewApiKey, is_well_formed};
pub use header::is_sensitive_name;
pub use master::{MasterKey, MasterKeyError};
pub use url::{OpenedUrl, has_sealed, masked_url, shown_url, unmasked_url};

use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use sha2::Sha256;
use std::{fmt, sync::Arc};
use zeroize::Zeroizing;

/// Marks the scheme; authenticated with every sealed text, so that no later scheme can be passed off as this one.
const VERSION: &str = "v1.";

/// A text that is wiped when the last copy of it is dropped, and that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    /// The text itself. Each call is a place to look at in a review.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// What can go wrong with a secret. Names no part of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// Neither our format nor our key: another master key, or a damaged text.
    #[error("a sealed value cannot be opened with this master key")]
    Sealed,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Seals, opens and hashes under keys that are derived from one master key.
pub struct Secrets {
    sealing: LessSafeKey,
    hashing: Hmac<Sha256>,
    tagging: Hmac<Sha256>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(***)")
    }
}

impl Secrets {
    /// Derives the working keys.
    ///
    /// # Panics
    /// Never: both algorithms take keys of 32 bytes.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        let sealing = master.derive("ledgerhook/seal/1");
        let hashing = master.derive("ledgerhook/api-key/1");
        let tagging = master.derive("ledgerhook/tag/1");
        let sealing = UnboundKey::new(&AES_256_GCM, sealing.as_slice()).expect("the key has 32 bytes");
        let (hashing, tagging) = (mac(hashing.as_slice()), mac(tagging.as_slice()));
        Self { sealing: LessSafeKey::new(sealing), hashing, tagging }
    }

    /// 16 hex digits that follow from `text`, and that nobody without the master key can foretell.
    #[must_use]
    pub fn tag(&self, text: &str) -> String {
        let tag = self.tagging.clone().chain_update(text).finalize().into_bytes();
        hex::encode(&tag[..8])
    }

    /// Encrypts `text`: `v1.` and base64url of nonce, ciphertext and tag. The same text seals differently each time.
    pub fn seal(&self, text: &str) -> Result<String, SecretsError> {
        // NIST SP 800-38D §8.2.2: 96 random bits serve 2^32 messages of one key.
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut out = [&nonce, text.as_bytes()].concat();
        let tag = self
            .sealing
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(VERSION),
                &mut out[NONCE_LEN..],
            )
            .map_err(|_| SecretsError::Sealed)?;
        out.extend_from_slice(tag.as_ref());
        Ok(VERSION.to_owned() + &URL_SAFE_NO_PAD.encode(out))
    }

    /// Decrypts what [`seal`](Self::seal) made.
    pub fn open(&self, sealed: &str) -> Result<Secret, SecretsError> {
        let encoded = sealed.strip_prefix(VERSION).ok_or(SecretsError::Sealed)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| SecretsError::Sealed)?;
        let mut bytes = Zeroizing::new(bytes);
        let (nonce, rest) = bytes.split_first_chunk_mut::<NONCE_LEN>().ok_or(SecretsError::Sealed)?;
        let text = self
            .sealing
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(VERSION), rest)
            .map_err(|_| SecretsError::Sealed)?;
        let text = std::str::from_utf8(text).map_err(|_| SecretsError::Sealed)?;
        Ok(Secret::new(text.to_owned()))
    }
}

/// A new signing secret in the form of Standard Webhooks: `whsec_` and 32 random bytes in base64.
pub fn new_signing_secret() -> Result<Secret, SecretsError> {
    let key = Zeroizing::new(random::<32>()?);
    Ok(Secret::new(format!("whsec_{}", STANDARD.encode(key.as_slice()))))
}

/// A new Ed25519 key in the form of Standard Webhooks.
#[derive(Debug)]
pub struct NewKeyPair {
    /// `whsk_` and base64 of both halves.
    pub key: Secret,
    /// `whpk_` and base64 of the public half.
    pub public: String,
}

/// Makes an Ed25519 key.
pub fn new_key_pair() -> Result<NewKeyPair, SecretsError> {
    let seed = Zeroizing::new(random::<32>()?);
    let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| SecretsError::Sealed)?;
    let public = pair.public_key().as_ref();
    let both = Zeroizing::new([seed.as_slice(), public].concat());
    let key = Secret::new(format!("whsk_{}", STANDARD.encode(both.as_slice())));
    Ok(NewKeyPair { key, public: format!("whpk_{}", STANDARD.encode(public)) })
}

/// Bytes from the system's generator.
pub fn random<const N: usize>() -> Result<[u8; N], SecretsError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(SecretsError::Random)?;
    Ok(bytes)
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn secrets(byte: u8) -> Secrets {
        let key: Vec<u8> = (0..32).map(|place| place ^ byte).collect();
        Secrets::new(&MasterKey::parse(&hex::encode(key)).unwrap())
    }

    /// SEC.2
    #[test]
    fn what_was_sealed_opens_and_shows_nothing() {
        let secrets = secrets(7);
        for text in ["", "whsec_abc", "é😀", &"x".repeat(5_000)] {
            let sealed = secrets.seal(text).unwrap();
            assert!(sealed.starts_with("v1.") && (text.is_empty() || !sealed.contains(text)));
            assert_eq!(secrets.open(&sealed).unwrap().expose(), text);
        }
        assert_ne!(secrets.seal("same").unwrap(), secrets.seal("same").unwrap());
        assert_eq!(format!("{:?} {secrets:?}", Secret::new("canary".into())), "Secret(***) Secrets(***)");
    }

    #[test]
    fn damage_and_foreign_keys_are_found() {
        let (ours, theirs) = (secrets(7), secrets(8));
        let sealed = ours.seal("canary").unwrap();
        assert!(theirs.open(&sealed).is_err());
        for place in 0..sealed.len() {
            let mut damaged = sealed.clone().into_bytes();
            damaged[place] = if damaged[place] == b'A' { b'B' } else { b'A' };
            let damaged = String::from_utf8(damaged).unwrap();
            assert!(ours.open(&damaged).is_err(), "{place}");
        }
        for text in ["", "v1.", "v2.AAAA", "v1.*", "canary"] {
            assert!(ours.open(text).is_err(), "{text}");
        }
    }

    /// Standard Webhooks: secrets of 24 to 64 bytes.
    #[test]
    fn signing_secrets_are_long_and_new() {
        let secret = new_signing_secret().unwrap();
        let key = STANDARD.decode(secret.expose().strip_prefix("whsec_").unwrap()).unwrap();
        assert_eq!(key.len(), 32);
        assert_ne!(secret, new_signing_secret().unwrap());
    }
}
