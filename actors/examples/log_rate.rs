//! Measures the embedded log: `cargo run --release -p ledgerhook-actors --example log_rate -- [folder] [events]`.
//!
//! Two threads append events the way the engine does, an acceptance with a 1 KiB payload and two small facts in one
//! append, and keep a window of them in flight; then everything is scanned, read by stream, opened and verified.

#![expect(clippy::cast_precision_loss, reason = "rates are shown with two digits")]

use bytes::Bytes;
use ledgerhook_actors::{
    domain::time::Timestamp,
    log::{
        Append, EventLog, Expected, NewRecord, Position, StreamId,
        segment::{Options, SegmentLog, verify},
    },
};
use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

const THREADS: u64 = 2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(|| std::env::temp_dir().join("log-rate"), PathBuf::from);
    let events: u64 = arguments.next().map_or(Ok(200_000), |n| n.parse())?;
    for window in [1, 32, 256] {
        append(&folder, window, if window == 1 { events / 100 } else { events })?;
    }
    read(&folder)
}

fn append(folder: &PathBuf, window: u64, events: u64) -> Result<(), Box<dyn std::error::Error>> {
    let _ = fs::remove_dir_all(folder);
    let (log, _) = SegmentLog::open(folder, Options::default())?;
    let (cpu, began) = (cpu_time("")?, Instant::now());
    thread::scope(|scope| {
        for lane in 0..THREADS {
            let log = &log;
            scope.spawn(move || append_events(log, lane, window, events / THREADS));
        }
    });
    let wall = began.elapsed();
    let writer = cpu_time("log-writer")?;
    let all = cpu_time("")?.saturating_sub(cpu);
    let rate = events as f64 / wall.as_secs_f64();
    let per_event = |time: Duration| time.as_secs_f64() * 1e6 / events as f64;
    println!(
        "{:>4} in flight: {rate:>8.0} events/s, CPU per event {:.1} us (of it writer {:.1} us)",
        window * THREADS,
        per_event(all),
        per_event(writer),
    );
    Ok(log.close()?)
}

fn append_events(log: &SegmentLog, lane: u64, window: u64, events: u64) {
    let intake = StreamId::new("intake/acme");
    let streams: Vec<_> = (0..500).map(|i| StreamId::new(format!("pipeline/pipe_{lane}_{i:08}"))).collect();
    let body = vec![b'b'; 60];
    let payload = Bytes::from((0..1024u32).map(|i| i.to_le_bytes()[0]).collect::<Vec<_>>());
    let fact = NewRecord { kind: 2, format: 1, body: body.clone(), payload: None };
    let accepted = [NewRecord { kind: 1, payload: Some(payload), ..fact.clone() }];
    let facts = [fact.clone(), fact];
    let mut waiting = std::collections::VecDeque::new();
    for i in 0..events {
        let at = Timestamp(1_700_000_000_000 + i);
        let stream = &streams[usize::try_from(i).unwrap_or_default() % streams.len()];
        let group = [
            Append { stream: &intake, expected: Expected::Any, at, records: &accepted },
            Append { stream, expected: Expected::Any, at, records: &facts },
        ];
        let placed = log.append(&group, &mut |_, _| {}).expect("the log takes it");
        waiting.push_back(placed.last);
        if waiting.len() as u64 >= window {
            log.kick();
            // What becomes durable goes out together; the loop then fills up again, as a core does in a turn.
            let first = waiting[0];
            futures_wait(log, first);
            while waiting.front().is_some_and(|position| *position <= log.watermark().get()) {
                waiting.pop_front();
            }
        }
    }
    log.kick();
    futures_wait(log, log.tail());
}

fn futures_wait(log: &SegmentLog, position: Position) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    if log.watermark().get() < position {
        assert!(runtime.block_on(log.watermark().reached(position)), "the log failed");
    }
}

fn read(folder: &PathBuf) -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    let (log, report) = SegmentLog::open(folder, Options::default())?;
    println!("open: {:?}, {} segments, {} streams", began.elapsed(), report.segments, report.streams);
    let (mut records, mut bytes) = (0u64, 0);
    let began = Instant::now();
    log.scan(Position::START, &mut |record| {
        records += 1;
        bytes += record.body.len();
        true
    })?;
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "scan: {records} records, {:.1} M records/s ({bytes} bytes of facts)",
        records as f64 / seconds / 1e6
    );

    let began = Instant::now();
    let mut read = 0;
    for i in 0..500 {
        read += log.read_stream(&StreamId::new(format!("pipeline/pipe_0_{i:08}")), 1, usize::MAX)?.len();
    }
    println!(
        "read_stream: 500 streams, {:.0} k records/s",
        read as f64 / began.elapsed().as_secs_f64() / 1e3
    );

    let began = Instant::now();
    let some: Vec<_> = (0..20_000).map(|i| Position(1 + 3 * (i * 7919 % (records / 3)))).collect();
    for position in &some {
        assert!(log.payload(*position)?.is_some());
    }
    println!("payload: {:.1} us each, at random", began.elapsed().as_secs_f64() * 1e6 / some.len() as f64);
    drop(log);
    let began = Instant::now();
    let verified = verify(folder)?;
    assert!(verified.problems.is_empty(), "{:?}", verified.problems);
    println!("verify: {:?}, {} records, {} payloads", began.elapsed(), verified.records, verified.payloads);
    Ok(())
}

/// CPU time of this process, or of its thread of that name.
fn cpu_time(thread: &str) -> std::io::Result<Duration> {
    let mut ticks = 0;
    let tasks = fs::read_dir("/proc/self/task")?.map(|task| Ok(task?.path()));
    let own: PathBuf = "/proc/self".into();
    for path in if thread.is_empty() { vec![own] } else { tasks.collect::<std::io::Result<_>>()? } {
        // A thread may have ended since it was listed.
        let Ok(stat) = fs::read_to_string(path.join("stat")) else { continue };
        let Some((name, rest)) = stat.rsplit_once(')') else { continue };
        if name.ends_with(thread) {
            ticks +=
                rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum::<u64>();
        }
    }
    Ok(Duration::from_millis(ticks * 10))
}
