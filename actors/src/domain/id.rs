//! Identifiers: newtypes with a prefix that tells what they name.

use crate::log::Position;
use base36::Base36;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, Visitor},
};
use sha2::{Digest, Sha256};
use std::{borrow::Borrow, fmt, sync::Arc};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String)]
        pub struct $name(#[serde(deserialize_with = "text")] Arc<str>);

        impl $name {
            /// Takes the text as it is; whoever mints or receives it has checked it.
            #[must_use]
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        /// So that maps are searched by text, too.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// Reads the text of an id right to where it stays; for `Arc<str>` itself, serde makes a `String` on the way.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    struct Text;

    impl Visitor<'_> for Text {
        type Value = Arc<str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Arc<str>, E> {
            Ok(text.into())
        }
    }

    deserializer.deserialize_str(Text)
}

text_id!(
    /// `tenant_…`: the owner of pipelines, events and keys; the edge of isolation.
    TenantId
);
text_id!(
    /// `pipe_…` (or the profile's own prefix for a flat webhook): one configured route.
    PipelineId
);
text_id!(
    /// `step_…`: one call of a pipeline; kept when the pipeline is edited.
    StepId
);
text_id!(
    /// `key_…`: names an API key without being it.
    KeyId
);

impl KeyId {
    /// Who stands in the log for what the engine does of its own accord.
    #[must_use]
    pub fn engine() -> Self {
        Self::new("key_engine")
    }
}

impl PipelineId {
    /// The part behind the last underscore; unique over all pipelines whatever their prefix.
    #[must_use]
    pub fn key(&self) -> &str {
        self.0.rsplit('_').next().unwrap_or_default()
    }
}

/// Where a resource's lane is found: the first eight bytes of the SHA-256 of the resource's name. Two names that
/// met here would still not share a lane, since lanes compare the name; the hash only has to spread, and to cost
/// an attacker too much to make it not spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaneKey(pub u64);

impl LaneKey {
    /// The key of `resource`.
    #[must_use]
    pub fn of(resource: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(resource.as_bytes()).into();
        let (head, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        Self(u64::from_le_bytes(*head))
    }

    /// Which of the 256 buckets of all lanes it belongs to.
    #[must_use]
    pub fn bucket(self) -> u8 {
        self.0.to_le_bytes()[4]
    }

    /// Which of `parts` almost equal parts of all lanes it belongs to. Parts are made of whole buckets, so that
    /// what is counted by bucket can be dealt out exactly.
    #[must_use]
    pub fn part(self, parts: u16) -> u16 {
        u16::from(self.bucket()) % parts.max(1)
    }
}

/// `exec_…`: one event on its way through one pipeline. Minted from where it lies in the log, so that it needs
/// no index: the event's position and the pipeline's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// Position of the accepted event.
    pub event: Position,
    /// Key of the pipeline, see [`PipelineId::key`].
    pub pipeline: Arc<str>,
}

impl PartialSchema for DeliveryId {
    fn schema() -> RefOr<Schema> {
        String::schema()
    }
}

impl ToSchema for DeliveryId {}

impl DeliveryId {
    /// The delivery of `event` by `pipeline`.
    #[must_use]
    pub fn new(event: Position, pipeline: &PipelineId) -> Self {
        Self { event, pipeline: pipeline.key().into() }
    }

    /// What `new(event, pipeline)` is written as.
    #[must_use]
    pub fn text(event: Position, pipeline: &PipelineId) -> String {
        let mut text = String::with_capacity(64);
        // Writing to a string does not fail.
        Self::write(&mut text, event, pipeline.key()).unwrap_or_default();
        text
    }

    fn write(out: &mut impl fmt::Write, event: Position, key: &str) -> fmt::Result {
        write!(out, "exec_{}_{key}", Base36(event.0))
    }

    /// Reads `exec_<position>_<key>`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (position, key) = text.strip_prefix("exec_")?.split_once('_')?;
        Some(Self { event: Position(base36::parse(position)?), pipeline: key_text(key)?.into() })
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::write(f, self.event, &self.pipeline)
    }
}

/// `dlq_…`: one step of one delivery that used up its attempts in one round.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadLetterId {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Index of the step in the delivery's pinned configuration.
    pub step: u16,
    /// The round that failed, from 1.
    pub round: u16,
}

impl DeadLetterId {
    /// Reads `dlq_<position>_<step>_<round>_<key>`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("dlq_")?.splitn(4, '_');
        let event = Position(base36::parse(parts.next()?)?);
        let step = u16::try_from(base36::parse(parts.next()?)?).ok()?;
        let round = u16::try_from(base36::parse(parts.next()?)?).ok()?;
        let pipeline = key_text(parts.next()?)?.into();
        Some(Self { delivery: DeliveryId { event, pipeline }, step, round })
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeliveryId { event, pipeline } = &self.delivery;
        let (event, step, round) = (Base36(event.0), Base36(self.step.into()), Base36(self.round.into()));
        write!(f, "dlq_{event}_{step}_{round}_{pipeline}")
    }
}

fn key_text(text: &str) -> Option<&str> {
    let plain = !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    plain.then_some(text)
}

/// Positions in ids: short, lower case, no sign.
mod base36 {
    use std::fmt;

    /// A number as it is written.
    pub(super) struct Base36(pub(super) u64);

    impl fmt::Display for Base36 {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            // 36^13 is beyond 2^64.
            let (mut digits, mut at, mut rest) = ([0; 13], 13, self.0);
            loop {
                at -= 1;
                digits[at] = b"0123456789abcdefghijklmnopqrstuvwxyz"[usize::try_from(rest % 36).unwrap_or(0)];
                rest /= 36;
                if rest == 0 {
                    break;
                }
            }
            f.write_str(std::str::from_utf8(&digits[at..]).unwrap_or_default())
        }
    }

    /// One spelling a number: no upper case, no leading zero.
    pub(super) fn parse(text: &str) -> Option<u64> {
        let canonical = text == "0" || !text.starts_with('0');
        let plain = canonical && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
        plain.then(|| u64::from_str_radix(text, 36).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivery_and_dead_letter_ids_read_back_as_they_were_written() {
        let pipeline = PipelineId::new("pipe_k3j9x8");
        for n in [0, 1, 35, 36, 1_000_000, u64::MAX] {
            let id = DeliveryId::new(Position(n), &pipeline);
            assert_eq!(DeliveryId::parse(&id.to_string()), Some(id.clone()));
            let dead = DeadLetterId { delivery: id, step: 19, round: 2 };
            assert_eq!(DeadLetterId::parse(&dead.to_string()), Some(dead));
        }
    }

    #[test]
    fn a_second_spelling_of_an_id_is_refused() {
        for text in [
            "exec_01_a",
            "exec_1A_a",
            "exec__a",
            "exec_1_",
            "exec_1_a/b",
            "pipe_1_a",
            "exec_+1_a",
            "dlq_1_0_a",
        ] {
            assert_eq!(DeliveryId::parse(text), None, "{text}");
            assert_eq!(DeadLetterId::parse(text), None, "{text}");
        }
    }
}
