//! Notice of failure: follows the log and tells tenants what they have to know, as events of their own.
//!
//! ```text
//!  log ──durable──> thread `notices` ──what is owed──> Intake::accept_own ──> lanes, as every other event
//!                        fold (Watch)                        └── `Accepted` in the log settles the debt
//!                             └──────────> thread `mail` ──SMTP──> contacts
//!                                                 └── `NoticesMailed` in the log settles it
//! ```
//! Delivery never waits for this. What is owed is a fold of the log (`watch.rs`), and so is what has been told, so a
//! kill at any moment loses nothing and doubles nothing. The fold is kept in a file now and then, so that a start
//! does not read the whole log; without the file it does.
//!
//! A thread, not an actor: it reads the disk. It is supervised like one: a panic starts it again from the log, and too
//! many give it up, visibly, until it is revived.

mod desk;
mod letter;
mod mailroom;
mod notice;
mod outbox;
mod post;
mod watch;

pub(crate) use mailroom::MailParts;
pub use outbox::Pace;
pub use post::{MailConfig, MailSink, SmtpConfig, SmtpTls};

use crate::{
    clock::Clock,
    domain::{
        by::By,
        event::{EngineEvent, Fact},
        operator_event::OperatorEvent,
    },
    intake::Intake,
    log::{
        EventLog, Position, Unpark,
        codec::{self, Glance},
        replay::ReplayError,
        snapshot::{read_sealed, write_sealed},
    },
    panics,
    secrets::Secrets,
    supervisor::restart::{Decision, History, RestartPolicy},
    worker::status::{Health, WorkerStatus},
};
use desk::Desk;
use mailroom::{MailHealth, Mailroom};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};
use tracing::{error, info, warn};
use watch::Watch;

/// What the thread is called in the supervision tree.
pub(crate) const NAME: &str = "notices";

/// The log is looked at no more often than this: nobody minds a tenth of a second, and a busy log costs less so.
const WINDOW: Duration = Duration::from_millis(100);

/// Records that are folded before anything is done about them.
const RECORDS_MAX: u64 = 16_384;

/// The fold is kept when it has gone on by so many records.
const KEEP_EVERY: u64 = 500_000;

const MAGIC: [u8; 4] = *b"LHNO";

/// Raised whenever the kept fold or its meaning changes; others are dropped.
const FORMAT: u32 = 1;

/// What the thread works with.
pub(crate) struct NoticesParts {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) clock: Clock,
    pub(crate) intake: Arc<Intake>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) policy: RestartPolicy,
    /// Where the fold is kept.
    pub(crate) kept: PathBuf,
    /// How contacts are mailed, if they are.
    pub(crate) mail: Option<MailParts>,
}

/// The way to the thread from others.
#[derive(Clone)]
pub(crate) struct Notices {
    shared: Arc<Shared>,
}

struct Shared {
    parts: NoticesParts,
    status: WorkerStatus,
    stopping: AtomicBool,
    poisoned: AtomicBool,
    revived: AtomicBool,
    mail: MailHealth,
    thread: OnceLock<Thread>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Notices {
    /// Starts the thread.
    pub(crate) fn start(parts: NoticesParts) -> Self {
        let shared = Arc::new(Shared {
            parts,
            status: WorkerStatus::default(),
            stopping: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            revived: AtomicBool::new(false),
            mail: MailHealth::default(),
            thread: OnceLock::new(),
            handle: Mutex::new(None),
        });
        let theirs = Arc::clone(&shared);
        match thread::Builder::new().name(NAME.into()).spawn(move || theirs.run()) {
            Ok(handle) => {
                let _ = shared.thread.set(handle.thread().clone());
                *shared.handle.lock() = Some(handle);
            }
            Err(error) => {
                warn!(%error, "no notices");
                shared.status.set_health(Health::Failed);
            }
        }
        Self { shared }
    }

    /// How the thread fares.
    pub(crate) fn status(&self) -> &WorkerStatus {
        &self.shared.status
    }

    /// What keeps notices from going out, if something does: (part, problem). Deliveries go on all the same.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let failed = (self.shared.status.health() == Health::Failed)
            .then(|| format!("notices are not sent; revive them at /api/actors/{NAME}/revive"));
        let mail = self.shared.mail.problem();
        failed.map(|text| (NAME, text)).into_iter().chain(mail.map(|text| ("mail", text))).collect()
    }

    /// Brings the thread back that was given up; false if it was not.
    pub(crate) fn revive(&self, by: &By) -> bool {
        if self.shared.status.health() != Health::Failed {
            return false;
        }
        self.shared.record(EngineEvent::WorkerRevived { worker: NAME.into(), by: by.clone() });
        self.shared.status.set_health(Health::Running);
        self.shared.revived.store(true, Ordering::Release);
        self.shared.wake();
        true
    }

    /// Makes the thread panic.
    #[cfg(feature = "chaos")]
    pub(crate) fn panic(&self) {
        self.shared.poisoned.store(true, Ordering::Release);
        self.shared.wake();
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(handle) = self.shared.handle.lock().take() {
            let _ = handle.join();
        }
    }
}

/// Why the thread begins anew.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Log(#[from] ReplayError),
    #[error("mails cannot be sent: {0}")]
    Mail(String),
}

impl Shared {
    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn record(&self, event: EngineEvent) {
        let NoticesParts { log, clock, .. } = &self.parts;
        if let Err(error) = codec::append(&**log, clock.now(), &Fact::Engine(event), None) {
            warn!(%error, "cannot record what happened to the notices");
        }
    }

    /// The thread's whole life.
    fn run(&self) {
        let mut history = History::default();
        while !self.is_stopping() {
            let reason = match catch_unwind(AssertUnwindSafe(|| self.follow())) {
                Ok(Ok(())) => return,
                Ok(Err(failure)) => failure.to_string(),
                Err(panic) => panics::text_of(&*panic),
            };
            self.status.set_reason(&reason);
            match history.failed(tokio::time::Instant::now(), &self.parts.policy) {
                Decision::Restart(backoff) => {
                    warn!(reason, "notices have stopped, starting again in {backoff:?}");
                    self.status.set_health(Health::Restarting);
                    let restarts = self.status.restarts.fetch_add(1, Ordering::Relaxed) + 1;
                    let backoff_ms = u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX);
                    let worker = NAME.to_owned();
                    self.record(EngineEvent::WorkerRestarted { worker, restarts, reason, backoff_ms });
                    self.nap(backoff);
                    self.status.set_health(Health::Running);
                }
                Decision::GiveUp => {
                    error!(reason, "notices failed too often, none are sent until they are revived");
                    self.status.set_health(Health::Failed);
                    self.record(EngineEvent::WorkerFailed { worker: NAME.into(), reason });
                    while !self.is_stopping() && !self.revived.swap(false, Ordering::AcqRel) {
                        thread::park();
                    }
                    history = History::default();
                }
            }
        }
    }

    fn nap(&self, time: Duration) {
        let end = Instant::now() + time;
        while !self.is_stopping() && Instant::now() < end {
            thread::park_timeout(end - Instant::now().min(end));
        }
    }

    /// Folds what is durable and acts on it, until it is told to stop.
    fn follow(&self) -> Result<(), Failure> {
        let log = &*self.parts.log;
        let follower = log.watermark().follow();
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut watch = self.restore();
        // What is owed by then may be settled further on: nothing is done before the end was seen.
        let whole = log.watermark().get();
        let mut kept = watch.position();
        let mut desk = Desk::default();
        let mut mailroom = self.parts.mail.as_ref().map(Mailroom::open).transpose().map_err(Failure::Mail)?;
        loop {
            let began = Instant::now();
            self.portion(&mut watch)?;
            if watch.position() >= next_keep(kept) {
                self.keep(&watch);
                kept = watch.position();
            }
            let mut again = None;
            if watch.position() >= whole {
                let mailroom = mailroom.as_mut().and_then(|room| room.work(&self.parts, &self.mail, &watch));
                again = desk.work(&self.parts, &watch).into_iter().chain(mailroom).min();
            }
            loop {
                if self.is_stopping() {
                    self.keep(&watch);
                    return Ok(());
                }
                assert!(!self.poisoned.swap(false, Ordering::AcqRel), "told to panic");
                let next = watch.position().next();
                let cx = &mut Context::from_waker(&waker);
                let pending = follower.poll_reached(log.watermark(), next, cx).is_pending();
                let called = mailroom.as_ref().is_some_and(Mailroom::is_called);
                let more = called || (!pending && log.watermark().get() >= next);
                let (now, window) = (Instant::now(), began + WINDOW);
                let due = if more { Some(window) } else { again.map(|at| at.max(window)) };
                match due {
                    Some(due) if now >= due => break,
                    Some(due) => thread::park_timeout(due - now),
                    None => thread::park(),
                }
            }
        }
    }

    /// Folds the next durable records.
    fn portion(&self, watch: &mut Watch) -> Result<(), ReplayError> {
        let log = &*self.parts.log;
        let is_own = |position: Position| is_operator_event(log, position);
        let from = watch.position().next().max(log.floor());
        let (mut left, mut failed) = (RECORDS_MAX, None);
        log.scan(from, &mut |record| {
            let concerns = match codec::glance(&record) {
                Glance::AttemptStarted => false,
                Glance::Accepted { event_type } => OperatorEvent::parse(event_type).is_some(),
                Glance::Other => true,
            };
            if concerns {
                match codec::decode_ref(&record) {
                    Ok(fact) => watch.evolve(record.position, record.at, &fact, &is_own),
                    Err(error) => failed = Some(error),
                }
            } else {
                watch.pass(record.position);
            }
            left -= 1;
            failed.is_none() && left > 0
        })?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn keep(&self, watch: &Watch) {
        let NoticesParts { log, kept, .. } = &self.parts;
        let stored = log.chain_hash(watch.position()).map_err(io::Error::other).and_then(|chain| {
            let content = Kept { position: watch.position(), chain, watch: watch.clone() };
            write_sealed(kept, MAGIC, FORMAT, &content)
        });
        if let Err(error) = stored {
            warn!(%error, "cannot keep how far notices are");
        }
    }

    /// The fold as it was kept, or from the beginning.
    fn restore(&self) -> Watch {
        let NoticesParts { log, kept, .. } = &self.parts;
        let content = match read_sealed::<Kept>(kept, MAGIC, FORMAT) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Watch::default(),
            Err(error) => {
                info!(%error, "notices are folded from the beginning");
                return Watch::default();
            }
        };
        let fits = content.position <= log.watermark().get()
            && log.chain_hash(content.position).is_ok_and(|chain| chain == content.chain);
        if fits { content.watch } else { Watch::default() }
    }
}

/// How far the fold goes that is kept in a file, if there is one that can be read.
pub(crate) fn kept_at(file: &Path) -> Option<Position> {
    read_sealed::<Kept>(file, MAGIC, FORMAT).ok().map(|kept| kept.position)
}

fn next_keep(last: Position) -> Position {
    Position(last.0 + KEEP_EVERY)
}

/// The fold as it is kept, with the place that it belongs to.
#[derive(Serialize, Deserialize)]
struct Kept {
    position: Position,
    chain: [u8; 32],
    watch: Watch,
}

/// Whether the accepted event at `position` is one of the engine's own.
fn is_operator_event(log: &dyn EventLog, position: Position) -> bool {
    desk::accepted_at(log, position).is_some_and(|event| OperatorEvent::parse(&event.event_type).is_some())
}
