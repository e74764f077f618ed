//! `retry_policy`: from the API's fields to a [`RetryPolicy`], and back.

use crate::http::fields::{Object, Value};
use ledgerhook_actors::domain::retry::{
    ATTEMPTS_MAX, Backoff, DEFAULT_CAP, DELAY_MAX, PolicyError, RetryPolicy,
};
use serde::Serialize;
use utoipa::ToSchema;

/// Names of presets, for errors.
const PRESETS: &str = "`afftok-default`, `attribution`, `apexmediation`, `social`, `standard`";

/// Delay before attempt 2 where none is named (AFM-19).
const INITIAL_MS: u64 = 5_000;
/// Share of jitter where none is named (AFM-21).
const JITTER: f64 = 0.2;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Fixed,
    Exponential,
    Jitter,
    Schedule,
}

const KINDS: [(&str, Kind); 4] = [
    ("fixed", Kind::Fixed),
    ("exponential", Kind::Exponential),
    ("exponential_jitter", Kind::Jitter),
    ("schedule", Kind::Schedule),
];

/// All fields of a policy.
const FIELDS: [&str; 7] = [
    "preset",
    "max_attempts",
    "backoff_type",
    "initial_delay_seconds",
    "max_delay_seconds",
    "jitter_factor",
    "delays_seconds",
];

/// What of a policy was given.
#[derive(Default)]
struct Parts {
    attempts: Option<u16>,
    initial_ms: Option<u64>,
    max_ms: Option<u64>,
    factor: Option<f64>,
    delays_ms: Option<Vec<u64>>,
}

/// Reads a policy; what it does not say comes from the profile's default.
pub(super) fn read(value: &Value<'_>, default: &RetryPolicy) -> Option<RetryPolicy> {
    value.object(|fields| read_onto(fields, default))
}

/// Merges a patch into a policy (RFC 7396): what it does not say stays, and what is `null` in it is as by default.
pub(super) fn patch(value: &Value<'_>, old: &RetryPolicy, default: &RetryPolicy) -> Option<RetryPolicy> {
    value.object(|fields| {
        let removed: Vec<&str> = FIELDS.into_iter().filter(|name| fields.take_null(name)).collect();
        read_onto(fields, &without(&removed, old, default))
    })
}

/// A policy without some of its fields, in whose place the default's stand.
fn without(removed: &[&str], old: &RetryPolicy, default: &RetryPolicy) -> RetryPolicy {
    let is_removed = |name| removed.contains(&name);
    let attempts_max = if is_removed("max_attempts") { default.attempts_max } else { old.attempts_max };
    let (own_initial, own_max) = bounds_of(&default.backoff);
    let initial =
        |kept| if is_removed("initial_delay_seconds") { own_initial.unwrap_or(INITIAL_MS) } else { kept };
    let max = |kept, initial| {
        if is_removed("max_delay_seconds") { own_max.unwrap_or_else(cap_ms).max(initial) } else { kept }
    };
    let backoff = match &old.backoff {
        // These two carry the others: without them nothing of the old way is left.
        _ if is_removed("backoff_type") => default.backoff.clone(),
        Backoff::Schedule { .. } if is_removed("delays_seconds") => default.backoff.clone(),
        Backoff::Schedule { delays_ms } => Backoff::Schedule { delays_ms: delays_ms.clone() },
        Backoff::Fixed { delay_ms } => Backoff::Fixed { delay_ms: initial(*delay_ms) },
        Backoff::Exponential { initial_ms, max_ms } => {
            let initial_ms = initial(*initial_ms);
            Backoff::Exponential { initial_ms, max_ms: max(*max_ms, initial_ms) }
        }
        Backoff::ExponentialJitter { initial_ms, max_ms, factor } => {
            let initial_ms = initial(*initial_ms);
            let factor = if is_removed("jitter_factor") { jitter_of(&default.backoff) } else { *factor };
            Backoff::ExponentialJitter { initial_ms, max_ms: max(*max_ms, initial_ms), factor }
        }
    };
    RetryPolicy { attempts_max, backoff }
}

fn read_onto(fields: &mut Object<'_>, base: &RetryPolicy) -> Option<RetryPolicy> {
    let preset = fields.get("preset").map(|preset| named(&preset));
    let kind = fields.get("backoff_type").map(|kind| kind.choice(&KINDS));
    let parts = parts(fields)?;
    let policy = match (preset, kind) {
        (Some(_), Some(_)) => {
            return fields.value().wrong("conflict", "has either `preset` or `backoff_type`");
        }
        (Some(preset), None) => alone(fields, preset?, parts)?,
        (None, kind) => assemble(fields, kind.map_or(Some(None), |kind| kind.map(Some))?, parts, base)?,
    };
    checked(fields, policy)
}

fn named(value: &Value<'_>) -> Option<RetryPolicy> {
    let name = value.string()?;
    RetryPolicy::preset(name).or_else(|| value.wrong("unknown_value", format!("is to be one of {PRESETS}")))
}

fn parts(fields: &mut Object<'_>) -> Option<Parts> {
    let attempts = fields.get("max_attempts").map(|v| v.integer(1..=ATTEMPTS_MAX.into()));
    let initial_ms = fields.get("initial_delay_seconds").map(|v| millis(&v));
    let max_ms = fields.get("max_delay_seconds").map(|v| millis(&v));
    let factor = fields.get("jitter_factor").map(|v| v.number(0.0..=1.0));
    let delays_ms = fields.get("delays_seconds").map(|v| {
        let delays = v.array(0..=usize::from(ATTEMPTS_MAX) - 1)?;
        // All are read before any mistake ends it.
        delays.iter().map(millis).collect::<Vec<_>>().into_iter().collect::<Option<Vec<u64>>>()
    });
    let attempts = match attempts {
        Some(attempts) => Some(u16::try_from(attempts?).ok()?),
        None => None,
    };
    let sound = [&initial_ms, &max_ms].into_iter().all(|given| *given != Some(None));
    if !sound || factor == Some(None) || delays_ms == Some(None) {
        return None;
    }
    Some(Parts {
        attempts,
        initial_ms: initial_ms.flatten(),
        max_ms: max_ms.flatten(),
        factor: factor.flatten(),
        delays_ms: delays_ms.flatten(),
    })
}

/// A preset may be cut short or stretched, and that is all.
fn alone(fields: &Object<'_>, preset: RetryPolicy, parts: Parts) -> Option<RetryPolicy> {
    let Parts { attempts, initial_ms, max_ms, factor, delays_ms } = parts;
    if initial_ms.is_some() || max_ms.is_some() || factor.is_some() || delays_ms.is_some() {
        return fields.value().wrong("conflict", "a `preset` takes no field beside it but `max_attempts`");
    }
    Some(RetryPolicy { attempts_max: attempts.unwrap_or(preset.attempts_max), ..preset })
}

fn assemble(
    fields: &Object<'_>,
    kind: Option<Kind>,
    parts: Parts,
    base: &RetryPolicy,
) -> Option<RetryPolicy> {
    let base_kind = kind_of(&base.backoff);
    let kind = kind.unwrap_or(match &parts {
        Parts { delays_ms: Some(_), .. } => Kind::Schedule,
        Parts { factor: Some(_), .. } => Kind::Jitter,
        // Delays were named, and a table has none to name: the contract's default kind.
        Parts { initial_ms: Some(_), .. } | Parts { max_ms: Some(_), .. } if base_kind == Kind::Schedule => {
            Kind::Exponential
        }
        _ => base_kind,
    });
    refuse_strangers(fields, kind, &parts)?;
    let Parts { attempts, initial_ms, max_ms, factor, delays_ms } = parts;
    let (base_initial, base_max) = bounds_of(&base.backoff);
    let initial_ms = initial_ms.or(base_initial).unwrap_or(INITIAL_MS);
    let max_ms = max_ms.or(base_max).unwrap_or_else(|| cap_ms().max(initial_ms));
    let backoff = match kind {
        Kind::Fixed => Backoff::Fixed { delay_ms: initial_ms },
        Kind::Exponential => Backoff::Exponential { initial_ms, max_ms },
        Kind::Jitter => {
            let factor = factor.unwrap_or_else(|| jitter_of(&base.backoff));
            Backoff::ExponentialJitter { initial_ms, max_ms, factor }
        }
        Kind::Schedule => match (delays_ms, &base.backoff) {
            (Some(delays_ms), _) => {
                let own = u16::try_from(delays_ms.len() + 1).unwrap_or(ATTEMPTS_MAX);
                let attempts_max = attempts.unwrap_or(own);
                return Some(RetryPolicy { attempts_max, backoff: Backoff::Schedule { delays_ms } });
            }
            (None, Backoff::Schedule { delays_ms }) => Backoff::Schedule { delays_ms: delays_ms.clone() },
            (None, _) => {
                let pointer = format!("{}/delays_seconds", fields.value().pointer());
                fields.value().report().add(pointer, "required", "is required with `backoff_type: schedule`");
                return None;
            }
        },
    };
    Some(RetryPolicy { attempts_max: attempts.unwrap_or(base.attempts_max), backoff })
}

/// A field that the kind does not read is a misunderstanding, and is told.
fn refuse_strangers(fields: &Object<'_>, kind: Kind, parts: &Parts) -> Option<()> {
    let strangers = [
        ("initial_delay_seconds", parts.initial_ms.is_some() && kind == Kind::Schedule),
        ("max_delay_seconds", parts.max_ms.is_some() && kind == Kind::Schedule),
        ("jitter_factor", parts.factor.is_some() && kind != Kind::Jitter),
        ("delays_seconds", parts.delays_ms.is_some() && kind != Kind::Schedule),
    ];
    let name = KINDS.iter().find(|(_, known)| *known == kind).map_or("", |(name, _)| name);
    let at = fields.value();
    let mut sound = Some(());
    for (field, _) in strangers.iter().filter(|(_, is_stranger)| *is_stranger) {
        at.report().add(
            format!("{}/{field}", at.pointer()),
            "not_applicable",
            format!("means nothing with `backoff_type: {name}`"),
        );
        sound = None;
    }
    sound
}

fn checked(fields: &Object<'_>, policy: RetryPolicy) -> Option<RetryPolicy> {
    let Err(error) = policy.validate() else { return Some(policy) };
    let code = if error == PolicyError::InitialAboveMax { "conflict" } else { "out_of_range" };
    let pointer = format!("{}/{}", fields.value().pointer(), error.field());
    fields.value().report().add(pointer, code, error.to_string());
    None
}

/// Seconds with up to three digits behind the point: 0 to 604,800 (ADM.6).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the range was checked, and lies far below 2^53"
)]
fn millis(value: &Value<'_>) -> Option<u64> {
    let seconds = value.number(0.0..=DELAY_MAX.as_secs() as f64)?;
    Some((seconds * 1_000.0).round() as u64)
}

fn kind_of(backoff: &Backoff) -> Kind {
    match backoff {
        Backoff::Fixed { .. } => Kind::Fixed,
        Backoff::Exponential { .. } => Kind::Exponential,
        Backoff::ExponentialJitter { .. } => Kind::Jitter,
        Backoff::Schedule { .. } => Kind::Schedule,
    }
}

fn jitter_of(backoff: &Backoff) -> f64 {
    if let Backoff::ExponentialJitter { factor, .. } = backoff { *factor } else { JITTER }
}

fn cap_ms() -> u64 {
    u64::try_from(DEFAULT_CAP.as_millis()).unwrap_or(u64::MAX)
}

fn bounds_of(backoff: &Backoff) -> (Option<u64>, Option<u64>) {
    match *backoff {
        Backoff::Fixed { delay_ms } => (Some(delay_ms), None),
        Backoff::Exponential { initial_ms, max_ms }
        | Backoff::ExponentialJitter { initial_ms, max_ms, .. } => (Some(initial_ms), Some(max_ms)),
        Backoff::Schedule { .. } => (None, None),
    }
}

/// A policy as the API shows it: can be sent back as it is.
#[derive(Serialize, ToSchema)]
#[schema(as = RetryPolicy)]
pub(super) struct RetryView {
    max_attempts: u16,
    backoff_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    initial_delay_seconds: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    max_delay_seconds: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter_factor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<f64>>)]
    delays_seconds: Option<Vec<Seconds>>,
}

/// Milliseconds shown as seconds: an integer wherever it is one.
#[derive(Clone, Copy)]
struct Seconds(u64);

impl Serialize for Seconds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1_000) {
            return serializer.serialize_u64(self.0 / 1_000);
        }
        let millis = u32::try_from(self.0).unwrap_or(u32::MAX);
        serializer.serialize_f64(f64::from(millis) / 1_000.0)
    }
}

impl From<&RetryPolicy> for RetryView {
    fn from(policy: &RetryPolicy) -> Self {
        let (initial, max) = bounds_of(&policy.backoff);
        let kind = kind_of(&policy.backoff);
        Self {
            max_attempts: policy.attempts_max,
            backoff_type: KINDS.iter().find(|(_, known)| *known == kind).map_or("", |(name, _)| name),
            initial_delay_seconds: initial.map(Seconds),
            max_delay_seconds: max.map(Seconds),
            jitter_factor: match policy.backoff {
                Backoff::ExponentialJitter { factor, .. } => Some(factor),
                _ => None,
            },
            delays_seconds: match &policy.backoff {
                Backoff::Schedule { delays_ms } => Some(delays_ms.iter().copied().map(Seconds).collect()),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::json_body::AdminBody;

    fn policy(text: &str) -> Result<RetryPolicy, Vec<String>> {
        let body = AdminBody::of(format!("{{\"retry_policy\":{text}}}"));
        body.object(|fields| read(&fields.get("retry_policy")?, &RetryPolicy::default()))
            .map_err(|error| error.problem().errors.iter().map(|e| e.pointer.clone()).collect())
    }

    fn blamed(text: &str) -> String {
        policy(text).unwrap_err().join(" ").replace("/retry_policy", "")
    }

    /// AFM-16 … AFM-21, T-49
    #[test]
    fn the_contracts_examples_are_read() {
        let read = policy(r#"{"max_attempts":5,"backoff_type":"exponential","initial_delay_seconds":5}"#);
        let backoff = Backoff::Exponential { initial_ms: 5_000, max_ms: 3_600_000 };
        assert_eq!(read.unwrap(), RetryPolicy { attempts_max: 5, backoff });
        let text = r#"{"max_attempts":8,"backoff_type":"exponential_jitter","initial_delay_seconds":5,"max_delay_seconds":3600,"jitter_factor":0.2}"#;
        let backoff = Backoff::ExponentialJitter { initial_ms: 5_000, max_ms: 3_600_000, factor: 0.2 };
        assert_eq!(policy(text).unwrap(), RetryPolicy { attempts_max: 8, backoff });
        assert_eq!(serde_json::to_string(&RetryView::from(&policy(text).unwrap())).unwrap(), text);
    }

    #[test]
    fn what_is_left_out_comes_from_the_default_table() {
        assert_eq!(policy("{}").unwrap(), RetryPolicy::default());
        assert_eq!(policy(r#"{"max_attempts":3}"#).unwrap().attempts_max, 3);
        assert_eq!(policy(r#"{"preset":"social"}"#).unwrap(), RetryPolicy::preset("social").unwrap());
        let table = policy(r#"{"delays_seconds":[0.1,2]}"#).unwrap();
        let backoff = Backoff::Schedule { delays_ms: vec![100, 2_000] };
        assert_eq!(table, RetryPolicy { attempts_max: 3, backoff });
        assert_eq!(
            serde_json::to_string(&RetryView::from(&table)).unwrap(),
            r#"{"max_attempts":3,"backoff_type":"schedule","delays_seconds":[0.1,2]}"#
        );
    }

    /// RFC 7396: `null` takes a field out, and what is out is as by default.
    #[test]
    fn a_patch_takes_out_what_is_null() {
        let patched = |old: &str, text: &str| {
            let old = policy(old).unwrap();
            let body = AdminBody::of(format!("{{\"retry_policy\":{text}}}"));
            let default = RetryPolicy::default();
            body.object(|fields| super::patch(&fields.get("retry_policy")?, &old, &default)).unwrap()
        };
        let old = r#"{"max_attempts":9,"backoff_type":"exponential_jitter","initial_delay_seconds":7,"max_delay_seconds":70,"jitter_factor":0.5}"#;
        let with = |initial_ms, max_ms, factor| Backoff::ExponentialJitter { initial_ms, max_ms, factor };
        let of = |backoff| RetryPolicy { attempts_max: 9, backoff };
        assert_eq!(patched(old, "{}"), of(with(7_000, 70_000, 0.5)));
        assert_eq!(patched(old, r#"{"jitter_factor":null}"#), of(with(7_000, 70_000, JITTER)));
        assert_eq!(patched(old, r#"{"initial_delay_seconds":null}"#), of(with(INITIAL_MS, 70_000, 0.5)));
        assert_eq!(patched(old, r#"{"max_delay_seconds":null}"#), of(with(7_000, 3_600_000, 0.5)));
        let default = RetryPolicy::default();
        assert_eq!(patched(old, r#"{"backoff_type":null}"#), of(default.backoff.clone()));
        let attempts_max = default.attempts_max;
        let all = r#"{"max_attempts":null,"backoff_type":null,"preset":null,"jitter_factor":null,"delays_seconds":null}"#;
        assert_eq!(patched(old, all), default);
        let fixed = r#"{"max_attempts":null,"backoff_type":"fixed","jitter_factor":null}"#;
        let backoff = Backoff::Fixed { delay_ms: 7_000 };
        assert_eq!(patched(old, fixed), RetryPolicy { attempts_max, backoff });
        assert_eq!(
            patched(r#"{"delays_seconds":[1,2]}"#, r#"{"delays_seconds":null}"#).backoff,
            default.backoff
        );
    }

    /// ADM.5
    #[test]
    fn attempts_outside_of_the_range_are_refused() {
        for n in
            ["0", "-1", "1.5", "\"8\"", "51", "2147483648", "4294967296", "9007199254740993", "1e400", "null"]
        {
            assert_eq!(blamed(&format!("{{\"max_attempts\":{n}}}")), "/max_attempts", "{n}");
        }
    }

    /// ADM.6
    #[test]
    fn delays_outside_of_the_range_are_refused() {
        for n in ["-1", "18446744073709551615", "604801", "1e400", "\"5\"", "null"] {
            for field in ["initial_delay_seconds", "max_delay_seconds"] {
                let text = format!("{{\"backoff_type\":\"exponential\",\"{field}\":{n}}}");
                assert_eq!(blamed(&text), format!("/{field}"), "{n}");
            }
        }
        let above = r#"{"backoff_type":"exponential","initial_delay_seconds":10,"max_delay_seconds":5}"#;
        assert_eq!(blamed(above), "/initial_delay_seconds");
        assert!(policy(r#"{"backoff_type":"fixed","initial_delay_seconds":0}"#).is_ok());
    }

    /// ADM.7
    #[test]
    fn jitter_outside_of_the_range_is_refused() {
        for n in ["-0.1", "1.0000001", "1e308", "\"0.2\"", "null"] {
            let text = format!("{{\"backoff_type\":\"exponential_jitter\",\"jitter_factor\":{n}}}");
            assert_eq!(blamed(&text), "/jitter_factor", "{n}");
        }
    }

    #[test]
    fn fields_that_mean_nothing_together_are_told() {
        assert_eq!(blamed(r#"{"backoff_type":"fixed","jitter_factor":0.1}"#), "/jitter_factor");
        assert_eq!(
            blamed(r#"{"backoff_type":"schedule","max_delay_seconds":1,"delays_seconds":[1]}"#),
            "/max_delay_seconds"
        );
        assert_eq!(blamed(r#"{"preset":"social","backoff_type":"fixed"}"#), "");
        assert_eq!(blamed(r#"{"preset":"unheard-of"}"#), "/preset");
        assert_eq!(blamed(r#"{"backoff_type":"EXPONENTIAL"}"#), "/backoff_type");
        assert_eq!(blamed(r#"{"backoff":"fixed"}"#), "/backoff");
    }
}
