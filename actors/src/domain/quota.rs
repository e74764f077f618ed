//! What the operator allows a tenant, by name (TEN.8).

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, ops::RangeInclusive};

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    /// Pipelines and webhooks together. Takes the place of the profile's own limit.
    Pipelines,
    /// Steps of all pipelines together; a webhook is one.
    Steps,
    /// Events that may be posted.
    EventsPerSecond,
    /// Open dead letters of all pipelines together. While there are so many, no events are taken.
    DeadLetters,
}

impl Quota {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pipelines, Self::Steps, Self::EventsPerSecond, Self::DeadLetters];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pipelines => "pipelines",
            Self::Steps => "steps",
            Self::EventsPerSecond => "events_per_second",
            Self::DeadLetters => "dead_letters",
        }
    }

    /// The numbers that it can be set to.
    #[must_use]
    pub fn range(self) -> RangeInclusive<u64> {
        match self {
            Self::Pipelines => 0..=10_000,
            Self::Steps => 0..=200_000,
            Self::EventsPerSecond => 1..=1_000_000,
            Self::DeadLetters => 1..=10_000_000,
        }
    }

    /// What a tenant can do that has used it up, for people.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Pipelines => "delete one that is not needed, or ask the operator for more",
            Self::Steps => "take out steps that are not needed, or ask the operator for more",
            Self::EventsPerSecond => "send the rest more slowly, or ask the operator for more",
            Self::DeadLetters => "retry or dismiss some, or ask the operator for more",
        }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The quotas that are set; for the others what holds for everyone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quotas(BTreeMap<Quota, u64>);

impl Quotas {
    /// How much is allowed, if that was set.
    #[must_use]
    pub fn get(&self, quota: Quota) -> Option<u64> {
        self.0.get(&quota).copied()
    }

    /// Events a second, if that was set.
    #[must_use]
    pub fn events_per_second(&self) -> Option<u32> {
        self.get(Quota::EventsPerSecond).map(|most| u32::try_from(most).unwrap_or(u32::MAX))
    }

    /// The same with some of them set, or taken back.
    #[must_use]
    pub fn with(&self, changes: impl IntoIterator<Item = (Quota, Option<u64>)>) -> Self {
        let mut quotas = self.clone();
        for (quota, most) in changes {
            match most {
                Some(most) => quotas.0.insert(quota, most),
                None => quotas.0.remove(&quota),
            };
        }
        quotas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TEN.8: one that is not named stays, one that is taken back is as if it had never been set.
    #[test]
    fn quotas_are_set_and_taken_back_one_by_one() {
        let set =
            Quotas::default().with([(Quota::Pipelines, Some(3)), (Quota::EventsPerSecond, Some(u64::MAX))]);
        assert_eq!((set.get(Quota::Pipelines), set.get(Quota::Steps)), (Some(3), None));
        assert_eq!(set.events_per_second(), Some(u32::MAX));
        let changed = set.with([(Quota::Steps, Some(0)), (Quota::Pipelines, None)]);
        assert_eq!((changed.get(Quota::Pipelines), changed.get(Quota::Steps)), (None, Some(0)));
        assert_eq!(changed.with([(Quota::Steps, None), (Quota::EventsPerSecond, None)]), Quotas::default());
    }

    /// The names on the wire are those in the log.
    #[test]
    fn quotas_are_kept_by_name() {
        let all = Quotas::default().with(Quota::ALL.map(|quota| (quota, Some(1))));
        let names: Vec<String> = Quota::ALL.iter().map(|quota| format!("\"{quota}\":1")).collect();
        assert_eq!(serde_json::to_string(&all).unwrap(), format!("{{{}}}", names.join(",")));
    }
}
