//! The hot pure parts of the engine, each ready to be done once more.
//!
//! ```text
//! PARTS ──> benches/hot.rs   Criterion: nanoseconds, on an idle machine
//!      └──> src/count.rs     under a counter of instructions (scripts/instructions): the same on every machine
//! ```

mod delivery;
mod event;
mod fixture;
mod lanes;
mod log;

/// Does the part once.
pub type Run = Box<dyn FnMut()>;

/// One part.
pub struct Part {
    /// What it does.
    pub name: &'static str,
    /// Everything that it needs, made beforehand.
    pub prepare: fn() -> Run,
}

/// In the order of an event's way.
pub const PARTS: &[Part] = &[
    Part { name: "parse-event", prepare: event::parse_event },
    Part { name: "check-event", prepare: event::check_event },
    Part { name: "find-id", prepare: event::find_id },
    Part { name: "remember-32-ids", prepare: event::remember_32_ids },
    Part { name: "route-event", prepare: event::route_event },
    Part { name: "encode-accepted", prepare: log::encode_accepted },
    Part { name: "decode-accepted", prepare: log::decode_accepted },
    Part { name: "encode-attempt", prepare: log::encode_attempt },
    Part { name: "decode-attempt", prepare: log::decode_attempt },
    Part { name: "seal-batch", prepare: log::seal_batch },
    Part { name: "read-batch", prepare: log::read_batch },
    Part { name: "decide-delivery", prepare: lanes::decide_delivery },
    Part { name: "build-request", prepare: delivery::build_request },
    Part { name: "build-unsigned", prepare: delivery::build_unsigned },
    Part { name: "write-envelope", prepare: delivery::write_envelope },
    Part { name: "render-template", prepare: delivery::render_template },
    Part { name: "write-request-head", prepare: delivery::write_request_head },
    Part { name: "read-answer-head", prepare: delivery::read_answer_head },
];
