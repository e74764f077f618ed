//! Carries attempts with awc, made safe: every byte in either direction passes a guard.
//!
//! awc keeps the pool of connections and streams the answers. It is asked to `GET` the number of a ticket from an
//! authority that stands for the peer: what the request looks like, and what counts as an answer, the guard's
//! connection knows.

mod connector;
mod desk;
mod guard;
mod relay;
mod watched;

use self::connector::{Connector, Parts, authority};
use self::desk::Desk;
use self::watched::Watched;
use super::attempt::Attempt;
use super::dialer::Dialer;
use super::excerpt::Excerpt;
use super::{Carry, ClientConfig};
use futures_util::StreamExt;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tracing::debug;

/// awc never forgets a host that it once dialled; after so many dials we begin with a new pool.
const DIALS_PER_POOL: u64 = 16_384;
/// awc's own timeouts are out of the way: the attempt's deadline rules.
const NEVER: Duration = Duration::from_hours(48);

/// awc, and what it is made safe with.
pub(super) struct Awc {
    client: RefCell<awc::Client>,
    parts: Rc<Parts>,
}

impl Awc {
    /// # Panics
    /// Outside of an arbiter, which has to run the task that closes idle connections.
    pub(super) fn new(config: &ClientConfig) -> Self {
        let parts = Rc::new(Parts {
            dialer: Dialer::new(config),
            desk: Rc::new(Desk::default()),
            watched: Watched::start(config.idle_timeout),
            opened: Cell::default(),
        });
        Self { client: RefCell::new(client(&parts)), parts }
    }

    fn client(&self) -> awc::Client {
        if self.parts.opened.get() >= DIALS_PER_POOL {
            self.parts.opened.set(0);
            self.client.replace(client(&self.parts));
        }
        self.client.borrow().clone()
    }
}

fn client(parts: &Rc<Parts>) -> awc::Client {
    let connector = awc::Connector::new()
        .connector(Connector(Rc::clone(parts)))
        .limit(0) // the engine bounds concurrency for each endpoint; awc would bound it over all of them
        .timeout(NEVER)
        .conn_keep_alive(NEVER); // the connection and its watcher know better
    awc::Client::builder()
        .connector(connector)
        .disable_redirects()
        .disable_timeout()
        .no_default_headers()
        .finish()
}

impl Carry for Awc {
    async fn carry(&self, attempt: &Rc<Attempt>, excerpt: &mut Excerpt) {
        let ticket = self.parts.desk.issue(Rc::clone(attempt));
        let uri = format!("http://{}/{}", authority(&attempt.peer), ticket.number);
        let request = self.client().get(uri);
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return debug!(%error, "no answer"),
        };
        while let Some(Ok(bytes)) = answer.next().await {
            if !excerpt.take(&bytes) {
                return; // dropping an unfinished answer closes its connection
            }
        }
    }
}
