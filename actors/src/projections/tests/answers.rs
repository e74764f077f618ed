//! Every question, with the answer that the documents promise.

use super::support::*;
use crate::domain::by::Asked;

fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| &*delivery.event_id).collect()
}

/// Ten events, a minute apart, in turn for two pipelines and about three resources.
fn world_of_ten() -> (World, PipelineId, PipelineId) {
    let mut world = World::new();
    let crm = world.pipeline("crm", config("conversion", vec![step("CRM")]));
    let erp = world.pipeline("erp", config("click", vec![step("ERP")]));
    for n in 0..10_u32 {
        let (kind, to) = if n % 2 == 0 { ("conversion.created", &crm) } else { ("click.tracked", &erp) };
        world.accept(&format!("evt_{n}"), kind, &format!("r:{}", n % 3), &[to]);
        world.pass(60_000);
    }
    (world, crm, erp)
}

#[test]
fn deliveries_are_filtered_by_everything_that_the_api_names() {
    let (mut world, crm, erp) = world_of_ten();
    world.attempt(&crm, 200);
    world.attempt(&erp, 500);
    let views = Views::of(&world);
    let all = DeliveryFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let expect = |filter: DeliveryFilter, events: &[u32]| {
        let events: Vec<_> = events.iter().map(|n| format!("evt_{n}")).collect();
        assert_eq!(ids(&views.deliveries(&filter)), events, "{filter:?}");
    };
    expect(all(), &[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    expect(DeliveryFilter { pipeline: Some(crm.clone()), ..all() }, &[8, 6, 4, 2, 0]);
    expect(DeliveryFilter { event_id: text("evt_7"), ..all() }, &[7]);
    expect(DeliveryFilter { resource: text("r:1"), ..all() }, &[7, 4, 1]);
    expect(DeliveryFilter { resource: text("r:1"), pipeline: Some(erp.clone()), ..all() }, &[7, 1]);
    expect(DeliveryFilter { event_type: text("click.tracked"), ..all() }, &[9, 7, 5, 3, 1]);
    expect(DeliveryFilter { state: Some(DeliveryState::Delivered), ..all() }, &[0]);
    expect(DeliveryFilter { state: Some(DeliveryState::Retrying), ..all() }, &[1]);
    expect(DeliveryFilter { state: Some(DeliveryState::DeadLettered), ..all() }, &[]);
    let at = |minute: u64| Some(Timestamp(T0.0 + minute * 60_000));
    expect(DeliveryFilter { since: at(8), ..all() }, &[9, 8]);
    expect(DeliveryFilter { until: at(1), ..all() }, &[1, 0]);
    expect(DeliveryFilter { since: at(2), until: at(3), ..all() }, &[3, 2]);
    expect(DeliveryFilter { pipeline: Some(PipelineId::new("pipe_none")), ..all() }, &[]);
    let request = PageRequest { limit: 5, cursor: None };
    let other = views.projections.deliveries(&TenantId::new("tenant_other"), &all(), request).unwrap();
    assert!(other.items.is_empty(), "another tenant sees nothing");
}

#[test]
fn cursors_are_stable_under_writes_and_lead_back() {
    let (mut world, crm, erp) = world_of_ten();
    world.accept("evt_10", "conversion.created", "r:1", &[&crm, &erp]);
    let views = Views::of(&world);
    let page = |cursor| {
        let request = PageRequest { limit: 3, cursor };
        views.projections.deliveries(&tenant(), &DeliveryFilter::default(), request).unwrap()
    };
    let first = page(None);
    assert_eq!(ids(&first.items), ["evt_10", "evt_10", "evt_9"]);
    assert_eq!(first.prev, None);
    world.accept("evt_11", "conversion.created", "r:2", &[&crm]);
    views.catch_up(&world);
    let second = page(first.next);
    assert_eq!(ids(&second.items), ["evt_8", "evt_7", "evt_6"]);
    let back = page(second.prev);
    assert_eq!(back.items, first.items);
    assert_eq!(ids(&page(back.prev).items), ["evt_11"]);
    assert_eq!(page(back.prev).prev, None);
    let mut last = page(second.next);
    while let Some(next) = last.next {
        last = page(Some(next));
    }
    assert_eq!(ids(&last.items), ["evt_2", "evt_1", "evt_0"]);
}

#[test]
fn a_delivery_shows_every_attempt() {
    let mut world = World::new();
    let mut configuration = config("conversion", vec![step("CRM")]);
    configuration.failover_url = Some("https://backup.yourcrm.com/".into());
    let id = world.pipeline("crm", configuration);
    let event = world.accept("evt_1", "conversion.created", "conversion:conv_1", &[&id]);
    world.pass(10);
    world.attempt(&id, 500);
    world.pass(5_000);
    let attempt = world.start(&id).unwrap();
    world.pass(30_000);
    world.end(&id, attempt, outcome(OutcomeClass::Timeout, None, 30_000), "");
    world.attempt(&id, 204);
    let views = Views::of(&world);
    let delivery = DeliveryId::new(event, &id);
    let (shown, attempts) = views.projections.delivery_detail(&tenant(), &delivery).unwrap().unwrap();
    assert_eq!(shown.state, DeliveryState::Delivered);
    assert_eq!((shown.started_at, shown.attempts), (Some(Timestamp(T0.0 + 10)), 3));
    assert_eq!(shown.steps[0].status, StepStatus::FailedOver);
    let numbers: Vec<_> = attempts.iter().map(|a| (a.round, a.number, a.queue)).collect();
    assert_eq!(numbers, [(1, 1, Queue::Primary), (1, 2, Queue::Primary), (1, 3, Queue::Failover)]);
    let ends: Vec<_> = attempts.iter().map(|a| (a.outcome.unwrap(), a.http_status)).collect();
    let timeout = (OutcomeClass::Timeout, None);
    assert_eq!(ends, [(OutcomeClass::HttpError, Some(500)), timeout, (OutcomeClass::Success, Some(204))]);
    let due: Vec<_> = attempts.iter().map(|a| a.due_at.unwrap().0 - T0.0).collect();
    assert_eq!(due, [0, 5_010, 35_010], "at once, after the retry delay, and at once at the failover");
    let started: Vec<_> = attempts.iter().map(|a| a.started_at.unwrap().0 - T0.0).collect();
    assert_eq!(started, [10, 5_010, 5_010 + 30_000]);
    assert_eq!(attempts[0].response.as_deref(), Some(&b"{\"received\": true}"[..]));
    assert_eq!((attempts[0].latency_ms, attempts[1].latency_ms), (Some(250), Some(30_000)));
    assert_eq!(attempts[0].phases.unwrap().connect_us, Some(1_000));
    assert!(views.projections.delivery(&TenantId::new("tenant_other"), &delivery).unwrap().is_none());
}

/// AFM-56, T-36, T-52
#[test]
fn an_execution_names_its_pipeline_as_it_was() {
    let mut world = World::new();
    let id = world.pipeline("crm", config("conversion", vec![step("CRM"), step("ERP")]));
    world.accept("evt_1", "conversion.created", "conversion:conv_1", &[&id]);
    world.configure(&id, |config| config.name = "Renamed".into());
    world.attempt(&id, 200);
    let views = Views::of(&world);
    let shown = &views.deliveries(&DeliveryFilter::default())[0];
    assert_eq!((&*shown.pipeline_name, &*shown.trigger), ("Conversion Notifications", "conversion"));
    let steps: Vec<_> = shown.steps.iter().map(|step| (&*step.name, step.status, step.http_status)).collect();
    let crm = ("Send to CRM", StepStatus::Success, Some(200));
    assert_eq!(steps, [crm, ("Send to ERP", StepStatus::Pending, None)]);
    let answer = views.projections.answer(shown.steps[0].answer.unwrap()).unwrap();
    assert_eq!(answer.as_deref(), Some(&b"{\"received\": true}"[..]));
}

/// T-32
#[test]
fn paused_holds_and_disabled_never_begins() {
    let (mut world, crm, _) = world_of_ten();
    world.configure(&crm, |config| config.status = Status::Paused);
    let views = Views::of(&world);
    let of = |executions_only: bool| {
        let pipeline = Some(crm.clone());
        views.deliveries(&DeliveryFilter { pipeline, executions_only, ..DeliveryFilter::default() })
    };
    assert!(of(false).iter().all(|delivery| delivery.state == DeliveryState::Held));
    assert_eq!(of(false)[0].state.execution_status(), "paused");
    world.configure(&crm, |config| config.status = Status::Disabled);
    world.accept("evt_10", "conversion.created", "r:9", &[&crm]);
    views.catch_up(&world);
    assert_eq!((of(false).len(), of(false)[0].state), (6, DeliveryState::Skipped));
    assert_eq!(of(true).len(), 5, "an event that a disabled pipeline passed over is no execution");
}

/// AFM-57
#[test]
fn failures_are_found_without_reading_what_succeeded() {
    let mut world = World::new();
    let id = world.pipeline("crm", config("conversion", vec![step("CRM")]));
    let mut dead = Vec::new();
    for n in 0..300_u32 {
        let event = world.accept(&format!("evt_{n}"), "conversion.created", &format!("r:{n}"), &[&id]);
        let status = if n % 100 == 7 { 500 } else { 200 };
        world.attempt(&id, status);
        if status == 500 {
            world.pass(6_000);
            world.attempt(&id, status);
            dead.push(event);
        }
    }
    let views = Views::of(&world);
    let failed = DeliveryFilter { state: Some(DeliveryState::DeadLettered), ..DeliveryFilter::default() };
    assert_eq!(ids(&views.deliveries(&failed)), ["evt_207", "evt_107", "evt_7"]);
    let in_pipeline = DeliveryFilter { pipeline: Some(id.clone()), ..failed.clone() };
    assert_eq!(ids(&views.deliveries(&in_pipeline)), ["evt_207", "evt_107", "evt_7"]);
    world.redeliver(&id, dead[1], "r:107", End::DeadLettered, 2);
    world.attempt(&id, 200);
    views.catch_up(&world);
    assert_eq!(ids(&views.deliveries(&failed)), ["evt_207", "evt_7"]);
    let again = views.projections.delivery(&tenant(), &DeliveryId::new(dead[1], &id)).unwrap().unwrap();
    assert_eq!((again.round, again.attempts, again.out_of_order), (2, 3, true));
    assert_eq!(again.state, DeliveryState::Delivered);
}

/// AFM-31, AFM-42, AFM-68 … AFM-71, T-35
#[test]
fn totals_add_up_as_the_contract_does() {
    let mut world = World::new();
    let crm = world.pipeline("crm", config("conversion", vec![step("CRM")]));
    let erp = world.pipeline("erp", config("click", vec![step("ERP")]));
    for n in 0..40_u32 {
        world.accept(&format!("evt_{n}"), "conversion.created", &format!("r:{n}"), &[&crm]);
        world.attempt(&crm, 200);
    }
    world.accept("evt_dead", "conversion.created", "r:dead", &[&crm]);
    world.attempt(&crm, 500);
    world.pass(5_000);
    let attempt = world.start(&crm).unwrap();
    world.end(&crm, attempt, outcome(OutcomeClass::Timeout, None, 30_000), "");
    world.accept("evt_click", "click.tracked", "click:1", &[&erp]);
    world.attempt(&erp, 200);
    world.accept("evt_waits", "click.tracked", "click:2", &[&erp]);
    let views = Views::of(&world);
    let totals = views.projections.pipeline_totals(&crm).unwrap();
    assert_eq!((totals.total_executions, totals.successful, totals.failed), (41, 40, 1));
    assert_eq!((totals.success_rate.to_string().as_str(), totals.pending), ("97.56", 0));
    assert_eq!(totals.last_triggered, Some(T0));
    let step = totals.steps[&StepId::new("step_CRM")];
    assert_eq!((step.executions, step.successful, step.avg_latency_ms), (41, 40, 250));
    let today = views.projections.today(&tenant(), world.now).unwrap();
    assert_eq!((today.total.executions, today.total.avg_latency_ms), (42, 250));
    assert_eq!(today.by_trigger["conversion"].executions, 41);
    assert_eq!(today.by_trigger["click"].success_rate.to_string(), "100");
    assert_eq!(today.top_errors, [("Connection timeout".into(), 1), ("HTTP 500".into(), 1)]);
    let tomorrow = Timestamp(world.now.0 + 86_400_000);
    assert_eq!(views.projections.today(&tenant(), tomorrow).unwrap(), Today::default());
}

#[test]
fn events_are_listed_with_their_deliveries() {
    let (mut world, crm, erp) = world_of_ten();
    let position = world.accept("evt_10", "conversion.created", "r:1", &[&crm, &erp]);
    let views = Views::of(&world);
    let list = |event_type: Option<&str>, resource: Option<&str>| {
        let filter =
            EventFilter { event_type: event_type.map(str::to_owned), resource: resource.map(str::to_owned) };
        let request = PageRequest { limit: 100, cursor: None };
        let page = views.projections.events(&tenant(), &filter, request).unwrap();
        page.items.into_iter().map(|event| event.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(list(None, None).len(), 11);
    assert_eq!(list(None, Some("r:1")), ["evt_10", "evt_7", "evt_4", "evt_1"]);
    assert_eq!(list(Some("click.tracked"), Some("r:1")), ["evt_7", "evt_1"]);
    let event = views.projections.event(&tenant(), "evt_10").unwrap().unwrap();
    assert_eq!((event.position, event.deliveries.len()), (position, 2));
    assert_eq!(views.projections.event_at(&tenant(), position).unwrap().unwrap(), event);
    assert!(views.projections.event(&tenant(), "evt_none").unwrap().is_none());
    assert!(views.projections.event(&TenantId::new("tenant_other"), "evt_10").unwrap().is_none());
    let body = views.projections.payload(position).unwrap().unwrap();
    assert!(body.starts_with(b"{\"id\":\"evt_10\""));
}

#[test]
fn the_audit_tells_who_changed_what_and_no_secret() {
    let (mut world, crm, _) = world_of_ten();
    let (name, hint) = (Some("ci".into()), Some("lh_abc".into()));
    let asked = Asked { name, hint, request: "req_1".into(), peer: Some("192.0.2.1".into()) };
    world.by = By { key: KeyId::new("key_other"), asked: Some(Box::new(asked)) };
    world.configure(&crm, |config| config.name = "Renamed".into());
    let (event, by) = (Position(4), world.by.clone());
    world.ask(&crm, Command::Cancel { event, resource: "r:0", by }, None);
    world.delete(&crm);
    let views = Views::of(&world);
    let request = PageRequest { limit: 100, cursor: None };
    let list = |filter: &AuditFilter| views.projections.audit(&tenant(), filter, request).unwrap().items;
    let all = list(&AuditFilter::default());
    let actions: Vec<_> = all.iter().map(|record| record.action).collect();
    let created = ["pipeline.created", "pipeline.created", "tenant.created"];
    assert_eq!(actions[..3], ["pipeline.deleted", "delivery.cancelled", "pipeline.updated"]);
    assert_eq!(actions[3..], created);
    let updated = &all[2];
    assert_eq!((updated.actor.as_str(), updated.target.as_str()), ("key_other", "pipe_crm"));
    assert_eq!(updated.before.as_ref().unwrap()["name"], "Conversion Notifications");
    assert_eq!(updated.after.as_ref().unwrap()["name"], "Renamed");
    assert_eq!(all[0].before, updated.after, "what was deleted is what was last configured");
    assert!(!serde_json::to_string(&all).unwrap().contains("c2VhbGVk"), "sealed texts are masked too");
    for record in &all[..3] {
        let told = [&record.actor_name, &record.actor_hint, &record.request_id, &record.peer];
        assert_eq!(
            told.map(Option::as_deref),
            ["ci", "lh_abc", "req_1", "192.0.2.1"].map(Some),
            "{record:?}"
        );
    }
    assert_eq!((&all[3].actor_name, &all[3].request_id), (&None, &None), "a fact that has none of it");
    let mine = AuditFilter { actor: Some("key_other".into()), ..AuditFilter::default() };
    assert_eq!(list(&mine).len(), 3);
}
