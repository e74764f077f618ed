//! The log itself, read page by page, followed as it grows, and checked.

mod check;
mod record;
pub(crate) mod retention;
mod stream;

pub(crate) use check::verify;
pub(crate) use record::RecordView;
pub(crate) use stream::follow;

use super::{
    auth::Operator,
    body::{List, Success, cursor},
    error::{ApiError, ApiResult},
    query::{Query, Reader},
};
use actix_web::web::{self, Data};
use ledgerhook_actors::{
    engine::EngineHandle,
    log::{EventLog, LogError, Position},
};
use std::sync::Arc;

/// Most records that one request looks at, however few it finds.
const LOOKED_AT_MAX: usize = 20_000;

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
struct Filter {
    /// A stream (`pipeline/pipe_1`) or a whole category (`pipeline`).
    stream: Option<String>,
    /// `attempt_ended`, …
    kind: Option<String>,
}

impl Filter {
    fn read(q: &mut Reader<'_>) -> Self {
        Self { stream: q.text("stream").map(str::to_owned), kind: q.text("kind").map(str::to_owned) }
    }

    fn takes_stream(&self, name: &str) -> bool {
        self.stream.as_deref().is_none_or(|wanted| {
            name == wanted || name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/'))
        })
    }

    fn takes_kind(&self, kind: &str) -> bool {
        self.kind.as_deref().is_none_or(|wanted| wanted == kind)
    }
}

/// `GET /api/log`: by position.
pub(crate) async fn list(
    engine: Data<EngineHandle>,
    _: Operator,
    query: Query,
) -> ApiResult<Success<List<RecordView>>> {
    let (from, after, limit, filter) = query.read(|q| {
        let after = q.parsed_cursor("log");
        (q.integer("from", 0..=u64::MAX), after, q.limit(), Filter::read(q))
    })?;
    let from = after.or(from).unwrap_or(1);
    let log = Arc::clone(engine.log());
    let page = web::block(move || read(&*log, Position(from), limit, &filter)).await;
    let Page { records, next, ended } = page.map_err(|error| ApiError::internal(&error))??;
    let next = (!ended).then(|| cursor("log", &next.to_string()));
    Ok(List { items: records, next, prev: None }.respond(&query))
}

/// Some records, and where to go on.
struct Page {
    records: Vec<RecordView>,
    /// The first position that was not looked at.
    next: Position,
    /// Nothing durable follows.
    ended: bool,
}

/// Reads until `limit` records are found, the log ends, or enough were looked at. Blocks.
fn read(log: &dyn EventLog, from: Position, limit: usize, filter: &Filter) -> Result<Page, LogError> {
    let from = from.max(log.floor());
    let (mut records, mut looked_at, mut full) = (Vec::new(), 0, false);
    // Not what `scan` answers: it counts the record that it was stopped at, and that one belongs to the next page.
    let mut next = from;
    log.scan(from, &mut |record| {
        if records.len() == limit || looked_at == LOOKED_AT_MAX {
            full = true;
            return false;
        }
        looked_at += 1;
        next = record.position.next();
        if filter.takes_stream(record.stream) {
            records.extend(RecordView::of(&record).filter(|view| filter.takes_kind(view.kind())));
        }
        true
    })?;
    for record in &mut records {
        record.seal(log);
    }
    Ok(Page { records, next, ended: !full })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_category_is_a_filter_too() {
        let filter = |stream: &str| Filter { stream: Some(stream.into()), kind: None };
        assert!(filter("pipeline").takes_stream("pipeline/pipe_1"));
        assert!(filter("pipeline/pipe_1").takes_stream("pipeline/pipe_1"));
        assert!(!filter("pipeline/pipe_1").takes_stream("pipeline/pipe_12"));
        assert!(!filter("pipe").takes_stream("pipeline/pipe_1"));
        assert!(Filter::default().takes_stream("engine"));
    }
}
