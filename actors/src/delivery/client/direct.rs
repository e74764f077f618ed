//! Carries attempts on connections of our own: one buffer to write, one strict parser to read, nothing in between.

mod pool;

use self::pool::Pool;
use super::attempt::{Attempt, Failure};
use super::connection::{Connection, Ended};
use super::dialer::Dialer;
use super::excerpt::Excerpt;
use super::{Carry, ClientConfig};
use std::future::poll_fn;
use std::rc::Rc;

/// A dialer, and the connections that wait for their next request.
pub(super) struct Direct {
    dialer: Dialer,
    pool: Pool,
}

impl Direct {
    /// # Panics
    /// Outside of an arbiter, which has to run the task that closes idle connections.
    pub(super) fn new(config: &ClientConfig) -> Self {
        Self { dialer: Dialer::new(config), pool: Pool::start(config.idle_timeout) }
    }

    async fn connection(&self, attempt: &Attempt) -> Result<Connection, Failure> {
        match poll_fn(|cx| std::task::Poll::Ready(self.pool.take(&attempt.peer, cx))).await {
            Some(connection) => Ok(connection),
            // Rare, and larger than all the rest of an attempt: it has memory of its own.
            None => Box::pin(self.dialer.open(attempt)).await,
        }
    }
}

impl Carry for Direct {
    async fn carry(&self, attempt: &Rc<Attempt>, excerpt: &mut Excerpt) {
        match self.connection(attempt).await {
            Err(failure) => attempt.fail(failure),
            Ok(mut connection) => {
                connection.begin(Rc::clone(attempt));
                // A connection that is dropped is closed: with the attempt at its deadline, too.
                if let Ok(Whole) = exchange(&mut connection, excerpt).await {
                    self.pool.put(&attempt.peer, connection);
                }
            }
        }
    }
}

/// The answer was read to its end.
struct Whole;

async fn exchange(connection: &mut Connection, excerpt: &mut Excerpt) -> Result<Whole, Ended> {
    poll_fn(|cx| connection.poll_send(cx)).await?;
    poll_fn(|cx| connection.poll_head(cx)).await?;
    while let Some(part) = poll_fn(|cx| connection.poll_body(cx)).await? {
        if !excerpt.take(&part) {
            return Err(Ended);
        }
    }
    Ok(Whole)
}
