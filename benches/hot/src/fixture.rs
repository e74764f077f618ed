//! What the parts work on: one event of 1 KiB, one tenant, one signed step.

use ledgerhook_actors::{
    domain::{
        by::By,
        catalog::Catalog,
        event::{PipelineEvent, TenantEvent},
        id::{PipelineId, TenantId},
        retry::RetryPolicy,
        step::{PipelineConfig, StoredKey},
        time::Timestamp,
    },
    profile::{Profile, Profiles},
    secrets::{MasterKey, Secrets},
};
use serde_json::json;
use std::sync::Arc;

pub(crate) const NOW: Timestamp = Timestamp(1_705_314_645_678);
pub(crate) const EVENT_ID: &str = "evt_0123456789abcdef0123456789abcdef";
pub(crate) const EVENT_TYPE: &str = "conversion.created";
pub(crate) const RESOURCE: &str = "conversion:conv_8f2c41d7";

/// The event as it was posted, 1,024 bytes.
pub(crate) fn event() -> String {
    let head = format!(
        r#"{{"id":"{EVENT_ID}","type":"{EVENT_TYPE}","timestamp":"2024-01-15T10:30:45Z","data":{{"id":"conv_8f2c41d7","click_id":"click_77aa10","offer":{{"id":"offer_42","name":"Crème brûlée, \"large\"","payout":12.50,"currency":"EUR"}},"amount":49.99,"quantity":3,"approved":true,"refunded":null,"geo":{{"country":"DE","city":"München","lat":48.137154,"lon":11.576124}},"items":[{{"sku":"A-1","price":19.99,"tags":["new","sale"]}},{{"sku":"B-22","price":30,"tags":[]}}],"user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36","note":""#
    );
    let tail = r#""},"metadata":{"correlation_id":"corr_5d41402abc4b2a76","source":"checkout"}}"#;
    let note = "The customer asked for a delivery on a Monday. ".repeat(20);
    let note = &note[..1024 - head.len() - tail.len()];
    format!("{head}{note}{tail}")
}

pub(crate) fn tenant() -> TenantId {
    TenantId::new("tenant_abc123")
}

pub(crate) fn pipeline(number: usize) -> PipelineId {
    PipelineId::new(format!("pipe_{number:08}"))
}

pub(crate) fn profiles() -> Profiles {
    Profiles::builtin()
}

pub(crate) fn profile() -> Arc<Profile> {
    Arc::clone(profiles().get("afftok").expect("it is built in"))
}

/// Under a key that is always the same.
pub(crate) fn secrets() -> Secrets {
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    Secrets::new(&MasterKey::parse(key).expect("a key"))
}

/// One active pipeline of one signed step that sends the whole envelope.
pub(crate) fn config(secrets: &Secrets, trigger: &str) -> PipelineConfig {
    let key = secrets.seal("your_webhook_secret_key_0").expect("it is sealed");
    let step = json!({
        "id": "step_1", "name": "crm", "order": 1, "url": "https://api.example.com/hooks/conversions",
        "method": "POST", "headers": [{"name": "X-Source", "value": {"template": "{{event.id}}"}}],
        "timeout_seconds": 30, "retry": RetryPolicy::default(), "stop_on_failure": false,
        "signature": "hmac", "signing_key": StoredKey::Sealed(key),
    });
    let config = json!({"name": "p", "triggers": [trigger], "status": "active", "steps": [step]});
    serde_json::from_value(config).expect("a configuration")
}

/// The tenant with so many pipelines, the first of which takes the event.
pub(crate) fn catalog(pipelines: usize) -> Catalog {
    let (mut catalog, secrets) = (Catalog::default(), secrets());
    let created = TenantEvent::TenantCreated { name: "A".into(), profile: "afftok".into(), by: By::engine() };
    catalog.evolve_tenant(&tenant(), &created, NOW);
    let config = |trigger| config(&secrets, trigger);
    let (first, other) = (config("conversion"), config("click"));
    for number in 0..pipelines {
        let config = if number == 0 { &first } else { &other }.clone();
        let created = PipelineEvent::PipelineCreated { tenant: tenant(), config, by: By::engine() };
        catalog.evolve_pipeline(&pipeline(number), &created, NOW);
    }
    catalog
}
