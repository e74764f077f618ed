//! Every operation of the API: what the types of its handler do not tell. A route without a row here fails
//! `every_route_is_an_operation`.

use super::{
    bodies::{
        BatchBody, ClientCertificateBody, EventBody, JwtKeyBody, KeyBody, PipelineBody, SecretRotationBody,
        SigningKeyRotationBody, TenantBody, TenantChangeBody, TestRunBody, TestStepBody, WebhookBody,
    },
    types::Schemas,
};
use crate::http::{health::Readiness, signing_keys::JwkSet};
use serde_json::{Value, json};

/// Stands for `/api/webhooks`, and for the root of each provider's tree.
pub(super) const TREE: &str = "{tree}";

/// How a schema comes into the document.
pub(super) type Describe = fn(&mut Schemas) -> Value;

/// One operation.
pub(super) struct Operation {
    pub(super) tag: &'static str,
    /// Method and path, as the table of `http.rs` has them.
    pub(super) call: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// Of its success.
    pub(super) status: u16,
    pub(super) body: Option<Describe>,
    pub(super) parameters: Vec<Value>,
    /// Whether success has an `ETag`.
    pub(super) versioned: bool,
    /// Whether success is a list that stands alone on plain trees.
    pub(super) list: bool,
    /// Content type and schema of what is not the usual JSON.
    pub(super) content: Option<(&'static str, Describe)>,
}

/// All of them.
pub(super) fn all() -> Vec<Operation> {
    [
        section("Pipelines", pipelines()),
        section("Webhooks", webhooks()),
        section("Events", events()),
        section("Deliveries", deliveries()),
        section("Tenants", tenants()),
        section("Operation", operation()),
        section("Open to all", open()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn section(tag: &'static str, operations: Vec<Operation>) -> Vec<Operation> {
    operations.into_iter().map(|operation| Operation { tag, ..operation }).collect()
}

fn pipelines() -> Vec<Operation> {
    vec![
        op("GET /api/admin/webhooks/pipelines", "listPipelines", "Pipelines, oldest first")
            .paged()
            .choice("status", &["active", "paused", "disabled"])
            .text("trigger_type"),
        op("POST /api/admin/webhooks/pipelines", "createPipeline", "Makes a pipeline")
            .created()
            .versioned()
            .body(Schemas::refer::<PipelineBody>),
        op("GET /api/admin/webhooks/pipelines/{id}", "getPipeline", "A pipeline, whole").versioned(),
        op(
            "PUT /api/admin/webhooks/pipelines/{id}",
            "updatePipeline",
            "Changes a pipeline: what is absent stays",
        )
        .versioned()
        .body(Schemas::refer_change::<PipelineBody>),
        op(
            "PATCH /api/admin/webhooks/pipelines/{id}",
            "patchPipeline",
            "Changes a pipeline: the same as `PUT`",
        )
        .versioned()
        .body(Schemas::refer_change::<PipelineBody>),
        op(
            "DELETE /api/admin/webhooks/pipelines/{id}",
            "deletePipeline",
            "Deletes a pipeline, and cancels what is pending",
        ),
        op("POST /api/admin/webhooks/test/pipeline/{id}", "testPipeline", "Sends one attempt of each step")
            .body(Schemas::refer::<TestRunBody>),
        op("POST /api/admin/webhooks/test/step", "testStep", "Sends one literal request")
            .body(Schemas::refer::<TestStepBody>),
        op("GET /api/admin/webhooks/stats", "getStats", "The tenant's day in numbers"),
        op("GET /api/pipelines/{id}/steps/{step}/secret", "getStepSecret", "The signing secrets of a step"),
        op(
            "POST /api/pipelines/{id}/steps/{step}/secret/rotate",
            "rotateStepSecret",
            "Replaces the signing secret of a step",
        )
        .body(Schemas::refer::<SecretRotationBody>),
        op(
            "POST /api/pipelines/{id}/steps/{step}/breaker/close",
            "closeStepBreaker",
            "Closes the circuit breaker of a step's URL",
        ),
        op(
            "POST /api/pipelines/{id}/failover/breaker/close",
            "closeFailoverBreaker",
            "Closes the circuit breaker of the failover URL",
        ),
        op("GET /api/egress-ips", "getEgressIps", "The addresses that deliveries come from"),
    ]
}

fn webhooks() -> Vec<Operation> {
    vec![
        op("GET {tree}", "listWebhooks", "Flat webhooks, oldest first")
            .listed()
            .choice("status", &["active", "paused", "disabled"])
            .text("event"),
        op("POST {tree}", "createWebhook", "Makes a flat webhook; its secret is shown this once")
            .created()
            .versioned()
            .body(Schemas::refer::<WebhookBody>),
        op("GET {tree}/{id}", "getWebhook", "A flat webhook").versioned(),
        op("PUT {tree}/{id}", "updateWebhook", "Changes a flat webhook: what is absent stays")
            .versioned()
            .body(Schemas::refer_change::<WebhookBody>),
        op(
            "PATCH {tree}/{id}",
            "patchWebhook",
            "Changes a flat webhook, merging `headers` and `retry_policy` too",
        )
        .versioned()
        .body(Schemas::refer_change::<WebhookBody>),
        op("DELETE {tree}/{id}", "deleteWebhook", "Deletes a flat webhook, and cancels what is pending"),
        op("POST {tree}/{id}/test", "testWebhook", "Sends one attempt").body(Schemas::refer::<TestRunBody>),
        op("GET {tree}/{id}/logs", "listWebhookLogs", "What was sent to a flat webhook, newest first")
            .listed()
            .choice("status", &["success", "failed"])
            .text("type"),
        op("GET {tree}/{id}/secret", "getWebhookSecret", "The signing secrets of a flat webhook"),
        op("POST {tree}/{id}/secret/rotate", "rotateWebhookSecret", "Replaces the signing secret")
            .body(Schemas::refer::<SecretRotationBody>),
        op("POST {tree}/{id}/breaker/close", "closeWebhookBreaker", "Closes the circuit breaker of the URL"),
    ]
}

fn events() -> Vec<Operation> {
    vec![
        op("POST /api/events", "postEvent", "Accepts an event; what is answered is on disk")
            .accepted()
            .body(Schemas::refer::<EventBody>),
        op("POST /api/events/batch", "postEvents", "Accepts events, each with its own outcome")
            .accepted()
            .body(Schemas::refer::<BatchBody>),
        op("GET /api/events", "listEvents", "Accepted events, newest first")
            .listed()
            .text("type")
            .text("resource"),
        op("GET /api/events/{id}", "getEvent", "An event, as it was posted, with what became of it"),
        op(
            "DELETE /api/events/{id}",
            "eraseEvent",
            "Erases what was posted and what receivers answered to it",
        ),
    ]
}

fn deliveries() -> Vec<Operation> {
    const STATES: [&str; 8] =
        ["queued", "in_flight", "retrying", "held", "delivered", "dead_lettered", "skipped", "cancelled"];
    const EXECUTIONS: [&str; 7] =
        ["pending", "running", "retrying", "paused", "completed", "failed", "cancelled"];
    vec![
        op("GET /api/deliveries", "listDeliveries", "Deliveries, newest event first")
            .listed()
            .text("pipeline_id")
            .text("event_id")
            .text("resource")
            .choice("status", &STATES)
            .text("type")
            .instant("since")
            .instant("until"),
        op("GET /api/deliveries/{id}", "getDelivery", "A delivery with its steps and attempts"),
        op("POST /api/deliveries/{id}/cancel", "cancelDelivery", "Calls off a delivery that is pending"),
        op("POST /api/deliveries/{id}/retry", "retryDelivery", "Sends a delivery that has ended once more")
            .accepted(),
        op("GET /api/pipelines/{id}/lanes", "listLanes", "Who waits in a pipeline, by resource").listed(),
        op(
            "POST /api/pipelines/{id}/lanes/{resource}/skip",
            "skipLane",
            "Passes over the dead letter that a halted lane waits for",
        ),
        op("POST /api/pipelines/{id}/lanes/{resource}/resume", "resumeLane", "Lets a halted lane go on"),
        op("GET /api/admin/webhooks/logs/recent", "listExecutions", "Executions, newest event first")
            .listed()
            .choice("status", &EXECUTIONS)
            .text("pipeline_id"),
        op(
            "GET /api/admin/webhooks/logs/failures",
            "listFailures",
            "Executions that failed, newest event first",
        )
        .listed()
        .text("pipeline_id"),
        op("GET /api/admin/webhooks/logs/dlq", "listDeadLetters", "Open dead letters, newest event first")
            .listed()
            .text("pipeline_id"),
        op(
            "POST /api/admin/webhooks/logs/dlq/{id}/retry",
            "retryDeadLetter",
            "Puts a dead letter back into its lane, before every later event of its resource",
        ),
        op("DELETE /api/admin/webhooks/logs/dlq/{id}", "dismissDeadLetter", "Dismisses a dead letter"),
    ]
}

fn tenants() -> Vec<Operation> {
    vec![
        op("GET /api/tenants", "listTenants", "Tenants, by id").listed(),
        op("POST /api/tenants", "createTenant", "Makes a tenant; its first key is shown this once")
            .created()
            .body(Schemas::refer::<TenantBody>),
        op("GET /api/tenants/{id}", "getTenant", "A tenant"),
        op("PUT /api/tenants/{id}", "updateTenant", "Changes a tenant: what is absent stays")
            .body(Schemas::refer::<TenantChangeBody>),
        op("PATCH /api/tenants/{id}", "patchTenant", "Changes a tenant: the same as `PUT`")
            .body(Schemas::refer::<TenantChangeBody>),
        op("DELETE /api/tenants/{id}", "deleteTenant", "Deletes a tenant with its pipelines and keys")
            .parameter(
                "erase",
                &json!({"type": "boolean"}),
                "Erase the payloads of everything that it posted.",
            ),
        op(
            "POST /api/tenants/{id}/erase",
            "eraseTenant",
            "Erases the payloads of what a tenant has posted so far",
        ),
        op("GET /api/tenants/{id}/keys", "listKeys", "The API keys of a tenant, without the keys themselves")
            .listed(),
        op("POST /api/tenants/{id}/keys", "createKey", "Makes an API key, which is shown this once")
            .created()
            .body(Schemas::refer::<KeyBody>),
        op("DELETE /api/tenants/{id}/keys/{key}", "revokeKey", "Ends an API key at once"),
        op("GET /api/tenants/{id}/signing-keys", "listSigningKeys", "The Ed25519 keys of a tenant"),
        op(
            "POST /api/tenants/{id}/signing-keys/rotate",
            "rotateSigningKey",
            "Replaces the Ed25519 key of a tenant",
        )
        .body(Schemas::refer::<SigningKeyRotationBody>),
        op(
            "GET /api/tenants/{id}/client-certificate",
            "getClientCertificate",
            "The certificate that receivers are shown, without its key",
        ),
        op(
            "PUT /api/tenants/{id}/client-certificate",
            "setClientCertificate",
            "Puts a certificate in force that receivers are shown",
        )
        .body(Schemas::refer::<ClientCertificateBody>),
        op(
            "DELETE /api/tenants/{id}/client-certificate",
            "removeClientCertificate",
            "Shows no certificate to receivers any more",
        ),
        op("GET /api/tenants/{id}/jwt-keys", "listJwtKeys", "The keys that callers' JWTs are verified with")
            .listed(),
        op(
            "POST /api/tenants/{id}/jwt-keys",
            "createJwtKey",
            "Adds a key that callers' JWTs are verified with",
        )
        .created()
        .body(Schemas::refer::<JwtKeyBody>),
        op("DELETE /api/tenants/{id}/jwt-keys/{key}", "revokeJwtKey", "Ends a key of JWTs at once"),
        op("GET /api/audit", "listAudit", "What was done to a tenant, newest first").audit(),
    ]
}

fn operation() -> Vec<Operation> {
    vec![
        op("GET /api/audit/engine", "listEngineAudit", "What was done to the engine, newest first").audit(),
        op("GET /api/state", "getState", "Position, digest and counts of the folded state"),
        op("GET /api/log", "listLog", "Records of the log, by position")
            .listed()
            .integer("from")
            .text("stream")
            .text("kind"),
        op("GET /api/log/verify", "verifyLog", "Walks the log from end to end"),
        op(
            "POST /api/log/retention",
            "applyRetention",
            "Applies the rules of retention now, not at the next turn of the hour",
        ),
        op("GET /api/stream", "followLog", "Records of the log as they are written, as server-sent events")
            .integer("from")
            .text("stream")
            .text("kind")
            .header("Last-Event-ID", "Go on behind this position.")
            .content("text/event-stream", text),
        op("GET /api/actors", "listActors", "The actors of the engine, by kind and id").listed(),
        op("POST /api/actors/{id}/revive", "reviveActor", "Starts an actor that was given up"),
    ]
}

fn open() -> Vec<Operation> {
    vec![
        op("GET /livez", "getLiveness", "Whether the process answers").content("text/plain", text),
        op("GET /readyz", "getReadiness", "Whether the engine takes work")
            .parameter("verbose", &json!({"type": "boolean"}), "Name what is wrong.")
            .content("application/json", Schemas::refer::<Readiness>),
        op("GET /metrics", "getMetrics", "Numbers for Prometheus").content("text/plain", text),
        op(
            "GET /.well-known/webhook-keys/{key_set}",
            "getKeySet",
            "The Ed25519 keys of a tenant as a JWK set",
        )
        .content("application/jwk-set+json", Schemas::refer::<JwkSet>),
        op("GET /openapi.json", "getOpenapi", "This description")
            .content("application/json", |_| json!({"type": "object"})),
        op("GET /docs", "getDocs", "This description as a page").content("text/html", text),
    ]
}

fn text(_: &mut Schemas) -> Value {
    json!({"type": "string"})
}

fn op(call: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation {
        tag: "",
        call,
        id,
        summary,
        status: 200,
        body: None,
        parameters: Vec::new(),
        versioned: false,
        list: false,
        content: None,
    }
}

impl Operation {
    fn created(self) -> Self {
        Self { status: 201, ..self }
    }

    fn accepted(self) -> Self {
        Self { status: 202, ..self }
    }

    fn versioned(self) -> Self {
        Self { versioned: true, ..self }
    }

    fn body(self, schema: Describe) -> Self {
        Self { body: Some(schema), ..self }
    }

    fn content(self, media_type: &'static str, schema: Describe) -> Self {
        Self { content: Some((media_type, schema)), ..self }
    }

    /// `page` and `limit` of a provider's list.
    fn paged(self) -> Self {
        self.shared("Page").shared("PageLimit")
    }

    /// `cursor` and `limit`.
    fn listed(self) -> Self {
        Self { list: true, ..self.shared("Cursor").shared("Limit") }
    }

    fn audit(self) -> Self {
        self.listed().text("actor").instant("since").instant("until")
    }

    fn shared(mut self, name: &str) -> Self {
        self.parameters.push(json!({"$ref": format!("#/components/parameters/{name}")}));
        self
    }

    fn text(self, name: &str) -> Self {
        self.parameter(name, &json!({"type": "string", "minLength": 1, "maxLength": 256}), "Only these.")
    }

    fn choice(self, name: &str, words: &[&str]) -> Self {
        self.parameter(name, &json!({"type": "string", "enum": words}), "Only these.")
    }

    fn instant(self, name: &str) -> Self {
        let what = "An instant: ISO 8601 with an offset, or milliseconds since 1970.";
        self.parameter(name, &json!({"type": "string"}), what)
    }

    fn integer(self, name: &str) -> Self {
        self.parameter(name, &json!({"type": "integer", "minimum": 0}), "A position.")
    }

    fn parameter(mut self, name: &str, schema: &Value, description: &str) -> Self {
        let parameter = json!({"name": name, "in": "query", "description": description, "schema": schema});
        self.parameters.push(parameter);
        self
    }

    fn header(mut self, name: &str, description: &str) -> Self {
        let schema = json!({"type": "string"});
        let parameter = json!({"name": name, "in": "header", "description": description, "schema": schema});
        self.parameters.push(parameter);
        self
    }
}
