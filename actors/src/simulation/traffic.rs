//! What comes at an engine while it lives: events, orders of operators, a disk that lags.

use super::{history::History, *};
use crate::{
    catalog::{Alter, Change},
    dead_letters::{List, Retry, Settle},
    domain::{
        dead_letter::DeadLetter,
        event::End,
        id::PipelineId,
        step::{OnExhausted, Status},
    },
    log::Position,
    testing::Dice,
    view::NewEvent,
    worker::{order::Order, redelivery::Redeliveries},
};
use std::collections::BTreeMap;

/// What the clients of all lives know.
#[derive(Default)]
pub(super) struct Known {
    /// Ids that were posted so far.
    pub(super) posted: u64,
    /// What was acknowledged, and where it stands.
    pub(super) acknowledged: BTreeMap<String, Position>,
    /// Pipelines whose pause was acknowledged, and since when.
    pub(super) paused: BTreeMap<PipelineId, Timestamp>,
    /// Pauses that are over.
    pub(super) pauses: Vec<(PipelineId, Timestamp, Timestamp)>,
    /// Orders that were acknowledged, by kind.
    pub(super) orders: BTreeMap<&'static str, u64>,
    /// Panics and kills: what may send a request again.
    pub(super) faults: Vec<Timestamp>,
}

/// The clients of one life.
pub(super) struct Traffic {
    pub(super) running: Rc<Running>,
    pub(super) log: Arc<MemoryLog>,
    pub(super) known: Arc<Mutex<Known>>,
    pub(super) dice: Dice,
}

impl Traffic {
    /// Goes on until the life ends.
    pub(super) async fn run(mut self) {
        loop {
            tokio::time::sleep(Duration::from_millis(self.dice.roll(1_500))).await;
            match self.dice.roll(12) {
                0..6 => self.post(),
                6 => self.lag(),
                7 => self.pause_or_resume().await,
                8 => self.change().await,
                9 => self.settle().await,
                10 => self.skip().await,
                _ => self.cancel().await,
            }
        }
    }

    /// Posts an event or a few, some of them again, and does not wait: the answer may never come, and the client may
    /// hang up before it does.
    fn post(&mut self) {
        let events: Vec<_> = (0..=self.dice.roll(3)).map(|_| self.event()).collect();
        let patience = if self.dice.one_in(6) { self.dice.roll(500) } else { 3_600_000 };
        let (intake, known) = (Arc::clone(&self.running.intake), Arc::clone(&self.known));
        actix_rt::spawn(async move {
            let ids: Vec<_> = events.iter().map(|event| event.id.to_string()).collect();
            let tenant = tenant();
            let answer = intake.accept(&tenant, events);
            if let Ok(Ok(answers)) = tokio::time::timeout(Duration::from_millis(patience), answer).await {
                let taken =
                    ids.into_iter().zip(answers).filter_map(|(id, one)| Some((id, one.ok()?.event.position)));
                known.lock().acknowledged.extend(taken);
            }
        });
    }

    fn event(&mut self) -> NewEvent {
        let posted = self.known.lock().posted;
        let n = if posted > 0 && self.dice.one_in(8) { self.dice.roll(posted) } else { posted };
        self.known.lock().posted = posted.max(n + 1);
        let id = format!("evt_{n}");
        let body = format!(r#"{{"id":"{id}","type":"conversion.created","data":{{"n":{n}}}}}"#);
        NewEvent {
            id: id.into(),
            event_type: "conversion.created".into(),
            resource: resource(n % 4),
            body: body.into(),
            is_timed: true,
        }
    }

    /// The disk takes its time; a kill meanwhile loses what it holds.
    fn lag(&mut self) {
        self.log.hold();
        let (log, time) = (Arc::clone(&self.log), Duration::from_millis(self.dice.roll(3_000)));
        actix_rt::spawn(async move {
            tokio::time::sleep(time).await;
            log.release();
        });
    }

    async fn pause_or_resume(&mut self) {
        let id = self.pipeline();
        let since = self.known.lock().paused.get(&id).copied();
        let now = self.running.clock.now();
        if let Some(since) = since {
            // From here on its requests may start, whatever becomes of the order.
            let mut known = self.known.lock();
            known.paused.remove(&id);
            known.pauses.push((id.clone(), since, now));
        }
        let status = if since.is_some() { Status::Active } else { Status::Paused };
        if self.update(&id, |config| config.status = status).await {
            let now = self.running.clock.now();
            self.count(if since.is_some() { "resume" } else { "pause" });
            if since.is_none() {
                self.known.lock().paused.insert(id, now);
            }
        }
    }

    async fn change(&mut self) {
        let (id, name) = (self.pipeline(), format!("name {}", self.dice.roll(1_000)));
        let on_exhausted = if self.dice.one_in(2) { OnExhausted::Halt } else { OnExhausted::Continue };
        let renamed = |config: &mut PipelineConfig| (config.name, config.on_exhausted) = (name, on_exhausted);
        if self.update(&id, renamed).await {
            self.count("change");
        }
    }

    async fn update(&self, id: &PipelineId, change: impl FnOnce(&mut PipelineConfig)) -> bool {
        let Some(entry) = self.running.published.load().catalog.pipeline(id).cloned() else { return false };
        let mut config = Box::new(PipelineConfig::clone(&entry.config));
        change(&mut config);
        let change =
            Change::UpdatePipeline { id: id.clone(), expected: entry.version, config, rotated: None };
        let answer = self.running.catalog.send(Alter { by: operator(), change, keep: None }).await;
        matches!(answer, Ok(Ok(_)))
    }

    /// Retries a dead letter, or dismisses it.
    async fn settle(&mut self) {
        let list = List { tenant: tenant(), pipeline: None, after: None, limit: 100 };
        let items: Vec<DeadLetter> = self.running.dead_letters.send(list).await.unwrap_or_default();
        let Some(item) = self.one_of(&items) else { return };
        let wants_retry = !self.dice.one_in(3);
        let history = History::of(&self.log);
        let Some(past) = history.deliveries.get(&(item.pipeline.clone(), item.event)) else { return };
        let was = past.ended.unwrap_or(End::DeadLettered);
        let turn = Redeliveries::default().take(&item.id().delivery).unwrap();
        let retry = wants_retry.then_some(Retry { round: past.round + 1, out_of_order: false, was, turn });
        let ask = Settle {
            by: operator(),
            tenant: tenant(),
            pipeline: item.pipeline.clone(),
            item: item.id(),
            retry,
        };
        if let Ok(Ok(())) = self.running.dead_letters.send(ask).await {
            self.count(if wants_retry { "retry" } else { "dismiss" });
        }
    }

    async fn skip(&mut self) {
        let (id, resource) = (self.pipeline(), resource(self.dice.roll(4)));
        let order = Order::SkipHead { resource: resource.clone(), by: operator() };
        if self.running.registry.order(&id, &resource, order).await.is_ok() {
            self.count("skip");
        }
    }

    async fn cancel(&mut self) {
        let id = self.pipeline();
        let state = replay::fold(&*self.log, State::default(), self.log.tail()).unwrap();
        let waiting: Vec<_> = state.pipelines[&id]
            .mailbox()
            .lanes()
            .flat_map(|lane| lane.waiting.events().map(|event| (event, lane.resource.clone())))
            .collect();
        let Some((event, resource)) = self.one_of(&waiting) else { return };
        let order = Order::Cancel { event, resource: resource.clone(), by: operator() };
        if self.running.registry.order(&id, &resource, order).await.is_ok() {
            self.count("cancel");
        }
    }

    fn pipeline(&mut self) -> PipelineId {
        PipelineId::new(super::seeds::PIPELINES[usize::try_from(self.dice.roll(3)).unwrap()])
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        all.get(usize::try_from(self.dice.roll(all.len() as u64)).unwrap()).cloned()
    }

    fn count(&self, order: &'static str) {
        *self.known.lock().orders.entry(order).or_default() += 1;
    }
}

fn resource(n: u64) -> Box<str> {
    format!("conversion:c{n}").into()
}
