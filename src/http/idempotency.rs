//! `Idempotency-Key`: the same key, path and body within a day get the same answer, and nothing happens twice.
//!
//! ```text
//!   gate ── known? ──> the answer of then
//!     └── new: the key is taken ──> handler ──> 2xx: kept, in the append of the change ([`Kept`]) or behind it
//! ```
//! Holds for every `POST`. Only successes are kept: whatever was refused had no effect and may be tried again.
//! Events need no kept answer: their key becomes their id, see `http/events.rs`.

use super::{
    auth::OnTree,
    body::Success,
    error::{ApiError, ApiResult},
    json_body,
};
use actix_web::{
    Error, FromRequest, HttpMessage, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody, to_bytes},
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
};
use bytes::Bytes;
use ledgerhook_actors::{
    engine::{Answer, EngineHandle, Keep, KeyOwner, Recall, Ticket},
    profile::Answers,
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{
    cell::Cell,
    future::{Ready, ready},
    rc::Rc,
};

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Longest key in bytes.
const KEY_BYTES: usize = 128;

/// The key of a request, if it has one.
pub(crate) struct IdempotencyKey(pub(crate) Option<String>);

impl FromRequest for IdempotencyKey {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(key_of(request.headers()).map(Self))
    }
}

/// A ticket on its way from the gate to the handler. Who takes it keeps the answer.
type Handed = Rc<Cell<Option<Ticket>>>;

/// For handlers whose change and answer are to be one append: a crash leaves both, or neither.
pub(crate) struct Kept {
    ticket: Option<Ticket>,
    answers: Answers,
}

impl Kept {
    /// How the answer is made of what the change made; `None` without a key.
    pub(crate) fn by<T, V: Serialize>(
        self,
        show: impl FnOnce(&T) -> Success<V> + Send + 'static,
    ) -> Option<Keep<T>> {
        let Self { ticket, answers } = self;
        ticket.map(|ticket| Keep { ticket, answer: Box::new(move |made| show(made).looking(answers).kept()) })
    }
}

impl FromRequest for Kept {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let handed = request.extensions().get::<Handed>().cloned();
        let ticket = handed.and_then(|handed| handed.take());
        ready(Ok(Self { ticket, answers: OnTree::answers_of(request) }))
    }
}

/// Answers with what the handler does, or with what it did before under the same key of this owner. Who calls may do so: the gate has
/// judged it, and the tenant that the path names, before anything is given again.
pub(crate) async fn once<B: MessageBody + 'static>(
    engine: &EngineHandle,
    owner: &KeyOwner,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let handed = match take_key(engine, owner, &mut request).await {
        Ok(None) => return Ok(next.call(request).await?.map_into_boxed_body()),
        Ok(Some(Taken::New(ticket))) => Handed::new(Cell::new(Some(ticket))),
        Ok(Some(Taken::Before(answer))) => return Ok(request.into_response(replayed(answer))),
        Err(error) => return Ok(request.error_response(error)),
    };
    request.extensions_mut().insert(Rc::clone(&handed));
    let answer = next.call(request).await?;
    let (request, answer) = answer.into_parts();
    let Some(ticket) = handed.take().filter(|_| answer.status().is_success()) else {
        return Ok(ServiceResponse::new(request, answer.map_into_boxed_body()));
    };
    let answer = match keep_behind(engine, ticket, answer).await {
        Ok(answer) => answer,
        Err(error) => HttpResponse::from_error(error),
    };
    Ok(ServiceResponse::new(request, answer))
}

/// Keeps an answer whose change is in the log already.
async fn keep_behind<B: MessageBody>(
    engine: &EngineHandle,
    ticket: Ticket,
    answer: HttpResponse<B>,
) -> ApiResult<HttpResponse> {
    let (answer, body) = answer.into_parts();
    let body = to_bytes(body).await.map_err(|_| ApiError::internal(&"the answer's body broke off"))?;
    let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let (status, location) = (answer.status().as_u16(), location.map(str::to_owned));
    engine.remember(ticket, Answer { status, location, body: body.clone() }).await?;
    Ok(answer.set_body(body).map_into_boxed_body())
}

enum Taken {
    New(Ticket),
    Before(Answer),
}

async fn take_key(
    engine: &EngineHandle,
    owner: &KeyOwner,
    request: &mut ServiceRequest,
) -> ApiResult<Option<Taken>> {
    let Some(key) = key_of(request.headers())? else { return Ok(None) };
    // The body is part of what the key stands for; the handler reads it again from memory.
    let body = json_body::read_admin(request).await?;
    let fingerprint = fingerprint(request.request(), &body);
    request.set_payload(Payload::from(body));
    match engine.recall(owner, &key, &fingerprint)? {
        Recall::New(ticket) => Ok(Some(Taken::New(ticket))),
        Recall::Same(answer) => Ok(Some(Taken::Before(answer))),
        Recall::Other => {
            let detail = "this `Idempotency-Key` was used with another path or body";
            Err(ApiError::conflict("idempotency_key_reused", detail))
        }
        Recall::UnderWay => {
            let detail = "the first request with this `Idempotency-Key` is still under way";
            Err(ApiError::conflict("idempotency_key_in_use", detail))
        }
    }
}

/// SHA-256 over method, path and body, hex.
fn fingerprint(request: &HttpRequest, body: &Bytes) -> String {
    let digest = Sha256::new()
        .chain_update(request.method().as_str())
        .chain_update([0])
        .chain_update(request.path())
        .chain_update([0])
        .chain_update(body);
    hex::encode(digest.finalize())
}

fn replayed(answer: Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::build(status);
    if let Some(location) = answer.location.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.insert_header((header::LOCATION, location));
    }
    response.insert_header((REPLAYED.clone(), "true")).content_type("application/json").body(answer.body)
}

/// The key among the headers of a request.
pub(crate) fn key_of(headers: &HeaderMap) -> ApiResult<Option<String>> {
    let mut values = headers.get_all(&IDEMPOTENCY_KEY);
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
        let key = |key: &str| key_of(request("/", key).headers());
        assert_eq!(key("a-1").unwrap().as_deref(), Some("a-1"));
        assert!(key("").is_err() && key("a b").is_err());
        assert!(key(&"k".repeat(129)).is_err());
        assert!(key_of(TestRequest::post().to_http_request().headers()).unwrap().is_none());
    }

    #[test]
    fn a_fingerprint_depends_on_path_and_body() {
        let print = |path, body: &'static str| fingerprint(&request(path, "k"), &Bytes::from(body));
        assert_eq!(print("/a", "x"), print("/a", "x"));
        assert_ne!(print("/a", "x"), print("/b", "x"));
        assert_ne!(print("/a", "x"), print("/a", "y"));
    }
}
