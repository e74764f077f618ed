//! Keys that callers' JWTs are verified with, for tenants whose profile takes JWTs (APX-02, T-44).

use super::{Deleted, NAME_BYTES, expiry, scopes};
use crate::http::{
    auth::KeyHolder,
    body::{List, Success},
    error::{ApiError, ApiResult},
    fields::{Object, Value},
    idempotency::Kept,
    json_body::{AdminBody, NoBody},
    query::Query,
};
use actix_web::web::{Data, Path};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ledgerhook_actors::{
    domain::{
        id::KeyId,
        jwt_key::{JwtKey, VerifyingKey},
        tenant::{Scope, Tenant},
        time::Timestamp,
    },
    engine::EngineHandle,
    secrets::{self, Secret, jwt::is_p256_point},
};
use serde::Serialize;
use std::{collections::BTreeMap, ops::RangeInclusive};
use utoipa::ToSchema;

/// Longest `kid` in bytes.
const KID_BYTES: usize = 128;
/// Most claims that a key asks for, and the longest name and text of one.
const CLAIMS_MAX: usize = 8;
const CLAIM_BYTES: usize = 256;
/// Of an HMAC-SHA256 key (RFC 7518 §3.2).
const SECRET_BYTES: RangeInclusive<usize> = 32..=512;
/// Of an RSA modulus: 2,048 to 8,192 bits.
const MODULUS_BYTES: RangeInclusive<usize> = 256..=1024;
/// Members of a JWK that belong to its owner alone.
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/// A key as answers show it: nothing that could sign.
#[derive(Serialize, ToSchema)]
#[schema(as = JwtKey)]
pub(crate) struct JwtKeyView {
    id: String,
    kid: String,
    alg: &'static str,
    name: Option<String>,
    scopes: Vec<&'static str>,
    claims: BTreeMap<String, String>,
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    /// By the minute, since the process began.
    last_used_at: Option<String>,
}

impl JwtKeyView {
    fn of(key: &JwtKey, made: Option<Timestamp>) -> Self {
        Self {
            id: key.id.to_string(),
            kid: key.kid.clone(),
            alg: key.verifying.algorithm(),
            name: key.name.clone(),
            scopes: key.scopes.iter().map(|scope| scope.as_str()).collect(),
            claims: key.claims.clone(),
            expires_at: key.expires_at.map(Timestamp::to_iso_seconds),
            created_at: made.map(Timestamp::to_iso_seconds),
            last_used_at: None,
        }
    }

    fn listed(engine: &EngineHandle, (key, made): &(JwtKey, Timestamp)) -> Self {
        let last_used_at = engine.last_used(&key.id).map(Timestamp::to_iso_seconds);
        Self { last_used_at, ..Self::of(key, Some(*made)) }
    }
}

/// `POST /api/tenants/{id}/jwt-keys`
pub(crate) async fn create(
    engine: Data<EngineHandle>,
    by: KeyHolder,
    id: Path<String>,
    kept: Kept,
    body: AdminBody,
) -> ApiResult<Success<JwtKeyView>> {
    let tenant = by.addressed(&engine, &id)?;
    must_take_jwt(&engine, &tenant)?;
    let draft = body.object(|fields| read(fields, by.is_operator()))?;
    let key = draft.seal(&engine)?;
    let owner = tenant.id.clone();
    let show = move |key: &JwtKey| {
        let location = format!("/api/tenants/{owner}/jwt-keys/{}", key.id);
        Success::created(location, JwtKeyView::of(key, None))
    };
    Ok(show(&engine.create_jwt_key(&by.who, &tenant.id, key, kept.by(show.clone())).await?))
}

/// `GET /api/tenants/{id}/jwt-keys`: by id.
pub(crate) async fn list(
    engine: Data<EngineHandle>,
    by: KeyHolder,
    id: Path<String>,
    query: Query,
) -> ApiResult<Success<List<JwtKeyView>>> {
    let tenant = by.addressed(&engine, &id)?;
    let (after, limit) = query.read(|q| (q.cursor("jwt_keys"), q.limit()))?;
    let later = |(id, _): &(&KeyId, _)| after.as_deref().is_none_or(|after| id.as_str() > after);
    let found = tenant.jwt_keys.iter().filter(later).take(limit + 1);
    let found = found.map(|(_, key)| JwtKeyView::listed(&engine, key)).collect();
    Ok(List::forward(found, limit, "jwt_keys", |key| key.id.clone()).respond(&query))
}

/// `DELETE /api/tenants/{id}/jwt-keys/{key}`: no token of it holds any more, from now on.
pub(crate) async fn revoke(
    engine: Data<EngineHandle>,
    by: KeyHolder,
    path: Path<(String, String)>,
    _: NoBody,
) -> ApiResult<Success<Deleted>> {
    let (id, key) = path.into_inner();
    let tenant = by.addressed(&engine, &id)?;
    let key_id = KeyId::new(key.as_str());
    engine.revoke_jwt_key(&by.who, &tenant.id, &key_id).await?;
    Ok(Success::ok(Deleted::new(&key_id)))
}

fn must_take_jwt(engine: &EngineHandle, tenant: &Tenant) -> ApiResult<()> {
    let profile = engine.tools().profiles.get(&tenant.profile);
    if profile.is_some_and(|profile| profile.api.takes_jwt) {
        return Ok(());
    }
    let detail = format!("tenants of the profile `{}` come with API keys; it takes no JWTs", tenant.profile);
    Err(ApiError::conflict("wrong_state", detail))
}

/// A key that was read and checked.
struct Draft {
    kid: Option<String>,
    material: Material,
    scopes: Vec<Scope>,
    claims: BTreeMap<String, String>,
    name: Option<String>,
    expires_at: Option<Timestamp>,
}

/// A secret is yet to be sealed.
enum Material {
    Secret(Secret),
    Public(VerifyingKey),
}

impl Draft {
    fn seal(self, engine: &EngineHandle) -> ApiResult<JwtKey> {
        let random = secrets::random::<9>().map_err(|error| ApiError::internal(&error))?;
        let id = format!("jwk_{}", hex::encode(random));
        let verifying = match self.material {
            Material::Public(key) => key,
            Material::Secret(secret) => {
                let sealed = engine.tools().secrets.seal(secret.expose());
                VerifyingKey::Hmac { sealed: sealed.map_err(|error| ApiError::internal(&error))? }
            }
        };
        let Self { kid, scopes, claims, name, expires_at, .. } = self;
        Ok(JwtKey {
            kid: kid.unwrap_or_else(|| id.clone()),
            id: KeyId::new(id),
            verifying,
            scopes,
            claims,
            name,
            expires_at,
        })
    }
}

/// `jwk`, `scopes`, `claims?`, `kid?`, `name?`, `expires_at?`. Whoever chose a `kid` could stand in another tenant's
/// way, so it is the operator's to choose: for an issuer whose tokens name it already.
fn read(fields: &mut Object<'_>, is_operator: bool) -> Option<Draft> {
    let jwk = fields.require("jwk").and_then(|jwk| jwk.object(material));
    let scopes = fields.require("scopes").and_then(|v| scopes(&v));
    let claims = fields.optional("claims").map_or(Some(BTreeMap::new()), |v| claims(&v));
    let kid = fields.optional("kid").map_or(Some(None), |v| {
        if !is_operator {
            return v.wrong("not_settable", "is given by the server; only the operator may choose it");
        }
        let kid = v.text(1..=KID_BYTES)?;
        Some(Some(kid.to_owned()))
    });
    let name =
        fields.optional("name").map_or(Some(None), |v| v.text(1..=NAME_BYTES).map(|n| Some(n.to_owned())));
    let expires_at = fields.optional("expires_at").map_or(Some(None), |v| expiry(&v).map(Some));
    Some(Draft {
        kid: kid?,
        material: jwk?,
        scopes: scopes?,
        claims: claims?,
        name: name?,
        expires_at: expires_at?,
    })
}

/// A JWK (RFC 7517, 7518, 8037): what its kind needs, and nothing private but a shared secret.
fn material(fields: &mut Object<'_>) -> Option<Material> {
    // Said by many issuers, and of no weight here: `kid` stands beside the key.
    fields.ignore(&["kid", "use", "key_ops", "alg", "ext"]);
    if let Some(private) = PRIVATE.iter().find_map(|name| fields.unlisted(name)) {
        return private.wrong("private_key", "is a private key's; send the public key, and replace this one");
    }
    let kind = fields.require("kty")?;
    let on_curve = |fields: &mut Object<'_>, curve: &str| {
        let name = fields.require("crv")?;
        if name.string()? == curve {
            Some(())
        } else {
            name.wrong("unknown_value", format!("is to be `{curve}`"))
        }
    };
    match kind.string()? {
        "oct" => {
            let (_, text) = bytes(fields, "k", SECRET_BYTES)?;
            Some(Material::Secret(Secret::new(text)))
        }
        "RSA" => {
            let (n, e) = (bytes(fields, "n", MODULUS_BYTES), bytes(fields, "e", 1..=8));
            let ((modulus, n), (_, e)) = (n?, e?);
            if modulus[0] == 0 {
                return kind.wrong("weak_key", "has a modulus that begins with zeros");
            }
            Some(Material::Public(VerifyingKey::Rsa { n, e }))
        }
        "EC" => {
            let curve = on_curve(fields, "P-256");
            let (x, y) = (bytes(fields, "x", 32..=32), bytes(fields, "y", 32..=32));
            curve?;
            let ((x, x_text), (y, y_text)) = (x?, y?);
            if !is_p256_point(&x, &y) {
                return kind.wrong("weak_key", "has an `x` and a `y` that are no point of P-256");
            }
            Some(Material::Public(VerifyingKey::P256 { x: x_text, y: y_text }))
        }
        "OKP" => {
            let curve = on_curve(fields, "Ed25519");
            let x = bytes(fields, "x", 32..=32);
            curve?;
            Some(Material::Public(VerifyingKey::Ed25519 { x: x?.1 }))
        }
        _ => kind.wrong(
            "unknown_value",
            "is to be one of `oct` (HS256), `RSA` (RS256), `EC` (ES256), `OKP` (EdDSA)",
        ),
    }
}

/// Base64url without padding; the bytes, and the text of them.
fn bytes(
    fields: &mut Object<'_>,
    name: &'static str,
    length: RangeInclusive<usize>,
) -> Option<(Vec<u8>, String)> {
    let value = fields.require(name)?;
    let text = value.string()?;
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(text) else {
        return value.wrong("not_base64", "is to be base64url without padding");
    };
    if length.contains(&bytes.len()) {
        return Some((bytes, text.to_owned()));
    }
    let (least, most) = length.into_inner();
    value.wrong("weak_key", format!("is to have {least} to {most} bytes, and has {}", bytes.len()))
}

fn claims(value: &Value<'_>) -> Option<BTreeMap<String, String>> {
    let entries = value.entries()?;
    if entries.len() > CLAIMS_MAX {
        return value.wrong("length", format!("is to have at most {CLAIMS_MAX} claims"));
    }
    let read = |(name, value): (&str, Value<'_>)| {
        if name.is_empty() || name.len() > CLAIM_BYTES || ["exp", "nbf", "iat", "scope"].contains(&name) {
            return value.wrong("not_a_claim", "is no claim that a key can ask for");
        }
        Some((name.to_owned(), value.text(1..=CLAIM_BYTES)?.to_owned()))
    };
    entries.into_iter().map(read).collect()
}
