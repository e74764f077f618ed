//! The pure core: no clock, no randomness, no I/O, no actix.

pub mod outcome;
pub mod retry;
pub mod time;
