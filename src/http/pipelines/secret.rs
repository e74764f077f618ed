//! A signing key, shown to its owner or replaced. Every showing is in the audit.

use super::step::{KeyDraft, given_key};
use crate::http::{
    auth::Caller,
    body::Success,
    error::{ApiError, ApiResult},
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
        step::{PipelineConfig, Step, StoredKey},
    },
    engine::EngineHandle,
    secrets::{Secret, new_signing_secret},
};
use serde::Serialize;
use std::sync::Arc;

/// Longest overlap that a rotation may name.
const OVERLAP_SECONDS_MAX: u64 = 7 * 86_400;

/// A signing key in clear. The answer is `no-store`, as all are.
#[derive(Serialize)]
pub(crate) struct SecretView {
    step_id: String,
    secret: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
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

/// Shows the key, once it is recorded that it is shown.
pub(crate) async fn reveal(
    engine: &EngineHandle,
    caller: &Caller,
    entry: &PipelineEntry,
    step: &Step,
) -> ApiResult<Success<SecretView>> {
    let secret = match &step.signing_key {
        None => return Err(ApiError::not_found("secret of step", step.id.as_str())),
        Some(StoredKey::Env(name)) => format!("{{{{env.{name}}}}}"),
        Some(StoredKey::Sealed(sealed)) => {
            let opened = engine.tools().secrets.open(sealed);
            opened.map_err(|error| ApiError::internal(&error))?.expose().to_owned()
        }
    };
    engine.record_reveal(&caller.key, &entry.id, step.id.as_str()).await?;
    Ok(Success::ok(SecretView { step_id: step.id.to_string(), secret, version: None }))
}

/// Replaces the key: by the one given, or by a new one. Attempts that start afterwards are signed with it alone.
pub(crate) async fn rotate(
    engine: &EngineHandle,
    caller: &Caller,
    entry: &PipelineEntry,
    step: &Step,
    body: &AdminBody,
) -> ApiResult<Success<SecretView>> {
    let tools = Arc::clone(engine.tools());
    let rules = Rules::new(&tools, profile_of(&tools, caller)?);
    let failover = entry.config.failover_url.as_deref();
    let hosts: Vec<String> =
        [Some(step.url.as_str()), failover].into_iter().flatten().filter_map(UrlTemplate::host_of).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let given = body.object(|fields| {
        let given = fields.optional("secret").map(|secret| given_key(&secret, &rules, &hosts));
        let overlap = fields.optional("overlap_seconds").map(|overlap| {
            match overlap.integer(0..=OVERLAP_SECONDS_MAX)? {
                0 => Some(()),
                _ => overlap
                    .wrong("not_supported", "an overlap of both keys is not supported yet; leave it out"),
            }
        });
        overlap.unwrap_or(Some(()))?;
        given.unwrap_or(Some(KeyDraft::Generated))
    })?;
    let internal = |error| ApiError::internal(&error);
    let (stored, secret) = match given {
        KeyDraft::Env(name) => (StoredKey::Env(name.clone()), format!("{{{{env.{name}}}}}")),
        KeyDraft::Given(secret) => {
            let sealed = tools.secrets.seal(secret.expose()).map_err(internal)?;
            (StoredKey::Sealed(sealed), secret.expose().to_owned())
        }
        KeyDraft::Generated | KeyDraft::Unneeded | KeyDraft::Kept(_) => {
            let secret = new_signing_secret().map_err(internal)?;
            let sealed = tools.secrets.seal(secret.expose()).map_err(internal)?;
            (StoredKey::Sealed(sealed), secret.expose().to_owned())
        }
    };
    let config = with_key(&entry.config, &step.id, stored);
    let entry = engine.update_pipeline(&caller.key, &entry.id, entry.version, config).await?;
    Ok(Success::ok(SecretView { step_id: step.id.to_string(), secret, version: Some(entry.version) }))
}

fn with_key(config: &PipelineConfig, step: &StepId, key: StoredKey) -> PipelineConfig {
    let mut config = config.clone();
    if let Some(step) = config.steps.iter_mut().find(|candidate| candidate.id == *step) {
        step.signing_key = Some(key);
    }
    config
}
