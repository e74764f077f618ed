//! Connections that wait for their next request, by peer; those that nobody uses are closed.

use crate::delivery::client::attempt::Peer;
use crate::delivery::client::connection::Connection;
use crate::delivery::client::reaper::Reaper;
use hashbrown::HashMap;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

/// How old a connection may become: a name that has moved is followed under load as well.
const AGE_MAX: Duration = Duration::from_secs(75);

type Idle = RefCell<HashMap<Peer, Vec<Connection>>>;

/// The idle connections of one client. As many as were ever in use at once, until their time is over.
pub(super) struct Pool {
    idle: Rc<Idle>,
    _reaper: Reaper,
}

impl Pool {
    /// Starts on the current arbiter.
    pub(super) fn start(idle_timeout: Duration) -> Self {
        let idle = Rc::new(Idle::default());
        let waiting = Rc::clone(&idle);
        Self { idle, _reaper: Reaper::start(idle_timeout, move || reap(&mut waiting.borrow_mut())) }
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

fn reap(idle: &mut HashMap<Peer, Vec<Connection>>) {
    idle.retain(|_, waiting| {
        waiting.retain(|connection| !connection.is_spent());
        !waiting.is_empty()
    });
}
