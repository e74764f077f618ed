//! `GET /api/log/verify`: walks the durable log from end to end. Each record is read through the checks of its
//! segment; here positions and versions are held against each other, and every fact against what was allowed.

use crate::{
    http::{
        auth::Operator,
        body::Success,
        error::{ApiError, ApiResult},
        query::Query,
    },
    transitions::{Problem, Transitions},
};
use actix_web::web::{self, Data};
use ledgerhook_actors::{
    domain::state::State,
    engine::EngineHandle,
    log::{EventLog, LogError, Position, codec},
};
use serde::Serialize;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use utoipa::ToSchema;

/// More problems than these are not told.
const PROBLEMS_MAX: usize = 100;

/// One walk at a time: it reads everything.
static UNDER_WAY: AtomicBool = AtomicBool::new(false);

struct Turn;

impl Drop for Turn {
    fn drop(&mut self) {
        UNDER_WAY.store(false, Ordering::Release);
    }
}

/// What a walk found.
#[derive(Serialize, ToSchema)]
#[schema(as = LogVerification)]
pub(crate) struct Verified {
    sound: bool,
    records: u64,
    streams: usize,
    first: Position,
    last: Position,
    /// Of the folded state at `last`, as `GET /api/state` has it.
    digest: Option<String>,
    chain_hash: Option<String>,
    problems: Vec<Problem>,
}

/// `GET /api/log/verify`
pub(crate) async fn verify(
    engine: Data<EngineHandle>,
    _: Operator,
    query: Query,
) -> ApiResult<Success<Verified>> {
    query.none()?;
    if UNDER_WAY.swap(true, Ordering::AcqRel) {
        let detail = "another walk over the log is under way";
        let status = actix_web::http::StatusCode::TOO_MANY_REQUESTS;
        return Err(ApiError::later(status, "busy", detail, Duration::from_secs(10)));
    }
    let (turn, log) = (Turn, Arc::clone(engine.log()));
    let found = web::block(move || {
        let _turn = turn;
        walk(&*log)
    });
    let found = found.await.map_err(|error| ApiError::internal(&error))??;
    Ok(Success::ok(found))
}

fn walk(log: &dyn EventLog) -> Result<Verified, LogError> {
    let (first, last) = (log.floor().max(Position(1)), log.watermark().get());
    let mut found = Verified {
        sound: true,
        records: 0,
        streams: 0,
        first,
        last,
        digest: None,
        chain_hash: log.chain_hash(last).ok().map(hex::encode),
        problems: Vec::new(),
    };
    let mut versions: HashMap<String, u64> = HashMap::new();
    let (mut state, mut transitions) = (State::default(), Transitions::new(first));
    let mut expected = first;
    let whole = first == Position(1);
    log.scan(first, &mut |record| {
        if record.position > last {
            return false;
        }
        if record.position != expected {
            found.add(record.position, format!("position {expected} is missing"));
        }
        expected = record.position.next();
        found.records += 1;
        let before = if let Some(version) = versions.get_mut(record.stream) {
            Some(std::mem::replace(version, record.version))
        } else {
            versions.insert(record.stream.to_owned(), record.version);
            whole.then_some(0)
        };
        if let Some(before) = before.filter(|before| record.version != before + 1) {
            let problem = format!("`{}` goes from version {before} to {}", record.stream, record.version);
            found.add(record.position, problem);
        }
        match codec::decode(&record) {
            Ok(fact) => {
                state.evolve(record.position, record.at, &fact);
                transitions.check(record.position, record.at, &fact);
            }
            Err(error) => found.add(record.position, error.to_string()),
        }
        true
    })?;
    if expected != last.next() {
        found.add(expected, format!("the log ends before position {last}"));
    }
    found.problems.extend(transitions.problems());
    found.streams = versions.len();
    // What was cut off at the floor is no longer in the fold.
    found.digest = whole.then(|| state.summary().digest);
    found.sound = found.problems.is_empty();
    Ok(found)
}

impl Verified {
    fn add(&mut self, position: Position, problem: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem::new(position, problem));
        }
    }
}
