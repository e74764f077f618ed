//! What a fact costs. Run with
//! `cargo test --release -p ledgerhook-actors projections::tests::rate -- --ignored --nocapture`.

use super::support::*;
use std::time::{Duration, Instant};

/// A million facts of the common life: accepted, started, ended.
#[test]
#[ignore = "measures; takes seconds"]
fn a_million_facts() {
    let mut world = World::new();
    let id = world.pipeline("crm", config("conversion", vec![step("CRM")]));
    let events = 333_333_u32;
    for n in 0..events {
        let resource = format!("conversion:conv_{}", n % 1000);
        world.accept(&format!("evt_{n:012}"), "conversion.created", &resource, &[&id]);
        world.attempt(&id, 200);
    }
    let folder = tempfile::tempdir().unwrap();
    let (cpu, wall) = (cpu_seconds(), Instant::now());
    let (projections, thread) = Projections::start(world.log.clone(), folder.path()).unwrap();
    while projections.lag() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (cpu, wall) = (cpu_seconds() - cpu, wall.elapsed().as_secs_f64());
    let per_event = 1e6 / f64::from(events);
    println!("{events} events: {:.2} CPU-us and {:.2} us an event", cpu * per_event, wall * per_event);
    let wall = Instant::now();
    let filter = DeliveryFilter { state: Some(DeliveryState::Held), ..DeliveryFilter::default() };
    let request = PageRequest { limit: 100, cursor: None };
    let page = projections.deliveries(&tenant(), &filter, request).unwrap();
    println!("a scan that finds nothing: {:?}, goes on: {}", wall.elapsed(), page.next.is_some());
    drop(thread);
}

/// What the process has used so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
