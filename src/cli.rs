//! The command line: what it accepts and which part of the program answers.

use crate::{app, config::Config, demo, healthcheck, offline, repair, rewrap, telemetry, verify::VerifyArgs};
use clap::{Args, Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

const EXAMPLES: &str = "\
Examples:
  ledgerhook                                      serve on 127.0.0.1:8080, with everything kept in ./data
  ledgerhook --inbox                              the same with a receiver to try it on
  ledgerhook --listen 0.0.0.0:80 --data-dir /var/lib/ledgerhook
  ledgerhook --allow-http --egress-allow 127.0.0.1    deliver to receivers on this machine too
  ledgerhook demo                                 the whole product on one screen, within a minute
  ledgerhook log verify --data-dir data           prove that the log is whole and unchanged
  ledgerhook log replay --data-dir data --to 500  the state as it was at position 500
  ledgerhook log repair --data-dir data           what of a damaged log cannot be kept; --yes cuts it off
  ledgerhook secrets rewrap --data-dir data --new-key-file FILE   let another master key take over
  ledgerhook verify --profile afftok --help       why a signature does not fit
  ledgerhook config check --config prod.toml      what the server would run with";

const SETTINGS: &str = "\
Options win over LEDGERHOOK_* variables, these over --config, this over defaults. A variable is named after its
option (LEDGERHOOK_LISTEN) or its place in the file (LEDGERHOOK_DELIVERY_CONCURRENCY); lists are separated by
commas. LEDGERHOOK_OPERATOR_KEY sets the operator key.";

/// Delivers webhooks: signed, in order per resource, retried, and every attempt on record.
#[derive(Debug, Parser)]
#[command(
    name = "ledgerhook",
    version,
    about,
    before_help = EXAMPLES,
    after_help = SETTINGS,
    help_template = "{about}\n\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}",
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Settings that have an option of their own; the configuration file has more.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Options {
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE.toml")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen; port 0 picks one [default: 127.0.0.1:8080]
    #[arg(long, global = true, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Open a receiver on loopback that verifies and prints, for first steps [default: 127.0.0.1:8081]
    #[arg(long, global = true, value_name = "ADDR", num_args = 0..=1, require_equals = true,
          default_missing_value = "127.0.0.1:8081")]
    pub(crate) inbox: Option<String>,
    /// Where everything is kept [default: data]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// How log lines look: pretty or json [default: pretty]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// Client that carries deliveries: direct or awc [default: direct]
    #[arg(long, global = true, value_name = "CLIENT")]
    pub(crate) transport: Option<String>,
    /// Accept http:// targets for profiles that permit it
    #[arg(long, global = true)]
    pub(crate) allow_http: bool,
    /// What may be dialled beyond public addresses; repeatable
    #[arg(long, global = true, value_name = "ADDR_OR_CIDR[:PORT]")]
    pub(crate) egress_allow: Vec<String>,
    /// What may not be dialled, whatever else is said; repeatable
    #[arg(long, global = true, value_name = "ADDR_OR_CIDR[:PORT]")]
    pub(crate) egress_deny: Vec<String>,
    /// Address or network that deliveries are said to come from; repeatable
    #[arg(long, global = true, value_name = "ADDR_OR_CIDR")]
    pub(crate) published_ip: Vec<String>,
    /// Where the log is kept: embedded [default: embedded]
    #[arg(long, global = true, value_name = "STORE")]
    pub(crate) store: Option<String>,
    /// Folder with more provider profiles
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) profiles: Option<String>,
    /// Profile of the first tenant [default: afftok]
    #[arg(long, global = true, value_name = "PROFILE")]
    pub(crate) default_profile: Option<String>,
    /// Roots to trust beside the system's; repeatable
    #[arg(long, global = true, value_name = "FILE.pem")]
    pub(crate) tls_roots: Vec<String>,
    /// Mail server that tells contacts of dead letters; more of it in the configuration file
    #[arg(long, global = true, value_name = "HOST")]
    pub(crate) smtp_host: Option<String>,
    /// Sender of these mails
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub(crate) smtp_from: Option<String>,
    /// Folder that takes the mails in the place of a server
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) mail_dir: Option<String>,
    /// What {{env.NAME}} may resolve, and for which target host; repeatable
    #[arg(long, global = true, value_name = "NAME[@HOST]")]
    pub(crate) template_env: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (what a bare `ledgerhook` does)
    Serve,
    /// Show the whole product on one screen, within a minute
    Demo {
        /// Retry delays are divided by this
        #[arg(long, value_name = "N", default_value_t = 5.0, value_parser = speed)]
        speed: f64,
    },
    /// Look at the log of a server that does not run
    #[command(subcommand)]
    Log(LogCommand),
    /// Tell whether a request's signatures fit, and if they do not, why
    Verify(VerifyArgs),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Manage the key that seals all others
    #[command(subcommand)]
    Secrets(SecretsCommand),
    /// Ask the server on this data folder whether it is ready
    Healthcheck,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Prove that the log is whole and unchanged
    Verify,
    /// Fold the log and print the state as JSON
    Replay {
        /// Up to and including this position [default: the end]
        #[arg(long, value_name = "POSITION")]
        to: Option<u64>,
    },
    /// Show what of a damaged log cannot be kept, and cut it off if told so
    Repair {
        /// Do it: what is cut is moved aside, never deleted
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print what the server would run with, secrets masked
    Check,
}

#[derive(Debug, Subcommand)]
enum SecretsCommand {
    /// Let another master key take the place of the present one
    Rewrap {
        /// File with the new key: 32 bytes in hex or base64
        #[arg(long, value_name = "FILE")]
        new_key_file: PathBuf,
    },
}

/// Nobody else on this machine reads what is written from here on: events are other people's data.
fn private_files() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

impl Cli {
    /// Does what was asked.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let config = Config::load(&self.options, std::env::vars_os())?;
        match self.command.unwrap_or(Command::Serve) {
            Command::Serve => {
                private_files();
                telemetry::init(&config.telemetry)?;
                app::serve(&config)
            }
            Command::Demo { speed } => {
                private_files();
                demo::run(speed)
            }
            Command::Log(LogCommand::Verify) => {
                let proof = offline::verify(&config.log.data_dir)?;
                println!("{proof}");
                Ok(if proof.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Command::Log(LogCommand::Replay { to }) => {
                let state = offline::replay(&config.log.data_dir, to)?;
                println!("{}", serde_json::to_string(&state)?);
                Ok(ExitCode::SUCCESS)
            }
            Command::Log(LogCommand::Repair { yes }) => {
                private_files();
                let done = repair::run(&config.log.data_dir, yes, &mut std::io::stdout().lock())?;
                Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Command::Verify(args) => {
                let report = args.run(config.tenants.profiles_dir.as_ref())?;
                Ok(if report.valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Command::Config(ConfigCommand::Check) => {
                config.check_for_start()?;
                println!("{}", config.to_toml()?);
                Ok(ExitCode::SUCCESS)
            }
            Command::Secrets(SecretsCommand::Rewrap { new_key_file }) => {
                private_files();
                rewrap::run(&config, &new_key_file, &mut std::io::stdout().lock())?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Healthcheck => healthcheck::run(&config),
        }
    }
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (2.0..=1000.0).contains(speed));
    speed.ok_or_else(|| "must be a number between 2 and 1000, or the demo would not fit a minute".to_owned())
}
