//! The addresses that deliveries are said to come from, so that receivers can let them through (ATT-33, ATT-34).
//!
//! They are the operator's statement, not the network's: a start with other ones than the last is a fact, and who is
//! to be told of a change before it happens is told from that.

use super::{event::EngineEvent, time::Timestamp};
use serde::{Deserialize, Serialize};

/// What was last published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressIps {
    /// In force until `effective_at`.
    pub before: Vec<String>,
    /// In force from then on.
    pub after: Vec<String>,
    /// When the one gives way to the other.
    pub effective_at: Timestamp,
}

impl EgressIps {
    /// The addresses and networks in force.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> &[String] {
        if now < self.effective_at { &self.before } else { &self.after }
    }

    /// Those that will be, if that is announced.
    #[must_use]
    pub fn coming(&self, now: Timestamp) -> Option<&[String]> {
        (now < self.effective_at).then_some(self.after.as_slice())
    }

    /// What a start with these settings has to put on record, if anything. `from` is when `wanted` holds; without
    /// it, at once.
    #[must_use]
    pub fn change(&self, wanted: &[String], from: Option<Timestamp>, now: Timestamp) -> Option<EngineEvent> {
        let effective_at = from.unwrap_or(now);
        let is_new_date =
            from.is_some_and(|from| from != self.effective_at && from.max(self.effective_at) > now);
        // An announced change that is now wanted without a date has come.
        let has_come = from.is_none() && now < self.effective_at;
        if self.after == wanted && !is_new_date && !has_come {
            return None;
        }
        let (before, after) = (self.at(now).to_vec(), wanted.to_vec());
        Some(EngineEvent::EgressIpsChanged { before, after, effective_at })
    }

    /// What is now true.
    pub fn evolve(&mut self, event: &EngineEvent) {
        if let EngineEvent::EgressIpsChanged { before, after, effective_at } = event {
            *self = Self { before: before.clone(), after: after.clone(), effective_at: *effective_at };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn start(state: &mut EgressIps, wanted: &[&str], from: Option<u64>, now: u64) -> bool {
        let event = state.change(&ips(wanted), from.map(Timestamp), Timestamp(now));
        event.as_ref().map(|event| state.evolve(event)).is_some()
    }

    /// ATT-33, T-43
    #[test]
    fn a_start_with_other_addresses_is_a_change_and_one_with_the_same_is_none() {
        let mut state = EgressIps::default();
        assert!(!start(&mut state, &[], None, 1));
        assert!(start(&mut state, &["192.0.2.1"], None, 2));
        assert!(!start(&mut state, &["192.0.2.1"], None, 3));
        assert_eq!((state.at(Timestamp(3)), state.coming(Timestamp(3))), (&ips(&["192.0.2.1"])[..], None));
        assert!(start(&mut state, &[], None, 4), "withdrawn");
    }

    /// ATT-34: what comes is told before it is there.
    #[test]
    fn an_announced_change_holds_from_its_date() {
        let mut state = EgressIps::default();
        start(&mut state, &["192.0.2.1"], None, 1);
        assert!(start(&mut state, &["192.0.2.2"], Some(100), 10));
        assert_eq!(state.at(Timestamp(99)), ips(&["192.0.2.1"]));
        assert_eq!(state.coming(Timestamp(99)), Some(&ips(&["192.0.2.2"])[..]));
        assert_eq!(state.at(Timestamp(100)), ips(&["192.0.2.2"]));
        assert!(!start(&mut state, &["192.0.2.2"], Some(100), 50), "the same announcement");
        assert!(start(&mut state, &["192.0.2.2"], Some(200), 60), "put off");
        assert_eq!(state.at(Timestamp(150)), ips(&["192.0.2.1"]));
        assert!(start(&mut state, &["192.0.2.2"], None, 160), "brought forward");
        assert_eq!(state.at(Timestamp(160)), ips(&["192.0.2.2"]));
        assert!(!start(&mut state, &["192.0.2.2"], Some(150), 170), "a date that is over is no news");
    }
}
