//! The `ledgerhook` binary: arguments and configuration in, an exit code out.

mod app;
mod cli;
mod config;
mod demo;
mod descriptors;
mod door;
mod healthcheck;
mod http;
mod inbox;
mod offline;
mod receiver;
mod repair;
mod rewrap;
mod server_tls;
mod telemetry;
mod transitions;
mod verify;

use clap::Parser as _;
use mimalloc::MiMalloc;
use std::{
    io::{self, Write as _},
    process::ExitCode,
};

/// Events come in on one thread and are let go on another: the system's allocator pays for that with locks and with
/// memory that it takes from and gives back to the kernel at every turn (docs/performance.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            drop(writeln!(io::stderr(), "error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
