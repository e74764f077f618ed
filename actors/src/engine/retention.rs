//! Lets payloads go by age and size, beside the running engine. Facts stay: what was done stays provable, and recovery,
//! read models, notices and the window of ids need nothing else.
//!
//! ```text
//!   oldest ── payloads gone ──|── may go ──|floor── payloads that someone still needs ── newest
//! ```

use super::{EngineError, EngineHandle};
use crate::{
    answers::Answers,
    clock::Clock,
    domain::{
        by::By,
        event::{EngineEvent, Fact},
        state::State,
        time::Timestamp,
    },
    log::{
        EventLog, LogError, Position, codec, replay,
        segment::{Expirable, SegmentLog},
        snapshot::{self, Snapshot},
    },
    worker::redelivery::Redeliveries,
};
use parking_lot::Mutex;
use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};
use tracing::{info, warn};

/// How often it is looked what may go, and how soon after a start.
const EVERY: Duration = Duration::from_hours(1);
const FIRST: Duration = Duration::from_mins(1);
/// How often the thread looks whether the engine is still there.
const LOOK: Duration = Duration::from_secs(5);
/// With an age to be kept to, a segment is written for a day at most: payloads go with their segment.
const SEGMENT_AGE: Duration = Duration::from_hours(24);

/// What is to be kept to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Payloads older than this go.
    pub payload_age: Option<Duration>,
    /// Above this size of all segments, the oldest payloads go.
    pub bytes_max: Option<u64>,
}

/// Who needs the payload at the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A delivery that is not over.
    Pending,
    /// A dead letter, which can be sent again.
    DeadLetter,
    /// An answer that is kept under an idempotency key.
    Answer,
}

impl Holder {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending_deliveries",
            Self::DeadLetter => "dead_letters",
            Self::Answer => "idempotency_answers",
        }
    }
}

/// The lowest position whose payload is needed, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Payloads below it may go.
    pub position: Position,
    /// Nobody: then it is the end of the log.
    pub held_by: Option<Holder>,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Up to where payloads may go.
    pub floor: Floor,
    /// Segments whose payloads went.
    pub segments: usize,
    /// What the disk got back.
    pub bytes: u64,
    /// Size of all segments now.
    pub log_bytes: u64,
    /// How much of that is over the limit and could not go.
    pub excess_bytes: u64,
}

/// See the module.
pub(crate) struct Retention {
    pub(crate) log: Arc<SegmentLog>,
    pub(crate) snapshots: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) answers: Arc<Answers>,
    pub(crate) redeliveries: Redeliveries,
    pub(crate) limits: Limits,
    /// Of the last turn. Held for the whole of one: one at a time.
    pub(crate) turn: Mutex<()>,
    pub(crate) last: Mutex<Option<Applied>>,
}

impl EngineHandle {
    /// Lets payloads go that are too old or too much, now.
    pub async fn apply_retention(&self, by: &By) -> Result<Applied, EngineError> {
        let (retention, by) = (Arc::clone(&self.inner.retention), by.clone());
        let applied = tokio::task::spawn_blocking(move || retention.apply(Some(by))).await;
        applied.map_err(|error| EngineError::Unavailable(error.to_string()))?
    }

    /// What the last turn of it came to, if there was one.
    #[must_use]
    pub fn retention(&self) -> Option<Applied> {
        self.inner.retention.last()
    }
}

/// Starts the thread; it ends with the engine.
pub(super) fn start(retention: &Arc<Retention>) {
    if retention.limits == Limits::default() {
        return;
    }
    let retention = Arc::downgrade(retention);
    let spawned = thread::Builder::new().name("retention".into()).spawn(move || keep_to(&retention));
    if let Err(error) = spawned {
        warn!(%error, "nothing is let go");
    }
}

fn keep_to(retention: &Weak<Retention>) {
    let (mut last, mut wait) = (Instant::now(), FIRST);
    loop {
        thread::sleep(LOOK);
        let Some(retention) = retention.upgrade() else { return };
        if last.elapsed() < wait {
            continue;
        }
        if let Err(error) = retention.apply(None) {
            warn!(%error, "nothing was let go");
        }
        (last, wait) = (Instant::now(), EVERY);
    }
}

impl Retention {
    /// Lets go of what is too old or too much, now.
    pub(crate) fn apply(&self, by: Option<By>) -> Result<Applied, EngineError> {
        let _alone = self.turn.lock();
        let now = self.clock.now();
        if let Some(age) = self.limits.payload_age {
            self.log.seal_older_than(before(now, SEGMENT_AGE.min(age)))?;
        }
        let applied = self.carry_out(self.plan(now)?, now, by)?;
        *self.last.lock() = Some(applied);
        Ok(applied)
    }

    /// What may go, as of now.
    pub(super) fn plan(&self, now: Timestamp) -> Result<Plan, EngineError> {
        let durable = self.log.watermark().get();
        let Snapshot { state, .. } = snapshot::load(&self.snapshots, &*self.log).unwrap_or_default();
        let state = self.folded(state, durable)?;
        let floor = self.floor(&state, None, now)?;
        let log_bytes = self.log.bytes()?;
        let (go, excess_bytes) = choose(&self.log.expirable(floor.position)?, log_bytes, self.limits, now);
        Ok(Plan { state, floor, log_bytes, go, excess_bytes })
    }

    /// Lets go of what is planned, save what is needed once more since.
    pub(super) fn carry_out(
        &self,
        plan: Plan,
        now: Timestamp,
        by: Option<By>,
    ) -> Result<Applied, EngineError> {
        let Plan { state, mut floor, log_bytes, mut go, mut excess_bytes } = plan;
        // From here on nothing of it is sent again. What was until now is in the log, or its turn tells.
        let below = go.iter().map(|segment| segment.next).max().unwrap_or_default();
        let (_going, under_way) = self.redeliveries.let_go_below(below);
        if !go.is_empty() {
            let tail = self.log.tail();
            self.log.kick();
            self.durable(tail)?;
            floor = self.floor(&self.folded(state, tail)?, under_way, now)?;
            let expirable = self.log.expirable(floor.position.min(below))?;
            (go, excess_bytes) = choose(&expirable, log_bytes, self.limits, now);
        }
        let mut applied = Applied { floor, segments: go.len(), bytes: 0, log_bytes, excess_bytes };
        if !go.is_empty() {
            let (segments, bytes) = (go.len() as u64, go.iter().map(|segment| segment.bytes).sum());
            let event = EngineEvent::RetentionApplied { floor: floor.position, segments, bytes, by };
            let appended = codec::append(&*self.log, now, &Fact::Engine(event), None)?;
            self.durable(appended.last)?;
            let gone = self.log.expire(&go)?;
            (applied.segments, applied.bytes) = (gone.segments, gone.bytes);
            applied.log_bytes -= gone.bytes.min(log_bytes);
            info!(
                segments = gone.segments,
                bytes = gone.bytes,
                floor = floor.position.0,
                "payloads have expired"
            );
        }
        Ok(applied)
    }

    /// What the last turn came to.
    pub(crate) fn last(&self) -> Option<Applied> {
        *self.last.lock()
    }

    /// What does not hold, for people.
    pub(crate) fn problem(&self) -> Option<String> {
        let Applied { floor, log_bytes, excess_bytes, .. } =
            self.last().filter(|last| last.excess_bytes > 0)?;
        let held_by = match floor.held_by {
            Some(holder) => {
                format!("`{}` hold the payloads from position {} on", holder.as_str(), floor.position)
            }
            None => "what is left are facts and the segment that is written".to_owned(),
        };
        Some(format!("the log has {log_bytes} bytes, {excess_bytes} more than `log.bytes_max`: {held_by}"))
    }

    fn folded(&self, state: State, to: Position) -> Result<State, EngineError> {
        replay::fold(&*self.log, state, to).map_err(|error| EngineError::Unavailable(error.to_string()))
    }

    /// The lowest position whose payload is needed in this state; `under_way` is the oldest event that is being sent
    /// again.
    fn floor(
        &self,
        state: &State,
        under_way: Option<Position>,
        now: Timestamp,
    ) -> Result<Floor, EngineError> {
        let needed = [
            (pending(state), Holder::Pending),
            (under_way, Holder::Pending),
            (self.dead_letter(state)?, Holder::DeadLetter),
            (self.answers.oldest(now), Holder::Answer),
        ];
        let lowest = needed.into_iter().filter_map(|(position, holder)| Some((position?, holder)));
        let lowest = lowest.min_by_key(|(position, _)| *position);
        Ok(lowest.map_or(Floor { position: state.position.next(), held_by: None }, |(position, holder)| {
            Floor { position, held_by: Some(holder) }
        }))
    }

    /// The oldest dead letter that can be sent again. Those whose payload is gone hold nothing.
    fn dead_letter(&self, state: &State) -> Result<Option<Position>, EngineError> {
        for item in state.dead_letters.iter() {
            match self.log.payload(item.event) {
                Ok(None) | Err(LogError::NotFound(_)) => {}
                // What cannot be read is no reason to let go of more.
                Ok(Some(_)) | Err(LogError::Damaged { .. }) => return Ok(Some(item.event)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    fn durable(&self, position: Position) -> Result<(), EngineError> {
        let lost = || EngineError::Unavailable("the log cannot be written".into());
        self.log.watermark().wait(position).then_some(()).ok_or_else(lost)
    }
}

/// What may go, and the state that says so.
pub(super) struct Plan {
    state: State,
    floor: Floor,
    log_bytes: u64,
    go: Vec<Expirable>,
    excess_bytes: u64,
}

#[cfg(test)]
impl Plan {
    /// Whether the payload at this position may go.
    pub(super) fn covers(&self, position: Position) -> bool {
        self.go.iter().any(|segment| (segment.first..segment.next).contains(&position))
    }
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
}

/// The oldest event with a delivery that is not over.
fn pending(state: &State) -> Option<Position> {
    let lanes = state.pipelines.values().flat_map(|pipeline| pipeline.mailbox().lanes());
    lanes
        .filter_map(|lane| {
            let head = lane.head.as_ref().map(|head| head.entry.event);
            let next = lane.waiting.events().next();
            head.into_iter().chain(next).min()
        })
        .min()
}

/// Which of these go, the oldest first; and what is over the size all the same.
fn choose(expirable: &[Expirable], log_bytes: u64, limits: Limits, now: Timestamp) -> (Vec<Expirable>, u64) {
    let mut excess = limits.bytes_max.map_or(0, |max| log_bytes.saturating_sub(max));
    let is_old =
        |segment: &Expirable| limits.payload_age.is_some_and(|age| segment.newest < before(now, age));
    let mut go = Vec::new();
    for segment in expirable {
        if excess > 0 || is_old(segment) {
            excess = excess.saturating_sub(segment.bytes);
            go.push(*segment);
        }
    }
    (go, excess)
}

#[cfg(test)]
mod tests;
