//! Instants on the wall clock, as the log stores them.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The Unix epoch itself; earlier than every event.
    pub const EPOCH: Self = Self(0);

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The instant `delay` later; saturates at the far end of time.
    #[must_use]
    pub fn plus(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long from `earlier` to this instant; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// ISO 8601 in whole seconds, as the provider contracts print it: `2024-01-15T10:30:45Z`.
    #[must_use]
    pub fn to_iso_seconds(self) -> String {
        self.format(SecondsFormat::Secs)
    }

    /// ISO 8601 with milliseconds: `2024-01-15T10:30:45.123Z`.
    #[must_use]
    pub fn to_iso_millis(self) -> String {
        self.format(SecondsFormat::Millis)
    }

    fn format(self, precision: SecondsFormat) -> String {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        DateTime::<Utc>::from_timestamp_millis(millis)
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
            .to_rfc3339_opts(precision, true)
    }
}

/// The time of an event as its body tells it, finer than the log's: microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// The whole second that an instant is in.
    #[must_use]
    pub fn second_of(at: Timestamp) -> Self {
        Self(at.as_secs().saturating_mul(1_000_000))
    }

    /// The instant itself.
    #[must_use]
    pub fn millisecond_of(at: Timestamp) -> Self {
        Self(at.0.saturating_mul(1_000))
    }

    /// The last microsecond of an instant.
    #[must_use]
    pub fn last_of(at: Timestamp) -> Self {
        Self(at.0.saturating_mul(1_000).saturating_add(999))
    }

    /// One microsecond later.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// ISO 8601 with as many digits as it takes: none, three or six.
    #[must_use]
    pub fn to_iso(self) -> String {
        let precision = match (self.0 % 1_000_000, self.0 % 1_000) {
            (0, _) => SecondsFormat::Secs,
            (_, 0) => SecondsFormat::Millis,
            _ => SecondsFormat::Micros,
        };
        let micros = i64::try_from(self.0).unwrap_or(i64::MAX);
        let time = DateTime::<Utc>::from_timestamp_micros(micros).unwrap_or(DateTime::<Utc>::MAX_UTC);
        time.to_rfc3339_opts(precision, true)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_iso_millis())
    }
}
