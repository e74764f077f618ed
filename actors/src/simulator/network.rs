//! What becomes of a request: every kind of answer, and none.

use super::plan::{Hazard, Plan};
use crate::{
    domain::{event::Outcome, outcome::OutcomeClass},
    testing::Dice,
};

/// Whole attempts end after this.
const TIMEOUT_MS: u64 = 30_000;

/// What became of one request.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Whether the receiver got it.
    pub(super) arrives: bool,
    /// What the receiver answered.
    pub(super) answered: Option<u16>,
    /// What the engine saw of that.
    pub(super) status: Option<u16>,
    pub(super) class: OutcomeClass,
    pub(super) retry_after: Option<u64>,
    pub(super) takes_ms: u64,
}

impl Answer {
    pub(super) fn outcome(&self) -> Outcome {
        let total_us = u32::try_from(self.takes_ms * 1_000).expect("within the timeout");
        Outcome { class: self.class, status: self.status, detail: "".into(), phases_us: [None; 5], total_us }
    }

    /// The receiver has taken it, and the engine knows.
    pub(super) fn is_success(&self) -> bool {
        self.class == OutcomeClass::Success
    }

    /// The receiver has taken it, whether the engine knows or not.
    pub(super) fn is_taken(&self) -> bool {
        self.answered.is_some_and(|status| (200..300).contains(&status))
    }
}

/// One time for which a receiver is down.
struct Outage {
    host: u64,
    from: u64,
    until: u64,
}

/// See the module.
pub(super) struct Network {
    outages: Vec<Outage>,
    is_rough: bool,
}

const HOUR: u64 = 3_600_000;

impl Network {
    pub(super) fn new(plan: &Plan, dice: &mut Dice) -> Self {
        let mut outages = Vec::new();
        let end = u64::from(plan.days) * 24 * HOUR;
        for _ in 0..8 {
            let (host, from, long) = (dice.roll(4), dice.roll(end), dice.one_in(4));
            let until = from + dice.roll(if long { 12 * HOUR } else { HOUR / 2 });
            outages.push(Outage { host, from, until });
        }
        if !plan.has(Hazard::Outages) {
            outages.clear();
        }
        Self { outages, is_rough: plan.has(Hazard::Network) }
    }

    /// Answers a request to `url`; when all is calm, well.
    pub(super) fn answer(&self, url: &str, now: u64, is_calm: bool, dice: &mut Dice) -> Answer {
        let takes_ms = 1 + if dice.one_in(20) { dice.roll(5_000) } else { dice.roll(60) };
        let answered = |status: u16| Answer {
            arrives: true,
            answered: Some(status),
            status: Some(status),
            class: if (200..300).contains(&status) { OutcomeClass::Success } else { OutcomeClass::HttpError },
            retry_after: None,
            takes_ms,
        };
        if is_calm {
            return answered(200);
        }
        let host = url.bytes().map(u64::from).sum::<u64>() % 4;
        let is_down = self.outages.iter().any(|o| o.host == host && (o.from..o.until).contains(&now));
        let unheard = |class, arrives| Answer {
            arrives,
            answered: None,
            status: None,
            class,
            retry_after: None,
            takes_ms: if class == OutcomeClass::Timeout { TIMEOUT_MS } else { takes_ms },
        };
        let roll = dice.roll(100);
        if is_down {
            return match roll {
                0..=39 => answered(503),
                40..=49 => Answer { retry_after: Some(dice.roll(7_200)), ..answered(503) },
                50..=69 => unheard(OutcomeClass::Timeout, true),
                _ => unheard(OutcomeClass::ConnectionRefused, false),
            };
        }
        let lost = |class: OutcomeClass| Answer {
            answered: Some(200),
            status: None,
            class,
            takes_ms: if class == OutcomeClass::Timeout { TIMEOUT_MS } else { takes_ms },
            ..answered(200)
        };
        match roll {
            0..=3 => answered(500),
            4 => answered(410),
            5 => answered(301),
            6 => Answer { retry_after: Some(dice.roll(600)), ..answered(429) },
            7 => answered(204),
            // Reset before it was read, and behind the answer; an answer that drips past the deadline.
            8 if self.is_rough => unheard(OutcomeClass::ProtocolError, false),
            9 | 10 if self.is_rough => lost(OutcomeClass::ProtocolError),
            11 if self.is_rough => lost(OutcomeClass::Timeout),
            12 if self.is_rough => unheard(OutcomeClass::Timeout, true),
            13 if self.is_rough => unheard(OutcomeClass::DnsError, false),
            14 if self.is_rough => Answer { takes_ms: TIMEOUT_MS - 1, ..answered(200) },
            _ => answered(200),
        }
    }
}
