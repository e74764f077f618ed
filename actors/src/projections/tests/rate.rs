//! What an event costs: accepted, started, ended. Measures; run alone, with
//! `cargo test --release -p ledgerhook-actors projections::tests::rate -- --ignored --nocapture --test-threads 1`.

use super::support::*;
use crate::log::segment::{Options, SegmentLog};
use std::{
    fs,
    time::{Duration, Instant},
};

/// A million facts that are there already, as when read models are built anew.
#[test]
#[ignore = "measures"]
fn a_million_facts() {
    let (folder, world) = (tempfile::tempdir().unwrap(), world(333_333));
    let log = Files::create(&folder.path().join("log"));
    log.copy(&world, usize::MAX, Duration::ZERO);
    let began = Instant::now();
    let (projections, thread) = projections(&log, folder.path());
    while projections.lag() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    tell("built anew", 333_333, began.elapsed());
    let began = Instant::now();
    let filter = DeliveryFilter { state: Some(DeliveryState::Held), ..DeliveryFilter::default() };
    let page = projections.deliveries(&tenant(), &filter, PageRequest { limit: 100, cursor: None }).unwrap();
    println!("a scan that finds nothing: {:?}, goes on: {}", began.elapsed(), page.next.is_some());
    drop(thread);
}

/// Twenty thousand events a second, as they come.
#[test]
#[ignore = "measures"]
fn a_steady_stream() {
    let (folder, world) = (tempfile::tempdir().unwrap(), world(100_000));
    let log = Files::create(&folder.path().join("log"));
    let (projections, thread) = projections(&log, folder.path());
    let began = Instant::now();
    log.copy(&world, 600, Duration::from_millis(10));
    while projections.lag() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    tell("as they come", 100_000, began.elapsed());
    drop(thread);
}

fn world(events: u32) -> World {
    let mut world = World::new();
    let id = world.pipeline("crm", config("conversion", vec![step("CRM")]));
    for n in 0..events {
        let resource = format!("conversion:conv_{}", n % 1000);
        world.accept(&format!("evt_{n:012}"), "conversion.created", &resource, &[&id]);
        world.attempt(&id, 200);
    }
    world
}

/// The log in files, as the engine has it.
struct Files(Arc<SegmentLog>);

impl Files {
    fn create(folder: &Path) -> Self {
        Self(Arc::new(SegmentLog::open(folder, Options::default()).unwrap().0))
    }

    /// Copies a world's facts, so many in each interval.
    fn copy(&self, world: &World, piece: usize, interval: Duration) {
        let mut from = Position(1);
        for turn in 1.. {
            let due = Instant::now() + interval;
            let records = world.log.read(from, piece.min(10_000), usize::MAX).unwrap();
            let Some(last) = records.last() else { return };
            from = last.position.next();
            for record in &records {
                let payload = world.log.payload(record.position).unwrap();
                let new = NewRecord {
                    kind: record.kind,
                    format: record.format,
                    body: record.body.to_vec(),
                    payload,
                };
                let (stream, at, records) = (&record.stream, record.at, &[new]);
                let append = Append { stream, expected: Expected::Any, at, records };
                self.0.append(&[append], &mut |_, _| {}).unwrap();
            }
            self.0.kick();
            while interval.is_zero() && turn % 8 == 0 && self.0.watermark().get() < self.0.tail() {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

fn projections(log: &Files, folder: &Path) -> (Projections, ProjectionsThread) {
    Projections::start(log.0.clone(), &folder.join("projections")).unwrap()
}

fn tell(what: &str, events: u32, wall: Duration) {
    let cpu = cpu_seconds() * 1e6 / f64::from(events);
    println!("{events} events {what}: {cpu:.2} CPU-us an event, {wall:?} in all");
}

/// What the threads behind the read models have used.
fn cpu_seconds() -> f64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let used = tasks.filter_map(|task| {
        let name = fs::read_to_string(task.join("comm")).ok()?;
        let ours = name.trim() == "projections" || name.starts_with("fjall");
        // The scheduler's own count, in nanoseconds: ticks would be too coarse.
        let used = fs::read_to_string(task.join("schedstat")).ok()?;
        ours.then(|| used.split(' ').next()?.parse::<f64>().ok()).flatten()
    });
    used.sum::<f64>() / 1e9
}
