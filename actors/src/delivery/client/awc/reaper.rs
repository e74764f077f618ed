//! Closes connections that nobody uses, even if nobody asks for their host again.

use super::guard::Guarded;
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::Duration;

type Watched = RefCell<Vec<Weak<RefCell<Guarded>>>>;

/// Watches the connections of one client; stops when it is dropped.
pub(super) struct Reaper {
    watched: Rc<Watched>,
    task: tokio::task::JoinHandle<()>,
}

impl Reaper {
    /// Starts on the current arbiter; looks around four times an idle period.
    pub(super) fn start(idle_timeout: Duration) -> Self {
        let watched = Rc::new(Watched::default());
        let pause = (idle_timeout / 4).clamp(Duration::from_millis(50), Duration::from_secs(1));
        let task = actix_rt::spawn({
            let watched = Rc::clone(&watched);
            async move {
                loop {
                    tokio::time::sleep(pause).await;
                    reap(&watched);
                }
            }
        });
        Self { watched, task }
    }

    pub(super) fn watch(&self, connection: &Rc<RefCell<Guarded>>) {
        self.watched.borrow_mut().push(Rc::downgrade(connection));
    }
}

fn reap(watched: &Watched) {
    watched.borrow_mut().retain(|connection| {
        let Some(connection) = connection.upgrade() else { return false };
        let connection = &mut connection.borrow_mut().connection;
        let spent = connection.is_spent();
        if spent {
            connection.close();
        }
        !spent
    });
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.task.abort();
    }
}
