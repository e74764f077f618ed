//! How handlers ask the read models: fresh, off the delivering threads, and within a share of time a key.
//!
//! A query may look at thousands of rows. It runs on a thread of low priority, and what it cost is taken from an
//! account that fills at a fixed rate: whoever hammers lists waits, and deliveries do not (OVL.6).

mod pool;

use super::{
    body::{List, Success, cursor},
    error::{ApiError, ApiResult},
    query::{Query, Reader},
};
use actix_web::http::StatusCode;
use ledgerhook_actors::{
    domain::id::KeyId,
    projections::{Page, PageRequest, ProjectionError, Projections},
};
use pool::{NoAnswer, Pool};
use serde::Serialize;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// CPU seconds of reading that a key may save up, and what it gets each second.
const SAVED_MAX: f64 = 30.0;
const SHARE: f64 = 0.5;
/// What a request costs beside its query.
const REQUEST_COST: f64 = 0.000_2;
/// Keys that are remembered; beyond it those that are full again are forgotten.
const KEYS_MAX: usize = 10_000;

/// The read models, as handlers see them.
pub(crate) struct Reads {
    projections: Projections,
    pool: Pool,
    accounts: Mutex<HashMap<KeyId, Account>>,
}

/// Seconds of reading that a key has left.
#[derive(Clone, Copy, Debug)]
struct Account {
    left: f64,
    at: Instant,
}

impl Account {
    fn filled(self, now: Instant) -> f64 {
        (self.left + now.saturating_duration_since(self.at).as_secs_f64() * SHARE).min(SAVED_MAX)
    }
}

impl Reads {
    /// Once per server.
    pub(crate) fn new(projections: Projections) -> Self {
        Self { projections, pool: Pool::new(), accounts: Mutex::default() }
    }

    /// Waits until everything that is durable now is seen, and runs a query.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        key: &KeyId,
        query: impl FnOnce(&Projections) -> Result<T, ProjectionError> + Send + 'static,
    ) -> ApiResult<T> {
        self.admit(key, Instant::now())?;
        self.projections.fresh().await?;
        let projections = self.projections.clone();
        let answer = self.pool.run(move || query(&projections)).await;
        let (answer, cost) = answer.map_err(|error| match error {
            NoAnswer::Busy => {
                let (status, wait) = (StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(1));
                ApiError::later(status, "reads_busy", error.to_string(), wait)
            }
            NoAnswer::Lost => ApiError::internal(&error),
        })?;
        self.draw(key, cost.as_secs_f64(), Instant::now());
        Ok(answer?)
    }

    /// Refuses a key whose account is overdrawn.
    fn admit(&self, key: &KeyId, now: Instant) -> ApiResult<()> {
        let left = self.draw(key, REQUEST_COST, now);
        if left >= 0.0 {
            return Ok(());
        }
        self.draw(key, -REQUEST_COST, now);
        let detail = "this key has used up its share of reading time";
        let wait = Duration::from_secs_f64(REQUEST_COST - left).div_f64(SHARE).max(Duration::from_secs(1));
        Err(ApiError::later(StatusCode::TOO_MANY_REQUESTS, "too_many_reads", detail, wait))
    }

    /// Takes from an account, and answers what is left in it.
    fn draw(&self, key: &KeyId, seconds: f64, now: Instant) -> f64 {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= KEYS_MAX && !accounts.contains_key(key) {
            accounts.retain(|_, account| account.filled(now) < SAVED_MAX);
        }
        let account = accounts.entry(key.clone()).or_insert(Account { left: SAVED_MAX, at: now });
        *account = Account { left: account.filled(now) - seconds, at: now };
        account.left
    }
}

impl From<ProjectionError> for ApiError {
    fn from(error: ProjectionError) -> Self {
        let later = |code, detail: String, seconds| {
            Self::later(StatusCode::SERVICE_UNAVAILABLE, code, detail, Duration::from_secs(seconds))
        };
        match error {
            ProjectionError::Rebuilding { .. } | ProjectionError::Behind { .. } => {
                later("rebuilding", error.to_string(), 2)
            }
            ProjectionError::Log(error) => error.into(),
            error => {
                tracing::error!(cause = %error, "a read model failed");
                later(
                    "read_models_failed",
                    "the read models cannot be used; they are being rebuilt".into(),
                    5,
                )
            }
        }
    }
}

/// `limit` and `cursor` of the list with this name.
pub(crate) fn page_request(reader: &mut Reader<'_>, list: &'static str) -> PageRequest {
    let limit = reader.limit();
    PageRequest { limit, cursor: reader.parsed_cursor(list) }
}

/// Cursors of a page, as they stand in the body.
pub(crate) fn cursors<T>(page: &Page<T>, list: &'static str) -> (Option<String>, Option<String>) {
    let text = |place: ledgerhook_actors::projections::Cursor| cursor(list, &place.to_string());
    (page.next.map(text), page.prev.map(text))
}

/// A page as a list outside the provider paths.
pub(crate) fn listed<T: Serialize>(page: Page<T>, list: &'static str, query: &Query) -> Success<List<T>> {
    let (next, prev) = cursors(&page, list);
    List { items: page.items, next, prev }.respond(query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledgerhook_actors::log::memory::MemoryLog;
    use std::sync::Arc;

    /// OVL.6
    #[test]
    fn whoever_reads_too_much_waits_and_others_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let (projections, _thread) = Projections::start(Arc::<MemoryLog>::default(), folder.path()).unwrap();
        let reads = Reads::new(projections);
        let (greedy, modest) = (KeyId::new("key_greedy"), KeyId::new("key_modest"));
        let start = Instant::now();
        reads.draw(&greedy, SAVED_MAX + 0.3, start);
        let refused = reads.admit(&greedy, start).unwrap_err();
        assert_eq!((refused.problem().status.as_u16(), refused.problem().code), (429, "too_many_reads"));
        assert!(refused.problem().retry_after.is_some_and(|wait| wait >= Duration::from_secs(1)));
        assert!(reads.admit(&modest, start).is_ok());
        assert!(reads.admit(&greedy, start + Duration::from_secs(2)).is_ok());
    }
}
