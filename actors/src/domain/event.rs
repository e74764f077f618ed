//! The facts of the log: the serialized contract.
//!
//! Add variants and optional fields, never rename or reorder: old logs are read by new code. Facts that come
//! once per attempt are encoded in postcard, so here even an optional field needs a new variant; the others
//! are JSON and take new fields with a default. `log/codec.rs` has the table.

use super::{
    by::{Asked, By},
    client_certificate::Certificate,
    endpoint::Opening,
    id::{KeyId, LaneKey, PipelineId, StepId, TenantId},
    jwt_key::JwtKey,
    outcome::OutcomeClass,
    quota::Quotas,
    step::PipelineConfig,
    tenant::{ApiKey, SigningKey},
    time::{Moment, Timestamp},
};
use crate::log::Position;
use serde::{Deserialize, Serialize};

/// Any fact, with the owner that its stream's name tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact<Tenant = TenantId, Pipeline = PipelineId> {
    /// `tenant/<id>`
    Tenant(Tenant, TenantEvent),
    /// `pipeline/<id>`: configuration.
    Pipeline(Pipeline, PipelineEvent),
    /// `pipeline/<id>`: the life of deliveries.
    Lane(Pipeline, LaneEvent),
    /// `pipeline/<id>`: the circuit breakers of the URLs that it calls.
    Endpoint(Pipeline, EndpointEvent),
    /// `intake/<tenant>`
    Accepted(Tenant, Accepted),
    /// `engine`
    Engine(EngineEvent),
}

/// A fact whose owner is still in the reader's buffer: those who only look the owner up need no id of their own.
pub type FactRef<'a> = Fact<&'a str, &'a str>;

impl FactRef<'_> {
    /// The fact with an owner of its own.
    #[must_use]
    pub fn owned(self) -> Fact {
        match self {
            Fact::Tenant(id, event) => Fact::Tenant(TenantId::new(id), event),
            Fact::Pipeline(id, event) => Fact::Pipeline(PipelineId::new(id), event),
            Fact::Lane(id, event) => Fact::Lane(PipelineId::new(id), event),
            Fact::Endpoint(id, event) => Fact::Endpoint(PipelineId::new(id), event),
            Fact::Accepted(id, accepted) => Fact::Accepted(TenantId::new(id), accepted),
            Fact::Engine(event) => Fact::Engine(event),
        }
    }
}

/// What happened to a tenant and its keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TenantEvent {
    /// A tenant was made.
    TenantCreated { name: String, profile: String, by: By },
    /// Its name was changed, or who is mailed for it.
    TenantUpdated {
        name: String,
        /// Absent where they stayed as they were.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contacts: Option<Vec<String>>,
        /// Where the operator set quotas with the same request: as in [`TenantEvent::QuotasSet`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quotas: Option<Quotas>,
        by: By,
    },
    /// It was deleted, and with it everything that it owned.
    TenantDeleted { by: By },
    /// A key was made; only its keyed hash is kept.
    KeyCreated { key: ApiKey, by: By },
    /// A key was taken back.
    KeyRevoked { id: KeyId, by: By },
    /// A key for JWTs was registered.
    JwtKeyCreated { key: Box<JwtKey>, by: By },
    /// It was taken back: no token of it holds any more.
    JwtKeyRevoked { id: KeyId, by: By },
    /// A certificate for receivers that ask for one was put in force, in the place of any other.
    ClientCertificateSet { certificate: Box<Certificate>, sealed: String, by: By },
    /// It was taken away: nothing is shown any more.
    ClientCertificateRemoved { by: By },
    /// A signing secret was shown to its owner: kept for the audit.
    SecretRevealed { pipeline: PipelineId, step: String, by: By },
    /// An Ed25519 key was made, the first one or in the place of another; that one signs beside it until
    /// `former_until`, if that is given.
    SigningKeyMade {
        key: SigningKey,
        /// Given with the first key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_set: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        former_until: Option<Timestamp>,
        by: By,
    },
    /// An answer was given under an idempotency key; the record's payload holds it, sealed.
    Answered {
        key: String,
        fingerprint: String,
        status: u16,
        /// It was the operator's call: no key of the tenant finds the answer.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        operator: bool,
    },
    /// The contacts were mailed of what was dead-lettered up to a position; `digest` if by one mail for all of it,
    /// `beyond` of which were only counted.
    NoticesMailed { through: Position, digest: bool, beyond: u64 },
    /// The payloads of the events with this id are erased, and what receivers answered to them. Written before it is
    /// done.
    EventErased { id: Box<str>, events: Vec<Position>, by: By },
    /// The same of everything that was accepted up to a position.
    PayloadsErased { through: Position, by: By },
    /// The operator set what the tenant may have; names all that is set.
    QuotasSet { quotas: Quotas, by: By },
}

/// What happened to the configuration of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PipelineEvent {
    /// Version 1.
    PipelineCreated { tenant: TenantId, config: PipelineConfig, by: By },
    /// A new version in force.
    PipelineUpdated {
        config: PipelineConfig,
        by: By,
        /// The step whose signing key was rotated, if that is what changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rotated: Option<StepId>,
    },
    /// Takes no more events; each worker then cancels what it holds with [`LaneEvent::LanesCancelled`].
    PipelineDeleted { by: By },
}

/// An event that was taken: delivered, dead-lettered, skipped, cancelled or pending from now on, never unknown.
/// The record's payload is the event as it was posted, byte for byte; its digest is the dedup fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Given by the producer or minted; unique in the tenant.
    pub id: Box<str>,
    /// `conversion.created`
    pub event_type: Box<str>,
    /// What it is about; the key of its lane.
    pub resource: Box<str>,
    /// Where it goes, decided at acceptance.
    pub routes: Vec<Route>,
    /// The time in its body, where that is not its producer's and not the whole second in which it was accepted.
    /// Makes a format of its own (`log/codec.rs`).
    #[serde(skip)]
    pub moment: Option<Moment>,
}

impl Accepted {
    /// The time in its body, unless its producer gave one.
    #[must_use]
    pub fn moment(&self, at: Timestamp) -> Moment {
        self.moment.unwrap_or(Moment::second_of(at))
    }
}

/// One pipeline that matched an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// Its configuration in force: steps and templates come from this version (T-34).
    pub version: u32,
    /// Recorded only: the pipeline was disabled (T-32).
    pub skipped: bool,
}

/// Which of a step's addresses an attempt goes to.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Queue {
    /// The step's own URL.
    #[default]
    Primary,
    /// The pipeline's failover URL.
    Failover,
}

/// Names one attempt of a pipeline: the number rises over all steps and queues of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The lane, so that a fold finds it without an index of events.
    pub lane: LaneKey,
    /// Position of the accepted event.
    pub event: Position,
    /// 1, and one more for each redelivery.
    pub round: u16,
    /// 1, 2, 3 …
    pub number: u16,
}

/// How one attempt ended, in the numbers that the API shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The class that the retry rules looked at.
    pub class: OutcomeClass,
    /// HTTP status, if an answer came.
    pub status: Option<u16>,
    /// What went wrong, for people; short, without secrets.
    pub detail: Box<str>,
    /// Microseconds per phase, in the order DNS, connect, TLS, first byte, body.
    pub phases_us: [Option<u32>; 5],
    /// Microseconds in all.
    pub total_us: u32,
}

impl Outcome {
    /// Whether the receiver did not believe who sent it: 401 or 403.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self.status, Some(401 | 403))
    }
}

/// What a lane does next with its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// The same step and address again, not before this instant.
    Retry(Timestamp),
    /// The same step at the failover address.
    FailOver,
    /// The step with this index.
    Step(u16),
    /// The delivery is over.
    End(End),
    /// The same step and address at once, signed with the key that is being rotated out (T-6).
    OtherKey,
}

/// Terminal states of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// A step of the round succeeded, at its own URL or at the failover; the others did, too, or were skipped.
    Delivered,
    /// A step has an item in the dead-letter queue.
    DeadLettered,
    /// Never to be sent: the pipeline was disabled, an operator passed over it, or all of its steps were taken out of the
    /// pipeline before one succeeded (T-34).
    Skipped,
    /// Called off.
    Cancelled,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepResult {
    /// At its own URL.
    Succeeded,
    /// At the failover URL.
    FailedOver,
    /// Attempts used up.
    Exhausted,
    /// An answer that is never retried, or a request that cannot be built.
    Permanent,
    /// No longer in the pipeline.
    Skipped,
}

impl StepResult {
    /// Whether a receiver took it.
    #[must_use]
    pub fn is_success(self) -> bool {
        matches!(self, Self::Succeeded | Self::FailedOver)
    }

    /// Whether it leaves a dead letter.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Exhausted | Self::Permanent)
    }
}

/// The decision that followed the end of an attempt. Stores what was decided, not why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How the step ended, if it did.
    pub step: Option<StepResult>,
    /// What comes next.
    pub next: Next,
    /// The configuration that the delivery is pinned to: a dead letter needs it to find its step again.
    pub version: u32,
    /// Attempts made in this round at the step's own URL, and at the failover.
    pub tries: (u16, u16),
    /// Whether the lane now waits for an operator.
    pub halt: bool,
    /// Whether the failure of the step kept the steps behind it from running: its retry then goes on with them.
    pub stopped: bool,
}

impl Verdict {
    /// Of an attempt whose delivery was called off while it ran: kept for the record, and decides nothing.
    pub(crate) const CALLED_OFF: Self = Self {
        step: None,
        next: Next::End(End::Cancelled),
        version: 0,
        tries: (0, 0),
        halt: false,
        stopped: false,
    };
}

/// Why an attempt has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AbandonReason {
    /// The process ended while it ran.
    Crash,
    /// The worker or the attempt's own task panicked; the text is bounded.
    Panic(Box<str>),
}

/// Who asked for something, and the delivery that it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redelivery {
    /// From 2.
    pub round: u16,
    /// Where it starts.
    pub step: u16,
    /// True for a dead letter of a step whose successors have run: that step alone.
    pub only: bool,
    /// True if other steps of the delivery stay dead-lettered.
    pub others_dead: bool,
    /// True if a later event of the resource was delivered before (T-31).
    pub out_of_order: bool,
    /// The terminal state that it leaves.
    pub was: End,
}

/// Names a dead letter of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterRef {
    /// The configuration that the delivery was pinned to.
    pub version: u32,
    /// Index of the step in it.
    pub step: u16,
    /// The round that failed.
    pub round: u16,
    /// Whether the steps behind it have not run.
    pub stopped: bool,
}

/// The life of deliveries. Encoded in postcard: new variants at the end only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LaneEvent {
    /// Written before the first byte leaves.
    AttemptStarted {
        attempt: AttemptId,
        step: u16,
        queue: Queue,
        /// Version of the configuration that URL, headers and keys come from.
        transport: u32,
    },
    /// The record's payload is the excerpt of the answer.
    AttemptEnded { attempt: AttemptId, step: u16, queue: Queue, outcome: Outcome, verdict: Verdict },
    /// A crash or a panic fell into the attempt: whether it arrived is unknown.
    AttemptAbandoned { attempt: AttemptId, step: u16, queue: Queue, reason: AbandonReason, verdict: Verdict },
    /// A step ended without an attempt: it is gone from the pipeline, or its failover is.
    StepSettled { lane: LaneKey, event: Position, round: u16, step: u16, queue: Queue, verdict: Verdict },
    /// Back in its lane: a dead letter retried (`dead_letter`), or a whole delivery.
    Redelivered {
        event: Position,
        resource: Box<str>,
        version: u32,
        redelivery: Redelivery,
        dead_letter: Option<DeadLetterRef>,
        by: By,
    },
    /// A dead letter was dismissed.
    DeadLetterDeleted { event: Position, lane: LaneKey, dead_letter: DeadLetterRef, by: By },
    /// An operator called off a delivery that was not in flight.
    DeliveryCancelled { event: Position, resource: Box<str>, by: By },
    /// An operator passed over the dead letter that halted a lane. Earlier versions let a head that waited be passed over,
    /// too: then `event` is that one.
    HeadSkipped { event: Option<Position>, resource: Box<str>, by: By },
    /// A halted lane goes on.
    LaneResumed { resource: Box<str>, by: By },
    /// The pipeline was deleted: everything in this part of its lanes is cancelled.
    LanesCancelled { part: u16, parts: u16 },
    /// A delivery that panicked its worker again and again; dead-lettered with the panic's text.
    DeliveryPoisoned {
        lane: LaneKey,
        event: Position,
        round: u16,
        step: u16,
        queue: Queue,
        detail: Box<str>,
        verdict: Verdict,
    },
}

impl LaneEvent {
    /// Who asked for it, if it is something that is asked for.
    #[must_use]
    pub fn by(&self) -> Option<&By> {
        match self {
            Self::Redelivered { by, .. }
            | Self::DeadLetterDeleted { by, .. }
            | Self::DeliveryCancelled { by, .. }
            | Self::HeadSkipped { by, .. }
            | Self::LaneResumed { by, .. } => Some(by),
            _ => None,
        }
    }

    /// The same with what is known of the request behind it.
    #[must_use]
    pub(crate) fn with_asked(mut self, asked: Asked) -> Self {
        match &mut self {
            Self::Redelivered { by, .. }
            | Self::DeadLetterDeleted { by, .. }
            | Self::DeliveryCancelled { by, .. }
            | Self::HeadSkipped { by, .. }
            | Self::LaneResumed { by, .. } => by.asked = Some(Box::new(asked)),
            _ => {}
        }
        self
    }
}

/// What happened to an endpoint: a URL that a pipeline calls. Several threads write such facts about one URL;
/// `change` numbers them, and their order is that of their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EndpointEvent {
    /// Its circuit breaker opened, or a probe failed and it stays open.
    EndpointOpened { url: Box<str>, change: u64, opening: Opening },
    /// It takes requests again: it answered, or someone closed the breaker by hand.
    EndpointClosed { url: Box<str>, change: u64, by: Option<By> },
}

impl EndpointEvent {
    /// The endpoint.
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Self::EndpointOpened { url, .. } | Self::EndpointClosed { url, .. } => url,
        }
    }

    /// The number of the change.
    #[must_use]
    pub fn change(&self) -> u64 {
        match self {
            Self::EndpointOpened { change, .. } | Self::EndpointClosed { change, .. } => *change,
        }
    }
}

/// What happened to the engine itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EngineEvent {
    /// The process began to serve.
    EngineStarted { version: String },
    /// An orderly stop.
    EngineStopped {},
    /// A worker was restarted.
    WorkerRestarted { worker: String, restarts: u64, reason: String, backoff_ms: u64 },
    /// A worker was given up.
    WorkerFailed { worker: String, reason: String },
    /// An operator brought it back.
    WorkerRevived { worker: String, by: By },
    /// A start was told of other published addresses than the last: `before` holds until `effective_at`, `after` from
    /// then on (ATT-34). `before` is empty where none were published.
    EgressIpsChanged { before: Vec<String>, after: Vec<String>, effective_at: Timestamp },
    /// `ledgerhook log repair` gave up what was damaged: everything from `cut` on, of which `records` could still be
    /// read, and the payloads of some records before it. The bytes are kept in `aside`.
    LogRepaired {
        reason: String,
        cut: Option<Position>,
        records: u64,
        payloads: Vec<Position>,
        aside: String,
    },
    /// Payloads of so many sealed segments below `floor` have been let go from here on, by age and size. Written
    /// before it is done: what a crash leaves of it, the next turn lets go.
    RetentionApplied {
        floor: Position,
        segments: u64,
        bytes: u64,
        /// Who asked for it, unless its time had come.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<By>,
    },
    /// What the fact at `erasure` asked for is gone from the disk.
    ErasureFinished { erasure: Position, payloads: u64, bytes: u64 },
}
