//! What the answer tells of an event that was accepted.

use ledgerhook_actors::{domain::id::PipelineId, engine::Receipt, event_input::Warning, log::Position};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

/// An event that was accepted, and what will trouble its receivers. Shown by reference: its texts are the engine's.
pub(crate) struct AcceptedView {
    pub(super) receipt: Receipt,
    pub(super) warnings: Vec<Warning>,
}

/// What became of an event that was accepted.
#[derive(Serialize, ToSchema)]
#[schema(as = AcceptedEvent)]
struct Shown<'r> {
    id: &'r str,
    position: Position,
    resource: &'r str,
    #[serde(serialize_with = "pipelines_of")]
    #[schema(value_type = Vec<PipelineId>)]
    pipelines: &'r Receipt,
    duplicate: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<WarningView>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = EventWarning)]
struct WarningView {
    code: &'static str,
    message: String,
}

impl Serialize for AcceptedView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (event, duplicate) = (&self.receipt.event, self.receipt.duplicate);
        let warning = |warning: &Warning| WarningView { code: warning.code(), message: warning.to_string() };
        let shown = Shown {
            id: &event.accepted.id,
            position: event.position,
            resource: &event.accepted.resource,
            pipelines: &self.receipt,
            duplicate,
            warnings: self.warnings.iter().map(warning).collect(),
        };
        shown.serialize(serializer)
    }
}

/// As a list, without making one.
fn pipelines_of<S: Serializer>(receipt: &Receipt, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(receipt.pipelines())
}

impl PartialSchema for AcceptedView {
    fn schema() -> RefOr<Schema> {
        Shown::schema()
    }
}

impl ToSchema for AcceptedView {
    fn name() -> Cow<'static, str> {
        Shown::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Shown::schemas(schemas);
    }
}
