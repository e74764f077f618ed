//! Pipelines: create, list, show, update, delete (AFM-01 … AFM-44), for every profile.

pub(crate) mod control;
pub(crate) mod draft;
mod headers;
mod kept;
pub(crate) mod literal;
mod retry;
pub(crate) mod rules;
pub(crate) mod secret;
pub(crate) mod stats;
mod step;
pub(crate) mod view;

use super::{
    auth::Caller,
    body::{Pagination, Success},
    error::{ApiError, ApiResult},
    fields::Object,
    idempotency::Kept,
    if_match::IfMatch,
    json_body::{AdminBody, NoBody},
    query::Query,
    reads::Reads,
    tenants::Deleted,
};
use actix_web::web::{Data, Path};
use draft::{Draft, STATUSES};
use ledgerhook_actors::{
    domain::{catalog::PipelineEntry, id::StepId, step::PipelineConfig},
    engine::{EngineError, EngineHandle, Tools},
    profile::Profile,
    secrets::Secret,
};
use rules::Rules;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use view::{PipelineRow, PipelineView};

/// Most pipelines of one tenant, where neither its profile nor the operator sets a limit (TEN.8).
const PIPELINES_MAX: u64 = 10_000;
/// How often a merge is tried again when another one came in between.
const MERGES_MAX: usize = 5;

/// `POST /api/admin/webhooks/pipelines`
pub(crate) async fn create(
    engine: Data<EngineHandle>,
    caller: Caller,
    kept: Kept,
    body: AdminBody,
) -> ApiResult<Success<PipelineView>> {
    let read = |fields: &mut Object<'_>, rules: &Rules<'_>| draft::pipeline(fields, rules, None);
    create_from(&engine, &caller, &body, false, read, kept, |entry, keys| {
        let location = format!("/api/admin/webhooks/pipelines/{}", entry.id);
        Success::created(location, PipelineView::of(entry, keys)).version(entry.version)
    })
    .await
}

#[derive(Serialize, ToSchema)]
pub(crate) struct PipelineList {
    pipelines: Vec<PipelineRow>,
    pagination: Pagination,
}

/// `GET /api/admin/webhooks/pipelines`: by creation, oldest first.
pub(crate) async fn list(
    engine: Data<EngineHandle>,
    reads: Data<Reads>,
    caller: Caller,
    query: Query,
) -> ApiResult<Success<PipelineList>> {
    let (page, status, trigger) =
        query.read(|q| (q.page(), q.choice("status", &STATUSES), q.text("trigger_type")))?;
    let entries = owned(&engine, &caller, |config| {
        status.is_none_or(|status| config.status == status)
            && trigger.is_none_or(|wanted| config.triggers.iter().any(|trigger| trigger == wanted))
    });
    let (entries, pagination) = page.cut(entries.into_iter());
    let numbers = stats::of_all(&engine, &reads, &caller, &entries).await?;
    let rows = entries.iter().zip(numbers).map(|(entry, numbers)| PipelineRow::of(entry, numbers));
    Ok(Success::ok(PipelineList { pipelines: rows.collect(), pagination }))
}

/// `GET /api/admin/webhooks/pipelines/{id}`
pub(crate) async fn show(
    engine: Data<EngineHandle>,
    reads: Data<Reads>,
    caller: Caller,
    id: Path<String>,
    query: Query,
) -> ApiResult<Success<PipelineView>> {
    query.none()?;
    let entry = caller.pipeline(&engine, &id)?;
    let stats = stats::of(&engine, &reads, &caller, &entry).await?;
    let view = PipelineView::of(&entry, &[]).with_stats(stats).with_endpoints(&engine, &entry);
    Ok(Success::ok(view).version(entry.version))
}

/// `PUT` and `PATCH /api/admin/webhooks/pipelines/{id}`: what is absent stays, `null` clears, arrays are replaced
/// whole (T-33). Both are the same, since a pipeline holds no objects beside those in `steps`.
pub(crate) async fn update(
    engine: Data<EngineHandle>,
    reads: Data<Reads>,
    caller: Caller,
    id: Path<String>,
    expected: IfMatch,
    body: AdminBody,
) -> ApiResult<Success<PipelineView>> {
    let (entry, keys) =
        update_from(&engine, &caller, &id, expected, &body, |_| true, draft::pipeline).await?;
    let stats = stats::of(&engine, &reads, &caller, &entry).await?;
    let view = PipelineView::of(&entry, &keys).with_stats(stats).with_endpoints(&engine, &entry);
    Ok(Success::ok(view).version(entry.version))
}

/// `DELETE /api/admin/webhooks/pipelines/{id}`: what is pending is cancelled and listed as such; history and dead
/// letters stay (T-34).
pub(crate) async fn delete(
    engine: Data<EngineHandle>,
    caller: Caller,
    id: Path<String>,
    expected: IfMatch,
    _: NoBody,
) -> ApiResult<Success<Deleted>> {
    let entry = caller.pipeline(&engine, &id)?;
    delete_from(&engine, &caller, &entry, expected).await
}

/// Deletes a pipeline in the version that was read, if the caller says which; what came in between is 412 as well.
pub(crate) async fn delete_from(
    engine: &EngineHandle,
    caller: &Caller,
    entry: &PipelineEntry,
    expected: IfMatch,
) -> ApiResult<Success<Deleted>> {
    expected.check(entry.version)?;
    let deleted = engine.delete_pipeline(&caller.who, &entry.id, expected.version()).await;
    if let Err(EngineError::Conflict(_)) = deleted {
        expected.check(caller.pipeline(engine, entry.id.as_str())?.version)?;
    }
    deleted?;
    Ok(Success::ok(Deleted::new(&entry.id)))
}

/// The caller's pipelines that `wanted` takes, oldest first.
pub(crate) fn owned(
    engine: &EngineHandle,
    caller: &Caller,
    wanted: impl Fn(&PipelineConfig) -> bool,
) -> Vec<Arc<PipelineEntry>> {
    let catalog = engine.catalog();
    let own =
        catalog.pipelines().filter(|entry| entry.tenant == *caller.tenant_id() && wanted(&entry.config));
    let mut entries: Vec<Arc<PipelineEntry>> = own.cloned().collect();
    entries.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    entries
}

/// A pipeline, and the keys that were made for it just now.
pub(crate) type Written = (Arc<PipelineEntry>, Vec<(StepId, Secret)>);

/// Reads, checks, seals and creates; `show` makes the answer.
pub(crate) async fn create_from<V: Serialize>(
    engine: &EngineHandle,
    caller: &Caller,
    body: &AdminBody,
    flat: bool,
    read: impl for<'j> FnOnce(&mut Object<'j>, &Rules<'_>) -> Option<Draft>,
    kept: Kept,
    show: impl Fn(&PipelineEntry, &[(StepId, Secret)]) -> Success<V> + Clone + Send + 'static,
) -> ApiResult<Success<V>> {
    let tools = Arc::clone(engine.tools());
    let profile = profile_of(&tools, caller)?;
    let rules = Rules::new(&tools, profile);
    let draft = body.object(|fields| read(fields, &rules))?;
    let sealed = draft.seal(&tools.secrets, &rules)?;
    let prefix = if flat { &profile.ids.webhook } else { &profile.ids.pipeline };
    let limit = pipelines_max(profile);
    let mut shown = sealed.made;
    if flat && shown.is_empty() {
        shown.extend(
            sealed.config.steps.first().map(|step| secret::given(engine, step)).transpose()?.flatten(),
        );
    }
    let (tenant, made, show_kept) = (caller.tenant_id(), shown.clone(), show.clone());
    let keep = kept.by(move |entry: &Arc<PipelineEntry>| show_kept(entry, &made));
    let created = engine.create_pipeline(&caller.who, tenant, prefix, Some(limit), sealed.config, keep).await;
    let entry = created.map_err(|error| match error {
        EngineError::Limit { max, .. } if flat => EngineError::Limit { limit: "webhooks", max },
        error => error,
    })?;
    Ok(show(&entry, &shown))
}

/// Reads a merge into the version in force, checks, seals and puts it in force. Without `If-Match` a merge that
/// came in between is merged into.
pub(crate) async fn update_from(
    engine: &EngineHandle,
    caller: &Caller,
    id: &str,
    expected: IfMatch,
    body: &AdminBody,
    is_meant: impl Fn(&PipelineConfig) -> bool,
    read: impl for<'j> Fn(&mut Object<'j>, &Rules<'_>, Option<&PipelineConfig>) -> Option<Draft>,
) -> ApiResult<Written> {
    let tools = Arc::clone(engine.tools());
    let rules = Rules::new(&tools, profile_of(&tools, caller)?);
    let mut tries = 0;
    loop {
        let entry = caller.pipeline(engine, id)?;
        if !is_meant(&entry.config) {
            return Err(ApiError::not_found("webhook", id));
        }
        expected.check(entry.version)?;
        let draft = body.object(|fields| read(fields, &rules, Some(&entry.config)))?;
        let sealed = draft.seal(&tools.secrets, &rules)?;
        tries += 1;
        match engine.update_pipeline(&caller.who, &entry.id, entry.version, sealed.config).await {
            Ok(entry) => return Ok((entry, sealed.made)),
            Err(EngineError::Conflict(_)) if tries < MERGES_MAX => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Most pipelines of a tenant that has no quota of its own. A pipeline is no way around the limit: a webhook is one, too
/// (APX-33).
pub(crate) fn pipelines_max(profile: &Profile) -> u64 {
    profile.limits.webhooks_max.map_or(PIPELINES_MAX, u64::from)
}

/// The profile of the caller's tenant.
pub(crate) fn profile_of<'t>(tools: &'t Tools, caller: &Caller) -> ApiResult<&'t Profile> {
    let name = &caller.tenant.profile;
    let profile = tools.profiles.get(name).map(|profile| &**profile);
    profile.ok_or_else(|| ApiError::internal(&format!("profile `{name}` is not loaded")))
}
