//! Mails that are owed, one at a time: composes, hands over to the thread that blocks, and writes down what went out.

use super::{
    NoticesParts,
    desk::accepted_at,
    letter::{Head, compose},
    notice::Notice,
    outbox::{Due, Pace},
    post::{Letter, MailConfig, Post, Undelivered},
    watch::{Account, Watch},
};
use crate::{
    delivery::target::EgressPolicy,
    domain::{
        event::{Fact, TenantEvent},
        id::TenantId,
    },
    failpoint,
    log::{Position, codec},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};
use tracing::{debug, warn};

/// First wait when the server is away; doubles up to [`AWAY_MAX`].
const AWAY: Duration = Duration::from_secs(1);
const AWAY_MAX: Duration = Duration::from_mins(5);

/// Wait for a tenant whose mail was refused; doubles up to [`REFUSED_MAX`].
const REFUSED: Duration = Duration::from_mins(1);
const REFUSED_MAX: Duration = Duration::from_hours(1);

/// What went out and could not be written down yet is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// What the mails need beside the rest.
pub(crate) struct MailParts {
    pub(crate) config: MailConfig,
    pub(crate) egress: EgressPolicy,
    /// PEM files with roots beside the system's.
    pub(crate) roots: Vec<PathBuf>,
}

/// What is wrong with the mails, for the health answer.
#[derive(Default)]
pub(super) struct MailHealth {
    server: Mutex<Option<String>>,
}

impl MailHealth {
    pub(super) fn problem(&self) -> Option<String> {
        self.server.lock().clone()
    }
}

/// See the module.
pub(super) struct Mailroom {
    from: String,
    reply_to: Option<String>,
    pace: Pace,
    jobs: SyncSender<Letter>,
    answers: Receiver<Result<(), Undelivered>>,
    /// Set when an answer is there.
    answered: Arc<AtomicBool>,
    /// On its way, with the fact that will say so.
    under_way: Option<(TenantId, TenantEvent)>,
    /// Went out, and is to be written down.
    unwritten: Option<(TenantId, TenantEvent)>,
    /// Written down here, and not yet seen in the log.
    written: HashMap<TenantId, Position>,
    /// The server is left alone until then.
    away: Rest,
    /// Tenants that are left alone until then.
    refused: HashMap<TenantId, Rest>,
}

/// The thread that sends, towards the one that waits for it.
struct Clerk {
    answer: Option<SyncSender<Result<(), Undelivered>>>,
    rung: Arc<AtomicBool>,
    caller: Thread,
}

impl Clerk {
    /// Tells what became of a letter; false if nobody listens any more.
    fn tell(&mut self, outcome: Result<(), Undelivered>) -> bool {
        let heard = self.answer.as_ref().is_some_and(|answer| answer.send(outcome).is_ok());
        self.ring();
        heard
    }

    fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.caller.unpark();
    }
}

impl Drop for Clerk {
    /// The end of the thread is an answer too, a panic's above all.
    fn drop(&mut self) {
        self.answer = None;
        self.ring();
    }
}

/// A wait that grows with each failure.
#[derive(Clone, Copy, Default)]
struct Rest {
    until: Option<Instant>,
    failures: u32,
}

impl Rest {
    fn longer(&mut self, first: Duration, most: Duration) -> Duration {
        let wait = first.saturating_mul(1 << self.failures.min(16)).min(most);
        self.failures += 1;
        self.until = Some(Instant::now() + wait);
        wait
    }

    fn left(&self) -> Option<Instant> {
        self.until.filter(|until| *until > Instant::now())
    }
}

impl Mailroom {
    /// Starts the thread that sends; it wakes the calling thread with each answer, and ends with this.
    pub(super) fn open(parts: &MailParts) -> Result<Self, String> {
        let MailParts { config, egress, roots } = parts;
        let post = Post::new(config.sink.clone(), egress.clone(), roots)?;
        let (jobs, letters) = sync_channel::<Letter>(1);
        let (answer, answers) = sync_channel(1);
        let answered = Arc::<AtomicBool>::default();
        let mut clerk =
            Clerk { answer: Some(answer), rung: Arc::clone(&answered), caller: thread::current() };
        let send = move || letters.into_iter().all(|letter| clerk.tell(post.send(&letter)));
        thread::Builder::new().name("mail".into()).spawn(send).map_err(|error| error.to_string())?;
        Ok(Self {
            from: config.from.clone(),
            reply_to: config.reply_to.clone(),
            pace: config.pace,
            jobs,
            answers,
            answered,
            under_way: None,
            unwritten: None,
            written: HashMap::new(),
            away: Rest::default(),
            refused: HashMap::new(),
        })
    }

    /// Whether an answer waits to be heard.
    pub(super) fn is_called(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    /// Does what can be done now; when to come back, if not for a new record or an answer.
    pub(super) fn work(
        &mut self,
        parts: &NoticesParts,
        health: &MailHealth,
        watch: &Watch,
    ) -> Option<Instant> {
        self.written.retain(|_, position| *position > watch.position());
        self.hear(health);
        if !self.write_down(parts) {
            return Some(Instant::now() + RETRY);
        }
        if self.under_way.is_some() {
            return None;
        }
        self.next(parts, health, watch)
    }

    fn hear(&mut self, health: &MailHealth) {
        self.answered.store(false, Ordering::Release);
        let answer = match self.answers.try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => panic!("the thread that sends mails has ended"),
        };
        let Some((tenant, told)) = self.under_way.take() else { return };
        match answer {
            Ok(()) => {
                debug!(tenant.id = %tenant, "a mail went out");
                *health.server.lock() = None;
                self.away = Rest::default();
                self.refused.remove(&tenant);
                self.unwritten = Some((tenant, told));
            }
            Err(Undelivered::Server(problem)) => {
                let wait = self.away.longer(AWAY, AWAY_MAX);
                warn!(problem, "no mail goes out, trying again in {wait:?}");
                *health.server.lock() = Some(problem);
            }
            Err(Undelivered::Refused(problem)) => {
                *health.server.lock() = None;
                self.away = Rest::default();
                let wait = self.refused.entry(tenant.clone()).or_default().longer(REFUSED, REFUSED_MAX);
                warn!(tenant.id = %tenant, problem, "a mail is not taken, trying again in {wait:?}");
            }
        }
    }

    fn write_down(&mut self, parts: &NoticesParts) -> bool {
        let Some((tenant, told)) = self.unwritten.take() else { return true };
        failpoint::hit("notices.mailed");
        let fact = Fact::Tenant(tenant.clone(), told.clone());
        match codec::append(&*parts.log, parts.clock.now(), &fact, None) {
            Ok(appended) => {
                self.written.insert(tenant, appended.last);
                true
            }
            Err(error) => {
                warn!(%error, "cannot write down that a mail went out");
                self.unwritten = Some((tenant, told));
                false
            }
        }
    }

    /// Hands the next letter over.
    fn next(&mut self, parts: &NoticesParts, health: &MailHealth, watch: &Watch) -> Option<Instant> {
        let mut again: Option<Instant> = None;
        let mut owed = false;
        let now = parts.clock.now();
        for (tenant, account) in watch.outboxes() {
            owed = true;
            if self.written.contains_key(tenant) {
                continue; // its outbox still holds what was told just now
            }
            let due = account.outbox.due(now, self.pace);
            let rest = self.away.left().or_else(|| self.refused.get(tenant).and_then(Rest::left));
            let later = match (&due, rest) {
                (_, Some(rest)) => Some(rest),
                (Err(at), None) => at.map(|at| Instant::now() + at.since(now)),
                (Ok(_), None) => None,
            };
            if let Some(later) = later {
                again = Some(again.map_or(later, |earliest| earliest.min(later)));
            } else if let Ok(due) = due {
                self.hand_over(parts, tenant, account, &due);
                return again;
            }
        }
        if !owed {
            // Nothing is left to be sent: nothing keeps failing.
            *health.server.lock() = None;
        }
        again
    }

    fn hand_over(&mut self, parts: &NoticesParts, tenant: &TenantId, account: &Account, due: &Due<'_>) {
        let tag = parts.secrets.tag(&format!("mail/{tenant}/{}/{}", due.through, due.beyond));
        let id = format!("notice-{}-{tag}", due.through);
        let head = Head {
            from: &self.from,
            reply_to: self.reply_to.as_deref(),
            to: &account.contacts,
            tenant,
            name: &account.name,
            now: parts.clock.now(),
            id: &id,
        };
        let subject = |notice: &Notice| accepted_at(&*parts.log, notice.what.subject()?);
        let bytes = match compose(&head, due, &subject) {
            Ok(bytes) => bytes,
            Err(error) => {
                let wait = self.refused.entry(tenant.clone()).or_default().longer(REFUSED, REFUSED_MAX);
                warn!(tenant.id = %tenant, %error, "no mail, trying again in {wait:?}");
                return;
            }
        };
        let told =
            TenantEvent::NoticesMailed { through: due.through, digest: due.digest, beyond: due.beyond };
        let letter = Letter { id, from: self.from.clone(), to: account.contacts.clone(), bytes };
        assert!(self.jobs.try_send(letter).is_ok(), "the thread that sends mails has ended");
        self.under_way = Some((tenant.clone(), told));
    }
}
