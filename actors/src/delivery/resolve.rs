//! Names to addresses: one lookup at a time for each name, remembered for a moment.
//!
//! What comes back is not yet judged: the connector judges every address, at each dial, on the very address it
//! dials. So a name may lead elsewhere a moment later; no packet follows it there unjudged. A name that hangs takes one
//! of its tenant's places ([`Places`]), however many attempts wait for it, until its lookup ends: others have theirs.
//! With the system's resolver ([`SystemNames`]) it costs a thread as well, for as long as that resolver likes; name
//! servers of the operator's choice ([`NameServers`]) are asked with a deadline.

mod places;
mod servers;

pub use self::places::Places;
pub use self::servers::{NameServers, NameServersError};

use crate::domain::id::TenantId;
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

/// How long an answer of the system's resolver is reused. `getaddrinfo` tells no time to live; this only evens out
/// bursts of dials.
const ANSWER_KEPT: Duration = Duration::from_secs(5);
/// How long a lookup under way is joined: longer than the system's resolver takes to give up.
const LOOKUP_JOINED: Duration = Duration::from_secs(30);
/// How many names are remembered before old ones are swept out.
const NAMES_MAX: usize = 4096;

/// Looks names up: [`SystemNames`], or [`NameServers`].
pub trait NameLookup: Send + Sync + 'static {
    /// All addresses of a name.
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Found>>;
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its addresses, in the order to try them.
    pub addresses: Vec<IpAddr>,
    /// How long they hold.
    pub holds: Duration,
}

impl From<Vec<IpAddr>> for Found {
    /// Where no time to live is told.
    fn from(addresses: Vec<IpAddr>) -> Self {
        Self { addresses, holds: ANSWER_KEPT }
    }
}

/// The system's resolver, on the blocking pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNames;

impl NameLookup for SystemNames {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Found>> {
        async move {
            let addresses = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect::<Vec<_>>().into())
        }
        .boxed()
    }
}

/// The name has no address, or the lookup failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name does not resolve")]
pub(super) struct Unresolved;

/// Addresses, and the first instant at which they hold no more.
type Answer = Result<(Rc<[IpAddr]>, Instant), Unresolved>;

/// One arbiter's view of the names.
pub(super) struct Resolver {
    names: Arc<dyn NameLookup>,
    places: Arc<Places>,
    known: RefCell<HashMap<String, Known>>,
}

#[derive(Clone)]
struct Known {
    answer: Shared<LocalBoxFuture<'static, Answer>>,
    asked: Instant,
}

impl Known {
    /// A lookup under way is joined, an answer is good for as long as it holds, a failure for nobody else.
    fn is_good(&self) -> bool {
        match self.answer.peek() {
            None => self.asked.elapsed() < LOOKUP_JOINED,
            Some(Ok((_, until))) => Instant::now() < *until,
            Some(Err(Unresolved)) => false,
        }
    }
}

impl Resolver {
    /// `places` are those of the whole process.
    pub(super) fn new(names: Arc<dyn NameLookup>, places: Arc<Places>) -> Self {
        Self { names, places, known: RefCell::default() }
    }

    /// The addresses of a host, at least one. Waits for a place of the tenant's first, unless the name is known or
    /// being looked up: nobody waits for the share of another.
    pub(super) async fn resolve(&self, host: &str, tenant: &TenantId) -> Result<Rc<[IpAddr]>, Unresolved> {
        let answer = if let Some(answer) = self.known(host) {
            answer
        } else {
            let place = self.places.take(tenant).await;
            self.known(host).unwrap_or_else(|| self.ask(host, place))
        };
        answer.await.map(|(addresses, _)| addresses)
    }

    fn known(&self, host: &str) -> Option<Shared<LocalBoxFuture<'static, Answer>>> {
        let known = self.known.borrow();
        known.get(host).filter(|entry| entry.is_good()).map(|entry| entry.answer.clone())
    }

    fn ask(&self, host: &str, place: places::Place) -> Shared<LocalBoxFuture<'static, Answer>> {
        let mut known = self.known.borrow_mut();
        if known.len() >= NAMES_MAX {
            known.retain(|_, entry| entry.is_good());
        }
        let answer = lookup(Arc::clone(&self.names), host.to_owned(), place).boxed_local().shared();
        known.insert(host.to_owned(), Known { answer: answer.clone(), asked: Instant::now() });
        answer
    }
}

/// Goes on to its end although nobody may wait for it any more: the system's thread does so too, and gives its place
/// back then. The time of its answer counts, and not that at which somebody looks at it.
async fn lookup(names: Arc<dyn NameLookup>, host: String, place: places::Place) -> Answer {
    let looked_up = tokio::spawn(async move {
        let found = names.lookup(host).await;
        drop(place);
        found.map(|Found { addresses, holds }| (addresses, Instant::now() + holds))
    });
    match looked_up.await.unwrap_or_else(|ended| Err(io::Error::other(ended))) {
        Ok((addresses, until)) if !addresses.is_empty() => Ok((addresses.into(), until)),
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
        fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Found>> {
            let count = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            let go = Arc::clone(&self.go);
            async move {
                go.notified().await;
                match host.as_str() {
                    "gone" => Err(io::ErrorKind::NotFound.into()),
                    "empty" => Ok(vec![].into()),
                    "long" => Ok(Found {
                        addresses: vec![Ipv4Addr::new(10, 0, 0, count).into()],
                        holds: Duration::from_mins(1),
                    }),
                    _ => Ok(vec![Ipv4Addr::new(10, 0, 0, count).into()].into()),
                }
            }
            .boxed()
        }
    }

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name)
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_for_all_who_wait_and_kept_for_a_moment() {
        let names = Arc::new(Counted::default());
        let resolver = Resolver::new(names.clone(), Arc::default());
        names.go.notify_one();
        let own = tenant("a");
        let (first, second) = tokio::join!(resolver.resolve("a", &own), resolver.resolve("a", &own));
        assert_eq!(first, second);
        assert_eq!(resolver.resolve("a", &tenant("a")).await, first);
        assert_eq!(names.asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_kept_for_as_long_as_it_holds() {
        let names = Arc::new(Counted::default());
        let resolver = Resolver::new(names.clone(), Arc::default());
        let own = tenant("a");
        for (name, seconds) in [("short", 5), ("long", 60)] {
            let mut seen = vec![];
            for wait in [0, seconds - 1, 2] {
                tokio::time::advance(Duration::from_secs(wait)).await;
                names.go.notify_one();
                seen.push(resolver.resolve(name, &own).await.unwrap());
            }
            assert_eq!(seen[0], seen[1], "{name}");
            assert_ne!(seen[1], seen[2], "{name}");
            names.go.notified().now_or_never();
        }
    }

    #[tokio::test]
    async fn a_failure_is_not_remembered() {
        let names = Arc::new(Counted::default());
        let resolver = Resolver::new(names.clone(), Arc::default());
        for name in ["gone", "empty"] {
            for _ in 0..2 {
                names.go.notify_one();
                assert_eq!(resolver.resolve(name, &tenant("a")).await, Err(Unresolved));
            }
        }
        assert_eq!(names.asked.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_does_not_end_the_lookup_of_others() {
        let names = Arc::new(Counted::default());
        let resolver = Resolver::new(names.clone(), Arc::default());
        assert!(resolver.resolve("a", &tenant("a")).now_or_never().is_none());
        names.go.notify_one();
        assert!(resolver.resolve("a", &tenant("a")).await.is_ok());
        assert_eq!(names.asked.load(Ordering::Relaxed), 1);
    }

    /// **URL.13**: as many names as there are places hang, and another tenant's name is looked up all the same.
    #[tokio::test]
    async fn url_13_names_that_hang_take_the_places_of_their_tenant_only() {
        let names = Arc::new(Counted::default());
        let resolver = Resolver::new(names.clone(), Arc::default());
        let bad = tenant("bad");
        let hanging: Vec<String> = (0..200).map(|n| format!("hangs{n}")).collect();
        for name in &hanging {
            assert!(resolver.resolve(name, &bad).now_or_never().is_none());
        }
        tokio::task::yield_now().await;
        let taken = names.asked.load(Ordering::Relaxed);
        assert!((1..64).contains(&taken), "{taken} lookups of one tenant");
        assert!(resolver.resolve("good", &tenant("good")).now_or_never().is_none());
        tokio::task::yield_now().await;
        assert_eq!(names.asked.load(Ordering::Relaxed), taken + 1);
    }
}
