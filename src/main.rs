//! The `ledgerhook` binary: arguments and configuration in, an exit code out.

mod app;
mod cli;
mod config;
mod demo;
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
use std::{
    io::{self, Write as _},
    process::ExitCode,
};

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
