//! Records that their appender writes by itself while the writer's thread sleeps.

use super::*;
use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, ThreadId},
    time::Instant,
};

/// Appends one record at a time and commits it, until `done`, each once the writer's thread sleeps.
fn commit_until(log: &SegmentLog, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    for i in 0.. {
        assert!(Instant::now() < deadline, "the writer's thread never slept");
        while !log.tail.is_asleep() && !log.watermark().failed() {
            thread::yield_now();
        }
        if done() || append_to(log, "s/0", &[numbered(i)]).is_err() {
            return;
        }
        log.commit();
    }
}

/// Whether a step is done on this thread.
fn is_on(thread: ThreadId) -> bool {
    thread::current().id() == thread
}

#[test]
fn a_commit_is_durable_when_it_answers_where_the_writer_sleeps() {
    let (here, synced) = (thread::current().id(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&synced);
    let probe = move |step| {
        count.fetch_add(usize::from(step == Step::Sync && is_on(here)), Ordering::SeqCst);
        Ok(())
    };
    // So small that commits meet segments that are full: those are the thread's to begin.
    let (log, dir) = fresh(Options { probe: Some(Arc::new(probe)), ..tiny_options() });
    let mut before = 0;
    commit_until(&log, || {
        let now = synced.load(Ordering::SeqCst);
        if now > before {
            assert_eq!(log.watermark().get(), log.tail(), "what was synced on this thread is known here");
        }
        before = now;
        now >= 100 && log.reader.segments.read().len() > 2
    });
    durable(&log);
    let all = contents(log.reader());
    assert_eq!(all.len() as u64, log.tail().0);
    drop(log);
    assert_eq!(verify(dir.path()).unwrap().problems, []);
}

#[test]
fn a_commit_whose_sync_fails_ends_the_log_as_the_thread_would() {
    for fails in [Step::FactsWritten, Step::PayloadsWritten, Step::Sync, Step::Marked] {
        let here = thread::current().id();
        let fail =
            move |step| if step == fails && is_on(here) { Err(io::Error::other("gone")) } else { Ok(()) };
        let (log, dir) = fresh(Options { probe: Some(Arc::new(fail)), ..tiny_options() });
        commit_until(&log, || log.watermark().failed());
        let acknowledged = log.watermark().get();
        assert!(log.watermark().failed() && acknowledged < log.tail(), "{fails:?}");
        assert!(matches!(append_to(&log, "s/0", &[numbered(0)]), Err(LogError::Closed { .. })));
        assert_failed_and_comes_back(log, dir.path(), acknowledged);
    }
}

#[test]
fn a_commit_that_panics_ends_the_log_as_the_thread_would() {
    let here = thread::current().id();
    let probe = move |step| {
        assert!(step != Step::Sync || !is_on(here), "on purpose");
        Ok(())
    };
    let (log, _dir) = fresh(Options { probe: Some(Arc::new(probe)), ..tiny_options() });
    let run = std::panic::AssertUnwindSafe(|| commit_until(&log, || false));
    assert!(std::panic::catch_unwind(run).is_err());
    assert!(log.watermark().failed() && log.watermark().get() < log.tail());
    assert!(log.close().is_err());
}
