//! Threads for queries, of low priority: they use what deliveries leave, and all of it when there are none.

use rustix::{
    process::setpriority_process,
    time::{ClockId, clock_gettime},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};
use tokio::sync::oneshot;

/// Queries that run at the same time.
const THREADS: usize = 2;
/// Next to a busy delivering thread, a thread of this niceness gets a tenth of a core.
const NICENESS: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// The threads; they end when this is dropped.
pub(super) struct Pool {
    jobs: Sender<Job>,
}

/// A query was lost: it panicked, or its thread could not be started.
#[derive(Debug, thiserror::Error)]
#[error("a query panicked")]
pub(super) struct Lost;

impl Pool {
    /// Starts the threads.
    pub(super) fn new() -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
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
    ) -> Result<(T, Duration), Lost> {
        let (answer, answered) = oneshot::channel();
        let job = move || {
            if answer.is_closed() {
                return; // whoever asked has gone
            }
            let before = cpu_time();
            let value = query();
            let _ = answer.send((value, cpu_time().saturating_sub(before)));
        };
        self.jobs.send(Box::new(job)).map_err(|_| Lost)?;
        answered.await.map_err(|_| Lost)
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

    #[actix_web::test]
    async fn a_query_that_panics_takes_no_other_with_it() {
        let pool = Pool::new();
        for _ in 0..2 * THREADS {
            assert!(pool.run(|| panic!("broken")).await.map(|((), _)| ()).is_err());
        }
        assert_eq!(pool.run(|| 7).await.unwrap().0, 7);
    }
}
