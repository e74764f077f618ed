//! Connections that wait for their next request, by peer; those that nobody uses are closed.

use crate::delivery::client::attempt::Peer;
use crate::delivery::client::connection::Connection;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How old a connection may become: a name that has moved is followed under load as well.
const AGE_MAX: Duration = Duration::from_secs(75);

type Idle = RefCell<HashMap<Peer, Vec<Connection>>>;

/// The idle connections of one client. As many as were ever in use at once, until their time is over.
pub(super) struct Pool {
    idle: Rc<Idle>,
    reaper: JoinHandle<()>,
}

impl Pool {
    /// Starts on the current arbiter; looks four times an idle period for connections to close.
    pub(super) fn start(idle_timeout: Duration) -> Self {
        let idle = Rc::new(Idle::default());
        let pause = (idle_timeout / 4).clamp(Duration::from_millis(50), Duration::from_secs(1));
        let reaper = actix_rt::spawn({
            let idle = Rc::clone(&idle);
            async move {
                loop {
                    tokio::time::sleep(pause).await;
                    reap(&mut idle.borrow_mut());
                }
            }
        });
        Self { idle, reaper }
    }

    /// The connection to this peer that was used last, if one is good for another request.
    pub(super) fn take(&self, peer: &Peer, cx: &mut Context<'_>) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let waiting = idle.get_mut(peer)?;
        std::iter::from_fn(|| waiting.pop())
            .find_map(|mut connection| connection.is_fresh(cx).then_some(connection))
    }

    /// Keeps a connection whose exchange is over, if it may carry another.
    pub(super) fn put(&self, peer: &Peer, connection: Connection) {
        if !connection.is_open() || connection.age() >= AGE_MAX {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        match idle.get_mut(peer) {
            Some(waiting) => waiting.push(connection),
            None => drop(idle.insert(peer.clone(), vec![connection])),
        }
    }
}

#[expect(clippy::mutable_key_type, reason = "peers are told apart by names and numbers alone")]
fn reap(idle: &mut HashMap<Peer, Vec<Connection>>) {
    idle.retain(|_, waiting| {
        waiting.retain(|connection| !connection.is_spent());
        !waiting.is_empty()
    });
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.reaper.abort();
    }
}
