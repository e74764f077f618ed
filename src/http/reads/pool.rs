//! Threads for queries, of low priority: they use what deliveries leave, and all of it when there are none.

use rustix::{
    process::setpriority_process,
    time::{ClockId, clock_gettime},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};
use tokio::sync::oneshot;

/// Queries that run at the same time.
const THREADS: usize = 2;
/// Queries that wait for one of them.
const WAITING_MAX: usize = 1_000;
/// Next to a busy delivering thread, a thread of this niceness gets a tenth of a core.
const NICENESS: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// The threads; they end when this is dropped.
pub(super) struct Pool {
    jobs: SyncSender<Job>,
}

/// There is no answer to a query.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("too many queries wait")]
    Busy,
    /// It panicked, or its thread could not be started.
    #[error("a query panicked")]
    Lost,
}

impl Pool {
    /// Starts the threads.
    pub(super) fn new() -> Self {
        let (jobs, queue) = mpsc::sync_channel::<Job>(WAITING_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..THREADS {
            let queue = Arc::clone(&queue);
            let started = thread::Builder::new().name("reads".into()).spawn(move || work(&queue));
            if let Err(error) = started {
                tracing::error!(%error, "a thread for queries cannot be started");
            }
        }
        Self { jobs }
    }

    /// Runs a query on one of them. Answers with what it cost in CPU time.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Duration), NoAnswer> {
        let (answer, answered) = oneshot::channel();
        let job = move || {
            if answer.is_closed() {
                return; // whoever asked has gone
            }
            let before = cpu_time();
            let value = query();
            let _ = answer.send((value, cpu_time().saturating_sub(before)));
        };
        self.jobs.try_send(Box::new(job)).map_err(|refused| match refused {
            TrySendError::Full(_) => NoAnswer::Busy,
            TrySendError::Disconnected(_) => NoAnswer::Lost,
        })?;
        answered.await.map_err(|_| NoAnswer::Lost)
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    // On Linux this is about the calling thread alone. Without the right to it, queries are merely less polite.
    let _ = setpriority_process(None, NICENESS);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

/// What the calling thread has used.
fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), u32::try_from(used.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[actix_web::test]
    async fn a_query_that_panics_takes_no_other_with_it() {
        let pool = Pool::new();
        for _ in 0..2 * THREADS {
            assert!(pool.run(|| panic!("broken")).await.map(|((), _)| ()).is_err());
        }
        assert_eq!(pool.run(|| 7).await.unwrap().0, 7);
    }

    /// OVL.8: what waits for a thread has a bound, and what finds it full hears so.
    #[actix_web::test]
    async fn more_queries_than_may_wait_are_refused() {
        let pool = Pool::new();
        let (go, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        let mut answers: Vec<_> = (0..THREADS + WAITING_MAX + 10)
            .map(|_| {
                let wait = Arc::clone(&wait);
                Box::pin(pool.run(move || wait.lock().unwrap().recv().is_ok()))
            })
            .collect();
        let refused = answers.iter_mut().filter_map(FutureExt::now_or_never).map(|answer| {
            assert_eq!(answer.unwrap_err(), NoAnswer::Busy);
        });
        assert!((10..=10 + THREADS).contains(&refused.count()));
        drop(go);
    }
}
