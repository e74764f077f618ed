//! What operations share: keys, parameters, headers, and words about it all.

use serde_json::{Value, json};

/// The first thing that a reader sees.
pub(super) const ABOUT: &str = "An engine that delivers webhooks, in order and provably. Keys come as \
     `Authorization: Bearer KEY` or `X-API-Key: KEY`; each belongs to one tenant and has scopes, and `manage` includes \
     `read`. Bodies are JSON and read strictly: an unknown field or parameter is refused, and all mistakes are told at \
     once. `docs/api.md` says more.";

/// What a group of operations is about.
pub(super) fn about_tag(name: &str) -> &'static str {
    match name {
        "Pipelines" => "What is triggered by events: calls one behind the other.",
        "Webhooks" => "Pipelines of one call: one URL, some events.",
        "Events" => "What is posted, and what became of it.",
        "Deliveries" => "Events on their way, those that failed, and who waits for whom.",
        "Tenants" => "Tenants, their keys, and what was done to them.",
        "Operation" => "The engine itself: its log, its state, its actors.",
        _ => "Without a key.",
    }
}

pub(super) fn security_schemes() -> Value {
    json!({
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a JWT where the profile takes them."},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    })
}

pub(super) fn parameters() -> Value {
    let query = |name: &str, description: &str, schema: &Value| json!({"name": name, "in": "query", "description": description, "schema": schema});
    let header = |name: &str, description: &str, schema: &Value| json!({"name": name, "in": "header", "description": description, "schema": schema});
    json!({
        "Page": query("page", "From 1.", &json!({"type": "integer", "minimum": 1, "maximum": 1_000_000, "default": 1})),
        "PageLimit": query("limit", "Items a page.", &json!({"type": "integer", "minimum": 1, "maximum": 100, "default": 20})),
        "Cursor": query("cursor", "`next` or `prev` of another page of this list.", &json!({"type": "string", "maxLength": 512})),
        "Limit": query("limit", "Most items of the answer.", &json!({"type": "integer", "minimum": 1, "maximum": 250})),
        "TenantId": header("X-Tenant-Id", "The tenant that the operator acts for; for other keys their own.", &json!({"type": "string"})),
        "IdempotencyKey": header(
            "Idempotency-Key",
            "For a day the same key, path and body get the first answer again. Events without an id get one made of it.",
            &json!({"type": "string", "minLength": 1, "maxLength": 128}),
        ),
        "IfMatch": header("If-Match", "The `ETag` of the version that the change is meant for.", &json!({"type": "string"})),
    })
}

pub(super) fn headers() -> Value {
    let text = |description: &str| json!({"description": description, "schema": {"type": "string"}});
    json!({
        "RequestId": text("Names the request; the caller's own if it sent one that is short and plain."),
        "ETag": text("The version, for `If-Match`."),
        "Location": text("The path of what was made."),
        "IdempotencyReplayed": text("`true` if this is the answer to an earlier request."),
        "RetryAfter": {"description": "Come again after so many seconds.", "schema": {"type": "integer", "minimum": 1}},
    })
}
