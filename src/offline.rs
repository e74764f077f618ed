//! `ledgerhook log …`: reads a data folder that no server has to run on, and changes nothing in it.

mod transitions;

use anyhow::{Context as _, bail};
use ledgerhook_actors::{
    domain::{
        event::Fact,
        state::{State, StateSummary},
        time::Timestamp,
    },
    log::{Position, codec, segment::SegmentReader},
};
use std::{
    fmt,
    path::{Path, PathBuf},
};
use transitions::Transitions;

/// Behind everything.
const END: Position = Position(u64::MAX);

/// Where the log lies in a data folder.
fn log_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("log")
}

/// What `log verify` found.
pub(crate) struct Proof {
    records: u64,
    chain: String,
    /// Everything that is wrong; empty if the log is whole.
    pub(crate) problems: Vec<String>,
}

/// Checks checksums and chain; then, if the bytes hold, that every fact was allowed when it came.
pub(crate) fn verify(data_dir: &Path) -> anyhow::Result<Proof> {
    let dir = log_dir(data_dir);
    let unreadable = || format!("cannot read the log in `{}`", dir.display());
    let reader = SegmentReader::open(&dir).with_context(unreadable)?;
    let mut proof = Proof { records: 0, chain: String::new(), problems: Vec::new() };
    let mut transitions = Transitions::new(reader.floor());
    let read = fold(&dir, END, &mut |position, _, fact| {
        proof.records += 1;
        transitions.check(position, &fact);
    });
    proof.problems = match read {
        Ok(()) => transitions.problems(),
        Err(damage) => vec![format!("{damage:#}")],
    };
    if proof.problems.is_empty() && proof.records > 0 {
        proof.chain = hex::encode(reader.chain_hash(reader.durable())?);
    }
    Ok(proof)
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} records", self.records)?;
        writeln!(f, "chain {}", self.chain)?;
        self.problems.iter().try_for_each(|problem| writeln!(f, "problem: {problem}"))?;
        f.write_str(if self.problems.is_empty() { "the log is whole" } else { "the log is DAMAGED" })
    }
}

/// `log replay`: the state at a position, as `GET /api/state` tells it.
pub(crate) fn replay(data_dir: &Path, to: Option<u64>) -> anyhow::Result<StateSummary> {
    let to = to.map_or(END, Position);
    let mut state = State::default();
    let dir = log_dir(data_dir);
    fold(&dir, to, &mut |position, at, fact| state.evolve(position, at, &fact))
        .with_context(|| format!("cannot read the log in `{}`", dir.display()))?;
    if to != END && state.position != to {
        bail!("the log ends at position {}", state.position);
    }
    Ok(state.summary())
}

type Each<'a> = &'a mut dyn FnMut(Position, Timestamp, Fact);

/// Visits the facts up to and including `to`.
fn fold(dir: &Path, to: Position, each: Each<'_>) -> anyhow::Result<()> {
    let reader = SegmentReader::open(dir)?;
    if reader.floor() > Position(1) {
        bail!("the log begins at position {}: what came before was removed", reader.floor());
    }
    let mut failed = None;
    reader.scan(Position(1), &mut |record| {
        if record.position > to {
            return false;
        }
        match codec::decode(&record) {
            Ok(fact) => each(record.position, record.at, fact),
            Err(error) => failed = Some(error),
        }
        failed.is_none()
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}
