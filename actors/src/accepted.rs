//! An accepted event in memory, and how it is read from the log again.

use crate::{
    domain::{
        event::{Accepted, Fact},
        id::TenantId,
        time::Timestamp,
    },
    log::{EventLog, LogError, Position},
};
use bytes::Bytes;

/// An accepted event in memory, until its first attempts are under way; later it is read from the log.
#[derive(Debug)]
pub struct AcceptedEvent {
    /// Where it stands in the log.
    pub position: Position,
    /// Who owns it.
    pub tenant: TenantId,
    /// When it was accepted.
    pub at: Timestamp,
    /// Id, type, resource, routes.
    pub accepted: Accepted,
    /// As it was posted.
    pub body: Bytes,
}

impl AcceptedEvent {
    /// Reads the event that was accepted at `position`.
    pub(crate) fn read(log: &dyn EventLog, position: Position) -> Result<Self, String> {
        let record = log.read_at(position).map_err(|e| told(&e))?;
        let Fact::Accepted(tenant, accepted) = record.fact().map_err(|e| e.to_string())? else {
            return Err(format!("record {position} is no accepted event"));
        };
        let body = log.payload(position).map_err(|e| told(&e))?.ok_or("the event's data has expired")?;
        Ok(Self { position, tenant, at: record.at, accepted, body })
    }
}

/// What a tenant may read of it; file and byte of damage are for the operator's log.
fn told(error: &LogError) -> String {
    if let LogError::Damaged { .. } = error {
        tracing::error!(cause = %error, "an event cannot be read");
        return "the event's data is damaged".to_owned();
    }
    error.to_string()
}
