//! Request bodies: JSON or nothing, read up to a limit and never beyond it.

use super::{
    error::{ApiError, ApiResult},
    fields::{Report, Value},
};
use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest,
    dev::{Payload, ServiceRequest},
    http::{
        Method, StatusCode,
        header::{self, HeaderMap},
    },
};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt, future::LocalBoxFuture};
use ledgerhook_actors::json::{self, Limits};
use std::{pin::pin, time::Duration};

/// Largest body of an admin call.
pub(crate) const ADMIN_BYTES: usize = 1 << 20;
/// Largest body of one event.
pub(crate) const EVENT_BYTES: usize = 256 << 10;
/// Largest body of a batch of events.
pub(crate) const BATCH_BYTES: usize = 8 << 20;

/// How long a body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);
/// What is read and dropped behind a limit, so that the sender gets to read the answer.
const DRAINED_BYTES: usize = 4 << 20;
const DRAIN: Duration = Duration::from_secs(2);

/// The bytes of a JSON body of at most `LIMIT` bytes: its content type and size are checked, nothing more.
pub(crate) struct JsonBytes<const LIMIT: usize>(pub(crate) Bytes);

/// A body of an admin call.
pub(crate) type AdminBody = JsonBytes<ADMIN_BYTES>;

impl<const LIMIT: usize> JsonBytes<LIMIT> {
    /// Reads the body as one object: 400 if it is none, 422 with every field that `read` reported.
    pub(crate) fn object<T>(
        &self,
        read: impl FnOnce(&mut super::fields::Object<'_>) -> Option<T>,
    ) -> ApiResult<T> {
        let tree = json::parse(&self.0, Limits::ADMIN)?;
        if !matches!(tree, json::Json::Object(_)) {
            return Err(ApiError::unreadable("not_an_object", "the body is to be a JSON object"));
        }
        let report = Report::default();
        let value = Value::root(&tree, &report).object(read);
        report.conclude(value)
    }
}

impl<const LIMIT: usize> FromRequest for JsonBytes<LIMIT> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, ApiResult<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = Self::arriving(request.headers(), payload.take());
        Box::pin(body)
    }
}

impl<const LIMIT: usize> JsonBytes<LIMIT> {
    /// The body that comes with these headers.
    pub(crate) fn arriving(
        headers: &HeaderMap,
        payload: Payload,
    ) -> impl Future<Output = ApiResult<Self>> + use<LIMIT> {
        let has_type = headers.contains_key(header::CONTENT_TYPE);
        let announced = announced_length(headers);
        async move {
            if !has_type {
                return Err(unsupported_media_type());
            }
            let bytes = read(payload, announced, LIMIT).await?;
            if bytes.is_empty() {
                return Err(ApiError::unreadable("empty_body", "the body is empty; a JSON object is needed"));
            }
            Ok(Self(bytes))
        }
    }
}

/// A body that may be left out: then it is an empty object (SOC-10).
pub(crate) struct OptionalBody(pub(crate) AdminBody);

impl FromRequest for OptionalBody {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, ApiResult<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let announced = announced_length(request.headers());
        let has_type = request.headers().contains_key(header::CONTENT_TYPE);
        let payload = payload.take();
        Box::pin(async move {
            let bytes = read(payload, announced, ADMIN_BYTES).await?;
            match (bytes.is_empty(), has_type) {
                (true, _) => Ok(Self(JsonBytes(Bytes::from_static(b"{}")))),
                (false, true) => Ok(Self(JsonBytes(bytes))),
                (false, false) => Err(unsupported_media_type()),
            }
        })
    }
}

#[cfg(test)]
impl AdminBody {
    /// For tests: a body as it was sent.
    pub(crate) fn of(text: impl Into<String>) -> Self {
        Self(Bytes::from(text.into()))
    }
}

/// Says that a call takes no body: nothing, or `{}`.
pub(crate) struct NoBody;

impl FromRequest for NoBody {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, ApiResult<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let announced = announced_length(request.headers());
        let payload = payload.take();
        Box::pin(async move {
            let bytes = read(payload, announced, ADMIN_BYTES).await?;
            if bytes.is_empty() { Ok(Self) } else { JsonBytes::<ADMIN_BYTES>(bytes).object(|_| Some(Self)) }
        })
    }
}

/// Whether a content type is JSON: in UTF-8, and for `PATCH` also a merge patch (RFC 7396).
pub(crate) fn is_json(content_type: &str, method: &Method) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let json = kind.eq_ignore_ascii_case("application/json")
        || (*method == Method::PATCH && kind.eq_ignore_ascii_case("application/merge-patch+json"));
    json && parts.all(|part| {
        part.is_empty()
            || part.split_once('=').is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("charset") && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            })
    })
}

/// 415
pub(crate) fn unsupported_media_type() -> ApiError {
    let detail = "the body is to be sent as `Content-Type: application/json`";
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads the body of an admin call ahead of its handler.
pub(crate) async fn read_admin(request: &mut ServiceRequest) -> ApiResult<Bytes> {
    let announced = announced_length(request.headers());
    read(request.take_payload(), announced, ADMIN_BYTES).await
}

async fn read(payload: Payload, announced: Option<usize>, limit: usize) -> ApiResult<Bytes> {
    let slow = || {
        let detail = format!("the body did not arrive within {} s", ARRIVAL.as_secs());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "too_slow", detail)
    };
    let mut arriving = pin!(collect(payload, announced, limit));
    // Most bodies are there with their head, and need no timer.
    if let Some(arrived) = arriving.as_mut().now_or_never() {
        return arrived;
    }
    tokio::time::timeout(ARRIVAL, arriving).await.unwrap_or_else(|_| Err(slow()))
}

async fn collect(mut payload: Payload, announced: Option<usize>, limit: usize) -> ApiResult<Bytes> {
    if announced.is_some_and(|length| length > limit) {
        drain(payload).await;
        return Err(too_large(limit));
    }
    let broken = || ApiError::unreadable("broken_body", "the body ended early or is badly framed");
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    let first = first.map_err(|_| broken())?;
    // Most bodies come in one piece, and are not copied.
    if announced == Some(first.len()) {
        return Ok(first);
    }
    let mut bytes = BytesMut::with_capacity(announced.unwrap_or(first.len()).min(limit));
    let mut chunk = Some(Ok(first));
    while let Some(piece) = chunk {
        let piece = piece.map_err(|_| broken())?;
        if bytes.len() + piece.len() > limit {
            drop(bytes);
            drain(payload).await;
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&piece);
        chunk = payload.next().await;
    }
    Ok(bytes.freeze())
}

/// Reads on for a while and keeps nothing: a socket closed over unread bytes would reset the answer away.
async fn drain(mut payload: Payload) {
    let rest = async {
        let mut dropped = 0;
        while let Some(Ok(piece)) = payload.next().await {
            dropped += piece.len();
            if dropped > DRAINED_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN, rest).await;
}

fn too_large(limit: usize) -> ApiError {
    let detail = format!("the body is over the limit of {limit} bytes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    async fn take<const LIMIT: usize>(request: TestRequest) -> Result<Bytes, &'static str> {
        let (request, mut payload) = request.to_http_parts();
        let body = JsonBytes::<LIMIT>::from_request(&request, &mut payload).await;
        body.map(|body| body.0).map_err(|error| error.problem().code)
    }

    fn json(body: &'static [u8]) -> TestRequest {
        TestRequest::post().insert_header(("content-type", "application/json")).set_payload(body)
    }

    /// ADM.15
    #[test]
    fn only_json_in_utf_8_is_json() {
        let (post, patch) = (Method::POST, Method::PATCH);
        for yes in
            ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""]
        {
            assert!(is_json(yes, &post), "{yes}");
        }
        for no in [
            "",
            "text/plain",
            "application/xml",
            "multipart/form-data; boundary=x",
            "application/json; charset=latin1",
            "application/jsonp",
            "application/merge-patch+json",
            "text/plain; application/json",
        ] {
            assert!(!is_json(no, &post), "{no}");
        }
        assert!(is_json("application/merge-patch+json", &patch));
    }

    /// ADM.16: at the limit, one over it with and without a length announced.
    #[actix_web::test]
    async fn the_limit_holds_with_and_without_content_length() {
        assert_eq!(take::<4>(json(b"1234")).await.unwrap().len(), 4);
        assert_eq!(take::<4>(json(b"12345")).await, Err("body_too_large"));
        let announced = json(b"12345").insert_header(("content-length", "5"));
        assert_eq!(take::<4>(announced).await, Err("body_too_large"));
        let announced = json(b"1234").insert_header(("content-length", "4"));
        assert_eq!(take::<4>(announced).await.unwrap().len(), 4);
    }

    /// ADM.1, ADM.15
    #[actix_web::test]
    async fn an_empty_body_and_a_missing_type_have_their_own_answers() {
        assert_eq!(take::<4>(json(b"")).await, Err("empty_body"));
        assert_eq!(take::<4>(TestRequest::post().set_payload("{}")).await, Err("unsupported_media_type"));
    }

    /// ADM.1
    #[test]
    fn only_an_object_is_read() {
        let code = |text: &'static str| {
            let body = AdminBody::of(text);
            body.object(|_| Some(())).map_err(|error| (error.problem().status.as_u16(), error.problem().code))
        };
        assert_eq!(code("{}"), Ok(()));
        for text in ["null", "[]", "1", "\"x\""] {
            assert_eq!(code(text), Err((400, "not_an_object")), "{text}");
        }
        assert_eq!(code("{"), Err((400, "not_json")));
        assert_eq!(code("{\"surprise\":1}"), Err((422, "validation_failed")));
    }
}
