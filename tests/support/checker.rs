//! Decides the invariants of a run from the clients' records, the receivers' records and the API alone.
//!
//! It shares no code with the engine: signatures, bodies and order are worked out again here.

use super::{Api, Received};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    time::{Duration, Instant, UNIX_EPOCH},
};

/// An event as a client posted it.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub event: Value,
    /// Who posted it; one client posts one thing after the other.
    pub client: usize,
    /// The first 2xx or 4xx; none if every post of it was cut or answered 5xx.
    pub answered: Option<Answered>,
}

/// What a client was told of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub status: u16,
    /// Where the receipt says that it stands.
    pub position: Option<u64>,
}

impl Posted {
    pub(crate) fn id(&self) -> &str {
        self.event["id"].as_str().unwrap_or_default()
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.answered.is_some_and(|answered| (200..300).contains(&answered.status))
    }

    fn position(&self) -> Option<u64> {
        self.answered.and_then(|answered| answered.position)
    }
}

impl Answered {
    /// What an answer to a post of one event says.
    pub(crate) fn of(answer: &super::Answer) -> Self {
        Self { status: answer.status, position: answer.json["data"]["position"].as_u64() }
    }
}

/// A delivery as the API tells it.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub id: String,
    pub pipeline: String,
    pub event: String,
    pub status: String,
    pub attempts: Vec<Attempt>,
}

/// An attempt as the API tells it.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub number: u32,
    pub round: u32,
    pub queue: String,
    pub outcome: String,
    pub http_status: Option<u16>,
}

impl Delivery {
    pub(crate) fn of(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let attempts = value["attempts"].as_array().cloned().unwrap_or_default();
        Self {
            id: text("id"),
            pipeline: text("pipeline_id"),
            event: text("event_id"),
            status: text("status"),
            attempts: attempts.iter().map(Attempt::of).collect(),
        }
    }

    fn is_pending(&self) -> bool {
        matches!(&*self.status, "queued" | "in_flight" | "retrying" | "held")
    }
}

impl Attempt {
    fn of(value: &Value) -> Self {
        let number = |key: &str| value[key].as_u64().and_then(|n| u32::try_from(n).ok());
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        Self {
            number: number("number").unwrap_or_default(),
            round: number("round").unwrap_or(1),
            queue: text("queue"),
            outcome: text("outcome"),
            http_status: value["http_status"].as_u64().and_then(|n| u16::try_from(n).ok()),
        }
    }
}

/// All deliveries with their attempts, once nothing is pending and the lists tell what the engine does.
#[track_caller]
pub(crate) fn deliveries(api: &Api) -> Vec<Delivery> {
    let listed = super::within(Duration::from_mins(1), "the run is at rest, and its lists too", || {
        let state = api.get("/api/state").data(200);
        let listed = api.list("/api/deliveries", "items");
        let told = |status: &str| listed.iter().filter(|one| one["status"] == status).count();
        let counts = state["deliveries"].as_object()?;
        counts.iter().all(|(status, count)| *count == told(status)).then_some(())?;
        let ended = ["delivered", "dead_lettered", "skipped", "cancelled"];
        (ended.into_iter().map(told).sum::<usize>() == listed.len()).then_some(listed)
    });
    let ids = listed.iter().map(|one| one["id"].as_str().expect("an id"));
    ids.map(|id| Delivery::of(&api.get(&format!("/api/deliveries/{id}")).data(200))).collect()
}

/// Everything that was seen of a run, at quiescence.
#[derive(Clone)]
pub(crate) struct Run {
    pub posted: Vec<Posted>,
    pub received: Vec<Received>,
    pub deliveries: Vec<Delivery>,
    /// Open dead letters, by delivery.
    pub dead: Vec<String>,
    /// From a kill to the moment at which the next process was ready.
    pub outages: Vec<(Instant, Instant)>,
    pub pipelines: usize,
    pub attempts_max: u32,
    pub signing_key: String,
    /// The wait between two attempts, where it is fixed.
    pub delay: Option<Duration>,
}

/// What was broken, by invariant.
#[derive(Default)]
pub(crate) struct Breaks(BTreeMap<&'static str, Vec<String>>);

impl Breaks {
    fn add(&mut self, invariant: &'static str, what: impl fmt::Display) {
        self.0.entry(invariant).or_default().push(what.to_string());
    }

    fn unless(&mut self, holds: bool, invariant: &'static str, what: impl FnOnce() -> String) {
        if !holds {
            self.add(invariant, what());
        }
    }
}

impl fmt::Display for Breaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (invariant, all) in &self.0 {
            writeln!(f, "{invariant}: broken {} times", all.len())?;
            all.iter().take(5).try_for_each(|one| writeln!(f, "  {one}"))?;
        }
        Ok(())
    }
}

impl Run {
    /// Gathers what the API knows; the rest is given.
    pub(crate) fn gather(api: &Api, posted: Vec<Posted>, received: Vec<Received>) -> Self {
        let deliveries = deliveries(api);
        let dead = api.list("/api/admin/webhooks/logs/dlq", "items");
        let dead = dead.iter().filter_map(|item| item["delivery_id"].as_str().map(str::to_owned));
        Self {
            posted,
            received,
            deliveries,
            dead: dead.collect(),
            outages: Vec::new(),
            pipelines: 1,
            attempts_max: 8,
            signing_key: super::make::SIGNING_KEY.into(),
            delay: None,
        }
    }

    /// Panics with all breaks if there is one.
    #[track_caller]
    pub(crate) fn check(&self) {
        let breaks = self.breaks();
        assert!(breaks.0.is_empty(), "{breaks}");
    }

    /// The invariants that are broken.
    pub(crate) fn broken(&self) -> Vec<&'static str> {
        self.breaks().0.into_keys().collect()
    }

    fn breaks(&self) -> Breaks {
        let mut breaks = Breaks::default();
        self.nothing_lost_or_invented(&mut breaks);
        self.order(&mut breaks);
        self.attempts(&mut breaks);
        self.bytes(&mut breaks);
        self.dead_letters(&mut breaks);
        breaks
    }

    fn by_delivery(&self) -> HashMap<&str, Vec<&Received>> {
        let mut requests: HashMap<&str, Vec<&Received>> = HashMap::new();
        self.received.iter().for_each(|one| requests.entry(one.delivery()).or_default().push(one));
        requests
    }

    /// Whether a kill fell between these moments, or into the second behind them.
    fn killed_within(&self, start: Instant, end: Option<Instant>) -> bool {
        let end = end.map(|end| end + Duration::from_secs(1));
        self.outages.iter().any(|(killed, ready)| *ready >= start && end.is_none_or(|end| *killed <= end))
    }

    /// I1, I2, I3, I6, I20.
    fn nothing_lost_or_invented(&self, breaks: &mut Breaks) {
        let requests = self.by_delivery();
        let posted: HashMap<&str, &Posted> = self.posted.iter().map(|one| (one.id(), one)).collect();
        let mut of_event: HashMap<&str, Vec<&Delivery>> = HashMap::new();
        self.deliveries.iter().for_each(|one| of_event.entry(&one.event).or_default().push(one));

        for (id, one) in &posted {
            let known = of_event.get(id).map_or(&[][..], Vec::as_slice);
            let pipelines: BTreeSet<&str> = known.iter().map(|one| &*one.pipeline).collect();
            breaks.unless(pipelines.len() == known.len(), "I3", || format!("{id} has {known:?}"));
            match one.answered {
                Some(_) if one.is_accepted() => breaks.unless(known.len() == self.pipelines, "I1", || {
                    format!("{id} was accepted and has {} deliveries", known.len())
                }),
                Some(_) => breaks.unless(known.is_empty(), "I2", || format!("{id} was refused, and sent")),
                None => {}
            }
        }
        for delivery in &self.deliveries {
            breaks.unless(posted.contains_key(&*delivery.event), "I2", || {
                format!("never posted: {delivery:?}")
            });
            let sent = requests.get(&*delivery.id).map_or(&[][..], Vec::as_slice);
            let reached = sent.iter().any(|one| one.is_success());
            let fits = match &*delivery.status {
                "delivered" => reached,
                "dead_lettered" | "skipped" | "cancelled" => true,
                _ => delivery.is_pending(),
            };
            breaks.unless(fits, "I1", || format!("{} is `{}`", delivery.id, delivery.status));
        }
        let known: BTreeSet<&str> = self.deliveries.iter().map(|one| &*one.id).collect();
        for request in &self.received {
            breaks.unless(known.contains(request.delivery()), "I2", || {
                format!("request {} belongs to no delivery", request.index)
            });
        }
        self.counts_add_up(breaks);
        self.acceptance_order(breaks);
    }

    fn counts_add_up(&self, breaks: &mut Breaks) {
        let accepted = self.posted.iter().filter(|one| one.is_accepted()).count();
        let listed = self.deliveries.len();
        let least = accepted * self.pipelines;
        let most = self.posted.len() * self.pipelines;
        breaks.unless((least..=most).contains(&listed), "I20", || {
            format!("{listed} deliveries of {accepted} accepted events to {} pipelines", self.pipelines)
        });
    }

    /// I6: what one client posted after the answer to another thing stands behind it.
    fn acceptance_order(&self, breaks: &mut Breaks) {
        let mut last: HashMap<usize, (u64, &str)> = HashMap::new();
        for one in self.posted.iter().filter(|one| one.is_accepted()) {
            let Some(position) = one.position() else {
                breaks.add("I6", format!("{} was accepted without a position", one.id()));
                continue;
            };
            if let Some((before, id)) = last.insert(one.client, (position, one.id())) {
                breaks.unless(position > before, "I6", || {
                    format!("{} at {position} was posted after {id} at {before}", one.id())
                });
            }
        }
    }

    /// I5 and I7, lane by lane; the order is that of the receipts, the lanes are those of the bodies.
    fn order(&self, breaks: &mut Breaks) {
        let positions: HashMap<&str, u64> =
            self.posted.iter().filter_map(|one| Some((one.id(), one.position()?))).collect();
        let pipelines: HashMap<&str, &str> =
            self.deliveries.iter().map(|one| (&*one.id, &*one.pipeline)).collect();
        let mut lanes: BTreeMap<(&str, String), Vec<&Received>> = BTreeMap::new();
        for request in &self.received {
            let pipeline = pipelines.get(request.delivery()).copied().unwrap_or_default();
            lanes.entry((pipeline, request.resource())).or_default().push(request);
        }
        for ((_, resource), requests) in lanes {
            for pair in requests.windows(2) {
                let (before, after) = (pair[0], pair[1]);
                let overlap = before.end.is_none_or(|end| end > after.start);
                let excused = self.killed_within(before.start, before.end) || before.status.is_none();
                breaks.unless(!overlap || excused, "I7", || {
                    format!("{resource}: requests {} and {} overlap", before.index, after.index)
                });
            }
            let mut reached = 0;
            for request in requests.iter().filter(|request| request.round() == 1) {
                let Some(&position) = positions.get(request.event()) else { continue };
                breaks.unless(position >= reached, "I5", || {
                    format!("{resource}: {} after a later event had been sent", request.event())
                });
                reached = reached.max(position);
            }
        }
    }

    /// I11, I12, I13, I14.
    fn attempts(&self, breaks: &mut Breaks) {
        let requests = self.by_delivery();
        for delivery in &self.deliveries {
            let sent = requests.get(&*delivery.id).map_or(&[][..], Vec::as_slice);
            let name = &delivery.id;
            let mut rounds: BTreeMap<(u32, &str), Vec<u32>> = BTreeMap::new();
            for attempt in &delivery.attempts {
                rounds.entry((attempt.round, &attempt.queue)).or_default().push(attempt.number);
            }
            for numbers in rounds.values() {
                let counted = numbers.windows(2).all(|pair| pair[0] < pair[1]);
                breaks.unless(counted, "I11", || format!("{name}: attempts {numbers:?}"));
            }
            let kills = sent.iter().filter(|one| self.killed_within(one.start, one.end)).count();
            for pair in sent.windows(2) {
                let (before, after) = (pair[0], pair[1]);
                let rises = after.round() > before.round() || after.attempt() > before.attempt();
                breaks.unless(rises, "I11", || {
                    format!("{name}: attempt {} after {}", after.attempt(), before.attempt())
                });
                let cause = after.round() > before.round() || self.killed_within(before.start, before.end);
                breaks.unless(!before.is_success() || cause, "I13", || format!("{name}: sent twice"));
                self.backoff(breaks, before, after);
            }
            let first_round = sent.iter().filter(|one| one.round() == 1).count();
            breaks.unless(first_round <= self.attempts_max as usize + kills, "I11", || {
                format!("{name}: {first_round} requests")
            });
            if kills == 0 && !delivery.attempts.iter().any(|one| one.outcome == "unknown") {
                let recorded: Vec<_> = delivery.attempts.iter().map(|one| one.http_status).collect();
                let seen: Vec<_> = sent.iter().map(|one| one.status).collect();
                breaks.unless(recorded == seen, "I12", || {
                    format!("{name}: the API has {recorded:?}, the receiver {seen:?}")
                });
            }
        }
    }

    fn backoff(&self, breaks: &mut Breaks, before: &Received, after: &Received) {
        let (Some(delay), Some(end)) = (self.delay, before.end) else { return };
        if after.round() > before.round() || self.killed_within(before.start, Some(after.start)) {
            return;
        }
        let gap = after.start.saturating_duration_since(end);
        let (least, most) = (delay.saturating_sub(Duration::from_millis(50)), delay + Duration::from_secs(1));
        breaks.unless((least..=most).contains(&gap), "I14", || {
            format!("{}: {gap:?} instead of {delay:?}", after.delivery())
        });
    }

    /// I2, I16, I17: what was sent is the rendering of what was posted, the same each time, and signed.
    fn bytes(&self, breaks: &mut Breaks) {
        let posted: HashMap<&str, &Posted> = self.posted.iter().map(|one| (one.id(), one)).collect();
        let mut first: HashMap<&str, &Received> = HashMap::new();
        for request in &self.received {
            let name = request.delivery();
            let body = request.json();
            let matches = posted.get(request.event()).is_some_and(|posted| {
                ["id", "type", "timestamp", "data"].iter().all(|key| same(&body[*key], &posted.event[*key]))
            });
            breaks.unless(matches, "I2", || format!("{name}: the body is not the event's: {body}"));
            let earlier = first.entry(name).or_insert(request);
            breaks.unless(earlier.message.body == request.message.body, "I16", || {
                format!("{name}: attempt {} has another body", request.attempt())
            });
            breaks.unless(earlier.path == request.path && earlier.method == request.method, "I16", || {
                format!("{name}: {} {}", request.method, request.path)
            });
            for problem in signature_problems(request, &self.signing_key) {
                breaks.add("I17", format!("{name}: {problem}"));
            }
        }
    }

    /// I18: open exactly where the last round failed.
    fn dead_letters(&self, breaks: &mut Breaks) {
        let requests = self.by_delivery();
        let open: BTreeSet<&str> = self.dead.iter().map(String::as_str).collect();
        breaks.unless(open.len() == self.dead.len(), "I18", || "two open items of one delivery".into());
        for delivery in &self.deliveries {
            let dead = open.contains(&*delivery.id);
            breaks.unless(dead == (delivery.status == "dead_lettered"), "I18", || {
                format!("{} is `{}`, open: {dead}", delivery.id, delivery.status)
            });
            let last = requests.get(&*delivery.id).and_then(|sent| sent.last());
            let refuted = dead && last.is_some_and(|last| last.is_success());
            breaks.unless(!refuted, "I18", || format!("{} is dead, and was received", delivery.id));
        }
    }
}

/// What is wrong with the signatures of a request.
pub(crate) fn signature_problems(request: &Received, key: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let body = &request.message.body;
    let hex = hex::encode(mac(key, body));
    if request.header("x-afftok-signature") != hex {
        problems.push("X-Afftok-Signature does not verify".to_owned());
    }
    let timestamp = request.header("webhook-timestamp");
    let signed = [request.event().as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    let standard = format!("v1,{}", BASE64_STANDARD.encode(mac(key, &signed)));
    if !request.header("webhook-signature").split(' ').any(|one| one == standard) {
        problems.push("webhook-signature does not verify".to_owned());
    }
    let received = request.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if timestamp.parse::<u64>().ok().is_none_or(|sent| sent.abs_diff(received) > 2) {
        problems.push(format!("webhook-timestamp is `{timestamp}` at {received}"));
    }
    problems
}

/// HMAC-SHA256.
pub(crate) fn mac(key: &str, text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length is a key");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// Equal as JSON; `5` and `5.0` are the same number.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let held = |(key, value)| right.get(key).is_some_and(|other| same(value, other));
            left.len() == right.len() && left.iter().all(held)
        }
        _ => left == right,
    }
}
