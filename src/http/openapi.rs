//! `GET /openapi.json`: the API as an OpenAPI 3.1 document, and `GET /docs`: the same as a page.
//!
//! ```text
//! table (http.rs) ── method, path, scope ──────────────┐
//! types of handlers ── answer, If-Match, body ─────────┼──> Document
//! operations.rs ── id, words, parameters, body ────────┘
//! ```
//! `docs/openapi.json` is the document of the built-in profiles; `the_snapshot_is_the_document` holds it to this.

pub(crate) mod bodies;
mod errors;
mod operations;
mod shared;
mod types;

pub(crate) use types::{Answered, Extracted, Parts, Schemas};

use super::{auth::Access, error::FieldError, finish, routes::Route};
use actix_web::{HttpResponse, http::header, web::Data};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ledgerhook_actors::profile::{Answers, Profiles};
use operations::{Operation, TREE};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use types::Presence;

/// The root of flat webhooks that every profile has.
const WEBHOOKS: &str = "/api/webhooks";
/// The page; it reads the document from beside it, and nothing from elsewhere.
const PAGE: &str = include_str!("openapi/docs.html");

/// The document and the page, as they are answered.
pub(crate) struct Document {
    json: Bytes,
    page_policy: String,
}

impl Document {
    /// Once per server.
    pub(crate) fn new(routes: &[Route], profiles: &Profiles) -> Self {
        let json = serde_json::to_vec(&document(routes, profiles)).unwrap_or_default().into();
        Self { json, page_policy: page_policy() }
    }
}

/// `GET /openapi.json`
pub(crate) async fn show(document: Data<Document>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(document.json.clone())
}

/// `GET /docs`
pub(crate) async fn docs(document: Data<Document>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, document.page_policy.clone()))
        .body(PAGE)
}

/// Nothing runs on the page but its own script, and it fetches from nowhere else.
fn page_policy() -> String {
    let hash = |tag: &str| {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let inside = PAGE.split_once(&open).and_then(|(_, rest)| rest.split_once(&close));
        STANDARD.encode(Sha256::digest(inside.map(|(inside, _)| inside).unwrap_or_default()))
    };
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    )
}

/// The whole document.
fn document(routes: &[Route], profiles: &Profiles) -> Value {
    let operations = operations::all();
    let mut schemas = Schemas::default();
    schemas.refer::<finish::Body<'_>>();
    schemas.refer::<FieldError>();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let Some(operation) = find(&operations, route) else { continue };
        let described = describe(route, operation, profiles, &mut schemas);
        let method = route.method.as_str().to_ascii_lowercase();
        paths.entry(&route.path).or_insert_with(|| json!({}))[method] = described;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ledgerhook",
            "version": env!("CARGO_PKG_VERSION"),
            "description": shared::ABOUT,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The server that answers this."}],
        "tags": tags(&operations, profiles),
        "paths": paths,
        "components": {
            "securitySchemes": shared::security_schemes(),
            "parameters": shared::parameters(),
            "headers": shared::headers(),
            "responses": errors::responses(),
            "schemas": schemas.0,
        },
    })
}

/// The root of flat webhooks that a route stands under, if it does.
fn root(route: &Route) -> Option<&str> {
    route.tree.as_deref().or_else(|| route.path.starts_with(WEBHOOKS).then_some(WEBHOOKS))
}

fn find<'o>(operations: &'o [Operation], route: &Route) -> Option<&'o Operation> {
    let path = match root(route) {
        Some(root) => route.path.replacen(root, TREE, 1),
        None => route.path.clone(),
    };
    let call = format!("{} {path}", route.method);
    operations.iter().find(|operation| operation.call == call)
}

fn describe(route: &Route, operation: &Operation, profiles: &Profiles, schemas: &mut Schemas) -> Value {
    let Operation { id, summary, .. } = operation;
    let mut described = json!({
        "operationId": format!("{id}{}", suffix(route)),
        "summary": summary,
        "tags": [tag(operation, route.tree.as_deref())],
    });
    if let Access::Key(scope) = route.access {
        let scope = scope.as_str();
        described["description"] = format!("Needs a key with the scope `{scope}`.").into();
        described["x-scope"] = scope.into();
        described["security"] = json!([{"bearer": []}, {"apiKey": []}]);
    } else {
        described["description"] = "Needs no key.".into();
        described["security"] = json!([]);
    }
    let parameters = parameters(route, operation);
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(body) = operation.body {
        let schema = body(schemas);
        let required = route.parts.body == Some(Presence::Required);
        described["requestBody"] =
            json!({"required": required, "content": {"application/json": {"schema": schema}}});
    }
    described["responses"] = responses(route, operation, profiles, schemas);
    described
}

/// Ids are unique: those of a tree carry its name.
fn suffix(route: &Route) -> String {
    let words = route.tree.as_deref().unwrap_or_default().split('/').filter(|word| !word.is_empty());
    let capital = |word: &str| {
        let (first, rest) = word.split_at(1);
        format!("{}{}", first.to_uppercase(), rest.replace('-', "_"))
    };
    let name: String = words.map(capital).collect();
    if name.is_empty() { name } else { format!("At{name}") }
}

fn tag(operation: &Operation, tree: Option<&str>) -> String {
    tree.map_or_else(|| operation.tag.to_owned(), |tree| format!("{} at {tree}", operation.tag))
}

fn tags(operations: &[Operation], profiles: &Profiles) -> Vec<Value> {
    let mut names: Vec<&str> = operations.iter().map(|operation| operation.tag).collect();
    names.dedup();
    let mut tags: Vec<Value> =
        names.iter().map(|name| json!({"name": name, "description": shared::about_tag(name)})).collect();
    for tree in profiles.trees() {
        let owners = profiles.iter().filter(|profile| profile.api.webhooks.contains(tree));
        let owners: Vec<String> = owners.map(|profile| format!("`{}`", profile.name)).collect();
        let description = format!(
            "The calls of flat webhooks where tenants of {} find them. To others there is nothing here.",
            owners.join(", ")
        );
        tags.push(json!({"name": format!("Webhooks at {}", tree.as_str()), "description": description}));
    }
    tags
}

fn parameters(route: &Route, operation: &Operation) -> Vec<Value> {
    let names = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = names
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    parameters.extend(operation.parameters.iter().cloned());
    let shared = |name: &str| json!({"$ref": format!("#/components/parameters/{name}")});
    if route.access != Access::Public {
        parameters.push(shared("TenantId"));
    }
    if route.method == "POST" {
        parameters.push(shared("IdempotencyKey"));
    }
    if route.parts.if_match {
        parameters.push(shared("IfMatch"));
    }
    parameters
}

fn responses(route: &Route, operation: &Operation, profiles: &Profiles, schemas: &mut Schemas) -> Value {
    let header = |name: &str| json!({"$ref": format!("#/components/headers/{name}")});
    let mut headers = json!({"X-Request-Id": header("RequestId")});
    if operation.versioned {
        headers["ETag"] = header("ETag");
    }
    if operation.status == 201 {
        headers["Location"] = header("Location");
    }
    if route.method == "POST" {
        headers["Idempotency-Replayed"] = header("IdempotencyReplayed");
    }
    let (media_type, schema) = match operation.content {
        Some((media_type, schema)) => (media_type, schema(schemas)),
        None => ("application/json", success(route, operation, profiles, schemas)),
    };
    let content = json!({media_type: {"schema": schema}});
    let mut responses = Map::new();
    let success = json!({"description": "Done.", "headers": headers, "content": content});
    responses.insert(operation.status.to_string(), success);
    if operation.id == "getReadiness" {
        let schema = &content;
        responses
            .insert("503".into(), json!({"description": "The engine takes no work.", "content": schema}));
    }
    for error in errors::of(route) {
        responses.entry(error.status.to_string()).or_insert_with(|| error.reference());
    }
    responses.into()
}

/// What a success says: wrapped, or alone on the trees of profiles that answer plainly.
fn success(route: &Route, operation: &Operation, profiles: &Profiles, schemas: &mut Schemas) -> Value {
    let data = (route.data)(schemas).unwrap_or_else(|| json!({}));
    let wrapped = json!({
        "type": "object",
        "required": ["success", "data"],
        "properties": {"success": {"const": true}, "data": data},
    });
    let Some(tree) = route.tree.as_deref() else { return wrapped };
    let owners =
        profiles.iter().filter(|profile| profile.api.webhooks.iter().any(|own| own.as_str() == tree));
    let plain: Vec<bool> = owners.map(|profile| profile.api.answers == Answers::Plain).collect();
    let alone = if operation.list { schemas.items_of(&data) } else { data };
    match (plain.contains(&true), plain.contains(&false)) {
        (true, false) => alone,
        (false, _) => wrapped,
        (true, true) => json!({"oneOf": [wrapped, alone]}),
    }
}

#[cfg(test)]
mod tests;
