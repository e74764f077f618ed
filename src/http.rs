//! The HTTP API: every path on one screen, each with the scope that its callers need.
//!
//! Handlers extract, call [`EngineHandle`] and shape the answer. Authentication happens before them
//! (`http/auth.rs`), the written form of errors behind them (`http/finish.rs`).

mod auth;
mod body;
mod error;
mod fields;
mod finish;
mod health;
mod instant;
mod json_body;
mod query;
mod routes;
mod throttle;

pub(crate) use finish::finish;

use actix_web::web::{Data, ServiceConfig};
use ledgerhook_actors::engine::EngineHandle;
use routes::Routes;

/// What all workers of the server share.
#[derive(Clone)]
pub(crate) struct Shared {
    engine: Data<EngineHandle>,
    throttle: Data<throttle::Throttle>,
}

impl Shared {
    /// Once per server.
    pub(crate) fn new(engine: EngineHandle) -> Self {
        Self { engine: Data::new(engine), throttle: Data::default() }
    }

    /// Once per worker: hands the routes and what they share to an application that is wrapped in [`finish`].
    pub(crate) fn configure(&self, config: &mut ServiceConfig) {
        config.app_data(self.engine.clone()).app_data(self.throttle.clone());
        table().install(config);
    }
}

/// Every path of the API.
fn table() -> Routes {
    let mut api = Routes::default();

    api.public("/livez", health::live);
    api.public("/readyz", health::ready);

    api
}
