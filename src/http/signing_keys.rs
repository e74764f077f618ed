//! The Ed25519 keys of tenants: their public halves, for receivers that check `v1a` signatures, and their rotation.
//!
//! Two ways in. The tenant's own, by its id and with a key. And one for everybody, under a name that was drawn at
//! random: whoever receives webhooks may know it, and nobody learns from it which tenants there are, or their ids.

use super::{
    auth::KeyHolder,
    body::Success,
    error::{ApiError, ApiResult},
    instant,
    json_body::AdminBody,
    query::Query,
};
use actix_web::{
    HttpResponse,
    http::header,
    web::{Data, Path},
};
use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use ledgerhook_actors::{
    domain::{
        tenant::{Tenant, TenantKey},
        time::Timestamp,
    },
    engine::EngineHandle,
};
use serde::Serialize;
use utoipa::ToSchema;

/// Longest overlap that a rotation may name.
const OVERLAP_SECONDS_MAX: u64 = 7 * 86_400;
/// The overlap where none is named: receivers fetch public keys now and then, not before each request.
const OVERLAP_SECONDS: u64 = 86_400;
/// For how long a key set may be kept by those who fetch it, in seconds.
const KEY_SET_SECONDS: u32 = 300;

/// The keys of a tenant that are in force.
#[derive(Serialize, ToSchema)]
#[schema(as = SigningKeys)]
pub(crate) struct SigningKeysView {
    /// Where everybody finds them.
    key_set: String,
    keys: Vec<SigningKeyView>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = SigningKey)]
struct SigningKeyView {
    id: String,
    /// `current` or `former`
    status: &'static str,
    /// `whpk_` and base64, as Standard Webhooks writes it.
    public_key: String,
    jwk: Jwk,
    created_at: String,
    expires_at: Option<String>,
}

/// RFC 8037 §2
#[derive(Serialize, ToSchema)]
struct Jwk {
    kty: &'static str,
    crv: &'static str,
    x: String,
    kid: String,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: &'static str,
}

/// RFC 7517 §5
#[derive(Serialize, ToSchema)]
pub(crate) struct JwkSet {
    keys: Vec<Jwk>,
}

impl SigningKeysView {
    fn of(tenant: &Tenant) -> Self {
        let keys = tenant.signing_keys_at(instant::now()).map(|key| SigningKeyView {
            id: key.key.id.to_string(),
            status: if key.until.is_none() { "current" } else { "former" },
            public_key: key.key.public.clone(),
            jwk: Jwk::of(key),
            created_at: key.made_at.to_iso_seconds(),
            expires_at: key.until.map(Timestamp::to_iso_seconds),
        });
        Self { key_set: format!("/.well-known/webhook-keys/{}", tenant.key_set), keys: keys.collect() }
    }
}

impl Jwk {
    fn of(key: &TenantKey) -> Self {
        let encoded = key.key.public.trim_start_matches("whpk_");
        let x = URL_SAFE_NO_PAD.encode(STANDARD.decode(encoded).unwrap_or_default());
        Self { kty: "OKP", crv: "Ed25519", x, kid: key.key.id.to_string(), usage: "sig", alg: "EdDSA" }
    }
}

/// `GET /api/tenants/{id}/signing-keys`
pub(crate) async fn list(
    engine: Data<EngineHandle>,
    by: KeyHolder,
    id: Path<String>,
    query: Query,
) -> ApiResult<Success<SigningKeysView>> {
    query.none()?;
    Ok(Success::ok(SigningKeysView::of(&*by.addressed(&engine, &id)?)))
}

/// `POST /api/tenants/{id}/signing-keys/rotate`: a new key signs at once, and the former ones beside it for a while.
pub(crate) async fn rotate(
    engine: Data<EngineHandle>,
    by: KeyHolder,
    id: Path<String>,
    body: AdminBody,
) -> ApiResult<Success<SigningKeysView>> {
    let tenant = by.addressed(&engine, &id)?;
    let overlap = body.object(|fields| match fields.optional("overlap_seconds") {
        Some(overlap) => overlap.integer(0..=OVERLAP_SECONDS_MAX),
        None => Some(OVERLAP_SECONDS),
    })?;
    let tenant = engine.rotate_signing_key(&by.who, &tenant.id, instant::after_overlap(overlap)).await?;
    Ok(Success::ok(SigningKeysView::of(&tenant)))
}

/// `GET /.well-known/webhook-keys/{key_set}`: a JWK set (RFC 7517), without a key of the API.
pub(crate) async fn key_set(
    engine: Data<EngineHandle>,
    key_set: Path<String>,
    query: Query,
) -> ApiResult<HttpResponse> {
    query.none()?;
    let catalog = engine.catalog();
    let tenant =
        catalog.tenant_by_key_set(&key_set).ok_or_else(|| ApiError::not_found("key set", &key_set))?;
    let keys = tenant.signing_keys_at(instant::now()).map(Jwk::of).collect();
    let keep = header::CacheControl(vec![
        header::CacheDirective::Public,
        header::CacheDirective::MaxAge(KEY_SET_SECONDS),
    ]);
    Ok(HttpResponse::Ok().insert_header(keep).content_type("application/jwk-set+json").json(JwkSet { keys }))
}
