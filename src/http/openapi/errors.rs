//! Which errors an operation may answer.

use crate::http::{auth::Access, routes::Route};
use serde_json::{Map, Value, json};

/// One status of errors.
pub(super) struct Refusal {
    pub(super) status: u16,
    name: &'static str,
    codes: &'static [&'static str],
    applies: fn(&Route) -> bool,
}

const REFUSALS: [Refusal; 14] = [
    Refusal {
        status: 400,
        name: "BadRequest",
        codes: &[
            "bad_query",
            "bad_if_match",
            "bad_idempotency_key",
            "bad_tenant_header",
            "bad_last_event_id",
            "not_json",
            "empty_body",
            "not_an_object",
            "too_deep",
            "duplicate_key",
            "broken_body",
        ],
        applies: |route| has_key(route) || route.parts.query,
    },
    Refusal { status: 401, name: "Unauthorized", codes: &["unauthorized"], applies: has_key },
    Refusal {
        status: 403,
        name: "Forbidden",
        codes: &["missing_scope", "tenant_mismatch"],
        applies: has_key,
    },
    Refusal {
        status: 404,
        name: "NotFound",
        codes: &["not_found", "no_such_path"],
        applies: |route| has_key(route) || route.path.contains('{'),
    },
    Refusal { status: 408, name: "TooSlow", codes: &["too_slow"], applies: writes },
    Refusal {
        status: 409,
        name: "Conflict",
        codes: &[
            "conflict",
            "wrong_state",
            "payload_gone",
            "event_differs",
            "idempotency_key_reused",
            "idempotency_key_in_use",
        ],
        applies: writes,
    },
    Refusal {
        status: 412,
        name: "VersionChanged",
        codes: &["version_changed"],
        applies: |route| route.parts.if_match,
    },
    Refusal { status: 413, name: "TooLarge", codes: &["body_too_large"], applies: writes },
    Refusal {
        status: 415,
        name: "UnsupportedMediaType",
        codes: &["unsupported_media_type"],
        applies: writes,
    },
    Refusal {
        status: 422,
        name: "Invalid",
        codes: &["validation_failed", "limit_reached", "quota_exceeded"],
        applies: |route| writes(route) || route.parts.query,
    },
    Refusal {
        status: 429,
        name: "TooMany",
        codes: &["busy", "quota_exceeded", "too_many_wrong_keys", "too_many_followers", "too_many_reads"],
        applies: has_key,
    },
    Refusal { status: 500, name: "Internal", codes: &["internal"], applies: has_key },
    Refusal {
        status: 503,
        name: "Unavailable",
        codes: &[
            "unavailable",
            "history_behind",
            "log_failed",
            "reads_busy",
            "rebuilding",
            "read_models_failed",
        ],
        applies: has_key,
    },
    Refusal { status: 507, name: "DiskFull", codes: &["disk_full"], applies: writes },
];

impl Refusal {
    pub(super) fn reference(&self) -> Value {
        json!({"$ref": format!("#/components/responses/{}", self.name)})
    }
}

/// Those of a route, by status.
pub(super) fn of(route: &Route) -> impl Iterator<Item = &'static Refusal> {
    REFUSALS.iter().filter(move |refusal| (refusal.applies)(route))
}

/// `components.responses`
pub(super) fn responses() -> Value {
    let describe = |refusal: &Refusal| {
        let codes: Vec<String> = refusal.codes.iter().map(|code| format!("`{code}`")).collect();
        let mut headers = json!({"X-Request-Id": {"$ref": "#/components/headers/RequestId"}});
        if matches!(refusal.status, 429 | 503 | 507) {
            headers["Retry-After"] = json!({"$ref": "#/components/headers/RetryAfter"});
        }
        let schema = json!({"$ref": "#/components/schemas/Problem"});
        let described = json!({
            "description": format!("`code` is {}.", codes.join(" or ")),
            "headers": headers,
            "content": {"application/problem+json": {"schema": schema}},
        });
        (refusal.name.to_owned(), described)
    };
    REFUSALS.iter().map(describe).collect::<Map<_, _>>().into()
}

fn has_key(route: &Route) -> bool {
    route.access != Access::Public
}

fn writes(route: &Route) -> bool {
    route.method != "GET"
}
