//! Flat webhooks: one URL, some events. Each is a pipeline with one step, and is found as one too.
//!
//! The same handlers stand under `/api/webhooks` and under every provider's own tree (T-45); how answers look there
//! is the profile's matter (`http/body.rs`).

pub(crate) mod logs;

use super::{
    auth::Caller,
    body::{List, Success},
    error::{ApiError, ApiResult},
    fields::Object,
    idempotency::Kept,
    if_match::IfMatch,
    json_body::{AdminBody, NoBody},
    pipelines::{
        self,
        control::{self, EndpointView},
        draft::{self, STATUSES},
        rules::Rules,
        secret::{self, SecretView},
        stats,
        view::WebhookView,
    },
    query::Query,
    reads::Reads,
    tenants::Deleted,
};
use actix_web::{
    HttpRequest,
    web::{Data, Path},
};
use ledgerhook_actors::{
    domain::{catalog::PipelineEntry, step::Step},
    engine::EngineHandle,
};
use std::sync::Arc;

/// `POST /api/webhooks`: the secret, given or made, is shown this once (T-46).
pub(crate) async fn create(
    engine: Data<EngineHandle>,
    request: HttpRequest,
    caller: Caller,
    kept: Kept,
    body: AdminBody,
) -> ApiResult<Success<WebhookView>> {
    let read = |fields: &mut Object<'_>, rules: &Rules<'_>| draft::webhook(fields, rules, None, false);
    let tree = request.path().to_owned();
    pipelines::create_from(&engine, &caller, &body, true, read, kept, move |entry, keys| {
        let location = format!("{tree}/{}", entry.id);
        Success::created(location, WebhookView::of(entry, keys)).version(entry.version)
    })
    .await?
    .present()
}

/// `GET /api/webhooks`: by creation, oldest first.
pub(crate) async fn list(
    engine: Data<EngineHandle>,
    reads: Data<Reads>,
    caller: Caller,
    query: Query,
) -> ApiResult<Success<List<WebhookView>>> {
    let (after, limit, status, event) =
        query.read(|q| (q.cursor("webhooks"), q.limit(), q.choice("status", &STATUSES), q.text("event")))?;
    let entries = pipelines::owned(&engine, &caller, |config| {
        config.flat
            && status.is_none_or(|status| config.status == status)
            && event.is_none_or(|wanted| config.triggers.iter().any(|trigger| trigger == wanted))
    });
    let place = |entry: &PipelineEntry| format!("{:020}/{}", entry.created_at.as_millis(), entry.id);
    let behind = |entry: &&Arc<PipelineEntry>| after.as_ref().is_none_or(|after| place(entry) > *after);
    let wanted: Vec<_> = entries.iter().filter(behind).take(limit + 1).cloned().collect();
    let numbers = stats::of_all(&engine, &reads, &caller, &wanted).await?;
    let shown = wanted.iter().zip(numbers);
    let items = shown.filter_map(|(entry, numbers)| {
        Some(WebhookView::of(entry, &[])?.with_stats(numbers).with_endpoint(&engine, entry))
    });
    let items = items.collect();
    let last = |view: &WebhookView| {
        entries
            .iter()
            .find(|entry| entry.id.as_str() == view.id())
            .map(|entry| place(entry))
            .unwrap_or_default()
    };
    Ok(List::forward(items, limit, "webhooks", last).respond(&query))
}

/// `GET /api/webhooks/{id}`
pub(crate) async fn show(
    engine: Data<EngineHandle>,
    reads: Data<Reads>,
    caller: Caller,
    id: Path<String>,
    query: Query,
) -> ApiResult<Success<WebhookView>> {
    query.none()?;
    let (entry, _) = find(&engine, &caller, &id)?;
    shown(&engine, &reads, &caller, &entry, WebhookView::of(&entry, &[])).await
}

/// `PUT /api/webhooks/{id}`: what is absent stays, `null` clears.
pub(crate) async fn update(
    engine: Data<EngineHandle>,
    reads: Data<Reads>,
    caller: Caller,
    id: Path<String>,
    expected: IfMatch,
    body: AdminBody,
) -> ApiResult<Success<WebhookView>> {
    change(&engine, &reads, &caller, &id, expected, &body, false).await
}

/// `PATCH /api/webhooks/{id}`: the same, and `headers` and `retry_policy` are merged too (RFC 7396).
pub(crate) async fn patch(
    engine: Data<EngineHandle>,
    reads: Data<Reads>,
    caller: Caller,
    id: Path<String>,
    expected: IfMatch,
    body: AdminBody,
) -> ApiResult<Success<WebhookView>> {
    change(&engine, &reads, &caller, &id, expected, &body, true).await
}

async fn change(
    engine: &EngineHandle,
    reads: &Reads,
    caller: &Caller,
    id: &str,
    expected: IfMatch,
    body: &AdminBody,
    patch: bool,
) -> ApiResult<Success<WebhookView>> {
    let (entry, keys) = pipelines::update_from(
        engine,
        caller,
        id,
        expected,
        body,
        |config| config.flat,
        |fields, rules, base| draft::webhook(fields, rules, base, patch),
    )
    .await?;
    shown(engine, reads, caller, &entry, WebhookView::of(&entry, &keys)).await
}

/// `DELETE /api/webhooks/{id}`: what is pending is cancelled.
pub(crate) async fn delete(
    engine: Data<EngineHandle>,
    caller: Caller,
    id: Path<String>,
    expected: IfMatch,
    _: NoBody,
) -> ApiResult<Success<Deleted>> {
    let (entry, _) = find(&engine, &caller, &id)?;
    pipelines::delete_from(&engine, &caller, &entry, expected).await
}

/// `GET /api/webhooks/{id}/secret`
pub(crate) async fn reveal(
    engine: Data<EngineHandle>,
    caller: Caller,
    id: Path<String>,
    query: Query,
) -> ApiResult<Success<SecretView>> {
    query.none()?;
    let (entry, step) = find(&engine, &caller, &id)?;
    secret::reveal(&engine, &caller, &entry, &step).await
}

/// `POST /api/webhooks/{id}/secret/rotate`
pub(crate) async fn rotate(
    engine: Data<EngineHandle>,
    caller: Caller,
    id: Path<String>,
    body: AdminBody,
) -> ApiResult<Success<SecretView>> {
    let (entry, step) = find(&engine, &caller, &id)?;
    secret::rotate(&engine, &caller, &entry, &step, &body).await
}

/// `POST /api/webhooks/{id}/breaker/close`
pub(crate) async fn close_breaker(
    engine: Data<EngineHandle>,
    caller: Caller,
    id: Path<String>,
    _: NoBody,
) -> ApiResult<Success<EndpointView>> {
    let (entry, step) = find(&engine, &caller, &id)?;
    control::close(&engine, &caller, &entry, &step.url).await
}

/// A webhook of the caller's, and its one step.
pub(crate) fn find(
    engine: &EngineHandle,
    caller: &Caller,
    id: &str,
) -> ApiResult<(Arc<PipelineEntry>, Step)> {
    let entry = caller.pipeline(engine, id).map_err(|_| unknown(id))?;
    let step = entry.config.steps.first().filter(|_| entry.config.flat).cloned();
    step.map(|step| (entry, step)).ok_or_else(|| unknown(id))
}

async fn shown(
    engine: &EngineHandle,
    reads: &Reads,
    caller: &Caller,
    entry: &Arc<PipelineEntry>,
    view: Option<WebhookView>,
) -> ApiResult<Success<WebhookView>> {
    let view = view.ok_or_else(|| unknown(entry.id.as_str()))?;
    let view = view.with_stats(stats::of(engine, reads, caller, entry).await?);
    Ok(Success::ok(view.with_endpoint(engine, entry)).version(entry.version))
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found("webhook", id)
}
