//! Builders with good defaults: a test names what it is about and nothing else.

use super::{Api, Receiver};
use serde_json::{Value, json};

/// The key that pipelines sign with unless a test says otherwise.
pub(crate) const SIGNING_KEY: &str = "a-signing-key-of-tests-0123456789";

/// A pipeline with one signed step.
pub(crate) struct Pipeline(pub Value);

impl Pipeline {
    /// Delivers `conversion.created` to the receiver.
    pub(crate) fn to(receiver: &Receiver) -> Self {
        Self::to_url(&receiver.url())
    }

    pub(crate) fn to_url(url: &str) -> Self {
        Self(json!({
            "name": "Conversions",
            "trigger_type": "conversion",
            "status": "active",
            "steps": [{
                "name": "Send",
                "order": 1,
                "url": url,
                "method": "POST",
                "timeout_seconds": 10,
                "retry_policy": {"max_attempts": 8, "backoff_type": "fixed", "initial_delay_seconds": 1},
                "signature_mode": "hmac",
                "signing_key": SIGNING_KEY,
            }],
        }))
    }

    /// Sets a field of the pipeline.
    pub(crate) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0[field] = value.into();
        self
    }

    /// Sets a field of its step.
    pub(crate) fn step(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0["steps"][0][field] = value.into();
        self
    }

    /// Tries so often, so many seconds apart.
    pub(crate) fn retry(self, attempts: u32, delay_seconds: u32) -> Self {
        let policy = json!({
            "max_attempts": attempts,
            "backoff_type": "fixed",
            "initial_delay_seconds": delay_seconds,
        });
        self.step("retry_policy", policy)
    }

    /// Creates it and answers with its id.
    #[track_caller]
    pub(crate) fn create(&self, api: &Api) -> String {
        let made = api.post("/api/admin/webhooks/pipelines", &self.0).data(201);
        made["id"].as_str().expect("an id").to_owned()
    }
}

/// `conversion.created` number `n` about a conversion.
pub(crate) fn conversion(id: &str, conversion: &str, n: usize) -> Value {
    json!({
        "id": id,
        "type": "conversion.created",
        "timestamp": "2024-01-15T10:35:00Z",
        "data": {"conversion_id": conversion, "amount": 49.99, "payout": 5.0, "n": n},
    })
}

/// Posts an event and answers with its receipt.
#[track_caller]
pub(crate) fn post(api: &Api, event: &Value) -> Value {
    api.post("/api/events", event).data(202)
}
