//! A pipeline's decisions, with a thousand lanes at work.

use crate::{Run, fixture};
use ledgerhook_actors::{
    domain::{
        event::{AttemptId, LaneEvent, Outcome, Route},
        outcome::OutcomeClass,
        pipeline::{Command, Pipeline},
    },
    log::Position,
};

const LANES: usize = 1_000;

struct Lanes {
    pipeline: Pipeline,
    resources: Vec<String>,
    /// The attempt that is under way in each.
    attempts: Vec<AttemptId>,
    position: Position,
}

impl Lanes {
    fn new() -> Self {
        let config = fixture::config(&fixture::secrets(), "conversion");
        let pipeline = Pipeline::new(fixture::pipeline(1), fixture::tenant(), config);
        let resources = (0..LANES).map(|number| format!("conversion:conv_{number:08}")).collect();
        let mut lanes = Self { pipeline, resources, attempts: Vec::new(), position: Position(1) };
        for lane in 0..LANES {
            let attempt = lanes.start(lane);
            lanes.attempts.push(attempt);
        }
        lanes
    }

    /// An event is enqueued and started.
    fn start(&mut self, lane: usize) -> AttemptId {
        self.position = self.position.next();
        let route = Route { pipeline: fixture::pipeline(1), version: 1, skipped: false };
        self.pipeline.evolve_accepted(self.position, &self.resources[lane], &route);
        let facts = self.decide(Command::StartNext { now: fixture::NOW, has_room: &mut |_| true });
        let Some(LaneEvent::AttemptStarted { attempt, .. }) = facts.first() else {
            unreachable!("the lane is idle: {facts:?}")
        };
        *attempt
    }

    /// The attempt under way succeeds.
    fn end(&mut self, lane: usize) {
        let outcome = Outcome {
            class: OutcomeClass::Success,
            status: Some(200),
            detail: "".into(),
            phases_us: [None; 5],
            total_us: 1_290,
        };
        let attempt = self.attempts[lane];
        self.decide(Command::RecordOutcome {
            attempt,
            outcome,
            retry_after: None,
            now: fixture::NOW,
            roll: 0.5,
        });
    }

    fn decide(&mut self, command: Command<'_>) -> Vec<LaneEvent> {
        let facts = self.pipeline.decide(command).expect("it is taken");
        facts.iter().for_each(|fact| self.pipeline.evolve(fact));
        facts
    }
}

pub(crate) fn decide_delivery() -> Run {
    let (mut lanes, mut turn) = (Lanes::new(), 0);
    Box::new(move || {
        let lane = turn % LANES;
        lanes.end(lane);
        lanes.attempts[lane] = lanes.start(lane);
        turn += 1;
    })
}
