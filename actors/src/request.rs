//! Placeholder: the request builder replaces this file and keeps `AttemptInput` and `RequestBuilder::{new, build}`.
use crate::{
    core::AcceptedEvent,
    delivery::Request,
    domain::{
        event::{AttemptId, Queue},
        id::{DeliveryId, PipelineId},
        step::PipelineConfig,
        time::Timestamp,
    },
};
use std::sync::Arc;
pub struct RequestBuilder;
pub struct AttemptInput<'a> {
    pub pipeline: &'a PipelineId,
    pub delivery: &'a DeliveryId,
    pub pinned: &'a Arc<PipelineConfig>,
    pub live: &'a Arc<PipelineConfig>,
    pub attempt: AttemptId,
    pub step: u16,
    pub queue: Queue,
    pub event: &'a AcceptedEvent,
    pub now: Timestamp,
}
pub struct Built {
    pub request: Request,
}
impl RequestBuilder {
    pub fn new(_: Arc<crate::engine::Tools>) -> Self {
        Self
    }
    pub fn build(&self, _: &AttemptInput<'_>) -> Result<Built, String> {
        unimplemented!()
    }
}
