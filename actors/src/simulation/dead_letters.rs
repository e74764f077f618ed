//! What dead letters hear of a worker that panics.

use super::*;
use crate::{
    dead_letters::List,
    domain::testing::tries,
    failpoint::script::{self, Script},
    view::NewEvent,
};

/// One panic where the next event comes in.
#[derive(Default)]
struct PanicsOnce {
    over: bool,
}

impl Script for PanicsOnce {
    fn panics(&mut self, site: &str) -> bool {
        site == "pipeline.enqueue" && !std::mem::replace(&mut self.over, true)
    }

    fn delay(&mut self, _: &str) -> Option<Duration> {
        None
    }
}

fn accept(running: &Running, id: &'static str) {
    let intake = Arc::clone(&running.intake);
    let event = NewEvent {
        id: id.into(),
        event_type: "conversion.created".into(),
        resource: format!("conversion:{id}").into(),
        body: format!(r#"{{"id":"{id}","type":"conversion.created","data":{{}}}}"#).into(),
        is_timed: true,
    };
    actix_rt::spawn(async move { drop(intake.accept_one(&tenant(), event).await) });
}

/// I18: the last attempt has failed, its end is in the log and on its way to the disk; then the worker panics over
/// something else. The dead letter is on the record, so it lies in the queue, and not only after the next start.
#[test]
fn a_dead_letter_that_was_appended_before_a_panic_lies_in_the_queue() {
    let mut world = World::new("afftok", tries(1), |_| 500);
    world.latency = Duration::from_millis(100);
    let log = Arc::clone(&world.log);
    let found = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&found);
    world.live_with(Duration::from_secs(20), move |running| async move {
        let wait = async |ms| tokio::time::sleep(Duration::from_millis(ms)).await;
        accept(&running, "evt_1");
        wait(50).await;
        log.hold();
        wait(100).await;
        assert!(log.tail() > log.watermark().get(), "the end of the attempt waits for the disk");
        script::set(PanicsOnce::default());
        accept(&running, "evt_2");
        wait(50).await;
        log.release();
        wait(10_000).await;
        let list = List { tenant: tenant(), pipeline: None, after: None, limit: 10 };
        *told.lock() = running.dead_letters.send(list).await.unwrap();
    });
    let queue: Vec<_> = world.fold().dead_letters.iter().map(|item| item.event).collect();
    let mut found: Vec<_> = found.lock().iter().map(|item| item.event).collect();
    found.reverse();
    assert_eq!(queue.len(), 2, "both events failed");
    assert_eq!(found, queue);
}
