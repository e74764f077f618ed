//! Names to addresses: one lookup at a time for each name, remembered for a moment.
//!
//! What comes back is not yet judged: the connector judges every address, at each dial, on the very address it
//! dials. A name that hangs costs one thread of the blocking pool, however many attempts wait for it.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, LocalBoxFuture, Shared};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::debug;

/// How long an answer is reused. `getaddrinfo` tells no time to live; this only evens out bursts of dials.
const ANSWER_KEPT: Duration = Duration::from_secs(5);
/// How long a lookup under way is joined: longer than the system's resolver takes to give up.
const LOOKUP_JOINED: Duration = Duration::from_secs(30);
/// How many names are remembered before old ones are swept out.
const NAMES_MAX: usize = 4096;

/// Looks names up. [`SystemNames`] outside of tests.
pub trait NameLookup: Send + Sync + 'static {
    /// All addresses of a name, in the order to try them.
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver, on the blocking pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNames;

impl NameLookup for SystemNames {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        async move {
            let addresses = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        }
        .boxed()
    }
}

/// The name has no address, or the lookup failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name does not resolve")]
pub(super) struct Unresolved;

type Answer = Result<Rc<[IpAddr]>, Unresolved>;

/// One arbiter's view of the names.
pub(super) struct Resolver {
    names: Arc<dyn NameLookup>,
    known: RefCell<HashMap<String, Known>>,
}

#[derive(Clone)]
struct Known {
    answer: Shared<LocalBoxFuture<'static, Answer>>,
    asked: Instant,
}

impl Known {
    /// A lookup under way is joined, an answer is good for a moment, a failure for nobody else.
    fn is_good(&self) -> bool {
        match self.answer.peek() {
            None => self.asked.elapsed() < LOOKUP_JOINED,
            Some(Ok(_)) => self.asked.elapsed() < ANSWER_KEPT,
            Some(Err(Unresolved)) => false,
        }
    }
}

impl Resolver {
    pub(super) fn new(names: Arc<dyn NameLookup>) -> Self {
        Self { names, known: RefCell::default() }
    }

    /// The addresses of a host, at least one.
    pub(super) async fn resolve(&self, host: &str) -> Answer {
        let answer = self.ask(host);
        answer.await
    }

    fn ask(&self, host: &str) -> Shared<LocalBoxFuture<'static, Answer>> {
        let mut known = self.known.borrow_mut();
        if let Some(entry) = known.get(host).filter(|entry| entry.is_good()) {
            return entry.answer.clone();
        }
        if known.len() >= NAMES_MAX {
            known.retain(|_, entry| entry.is_good());
        }
        let answer = lookup(Arc::clone(&self.names), host.to_owned()).boxed_local().shared();
        known.insert(host.to_owned(), Known { answer: answer.clone(), asked: Instant::now() });
        answer
    }
}

async fn lookup(names: Arc<dyn NameLookup>, host: String) -> Answer {
    match names.lookup(host).await {
        Ok(addresses) if !addresses.is_empty() => Ok(addresses.into()),
        Ok(_) => Err(Unresolved),
        Err(error) => {
            debug!(%error, "name lookup failed");
            Err(Unresolved)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicU8, Ordering};
    use tokio::sync::Notify;

    /// Answers 10.0.0.1, 10.0.0.2 … once it is let go; fails for `gone`.
    #[derive(Default)]
    struct Counted {
        asked: AtomicU8,
        go: Arc<Notify>,
    }

    impl NameLookup for Counted {
        fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            let count = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            let go = Arc::clone(&self.go);
            async move {
                go.notified().await;
                match host.as_str() {
                    "gone" => Err(io::ErrorKind::NotFound.into()),
                    "empty" => Ok(vec![]),
                    _ => Ok(vec![Ipv4Addr::new(10, 0, 0, count).into()]),
                }
            }
            .boxed()
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_for_all_who_wait_and_kept_for_a_moment() {
        let names = Arc::new(Counted::default());
        let resolver = Resolver::new(names.clone());
        names.go.notify_one();
        let (first, second) = tokio::join!(resolver.resolve("a"), resolver.resolve("a"));
        assert_eq!(first, second);
        assert_eq!(resolver.resolve("a").await, first);
        assert_eq!(names.asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_failure_is_not_remembered() {
        let names = Arc::new(Counted::default());
        let resolver = Resolver::new(names.clone());
        for name in ["gone", "empty"] {
            for _ in 0..2 {
                names.go.notify_one();
                assert_eq!(resolver.resolve(name).await, Err(Unresolved));
            }
        }
        assert_eq!(names.asked.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_does_not_end_the_lookup_of_others() {
        let names = Arc::new(Counted::default());
        let resolver = Resolver::new(names.clone());
        assert!(resolver.resolve("a").now_or_never().is_none());
        names.go.notify_one();
        assert!(resolver.resolve("a").await.is_ok());
        assert_eq!(names.asked.load(Ordering::Relaxed), 1);
    }
}
