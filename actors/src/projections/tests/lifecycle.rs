//! What read models keep promising while they stop, break, fall behind and start over.

use super::support::*;
use crate::{
    domain::{
        delivery::Phase,
        event::{AbandonReason, Next},
    },
    log::replay,
};
use proptest::prelude::*;
use std::{collections::BTreeMap, fs};

/// One move of a random life. Numbers pick among what is there.
#[derive(Clone, Debug)]
enum Move {
    Accept { resource: u8, to: u8 },
    Start(u8),
    End { pipeline: u8, status: u8 },
    Crash(u8),
    Cancel { pipeline: u8, pick: u8 },
    Skip { pipeline: u8, resource: u8 },
    Resume { pipeline: u8, resource: u8 },
    Retry { pipeline: u8, pick: u8 },
    Dismiss { pipeline: u8, pick: u8 },
    Redeliver { pipeline: u8, pick: u8 },
    Status { pipeline: u8, status: u8 },
    Steps { pipeline: u8, two: bool },
    Delete,
    Pass(u8),
    CatchUp,
    Restart,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let (pipeline, resource, pick) = (0..3_u8, 0..6_u8, any::<u8>());
    let one = prop_oneof![
        8 => (resource.clone(), 0..8_u8).prop_map(|(resource, to)| Move::Accept { resource, to }),
        12 => pipeline.clone().prop_map(Move::Start),
        12 => (pipeline.clone(), 0..4_u8).prop_map(|(pipeline, status)| Move::End { pipeline, status }),
        1 => pipeline.clone().prop_map(Move::Crash),
        1 => (pipeline.clone(), pick).prop_map(|(pipeline, pick)| Move::Cancel { pipeline, pick }),
        1 => (pipeline.clone(), resource.clone()).prop_map(|(pipeline, resource)| Move::Skip { pipeline, resource }),
        1 => (pipeline.clone(), resource).prop_map(|(pipeline, resource)| Move::Resume { pipeline, resource }),
        2 => (pipeline.clone(), pick).prop_map(|(pipeline, pick)| Move::Retry { pipeline, pick }),
        1 => (pipeline.clone(), pick).prop_map(|(pipeline, pick)| Move::Dismiss { pipeline, pick }),
        1 => (pipeline.clone(), pick).prop_map(|(pipeline, pick)| Move::Redeliver { pipeline, pick }),
        1 => (pipeline.clone(), 0..3_u8).prop_map(|(pipeline, status)| Move::Status { pipeline, status }),
        1 => (pipeline, any::<bool>()).prop_map(|(pipeline, two)| Move::Steps { pipeline, two }),
        1 => Just(Move::Delete),
        3 => (1..30_u8).prop_map(Move::Pass),
        2 => Just(Move::CatchUp),
        1 => Just(Move::Restart),
    ];
    prop::collection::vec(one, 1..120)
}

/// A world with three pipelines: one step, two steps with a failover, and one that halts.
fn three() -> (World, [PipelineId; 3]) {
    let mut world = World::new();
    let one = world.pipeline("one", config("conversion", vec![step("CRM")]));
    let mut two = config("conversion", vec![step("CRM"), step("ERP")]);
    two.failover_url = Some("https://backup.yourcrm.com/".into());
    let two = world.pipeline("two", two);
    let mut halting = config("click", vec![step("CRM")]);
    halting.on_exhausted = OnExhausted::Halt;
    let three = world.pipeline("three", halting);
    (world, [one, two, three])
}

fn resource(n: u8) -> String {
    format!("conversion:c{n}")
}

fn choose<T: Clone>(among: &[T], pick: u8) -> Option<T> {
    among.get(usize::from(pick) % among.len().max(1)).cloned()
}

fn play(world: &mut World, pipelines: &[PipelineId; 3], n: usize, action: &Move) {
    let of = |pipeline: u8| pipelines[usize::from(pipeline)].clone();
    let by = world.by.clone();
    match *action {
        Move::Accept { resource: r, to } => {
            let to: Vec<_> = (0..3_u8).filter(|n| to >> n & 1 == 1).map(of).collect();
            let to: Vec<_> = to.iter().filter(|id| is_live(world, id)).collect();
            world.accept(&format!("evt_{n}"), "conversion.created", &resource(r), &to);
        }
        Move::Start(pipeline) => drop(world.start(&of(pipeline))),
        Move::End { pipeline, status } => {
            let id = of(pipeline);
            let (class, status) = match status {
                0 | 1 => (OutcomeClass::Success, Some(200)),
                2 => (OutcomeClass::HttpError, Some(500)),
                _ => (OutcomeClass::Timeout, None),
            };
            if let Some(attempt) = under_way(world, &id) {
                world.end(&id, attempt, outcome(class, status, 100), "answer");
            }
        }
        Move::Crash(pipeline) => {
            let (now, reason) = (world.now, &AbandonReason::Crash);
            world.ask(&of(pipeline), Command::Recover { now, reason, culprit: None }, None);
        }
        Move::Cancel { pipeline, pick } => {
            let id = of(pipeline);
            if let Some((event, resource)) = choose(&pending(world, &id), pick) {
                world.ask(&id, Command::Cancel { event, resource: &resource, by }, None);
            }
        }
        Move::Skip { pipeline, resource: r } => {
            world.ask(&of(pipeline), Command::SkipHead { resource: &resource(r), by }, None);
        }
        Move::Resume { pipeline, resource: r } => {
            world.ask(&of(pipeline), Command::ResumeLane { resource: &resource(r), by }, None);
        }
        Move::Retry { pipeline, pick } | Move::Dismiss { pipeline, pick } => {
            let id = of(pipeline);
            let dismiss = matches!(action, Move::Dismiss { .. });
            tend_dead_letter(world, &id, pick, dismiss);
        }
        Move::Redeliver { pipeline, pick } => {
            let id = of(pipeline);
            let delivered: Vec<_> =
                last_rounds(world, &id).into_iter().filter(|(_, (_, done))| *done).collect();
            if let Some((event, (round, _))) = choose(&delivered, pick) {
                let resource = resource_of(world, event);
                world.redeliver(&id, event, &resource, End::Delivered, round + 1);
            }
        }
        Move::Status { pipeline, status } => {
            let id = of(pipeline);
            let status = [Status::Active, Status::Paused, Status::Disabled][usize::from(status)];
            if is_live(world, &id) {
                world.configure(&id, |config| config.status = status);
            }
        }
        Move::Steps { pipeline, two } => {
            let id = of(pipeline);
            let steps = if two { vec![step("CRM"), step("ERP")] } else { vec![step("ERP")] };
            if is_live(world, &id) {
                world.configure(&id, |config| config.steps = steps);
            }
        }
        Move::Delete => {
            let id = of(2);
            if n > 60 && is_live(world, &id) {
                world.delete(&id);
            }
        }
        Move::Pass(seconds) => world.pass(u64::from(seconds) * 1000),
        Move::CatchUp | Move::Restart => {}
    }
}

fn is_live(world: &World, id: &PipelineId) -> bool {
    !world.state.pipelines[id].is_deleted()
}

fn under_way(world: &World, id: &PipelineId) -> Option<AttemptId> {
    world.state.pipelines[id].mailbox().lanes().find_map(|lane| {
        let head = lane.head.as_ref().filter(|head| head.phase == Phase::InFlight)?;
        Some(head.attempt(lane.key, head.number))
    })
}

fn pending(world: &World, id: &PipelineId) -> Vec<(Position, Box<str>)> {
    let lanes = world.state.pipelines[id].mailbox().lanes();
    let entries = lanes.flat_map(|lane| {
        let head = lane.head.iter().map(|head| head.entry.event);
        head.chain(lane.waiting.events()).map(|event| (event, lane.resource.clone()))
    });
    entries.collect()
}

fn tend_dead_letter(world: &mut World, id: &PipelineId, pick: u8, dismiss: bool) {
    let items: Vec<_> =
        world.state.dead_letters.iter().filter(|item| item.pipeline == *id).cloned().collect();
    let Some(item) = choose(&items, pick) else { return };
    let (event, dead_letter, by) = (item.event, item.by_ref(), world.by.clone());
    let resource = &resource_of(world, event);
    let command = if dismiss {
        Command::DeleteDeadLetter { event, resource, dead_letter, by }
    } else {
        Command::Redeliver {
            event,
            resource,
            round: last_rounds(world, id)[&event].0 + 1,
            dead_letter: Some(dead_letter),
            others_dead: items.iter().filter(|other| other.event == event).count() > 1,
            out_of_order: false,
            was: End::DeadLettered,
            by,
        }
    };
    world.ask(id, command, None);
}

fn resource_of(world: &World, event: Position) -> Box<str> {
    let Fact::Accepted(_, accepted) = world.log.read_at(event).unwrap().fact().unwrap() else {
        panic!("no event at {event}")
    };
    accepted.resource
}

/// The round of each delivery, and whether it ended as delivered.
fn last_rounds(world: &World, id: &PipelineId) -> BTreeMap<Position, (u16, bool)> {
    let mut rounds = BTreeMap::new();
    let end = world.log.watermark().get();
    replay::visit(&*world.log, Position::START, end, &mut |position, _, fact| match fact {
        Fact::Accepted(_, accepted) if accepted.routes.iter().any(|route| route.pipeline == *id) => {
            rounds.insert(position, (1, false));
        }
        Fact::Lane(to, LaneEvent::Redelivered { event, redelivery, .. }) if to == *id => {
            rounds.insert(event, (redelivery.round, false));
        }
        Fact::Lane(to, LaneEvent::AttemptEnded { attempt, verdict, .. }) if to == *id => {
            rounds.insert(attempt.event, (attempt.round, verdict.next == Next::End(End::Delivered)));
        }
        _ => {}
    })
    .unwrap();
    rounds
}

/// Everything that read models say.
fn everything(views: &Views, world: &World) -> String {
    let projections = &views.projections;
    let deliveries = views.deliveries(&DeliveryFilter::default());
    let request = PageRequest { limit: 1000, cursor: None };
    let details: Vec<_> =
        deliveries.iter().map(|d| projections.delivery_detail(&tenant(), &d.id).unwrap()).collect();
    let events = projections.events(&tenant(), &EventFilter::default(), request).unwrap();
    let totals: Vec<_> =
        world.state.pipelines.keys().map(|id| projections.pipeline_totals(id).unwrap()).collect();
    let today = projections.today(&tenant(), world.now).unwrap();
    let audit = projections.audit(&tenant(), &AuditFilter::default(), request).unwrap();
    let failed = DeliveryFilter { state: Some(DeliveryState::DeadLettered), ..DeliveryFilter::default() };
    let failed = views.deliveries(&failed);
    format!("{deliveries:#?}{details:#?}{events:#?}{totals:#?}{today:#?}{audit:#?}{failed:#?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// I20, I21
    #[test]
    fn counts_equal_the_state_and_a_rebuild_equals_what_grew(moves in moves()) {
        let (mut world, pipelines) = three();
        let mut grown = Views::of(&world);
        for (n, action) in moves.iter().enumerate() {
            play(&mut world, &pipelines, n, action);
            match action {
                Move::CatchUp => grown.catch_up(&world),
                Move::Restart => grown.restart(&world, |_| ()),
                _ => {}
            }
        }
        grown.catch_up(&world);
        prop_assert_eq!(grown.count(), world.state.summary().deliveries);
        let mut executions = 0;
        for (id, pipeline) in &world.state.pipelines {
            let (totals, ended) = (grown.projections.pipeline_totals(id).unwrap(), pipeline.ended());
            let counted = [totals.successful, totals.failed, totals.skipped, totals.cancelled];
            prop_assert_eq!(counted, [ended.delivered, ended.dead_lettered, ended.skipped, ended.cancelled]);
            prop_assert_eq!(counted.iter().sum::<u64>() + totals.pending, totals.routed);
            executions += totals.total_executions;
        }
        let today = grown.projections.today(&tenant(), world.now).unwrap();
        prop_assert_eq!(today.total.executions, executions, "all of it happened on one day");
        let rebuilt = Views::of(&world);
        prop_assert_eq!(everything(&grown, &world), everything(&rebuilt, &world));
    }
}

fn busy() -> World {
    let (mut world, pipelines) = three();
    for n in 0..200_u32 {
        let resource = format!("conversion:c{n}");
        world.accept(&format!("evt_{n}"), "conversion.created", &resource, &[&pipelines[0]]);
        world.attempt(&pipelines[0], if n % 10 == 0 { 500 } else { 200 });
    }
    world
}

#[test]
fn read_models_that_are_missing_are_built_anew() {
    let world = busy();
    let mut views = Views::of(&world);
    let before = everything(&views, &world);
    views.restart(&world, |folder| fs::remove_dir_all(folder.join("generation-1")).unwrap());
    assert_eq!(everything(&views, &world), before);
}

#[test]
fn damaged_read_models_are_built_anew() {
    let world = busy();
    let mut views = Views::of(&world);
    let before = everything(&views, &world);
    views.restart(&world, |folder| {
        for file in files(folder) {
            let mut bytes = fs::read(&file).unwrap();
            for byte in &mut bytes {
                *byte ^= 0x55;
            }
            fs::write(file, bytes).unwrap();
        }
    });
    assert_eq!(everything(&views, &world), before);
    assert!(!views.folder.path().join("generation-1").exists(), "the old folder is gone");
}

#[test]
fn read_models_of_another_schema_are_built_anew() {
    let world = busy();
    let mut views = Views::of(&world);
    let before = everything(&views, &world);
    views.restart(&world, |folder| {
        let db = fjall::Database::builder(folder.join("generation-1")).open().unwrap();
        let book = db.keyspace("book", fjall::KeyspaceCreateOptions::default).unwrap();
        book.insert([store::Tag::Schema as u8], 0_u64.to_be_bytes()).unwrap();
    });
    assert_eq!(everything(&views, &world), before);
}

/// I23: only durable records are folded, so the log has lost some.
#[test]
fn read_models_ahead_of_their_log_refuse_it_and_stay() {
    let world = busy();
    let folder = Views::of(&world).into_folder();
    let (other, _) = three();
    for _ in 0..2 {
        let refused = Projections::start(other.log.clone(), folder.path()).err();
        let durable = other.log.watermark().get();
        let told = |error| matches!(error, ProjectionError::Ahead { durable: at, .. } if at == durable);
        assert!(refused.is_some_and(told));
    }
    drop(Projections::start(world.log.clone(), folder.path()).unwrap());
}

/// CRS.16: in a copy that was taken while an engine ran, the read models may be younger than the log.
#[test]
fn copied_read_models_ahead_of_their_log_are_built_anew() {
    let folder = Views::of(&busy()).into_folder();
    let copy = tempfile::tempdir().unwrap();
    copy_files(folder.path(), copy.path());
    let (other, _) = three();
    let views = Views::at(&other, copy);
    assert!(views.projections.was_copied());
    assert_eq!(everything(&views, &other), everything(&Views::of(&other), &other));
    let views = Views::at(&other, views.into_folder());
    assert!(!views.projections.was_copied(), "it is at home there now");
}

/// I21: as long as the log, and not of it.
#[test]
fn read_models_of_another_course_of_the_log_are_built_anew() {
    let (mut one, pipelines) = three();
    let (mut other, _) = three();
    one.configure(&pipelines[0], |config| config.name = "One".into());
    let folder = Views::of(&one).into_folder();
    other.configure(&pipelines[0], |config| config.name = "Other".into());
    let views = Views::at(&other, folder);
    assert_eq!(everything(&views, &other), everything(&Views::of(&other), &other));
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            fs::create_dir(&target).unwrap();
            copy_files(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn damage_that_a_reader_meets_heals_while_running() {
    let world = busy();
    let views = Views::of(&world);
    let before = everything(&views, &world);
    let generation = views.projections.shared.generation.load_full();
    generation.store.rows.insert(1_u64.to_be_bytes(), [0xff; 9]).unwrap();
    drop(generation);
    let request = PageRequest { limit: 250, cursor: None };
    assert!(views.projections.deliveries(&tenant(), &DeliveryFilter::default(), request).is_err());
    while views.projections.shared.damaged.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
    views.catch_up(&world);
    assert_eq!(everything(&views, &world), before);
}

#[test]
fn what_is_not_durable_is_not_shown() {
    let (mut world, pipelines) = three();
    let views = Views::of(&world);
    world.log.hold();
    world.accept("evt_1", "conversion.created", "conversion:c1", &[&pipelines[0]]);
    assert_eq!(views.deliveries(&DeliveryFilter::default()), []);
    world.log.release();
    views.catch_up(&world);
    assert_eq!(views.deliveries(&DeliveryFilter::default()).len(), 1);
    assert_eq!(views.projections.lag(), 0);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
