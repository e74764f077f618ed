//! What the operator allows a tenant, and what it uses of that (TEN.8).

use crate::http::{
    auth::KeyHolder,
    error::{ApiError, ApiResult},
    fields::Value,
    pipelines::pipelines_max,
};
use ledgerhook_actors::{
    domain::{
        quota::{Quota, Quotas},
        tenant::Tenant,
    },
    engine::{EngineHandle, QuotaChanges},
};
use serde::Serialize;
use utoipa::ToSchema;

/// What is set; `null` where what holds for everyone does.
#[derive(Serialize, ToSchema)]
#[schema(as = Quotas)]
pub(crate) struct QuotasView {
    pipelines: Option<u64>,
    steps: Option<u64>,
    events_per_second: Option<u64>,
    dead_letters: Option<u64>,
}

impl QuotasView {
    pub(super) fn of(quotas: &Quotas) -> Self {
        Self {
            pipelines: quotas.get(Quota::Pipelines),
            steps: quotas.get(Quota::Steps),
            events_per_second: quotas.get(Quota::EventsPerSecond),
            dead_letters: quotas.get(Quota::DeadLetters),
        }
    }
}

/// What a tenant has now.
#[derive(Serialize, ToSchema)]
#[schema(as = Usage)]
pub(crate) struct UsageView {
    pipelines: UsedView,
    steps: UsedView,
    events_per_second: UsedView,
    dead_letters: UsedView,
}

/// How much of a quota is used, and where that ends.
#[derive(Serialize, ToSchema)]
#[schema(as = Used)]
struct UsedView {
    /// `null` where nothing is counted.
    used: Option<u64>,
    /// `null` where there is none.
    limit: Option<u64>,
}

impl UsageView {
    pub(super) fn of(engine: &EngineHandle, tenant: &Tenant) -> Self {
        let profile = engine.tools().profiles.get(&tenant.profile);
        let used = |quota, otherwise: Option<u64>| {
            let limit = tenant.quotas.get(quota).or(otherwise);
            UsedView { used: engine.used(tenant, quota), limit }
        };
        Self {
            pipelines: used(Quota::Pipelines, profile.map(|profile| pipelines_max(profile))),
            steps: used(Quota::Steps, None),
            events_per_second: used(Quota::EventsPerSecond, None),
            dead_letters: used(Quota::DeadLetters, None),
        }
    }
}

/// Quotas by name: those that are absent stay, `null` takes one back, and all of them if it stands for the whole.
pub(super) fn read(value: &Value<'_>) -> Option<QuotaChanges> {
    if value.is_null() {
        return Some(Quota::ALL.map(|quota| (quota, None)).into());
    }
    value.object(|fields| {
        let named = Quota::ALL.map(|quota| Some((quota, fields.get(quota.as_str())?)));
        let read = named.into_iter().flatten().map(|(quota, value)| {
            let most = if value.is_null() { None } else { Some(value.integer(quota.range())?) };
            Some((quota, most))
        });
        // All of them are read before one that is wrong ends it.
        read.collect::<Vec<_>>().into_iter().collect()
    })
}

/// A tenant does not allow itself more.
pub(super) fn must_be_operators(by: &KeyHolder) -> ApiResult<()> {
    if by.is_operator() {
        return Ok(());
    }
    let detail = "`quotas` are the operator's to set: this needs a key with the scope `operator`";
    Err(ApiError::forbidden("missing_scope", detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::json_body::AdminBody;

    fn changes(body: &'static str) -> Result<QuotaChanges, Vec<(String, &'static str)>> {
        let read = AdminBody::of(body).object(|fields| fields.require("quotas").and_then(|v| read(&v)));
        read.map_err(|error| error.problem().errors.iter().map(|e| (e.pointer.clone(), e.code)).collect())
    }

    /// TEN.8: what is not named stays.
    #[test]
    fn quotas_are_changed_by_name() {
        assert_eq!(changes(r#"{"quotas":{}}"#), Ok(vec![]));
        let two = vec![(Quota::Pipelines, Some(0)), (Quota::DeadLetters, None)];
        assert_eq!(changes(r#"{"quotas":{"dead_letters":null,"pipelines":0}}"#), Ok(two));
        assert_eq!(changes(r#"{"quotas":null}"#), Ok(Quota::ALL.map(|quota| (quota, None)).into()));
    }

    /// TEN.8: all mistakes are told with their place.
    #[test]
    fn a_quota_that_there_is_not_and_a_number_that_cannot_be_are_named() {
        let body = r#"{"quotas":{"steps":-1,"events_per_second":0,"dead_letters":"5","webhooks":3}}"#;
        let wrong = [
            ("/quotas/steps", "out_of_range"),
            ("/quotas/events_per_second", "out_of_range"),
            ("/quotas/dead_letters", "wrong_type"),
            ("/quotas/webhooks", "unknown_field"),
        ];
        assert_eq!(changes(body), Err(wrong.map(|(pointer, code)| (pointer.to_owned(), code)).into()));
        assert_eq!(changes(r#"{"quotas":5}"#), Err(vec![("/quotas".to_owned(), "wrong_type")]));
    }
}
