//! JWTs of callers (APX-02, T-44): read strictly, verified with the one algorithm that the registered key has.
//!
//! ```text
//! header.claims.signature ──read──> Token ──kid──> JwtKey ──verify──> claims ──> scopes
//! ```
//!
//! What a token says of itself decides nothing: not the algorithm (RFC 8725 §3.1), not where a key is to be found.
//! Whoever refuses one does not say why.

use super::{Secrets, SecretsError};
use crate::{
    domain::{
        jwt_key::{JwtKey, VerifyingKey},
        tenant::Scope,
        time::Timestamp,
    },
    json::{Json, Limits, parse},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::agreement::{self, ECDH_P256, EphemeralPrivateKey, agree_ephemeral};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use sha2::Sha256;
use std::time::Duration;

/// Longest token in bytes.
const TOKEN_MAX: usize = 8 << 10;
/// How far the issuer's clock may be off.
const LEEWAY: Duration = Duration::from_mins(1);

/// A token that is well-formed. Nothing of it is to be believed yet.
pub struct Token<'t> {
    /// Which key it says that it was signed with.
    pub kid: String,
    algorithm: String,
    claims: Vec<u8>,
    signed: &'t str,
    signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// Reads a token; `None` for whatever is not one to the letter (RFC 7515 §7.1).
    #[must_use]
    pub fn read(text: &'t str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.').filter(|_| text.len() <= TOKEN_MAX)?;
        let (header, claims) = signed.split_once('.').filter(|(_, claims)| !claims.contains('.'))?;
        let [header, claims, signature] =
            [header, claims, signature].map(|part| URL_SAFE_NO_PAD.decode(part));
        let header = header.ok()?;
        let header = parse(&header, Limits::ADMIN).ok()?;
        // An extension that must be understood is not (RFC 7515 §4.1.11).
        if header.member("crit").is_some() {
            return None;
        }
        let text = |name| header.member(name).and_then(Json::as_str).map(str::to_owned);
        let (kid, algorithm) = (text("kid")?, text("alg")?);
        Some(Self { kid, algorithm, claims: claims.ok()?, signed, signature: signature.ok()? })
    }

    /// What the caller may do, if this key signed the token, its time is now, and its claims are those that the key
    /// asks for.
    #[must_use]
    pub fn scopes(&self, key: &JwtKey, secrets: &Secrets, now: Timestamp) -> Option<Vec<Scope>> {
        let is_signed = self.algorithm == key.verifying.algorithm() && self.verify(key, secrets);
        let claims = parse(&self.claims, Limits::ADMIN).ok().filter(|_| is_signed)?;
        let is_now = matches!(claims, Json::Object(_)) && in_time(&claims, now)?;
        let is_meant =
            key.claims.iter().all(|(name, wanted)| claims.member(name).is_some_and(|c| says(c, wanted)));
        (is_now && is_meant).then(|| granted(&claims, &key.scopes))
    }

    fn verify(&self, key: &JwtKey, secrets: &Secrets) -> bool {
        let (message, signature) = (self.signed.as_bytes(), self.signature.as_slice());
        let bytes = |text: &String| URL_SAFE_NO_PAD.decode(text).ok();
        let verified = match &key.verifying {
            VerifyingKey::Hmac { sealed } => secrets.hmac_holds(sealed, message, signature).ok(),
            VerifyingKey::Rsa { n, e } => bytes(n).zip(bytes(e)).map(|(n, e)| {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }),
            VerifyingKey::P256 { x, y } => bytes(x).zip(bytes(y)).map(|(x, y)| {
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }),
            VerifyingKey::Ed25519 { x } => {
                bytes(x).map(|x| UnparsedPublicKey::new(&ED25519, x).verify(message, signature).is_ok())
            }
        };
        verified.unwrap_or(false)
    }
}

/// Whether these are the coordinates of a point of P-256: no token can be signed for a key that is none. The library
/// judges points where it agrees on keys, so one is agreed on and thrown away.
#[must_use]
pub fn is_p256_point(x: &[u8], y: &[u8]) -> bool {
    let point = agreement::UnparsedPublicKey::new(&ECDH_P256, [&[4], x, y].concat());
    let random = SystemRandom::new();
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &random);
    own.is_ok_and(|own| agree_ephemeral(own, &point, |_| ()).is_ok())
}

impl Secrets {
    /// Whether `signature` is the HMAC-SHA256 of a message under a sealed, base64url key; compared in constant time.
    fn hmac_holds(&self, sealed: &str, message: &[u8], signature: &[u8]) -> Result<bool, SecretsError> {
        let secret = self.open(sealed)?;
        let key = URL_SAFE_NO_PAD.decode(secret.expose()).map_err(|_| SecretsError::Sealed)?;
        let mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| SecretsError::Sealed)?;
        Ok(mac.chain_update(message).verify_slice(signature).is_ok())
    }
}

/// `exp` must be there; `nbf` and `iat` only if they are right. `None` where one is no number.
fn in_time(claims: &Json<'_>, now: Timestamp) -> Option<bool> {
    let now = seconds(now);
    let leeway = LEEWAY.as_secs_f64();
    let at = |name| match claims.member(name) {
        None => Some(None),
        Some(claim) => claim.as_number().map(|number| Some(number.as_f64())),
    };
    let (exp, nbf, iat) = (at("exp")??, at("nbf")?, at("iat")?);
    let not_early = |time: Option<f64>| time.is_none_or(|time| time <= now + leeway);
    Some(now < exp + leeway && not_early(nbf) && not_early(iat))
}

#[expect(clippy::cast_precision_loss, reason = "seconds of this era are exact")]
fn seconds(now: Timestamp) -> f64 {
    now.as_secs() as f64
}

/// A text, or an array with it among others, as `aud` may be.
fn says(claim: &Json<'_>, wanted: &str) -> bool {
    match claim {
        Json::Array(all) => all.iter().any(|one| one.as_str() == Some(wanted)),
        one => one.as_str() == Some(wanted),
    }
}

/// The key's scopes; where the token has `scope`, only those of them that it names (RFC 8693 §4.2).
fn granted(claims: &Json<'_>, scopes: &[Scope]) -> Vec<Scope> {
    let named = |scope: &&Scope| match claims.member("scope") {
        None => true,
        Some(Json::Array(all)) => all.iter().any(|one| one.as_str() == Some(scope.as_str())),
        Some(claim) => claim.as_str().is_some_and(|text| text.split(' ').any(|word| word == scope.as_str())),
    };
    scopes.iter().filter(named).copied().collect()
}

#[cfg(test)]
mod tests;
