//! The lanes of a pipeline dealt to several workers: each heeds what concerns its own.

use crate::{
    domain::{
        digest::Digest,
        event::{LaneEvent, Route},
        id::LaneKey,
        pipeline::{Ended, Pipeline},
        testing::*,
    },
    log::Position,
};

const PARTS: u16 = 3;

fn resource(event: u64) -> &'static str {
    ["r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8"][usize::try_from(event - 1).unwrap() % 8]
}

/// A story and the parts of its pipeline, which hear of everything that happens in it.
struct Told {
    story: Scenario,
    parts: Vec<Pipeline>,
}

impl Told {
    fn new() -> Self {
        let story = given_pipeline(tries(1), []);
        let parts = story.pipeline().clone().split(PARTS);
        Self { story, parts }
    }

    fn accept(&mut self, event: u64, skipped: bool) {
        let (resource, version) = (resource(event), self.story.pipeline().version());
        let route = Route { pipeline: pipe(), version, skipped };
        self.parts.iter_mut().for_each(|part| part.evolve_accepted(Position(event), resource, &route));
        self.story.and(Given::Accept { event, resource: resource.into(), version: Some(version), skipped });
    }

    fn when(&mut self, act: Box<dyn FnOnce(&Scenario) -> Decision>) -> Vec<LaneEvent> {
        self.story.when(act);
        let facts = self.story.facts();
        for fact in &facts {
            self.parts.iter_mut().for_each(|part| part.evolve(fact));
        }
        facts
    }

    /// Every delivery is attempted until none is pending.
    fn attempt_all(&mut self, status: u16) {
        while let [LaneEvent::AttemptStarted { attempt, .. }, ..] = self.when(start())[..] {
            self.when(answer(attempt.event.0, status));
        }
    }

    fn assert_add_up(&self) {
        let (mut digest, mut lanes, mut ended) = (Digest::default(), 0, Vec::new());
        for (part, number) in self.parts.iter().zip(0..) {
            part.mailbox().assert_sound();
            assert!(part.mailbox().lanes().all(|lane| lane.key.part(PARTS) == number), "a lane of another's");
            digest.merge(part.digest());
            lanes += part.mailbox().lanes_count();
            ended.push(part.ended());
        }
        let whole = self.story.pipeline();
        assert_eq!(digest.to_string(), whole.digest().to_string());
        assert_eq!(lanes, whole.mailbox().lanes_count());
        let sum = |of: fn(&Ended) -> u64| ended.iter().map(of).sum::<u64>();
        let Ended { delivered, dead_lettered, skipped, cancelled } = whole.ended();
        assert_eq!(sum(|e| e.delivered), delivered);
        assert_eq!(sum(|e| e.dead_lettered), dead_lettered);
        assert_eq!(sum(|e| e.skipped), skipped);
        assert_eq!(sum(|e| e.cancelled), cancelled);
    }
}

/// I20, I21: whoever hears of all events and all facts, and whoever splits later, holds the same.
#[test]
fn the_parts_of_a_pipeline_add_up_to_the_whole() {
    let mut told = Told::new();
    for event in 1..=16 {
        told.accept(event, event % 5 == 0);
    }
    told.assert_add_up();
    told.attempt_all(500);
    told.assert_add_up();
    for event in [1, 2, 3, 4, 6] {
        told.when(retry(event, resource(event), 0));
        told.assert_add_up();
    }
    told.when(cancel(2, resource(2)));
    told.when(skip(resource(3)));
    told.when(dismiss(7, resource(7), 0));
    told.assert_add_up();
    told.attempt_all(200);
    told.assert_add_up();
    told.accept(17, false);
    told.when(cancel_all());
    told.accept(18, false);
    told.assert_add_up();
    let split = told.story.pipeline().clone().split(PARTS);
    for (part, alike) in told.parts.iter().zip(split) {
        assert_eq!((part.digest().to_string(), part.ended()), (alike.digest().to_string(), alike.ended()));
    }
}

/// T-34: what another part dismisses is no reason to forget the version that an own dead letter needs.
#[test]
fn a_dead_letter_closed_in_another_part_leaves_the_versions_of_this_one_alone() {
    let mut told = Told::new();
    (1..=8).for_each(|event| told.accept(event, false));
    told.attempt_all(500);
    for _ in 0..20 {
        told.story.and(update(tries(1)));
        let updated = crate::domain::event::PipelineEvent::PipelineUpdated {
            config: tries(1),
            by: operator(),
            rotated: None,
        };
        told.parts.iter_mut().for_each(|part| part.evolve_config(&updated));
    }
    let part_of = |event| LaneKey::of(resource(event)).part(PARTS);
    let (others, own): (Vec<u64>, Vec<u64>) = (1..=8).partition(|event| part_of(*event) != 0);
    assert!(others.len() > own.len() && !own.is_empty());
    for event in others {
        told.when(dismiss(event, resource(event), 0));
    }
    assert!(told.parts[0].pinned(1).is_some(), "its own dead letters are open");
    for event in own {
        told.when(dismiss(event, resource(event), 0));
    }
    assert!(told.parts[0].pinned(1).is_none(), "nothing refers to it");
}
