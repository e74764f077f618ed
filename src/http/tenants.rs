//! Tenants and their keys.

pub(crate) mod client_certificate;
pub(crate) mod jwt_keys;
mod quotas;

use super::{
    auth::{KeyHolder, OPERATORS_OWN, Operator},
    body::{List, Success},
    erasure::ErasureView,
    error::{ApiError, ApiResult},
    fields::{Object, Value},
    idempotency::Kept,
    instant,
    json_body::{AdminBody, NoBody},
    query::Query,
};
use actix_web::web::{Data, Path};
use ledgerhook_actors::{
    domain::{
        id::{KeyId, TenantId},
        tenant::{ApiKey, Scope, Tenant, is_mail_address},
        time::Timestamp,
    },
    engine::{EngineHandle, IssuedKey, NewKey},
};
use quotas::{QuotasView, UsageView};
use serde::Serialize;
use std::{collections::HashSet, sync::Arc};
use utoipa::ToSchema;

/// Longest name of a tenant or a key in bytes.
const NAME_BYTES: usize = 200;
/// Longest id of a tenant in bytes.
const ID_BYTES: usize = 64;
/// Most contacts of a tenant.
const CONTACTS_MAX: usize = 10;

/// A tenant as the API shows it.
#[derive(Serialize, ToSchema)]
#[schema(as = Tenant)]
pub(crate) struct TenantView {
    id: String,
    name: String,
    profile: String,
    contacts: Vec<String>,
    quotas: QuotasView,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageView>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<IssuedView>,
}

impl TenantView {
    fn of(tenant: &Tenant) -> Self {
        Self {
            id: tenant.id.to_string(),
            name: tenant.name.clone(),
            profile: tenant.profile.clone(),
            contacts: tenant.contacts.clone(),
            quotas: QuotasView::of(&tenant.quotas),
            usage: None,
            created_at: tenant.created_at.to_iso_seconds(),
            api_key: None,
        }
    }

    /// With what it uses, which has to be counted.
    fn with_usage(engine: &EngineHandle, tenant: &Tenant) -> Self {
        Self { usage: Some(UsageView::of(engine, tenant)), ..Self::of(tenant) }
    }
}

/// A key at the one time that it is shown.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuedKey)]
pub(crate) struct IssuedView {
    id: String,
    key: String,
    scopes: Vec<&'static str>,
    expires_at: Option<String>,
}

impl From<&IssuedKey> for IssuedView {
    fn from(issued: &IssuedKey) -> Self {
        Self {
            id: issued.id.to_string(),
            key: issued.key.clone(),
            scopes: issued.scopes.iter().map(|scope| scope.as_str()).collect(),
            expires_at: issued.expires_at.map(Timestamp::to_iso_seconds),
        }
    }
}

/// A key as lists show it.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
pub(crate) struct KeyView {
    id: String,
    hint: String,
    name: Option<String>,
    scopes: Vec<&'static str>,
    created_at: String,
    expires_at: Option<String>,
    /// By the minute, since the process began.
    last_used_at: Option<String>,
}

impl KeyView {
    fn of((key, made): &(ApiKey, Timestamp), engine: &EngineHandle) -> Self {
        Self {
            id: key.id.to_string(),
            hint: key.hint.to_string(),
            name: key.name.as_deref().map(str::to_owned),
            scopes: key.scopes.iter().map(|scope| scope.as_str()).collect(),
            created_at: made.to_iso_seconds(),
            expires_at: key.expires_at.map(Timestamp::to_iso_seconds),
            last_used_at: engine.last_used(&key.id).map(Timestamp::to_iso_seconds),
        }
    }
}

/// `POST /api/tenants`
pub(crate) async fn create(
    engine: Data<EngineHandle>,
    by: Operator,
    kept: Kept,
    body: AdminBody,
) -> ApiResult<Success<TenantView>> {
    let (id, name, profile) = body.object(|fields| {
        let id = fields.optional("id").map(|id| tenant_id(&id));
        let name = fields.require("name").and_then(|v| v.text(1..=NAME_BYTES));
        let profile = fields.require("profile").and_then(|v| profile(&engine, &v));
        Some((id.map_or(Some(None), |id| id.map(Some))?, name?.to_owned(), profile?))
    })?;
    let show = |(tenant, key): &(Arc<Tenant>, IssuedKey)| {
        let location = format!("/api/tenants/{}", tenant.id);
        Success::created(location, TenantView { api_key: Some(key.into()), ..TenantView::of(tenant) })
    };
    Ok(show(&engine.create_tenant(&by.who, id, name, profile, kept.by(show)).await?))
}

/// `GET /api/tenants`: by id.
pub(crate) async fn list(
    engine: Data<EngineHandle>,
    _: Operator,
    query: Query,
) -> ApiResult<Success<List<TenantView>>> {
    let (after, limit) = query.read(|q| (q.cursor("tenants"), q.limit()))?;
    let catalog = engine.catalog();
    let later = |tenant: &&Arc<Tenant>| after.as_deref().is_none_or(|id| tenant.id.as_str() > id);
    let found = catalog.tenants().filter(later).take(limit + 1).map(|tenant| TenantView::of(tenant));
    let list = List::forward(found.collect(), limit, "tenants", |tenant| tenant.id.clone());
    Ok(list.respond(&query))
}

/// `GET /api/tenants/{id}`
pub(crate) async fn show(
    engine: Data<EngineHandle>,
    by: KeyHolder,
    id: Path<String>,
    query: Query,
) -> ApiResult<Success<TenantView>> {
    query.none()?;
    Ok(Success::ok(TenantView::with_usage(&engine, &*by.addressed(&engine, &id)?)))
}

/// `PUT`, `PATCH /api/tenants/{id}`: what is absent stays, `null` empties the contacts and takes quotas back. A profile
/// is for life: ids and stored events have its shape.
pub(crate) async fn update(
    engine: Data<EngineHandle>,
    by: KeyHolder,
    id: Path<String>,
    body: AdminBody,
) -> ApiResult<Success<TenantView>> {
    let tenant = by.addressed(&engine, &id)?;
    let (name, contacts, quotas) = body.object(|fields| {
        let name = match fields.get("name") {
            Some(name) => name.text(1..=NAME_BYTES),
            None => Some(tenant.name.as_str()),
        };
        let contacts = fields.merge("contacts", tenant.contacts.clone(), Vec::new(), contacts);
        let quotas = fields.get("quotas").map(|v| quotas::read(&v));
        let quotas = quotas.map_or(Some(None), |changes| changes.map(Some));
        Some((name?.to_owned(), contacts?, quotas?))
    })?;
    if quotas.is_some() {
        quotas::must_be_operators(&by)?;
    }
    let tenant = engine.update_tenant(&by.who, &tenant.id, name, contacts, quotas).await?;
    Ok(Success::ok(TenantView::with_usage(&engine, &tenant)))
}

/// `DELETE /api/tenants/{id}`: with its pipelines, whose pending deliveries are cancelled, and its keys; `?erase=true`
/// also erases the payloads of everything that it posted.
pub(crate) async fn delete(
    engine: Data<EngineHandle>,
    by: KeyHolder,
    id: Path<String>,
    query: Query,
    _: NoBody,
) -> ApiResult<Success<DeletedTenant>> {
    let erase = query.read(|q| q.flag("erase"))?;
    let tenant = by.addressed(&engine, &id)?;
    if tenant.keys.get(&by.who.key).is_some_and(|(key, _)| is_operators(key)) {
        let detail = "the tenant holds the operator's key; start with another one in `LEDGERHOOK_OPERATOR_KEY`, \
                      and delete the tenant with that";
        return Err(ApiError::conflict("wrong_state", detail));
    }
    engine.delete_tenant(&by.who, &tenant.id).await?;
    // Behind the deletion, so that nothing is posted any more. Should a crash come between the two, `…/erase` takes
    // the tenant still.
    let erasure = if erase { Some(engine.erase_tenant(&by.who, &tenant.id).await?) } else { None };
    let erasure = erasure.map(|progress| ErasureView::new(tenant.id.as_str(), progress));
    Ok(Success::ok(DeletedTenant { deleted: Deleted::new(&tenant.id), erasure }))
}

/// `POST /api/tenants/{id}/keys`
pub(crate) async fn create_key(
    engine: Data<EngineHandle>,
    by: KeyHolder,
    id: Path<String>,
    kept: Kept,
    body: AdminBody,
) -> ApiResult<Success<IssuedView>> {
    let tenant = by.addressed(&engine, &id)?;
    let key = body.object(new_key)?;
    let owner = tenant.id.clone();
    let show = move |issued: &IssuedKey| {
        let location = format!("/api/tenants/{owner}/keys/{}", issued.id);
        Success::created(location, IssuedView::from(issued))
    };
    Ok(show(&engine.create_key(&by.who, &tenant.id, key, kept.by(show.clone())).await?))
}

/// `GET /api/tenants/{id}/keys`: by id, without the keys themselves.
pub(crate) async fn keys(
    engine: Data<EngineHandle>,
    by: KeyHolder,
    id: Path<String>,
    query: Query,
) -> ApiResult<Success<List<KeyView>>> {
    let tenant = by.addressed(&engine, &id)?;
    let (after, limit) = query.read(|q| (q.cursor("keys"), q.limit()))?;
    let later = |(id, _): &(&KeyId, _)| after.as_deref().is_none_or(|after| id.as_str() > after);
    let found = tenant.keys.iter().filter(later).filter(|(_, (key, _))| by.may_see(key));
    let found = found.take(limit + 1).map(|(_, key)| KeyView::of(key, &engine));
    Ok(List::forward(found.collect(), limit, "keys", |key| key.id.clone()).respond(&query))
}

/// `DELETE /api/tenants/{id}/keys/{key}`: the key stops working at once.
pub(crate) async fn revoke_key(
    engine: Data<EngineHandle>,
    by: KeyHolder,
    path: Path<(String, String)>,
    _: NoBody,
) -> ApiResult<Success<Deleted>> {
    let (id, key) = path.into_inner();
    let tenant = by.addressed(&engine, &id)?;
    let key_id = KeyId::new(key.as_str());
    if !tenant.keys.get(&key_id).is_some_and(|(key, _)| by.may_see(key)) {
        return Err(ApiError::not_found("key", &key));
    }
    if by.is_operator() && by.who.key == key_id {
        let detail = "this is the operator key of this very request; start with another one in \
                      `LEDGERHOOK_OPERATOR_KEY`, and revoke it with that";
        return Err(ApiError::conflict("wrong_state", detail));
    }
    engine.revoke_key(&by.who, &tenant.id, &key_id).await?;
    Ok(Success::ok(Deleted::new(&key_id)))
}

/// The key of a first run lies in `tenant_default`, and is nobody's but the operator's.
fn is_operators(key: &ApiKey) -> bool {
    key.scopes.contains(&Scope::Operator)
}

impl KeyHolder {
    fn may_see(&self, key: &ApiKey) -> bool {
        self.is_operator() || !is_operators(key)
    }
}

/// What a `DELETE` answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Deleted {
    id: String,
    deleted: bool,
}

impl Deleted {
    /// Of the thing with this id.
    pub(crate) fn new(id: &impl ToString) -> Self {
        Self { id: id.to_string(), deleted: true }
    }
}

/// The same of a tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeletedTenant {
    #[serde(flatten)]
    deleted: Deleted,
    #[serde(skip_serializing_if = "Option::is_none")]
    erasure: Option<ErasureView>,
}

fn new_key(fields: &mut Object<'_>) -> Option<NewKey> {
    let scopes = fields.require("scopes").and_then(|v| scopes(&v));
    let name = fields.optional("name").map(|v| v.text(1..=NAME_BYTES).map(str::to_owned));
    let expires_at = fields.optional("expires_at").map(|v| expiry(&v));
    let name = name.map_or(Some(None), |name| name.map(Some));
    let expires_at = expires_at.map_or(Some(None), |at| at.map(Some));
    Some(NewKey { scopes: scopes?, name: name?, expires_at: expires_at? })
}

/// Scopes that a tenant's key can have: `operator` belongs to no tenant.
fn scopes(value: &Value<'_>) -> Option<Vec<Scope>> {
    let tenants = [Scope::EventsWrite, Scope::Read, Scope::Manage].map(|scope| (scope.as_str(), scope));
    let elements = value.array(1..=tenants.len())?;
    let mut scopes: Vec<Scope> =
        elements.iter().map(|element| element.choice(&tenants)).collect::<Option<_>>()?;
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.len() < elements.len() { value.wrong("duplicate", "names a scope twice") } else { Some(scopes) }
}

fn expiry(value: &Value<'_>) -> Option<Timestamp> {
    let Some(at) = instant::parse(value.string()?) else {
        return value.wrong("not_an_instant", "is to be an instant like `2030-01-15T10:30:00Z`");
    };
    if at <= instant::now() { value.wrong("in_the_past", "is to lie in the future") } else { Some(at) }
}

fn tenant_id(value: &Value<'_>) -> Option<TenantId> {
    let id = value.string()?;
    let first = id.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    let plain = id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
    if id == OPERATORS_OWN {
        return value
            .wrong("reserved_id", "is what the operator's own things are kept under; choose another");
    }
    if first && plain && id.len() <= ID_BYTES {
        return Some(TenantId::new(id));
    }
    value.wrong("bad_id", format!("is to be 1 to {ID_BYTES} of `a`–`z`, `0`–`9`, `_`, `-`, a letter first"))
}

/// Who is mailed when a delivery is dead-lettered (T-42).
fn contacts(value: &Value<'_>) -> Option<Vec<String>> {
    let elements = value.array(0..=CONTACTS_MAX)?;
    let address = |element: &Value<'_>| {
        let text = element.string()?;
        if is_mail_address(text) {
            Some(text.to_owned())
        } else {
            element.wrong("bad_address", "is to be a plain mail address like `ops@example.com`")
        }
    };
    let read: Vec<Option<String>> = elements.iter().map(address).collect();
    let contacts: Vec<String> = read.into_iter().collect::<Option<_>>()?;
    let folded: HashSet<String> = contacts.iter().map(|contact| contact.to_ascii_lowercase()).collect();
    if folded.len() < contacts.len() {
        value.wrong("duplicate", "names a contact twice")
    } else {
        Some(contacts)
    }
}

fn profile(engine: &EngineHandle, value: &Value<'_>) -> Option<String> {
    let name = value.string()?;
    let profiles = &engine.tools().profiles;
    if profiles.get(name).is_some() {
        return Some(name.to_owned());
    }
    let names: Vec<String> = profiles.iter().map(|profile| format!("`{}`", profile.name)).collect();
    value.wrong("unknown_value", format!("is to be one of {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(body: &'static str) -> Vec<(String, &'static str)> {
        let error = AdminBody::of(body).object(new_key).err();
        let errors = error.map(|error| error.problem().errors.clone()).unwrap_or_default();
        errors.into_iter().map(|error| (error.pointer, error.code)).collect()
    }

    /// TEN.4: nobody makes an operator of a tenant's key.
    #[test]
    fn keys_have_known_scopes_each_once() {
        assert!(mistakes(r#"{"scopes":["read","events:write","manage"]}"#).is_empty());
        let at = |pointer: &str, code| vec![(pointer.to_owned(), code)];
        assert_eq!(mistakes(r#"{"scopes":["operator"]}"#), at("/scopes/0", "unknown_value"));
        assert_eq!(mistakes(r#"{"scopes":[]}"#), at("/scopes", "length"));
        assert_eq!(mistakes(r#"{"scopes":["read","read"]}"#), at("/scopes", "duplicate"));
        assert_eq!(mistakes(r#"{"scopes":"read"}"#), at("/scopes", "wrong_type"));
        assert_eq!(mistakes("{}"), at("/scopes", "required"));
    }

    #[test]
    fn keys_end_in_the_future_if_they_end() {
        let body = r#"{"scopes":["read"],"expires_at":"2020-01-01T00:00:00Z"}"#;
        assert_eq!(mistakes(body), [("/expires_at".to_owned(), "in_the_past")]);
        let body = r#"{"scopes":["read"],"expires_at":"tomorrow"}"#;
        assert_eq!(mistakes(body), [("/expires_at".to_owned(), "not_an_instant")]);
        assert!(
            mistakes(r#"{"scopes":["read"],"expires_at":"2999-01-01T00:00:00Z","name":"ci"}"#).is_empty()
        );
    }

    /// T-42: addresses are bounded, plain and named once.
    #[test]
    fn contacts_are_a_few_plain_addresses() {
        let mistakes = |contacts: serde_json::Value| {
            let text = serde_json::json!({ "contacts": contacts }).to_string();
            let read = AdminBody::of(text.leak())
                .object(|fields| fields.require("contacts").and_then(|v| super::contacts(&v)));
            let errors = read.err().map(|error| error.problem().errors.clone()).unwrap_or_default();
            errors.into_iter().map(|error| (error.pointer, error.code)).collect::<Vec<_>>()
        };
        assert_eq!(mistakes(serde_json::json!(["a@example.com", "b@example.com"])), []);
        assert_eq!(mistakes(serde_json::json!([])), []);
        let wrong = |pointer: &str, code| vec![(pointer.to_owned(), code)];
        let injected = serde_json::json!(["a@example.com", "b@example.com\r\nBcc: c@example.com"]);
        assert_eq!(mistakes(injected), wrong("/contacts/1", "bad_address"));
        assert_eq!(mistakes(serde_json::json!(["a@b.c", "A@b.C"])), wrong("/contacts", "duplicate"));
        assert_eq!(mistakes(serde_json::json!("a@b.c")), wrong("/contacts", "wrong_type"));
        let many: Vec<String> = (0..11).map(|n| format!("a{n}@b.c")).collect();
        assert_eq!(mistakes(serde_json::json!(many)), wrong("/contacts", "length"));
    }
}
