//! The pure core: no clock, no randomness, no I/O, no actix.
//!
//! Four functions carry the product: `decide` (what happens, or why not), `evolve` (what is now true), and the
//! questions `next_due` and `next_ready` (when and where to look again). Time, chance and ids come in as
//! arguments; what came of them stands in the facts of [`event`].

pub mod bucket;
pub mod by;
pub mod catalog;
pub mod client_certificate;
pub mod dead_letter;
pub mod delivery;
pub mod digest;
pub mod egress;
pub mod endpoint;
pub mod erasure;
pub mod event;
pub mod id;
pub mod jwt_key;
pub mod mailbox;
pub mod operator_event;
pub mod outcome;
pub mod pipeline;
pub mod quota;
pub mod retry;
pub mod shared_map;
pub mod state;
pub mod step;
pub mod tenant;
#[cfg(test)]
pub(crate) mod testing;
pub mod time;
pub mod waiting_line;
