//! `GET /api/stream`: the log as server-sent events. Whoever lost the connection goes on with `Last-Event-ID`.

use super::{Filter, Page, read};
use crate::http::{
    auth::Operator,
    error::{ApiError, ApiResult},
    query::Query,
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{self, Data},
};
use bytes::Bytes;
use futures_util::stream::unfold;
use ledgerhook_actors::{
    engine::EngineHandle,
    log::{EventLog, Position},
};
use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Most followers at once.
const FOLLOWERS_MAX: usize = 64;
/// Most records of one write.
const RECORDS: usize = 100;
/// Says that the connection lives, so that proxies keep it.
const HEARTBEAT: Duration = Duration::from_secs(15);

static FOLLOWERS: AtomicUsize = AtomicUsize::new(0);

/// One place among the followers.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let free = |count| (count < FOLLOWERS_MAX).then_some(count + 1);
        FOLLOWERS.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        FOLLOWERS.fetch_sub(1, Ordering::AcqRel);
    }
}

/// From `from` on, or behind `Last-Event-ID`, or whatever comes from now on.
pub(crate) async fn follow(
    engine: Data<EngineHandle>,
    _: Operator,
    request: HttpRequest,
    query: Query,
) -> ApiResult<HttpResponse> {
    let (from, filter) = query.read(|q| (q.integer("from", 0..=u64::MAX), Filter::read(q)))?;
    let log = Arc::clone(engine.log());
    let next = match last_event_id(&request)? {
        Some(last) => last.next(),
        None => from.map_or_else(|| log.watermark().get().next(), Position),
    };
    let place = Place::take().ok_or_else(|| {
        let detail = format!("{FOLLOWERS_MAX} followers read the log already");
        ApiError::later(StatusCode::TOO_MANY_REQUESTS, "too_many_followers", detail, Duration::from_secs(10))
    })?;
    let follower = Follower { log, filter: Arc::new(filter), next, place };
    let events = unfold(follower, |mut follower| async {
        let text = follower.wait().await?;
        Some((Ok::<_, std::convert::Infallible>(text), follower))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::HeaderName::from_static("x-accel-buffering"), "no"))
        .streaming(events))
}

fn last_event_id(request: &HttpRequest) -> ApiResult<Option<Position>> {
    let Some(value) = request.headers().get("last-event-id") else { return Ok(None) };
    let position = value.to_str().ok().and_then(|text| text.parse().ok());
    // Something has to be able to follow it.
    let position = position.filter(|position| *position < u64::MAX);
    position.map(|position| Some(Position(position))).ok_or_else(|| {
        ApiError::unreadable("bad_last_event_id", "`Last-Event-ID` is to be a position of the log")
    })
}

struct Follower {
    log: Arc<dyn EventLog>,
    filter: Arc<Filter>,
    next: Position,
    #[expect(dead_code, reason = "given back when the follower goes")]
    place: Place,
}

impl Follower {
    /// The next events, or a heartbeat; `None` when the log cannot be read on.
    async fn wait(&mut self) -> Option<Bytes> {
        let deadline = tokio::time::Instant::now() + HEARTBEAT;
        loop {
            let (log, filter, from) = (Arc::clone(&self.log), Arc::clone(&self.filter), self.next);
            let page = web::block(move || read(&*log, from, RECORDS, &filter)).await.ok()?.ok()?;
            self.next = page.next;
            if !page.records.is_empty() {
                return Some(written(&page));
            }
            if page.ended {
                let durable = self.log.watermark().reached(self.next);
                match tokio::time::timeout_at(deadline, durable).await {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(_) => return Some(Bytes::from_static(b": still here\n\n")),
                }
            }
        }
    }
}

/// JSON has no line breaks, so each event is three lines.
fn written(page: &Page) -> Bytes {
    let mut out = String::new();
    for record in &page.records {
        let data = serde_json::to_string(record).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(out, "id: {}\nevent: {}\ndata: {data}\n\n", record.position(), record.kind());
    }
    Bytes::from(out)
}
