//! For `benches/hot`, in chaos builds only: hot parts that nobody outside of this crate may call otherwise.

use crate::{
    delivery::{
        Request,
        http1::{head::HeadReader, request},
    },
    domain::{catalog::Catalog, event::Route, id::TenantId},
    intake::dedup::Dedup,
    log::Position,
    profile::Profiles,
    published::router::Router,
};
use bytes::{Bytes, BytesMut};

/// Which pipelines events go to.
pub struct Routes(Router);

impl Routes {
    /// Prepares the routes of a catalog.
    #[must_use]
    pub fn new(catalog: &Catalog, profiles: &Profiles) -> Self {
        Self(Router::new(catalog, profiles))
    }

    /// Where an event of this type goes.
    #[must_use]
    pub fn find(&self, tenant: &TenantId, event_type: &str) -> Vec<Route> {
        self.0.of(tenant).map(|routes| routes.to(event_type)).unwrap_or_default()
    }
}

/// Where an id was probably accepted.
#[must_use]
pub fn find_id(dedup: &Dedup, tenant: &TenantId, id: &str) -> Vec<Position> {
    dedup.find(tenant, id)
}

/// The head of a request as it goes out; `None` if it cannot be written.
#[must_use]
pub fn request_head(request: &Request) -> Option<Bytes> {
    request::render_head(request).ok()
}

/// Takes the head of an answer out of `input` and answers its status.
pub fn answer_head(input: &mut BytesMut) -> Option<u16> {
    HeadReader::default().read(input).ok()?.map(|head| head.status)
}
