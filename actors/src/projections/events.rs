//! Accepted events in lists, with their deliveries.

use super::{
    Delivery, ProjectionError, Projections,
    deliveries::Shown,
    query::{Page, PageRequest, Rows, page},
    rows::EventRow,
    store::StoreError,
    terms::Term,
};
use crate::{
    domain::{id::TenantId, time::Timestamp},
    log::Position,
};

/// Events with one id that are found at a time. Another one comes when the window of ids has passed.
const SAME_ID_MAX: usize = 1_000;

/// Which events of a tenant are asked for.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Of this type.
    pub event_type: Option<String>,
    /// About this resource.
    pub resource: Option<String>,
}

/// An accepted event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Given by the producer, or minted.
    pub id: Box<str>,
    /// Where it stands in the log.
    pub position: Position,
    /// `conversion.created`
    pub event_type: Box<str>,
    /// What it is about.
    pub resource: Box<str>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Its deliveries, in the order of its routes.
    pub deliveries: Vec<Delivery>,
}

impl Projections {
    /// Events of a tenant, newest first.
    pub fn events(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        request: PageRequest,
    ) -> Result<Page<Event>, ProjectionError> {
        self.read(|view| {
            let Some(owner) = view.store.names.find(tenant.as_str()) else { return Ok(Page::empty()) };
            let term = match &filter.resource {
                Some(resource) => Term::resource(owner, resource),
                None => Term::tenant(owner),
            };
            let is =
                |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
            let mut shown = Shown::new(view);
            let everything = (Position::START, Position(u64::MAX));
            Ok(page(
                view,
                term,
                everything,
                request,
                |_| 1,
                |row, _| {
                    let fits = row.tenant == owner
                        && is(&filter.resource, &row.resource)
                        && is(&filter.event_type, &row.event_type);
                    fits.then(|| event(&mut shown, row)).transpose()
                },
            )?)
        })
    }

    /// The event of a tenant with this id; the newest, if an id came again after the dedup window.
    pub fn event(&self, tenant: &TenantId, id: &str) -> Result<Option<Event>, ProjectionError> {
        self.read(|view| {
            let Some(owner) = view.store.names.find(tenant.as_str()) else { return Ok(None) };
            let mut shown = Shown::new(view);
            let everything = (Position::START, Position(u64::MAX));
            let newest = PageRequest { limit: 1, cursor: None };
            let found = page(
                view,
                Term::event_id(owner, id),
                everything,
                newest,
                |_| 1,
                |row, _| (row.tenant == owner && *row.id == *id).then(|| event(&mut shown, row)).transpose(),
            )?;
            Ok(found.items.into_iter().next())
        })
    }

    /// Where a tenant's events with this id stand, the newest first.
    pub fn positions_of(&self, tenant: &TenantId, id: &str) -> Result<Vec<Position>, ProjectionError> {
        self.read(|view| {
            let Some(owner) = view.store.names.find(tenant.as_str()) else { return Ok(Vec::new()) };
            let everything = (Position::START, Position(u64::MAX));
            let request = PageRequest { limit: SAME_ID_MAX, cursor: None };
            let term = Term::event_id(owner, id);
            let found = page(
                view,
                term,
                everything,
                request,
                |_| 1,
                |row, _| Ok((row.tenant == owner && *row.id == *id).then_some(row.position)),
            )?;
            Ok(found.items)
        })
    }

    /// The event of a tenant at a position.
    pub fn event_at(&self, tenant: &TenantId, position: Position) -> Result<Option<Event>, ProjectionError> {
        self.read(|view| {
            let owner = view.store.names.find(tenant.as_str());
            let mut rows = Rows::new(view);
            let row = rows.find(position)?.filter(|row| Some(row.tenant) == owner);
            Ok(row.map(|row| event(&mut Shown::new(view), row)).transpose()?)
        })
    }
}

fn event(shown: &mut Shown<'_>, row: &EventRow) -> Result<Event, StoreError> {
    let deliveries = row.deliveries.iter().map(|delivery| shown.delivery(row, delivery));
    Ok(Event {
        id: row.id.clone(),
        position: row.position,
        event_type: row.event_type.clone(),
        resource: row.resource.clone(),
        accepted_at: row.accepted_at,
        deliveries: deliveries.collect::<Result<_, _>>()?,
    })
}
