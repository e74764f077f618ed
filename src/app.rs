//! Start-up and shutdown order: engine first, HTTP last; on the way out the engine stops taking work while HTTP
//! still says so, and the log closes before the process ends.

use crate::{
    config::{Config, Server},
    descriptors,
    door::Door,
    http, inbox,
    server_tls::ServerTls,
    telemetry::tell,
};
use actix_service::IntoServiceFactory as _;
use actix_web::{
    App, HttpServer,
    dev::ServerHandle,
    middleware::from_fn,
    rt::{System, task::JoinHandle},
};
use anyhow::{Context as _, anyhow};
use ledgerhook_actors::engine::{self, EngineConfig, EngineHandle, StartReport};
use rustix::process::Signal as Signo;
use std::{fs, io, net::SocketAddr, path::Path, process::ExitCode, sync::Arc, time::Duration};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// File in the data folder that tells where the server listens.
pub(crate) const ADDRESS_FILE: &str = "address";

/// How long answers may take to go out once the engine has stopped.
const HTTP_STOP_SECONDS: u64 = 2;

/// Runs the server until it is told to stop.
pub(crate) fn serve(config: &Config) -> anyhow::Result<ExitCode> {
    System::new().block_on(async {
        let mut signals = Signals::new().context("cannot listen for signals")?;
        let mut hangups = signal(SignalKind::hangup()).context("cannot listen for signals")?;
        descriptors::raise();
        let inbox = config.server.inbox.map(inbox::open).transpose()?;
        let door = Door::at(config.server.listen);
        let listens_at = door.as_ref().map_or(config.server.listen, |door| door.address);
        let mut settings = EngineConfig { listens_at: Some(listens_at), ..config.engine() };
        if let Some(inbox) = inbox {
            settings.allow_http = true;
            settings.egress_allow.push(inbox.to_string());
        }
        let (engine, report) = engine::start(settings)
            .with_context(|| format!("cannot start on `{}`", config.log.data_dir.display()))?;
        let address_file = config.log.data_dir.join(ADDRESS_FILE);
        let started = door.and_then(|door| Http::start(&config.server, door, engine.clone()));
        // The key is in the log by now, and no other start will show it.
        let mut http = started.inspect_err(|_| tell_operator_key(&report))?;
        if let Err(error) = write_address(&address_file, http.address) {
            // A full disk is no reason not to serve.
            warn!(%error, "cannot write `{}`; `healthcheck` will not find the server", address_file.display());
        }
        announce(&http, inbox, &report, &engine);

        let tls = http.tls.clone();
        let cause = loop {
            tokio::select! {
                cause = signals.next() => break cause,
                _ = hangups.recv() => hang_up(tls.as_deref()),
                error = http.failed() => return Err(error),
                // What is on the disk is known to a fresh start only: whoever watches over the process makes one.
                () = engine.log_failed() => return Err(anyhow!("the log cannot be written")),
            }
        };
        info!(cause, grace_seconds = config.server.shutdown_grace_seconds, "stopping");
        let _ = fs::remove_file(&address_file);
        let grace = Duration::from_secs(config.server.shutdown_grace_seconds);
        tokio::select! {
            stopped = stop(&engine, http, grace) => stopped?,
            // What is on its way to the disk will never be there: nothing to wait for.
            () = engine.log_failed() => return Err(anyhow!("the log cannot be written")),
            cause = signals.next() => warn!(cause, "stopped before attempts in flight ended"),
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The HTTP server, bound and serving.
pub(crate) struct Http {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    tls: Option<Arc<ServerTls>>,
    handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

impl Http {
    /// Opens the door and serves, in the system of this thread.
    pub(crate) fn start(settings: &Server, door: Door, engine: EngineHandle) -> anyhow::Result<Self> {
        let shared = http::Shared::new(engine);
        let workers = settings.worker_threads();
        let connections = descriptors::connections(descriptors::raise(), settings.connections_max, workers);
        let server = HttpServer::new(move || {
            let app = App::new().configure(|config| shared.configure(config)).wrap(from_fn(http::finish));
            http::Shortcut::new(shared.clone(), app.into_factory())
        })
        .disable_signals()
        .workers(workers)
        .max_connections(connections)
        .client_request_timeout(Duration::from_secs(settings.head_timeout_seconds))
        .keep_alive(Duration::from_secs(settings.keep_alive_seconds))
        .shutdown_timeout(HTTP_STOP_SECONDS);
        let tls = settings.tls_files().map(ServerTls::load).transpose()?;
        let (address, listener) = (door.address, door.open()?);
        let bound = match &tls {
            None => server.listen(listener),
            Some(tls) => server.listen_rustls_0_23(listener, tls.config()?),
        };
        let server = bound.with_context(|| format!("cannot listen on {address}"))?;
        let server = server.run();
        let (handle, task) = (server.handle(), actix_web::rt::spawn(server));
        Ok(Self { address, tls: tls.map(Arc::new), handle, task })
    }

    /// Where it is found.
    fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Why it ended, though nobody stopped it.
    async fn failed(&mut self) -> anyhow::Error {
        let why = match (&mut self.task).await {
            Ok(Ok(())) => anyhow!("nobody stopped it"),
            Ok(Err(error)) => error.into(),
            Err(panic) => panic.into(),
        };
        why.context("the HTTP server ended")
    }
}

/// Lets attempts in flight end, closes the log, then ends HTTP: until then callers are told 503, not cut off.
pub(crate) async fn stop(engine: &EngineHandle, http: Http, grace: Duration) -> anyhow::Result<()> {
    engine.shutdown(grace).await.context("the engine did not stop cleanly")?;
    http.handle.stop(true).await;
    http.task.await.context("the HTTP server panicked")?.context("the HTTP server failed")
}

/// Writes the address so that a reader sees the old file, none, or the whole new one.
fn write_address(path: &Path, address: SocketAddr) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let written = fs::write(&fresh, address.to_string()).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        // Neither half of this one, nor that of an earlier start.
        let _ = (fs::remove_file(fresh), fs::remove_file(path));
    }
    written
}

/// Tells a person what to do next; the operator key is shown this once.
fn announce(http: &Http, inbox: Option<SocketAddr>, report: &StartReport, engine: &EngineHandle) {
    let StartReport { new_operator_key, records, torn_bytes, abandoned, took } = report;
    let (address, url) = (http.address, http.url());
    info!(%address, records, torn_bytes, abandoned, took_ms = took.as_millis(), "ready");
    if http.tls.is_none() && !address.ip().is_loopback() {
        warn!(
            "answers plain HTTP beyond loopback: keys and payloads can be read on their way; give \
             `server.tls_cert` and `server.tls_key`, or put a proxy in front that speaks TLS"
        );
    }
    tell(&format!("ledgerhook listens on {url}"));
    tell_operator_key(report);
    let key = new_operator_key.as_deref().unwrap_or("$LEDGERHOOK_OPERATOR_KEY");
    if let Some(inbox) = inbox {
        tell(&format!(
            "\nThe inbox on {inbox} verifies and prints. Paste this to get a first event there:\n"
        ));
        let profile = engine.with_catalog(|catalog| Some(catalog.tenant("tenant_default")?.profile.clone()));
        let profile = profile.and_then(|name| engine.tools().profiles.get(&name));
        tell(&format!("{}\n", inbox::first_steps(&url, inbox, key, profile.map(|profile| &**profile))));
    } else if new_operator_key.is_some() {
        tell(&format!("\nTry it:\n\ncurl -H \"Authorization: Bearer {key}\" {url}/api/state\n"));
    }
}

fn tell_operator_key(report: &StartReport) {
    if let Some(key) = &report.new_operator_key {
        tell(&format!("\nYour operator key, shown this once:\n\n  {key}"));
    }
}

/// Reads the certificate again. Without one there is nothing to do, and no reason to end.
fn hang_up(tls: Option<&ServerTls>) {
    if let Some(tls) = tls {
        tls.reload();
    } else {
        info!("SIGHUP: there is no certificate to be read again");
    }
}

/// A write beyond the limit for files (`ulimit -f`) shall fail, not end the process without a word.
const FILE_TOO_LARGE: SignalKind = SignalKind::from_raw(Signo::XFSZ.as_raw());

/// SIGTERM and SIGINT, each counted, and one that shall not end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Nobody looks at it: the write that it comes with has failed.
    _file_too_large: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_too_large: signal(FILE_TOO_LARGE)?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
