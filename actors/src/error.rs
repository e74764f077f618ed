//! The one error of the engine's parts, by what a caller can do about it.

use crate::{
    domain::{pipeline::Rejection, quota::Quota},
    log::LogError,
};
use actix::MailboxError;

/// What the engine could not do, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No such thing, or not the caller's.
    #[error("{kind} `{id}` does not exist")]
    NotFound { kind: &'static str, id: String },
    /// It is in a state that forbids this.
    #[error("{0}")]
    Conflict(String),
    /// What it is made of has expired, or was erased.
    #[error("the payload of `{0}` is gone: it has expired or was erased")]
    PayloadGone(String),
    /// The same event id came with another body.
    #[error("event `{0}` was accepted with another body")]
    EventDiffers(String),
    /// A limit of the tenant or the engine is reached.
    #[error("the limit `{limit}` of {max} is reached")]
    Limit { limit: &'static str, max: u64 },
    /// What the operator allows the tenant is used up; of what comes back with time it is told when.
    #[error("the quota `{quota}` of {max} is reached: {}", quota.remedy())]
    QuotaExceeded { quota: Quota, max: u64, retry_after_seconds: Option<u32> },
    /// Too much at once: come again after so many seconds.
    #[error("the engine is busy: {reason}")]
    Busy { reason: &'static str, retry_after_seconds: u32 },
    /// The engine is stopping, or cannot write its log.
    #[error("the engine takes no work: {0}")]
    Unavailable(String),
    /// What was done before decides, and the read models do not tell all of it at the moment.
    #[error("this depends on all that was done before, which cannot be read now: {0}")]
    HistoryBehind(String),
    /// It cannot start with what it was given.
    #[error("{0}")]
    Setup(String),
    /// The domain said no.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The log said no.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<MailboxError> for EngineError {
    fn from(_: MailboxError) -> Self {
        Self::Unavailable("the part that answers is being restarted".into())
    }
}
