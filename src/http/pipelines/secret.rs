//! Signing keys: shown to their owner, and replaced, at once or with a time in which both are in force (SIG.5).
//! Every showing and every replacement is in the audit.

use super::step::{KeyDraft, given_key};
use crate::http::{
    auth::Caller,
    body::Success,
    error::{ApiError, ApiResult},
    fields::Object,
    instant,
    json_body::AdminBody,
    pipelines::{profile_of, rules::Rules},
    query::Query,
};
use actix_web::web::{Data, Path};
use ledgerhook_actors::{
    delivery::template::UrlTemplate,
    domain::{
        catalog::PipelineEntry,
        id::StepId,
        step::{FORMER_KEYS_MAX, FormerKey, PipelineConfig, Step, StoredKey},
        time::Timestamp,
    },
    engine::EngineHandle,
    profile::Profile,
    secrets::{Secret, Secrets, new_signing_secret},
};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Longest overlap that a rotation may name.
const OVERLAP_SECONDS_MAX: u64 = 7 * 86_400;

/// The signing keys of a step in clear. The answer is `no-store`, as all are.
#[derive(Serialize, ToSchema)]
#[schema(as = SigningSecret)]
pub(crate) struct SecretView {
    step_id: String,
    secret: String,
    /// Still signed with, beside it: the newest first.
    former: Vec<FormerView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = FormerSecret)]
struct FormerView {
    /// Only where the keys are shown on demand, which is in the audit.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    expires_at: String,
}

impl SecretView {
    fn of(step: &Step, secrets: &Secrets) -> ApiResult<Self> {
        let key = step.signing_key.as_ref();
        let key = key.ok_or_else(|| ApiError::not_found("secret of step", step.id.as_str()))?;
        let former = step.former_keys_at(instant::now()).map(|former| {
            let expires_at = former.until.to_iso_seconds();
            Ok(FormerView { secret: Some(in_clear(&former.key, secrets)?), expires_at })
        });
        let former = former.collect::<ApiResult<_>>()?;
        Ok(Self { step_id: step.id.to_string(), secret: in_clear(key, secrets)?, former, version: None })
    }
}

fn in_clear(key: &StoredKey, secrets: &Secrets) -> ApiResult<String> {
    match key {
        StoredKey::Env(name) => Ok(format!("{{{{env.{name}}}}}")),
        StoredKey::Sealed(sealed) => {
            let opened = secrets.open(sealed).map_err(|error| ApiError::internal(&error))?;
            Ok(opened.expose().to_owned())
        }
    }
}

/// `GET /api/pipelines/{id}/steps/{step}/secret`
pub(crate) async fn of_step(
    engine: Data<EngineHandle>,
    caller: Caller,
    path: Path<(String, String)>,
    query: Query,
) -> ApiResult<Success<SecretView>> {
    query.none()?;
    let (id, step) = path.into_inner();
    let entry = caller.pipeline(&engine, &id)?;
    reveal(&engine, &caller, &entry, step_of(&entry, &step)?).await
}

/// `POST /api/pipelines/{id}/steps/{step}/secret/rotate`
pub(crate) async fn rotate_of_step(
    engine: Data<EngineHandle>,
    caller: Caller,
    path: Path<(String, String)>,
    body: AdminBody,
) -> ApiResult<Success<SecretView>> {
    let (id, step) = path.into_inner();
    let entry = caller.pipeline(&engine, &id)?;
    rotate(&engine, &caller, &entry, step_of(&entry, &step)?, &body).await
}

fn step_of<'e>(entry: &'e Arc<PipelineEntry>, id: &str) -> ApiResult<&'e Step> {
    entry.config.step(&StepId::new(id)).ok_or_else(|| ApiError::not_found("step", id))
}

/// The key that a new step was given, to be repeated in the answer that made it; a variable is not resolved.
pub(super) fn given(engine: &EngineHandle, step: &Step) -> ApiResult<Option<(StepId, Secret)>> {
    let Some(StoredKey::Sealed(sealed)) = &step.signing_key else { return Ok(None) };
    let opened = engine.tools().secrets.open(sealed).map_err(|error| ApiError::internal(&error))?;
    Ok(Some((step.id.clone(), opened)))
}

/// Shows the keys in force, once it is recorded that they are shown.
pub(crate) async fn reveal(
    engine: &EngineHandle,
    caller: &Caller,
    entry: &PipelineEntry,
    step: &Step,
) -> ApiResult<Success<SecretView>> {
    let view = SecretView::of(step, &engine.tools().secrets)?;
    engine.record_reveal(&caller.who, &entry.id, step.id.as_str()).await?;
    Ok(Success::ok(view))
}

/// Replaces the key: by the one given, or by a new one. Attempts that start afterwards are signed with it: alone,
/// or for `overlap_seconds` together with the one it replaces.
pub(crate) async fn rotate(
    engine: &EngineHandle,
    caller: &Caller,
    entry: &PipelineEntry,
    step: &Step,
    body: &AdminBody,
) -> ApiResult<Success<SecretView>> {
    let tools = Arc::clone(engine.tools());
    let profile = profile_of(&tools, caller)?;
    let (given, overlap) = body.object(|fields| {
        let failover = entry.config.failover_url.as_deref();
        read(fields, &Rules::new(&tools, profile), step, failover)
    })?;
    let key = match given {
        KeyDraft::Env(name) => StoredKey::Env(name),
        KeyDraft::Given(secret) => sealed(&tools.secrets, &secret)?,
        KeyDraft::Generated | KeyDraft::Unneeded | KeyDraft::Kept(..) => {
            let secret = new_signing_secret().map_err(|error| ApiError::internal(&error))?;
            sealed(&tools.secrets, &secret)?
        }
    };
    let former_keys = match instant::after_overlap(overlap) {
        None => Vec::new(),
        Some(until) => kept_beside(step, &key, until, profile, &tools.secrets)?,
    };
    let rotated = Step { signing_key: Some(key), former_keys, ..step.clone() };
    let config = with_step(&entry.config, &rotated);
    let id = step.id.clone();
    let entry = engine.rotate_key(&caller.who, &entry.id, entry.version, config, id).await?;
    let mut view = SecretView::of(&rotated, &tools.secrets)?;
    // Whoever rotates sees the new key, and no other: seeing those is another call, and is in the audit (SIG.8).
    view.former.iter_mut().for_each(|former| former.secret = None);
    Ok(Success::ok(SecretView { version: Some(entry.version), ..view }))
}

fn read(
    fields: &mut Object<'_>,
    rules: &Rules<'_>,
    step: &Step,
    failover: Option<&str>,
) -> Option<(KeyDraft, u64)> {
    let hosts: Vec<String> =
        [Some(step.url.as_str()), failover].into_iter().flatten().filter_map(UrlTemplate::host_of).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let given = fields.optional("secret").map(|secret| given_key(&secret, rules, &hosts));
    let overlap = fields.optional("overlap_seconds").map(|overlap| overlap.integer(0..=OVERLAP_SECONDS_MAX));
    Some((given.unwrap_or(Some(KeyDraft::Generated))?, overlap.unwrap_or(Some(0))?))
}

/// The keys that stay in force beside the new one: that which it replaces, and what is left of earlier overlaps.
fn kept_beside(
    step: &Step,
    new: &StoredKey,
    until: Timestamp,
    profile: &Profile,
    secrets: &Secrets,
) -> ApiResult<Vec<FormerKey>> {
    let now = instant::now();
    let mut former: Vec<FormerKey> = step.former_keys_at(now).cloned().collect();
    let Some(old) = &step.signing_key else { return Ok(former) };
    // The same key once more is no other one.
    if in_clear(old, secrets)? != in_clear(new, secrets)? {
        if former.len() == FORMER_KEYS_MAX {
            let first = former.iter().map(|former| former.until).min().unwrap_or(now).to_iso_seconds();
            let detail = format!(
                "{FORMER_KEYS_MAX} former keys are still in force, the first of them until {first}; wait for it, \
                 or rotate without an overlap, which ends them all"
            );
            return Err(ApiError::conflict("wrong_state", detail));
        }
        let fallback = profile.signature.has_room_for_one();
        former.insert(0, FormerKey { key: old.clone(), until, fallback });
    }
    Ok(former)
}

fn sealed(secrets: &Secrets, secret: &Secret) -> ApiResult<StoredKey> {
    secrets.seal(secret.expose()).map(StoredKey::Sealed).map_err(|error| ApiError::internal(&error))
}

fn with_step(config: &PipelineConfig, changed: &Step) -> PipelineConfig {
    let mut config = config.clone();
    config.steps.iter_mut().filter(|step| step.id == changed.id).for_each(|step| step.clone_from(changed));
    config
}
