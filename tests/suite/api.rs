//! The HTTP API from outside: one file per resource, named as in `src/http`.

mod auth;
mod events;
mod idempotency;
mod jwt;
mod mutations;
mod openapi;
mod operations;
mod pipelines;
mod secrets;
mod trees;
mod walls;
mod webhooks;

use crate::support::{Api, api::Answer};
use serde_json::{Value, json};

const PIPELINES: &str = "/api/admin/webhooks/pipelines";

fn pipeline(name: &str) -> Value {
    json!({"name": name, "trigger_type": "conversion", "steps": [{"url": "https://example.com/hook"}]})
}

#[track_caller]
fn created(answer: Answer) -> String {
    answer.data(201)["id"].as_str().expect("an id").to_owned()
}

/// A position that every append moves.
#[track_caller]
fn position(api: &Api) -> u64 {
    api.get("/api/state").data(200)["position"].as_u64().expect("a position")
}

/// A second tenant, and its first key.
#[track_caller]
fn tenant(api: &Api, id: &str) -> Api {
    let made = api.post("/api/tenants", &json!({"id": id, "name": id, "profile": "afftok"})).data(201);
    api.with_key(made["api_key"]["key"].as_str().expect("a key"))
}
