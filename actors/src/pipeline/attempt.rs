//! One HTTP attempt: a task of its own, which always tells how it ended.

use crate::{
    clock,
    core::Core,
    delivery::{Exchange, retry_after as header},
    domain::{
        event::{AttemptId, Outcome, Queue},
        id::{DeliveryId, PipelineId},
        outcome::OutcomeClass,
        step::PipelineConfig,
    },
    failpoint, panics,
    request::{AttemptInput, Built, Event, Payload},
};
use actix::{Message, Recipient};
use bytes::Bytes;
use futures_util::FutureExt;
use std::{cell::RefCell, panic::AssertUnwindSafe, rc::Rc, sync::Arc, time::Duration};
use tokio::task::AbortHandle;

/// Attempts have ended; [`Endings`] holds them.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct AttemptsEnded;

/// An attempt's task is over.
pub(super) struct Ended {
    pub(super) attempt: AttemptId,
    pub(super) result: Result<Exchange, Lost>,
}

/// An attempt's task ended without a result.
pub(super) struct Lost {
    pub(super) panic: String,
}

/// Attempts of one life of a worker that have ended, until it looks at them: all that end in one turn of the thread
/// are one message, and so one turn and one append of the worker. Nobody looks at those of a former life: its attempts
/// were abandoned (SUP.9).
pub(super) struct Endings {
    ended: RefCell<Vec<Ended>>,
    worker: Recipient<AttemptsEnded>,
}

impl Endings {
    pub(super) fn new(worker: Recipient<AttemptsEnded>) -> Rc<Self> {
        Rc::new(Self { ended: RefCell::default(), worker })
    }

    pub(super) fn report(&self, ended: Ended) {
        let mut all = self.ended.borrow_mut();
        if all.is_empty() {
            self.worker.do_send(AttemptsEnded);
        }
        all.push(ended);
    }

    pub(super) fn take(&self) -> Vec<Ended> {
        self.ended.take()
    }
}

/// What an attempt needs, by value: it outlives every turn of its worker.
pub(super) struct Job {
    pub(super) core: Rc<Core>,
    pub(super) pipeline: PipelineId,
    pub(super) pinned: Arc<PipelineConfig>,
    pub(super) live: Arc<PipelineConfig>,
    pub(super) attempt: AttemptId,
    pub(super) step: u16,
    pub(super) queue: Queue,
    pub(super) other_key: bool,
}

/// Reports the end of an attempt, whatever ended it: a result, a panic, or the task being dropped.
pub(super) struct Ticket {
    attempt: AttemptId,
    endings: Rc<Endings>,
    used: bool,
}

impl Ticket {
    pub(super) fn new(attempt: AttemptId, endings: Rc<Endings>) -> Self {
        Self { attempt, endings, used: false }
    }

    fn report(&mut self, result: Result<Exchange, Lost>) {
        self.used = true;
        self.endings.report(Ended { attempt: self.attempt, result });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.used {
            self.report(Err(Lost { panic: "the attempt's task was dropped".into() }));
        }
    }
}

/// Starts the exchange on this thread.
pub(super) fn spawn(job: Job, mut ticket: Ticket) -> AbortHandle {
    let under_way = job.core.begin_attempt();
    actix_rt::spawn(async move {
        let _under_way = under_way;
        failpoint::hand_over("attempt.start").await;
        let result = AssertUnwindSafe(exchange(job)).catch_unwind().await;
        failpoint::hand_over("attempt.report").await;
        ticket.report(result.map_err(|panic| Lost { panic: panics::text_of(&*panic) }));
    })
    .abort_handle()
}

async fn exchange(job: Job) -> Exchange {
    failpoint::hit("attempt.task");
    let event = match job.core.event(job.attempt.event) {
        Ok(event) => event,
        Err(problem) => return unbuilt(problem),
    };
    if job.core.erased.covers(&event.tenant, job.attempt.event) {
        return unbuilt("the event's data was erased".to_owned());
    }
    let published = job.core.published.load_full();
    let found = published.catalog.tenant(&event.tenant);
    let Some((tenant, profile)) = found.zip(published.router.profile(&event.tenant)) else {
        return unbuilt("the tenant is gone".to_owned());
    };
    let built = job.core.builder.build(&AttemptInput {
        profile,
        tenant,
        pipeline: &job.pipeline,
        delivery: &DeliveryId::text(job.attempt.event, &job.pipeline),
        pinned: &job.pinned,
        live: &job.live,
        step: job.step,
        queue: job.queue,
        round: job.attempt.round,
        number: job.attempt.number,
        other_key: job.other_key,
        payload: Payload::Event(Event {
            id: &event.accepted.id,
            event_type: &event.accepted.event_type,
            moment: event.accepted.moment(event.at),
            body: &event.body,
        }),
        // Receivers compare the signature's time with their own clocks, so it is the wall clock as it is.
        now: clock::wall(),
    });
    match built {
        Ok(Built { request, secrets }) => {
            let exchange = job.core.transport.send(request).await;
            Exchange { excerpt: secrets.hide_in(exchange.excerpt), ..exchange }
        }
        Err(error) => unbuilt(error.to_string()),
    }
}

/// No byte left: the request could not be built.
fn unbuilt(detail: String) -> Exchange {
    let (class, timings) = (OutcomeClass::TemplateError, crate::delivery::Timings::default());
    Exchange { class, status: None, retry_after: None, excerpt: Bytes::new(), detail, timings }
}

/// The outcome as the log keeps it, and the excerpt that goes beside it.
pub(super) fn outcome(exchange: Exchange) -> (Outcome, Option<Bytes>) {
    let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    let t = exchange.timings;
    let outcome = Outcome {
        class: exchange.class,
        status: exchange.status,
        detail: exchange.detail.into(),
        phases_us: [t.dns, t.connect, t.tls, t.first_byte, t.body].map(|phase| phase.map(micros)),
        total_us: micros(t.total),
    };
    (outcome, (!exchange.excerpt.is_empty()).then_some(exchange.excerpt))
}

/// How long the receiver asked us to wait, if it said so in a way that can be read (RCV.8).
pub(super) fn retry_after(exchange: &Exchange) -> Option<Duration> {
    header::parse(exchange.retry_after.as_deref()?, clock::wall())
}
