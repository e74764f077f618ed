//! The words that lists use: states of deliveries, steps and errors. Stable: dashboards filter by them (T-52).

use super::rows::Stand;
use crate::domain::{
    event::{End, StepResult},
    outcome::OutcomeClass,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// States of a delivery, as `GET /api/deliveries` shows and filters them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    Queued,
    InFlight,
    Retrying,
    /// The pipeline is paused or disabled, or its lane waits for an operator.
    Held,
    Delivered,
    DeadLettered,
    Skipped,
    Cancelled,
}

impl DeliveryState {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InFlight => "in_flight",
            Self::Retrying => "retrying",
            Self::Held => "held",
            Self::Delivered => "delivered",
            Self::DeadLettered => "dead_lettered",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads a name on the wire.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Queued,
            Self::InFlight,
            Self::Retrying,
            Self::Held,
            Self::Delivered,
            Self::DeadLettered,
            Self::Skipped,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
    }

    /// The same as the status of an execution (AFM-56, T-52).
    #[must_use]
    pub fn execution_status(self) -> &'static str {
        match self {
            Self::Queued => "pending",
            Self::InFlight => "running",
            Self::Retrying => "retrying",
            Self::Held => "paused",
            Self::Delivered => "completed",
            Self::DeadLettered => "failed",
            Self::Skipped | Self::Cancelled => "cancelled",
        }
    }

    /// How the delivery ended, if it did.
    #[must_use]
    pub fn end(self) -> Option<End> {
        Some(match self {
            Self::Delivered => End::Delivered,
            Self::DeadLettered => End::DeadLettered,
            Self::Skipped => End::Skipped,
            Self::Cancelled => End::Cancelled,
            Self::Queued | Self::InFlight | Self::Retrying | Self::Held => return None,
        })
    }

    /// Whether only an administrator can change it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Delivered | Self::DeadLettered | Self::Skipped | Self::Cancelled)
    }

    /// A delivery that stands like this; `held` says whether its pipeline or lane keeps it from starting.
    pub(super) fn of(stand: Stand, paused: bool, halted: impl FnOnce() -> bool) -> Self {
        match stand {
            Stand::InFlight => Self::InFlight,
            Stand::Queued | Stand::Retrying if paused => Self::Held,
            Stand::Queued if halted() => Self::Held,
            Stand::Queued => Self::Queued,
            Stand::Retrying => Self::Retrying,
            Stand::Ended(End::Delivered) => Self::Delivered,
            Stand::Ended(End::DeadLettered) => Self::DeadLettered,
            Stand::Ended(End::Skipped) | Stand::Disabled => Self::Skipped,
            Stand::Ended(End::Cancelled) => Self::Cancelled,
        }
    }
}

/// Where a step of a delivery stands (T-52).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    Pending,
    Retrying,
    Success,
    Failed,
    FailedOver,
    Skipped,
}

impl StepStatus {
    /// The status that the end of a step means.
    pub(super) fn of(result: StepResult) -> Self {
        match result {
            StepResult::Succeeded => Self::Success,
            StepResult::FailedOver => Self::FailedOver,
            StepResult::Exhausted | StepResult::Permanent => Self::Failed,
            StepResult::Skipped => Self::Skipped,
        }
    }
}

/// What went wrong, in the words of the contract (AFM-59, AFM-71, T-52): `Connection timeout`, `HTTP 500`.
#[must_use]
pub fn error_text(class: OutcomeClass, status: Option<u16>) -> String {
    match (class, status) {
        (OutcomeClass::Success, _) => "",
        (OutcomeClass::HttpError, Some(status)) => return format!("HTTP {status}"),
        (OutcomeClass::HttpError, None) => "HTTP error",
        (OutcomeClass::Timeout, _) => "Connection timeout",
        (OutcomeClass::ConnectionRefused, _) => "Connection refused",
        (OutcomeClass::DnsError, _) => "DNS error",
        (OutcomeClass::TlsError, _) => "TLS error",
        (OutcomeClass::BlockedAddress, _) => "Blocked address",
        (OutcomeClass::ProtocolError, _) => "Protocol error",
        (OutcomeClass::TemplateError, _) => "Template error",
        (OutcomeClass::Unknown, _) => "Outcome unknown",
        (OutcomeClass::ProxyError, _) => "Egress proxy error",
    }
    .into()
}
