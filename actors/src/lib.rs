//! The event-sourced core of Ledgerhook.

pub mod delivery;
pub mod domain;
pub mod json;
pub mod log;
