//! One life of an engine: the real log, codec, fold, lanes, breakers and snapshots, moved by hand instead of by actors.
//!
//! ```text
//!   accept, configure, order, answer, wake ──> decide ──> append ──> evolve ──> park effects
//!                                                                                   │
//!   turn of the writer: write, sync ──────────────────────────────────── release ───┘──> World
//! ```
//! Each pipeline has two parts, which hear of accepted events and of configurations late, each kind in its order.

mod incoming;
mod turn;

use self::turn::Turn;
use super::{
    plan::Mistake,
    world::{Action, Happening, Sent},
};
use crate::{
    domain::{
        dead_letter::{self, DeadLetter, DeadLetterQueue},
        delivery::Signing,
        endpoint::{breaker::Health, pace::Pace},
        event::{
            AbandonReason, Accepted, AttemptId, EndpointEvent, Fact, LaneEvent, Outcome, PipelineEvent,
            Queue, Route, Verdict,
        },
        id::{LaneKey, PipelineId},
        mailbox::Target,
        pipeline::{Command, Pipeline, Rejection},
        state::State,
        step::Status,
        testing::tenant,
        time::Timestamp,
    },
    endpoints::{Endpoints, Permit},
    log::{
        Append, EventLog, Expected, LogError, Position, codec,
        disk::{Disk, simulated::SimulatedDisk},
        replay,
        segment::{Options, SegmentLog, stepped},
        snapshot::{self, Snapshot},
    },
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::Path,
    sync::Arc,
    time::Duration,
};

pub(super) const LOG: &str = "/data/log";
const SNAPSHOTS: &str = "/data/snapshots";

/// Each pipeline's lanes are dealt to so many.
const PARTS: u16 = 2;

/// A fact as it was appended.
pub(super) struct Placed {
    pub(super) at: Timestamp,
    pub(super) fact: Fact,
    pub(super) body: Bytes,
}

/// What waits for the disk.
pub(super) enum Effect {
    /// The 202 of a client's post.
    Accepted(u32),
    /// The answer to an operator; of a configuration, one of the parts is still.
    Done(Action),
    Send(Start),
    Follow(PipelineId, Timestamp, LaneEvent),
}

pub(super) struct Start {
    pub(super) pipeline: PipelineId,
    pub(super) attempt: AttemptId,
    pub(super) step: u16,
    pub(super) queue: Queue,
    version: u32,
}

/// What an engine wants of the world after it was moved.
#[derive(Default)]
pub(super) struct Wishes {
    pub(super) happenings: Vec<(u64, Happening)>,
    pub(super) placed: Vec<Placed>,
}

struct Part {
    id: PipelineId,
    number: u16,
    pipeline: Pipeline,
    accepted: VecDeque<(Position, Box<str>, Route)>,
    configured: VecDeque<(PipelineEvent, Action)>,
    running: HashMap<AttemptId, Permit>,
    /// When it is woken next.
    timer: Option<u64>,
}

/// See the module.
pub(super) struct Engine {
    pub(super) life: u64,
    pub(super) log: SegmentLog,
    writer: stepped::Stepper,
    disk: SimulatedDisk,
    /// The fold of everything that was appended.
    pub(super) whole: State,
    parts: Vec<Part>,
    endpoints: BTreeMap<PipelineId, Endpoints>,
    pub(super) ids: HashMap<Box<str>, Position>,
    /// As the dead-letter actor knows it.
    pub(super) dead: DeadLetterQueue,
    parked: VecDeque<(Position, Effect)>,
    /// The wall clock and the monotonic one at the start.
    origin: (Timestamp, u64),
    pub(super) now: u64,
    /// Parts that endpoints have woken.
    rung: Arc<Mutex<Vec<(PipelineId, u16)>>>,
    wishes: Wishes,
    mistake: Option<Mistake>,
}

/// What a start found.
pub(super) struct Found {
    pub(super) end: Position,
    /// All records, as they are now.
    pub(super) bodies: Vec<Bytes>,
}

fn options() -> Options {
    Options { segment_size: 128 << 10, spacing: Duration::ZERO, min_free_bytes: 0, ..Options::default() }
}

impl Engine {
    /// Opens, folds, deals, takes over, as a start does. `wall` is what the wall clock says.
    pub(super) fn start(
        disk: &SimulatedDisk,
        life: u64,
        (wall, now): (Timestamp, u64),
        mistake: Option<Mistake>,
    ) -> Result<(Self, Found), LogError> {
        let (log, writer, report) = stepped::open(Arc::new(disk.clone()), Path::new(LOG), options())?;
        let Snapshot { mut state, .. } =
            snapshot::load_on(disk, Path::new(SNAPSHOTS), &log).unwrap_or_default();
        let mut found = Found { end: report.last, bodies: Vec::new() };
        let (folded, mut ids, mut last_at) = (state.position, HashMap::new(), Timestamp::EPOCH);
        log.scan(Position(1), &mut |record| {
            found.bodies.push(Bytes::copy_from_slice(record.body));
            last_at = last_at.max(record.at);
            if record.position > folded || record.kind == codec::ACCEPTED {
                let fact = codec::decode(&record).expect("a fact");
                if let Fact::Accepted(_, accepted) = &fact
                    && mistake != Some(Mistake::Forgetful)
                {
                    ids.insert(accepted.id.clone(), record.position);
                }
                if record.position > folded {
                    state.evolve(record.position, record.at, &fact);
                }
            }
            true
        })?;
        let mut engine = Self {
            life,
            log,
            writer,
            disk: disk.clone(),
            parts: Vec::new(),
            endpoints: BTreeMap::new(),
            ids,
            dead: state.dead_letters.clone(),
            whole: state,
            parked: VecDeque::new(),
            origin: (wall.max(last_at), now),
            now,
            rung: Arc::default(),
            wishes: Wishes::default(),
            mistake,
        };
        for (id, pipeline) in engine.whole.pipelines.clone() {
            engine.employ(&id, pipeline);
        }
        for part in 0..engine.parts.len() {
            engine.take_over(part, &AbandonReason::Crash);
        }
        Ok((engine, found))
    }

    fn employ(&mut self, id: &PipelineId, pipeline: Pipeline) {
        let circuits = self.whole.circuits.get(id).cloned().unwrap_or_default();
        let endpoints = Endpoints::folded(circuits, Pace::full());
        for (number, pipeline) in (0..).zip(pipeline.split(PARTS)) {
            let (rung, me) = (Arc::clone(&self.rung), (id.clone(), number));
            endpoints.listen(number, Arc::new(move || rung.lock().push(me.clone())));
            self.parts.push(Part {
                id: id.clone(),
                number,
                pipeline,
                accepted: VecDeque::new(),
                configured: VecDeque::new(),
                running: HashMap::new(),
                timer: None,
            });
        }
        self.endpoints.insert(id.clone(), endpoints);
    }

    fn take_over(&mut self, part: usize, reason: &AbandonReason) {
        let now = self.time();
        let endpoint_events = self.endpoints[&self.parts[part].id].unwritten(self.parts[part].number);
        let mut turn = Turn { endpoint_events, ..Turn::default() };
        if self.mistake != Some(Mistake::Deaf) {
            let recover = Command::Recover { now, reason, culprit: None };
            self.decide(part, recover, &mut turn).expect("always can");
        }
        if self.parts[part].pipeline.is_deleted() {
            self.decide(part, Command::CancelAll, &mut turn).expect("always can");
        }
        self.finish(part, turn);
    }

    /// The engine's own time.
    pub(super) fn time(&self) -> Timestamp {
        self.origin.0.plus(Duration::from_millis(self.now - self.origin.1))
    }

    /// What it asks for since the last call.
    pub(super) fn wishes(&mut self) -> Wishes {
        let rung = std::mem::take(&mut *self.rung.lock());
        for (id, number) in rung {
            self.wish(0, Happening::Wake(self.life, id, number));
        }
        std::mem::take(&mut self.wishes)
    }

    fn wish(&mut self, after: u64, happening: Happening) {
        self.wishes.happenings.push((self.now + after, happening));
    }

    fn part_of(&self, id: &PipelineId, resource: &str) -> usize {
        self.index(id, LaneKey::of(resource).part(PARTS))
    }

    fn index(&self, id: &PipelineId, number: u16) -> usize {
        self.parts.iter().position(|part| part.id == *id && part.number == number).expect("a part")
    }

    /// Counts and digest of the parts, as an audit adds them up.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&PipelineId, &Pipeline)> {
        self.parts.iter().map(|part| (&part.id, &part.pipeline))
    }

    /// The breakers as they are.
    pub(super) fn endpoints(&self, id: &PipelineId) -> &Endpoints {
        &self.endpoints[id]
    }
}
