//! How other threads reach an engine thread: its inbox, and what wakes it.

use crate::accepted::AcceptedEvent;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
};
use tokio::sync::oneshot;

/// What other threads put into a core's inbox.
pub(crate) enum Post {
    /// An accepted event whose lanes lie here.
    Event(Arc<AcceptedEvent>),
    /// Answer when everything before this has been handed to the workers.
    Barrier(oneshot::Sender<()>),
}

/// The part of a core that other threads may touch.
#[derive(Default)]
pub(crate) struct Hub {
    inbox: Mutex<Vec<Post>>,
    waker: AtomicWaker,
    awake: AtomicBool,
    /// Turns of the core's heartbeat, for the watchdog.
    pub(crate) beats: AtomicU64,
}

impl Hub {
    /// Adds to the inbox. Call [`Hub::wake`] afterwards.
    pub(crate) fn post(&self, post: Post) {
        self.inbox.lock().push(post);
    }

    /// Wakes the core, unless it has been woken and not looked yet.
    pub(crate) fn wake(&self) {
        if !self.awake.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// For the core: everything that came, and from now on `waker` is woken for more.
    pub(crate) fn collect(&self, waker: &Waker) -> Vec<Post> {
        self.waker.register(waker);
        self.awake.store(false, Ordering::Release);
        std::mem::take(&mut *self.inbox.lock())
    }
}
