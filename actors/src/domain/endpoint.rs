//! Endpoints: the URLs that a pipeline calls, and which of them its circuit breaker holds.
//!
//! Every thread that serves a pipeline calls the same endpoints, so facts about one URL come from several of them
//! at once. Each carries the number of the change that it is, and that number, not the fact's place in the log,
//! says which came last: a fold and the running engine agree whatever the order of their appends was.
//!
//! [`breaker`] decides these facts, [`pace`] spreads requests over time; what they count to get there is no state
//! that outlives the process.

pub mod breaker;
pub mod pace;

use super::{digest::Digest, event::EndpointEvent, id::PipelineId, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is known of an endpoint that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Opening {
    /// When its breaker opened.
    pub since: Timestamp,
    /// Failures in a row that opened it.
    pub failures: u32,
    /// Probes that have failed since.
    pub probes: u32,
    /// The next probe goes out with the first delivery that is due at or after this instant.
    pub probe_at: Timestamp,
}

/// The breaker of one URL, as facts tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circuit {
    change: u64,
    opening: Option<Opening>,
}

impl Circuit {
    /// What is now true. A fact that an earlier-written one has overtaken changes nothing.
    pub fn evolve(&mut self, event: &EndpointEvent) {
        if event.change() <= self.change {
            return;
        }
        self.change = event.change();
        self.opening = match event {
            EndpointEvent::EndpointOpened { opening, .. } => Some(*opening),
            EndpointEvent::EndpointClosed { .. } => None,
        };
    }

    /// How it stands if it is open.
    #[must_use]
    pub fn opening(&self) -> Option<&Opening> {
        self.opening.as_ref()
    }

    /// The number of the next change.
    #[must_use]
    pub fn next_change(&self) -> u64 {
        self.change + 1
    }
}

/// The circuits of one pipeline. Endpoints that were never opened are not in it; those that were stay, for the
/// number of their last change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circuits(BTreeMap<Box<str>, Circuit>);

impl Circuits {
    /// What is now true.
    pub fn evolve(&mut self, event: &EndpointEvent) {
        if let Some(circuit) = self.0.get_mut(event.url()) {
            circuit.evolve(event);
        } else {
            self.0.entry(event.url().into()).or_default().evolve(event);
        }
    }

    /// The circuit of a URL.
    #[must_use]
    pub fn of(&self, url: &str) -> Circuit {
        self.0.get(url).copied().unwrap_or_default()
    }

    /// Puts a circuit in as it stands.
    pub fn put(&mut self, url: &str, circuit: Circuit) {
        self.0.insert(url.into(), circuit);
    }

    /// All that ever opened.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Circuit)> {
        self.0.iter().map(|(url, circuit)| (&**url, circuit))
    }

    /// Whether a URL is held.
    #[must_use]
    pub fn is_open(&self, url: &str) -> bool {
        self.0.get(url).is_some_and(|circuit| circuit.opening.is_some())
    }

    /// Whether any URL is held.
    #[must_use]
    pub fn any_open(&self) -> bool {
        self.0.values().any(|circuit| circuit.opening.is_some())
    }

    /// Hash of what a fold must agree on.
    #[must_use]
    pub fn digest(&self, pipeline: &PipelineId) -> Digest {
        let mut sum = Digest::default();
        for (url, circuit) in self.iter() {
            if let Some(opening) = circuit.opening() {
                sum.add(&("open", pipeline.as_str(), url, opening));
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://a.example/hook";

    fn opened(change: u64) -> EndpointEvent {
        let opening = Opening { since: Timestamp(1), failures: 3, probes: 0, probe_at: Timestamp(change) };
        EndpointEvent::EndpointOpened { url: URL.into(), change, opening }
    }

    fn closed(change: u64) -> EndpointEvent {
        EndpointEvent::EndpointClosed { url: URL.into(), change, by: None }
    }

    /// I21: whichever thread wrote first.
    #[test]
    fn the_number_of_a_change_decides_and_not_its_place() {
        let facts = [opened(1), opened(2), closed(3), opened(4)];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 3, 1, 0]] {
            let mut circuits = Circuits::default();
            for at in order {
                circuits.evolve(&facts[at]);
            }
            assert_eq!(circuits.of(URL).opening().map(|o| o.probe_at), Some(Timestamp(4)), "{order:?}");
            assert_eq!(circuits.of(URL).next_change(), 5);
        }
    }

    #[test]
    fn what_closed_again_leaves_nothing_behind_but_its_number() {
        let mut circuits = Circuits::default();
        circuits.evolve(&opened(1));
        assert!(circuits.is_open(URL) && circuits.any_open() && !circuits.is_open("https://b.example"));
        circuits.evolve(&closed(2));
        assert!(!circuits.is_open(URL) && !circuits.any_open());
        let pipeline = PipelineId::new("pipe_a");
        assert_eq!(circuits.digest(&pipeline), Circuits::default().digest(&pipeline));
        assert_eq!(circuits.of(URL).next_change(), 3);
    }
}
