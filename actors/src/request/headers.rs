//! The headers of an attempt, in their order on the wire: the step's, the signatures, who it is.

use super::{AttemptInput, BuildError, Signers, compiled::CompiledHeader, payload::Parts};
use crate::{
    delivery::{
        TRANSPORT_HEADERS,
        headers::Headers,
        signing::{
            ID_HEADER, JwtClaims, SIGNATURE_HEADER, SignatureMode, Signer, TIMESTAMP_HEADER, token_id,
            write_standard_signature,
        },
        template::{MASK, Scope},
    },
    domain::event::Queue,
    profile::{About, Profile, Stamp},
    secrets::{Secret, is_sensitive_name},
};
use std::fmt::{self, Write as _};
use url::Url;

/// The delivery's id.
pub const DELIVERY_HEADER: &str = "X-Webhook-Delivery";
/// The number of the attempt in its round, from 1.
pub const ATTEMPT_HEADER: &str = "X-Webhook-Attempt";
/// The number of the round, from 2 on.
pub const REDELIVERY_HEADER: &str = "X-Webhook-Redelivery";
/// Who sends.
pub const USER_AGENT: &str = concat!("ledgerhook/", env!("CARGO_PKG_VERSION"));

/// `iss` of tokens.
const ISSUER: &str = "ledgerhook";

/// The names that a step cannot set, in lower case (ADM.11).
#[must_use]
pub fn reserved_headers(profile: &Profile) -> Vec<String> {
    let own =
        [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER, DELIVERY_HEADER, ATTEMPT_HEADER, REDELIVERY_HEADER];
    let signatures = profile.signature.headers.iter().map(|header| header.name.as_str());
    let failover = profile.failover.iter().map(|header| header.name.as_str());
    let others = profile.headers.iter().map(|header| header.name.as_str());
    let all = TRANSPORT_HEADERS.iter().copied().chain(own).chain(signatures).chain(failover).chain(others);
    all.map(str::to_ascii_lowercase).collect()
}

/// The list as it grows, and which of them hold a credential.
pub(super) struct Writer {
    all: Headers,
    secret: Vec<usize>,
}

/// What most requests' headers fit, in bytes, beside those of the step.
const OWN_LEN: usize = 640;

impl Writer {
    /// The step's own. Those that are sealed show nothing where people look.
    pub(super) fn of_step(
        headers: &[CompiledHeader],
        scope: &Scope<'_>,
        is_shown: bool,
    ) -> Result<Self, BuildError> {
        let all = Headers::with_capacity(headers.len() + 12, headers.len() * 64 + OWN_LEN);
        let mut own = Self { all, secret: Vec::with_capacity(4) };
        for header in headers {
            let is_hidden = is_shown && header.sealed;
            let value = if is_hidden { MASK.to_owned() } else { header.value.render(scope)? };
            if header.sealed || header.sensitive {
                own.secret.push(own.all.len());
            }
            own.all.push(&header.name, &value);
        }
        Ok(own)
    }

    /// Receivers parse a body only under its exact type (T-9).
    pub(super) fn default_content_type(&mut self) {
        if !self.all.has("content-type") {
            self.all.push("Content-Type", "application/json");
        }
    }

    /// Signatures over exactly `body`, with the time of the attempt. Without `signers`, what people see of them.
    pub(super) fn sign(
        &mut self,
        input: &AttemptInput<'_>,
        mode: SignatureMode,
        signers: Option<&Signers>,
        event_id: &str,
        url: &Url,
        body: &[u8],
    ) {
        let seconds = input.now.as_secs();
        match mode {
            SignatureMode::None => {}
            SignatureMode::Hmac => {
                let stamp = Stamp { id: event_id, timestamp: seconds };
                for header in &input.profile.signature.headers {
                    self.push_secret(&header.name, signers, |signers, out| {
                        let (before, behind) = header.around_body(stamp);
                        let digest =
                            |signer: &Signer| signer.digest(&[before.as_bytes(), body, behind.as_bytes()]);
                        header.write_value(stamp, signers.secret(header.lists_keys()).map(digest), out);
                    });
                }
            }
            SignatureMode::Jwt => {
                let jti = token_id(event_id, input.delivery, input.round, input.number);
                let claims = JwtClaims {
                    issuer: ISSUER,
                    subject: input.pipeline.as_str(),
                    audience: url.host_str().unwrap_or_default(),
                    token_id: &jti,
                    issued_at: seconds,
                };
                self.push_secret("Authorization", signers, |signers, out| {
                    out.push_str("Bearer ");
                    out.push_str(&signers.single().jwt(claims, body));
                });
            }
        }
        self.all.push(ID_HEADER, event_id);
        self.push_shown(TIMESTAMP_HEADER, seconds);
        if mode != SignatureMode::None && input.profile.signature.standard_webhooks {
            self.push_secret(SIGNATURE_HEADER, signers, |signers, out| {
                write_standard_signature(signers.all(), event_id, seconds, body, out);
            });
        }
    }

    /// Which delivery, which attempt, and from whom.
    pub(super) fn identify(&mut self, input: &AttemptInput<'_>, parts: &Parts<'_>) {
        self.all.push(DELIVERY_HEADER, input.delivery);
        self.push_shown(ATTEMPT_HEADER, input.number);
        if input.round > 1 {
            self.push_shown(REDELIVERY_HEADER, input.round);
        }
        if let (Queue::Failover, Some(mark)) = (input.queue, &input.profile.failover) {
            self.all.push(&mark.name, &mark.value);
        }
        for header in &input.profile.headers {
            let stamp = Stamp { id: parts.id(), timestamp: input.now.as_secs() };
            let (delivery, attempt) = (input.delivery, input.number);
            let about = About { stamp, event_type: parts.event_type(), delivery, attempt };
            self.all.push_with(&header.name, |out| header.write_value(about, out));
        }
        if !self.all.has("user-agent") {
            self.all.push("User-Agent", USER_AGENT);
        }
    }

    /// The headers, and the places of those that hold a credential.
    pub(super) fn finish(self) -> (Headers, Vec<usize>) {
        (self.all, self.secret)
    }

    fn push_shown(&mut self, name: &str, value: impl fmt::Display) {
        self.all.push_with(name, |out| write!(out, "{value}").unwrap_or_default());
    }

    fn push_secret(
        &mut self,
        name: &str,
        signers: Option<&Signers>,
        write: impl FnOnce(&Signers, &mut String),
    ) {
        self.secret.push(self.all.len());
        self.all.push_with(name, |out| match signers {
            Some(signers) => write(signers, out),
            None => out.push_str(MASK),
        });
    }
}

/// Values of headers that hold a credential, whole and without their scheme.
pub fn credentials(headers: &Headers) -> impl Iterator<Item = Secret> {
    let sensitive = headers.iter().filter(|(name, _)| is_sensitive_name(name));
    sensitive.flat_map(|(_, value)| credential(value).map(|piece| Secret::new(piece.to_owned())))
}

/// `Bearer abc`, and `abc`; of a list of signatures each of them too.
pub(super) fn credential(value: &str) -> impl Iterator<Item = &str> {
    let bare = value.split_once([' ', ',', '=']).map(|(_, rest)| rest);
    let words =
        value.split([' ', ',']).flat_map(|word| [Some(word), word.split_once('=').map(|(_, rest)| rest)]);
    // A word that is short may be a scheme's name, and would be hidden everywhere.
    let words = words.flatten().filter(|word| word.len() >= 16 && word.len() < value.len());
    [Some(value), bare].into_iter().flatten().chain(words)
}

/// The same headers with nothing to see in those that hold a credential.
#[must_use]
pub fn masked(headers: &Headers) -> Headers {
    headers.iter().map(|(name, value)| (name, if is_sensitive_name(name) { MASK } else { value })).collect()
}
