//! The dead-letter queue: deliveries' steps that used up their attempts, until someone retries or dismisses them.

use super::{
    event::{AbandonReason, DeadLetterRef, LaneEvent, StepResult},
    id::{DeadLetterId, DeliveryId, PipelineId, TenantId},
    outcome::OutcomeClass,
    time::Timestamp,
};
use crate::log::Position;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One open item. What it carried is read from the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The pipeline's owner.
    pub tenant: TenantId,
    /// The pipeline.
    pub pipeline: PipelineId,
    /// Position of the accepted event.
    pub event: Position,
    /// Index of the step in the delivery's pinned configuration.
    pub step: u16,
    /// The round that failed.
    pub round: u16,
    /// The configuration that the delivery was pinned to.
    pub version: u32,
    /// Whether the steps behind it have not run.
    pub stopped: bool,
    /// When it failed for good.
    pub failed_at: Timestamp,
    /// Attempts of that round at the step's own URL, and at the failover.
    pub tries: (u16, u16),
    /// How the last attempt ended.
    pub class: OutcomeClass,
    /// Its HTTP status.
    pub status: Option<u16>,
    /// What went wrong, for people.
    pub detail: Box<str>,
}

impl DeadLetter {
    /// The item that a fact opens, if it does.
    #[must_use]
    pub fn opened_by(
        tenant: &TenantId,
        pipeline: &PipelineId,
        fact: &LaneEvent,
        failed_at: Timestamp,
    ) -> Option<Self> {
        let (event, round, step, verdict) = match fact {
            LaneEvent::AttemptEnded { attempt, step, verdict, .. }
            | LaneEvent::AttemptAbandoned { attempt, step, verdict, .. } => {
                (attempt.event, attempt.round, *step, verdict)
            }
            LaneEvent::StepSettled { event, round, step, verdict, .. }
            | LaneEvent::DeliveryPoisoned { event, round, step, verdict, .. } => {
                (*event, *round, *step, verdict)
            }
            _ => return None,
        };
        if !verdict.step.is_some_and(StepResult::is_failure) {
            return None;
        }
        let (class, status, detail) = match fact {
            LaneEvent::AttemptEnded { outcome, .. } => {
                (outcome.class, outcome.status, outcome.detail.clone())
            }
            LaneEvent::AttemptAbandoned { reason: AbandonReason::Crash, .. } => {
                (OutcomeClass::Unknown, None, "the process ended during the attempt".into())
            }
            LaneEvent::AttemptAbandoned { reason: AbandonReason::Panic(text), .. }
            | LaneEvent::DeliveryPoisoned { detail: text, .. } => (OutcomeClass::Unknown, None, text.clone()),
            _ => (OutcomeClass::Unknown, None, "the failover address was removed".into()),
        };
        Some(Self {
            tenant: tenant.clone(),
            pipeline: pipeline.clone(),
            event,
            step,
            round,
            version: verdict.version,
            stopped: verdict.stopped,
            failed_at,
            tries: verdict.tries,
            class,
            status,
            detail,
        })
    }

    /// Names it within its delivery.
    #[must_use]
    pub fn by_ref(&self) -> DeadLetterRef {
        DeadLetterRef { version: self.version, step: self.step, round: self.round, stopped: self.stopped }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> DeadLetterId {
        DeadLetterId {
            delivery: DeliveryId::new(self.event, &self.pipeline),
            step: self.step,
            round: self.round,
        }
    }
}

/// Whether a fact opens or closes an item.
#[must_use]
pub fn concerns(event: &LaneEvent) -> bool {
    match event {
        LaneEvent::AttemptEnded { verdict, .. }
        | LaneEvent::AttemptAbandoned { verdict, .. }
        | LaneEvent::StepSettled { verdict, .. }
        | LaneEvent::DeliveryPoisoned { verdict, .. } => verdict.step.is_some_and(StepResult::is_failure),
        LaneEvent::Redelivered { .. } | LaneEvent::DeadLetterDeleted { .. } => true,
        _ => false,
    }
}

/// Key of an item: by position first, so that listing follows acceptance.
type Key = (Position, PipelineId, u16, u16);

/// All open items.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterQueue {
    items: BTreeMap<Key, DeadLetter>,
    /// The same items by pipeline.
    of_pipeline: HashMap<PipelineId, BTreeSet<(Position, u16, u16)>>,
    /// How many of them a tenant has.
    of_tenant: HashMap<TenantId, u64>,
}

impl DeadLetterQueue {
    /// What is now true.
    pub fn evolve(&mut self, tenant: &TenantId, pipeline: &PipelineId, event: &LaneEvent, at: Timestamp) {
        match event {
            LaneEvent::Redelivered { event, dead_letter: Some(item), .. }
            | LaneEvent::DeadLetterDeleted { event, dead_letter: item, .. } => {
                self.take(pipeline, (*event, item.step, item.round));
            }
            LaneEvent::Redelivered { event, dead_letter: None, .. } => {
                // The whole delivery runs again: its old dead letters would be told twice.
                let keys: Vec<_> =
                    self.of_delivery(pipeline, *event).map(|item| (item.step, item.round)).collect();
                for (step, round) in keys {
                    self.take(pipeline, (*event, step, round));
                }
            }
            _ => {
                if let Some(item) = DeadLetter::opened_by(tenant, pipeline, event, at) {
                    self.adopt(item);
                }
            }
        }
    }

    /// An open item.
    #[must_use]
    pub fn get(&self, pipeline: &PipelineId, id: &DeadLetterId) -> Option<&DeadLetter> {
        self.items.get(&(id.delivery.event, pipeline.clone(), id.step, id.round))
    }

    /// All open items, by acceptance.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &DeadLetter> {
        self.items.values()
    }

    /// Open items of one delivery.
    pub fn of_delivery<'a>(
        &'a self,
        pipeline: &'a PipelineId,
        event: Position,
    ) -> impl Iterator<Item = &'a DeadLetter> {
        let from = (event, pipeline.clone(), 0, 0);
        self.items
            .range(from..)
            .map(|(_, item)| item)
            .take_while(move |i| i.event == event && i.pipeline == *pipeline)
    }

    /// Takes an item out; the fact that does so may come later and finds it gone.
    pub fn remove(&mut self, pipeline: &PipelineId, id: &DeadLetterId) {
        self.take(pipeline, (id.delivery.event, id.step, id.round));
    }

    fn take(&mut self, pipeline: &PipelineId, (event, step, round): (Position, u16, u16)) {
        let Some(item) = self.items.remove(&(event, pipeline.clone(), step, round)) else { return };
        if let Some(count) = self.of_tenant.get_mut(&item.tenant) {
            *count -= 1;
            if *count == 0 {
                self.of_tenant.remove(&item.tenant);
            }
        }
        if let Some(its) = self.of_pipeline.get_mut(pipeline) {
            its.remove(&(event, step, round));
            if its.is_empty() {
                self.of_pipeline.remove(pipeline);
            }
        }
    }

    /// How many items of a pipeline are open.
    #[must_use]
    pub fn count(&self, pipeline: &PipelineId) -> usize {
        self.of_pipeline.get(pipeline).map_or(0, BTreeSet::len)
    }

    /// How many items of a tenant are open.
    #[must_use]
    pub fn count_of_tenant(&self, tenant: &TenantId) -> u64 {
        self.of_tenant.get(tenant).copied().unwrap_or_default()
    }

    /// The tenants that have open items, and how many.
    pub fn tenants(&self) -> impl Iterator<Item = (&TenantId, u64)> {
        self.of_tenant.iter().map(|(tenant, count)| (tenant, *count))
    }

    /// Open items of a pipeline, by acceptance.
    pub fn of_pipeline<'a>(&'a self, pipeline: &'a PipelineId) -> impl Iterator<Item = &'a DeadLetter> {
        let its = self.of_pipeline.get(pipeline).into_iter().flatten();
        its.filter_map(|(event, step, round)| self.items.get(&(*event, pipeline.clone(), *step, *round)))
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Puts an item of a snapshot back.
    pub(super) fn adopt(&mut self, item: DeadLetter) {
        let its = self.of_pipeline.entry(item.pipeline.clone()).or_default();
        its.insert((item.event, item.step, item.round));
        let tenant = item.tenant.clone();
        let key = (item.event, item.pipeline.clone(), item.step, item.round);
        if self.items.insert(key, item).is_none() {
            *self.of_tenant.entry(tenant).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::*;

    fn only(story: &Scenario) -> &DeadLetter {
        story.state.dead_letters.iter().next().unwrap()
    }

    /// AFM-59, T-12: what it tells of its last attempt.
    #[test]
    fn an_item_tells_how_its_last_attempt_ended() {
        let mut story = given_pipeline(tries(2), [accept(1, "c")]);
        story.run(|attempt, _, _| if attempt.number == 1 { 0 } else { 503 });
        let item = only(&story);
        assert_eq!((item.class, item.status, item.tries), (OutcomeClass::HttpError, Some(503), (2, 0)));
        assert_eq!((item.failed_at, item.version), (story.now, 1));
    }

    #[test]
    fn an_item_without_an_answer_says_what_happened_instead() {
        let mut crashed = given_pipeline(tries(1), [accept(1, "c")]);
        crashed.when(start()).when(crash());
        assert_eq!(&*only(&crashed).detail, "the process ended during the attempt");
        let with = tries(1).with(|config| config.failover_url = Some("https://b.example".into()));
        let mut lost = given_pipeline(with, [accept(1, "c")]);
        lost.when(start()).when(answer(1, 500)).and(update(tries(1))).when(start());
        assert_eq!(&*only(&lost).detail, "the failover address was removed");
        assert_eq!(only(&lost).class, OutcomeClass::Unknown);
    }

    /// I18: what closes an item may be told twice.
    #[test]
    fn an_item_is_found_by_its_id_and_taken_out_once() {
        let mut story = given_pipeline(tries(1), [accept(1, "c"), accept(2, "d")]);
        story.run(|_, _, _| 500);
        let mut queue = story.state.dead_letters.clone();
        assert_eq!((queue.len(), queue.is_empty()), (2, false));
        assert_eq!(queue.tenants().collect::<Vec<_>>(), [(&tenant(), 2)]);
        let id = only(&story).id();
        assert_eq!(queue.get(&pipe(), &id).map(DeadLetter::id), Some(id.clone()));
        assert_eq!(DeadLetterId::parse(&id.to_string()), Some(id.clone()));
        for _ in 0..2 {
            queue.remove(&pipe(), &id);
            assert_eq!((queue.get(&pipe(), &id), queue.len()), (None, 1));
            assert_eq!(queue.count_of_tenant(&tenant()), 1);
        }
    }

    /// The queue is told of what opens or closes an item, and of nothing else.
    #[test]
    fn only_failures_retries_and_dismissals_concern_the_queue() {
        let mut story = given_pipeline(tries(2), [accept(1, "c"), accept(2, "c")]);
        let mut concerned = |act| story.when(act).facts().iter().any(concerns);
        assert!(!concerned(start()) && !concerned(answer(1, 500)) && !concerned(cancel(1, "c")));
        assert!(!concerned(start()) && !concerned(crash()) && !concerned(skip("c")));
        let mut story = given_pipeline(tries(1), [accept(1, "c"), accept(2, "c")]);
        let mut concerned = |act| story.when(act).facts().iter().any(concerns);
        assert!(!concerned(start()) && concerned(answer(1, 500)));
        assert!(concerned(retry(1, "c", 0)) && concerned(poison(1, "c")) && concerned(dismiss(1, "c", 0)));
    }
}
