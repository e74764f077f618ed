//! The HTTP API: every path on one screen, each with the scope that its callers need.
//!
//! Handlers extract, call [`EngineHandle`] and shape the answer. Authentication happens before them
//! (`http/auth.rs`), the written form of errors behind them (`http/finish.rs`).

mod actors;
mod audit;
mod auth;
mod body;
mod dead_letters;
mod deliveries;
mod egress;
mod erasure;
mod error;
mod events;
mod executions;
mod fields;
mod finish;
mod health;
mod idempotency;
mod if_match;
mod instant;
mod json_body;
mod lanes;
mod log;
mod metrics;
mod openapi;
mod pipelines;
mod query;
mod reads;
mod routes;
mod shortcut;
mod signing_keys;
mod state;
mod stats;
mod tenants;
mod test_runs;
mod throttle;
mod webhooks;

pub(crate) use finish::finish;
pub(crate) use log::RecordView;
pub(crate) use shortcut::Shortcut;

use actix_web::web::{Data, ServiceConfig};
use ledgerhook_actors::{
    domain::tenant::Scope::{EventsWrite, Manage, Operator, Read},
    engine::EngineHandle,
    profile::Profiles,
};
use routes::Routes;

/// What all workers of the server share.
#[derive(Clone)]
pub(crate) struct Shared {
    engine: Data<EngineHandle>,
    reads: Data<reads::Reads>,
    throttle: Data<throttle::Throttle>,
    document: Data<openapi::Document>,
}

impl Shared {
    /// Once per server.
    pub(crate) fn new(engine: EngineHandle) -> Self {
        let reads = Data::new(reads::Reads::new(engine.projections().clone()));
        let profiles = &engine.tools().profiles;
        let document = Data::new(openapi::Document::new(table(profiles).listed(), profiles));
        Self { engine: Data::new(engine), reads, throttle: Data::default(), document }
    }

    /// Once per worker: hands the routes and what they share to an application that is wrapped in [`finish()`].
    pub(crate) fn configure(&self, config: &mut ServiceConfig) {
        config.app_data(self.engine.clone()).app_data(self.reads.clone()).app_data(self.throttle.clone());
        config.app_data(self.document.clone());
        table(&self.engine.tools().profiles).install(config);
    }
}

/// Every path of the API. Beside it stand the trees of all profiles.
fn table(profiles: &Profiles) -> Routes {
    let mut api = Routes::default();

    api.get(Read, "/api/admin/webhooks/pipelines", pipelines::list);
    api.post(Manage, "/api/admin/webhooks/pipelines", pipelines::create);
    api.get(Read, "/api/admin/webhooks/pipelines/{id}", pipelines::show);
    api.put(Manage, "/api/admin/webhooks/pipelines/{id}", pipelines::update);
    api.patch(Manage, "/api/admin/webhooks/pipelines/{id}", pipelines::update);
    api.delete(Manage, "/api/admin/webhooks/pipelines/{id}", pipelines::delete);
    api.get(Read, "/api/admin/webhooks/logs/recent", executions::recent);
    api.get(Read, "/api/admin/webhooks/logs/failures", executions::failures);
    api.get(Read, "/api/admin/webhooks/logs/dlq", dead_letters::list::list);
    api.post(Manage, "/api/admin/webhooks/logs/dlq/{id}/retry", dead_letters::retry);
    api.delete(Manage, "/api/admin/webhooks/logs/dlq/{id}", dead_letters::delete);
    api.get(Read, "/api/admin/webhooks/stats", stats::show);

    api.post(Manage, "/api/admin/webhooks/test/pipeline/{id}", test_runs::pipeline);
    api.post(Manage, "/api/admin/webhooks/test/step", test_runs::step);

    api.post(EventsWrite, "/api/events", events::accept);
    api.post(EventsWrite, "/api/events/batch", events::accept_batch);
    api.get(Read, "/api/events", events::accepted::list);
    api.get(Read, "/api/events/{id}", events::accepted::show);
    api.delete(Manage, "/api/events/{id}", erasure::of_event);

    flat_webhooks(&mut api, "/api/webhooks");
    for tree in profiles.trees() {
        api.tree(tree.as_str(), flat_webhooks);
    }
    api.get(Manage, "/api/pipelines/{id}/steps/{step}/secret", pipelines::secret::of_step);
    api.post(Manage, "/api/pipelines/{id}/steps/{step}/secret/rotate", pipelines::secret::rotate_of_step);
    api.post(Manage, "/api/pipelines/{id}/steps/{step}/breaker/close", pipelines::control::close_of_step);
    api.post(Manage, "/api/pipelines/{id}/failover/breaker/close", pipelines::control::close_of_failover);

    api.get(Read, "/api/deliveries", deliveries::list);
    api.get(Read, "/api/deliveries/{id}", deliveries::show);
    api.post(Manage, "/api/deliveries/{id}/cancel", deliveries::cancel);
    api.post(Manage, "/api/deliveries/{id}/retry", deliveries::retry);
    api.get(Read, "/api/pipelines/{id}/lanes", lanes::list);
    api.post(Manage, "/api/pipelines/{id}/lanes/{resource}/skip", lanes::skip);
    api.post(Manage, "/api/pipelines/{id}/lanes/{resource}/resume", lanes::resume);

    api.get(Read, "/api/egress-ips", egress::show);

    api.get(Operator, "/api/tenants", tenants::list);
    api.post(Operator, "/api/tenants", tenants::create);
    api.get(Read, "/api/tenants/{id}", tenants::show);
    api.put(Manage, "/api/tenants/{id}", tenants::update);
    api.patch(Manage, "/api/tenants/{id}", tenants::update);
    api.delete(Operator, "/api/tenants/{id}", tenants::delete);
    api.post(Operator, "/api/tenants/{id}/erase", erasure::of_tenant);
    api.get(Manage, "/api/tenants/{id}/keys", tenants::keys);
    api.post(Manage, "/api/tenants/{id}/keys", tenants::create_key);
    api.delete(Manage, "/api/tenants/{id}/keys/{key}", tenants::revoke_key);
    api.get(Read, "/api/tenants/{id}/signing-keys", signing_keys::list);
    api.post(Manage, "/api/tenants/{id}/signing-keys/rotate", signing_keys::rotate);

    api.get(Read, "/api/tenants/{id}/client-certificate", tenants::client_certificate::show);
    api.put(Manage, "/api/tenants/{id}/client-certificate", tenants::client_certificate::set);
    api.delete(Manage, "/api/tenants/{id}/client-certificate", tenants::client_certificate::remove);

    api.get(Manage, "/api/tenants/{id}/jwt-keys", tenants::jwt_keys::list);
    api.post(Manage, "/api/tenants/{id}/jwt-keys", tenants::jwt_keys::create);
    api.delete(Manage, "/api/tenants/{id}/jwt-keys/{key}", tenants::jwt_keys::revoke);

    api.get(Read, "/api/audit", audit::list);
    api.get(Operator, "/api/audit/engine", audit::engine);
    api.get(Operator, "/api/state", state::show);
    api.get(Operator, "/api/log", log::list);
    api.get(Operator, "/api/log/verify", log::verify);
    api.post(Operator, "/api/log/retention", log::retention::apply);
    api.get(Operator, "/api/stream", log::follow);
    api.get(Operator, "/api/actors", actors::list);
    api.post(Operator, "/api/actors/{id}/revive", actors::revive);
    #[cfg(feature = "chaos")]
    api.post(Operator, "/api/actors/{id}/panic", actors::panic);

    api.public("/livez", health::live);
    api.public("/readyz", health::ready);
    api.public("/metrics", metrics::show);
    api.public("/openapi.json", openapi::show);
    api.public("/docs", openapi::docs);
    api.public("/.well-known/webhook-keys/{key_set}", signing_keys::key_set);

    api
}

/// One URL, some events: the same calls under each root (T-45).
fn flat_webhooks(api: &mut Routes, root: &str) {
    let one = format!("{root}/{{id}}");
    api.get(Read, root, webhooks::list);
    api.post(Manage, root, webhooks::create);
    api.get(Read, &one, webhooks::show);
    api.put(Manage, &one, webhooks::update);
    api.patch(Manage, &one, webhooks::patch);
    api.delete(Manage, &one, webhooks::delete);
    api.post(Manage, &format!("{one}/test"), test_runs::webhook);
    api.get(Read, &format!("{one}/logs"), webhooks::logs::list);
    api.get(Manage, &format!("{one}/secret"), webhooks::reveal);
    api.post(Manage, &format!("{one}/secret/rotate"), webhooks::rotate);
    api.post(Manage, &format!("{one}/breaker/close"), webhooks::close_breaker);
}
