//! The event-sourced core of Ledgerhook.

pub mod accepted;
pub mod answers;
pub mod catalog;
pub mod clock;
pub mod core;
pub mod dead_letters;
pub mod delivery;
mod descriptors;
pub mod domain;
pub mod endpoints;
pub mod engine;
pub mod entropy;
pub mod error;
pub mod event_input;
pub mod failpoint;
#[cfg(feature = "chaos")]
pub mod hot;
pub mod intake;
pub mod json;
pub mod log;
pub mod notices;
pub mod panics;
pub mod pipeline;
pub mod profile;
pub mod projections;
pub mod published;
pub mod request;
mod scan;
pub mod secrets;
mod share;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod simulator;
pub mod supervisor;
#[cfg(test)]
mod testing;
pub mod view;
pub mod worker;
