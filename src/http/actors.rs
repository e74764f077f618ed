//! The supervision tree, and how a part that was given up comes back.

use super::{
    auth::Operator,
    body::{List, Success},
    error::ApiResult,
    json_body::NoBody,
    query::{LIMIT_MAX, Query},
};
use actix_web::web::{Data, Path};
use ledgerhook_actors::engine::{ActorView, EngineHandle};
use serde::Serialize;
use utoipa::ToSchema;

/// `GET /api/actors`
pub(crate) async fn list(
    engine: Data<EngineHandle>,
    _: Operator,
    query: Query,
) -> ApiResult<Success<List<ActorView>>> {
    let (after, limit) = query.read(|q| (q.cursor("actors"), q.limit_or(LIMIT_MAX)))?;
    let mut actors = engine.actors();
    actors.sort_by_key(place);
    let behind = |actor: &ActorView| after.as_ref().is_none_or(|after| place(actor) > *after);
    let found = actors.into_iter().filter(behind).take(limit + 1).collect();
    Ok(List::forward(found, limit, "actors", place).respond(&query))
}

fn place(actor: &ActorView) -> String {
    format!("{}/{}", actor.kind, actor.id)
}

/// An actor that was told something.
#[derive(Serialize, ToSchema)]
#[schema(as = ToldActor)]
pub(crate) struct Told {
    id: String,
    action: &'static str,
}

/// `POST /api/actors/{id}/revive`
pub(crate) async fn revive(
    engine: Data<EngineHandle>,
    by: Operator,
    id: Path<String>,
    _: NoBody,
) -> ApiResult<Success<Told>> {
    engine.revive(&by.who, &id).await?;
    Ok(Success::ok(Told { id: id.into_inner(), action: "revived" }))
}

/// `POST /api/actors/{id}/panic`, in builds for tests only.
#[cfg(feature = "chaos")]
pub(crate) async fn panic(
    engine: Data<EngineHandle>,
    _: Operator,
    id: Path<String>,
    _: NoBody,
) -> ApiResult<Success<Told>> {
    engine.panic(&id).await?;
    Ok(Success::ok(Told { id: id.into_inner(), action: "panicked" }))
}
