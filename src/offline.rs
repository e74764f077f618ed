//! `ledgerhook log verify` and `replay`: read a data folder that no server has to run on, and change nothing in it.

use crate::{repair, transitions::Transitions};
use anyhow::{Context as _, bail};
use ledgerhook_actors::{
    domain::{
        event::Fact,
        state::{State, StateSummary},
        time::Timestamp,
    },
    log::{
        Position, codec,
        segment::{self, SegmentReader, Verified},
    },
};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Behind everything.
const END: Position = Position(u64::MAX);

/// Where the log lies in a data folder.
pub(crate) fn log_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("log")
}

/// What `log verify` found.
pub(crate) struct Proof {
    found: Verified,
    /// Everything that is wrong; empty if the log is whole.
    pub(crate) problems: Vec<String>,
    /// What repairs have given up, as the log tells.
    repairs: Vec<String>,
}

/// Checks checksums, chain, gaps and versions; then, if the bytes hold, that every fact was allowed when it came.
pub(crate) fn verify(data_dir: &Path) -> anyhow::Result<Proof> {
    let dir = log_dir(data_dir);
    let unreadable = || format!("cannot read the log in `{}`", dir.display());
    let found = segment::verify(&dir).with_context(unreadable)?;
    let described =
        found.problems.iter().map(|one| format!("{}: byte {}: {}", one.path.display(), one.offset, one.what));
    let mut problems: Vec<_> = described.collect();
    let mut repairs = Vec::new();
    if problems.is_empty() {
        let mut transitions = Transitions::new(found.first);
        fold(&dir, END, &mut |position, at, fact| {
            transitions.check(position, at, &fact);
            repairs.extend(repair::told(position, at, &fact));
        })
        .with_context(unreadable)?;
        problems = transitions.problems().iter().map(ToString::to_string).collect();
    }
    Ok(Proof { found, problems, repairs })
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, problems, repairs } = self;
        let Verified { records, segments, first, last, payloads, payloads_gone, .. } = found;
        writeln!(f, "{records} records in {segments} segments, positions {first} to {last}")?;
        writeln!(f, "{payloads} payloads match, {payloads_gone} have expired")?;
        if let Some(offset) = found.torn_at {
            writeln!(f, "a torn tail begins at byte {offset}: never acknowledged, cut at the next start")?;
        }
        repairs.iter().try_for_each(|repair| writeln!(f, "{repair}"))?;
        writeln!(f, "chain {}", hex::encode(found.chain_hash))?;
        problems.iter().try_for_each(|problem| writeln!(f, "problem: {problem}"))?;
        f.write_str(if problems.is_empty() { "the log is whole" } else { "the log is DAMAGED" })
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
