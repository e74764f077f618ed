//! The last thing that happens to every answer: request id, security headers, and the written form of errors.
//!
//! ```text
//! request ──> finish ──> route ──> gate (auth.rs) ──> handler ──ApiError──┐
//! answer  <── finish <── problem+json, X-Request-Id, nosniff … <──────────┘
//! ```

use super::{
    auth::OnTree,
    error::{ApiError, FieldError, Problem},
    instant,
};
use actix_web::{
    Error, HttpMessage, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{Payload, RequestHead, ServiceRequest, ServiceResponse},
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
};
use serde::Serialize;
use std::{
    future::{Ready, ready},
    io::{Cursor, Write as _},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};
use utoipa::ToSchema;

/// Largest head of a request: its target and headers.
const HEAD_BYTES_MAX: usize = 64 << 10;

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Names one request in answers and logs: the caller's own `X-Request-Id` if it is short and plain, else minted.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) HeaderValue);

impl RequestId {
    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The one of a request with these headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let given = headers.get(&X_REQUEST_ID).filter(|v| {
            let bytes = v.as_bytes();
            (1..=64).contains(&bytes.len()) && bytes.iter().all(plain)
        });
        given.cloned().map_or_else(Self::mint, Self)
    }

    /// Unique over restarts: the instant of the first request, and a count.
    fn mint() -> Self {
        static START: LazyLock<u64> = LazyLock::new(|| instant::now().as_millis());
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // Two numbers of at most 16 digits, and what is around them.
        let mut text = Cursor::new([0; 37]);
        let _ = write!(text, "req_{:x}_{:x}", *START, COUNT.fetch_add(1, Ordering::Relaxed));
        let len = usize::try_from(text.position()).unwrap_or_default();
        let value = HeaderValue::from_bytes(&text.get_ref()[..len]);
        Self(value.unwrap_or_else(|_| HeaderValue::from_static("req_0")))
    }
}

impl actix_web::FromRequest for RequestId {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = request.extensions().get::<Self>().cloned();
        ready(Ok(id.unwrap_or_else(|| Self::of(request.headers()))))
    }
}

/// Wraps the whole application.
pub(crate) async fn finish<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let response = match head_within_limits(request.head()) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(error) => request.error_response(error),
    };
    let mut response = written(response, &id);
    harden(response.headers_mut(), id);
    Ok(response)
}

/// Half of what actix itself takes: everything that is read is a place to hide something, or to fill memory.
pub(crate) fn head_within_limits(head: &RequestHead) -> Result<(), ApiError> {
    let target = head.uri.path().len() + head.uri.query().map_or(0, str::len);
    let fields = head.headers.iter();
    let fields: usize = fields.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if fields + target <= HEAD_BYTES_MAX {
        return Ok(());
    }
    let detail = format!("the request's head is over {HEAD_BYTES_MAX} bytes");
    Err(ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", detail))
}

/// Replaces an error by its written form. What actix refused by itself gets the same form.
fn written(response: ServiceResponse, id: &RequestId) -> ServiceResponse {
    let Some(error) = response.response().error() else { return response };
    let foreign;
    let problem = if let Some(error) = error.as_error::<ApiError>() {
        error.problem()
    } else {
        foreign = of_foreign(error, response.status());
        foreign.problem()
    };
    let request = response.request();
    let answer = write(problem, request.path(), is_providers(request), id);
    let (request, _) = response.into_parts();
    ServiceResponse::new(request, answer)
}

/// An error that an extractor of actix made: a path or payload that it could not read.
fn of_foreign(error: &Error, status: StatusCode) -> ApiError {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(status, "too_large", "the body is over the limit"),
        // A path segment that is no text names nothing.
        StatusCode::NOT_FOUND => ApiError::no_such_path(),
        status if status.is_client_error() => {
            ApiError::new(status, "bad_request", "the request cannot be read")
        }
        _ => ApiError::internal(error),
    }
}

/// The body of an error (RFC 9457), and what the provider paths add (T-46).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    code: &'static str,
    request_id: &'a str,
    errors: &'a [FieldError],
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ProviderError<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ProviderError)]
struct ProviderError<'a> {
    code: &'static str,
    message: &'a str,
    details: &'a [FieldError],
    request_id: &'a str,
}

/// The answer that an error is.
pub(crate) fn write(problem: &Problem, path: &str, is_providers: bool, id: &RequestId) -> HttpResponse {
    let Problem { status, code, detail, errors, retry_after, allow } = problem;
    let request_id = id.as_str();
    let provider =
        is_providers.then_some(ProviderError { code, message: detail, details: errors, request_id });
    let body = Body {
        r#type: format!("urn:ledgerhook:problem:{code}"),
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail,
        instance: path.get(..256).unwrap_or(path),
        code,
        request_id,
        errors,
        success: false,
        error: provider,
    };
    let mut answer = HttpResponse::build(*status);
    answer.content_type("application/problem+json");
    if let Some(after) = retry_after {
        answer.insert_header((header::RETRY_AFTER, after.as_secs().max(1)));
    }
    if let Some(allow) = allow {
        answer.insert_header((header::ALLOW, allow.as_str()));
    }
    if *status == StatusCode::UNAUTHORIZED {
        answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
    }
    answer.body(serde_json::to_vec(&body).unwrap_or_default())
}

/// Whether a call is one of a provider's contract, where errors carry `error` too.
fn is_providers(request: &HttpRequest) -> bool {
    request.path().starts_with("/api/admin/webhooks/") || request.extensions().get::<OnTree>().is_some()
}

/// Headers of every answer. No CORS: no other origin's page has business here (DSH.3, DSH.4).
pub(crate) fn harden(headers: &mut HeaderMap, id: RequestId) {
    headers.insert(X_REQUEST_ID.clone(), id.0);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let default = |headers: &mut HeaderMap, name: HeaderName, value: &'static str| {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    };
    // What a key may see is nobody else's to keep, in caches or in frames.
    default(headers, header::CACHE_CONTROL, "no-store");
    default(headers, header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::to_bytes;

    async fn body(error: &ApiError, path: &str) -> serde_json::Value {
        let is_providers = path.starts_with("/api/admin/");
        let id = RequestId(HeaderValue::from_static("req_1"));
        let answer = write(error.problem(), path, is_providers, &id);
        serde_json::from_slice(&to_bytes(answer.into_body()).await.unwrap()).unwrap()
    }

    /// T-46
    #[actix_web::test]
    async fn provider_paths_get_both_forms_and_others_the_standard_one() {
        let error = ApiError::invalid_field("/steps/0/url", "required", "is required");
        let shown = body(&error, "/api/admin/webhooks/pipelines").await;
        assert_eq!(shown["success"], false);
        assert_eq!(shown["error"]["code"], "validation_failed");
        assert_eq!(shown["error"]["details"], shown["errors"]);
        assert_eq!(shown["error"]["request_id"], "req_1");
        assert_eq!(shown["errors"][0]["pointer"], "/steps/0/url");
        assert_eq!(shown["title"], "Unprocessable Entity");
        assert_eq!(shown["instance"], "/api/admin/webhooks/pipelines");
        let shown = body(&ApiError::no_such_path(), "/api/deliveries").await;
        assert_eq!((&shown["status"], &shown["code"]), (&404.into(), &"no_such_path".into()));
        assert!(shown.get("error").is_none());
    }

    #[test]
    fn a_callers_request_id_is_taken_only_if_it_is_plain() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID.clone(), HeaderValue::from_static(value));
            RequestId::of(&headers).as_str().to_owned()
        };
        assert_eq!(with("abc-1.2_3"), "abc-1.2_3");
        assert!(with("<script>").starts_with("req_"));
        assert!(with("").starts_with("req_"));
        assert_ne!(RequestId::mint().as_str(), RequestId::mint().as_str());
    }
}
