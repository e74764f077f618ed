//! Facts to records and back.
//!
//! | kind | fact | encoding |
//! |---|---|---|
//! | 1 | [`TenantEvent`](crate::domain::event::TenantEvent) | JSON, tagged by `type` |
//! | 2 | [`PipelineEvent`](crate::domain::event::PipelineEvent) | JSON, tagged by `type` |
//! | 3 | [`LaneEvent`] | postcard; format 2 has behind it how who asked for it came ([`Asked`]) |
//! | 4 | [`Accepted`] | postcard; format 2 has its `moment` behind it |
//! | 5 | [`EngineEvent`](crate::domain::event::EngineEvent) | JSON, tagged by `type` |
//! | 6 | [`EndpointEvent`] | JSON, tagged by `type` |
//!
//! The format byte holds the schema version of the body; readers know every version ever written.

use super::{
    Append, Appended, EventLog, Expected, LogError, NewRecord, Position, Record, RecordRef, StreamId,
};
use crate::domain::{
    by::Asked,
    event::{Accepted, EndpointEvent, Fact, FactRef, LaneEvent},
    id::TenantId,
    time::{Moment, Timestamp},
};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

const TENANT: u16 = 1;
const PIPELINE: u16 = 2;
const LANE: u16 = 3;
pub(crate) const ACCEPTED: u16 = 4;
const ENGINE: u16 = 5;
const ENDPOINT: u16 = 6;

/// Schema version that this code writes.
const FORMAT: u8 = 1;
/// Of an accepted event with a moment.
const WITH_MOMENT: u8 = 2;
/// Of a lane's fact that someone asked for.
const WITH_ASKED: u8 = 2;

/// Why a record's body is no fact.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Written by a newer version.
    #[error("record {0}: kind {1} in format {2} is not known to this version")]
    Unknown(Position, u16, u8),
    /// The bytes contradict their kind; the checksum held, so the writer was wrong.
    #[error("record {position}: {what}")]
    Malformed { position: Position, what: String },
}

/// The stream that a fact belongs to.
#[must_use]
pub fn stream_of(fact: &Fact) -> StreamId {
    match fact {
        Fact::Tenant(id, _) => StreamId::new(format!("tenant/{id}")),
        Fact::Pipeline(id, _) | Fact::Lane(id, _) | Fact::Endpoint(id, _) => {
            StreamId::new(format!("pipeline/{id}"))
        }
        Fact::Accepted(id, _) => intake_of(id),
        Fact::Engine(_) => StreamId::new("engine"),
    }
}

/// The stream of the events that a tenant posts.
#[must_use]
pub fn intake_of(tenant: &TenantId) -> StreamId {
    StreamId::new(format!("intake/{tenant}"))
}

/// The record of a fact, without payload.
///
/// # Panics
/// Never for the types of the domain: all of them can be encoded.
#[must_use]
pub fn encode(fact: &Fact) -> NewRecord {
    match fact {
        Fact::Tenant(_, event) => json(TENANT, event),
        Fact::Pipeline(_, event) => json(PIPELINE, event),
        Fact::Lane(_, event) => encode_lane(event),
        Fact::Accepted(_, accepted) => encode_accepted(accepted),
        Fact::Engine(event) => json(ENGINE, event),
        Fact::Endpoint(_, event) => encode_endpoint(event),
    }
}

/// The record of a fact about an endpoint.
#[must_use]
pub fn encode_endpoint(event: &EndpointEvent) -> NewRecord {
    json(ENDPOINT, event)
}

/// The record of an accepted event; the hot path has no [`Fact`] to take apart.
#[must_use]
pub fn encode_accepted(accepted: &Accepted) -> NewRecord {
    match accepted.moment {
        None => packed(ACCEPTED, accepted),
        Some(moment) => NewRecord { format: WITH_MOMENT, ..packed(ACCEPTED, &(accepted, moment)) },
    }
}

/// The record of a lane's fact; the hot path has no [`Fact`] to take apart.
#[must_use]
pub fn encode_lane(event: &LaneEvent) -> NewRecord {
    match event.by().and_then(|by| by.asked.as_deref()) {
        None => packed(LANE, event),
        Some(asked) => NewRecord { format: WITH_ASKED, ..packed(LANE, &(event, asked)) },
    }
}

fn json(kind: u16, event: &impl Serialize) -> NewRecord {
    let body = serde_json::to_vec(event).expect("domain types encode");
    NewRecord { kind, format: FORMAT, body, payload: None }
}

/// What most packed facts fit.
const PACKED_LEN: usize = 128;

fn packed(kind: u16, event: &impl Serialize) -> NewRecord {
    let body = postcard::to_extend(event, Vec::with_capacity(PACKED_LEN)).expect("domain types encode");
    NewRecord { kind, format: FORMAT, body, payload: None }
}

/// Appends one fact to its stream, with what belongs to it but may expire, and wakes the writer. For facts that
/// come alone; lanes and intake append many in a turn.
pub fn append(
    log: &dyn EventLog,
    at: Timestamp,
    fact: &Fact,
    payload: Option<Bytes>,
) -> Result<Appended, LogError> {
    let (stream, record) = (stream_of(fact), NewRecord { payload, ..encode(fact) });
    let append = Append { stream: &stream, expected: Expected::Any, at, records: &[record] };
    let appended = log.append(&[append], &mut |_, _| {})?;
    log.kick();
    Ok(appended)
}

/// The fact of a record.
pub fn decode(record: &RecordRef<'_>) -> Result<Fact, CodecError> {
    decode_ref(record).map(FactRef::owned)
}

/// The fact of a record, its owner left where it stands.
pub fn decode_ref<'a>(record: &RecordRef<'a>) -> Result<FactRef<'a>, CodecError> {
    let RecordRef { position, kind, format, body, .. } = *record;
    let owner = record.stream.split_once('/').map_or("", |(_, id)| id);
    if (kind, format) == (ACCEPTED, WITH_MOMENT) {
        let (accepted, moment) = from_packed::<(Accepted, Moment)>(position, body)?;
        return Ok(Fact::Accepted(owner, Accepted { moment: Some(moment), ..accepted }));
    }
    if (kind, format) == (LANE, WITH_ASKED) {
        let (event, asked) = from_packed::<(LaneEvent, Asked)>(position, body)?;
        return Ok(Fact::Lane(owner, event.with_asked(asked)));
    }
    if format != FORMAT {
        return Err(CodecError::Unknown(position, kind, format));
    }
    Ok(match kind {
        TENANT => Fact::Tenant(owner, from_json(position, body)?),
        PIPELINE => Fact::Pipeline(owner, from_json(position, body)?),
        LANE => Fact::Lane(owner, from_packed(position, body)?),
        ACCEPTED => Fact::Accepted(owner, from_packed(position, body)?),
        ENGINE => Fact::Engine(from_json(position, body)?),
        ENDPOINT => Fact::Endpoint(owner, from_json(position, body)?),
        _ => return Err(CodecError::Unknown(position, kind, format)),
    })
}

/// What a record is about, without taking it apart: for those who follow the log for a few facts among many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance<'a> {
    /// An attempt began.
    AttemptStarted,
    /// An event of this type was accepted.
    Accepted { event_type: &'a str },
    /// Anything else.
    Other,
}

/// Looks at a record's first bytes.
#[must_use]
pub fn glance<'a>(record: &RecordRef<'a>) -> Glance<'a> {
    match (record.kind, record.body) {
        // `AttemptStarted` is the first variant of `LaneEvent`, and postcard writes its number first.
        (LANE, [0, ..]) => Glance::AttemptStarted,
        (ACCEPTED, body) => match postcard::take_from_bytes::<(&str, &str)>(body) {
            Ok(((_, event_type), _)) => Glance::Accepted { event_type },
            Err(_) => Glance::Other,
        },
        _ => Glance::Other,
    }
}

fn from_json<T: DeserializeOwned>(position: Position, body: &[u8]) -> Result<T, CodecError> {
    serde_json::from_slice(body).map_err(|e| CodecError::Malformed { position, what: e.to_string() })
}

fn from_packed<T: DeserializeOwned>(position: Position, body: &[u8]) -> Result<T, CodecError> {
    match postcard::take_from_bytes(body) {
        Ok((fact, [])) => Ok(fact),
        Ok((_, rest)) => {
            let what = format!("{} bytes too many", rest.len());
            Err(CodecError::Malformed { position, what })
        }
        Err(error) => Err(CodecError::Malformed { position, what: error.to_string() }),
    }
}

impl Record {
    /// The record as a borrow.
    #[must_use]
    pub fn by_ref(&self) -> RecordRef<'_> {
        RecordRef {
            position: self.position,
            stream: self.stream.as_str(),
            version: self.version,
            at: self.at,
            kind: self.kind,
            format: self.format,
            body: &self.body,
            payload: self.payload,
        }
    }

    /// The fact that it holds.
    pub fn fact(&self) -> Result<Fact, CodecError> {
        decode(&self.by_ref())
    }
}

/// A fact where it stood in the log.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Place in the whole log.
    pub position: Position,
    /// When it was written.
    pub at: Timestamp,
    /// The fact.
    pub fact: Fact,
}

#[cfg(test)]
mod tests;
