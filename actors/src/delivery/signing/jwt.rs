//! JWT mode: an HS256 bearer token that binds the body (AFM-26, T-26, SIG.4). No other `alg` exists here.

use super::Signer;
use crate::json::{BodyForm, Json, ObjectWriter};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// From `iat` to `exp`.
pub const JWT_LIFETIME: Duration = Duration::from_mins(5);

/// What a token says beside the hash of the body.
#[derive(Clone, Copy, Debug)]
pub struct JwtClaims<'c> {
    /// `iss`: who sends, as the deployment names itself.
    pub issuer: &'c str,
    /// `sub`: the pipeline's id.
    pub subject: &'c str,
    /// `aud`: the host that is called.
    pub audience: &'c str,
    /// `jti`: of this attempt alone; see [`token_id`].
    pub token_id: &'c str,
    /// `iat`: Unix seconds of the attempt. `exp` is five minutes later.
    pub issued_at: u64,
}

/// A `jti` that names the event and is used once: `<event id>.<delivery id>.<round>.<attempt>`.
///
/// T-26 wants the event's id in it, SIG.4 a unique one. `attempt` counts over all steps and queues of a round.
/// A receiver that drops repeated events goes by `webhook-id`, which stays the same on every attempt.
#[must_use]
pub fn token_id(event_id: &str, delivery_id: &str, round: u16, attempt: u16) -> String {
    format!("{event_id}.{delivery_id}.{round}.{attempt}")
}

impl Signer {
    /// The token for a request with this body: `<header>.<claims>.<signature>`.
    #[must_use]
    pub fn jwt(&self, claims: JwtClaims<'_>, body: &[u8]) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_json(body)));
        let signature = URL_SAFE_NO_PAD.encode(self.text.sign(&[signed.as_bytes()]));
        format!("{signed}.{signature}")
    }
}

impl JwtClaims<'_> {
    fn to_json(self, body: &[u8]) -> Vec<u8> {
        let expires_at = self.issued_at.saturating_add(JWT_LIFETIME.as_secs());
        let mut json = Vec::new();
        let mut claims = ObjectWriter::new(BodyForm::Js, &mut json);
        claims
            .text("iss", self.issuer)
            .text("sub", self.subject)
            .text("aud", self.audience)
            .value("iat", &Json::from(self.issued_at))
            .value("exp", &Json::from(expires_at))
            .text("jti", self.token_id)
            .text("body_sha256", &hex::encode(Sha256::digest(body)));
        let _ = claims.finish();
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SIG.3, SIG.4, AFM-26, T-26
    #[test]
    fn tokens_say_who_sends_what_to_whom() {
        let claims = JwtClaims {
            issuer: "ledgerhook",
            subject: "pipe_1",
            audience: "api.example.com",
            token_id: &token_id("evt_1", "exec_1", 1, 2),
            issued_at: 1_700_000_000,
        };
        let secret = "your_webhook_secret_key_0";
        let token = Signer::new(secret).unwrap().jwt(claims, b"{}");
        let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let decode = |part| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(decode(header), r#"{"alg":"HS256","typ":"JWT"}"#);
        assert_eq!(
            decode(payload),
            concat!(
                r#"{"iss":"ledgerhook","sub":"pipe_1","aud":"api.example.com","iat":1700000000,"exp":1700000300,"#,
                r#""jti":"evt_1.exec_1.1.2","#,
                r#""body_sha256":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}"#,
            )
        );
        // Checked by another implementation of HMAC.
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        let signed = format!("{header}.{payload}");
        ring::hmac::verify(&key, signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    }
}
