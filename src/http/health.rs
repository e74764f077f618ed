//! `GET /livez`, `GET /readyz`: whether the process runs, and whether it takes work.

use super::{error::ApiResult, query::Query};
use actix_web::{HttpResponse, http::StatusCode, http::header, web::Data};
use ledgerhook_actors::engine::EngineHandle;
use serde::Serialize;
use utoipa::ToSchema;

/// `GET /livez`: the process answers.
pub(crate) async fn live() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<Vec<Problem>>,
    /// What does not work although the engine takes work.
    #[serde(skip_serializing_if = "Option::is_none")]
    degraded: Option<Vec<Problem>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ReadinessProblem)]
struct Problem {
    part: &'static str,
    problem: String,
}

/// `GET /readyz`: 200 if the engine takes work, 503 if not; `?verbose` names what is wrong (I35).
pub(crate) async fn ready(engine: Data<EngineHandle>, query: Query) -> ApiResult<HttpResponse> {
    let verbose = query.read(|q| q.flag("verbose"))?;
    let problems = engine.problems();
    let ready = problems.is_empty();
    let named = |of: Vec<(&'static str, String)>| {
        of.into_iter().map(|(part, problem)| Problem { part, problem }).collect::<Vec<_>>()
    };
    let degraded = verbose.then(|| named(engine.degraded()));
    let body = Readiness { ready, problems: verbose.then(|| named(problems)), degraded };
    let mut answer =
        HttpResponse::build(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE });
    if !ready {
        answer.insert_header((header::RETRY_AFTER, "5"));
    }
    Ok(answer.json(body))
}
