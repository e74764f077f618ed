//! Deliveries in lists: filters, and what a list shows of each.

use super::{
    HeldCalls, ProjectionError, Projections,
    fold::halted_key,
    names::Name,
    pipelines::{ConfigRow, PipelineRow},
    query::{Page, PageRequest, Rows, page},
    rows::{AttemptRow, DeliveryRow, EventRow, Stand},
    store::{StoreError, View},
    terms::Term,
    words::{DeliveryState, StepStatus},
};
use crate::{
    domain::{
        delivery::HeldReason,
        id::{DeliveryId, LaneKey, PipelineId, StepId, TenantId},
        outcome::OutcomeClass,
        step::Status,
        time::Timestamp,
    },
    log::Position,
};
use hashbrown::HashMap;
use std::rc::Rc;

/// Which deliveries of a tenant are asked for.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Of this pipeline.
    pub pipeline: Option<PipelineId>,
    /// Of the event with this id.
    pub event_id: Option<String>,
    /// About this resource.
    pub resource: Option<String>,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// Of events of this type.
    pub event_type: Option<String>,
    /// Accepted at or after.
    pub since: Option<Timestamp>,
    /// Accepted at or before.
    pub until: Option<Timestamp>,
    /// Leave out what a disabled pipeline never took up: no execution of it exists (T-32).
    pub executions_only: bool,
}

/// A delivery as lists show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// The pipeline, which may be gone.
    pub pipeline: PipelineId,
    /// The pipeline's name in the version that the delivery is pinned to.
    pub pipeline_name: Box<str>,
    /// That version.
    pub version: u32,
    /// The trigger of the pipeline that the event answered to.
    pub trigger: Box<str>,
    /// The event's id.
    pub event_id: Box<str>,
    /// The event's type.
    pub event_type: Box<str>,
    /// What it is about.
    pub resource: Box<str>,
    /// Where it stands.
    pub state: DeliveryState,
    /// Why it is held, if it is.
    pub held: Option<HeldReason>,
    /// When the event was accepted.
    pub accepted_at: Timestamp,
    /// When the present round entered its lane.
    pub queued_at: Timestamp,
    /// When the first attempt started.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// When the next attempt is due.
    pub due_at: Option<Timestamp>,
    /// From 1.
    pub round: u16,
    /// Attempts made in all rounds.
    pub attempts: usize,
    /// How the last attempt ended: its class and HTTP status.
    pub last: Option<(OutcomeClass, Option<u16>)>,
    /// A later event of the resource was delivered before (T-31).
    pub out_of_order: bool,
    /// The steps of the version that it is pinned to.
    pub steps: Vec<StepState>,
}

/// One step of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct StepState {
    /// Its id.
    pub id: StepId,
    /// Its name.
    pub name: Box<str>,
    /// Where it stands.
    pub status: StepStatus,
    /// Attempts made, in all rounds.
    pub attempts: usize,
    /// HTTP status of the last attempt.
    pub http_status: Option<u16>,
    /// How long the last attempt took.
    pub latency_ms: Option<u64>,
    /// How the last attempt ended.
    pub outcome: Option<OutcomeClass>,
    /// The record whose payload is the last answer's excerpt.
    pub answer: Option<Position>,
}

impl Projections {
    /// Deliveries of a tenant, newest event first.
    pub fn deliveries(
        &self,
        tenant: &TenantId,
        filter: &DeliveryFilter,
        request: PageRequest,
    ) -> Result<Page<Delivery>, ProjectionError> {
        let between = self.positions_between(filter.since, filter.until)?;
        self.read(|view| {
            let names = &view.store.names;
            let Some(owner) = names.find(tenant.as_str()) else { return Ok(Page::empty()) };
            let pipeline = match &filter.pipeline {
                Some(id) => match names.find(id.as_str()) {
                    Some(name) => Some(name),
                    None => return Ok(Page::empty()),
                },
                None => None,
            };
            let mut shown = Shown::new(view);
            let term = filter.term(owner, pipeline);
            let found = page(
                view,
                term,
                between,
                request,
                |row| row.deliveries.len(),
                |row, nth| {
                    let delivery = &row.deliveries[nth];
                    let fits = row.tenant == owner && pipeline.is_none_or(|name| delivery.pipeline == name);
                    if !fits || !filter.fits(row, delivery) {
                        return Ok(None);
                    }
                    if filter.state.is_some_and(|state| shown.state(row, delivery).ok() != Some(state)) {
                        return Ok(None);
                    }
                    shown.delivery(row, delivery).map(Some)
                },
            )?;
            Ok(found)
        })
    }

    /// One delivery of a tenant.
    pub fn delivery(&self, tenant: &TenantId, id: &DeliveryId) -> Result<Option<Delivery>, ProjectionError> {
        self.read(|view| {
            let mut rows = Rows::new(view);
            let Some((row, delivery)) = find(view, &mut rows, tenant, id)? else { return Ok(None) };
            Ok(Some(Shown::new(view).delivery(row, delivery)?))
        })
    }

    /// Id and name of a step by its index in one version of a pipeline.
    pub fn step(
        &self,
        pipeline: &PipelineId,
        version: u32,
        at: u16,
    ) -> Result<Option<(StepId, Box<str>)>, ProjectionError> {
        self.read(|view| {
            let names = &view.store.names;
            let Some(pipeline) = names.find(pipeline.as_str()) else { return Ok(None) };
            let config = Shown::new(view).config(pipeline, version)?;
            let step = config.as_ref().and_then(|config| config.steps.get(usize::from(at)));
            Ok(step.map(|step| (StepId::new(names.text(step.id)), step.name.clone())))
        })
    }
}

/// The row of a delivery, if it is the tenant's.
pub(super) fn find<'r>(
    view: &View<'_>,
    rows: &'r mut Rows<'_>,
    tenant: &TenantId,
    id: &DeliveryId,
) -> Result<Option<(&'r EventRow, &'r DeliveryRow)>, StoreError> {
    let names = &view.store.names;
    let Some(row) = rows.find(id.event)? else { return Ok(None) };
    let is_it =
        |delivery: &&DeliveryRow| PipelineId::new(names.text(delivery.pipeline)).key() == &*id.pipeline;
    let delivery = row.deliveries.iter().find(is_it);
    Ok(delivery.filter(|_| names.find(tenant.as_str()) == Some(row.tenant)).map(|delivery| (row, delivery)))
}

impl DeliveryFilter {
    /// The narrowest term that holds everything the filter lets through.
    fn term(&self, tenant: Name, pipeline: Option<Name>) -> Term {
        let failed = self.state == Some(DeliveryState::DeadLettered);
        match (self, pipeline) {
            (Self { event_id: Some(id), .. }, _) => Term::event_id(tenant, id),
            (Self { resource: Some(resource), .. }, _) => Term::resource(tenant, resource),
            (_, Some(pipeline)) if failed => Term::failed_in(pipeline),
            (_, Some(pipeline)) => Term::pipeline(pipeline),
            (_, None) if failed => Term::failed_of(tenant),
            (_, None) => Term::tenant(tenant),
        }
    }

    /// Everything but pipeline and state, which need more than the row.
    fn fits(&self, row: &EventRow, delivery: &DeliveryRow) -> bool {
        let is =
            |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        is(&self.event_id, &row.id)
            && is(&self.resource, &row.resource)
            && is(&self.event_type, &row.event_type)
            && self.since.is_none_or(|since| row.accepted_at >= since)
            && self.until.is_none_or(|until| row.accepted_at <= until)
            && !(self.executions_only && delivery.stand == Stand::Disabled)
    }
}

/// Where a delivery stands.
struct Standing {
    state: DeliveryState,
    held: Option<HeldReason>,
    ended_at: Option<Timestamp>,
}

/// Turns rows into what lists show; looks each pipeline and configuration up once a query.
pub(super) struct Shown<'a> {
    view: &'a View<'a>,
    pipelines: HashMap<Name, Option<Rc<PipelineRow>>>,
    configs: HashMap<(Name, u32), Option<Rc<ConfigRow>>>,
    held: HashMap<Name, Rc<HeldCalls>>,
}

impl<'a> Shown<'a> {
    /// A reader of `view`.
    pub(super) fn new(view: &'a View<'a>) -> Self {
        Self { view, pipelines: HashMap::new(), configs: HashMap::new(), held: HashMap::new() }
    }

    fn pipeline(&mut self, name: Name) -> Result<Option<Rc<PipelineRow>>, StoreError> {
        if let Some(known) = self.pipelines.get(&name) {
            return Ok(known.clone());
        }
        let row = self.view.get::<PipelineRow>(name)?.map(Rc::new);
        self.pipelines.insert(name, row.clone());
        Ok(row)
    }

    /// One version of a pipeline's configuration.
    pub(super) fn config(&mut self, name: Name, version: u32) -> Result<Option<Rc<ConfigRow>>, StoreError> {
        if let Some(known) = self.configs.get(&(name, version)) {
            return Ok(known.clone());
        }
        let row = self.view.get::<ConfigRow>((name, version))?.map(Rc::new);
        self.configs.insert((name, version), row.clone());
        Ok(row)
    }

    /// Where a delivery stands now.
    pub(super) fn state(
        &mut self,
        row: &EventRow,
        delivery: &DeliveryRow,
    ) -> Result<DeliveryState, StoreError> {
        Ok(self.standing(row, delivery)?.state)
    }

    fn standing(&mut self, row: &EventRow, delivery: &DeliveryRow) -> Result<Standing, StoreError> {
        let pipeline = self.pipeline(delivery.pipeline)?;
        let (stand, ended_at) =
            pipeline.as_ref().map_or((delivery.stand, delivery.ended_at), |known| known.stand(row, delivery));
        let paused = pipeline.is_some_and(|known| known.status != Status::Active);
        let halted = stand == Stand::Queued
            && self.view.has(&halted_key(delivery.pipeline, LaneKey::of(&row.resource)))?;
        let state = DeliveryState::of(stand, paused, || halted);
        let held = match state {
            DeliveryState::Held if paused => Some(HeldReason::Pause),
            DeliveryState::Held => Some(HeldReason::Halt),
            DeliveryState::Queued | DeliveryState::Retrying => self.held_back(delivery)?,
            _ => None,
        };
        let state = if held.is_some() { DeliveryState::Held } else { state };
        Ok(Standing { state, held, ended_at })
    }

    /// Why the engine holds a delivery back that would go on by its facts.
    fn held_back(&mut self, delivery: &DeliveryRow) -> Result<Option<HeldReason>, StoreError> {
        let Some(source) = self.view.held else { return Ok(None) };
        let names = &self.view.store.names;
        let ask = || Rc::new(source(&PipelineId::new(names.text(delivery.pipeline))));
        let held = Rc::clone(self.held.entry(delivery.pipeline).or_insert_with(ask));
        if held.calls.is_empty() {
            return Ok(None);
        }
        let (step, queue) = delivery.next_call();
        let Some(config) = self.config(delivery.pipeline, delivery.version(delivery.round()))? else {
            return Ok(None);
        };
        let Some(step) = config.steps.get(usize::from(step)) else { return Ok(None) };
        let id = names.text(step.id);
        let call = held.calls.iter().find(|(step, at, _)| step.as_str() == &*id && *at == queue);
        Ok(call.and_then(|(.., state)| state.holds(delivery.due_at, held.now)))
    }

    /// The delivery as lists show it.
    pub(super) fn delivery(
        &mut self,
        row: &EventRow,
        delivery: &DeliveryRow,
    ) -> Result<Delivery, StoreError> {
        let names = &self.view.store.names;
        let Standing { state, held, ended_at } = self.standing(row, delivery)?;
        let version = delivery.version(delivery.round());
        let config = self.config(delivery.pipeline, version)?;
        let pipeline = PipelineId::new(names.text(delivery.pipeline));
        let routed = self.config(delivery.pipeline, delivery.version(1))?;
        let trigger =
            routed.as_ref().map_or(&*row.event_type, |config| config.trigger(&row.event_type)).into();
        let rounds =
            (1..=delivery.round()).map(|round| self.config(delivery.pipeline, delivery.version(round)));
        let rounds = rounds.collect::<Result<Vec<_>, _>>()?;
        // Steps change places between versions: whose an index is says the version of its round.
        let step_of = |round: u16, at: u16| {
            let config = rounds.get(usize::from(round).checked_sub(1)?)?.as_ref()?;
            config.steps.get(usize::from(at)).map(|step| step.id)
        };
        let steps = config.iter().flat_map(|config| &config.steps).map(|step| {
            let mine = |round, at| step_of(round, at) == Some(step.id);
            step_state(delivery, state, mine, StepId::new(names.text(step.id)), step.name.clone())
        });
        Ok(Delivery {
            id: DeliveryId::new(row.position, &pipeline),
            pipeline,
            pipeline_name: config.as_ref().map(|config| config.name.clone()).unwrap_or_default(),
            version,
            trigger,
            event_id: row.id.clone(),
            event_type: row.event_type.clone(),
            resource: row.resource.clone(),
            state,
            held,
            accepted_at: row.accepted_at,
            queued_at: delivery.queued_at,
            started_at: delivery.started_at,
            ended_at,
            due_at: delivery.due_at.filter(|_| !state.is_terminal()),
            round: delivery.round(),
            attempts: delivery.attempts.len(),
            last: delivery.attempts.last().and_then(|attempt| Some((attempt.class?, attempt.status))),
            out_of_order: delivery.out_of_order,
            steps: steps.collect(),
        })
    }
}

/// A step's state by the last that happened to it, in whatever round; `mine` tells of a round and an index in it whether
/// that is this step.
fn step_state(
    delivery: &DeliveryRow,
    state: DeliveryState,
    mine: impl Fn(u16, u16) -> bool,
    id: StepId,
    name: Box<str>,
) -> StepState {
    let attempts = delivery.attempts.iter().filter(|attempt| mine(attempt.round, attempt.step));
    let attempts: Vec<&AttemptRow> = attempts.collect();
    let last = attempts.last();
    let ended = attempts.iter().rfind(|attempt| attempt.ended.is_some());
    let settled = delivery.settled.iter().rfind(|settled| mine(settled.round, settled.step));
    let result = match (last, settled) {
        (Some(attempt), Some(settled)) if settled.position < attempt.started => attempt.result,
        (_, Some(settled)) => settled.result,
        (Some(attempt), None) => attempt.result,
        (None, None) => None,
    };
    let status = match (result, last) {
        (Some(result), _) => StepStatus::of(result),
        (None, Some(_)) if state.is_terminal() => StepStatus::Failed,
        (None, None) if state.is_terminal() => StepStatus::Skipped,
        (None, Some(attempt)) if attempt.ended.is_some() || attempts.len() > 1 => StepStatus::Retrying,
        (None, _) => StepStatus::Pending,
    };
    StepState {
        id,
        name,
        status,
        attempts: attempts.len(),
        http_status: ended.and_then(|attempt| attempt.status),
        latency_ms: ended.map(|attempt| millis(attempt.latency_us)),
        outcome: ended.and_then(|attempt| attempt.class),
        answer: ended.and_then(|attempt| attempt.ended),
    }
}

/// Microseconds as milliseconds, rounded.
pub(super) fn millis(micros: u32) -> u64 {
    (u64::from(micros) + 500) / 1000
}
