//! A shortcut for `POST /api/events`, past the framework's router, middleware and extractors: they take as long as
//! accepting an event does, and nearly every request is one.
//!
//! ```text
//!   request ── POST /api/events ──> key, head, body ──> events::accept ──> answer
//!      └─────── all else, and what is spelled otherwise ──> App (http.rs), where the route stands, too
//! ```
//! Both ways are made of the same parts, in the same order; `docs/decisions/0019-shortcut.md` has what it gives.

use super::{
    Shared,
    auth::{self, Caller},
    error::ApiResult,
    events,
    finish::{self, RequestId},
    idempotency::{IdempotencyKey, key_of},
    json_body::JsonBytes,
};
use actix_http::Request;
use actix_web::{
    Error, HttpMessage as _, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{AppConfig, Response, Service, ServiceFactory, ServiceResponse, forward_ready},
    http::Method,
};
use futures_util::{
    FutureExt as _, TryFutureExt as _,
    future::{Either, LocalBoxFuture, MapOk},
};
use ledgerhook_actors::domain::tenant::Scope;
use std::rc::Rc;

/// The path that it is for.
const PATH: &str = "/api/events";

/// An application with the shortcut before it.
pub(crate) struct Shortcut<A> {
    shared: Rc<Shared>,
    app: A,
}

impl<A> Shortcut<A> {
    /// `app` gets all other requests.
    pub(crate) fn new(shared: Shared, app: A) -> Self {
        Self { shared: Rc::new(shared), app }
    }
}

type Answer = Response<BoxBody>;

impl<A, B> ServiceFactory<Request> for Shortcut<A>
where
    A: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>, Error = Error>,
    A::Future: 'static,
    A::InitError: 'static,
    B: MessageBody + 'static,
{
    type Response = Answer;
    type Error = Error;
    type Config = AppConfig;
    type Service = Shortcut<A::Service>;
    type InitError = A::InitError;
    type Future = LocalBoxFuture<'static, Result<Self::Service, Self::InitError>>;

    fn new_service(&self, config: AppConfig) -> Self::Future {
        let shared = Rc::clone(&self.shared);
        let made = self.app.new_service(config);
        Box::pin(async move { Ok(Shortcut { shared, app: made.await? }) })
    }
}

impl<S, B> Service<Request> for Shortcut<S>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    type Response = Answer;
    type Error = Error;
    type Future = Either<
        LocalBoxFuture<'static, Result<Answer, Error>>,
        MapOk<S::Future, fn(ServiceResponse<B>) -> Answer>,
    >;

    forward_ready!(app);

    fn call(&self, request: Request) -> Self::Future {
        if *request.method() == Method::POST && request.path() == PATH {
            return Either::Left(Box::pin(answer(Rc::clone(&self.shared), request).map(Ok)));
        }
        Either::Right(self.app.call(request).map_ok(|response| response.map_into_boxed_body().into()))
    }
}

async fn answer(shared: Rc<Shared>, request: Request) -> Answer {
    let id = RequestId::of(request.headers());
    let answer = accept(&shared, request, &id).await;
    let mut answer = answer.unwrap_or_else(|error| finish::write(error.problem(), PATH, false, &id));
    finish::harden(answer.headers_mut(), id);
    answer.into()
}

async fn accept(shared: &Shared, mut request: Request, id: &RequestId) -> ApiResult<HttpResponse> {
    let payload = request.take_payload();
    let head = request.head();
    finish::head_within_limits(head)?;
    let holder = auth::holder(&shared.engine, Some(&shared.throttle), Scope::EventsWrite, head, Some(id))?;
    auth::check_content_type(head)?;
    auth::no_query(head)?;
    let (caller, key) = (Caller::try_from(holder)?, IdempotencyKey(key_of(&head.headers)?));
    let body = JsonBytes::arriving(&head.headers, payload).await?;
    events::accept(shared.engine.clone(), caller, key, body).await?.written()
}
