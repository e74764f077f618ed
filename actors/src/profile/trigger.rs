//! Which events a pipeline wants: documented aliases, event types, and patterns (AFM-33 … AFM-40, T-20).

use super::{Profile, is_event_type};
use crate::domain::operator_event::OperatorEvent;
use std::collections::BTreeMap;

/// Longest trigger in bytes.
const TRIGGER_MAX: usize = 128;

/// `conversion` → `conversion.created`.
pub(super) type Aliases = BTreeMap<String, Vec<String>>;

/// Why a text is no trigger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TriggerError {
    /// Not among what the provider documents.
    #[error("`{}` matches no event; allowed are {allowed}, and patterns with `*`", trigger.escape_debug())]
    Unknown { trigger: String, allowed: String },
    /// Neither a type nor a pattern.
    #[error("`{}` is not an event type such as `user.created` or a pattern such as `user.*`", .0.escape_debug())]
    Malformed(String),
}

impl Profile {
    /// The provider's own names for sets of event types.
    #[must_use]
    pub fn trigger_aliases(&self) -> impl ExactSizeIterator<Item = (&str, &[String])> {
        self.aliases.iter().map(|(name, types)| (name.as_str(), types.as_slice()))
    }

    /// Whether any of `triggers` wants events of this type. Reads two words in most cases, and allocates nothing.
    #[must_use]
    pub fn triggers_match(&self, triggers: &[String], event_type: &str) -> bool {
        triggers.iter().any(|trigger| self.trigger_matches(trigger, event_type))
    }

    /// What `{{trigger_type}}` is for an event of this type: the first trigger that wants it, or the type itself
    /// where that is a pattern (T-21).
    #[must_use]
    pub fn trigger_type<'t>(&self, triggers: &'t [String], event_type: &'t str) -> &'t str {
        let wanted = triggers.iter().find(|trigger| self.trigger_matches(trigger, event_type));
        wanted.filter(|trigger| !is_pattern(trigger)).map_or(event_type, String::as_str)
    }

    /// Refuses what can match no event.
    pub fn check_trigger(&self, trigger: &str) -> Result<(), TriggerError> {
        if OperatorEvent::parse(trigger).is_some() {
            return Ok(());
        }
        let well_formed = trigger.len() <= TRIGGER_MAX && is_event_type(&trigger.replace('*', "x"));
        if !self.is_closed() {
            return if well_formed { Ok(()) } else { Err(TriggerError::Malformed(trigger.to_owned())) };
        }
        let mut types = self.event_types().map(|kind| kind.name.as_str());
        if well_formed && (self.aliases.contains_key(trigger) || types.any(|kind| glob(trigger, kind))) {
            return Ok(());
        }
        let names = self.aliases.keys().chain(self.event_types().map(|kind| &kind.name)).map(String::as_str);
        let own = OperatorEvent::ALL.map(OperatorEvent::as_str);
        let allowed = names.chain(own).collect::<Vec<_>>().join(", ");
        let shown = trigger.chars().take(TRIGGER_MAX).collect();
        Err(TriggerError::Unknown { trigger: shown, allowed })
    }

    /// The event types that a trigger names, itself and as an alias; `None` if it is a pattern, which has to be tried.
    pub(crate) fn named_types<'t>(&'t self, trigger: &'t str) -> Option<impl Iterator<Item = &'t str>> {
        let aliased = self.aliases.get(trigger).into_iter().flatten().map(String::as_str);
        (!is_pattern(trigger)).then(|| std::iter::once(trigger).chain(aliased))
    }

    fn trigger_matches(&self, trigger: &str, event_type: &str) -> bool {
        if trigger == event_type {
            return true;
        }
        if is_pattern(trigger) {
            // ATT-14: an event of high volume goes only to those who name it; so do the engine's own.
            let is_loud = || self.event_type(event_type).is_some_and(|kind| kind.high_volume);
            let is_own = || OperatorEvent::parse(event_type).is_some();
            return glob(trigger, event_type) && !is_loud() && !is_own();
        }
        self.aliases.get(trigger).is_some_and(|types| types.iter().any(|name| name == event_type))
    }
}

fn is_pattern(trigger: &str) -> bool {
    trigger.contains('*')
}

/// Whether `pattern` matches all of `text`; `*` stands for any run of characters, dots included.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        // The leftmost place leaves most for the parts that follow.
        let Some(place) = text.find(part) else { return false };
        text = &text[place + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_match_any_run() {
        for (pattern, text, expected) in [
            ("*", "a.b", true),
            ("conversion.*", "conversion.created", true),
            ("conversion.*", "conversions.created", false),
            ("*.created", "conversion.created", true),
            ("*.created", "conversion.created.twice", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a.b.c", true),
            ("a*b*c", "acb", false),
            ("a", "a", true),
            ("a", "ab", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn glob_agrees_with_the_slow_definition(pattern in "[ab*]{0,6}", text in "[ab]{0,8}") {
            fn slow(pattern: &[u8], text: &[u8]) -> bool {
                match pattern.split_first() {
                    None => text.is_empty(),
                    Some((b'*', rest)) => (0..=text.len()).any(|at| slow(rest, &text[at..])),
                    Some((byte, rest)) => text.first() == Some(byte) && slow(rest, &text[1..]),
                }
            }
            prop_assert_eq!(glob(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
