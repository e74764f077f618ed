//! The event-sourced core of Ledgerhook.

pub mod delivery;
pub mod domain;
pub mod engine;
pub mod event_input;
pub mod json;
pub mod log;
pub mod profile;
pub mod secrets;
