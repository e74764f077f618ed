//! A whole engine in a folder of its own, whose one pipeline calls an address that may not be called.

use super::*;
use crate::{
    domain::{
        by::By,
        id::{DeadLetterId, DeliveryId, TenantId},
        testing::{With, operator, tries},
    },
    engine::retention::Limits,
};
use std::{future::Future, time::Duration};

struct Story {
    engine: EngineHandle,
    tenant: TenantId,
    /// A delivery that was dead-lettered.
    delivery: DeliveryId,
    dead_letter: DeadLetterId,
}

/// Tells a story whose first event is a dead letter.
fn tell<F: Future<Output = ()>>(limits: Limits, story: impl FnOnce(Story) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let config = EngineConfig { cores: 1, retention: limits, ..EngineConfig::new(folder.path().into()) };
    let (engine, _) = start(EngineConfig { free_bytes_min: 0, ..config }).unwrap();
    actix::System::new().block_on(async {
        let (by, tenant): (By, _) = (operator(), TenantId::new("tenant_default"));
        let config = tries(1).with(|config| config.steps[0].url = "https://127.0.0.1:9/hook".into());
        engine.create_pipeline(&by, &tenant, "pipe", None, config, None).await.unwrap();
        let event = NewEvent {
            id: "evt_1".into(),
            event_type: "conversion.created".into(),
            resource: "conversion:c1".into(),
            body: r#"{"id":"evt_1","type":"conversion.created","data":{}}"#.into(),
            is_timed: false,
        };
        engine.accept_one(&tenant, event).await.unwrap();
        let dead_letter = dead_letter(&engine, &tenant).await;
        let delivery = dead_letter.delivery.clone();
        story(Story { engine: engine.clone(), tenant, delivery, dead_letter }).await;
        engine.shutdown(Duration::ZERO).await.unwrap();
    });
}

async fn dead_letter(engine: &EngineHandle, tenant: &TenantId) -> DeadLetterId {
    loop {
        if let [item] = &*engine.dead_letters(tenant, None, None, 10).await.unwrap() {
            return item.id();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// I11, I20: read models that stand still know no round but the first; going by them, every retry would be the second.
#[test]
fn nothing_is_sent_again_by_a_past_that_is_not_whole() {
    tell(Limits::default(), |Story { engine, tenant, delivery, .. }| async move {
        let (by, models) = (operator(), engine.projections());
        engine.redeliver(&by, &tenant, &delivery).await.unwrap();
        let again = dead_letter(&engine, &tenant).await;
        assert_eq!((again.delivery.clone(), again.round), (delivery.clone(), 2));

        drop(engine.inner.projections_thread.lock().take());
        engine.record_reveal(&by, &pipeline(&engine), "step_a").await.unwrap();
        assert!(models.fresh().await.is_ok(), "lists are shown as they were");
        let refused = engine.redeliver(&by, &tenant, &delivery).await.unwrap_err();
        assert!(matches!(refused, EngineError::HistoryBehind(_)), "{refused}");
        let refused = engine.retry_dead_letter(&by, &tenant, &again).await.unwrap_err();
        assert!(matches!(refused, EngineError::HistoryBehind(_)), "{refused}");
        let refused = engine.erase_event(&by, &tenant, "evt_1").await.unwrap_err();
        assert!(matches!(refused, EngineError::HistoryBehind(_)), "{refused}");
        assert_eq!(dead_letter(&engine, &tenant).await, again, "and it stays where it was");
    });
}

fn pipeline(engine: &EngineHandle) -> crate::domain::id::PipelineId {
    engine.with_catalog(|catalog| catalog.pipelines().next().unwrap().id.clone())
}

/// I20, I27: of calls that come together, one sends it again.
#[test]
fn a_delivery_is_sent_again_by_one_call_at_a_time() {
    tell(Limits::default(), |Story { engine, tenant, delivery, dead_letter: item }| async move {
        let by = operator();
        let calls = (0..20).map(|_| engine.redeliver(&by, &tenant, &delivery));
        // In this order: whoever is first sends it again.
        let (retried, (settled, dismissed)) = tokio::join!(biased; futures_util::future::join_all(calls), async {
            tokio::join!(biased;
                engine.retry_dead_letter(&by, &tenant, &item),
                engine.delete_dead_letter(&by, &tenant, &item),
            )
        });
        // One whose turn comes when the round of another is over sends it again, too: rounds are told apart all the same.
        let sent = retried.iter().filter(|answer| answer.is_ok()).count() + usize::from(settled.is_ok());
        assert!((1..20).contains(&sent), "{retried:?}");
        assert!(
            matches!(settled, Ok(_) | Err(EngineError::Conflict(_) | EngineError::NotFound { .. })),
            "{settled:?}"
        );
        assert!(
            matches!(dismissed, Err(EngineError::NotFound { .. })),
            "it is not there any more: {dismissed:?}"
        );
        let last = async {
            while usize::from(dead_letter(&engine, &tenant).await.round) != 1 + sent {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), last).await.expect("a round for each that was sent");
    });
}

/// What is retried while retention looks what may go keeps its payload.
#[test]
fn a_payload_that_is_needed_once_more_does_not_go() {
    let limits = Limits { payload_age: Some(Duration::from_millis(1)), bytes_max: None };
    tell(limits, |Story { engine, tenant, delivery, dead_letter: item }| async move {
        let (by, retention) = (operator(), Arc::clone(&engine.inner.retention));
        engine.delete_dead_letter(&by, &tenant, &item).await.unwrap();
        retention.log.seal_older_than(engine.now()).unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        let plan = retention.plan(engine.now()).unwrap();
        assert!(plan.covers(delivery.event), "nobody needs it now");
        engine.redeliver(&by, &tenant, &delivery).await.unwrap();
        let applied = retention.carry_out(plan, engine.now(), None).unwrap();
        assert_eq!(applied.segments, 0, "{applied:?}");
        assert!(engine.inner.log.payload(delivery.event).unwrap().is_some());

        let again = dead_letter(&engine, &tenant).await;
        engine.delete_dead_letter(&by, &tenant, &again).await.unwrap();
        // What follows may be old enough meanwhile to go with it.
        assert!(retention.apply(None).unwrap().segments >= 1);
        let refused = engine.redeliver(&by, &tenant, &delivery).await.unwrap_err();
        assert!(matches!(refused, EngineError::PayloadGone(_)), "{refused}");
    });
}
