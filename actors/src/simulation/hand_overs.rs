//! What happens when somebody leaves between two hand-overs.

use super::*;
use crate::{
    domain::testing::{pipeline, step},
    failpoint::script::{self, Script},
    view::NewEvent,
};

/// Everything goes on at once, but one hand-over.
struct Slow(&'static str);

impl Script for Slow {
    fn panics(&mut self, _: &str) -> bool {
        false
    }

    fn delay(&mut self, site: &str) -> Option<Duration> {
        (site == self.0).then(|| Duration::from_secs(1))
    }
}

/// I9: the client hangs up when its event is in the log and before the workers have heard of it. Nobody was
/// told that it is accepted; what is in the log goes out all the same, at once and not with the next event.
#[test]
fn an_event_whose_client_hangs_up_goes_out() {
    let mut world = World::new("afftok", pipeline([step("a")]), |_| 200);
    world.live_with(Duration::from_secs(10), |running| async move {
        script::set(Slow("intake.appended"));
        let event = NewEvent {
            id: "evt_1".into(),
            event_type: "conversion.created".into(),
            resource: "conversion:c1".into(),
            body: r#"{"id":"evt_1","type":"conversion.created","data":{}}"#.into(),
            is_timed: true,
        };
        let tenant = tenant();
        let accepted = running.intake.accept(&tenant, vec![event]);
        let patience = Duration::from_millis(100);
        assert!(tokio::time::timeout(patience, accepted).await.is_err(), "it was answered");
        std::future::pending::<()>().await;
    });
    assert_eq!(world.seen().len(), 1);
}
