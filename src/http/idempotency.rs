//! `Idempotency-Key`: the same key and body within a day get the same answer, and nothing happens twice.
//!
//! Only successes are kept: whatever was refused had no effect and may be tried again. Events need no kept answer:
//! their key becomes their id, see `http/events.rs`.

use super::{
    body::Success,
    error::{ApiError, ApiResult},
};
use actix_web::{
    FromRequest, HttpRequest, HttpResponse, Responder,
    body::to_bytes,
    dev::Payload,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
};
use ledgerhook_actors::{
    domain::id::TenantId,
    engine::{Answer, EngineHandle, Recall},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::future::{Future, Ready, ready};

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Longest key in bytes.
const KEY_BYTES: usize = 128;

/// The key of a request, if it has one, and what the request is.
pub(crate) struct Once {
    key: Option<String>,
    request: HttpRequest,
}

impl Once {
    /// The key.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Answers with what `make` does, or with what it did before under the same key. `tenant` is `None` for what
    /// only the operator may do.
    pub(crate) async fn run<T: Serialize>(
        self,
        engine: &EngineHandle,
        tenant: Option<&TenantId>,
        body: &[u8],
        make: impl Future<Output = ApiResult<Success<T>>>,
    ) -> ApiResult<HttpResponse> {
        let Some(key) = &self.key else { return Ok(make.await?.respond_to(&self.request)) };
        let tenant = tenant.cloned().unwrap_or_else(|| TenantId::new("operator"));
        let fingerprint = self.fingerprint(body);
        let ticket = match engine.recall(&tenant, key, &fingerprint)? {
            Recall::New(ticket) => ticket,
            Recall::Same(answer) => return Ok(replayed(answer)),
            Recall::Other => {
                let detail = "this `Idempotency-Key` was used with another path or body";
                return Err(ApiError::conflict("idempotency_key_reused", detail));
            }
            Recall::UnderWay => {
                let detail = "the first request with this `Idempotency-Key` is still under way";
                return Err(ApiError::conflict("idempotency_key_in_use", detail));
            }
        };
        let answer = make.await?.respond_to(&self.request);
        let (answer, body) = answer.into_parts();
        let body = to_bytes(body).await.map_err(|error| ApiError::internal(&error))?;
        let location = answer.headers().get(header::LOCATION).and_then(|v| v.to_str().ok());
        let kept = Answer {
            status: answer.status().as_u16(),
            location: location.map(str::to_owned),
            body: body.clone(),
        };
        engine.remember(ticket, kept).await?;
        Ok(answer.set_body(body).map_into_boxed_body())
    }

    /// SHA-256 over method, path and body, hex.
    fn fingerprint(&self, body: &[u8]) -> String {
        let digest = Sha256::new()
            .chain_update(self.request.method().as_str())
            .chain_update([0])
            .chain_update(self.request.path())
            .chain_update([0])
            .chain_update(body);
        hex::encode(digest.finalize())
    }
}

fn replayed(answer: Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::build(status);
    if let Some(location) = answer.location.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.insert_header((header::LOCATION, location));
    }
    response.insert_header((REPLAYED.clone(), "true")).content_type("application/json").body(answer.body)
}

impl FromRequest for Once {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(key_of(request).map(|key| Self { key, request: request.clone() }))
    }
}

fn key_of(request: &HttpRequest) -> ApiResult<Option<String>> {
    let mut values = request.headers().get_all(&IDEMPOTENCY_KEY);
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| {
        second.is_none()
            && (1..=KEY_BYTES).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic())
    });
    text.map(|text| Some(text.to_owned())).ok_or_else(|| {
        let detail =
            format!("`Idempotency-Key` is to be 1 to {KEY_BYTES} visible ASCII characters, given once");
        ApiError::unreadable("bad_idempotency_key", detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn request(path: &str, key: &str) -> HttpRequest {
        TestRequest::post().uri(path).insert_header(("idempotency-key", key)).to_http_request()
    }

    #[test]
    fn keys_are_short_and_plain() {
        assert_eq!(key_of(&request("/", "a-1")).unwrap().as_deref(), Some("a-1"));
        assert!(key_of(&request("/", "")).is_err() && key_of(&request("/", "a b")).is_err());
        assert!(key_of(&request("/", &"k".repeat(129))).is_err());
        assert!(key_of(&TestRequest::post().to_http_request()).unwrap().is_none());
    }

    #[test]
    fn a_fingerprint_depends_on_path_and_body() {
        let print =
            |path, body: &str| Once { key: None, request: request(path, "k") }.fingerprint(body.as_bytes());
        assert_eq!(print("/a", "x"), print("/a", "x"));
        assert_ne!(print("/a", "x"), print("/b", "x"));
        assert_ne!(print("/a", "x"), print("/a", "y"));
    }
}
