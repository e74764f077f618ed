//! The guarded connections, which awc keeps to itself: those that nobody uses are closed here.

use super::guard::Guarded;
use crate::delivery::client::reaper::Reaper;
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::Duration;

type Guards = RefCell<Vec<Weak<RefCell<Guarded>>>>;

/// All connections of one client.
pub(super) struct Watched {
    guards: Rc<Guards>,
    _reaper: Reaper,
}

impl Watched {
    /// Starts on the current arbiter.
    pub(super) fn start(idle_timeout: Duration) -> Self {
        let guards = Rc::new(Guards::default());
        let watched = Rc::clone(&guards);
        Self { guards, _reaper: Reaper::start(idle_timeout, move || reap(&watched)) }
    }

    pub(super) fn add(&self, connection: &Rc<RefCell<Guarded>>) {
        self.guards.borrow_mut().push(Rc::downgrade(connection));
    }
}

fn reap(guards: &Guards) {
    guards.borrow_mut().retain(|connection| {
        let Some(connection) = connection.upgrade() else { return false };
        let connection = &mut connection.borrow_mut().connection;
        let spent = connection.is_spent();
        if spent {
            connection.close();
        }
        !spent
    });
}
