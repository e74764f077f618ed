//! What a caller is told when something cannot be done: [`ApiError`], and [`EngineError`] -> status in one match.
//!
//! An error travels as a value; `http/finish.rs` writes it out at the very end, when path and request id are known.

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use ledgerhook_actors::{
    engine::EngineError,
    json::{JsonError, JsonErrorKind},
    log::LogError,
};
use serde::Serialize;
use std::{fmt, time::Duration};
use utoipa::ToSchema;

/// What handlers return.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

/// A refusal or failure, in the terms of RFC 9457. Boxed, so that results stay small.
#[derive(Debug)]
pub(crate) struct ApiError(Box<Problem>);

/// The parts of an [`ApiError`] that do not depend on the request.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Status of the answer.
    pub(crate) status: StatusCode,
    /// For programs: stable, snake case.
    pub(crate) code: &'static str,
    /// For people: what is wrong, and what to do about it.
    pub(crate) detail: String,
    /// The fields that are to blame.
    pub(crate) errors: Vec<FieldError>,
    /// When to come again.
    pub(crate) retry_after: Option<Duration>,
    /// `Allow` of a 405.
    pub(crate) allow: Option<String>,
}

/// One field that is to blame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// JSON pointer (RFC 6901) into the body; for a query parameter, its name behind a slash.
    pub(crate) pointer: String,
    /// For programs.
    pub(crate) code: &'static str,
    /// For people: what is wrong, and what would be right.
    pub(crate) message: String,
}

impl ApiError {
    /// Any status and code.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self(Box::new(Problem { status, code, detail, errors: Vec::new(), retry_after: None, allow: None }))
    }

    /// 400: the request cannot be read at all.
    pub(crate) fn unreadable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401, without a hint which part was wrong.
    pub(crate) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "a valid API key is needed, as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
        )
    }

    /// 403: the key is valid, and may not do this.
    pub(crate) fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// 404 for a thing that does not exist, or is another tenant's: nobody can tell which.
    pub(crate) fn not_found(kind: &str, id: &str) -> Self {
        // An id of a megabyte is not echoed whole.
        let id: String = id.chars().take(128).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("{kind} `{}` does not exist", id.escape_debug()),
        )
    }

    /// 409.
    pub(crate) fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 422: it was read, and these fields are wrong.
    pub(crate) fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match &errors[..] {
            [one] if one.pointer.is_empty() => one.message.clone(),
            [one] => format!("`{}` {}", one.pointer, one.message),
            many => format!("{} fields are not valid; `errors` names each", many.len()),
        };
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "validation_failed", detail);
        error.0.errors = errors;
        error
    }

    /// 422 for one field.
    pub(crate) fn invalid_field(
        pointer: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self::invalid(vec![FieldError { pointer: pointer.into(), code, message: message.into() }])
    }

    /// 429 or 503: come again.
    pub(crate) fn later(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
        retry_after: Duration,
    ) -> Self {
        let mut error = Self::new(status, code, detail);
        error.0.retry_after = Some(retry_after);
        error
    }

    /// 405 with the methods that the path has.
    pub(crate) fn method_not_allowed(allow: String) -> Self {
        let detail = format!("this path takes {allow}");
        let mut error = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
        error.0.allow = Some(allow);
        error
    }

    /// 404 for a path that leads nowhere.
    pub(crate) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_path", "no resource of the API has this path")
    }

    /// 404 for a path that other tenants find something under.
    pub(crate) fn not_on_this_tree(detail: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_path", detail)
    }

    /// 500: a fault of ours. The cause is logged here and not told.
    pub(crate) fn internal(cause: &dyn fmt::Display) -> Self {
        tracing::error!(%cause, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something broke here; the log has the cause",
        )
    }

    /// The same error with the place it happened in put before its pointers: one event of a batch, say.
    pub(crate) fn within(mut self, pointer: &str) -> Self {
        for error in &mut self.0.errors {
            error.pointer.insert_str(0, pointer);
        }
        self
    }

    /// Its parts.
    pub(crate) fn problem(&self) -> &Problem {
        &self.0
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.0.status.as_u16(), self.0.code, self.0.detail)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.0.status
    }

    /// Status alone; `http/finish.rs` adds headers and body.
    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.0.status)
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let detail = error.to_string();
        match error {
            EngineError::NotFound { kind, id } => Self::not_found(kind, &id),
            EngineError::Conflict(_) => Self::conflict("conflict", detail),
            EngineError::PayloadGone(_) => Self::conflict("payload_gone", detail),
            EngineError::EventDiffers(_) => Self::conflict("event_differs", detail),
            EngineError::Limit { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "limit_reached", detail),
            EngineError::QuotaExceeded { retry_after_seconds: None, .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "quota_exceeded", detail)
            }
            EngineError::QuotaExceeded { retry_after_seconds: Some(seconds), .. } => {
                let after = Duration::from_secs(seconds.into());
                Self::later(StatusCode::TOO_MANY_REQUESTS, "quota_exceeded", detail, after)
            }
            EngineError::Busy { retry_after_seconds, .. } => {
                let after = Duration::from_secs(retry_after_seconds.into());
                Self::later(StatusCode::TOO_MANY_REQUESTS, "busy", detail, after)
            }
            EngineError::HistoryBehind(_) => {
                Self::later(StatusCode::SERVICE_UNAVAILABLE, "history_behind", detail, Duration::from_secs(2))
            }
            EngineError::Unavailable(_) | EngineError::Setup(_) => {
                Self::later(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail, Duration::from_secs(5))
            }
            EngineError::Rejected(_) => Self::conflict("wrong_state", detail),
            EngineError::Log(error) => error.into(),
        }
    }
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        let later = |status, code, detail: String, seconds| {
            Self::later(status, code, detail, Duration::from_secs(seconds))
        };
        match &error {
            LogError::Conflict { .. } => {
                Self::conflict("conflict", "it was changed in between; read it and try again")
            }
            LogError::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string())
            }
            LogError::DiskFull { .. } => {
                later(StatusCode::INSUFFICIENT_STORAGE, "disk_full", error.to_string(), 30)
            }
            LogError::NotFound(position) => Self::not_found("position", &position.to_string()),
            LogError::Closed { .. } => {
                later(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string(), 5)
            }
            // Paths and offsets are for the operator's log, not for callers.
            LogError::Damaged { .. }
            | LogError::Locked(_)
            | LogError::NewerFormat { .. }
            | LogError::Io { .. } => {
                tracing::error!(cause = %error, "the log failed");
                let detail = "the log cannot be used; `/readyz?verbose` tells more".to_owned();
                later(StatusCode::SERVICE_UNAVAILABLE, "log_failed", detail, 30)
            }
        }
    }
}

impl From<JsonError> for ApiError {
    /// 400 with line and column; the pointer leads to the value that was being read.
    fn from(error: JsonError) -> Self {
        let code = match error.kind {
            JsonErrorKind::Depth { .. } => "too_deep",
            JsonErrorKind::DuplicateKey { .. } => "duplicate_key",
            _ => "not_json",
        };
        let message = error.to_string();
        let mut api = Self::unreadable(code, format!("the body cannot be read: {message}"));
        // A path that runs through a hundred levels says nothing.
        let pointer = if error.pointer.len() <= 512 { error.pointer } else { String::new() };
        api.0.errors.push(FieldError { pointer, code, message });
        api
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledgerhook_actors::{
        domain::{pipeline::Rejection, quota::Quota},
        json,
        log::Position,
    };

    #[test]
    fn engine_errors_have_the_status_that_tells_what_to_do() {
        let status = |error: EngineError| ApiError::from(error).problem().status.as_u16();
        assert_eq!(status(EngineError::NotFound { kind: "pipeline", id: "pipe_x".into() }), 404);
        assert_eq!(status(EngineError::Conflict("it is".into())), 409);
        assert_eq!(status(EngineError::EventDiffers("evt_1".into())), 409);
        assert_eq!(status(EngineError::Limit { limit: "pipelines", max: 3 }), 422);
        let exceeded = |retry_after_seconds| {
            let quota = Quota::Steps;
            EngineError::QuotaExceeded { quota, max: 3, retry_after_seconds }
        };
        assert_eq!((status(exceeded(None)), status(exceeded(Some(1)))), (422, 429));
        assert_eq!(status(EngineError::Busy { reason: "intake", retry_after_seconds: 2 }), 429);
        assert_eq!(status(EngineError::Unavailable("stopping".into())), 503);
        assert_eq!(status(Rejection::NotPending.into()), 409);
        assert_eq!(status(LogError::DiskFull { free: 1 }.into()), 507);
        assert_eq!(status(LogError::NotFound(Position(7)).into()), 404);
    }

    /// I33: every 5xx says when to come again.
    #[test]
    fn whoever_must_wait_is_told_how_long() {
        for error in [
            EngineError::Busy { reason: "intake", retry_after_seconds: 2 },
            EngineError::Unavailable("stopping".into()),
            EngineError::HistoryBehind("3 records".into()),
            LogError::DiskFull { free: 1 }.into(),
            LogError::Closed { reason: "stopping".into() }.into(),
            LogError::Locked("/data".into()).into(),
        ] {
            assert!(ApiError::from(error).problem().retry_after.is_some());
        }
    }

    /// ADM.1, ADM.2, ADM.3
    #[test]
    fn a_body_that_is_not_json_is_400_with_its_place() {
        let problem = |text: &[u8]| ApiError::from(json::parse(text, json::Limits::ADMIN).unwrap_err()).0;
        assert_eq!(problem(b"{\"a\": tru}").code, "not_json");
        assert_eq!(problem(b"{\"a\":1,\"a\":2}").code, "duplicate_key");
        assert_eq!(problem(b"{\"a\":1,\"a\":2}").errors[0].pointer, "/a");
        let deep = problem("[".repeat(100_000).as_bytes());
        assert_eq!((deep.code, deep.status.as_u16()), ("too_deep", 400));
        assert!(deep.errors[0].pointer.len() <= 512);
    }
}
