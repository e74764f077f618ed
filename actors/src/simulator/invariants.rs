//! What holds at the end, decided from what clients and receivers saw and from the log's facts.

use super::{engine::LOG, world::World};
use crate::{
    domain::{
        digest::Digest,
        event::{AttemptId, End, Fact, LaneEvent, Outcome, Queue, StepResult, Verdict},
        id::PipelineId,
        state::{DeliveryCounts, State},
        testing::model::{Life, Model},
    },
    log::{EventLog, Position, segment::stepped},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

impl World {
    /// Everything is at rest.
    pub(super) fn assert_all(&self) {
        let models = self.models();
        self.assert_accepted();
        self.assert_in_acceptance_order();
        self.assert_delivered(&models);
        self.assert_requests();
        self.assert_lanes();
        self.assert_dead_letters(&models);
        self.assert_folds(&models);
        let verified = stepped::verify(Arc::new(self.disk.clone()), Path::new(LOG)).unwrap();
        assert_eq!(verified.problems, [], "the log verifies (I22)");
    }

    fn facts(&self) -> impl Iterator<Item = (Position, &Fact)> {
        (1..).map(Position).zip(self.placed.iter().map(|placed| &placed.fact))
    }

    /// I5, I7, I11, I18, I19, I27: the facts in their order tell a story that is possible, a pipeline at a time.
    fn models(&self) -> BTreeMap<PipelineId, Model> {
        let mut models: BTreeMap<PipelineId, Model> = BTreeMap::new();
        for (position, fact) in self.facts() {
            match fact {
                Fact::Accepted(_, accepted) => {
                    for route in &accepted.routes {
                        let model = models.entry(route.pipeline.clone()).or_default();
                        model.accept(position, &accepted.resource, route.skipped);
                    }
                }
                Fact::Lane(id, event) => models.entry(id.clone()).or_default().check(event),
                _ => {}
            }
        }
        models
    }

    /// I1, I3: each event that got a 202 was accepted, and each event at most once.
    fn assert_accepted(&self) {
        let mut accepted = BTreeSet::new();
        for (position, fact) in self.facts() {
            if let Fact::Accepted(_, event) = fact {
                assert!(
                    accepted.insert(event.id.to_string()),
                    "{} at {position} is there twice (I3)",
                    event.id
                );
            }
        }
        for post in &self.posts {
            let known = accepted.contains(&post.id);
            assert!(known || post.acknowledged.is_none(), "{} got a 202 and is lost (I1)", post.id);
        }
        assert!(accepted.len() <= self.posts.len(), "more than was posted (I2)");
    }

    /// I6: what was posted after the 202 of another stands behind it.
    fn assert_in_acceptance_order(&self) {
        let positions = &self.engine.as_ref().expect("alive").ids;
        let mut posts: Vec<_> = self.posts.iter().filter(|post| positions.contains_key(&*post.id)).collect();
        posts.sort_by_key(|post| post.first_sent);
        let mut answered: Vec<_> =
            posts.iter().filter_map(|post| Some((post.acknowledged?, &post.id))).collect();
        answered.sort_unstable();
        let (mut answered, mut highest) = (answered.into_iter().peekable(), Position::START);
        for post in posts {
            while let Some((_, id)) = answered.next_if(|(at, _)| post.first_sent > Some(*at)) {
                highest = highest.max(positions[&**id]);
            }
            assert!(positions[&*post.id] > highest, "{} overtook what was answered before (I6)", post.id);
        }
    }

    /// I1, I9: every delivery has come to its one end, and what counts as delivered was taken by a receiver.
    fn assert_delivered(&self, models: &BTreeMap<PipelineId, Model>) {
        let taken = self.requests.iter().filter(|request| request.answer.is_taken());
        let taken: BTreeSet<_> = taken.map(|r| (r.pipeline.clone(), r.attempt.event)).collect();
        for (id, model) in models {
            for (event, told) in &model.deliveries {
                let Life::Over(end) = told.state else { panic!("{id} {event} is pending at the end (I9)") };
                let delivery = (id.clone(), *event);
                assert!(
                    end != End::Delivered || taken.contains(&delivery),
                    "{id} {event} counts as delivered (I1)"
                );
            }
        }
    }

    /// I2, I12, I13, I16, I27: requests and attempts are one to one, with the bytes that were posted.
    fn assert_requests(&self) {
        let mut attempts: HashMap<(PipelineId, AttemptId), Option<&Outcome>> = HashMap::new();
        let mut bodies: HashMap<Position, &bytes::Bytes> = HashMap::new();
        let posted: HashMap<&str, &bytes::Bytes> = self.posts.iter().map(|p| (&*p.id, &p.body)).collect();
        for (position, fact) in self.facts() {
            match fact {
                Fact::Accepted(_, accepted) => {
                    bodies.insert(position, posted[&*accepted.id]);
                }
                Fact::Lane(id, LaneEvent::AttemptStarted { attempt, .. }) => {
                    let before = attempts.insert((id.clone(), *attempt), None);
                    assert!(before.is_none(), "{attempt:?} started twice (I27)");
                }
                Fact::Lane(id, LaneEvent::AttemptEnded { attempt, outcome, .. }) => {
                    let before = attempts.insert((id.clone(), *attempt), Some(outcome));
                    assert_eq!(before, Some(None), "{attempt:?} ended once, after its start (I27)");
                }
                _ => {}
            }
        }
        let mut sent = BTreeSet::new();
        for request in &self.requests {
            let attempt = (request.pipeline.clone(), request.attempt);
            let outcome = attempts.get(&attempt);
            let outcome = outcome.unwrap_or_else(|| panic!("{attempt:?} is not in the log (I12)"));
            if let Some(outcome) = outcome {
                let told = (outcome.class, outcome.status);
                assert_eq!(told, (request.answer.class, request.answer.status), "{attempt:?} (I12)");
            }
            assert_eq!(
                request.body, bodies[&request.attempt.event],
                "{attempt:?}: not what was posted (I2, I16)"
            );
            assert!(sent.insert(attempt), "one request an attempt (I12, I13)");
        }
        for (attempt, outcome) in attempts {
            assert!(outcome.is_none() || sent.contains(&attempt), "{attempt:?} was never sent (I12)");
        }
    }

    /// I5, I11 from requests alone: after the first for an event there is none for an earlier one of its lane, save in
    /// another round; numbers rise.
    fn assert_lanes(&self) {
        let mut lanes: BTreeMap<(PipelineId, &str), Position> = BTreeMap::new();
        let mut numbers: BTreeMap<(PipelineId, Position, u16), u16> = BTreeMap::new();
        for request in self.requests.iter().filter(|request| request.answer.arrives) {
            let AttemptId { event, round, number, .. } = request.attempt;
            let resource = &*self.pasts[&(request.pipeline.clone(), event)].resource;
            if round == 1 {
                let last = lanes.entry((request.pipeline.clone(), resource)).or_default();
                assert!(event >= *last, "{event} after {last} in one lane (I5)");
                *last = event;
            }
            let last = numbers.insert((request.pipeline.clone(), event, round), number).unwrap_or_default();
            assert!(number > last, "number {number} of {event} after {last} (I11)");
        }
    }

    /// I18: what is dead has no receiver that took it in that round; and the most attempts that a step may have.
    fn assert_dead_letters(&self, models: &BTreeMap<PipelineId, Model>) {
        let mut taken = BTreeSet::new();
        for request in self.requests.iter().filter(|request| request.answer.is_success() && request.heard) {
            taken.insert((
                request.pipeline.clone(),
                request.attempt.event,
                request.step,
                request.attempt.round,
            ));
        }
        let dead = &self.engine.as_ref().expect("alive").whole.dead_letters;
        let mut open: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for item in dead.iter() {
            let key = (item.pipeline.clone(), item.event, item.step, item.round);
            // A success that the engine heard of and a crash took back is unknown to it.
            let recorded = self.facts().any(|(_, fact)| is_success(fact, &key));
            assert!(!recorded || !taken.contains(&key), "{key:?} is dead and was taken (I18)");
            open.entry(item.pipeline.clone()).or_default().push((item.event, item.step, item.round));
        }
        for (id, model) in models {
            assert_eq!(model.open(), open.remove(id).unwrap_or_default(), "open items of {id} (I18)");
        }
        assert_eq!(self.engine.as_ref().expect("alive").dead.len(), dead.len(), "what the actor follows");
    }

    /// I20, I21: a fold from zero, one from a snapshot, the running fold and the parts are one; the counts add up.
    fn assert_folds(&self, models: &BTreeMap<PipelineId, Model>) {
        let engine = self.engine.as_ref().expect("alive");
        let mut folded = State::default();
        for (position, placed) in (1..).map(Position).zip(&self.placed) {
            folded.evolve(position, placed.at, &placed.fact);
        }
        assert_eq!(folded.summary(), engine.whole.summary(), "a fold from zero (I21)");
        assert_eq!(engine.log.watermark().get(), engine.whole.position, "all is durable");
        let mut parts: BTreeMap<&PipelineId, (Digest, DeliveryCounts)> = BTreeMap::new();
        for (id, part) in engine.parts() {
            let (digest, counts) = parts.entry(id).or_default();
            digest.merge(part.digest());
            counts.merge(DeliveryCounts::of(part));
            part.mailbox().assert_sound();
        }
        let mut accepted: BTreeMap<&PipelineId, u64> = BTreeMap::new();
        for (_, fact) in self.facts() {
            if let Fact::Accepted(_, event) = fact {
                event.routes.iter().for_each(|route| *accepted.entry(&route.pipeline).or_default() += 1);
            }
        }
        for (id, pipeline) in &folded.pipelines {
            let counts = DeliveryCounts::of(pipeline);
            assert_eq!(parts[id], (pipeline.digest(), counts), "the parts of {id} (I21)");
            if folded.catalog.pipeline(id).is_some() {
                assert_eq!(
                    engine.endpoints(id).circuits(),
                    folded.circuits.get(id).cloned().unwrap_or_default()
                );
            }
            let over = [counts.delivered, counts.dead_lettered, counts.skipped, counts.cancelled];
            if let Some(model) = models.get(id) {
                assert_eq!((0, over), model.counts(), "counts of {id} (I20)");
            }
            assert_eq!(over.iter().sum::<u64>(), accepted.get(id).copied().unwrap_or_default(), "{id} (I20)");
        }
    }
}

/// Whether a fact says that this step was taken in this round.
fn is_success(fact: &Fact, (id, event, step, round): &(PipelineId, Position, u16, u16)) -> bool {
    let Fact::Lane(of, LaneEvent::AttemptEnded { attempt, step: at, queue, verdict, .. }) = fact else {
        return false;
    };
    let Verdict { step: result, .. } = verdict;
    let taken = matches!(
        (queue, result),
        (Queue::Primary, Some(StepResult::Succeeded)) | (Queue::Failover, Some(StepResult::FailedOver))
    );
    of == id && attempt.event == *event && attempt.round == *round && at == step && taken
}
