//! The certificate that a tenant's deliveries show to receivers that ask for one (mutual TLS). Its key comes in and is
//! never shown.

use super::Deleted;
use crate::http::{
    auth::KeyHolder,
    body::Success,
    error::{ApiError, ApiResult},
    fields::{Object, Value},
    instant,
    json_body::{AdminBody, NoBody},
    query::Query,
};
use actix_web::web::{Data, Path};
use ledgerhook_actors::{
    delivery::tls::Identity,
    domain::{client_certificate::Certificate, tenant::Tenant},
    engine::EngineHandle,
    secrets::Secret,
};
use serde::Serialize;
use tracing::warn;
use utoipa::ToSchema;

/// Longest `certificate` in bytes: a chain of usual length twice over.
const CERTIFICATE_BYTES: usize = 32 << 10;
/// Longest `private_key` in bytes: one of RSA with 8,192 bits twice over.
const KEY_BYTES: usize = 16 << 10;

/// A certificate as answers show it, without its key.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientCertificate)]
pub(crate) struct ClientCertificateView {
    /// RFC 4514
    subject: String,
    /// RFC 4514
    issuer: String,
    not_before: String,
    not_after: String,
    /// `valid`, `expired` or `not_yet_valid`. It is shown to receivers in any case: they are who judges.
    status: &'static str,
    /// SHA-256 of the certificate, in hex.
    fingerprint_sha256: String,
    /// How many certificates are shown: the tenant's own, and those that lead to its authority.
    certificates: usize,
    updated_at: String,
}

impl ClientCertificateView {
    fn of(tenant: &Tenant) -> Option<Self> {
        let own = tenant.client_certificate.as_ref()?;
        let certificate = &own.certificate;
        Some(Self {
            subject: certificate.subject.clone(),
            issuer: certificate.issuer.clone(),
            not_before: certificate.not_before.to_iso_seconds(),
            not_after: certificate.not_after.to_iso_seconds(),
            status: status(certificate),
            fingerprint_sha256: certificate.sha256.clone(),
            certificates: certificate.chain.len(),
            updated_at: own.set_at.to_iso_seconds(),
        })
    }
}

fn status(certificate: &Certificate) -> &'static str {
    match instant::now() {
        now if now < certificate.not_before => "not_yet_valid",
        now if now > certificate.not_after => "expired",
        _ => "valid",
    }
}

/// `PUT /api/tenants/{id}/client-certificate`: in the place of any other, from the next attempt on.
pub(crate) async fn set(
    engine: Data<EngineHandle>,
    by: KeyHolder,
    id: Path<String>,
    body: AdminBody,
) -> ApiResult<Success<ClientCertificateView>> {
    let tenant = by.addressed(&engine, &id)?;
    let (certificate, key) = body.object(read)?;
    if status(&certificate) != "valid" {
        let Certificate { not_before, not_after, .. } = &certificate;
        let (not_before, not_after) = (not_before.to_iso_seconds(), not_after.to_iso_seconds());
        warn!(tenant = %tenant.id, not_before, not_after, "a client certificate is not valid now");
    }
    let sealed = engine.tools().secrets.seal(key.expose()).map_err(|error| ApiError::internal(&error))?;
    let tenant = engine.set_client_certificate(&by.who, &tenant.id, certificate, sealed).await?;
    ClientCertificateView::of(&tenant).map(Success::ok).ok_or_else(|| unknown(&tenant))
}

/// `GET /api/tenants/{id}/client-certificate`
pub(crate) async fn show(
    engine: Data<EngineHandle>,
    by: KeyHolder,
    id: Path<String>,
    query: Query,
) -> ApiResult<Success<ClientCertificateView>> {
    query.none()?;
    let tenant = by.addressed(&engine, &id)?;
    ClientCertificateView::of(&tenant).map(Success::ok).ok_or_else(|| unknown(&tenant))
}

/// `DELETE /api/tenants/{id}/client-certificate`: nothing is shown any more, from the next attempt on.
pub(crate) async fn remove(
    engine: Data<EngineHandle>,
    by: KeyHolder,
    id: Path<String>,
    _: NoBody,
) -> ApiResult<Success<Deleted>> {
    let tenant = by.addressed(&engine, &id)?;
    engine.remove_client_certificate(&by.who, &tenant.id).await?;
    Ok(Success::ok(Deleted::new(&tenant.id)))
}

fn unknown(tenant: &Tenant) -> ApiError {
    ApiError::not_found("client certificate of tenant", tenant.id.as_str())
}

/// `certificate` and `private_key`, both in PEM form. The key has to be the certificate's own.
fn read(fields: &mut Object<'_>) -> Option<(Certificate, Secret)> {
    let certificate = fields.require("certificate").and_then(|v| pem(v, CERTIFICATE_BYTES));
    let key = fields.require("private_key").and_then(|v| pem(v, KEY_BYTES));
    let ((certificate, text), (key, secret)) = (certificate?, key?);
    let secret = Secret::new(secret.to_owned());
    match Identity::read(text, &secret) {
        Ok(read) => Some((read, secret)),
        Err(error) if error.is_about_the_key() => key.wrong("private_key", error.to_string()),
        Err(error) => certificate.wrong("certificate", error.to_string()),
    }
}

fn pem(value: Value<'_>, bytes_max: usize) -> Option<(Value<'_>, &str)> {
    let text = value.string()?;
    if text.len() > bytes_max {
        return value
            .wrong("length", format!("is to have at most {bytes_max} bytes, and has {}", text.len()));
    }
    Some((value, text))
}
