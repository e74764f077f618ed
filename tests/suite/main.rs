//! The running server, from outside: the real binary, real receivers, and nothing of its code.

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "what a test needs next is there")]
mod support;

mod api;
mod canaries;
mod checking;
mod clients;
mod contract;
mod control;
mod crashes;
mod damage;
mod dead_letters;
mod delivery;
mod egress;
mod erasure;
mod ingest;
mod log;
mod losses;
mod mails;
mod mutual_tls;
mod operator_events;
mod ordering;
mod overload;
mod paging;
#[cfg(feature = "chaos")]
mod panics;
mod process;
mod profiles;
mod providers;
mod proxy;
mod published;
mod quickstart;
mod quotas;
mod reads;
mod receivers;
mod retention;
mod shapes;
mod signing;
mod soak;
mod supervision;
mod tls;
mod upgrade;
