//! `ledgerhook log repair`: shows what of a damaged log cannot be kept; with `--yes` sets it aside and writes into the
//! log what was given up.

use crate::{http::RecordView, offline::log_dir};
use anyhow::Context as _;
use ledgerhook_actors::{
    clock,
    domain::{
        event::{EngineEvent, Fact},
        id::{DeliveryId, PipelineId},
        time::Timestamp,
    },
    log::{
        EventLog as _, Position, Record, codec,
        segment::{Cut, LostPayload, Options, Repair, SegmentLog},
    },
};
use serde_json::Value;
use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

/// Folds of the log as it was; they are made again.
const DERIVED: [&str; 3] = ["projections", "snapshots", "notices"];

/// True if the log is whole now.
pub(crate) fn run(data_dir: &Path, yes: bool, out: &mut impl Write) -> anyhow::Result<bool> {
    let dir = log_dir(data_dir);
    let repair =
        Repair::examine(&dir).with_context(|| format!("cannot repair the log in `{}`", dir.display()))?;
    let begun = repair.begun()?;
    if repair.is_whole() && begun.is_none() {
        writeln!(out, "the log is whole: there is nothing to repair")?;
        return Ok(true);
    }
    show(&repair, out)?;
    let aside = data_dir.join("repaired").join(clock::wall().to_iso_seconds().replace([':', '-'], ""));
    if !yes {
        writeln!(out, "nothing was changed; `--yes` gives this up, and moves it to `{}`", aside.display())?;
        return Ok(false);
    }
    let (fact, aside) = match begun {
        Some(note) => resumed(&note).context("the note of the repair that was begun cannot be read")?,
        None => (fact_of(&repair, &aside), aside),
    };
    fs::create_dir_all(&aside).with_context(|| format!("cannot make `{}`", aside.display()))?;
    let mut report = Vec::new();
    show(&repair, &mut report)?;
    fs::OpenOptions::new().create(true).append(true).open(aside.join("given-up.txt"))?.write_all(&report)?;
    repair.apply(&aside, &serde_json::to_vec(&fact)?)?;
    for name in DERIVED {
        match fs::rename(data_dir.join(name), aside.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    drop(repair);
    record(&dir, fact)?;
    Repair::finish(&dir)?;
    writeln!(out, "done; what was given up is in `{}`", aside.display())?;
    Ok(true)
}

fn fact_of(repair: &Repair, aside: &Path) -> EngineEvent {
    let Repair { cut, payloads, .. } = repair;
    let reason = match (cut, payloads.first()) {
        (Some(cut), _) => format!("{}: byte {}: {}", cut.path.display(), cut.offset, cut.what),
        (None, Some(lost)) => format!("{}: byte {}: a payload", lost.path.display(), lost.offset),
        (None, None) => String::new(),
    };
    EngineEvent::LogRepaired {
        reason,
        cut: cut.as_ref().map(|cut| cut.first),
        records: cut.as_ref().map_or(0, |cut| cut.lost.len() as u64),
        payloads: payloads.iter().map(|lost| lost.record.position).collect(),
        aside: aside.display().to_string(),
    }
}

/// What a repair was begun with that a kill interrupted.
fn resumed(note: &[u8]) -> anyhow::Result<(EngineEvent, PathBuf)> {
    let fact: EngineEvent = serde_json::from_slice(note)?;
    let EngineEvent::LogRepaired { aside, .. } = &fact else { anyhow::bail!("another fact") };
    let aside = PathBuf::from(aside);
    Ok((fact, aside))
}

/// Writes the fact, unless a repair that was killed has done so already.
fn record(dir: &Path, fact: EngineEvent) -> anyhow::Result<()> {
    let (log, _) =
        SegmentLog::open(dir, Options { repairing: true, min_free_bytes: 0, ..Options::default() })?;
    let newest = log.read_at(log.tail()).ok();
    let fact = Fact::Engine(fact);
    let encoded = codec::encode(&fact);
    if newest.is_none_or(|record| record.body != encoded.body) {
        codec::append(&log, clock::wall(), &fact, None)?;
    }
    Ok(log.close()?)
}

fn show(repair: &Repair, out: &mut impl Write) -> std::io::Result<()> {
    if let Some(Cut { path, offset, what, first, lost, .. }) = &repair.cut {
        writeln!(out, "damage in `{}` at byte {offset}: {what}", path.display())?;
        writeln!(
            out,
            "the log is to be cut before position {first}; behind it {} records can be read:",
            lost.len()
        )?;
        lost.iter().try_for_each(|record| writeln!(out, "  {}", describe(record)))?;
    }
    for LostPayload { path, offset, record, .. } in &repair.payloads {
        writeln!(
            out,
            "damage in `{}` at byte {offset}: the payload is not what it was, and is to be given up:",
            path.display()
        )?;
        writeln!(out, "  {}", describe(record))?;
    }
    Ok(())
}

/// Position, time, kind, stream and deliveries.
fn describe(record: &Record) -> String {
    let Record { position, stream, at, .. } = record;
    let reference = record.by_ref();
    let Some(view) = RecordView::of(&reference) else {
        return format!("{position} {} {stream}: cannot be read", at.to_iso_seconds());
    };
    let deliveries = deliveries(record, view.fact());
    let named = if deliveries.is_empty() { String::new() } else { format!(" {}", deliveries.join(" ")) };
    format!("{position} {} {} {stream}{named}", at.to_iso_seconds(), view.kind())
}

fn deliveries(record: &Record, fact: &Value) -> Vec<String> {
    let id =
        |event: u64, pipeline: &str| DeliveryId::new(Position(event), &PipelineId::new(pipeline)).to_string();
    let routes =
        fact["routes"].as_array().into_iter().flatten().filter_map(|route| route["pipeline"].as_str());
    let begun = routes.map(|pipeline| id(record.position.0, pipeline));
    let event = fact["event"].as_u64().or_else(|| fact["attempt"]["event"].as_u64());
    let lane = record.stream.as_str().strip_prefix("pipeline/").zip(event);
    begun.chain(lane.map(|(pipeline, event)| id(event, pipeline))).collect()
}

/// A line for `log verify`, if the fact is a repair.
pub(crate) fn told(position: Position, at: Timestamp, fact: &Fact) -> Option<String> {
    let Fact::Engine(EngineEvent::LogRepaired { reason, cut, records, payloads, aside }) = fact else {
        return None;
    };
    let mut parts = vec![format!("repaired at position {position}, {}: {reason}", at.to_iso_seconds())];
    if let Some(cut) = cut {
        parts.push(format!("{records} records and more from position {cut} on were given up"));
    }
    if !payloads.is_empty() {
        let positions: Vec<_> = payloads.iter().map(ToString::to_string).collect();
        parts.push(format!("payloads of positions {} were given up", positions.join(", ")));
    }
    parts.push(format!("kept in `{aside}`"));
    Some(parts.join("; "))
}
