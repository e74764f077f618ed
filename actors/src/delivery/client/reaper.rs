//! Closes connections that nobody uses, even if nobody asks for their host again.

use std::time::Duration;
use tokio::task::JoinHandle;

/// Looks after the connections of one client; stops when it is dropped.
pub(super) struct Reaper(JoinHandle<()>);

impl Reaper {
    /// Starts on the current arbiter; has `reap` look around four times an idle period.
    pub(super) fn start(idle_timeout: Duration, reap: impl Fn() + 'static) -> Self {
        let pause = (idle_timeout / 4).clamp(Duration::from_millis(50), Duration::from_secs(1));
        Self(actix_rt::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                reap();
            }
        }))
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.0.abort();
    }
}
