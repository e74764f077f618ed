//! What an attempt's record makes of it: its class, and a few words.

use super::attempt::{Attempt, Phase};
use crate::delivery::target::UrlRejection;
use crate::delivery::{Exchange, Timings};
use crate::domain::outcome::OutcomeClass;
use bytes::Bytes;

/// Turns what was noted into the exchange's result.
pub(super) fn conclude(attempt: &Attempt, timed_out: bool, excerpt: Bytes) -> Exchange {
    let phase = attempt.phase();
    let timings = attempt.settle();
    let Some(answer) = attempt.take_answer() else {
        let failure = attempt.take_failure();
        let (class, detail) = match failure {
            Some(failure) => (failure.class, failure.detail.into_owned()),
            None if timed_out => {
                let proxy = phase == Some(Phase::Proxy);
                let class = if proxy { OutcomeClass::ProxyError } else { OutcomeClass::Timeout };
                (class, format!("deadline passed {}", during(phase)))
            }
            None => (OutcomeClass::ProtocolError, "the exchange failed".to_owned()),
        };
        return Exchange { timings, ..unsent(class, detail) };
    };
    if timed_out {
        attempt.remark("the answer's body was not complete at the deadline");
    }
    let remark = attempt.take_remark();
    let success = (200..300).contains(&answer.status);
    let detail = match (success, remark) {
        (true, None) => String::new(),
        (true, Some(remark)) => remark.into_owned(),
        (false, None) => format!("HTTP {}", answer.status),
        (false, Some(remark)) => format!("HTTP {}; {remark}", answer.status),
    };
    // Of an answer that was cut nobody knows what the receiver meant to say (RCV.9).
    let class = match (success, attempt.is_cut()) {
        (true, false) => OutcomeClass::Success,
        (true, true) => OutcomeClass::ProtocolError,
        (false, _) => OutcomeClass::HttpError,
    };
    Exchange { class, status: Some(answer.status), retry_after: answer.retry_after, excerpt, detail, timings }
}

fn during(phase: Option<Phase>) -> &'static str {
    match phase {
        None => "before the attempt began",
        Some(Phase::Lookup) => "during the name lookup",
        Some(Phase::Proxy) => "while connecting to the egress proxy",
        Some(Phase::Connect) => "while connecting",
        Some(Phase::Tls) => "during the TLS handshake",
        Some(Phase::Answer) => "while waiting for the answer",
        Some(Phase::Body) => "while reading the answer's body",
    }
}

pub(super) fn refuse(rejection: &UrlRejection) -> Exchange {
    match rejection {
        UrlRejection::Blocked
        | UrlRejection::InternalName
        | UrlRejection::PortNotOpen(_)
        | UrlRejection::Scheme(_) => {
            unsent(OutcomeClass::BlockedAddress, "blocked by egress policy".to_owned())
        }
        other => unsent(OutcomeClass::TemplateError, other.to_string()),
    }
}

/// The result of an exchange that ended before an answer.
pub(super) fn unsent(class: OutcomeClass, detail: String) -> Exchange {
    Exchange {
        class,
        status: None,
        retry_after: None,
        excerpt: Bytes::new(),
        detail,
        timings: Timings::default(),
    }
}
