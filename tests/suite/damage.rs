//! Damage to the data folder, seen from outside: the real binary holds what it acknowledged, or refuses by a message
//! that names file and byte; `log repair` gives up what is damaged, openly.

use crate::{
    crashes::Dice,
    support::{
        Receiver, Reply, TestServer, eventually,
        make::{Pipeline, conversion, post},
        server::command,
        wait::number,
    },
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A folder with delivered, dead and waiting deliveries, as a kill left it.
struct Scene {
    folder: tempfile::TempDir,
    told: Vec<Value>,
    paused: String,
}

const SEGMENT: (&str, &str) = ("LEDGERHOOK_LOG_SEGMENT_BYTES", "8388608");

fn on(data_dir: &Path) -> Result<TestServer, (std::process::ExitStatus, String)> {
    TestServer::with().variable(SEGMENT.0, SEGMENT.1).on(data_dir).try_start()
}

/// What a client reads of the past.
fn tell(server: &TestServer) -> Vec<Value> {
    let api = server.api();
    let state = api.get("/api/state").data(200);
    let mut told = vec![state["deliveries"].clone(), state["events"].clone(), state["digest"].clone()];
    told.extend(api.list("/api/deliveries", "items"));
    told.extend(api.list("/api/admin/webhooks/logs/dlq", "items"));
    told.push(api.get("/api/admin/webhooks/stats").data(200));
    told
}

/// The same, save that what is known to be damaged may be shown without its payload.
fn alike(told: &[Value], before: &[Value], whole: bool) -> bool {
    let pairs = told.iter().zip(before);
    told.len() == before.len()
        && pairs.into_iter().all(|(now, before)| {
            let mut before = before.clone();
            if !whole && now["payload"].is_null() && before.get("payload").is_some() {
                before["payload"] = Value::Null;
            }
            *now == before
        })
}

impl Scene {
    fn new(receiver: &Receiver) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut server = on(&folder.path().join("data")).expect("a server");
        let api = server.api();
        Pipeline::to(receiver).retry(2, 0).create(&api);
        let paused =
            Pipeline::to(receiver).retry(2, 0).with("name", "Paused").with("status", "paused").create(&api);
        for n in 0..20 {
            post(&api, &conversion(&format!("evt_{n}"), &format!("conv_{}", n % 5), n));
        }
        eventually("all have ended", || {
            let state = api.get("/api/state").data(200)["deliveries"].clone();
            (state["delivered"] == 16 && state["dead_lettered"] == 4).then_some(())
        });
        server.restart();
        let told = tell(&server);
        server.kill();
        fs::remove_file(server.data_dir.join("address")).expect("the address");
        Self { folder, told, paused }
    }

    /// A folder of its own with the same files.
    fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().expect("a folder");
        copy_files(&self.folder.path().join("data"), &copy.path().join("data"));
        copy
    }
}

fn receiver() -> Receiver {
    Receiver::start(|request| match request.resource().as_str() {
        "conv_3" => Reply::Status(500),
        _ => Reply::Status(200),
    })
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_files(&path, &target);
        } else {
            fs::copy(&path, &target).expect("a copy");
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn change(path: &Path, act: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    act(&mut bytes);
    fs::write(path, bytes).expect("a damaged file");
}

fn segment(data_dir: &Path) -> PathBuf {
    data_dir.join("log/00000000000000000001.seg")
}

/// Where a text stands in a file.
fn find(path: &Path, text: &str) -> usize {
    let bytes = fs::read(path).expect("a file");
    bytes.windows(text.len()).position(|window| window == text.as_bytes()).expect("the text is there")
}

fn verify(data_dir: &Path) -> (bool, String) {
    let output = command(data_dir, &[], &[]).args(["log", "verify"]).output().expect("the binary runs");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn repair(data_dir: &Path, words: &[&str]) -> (bool, String) {
    let output =
        command(data_dir, &[], &[]).args(["log", "repair"]).args(words).output().expect("the binary runs");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// CRS.4, I23: flips in every file of the folder, through the real binary.
#[test]
fn a_flipped_bit_in_any_file_loses_nothing_silently() {
    let receiver = receiver();
    let scene = Scene::new(&receiver);
    let mut dice = Dice::new(number("DAMAGE_SEED", 7));
    let data = scene.folder.path().join("data");
    let all: Vec<_> =
        files(&data).into_iter().filter(|path| path.metadata().is_ok_and(|m| m.len() > 0)).collect();
    let (mut refused, mut held) = (0, 0);
    for turn in 0..number("DAMAGE_STARTS", 18) {
        let copy = scene.copy();
        let data_dir = copy.path().join("data");
        // Every third in the segment, every sixth in the key; of what is there, not of the zeroes behind it.
        let path = match turn % 6 {
            0 | 3 => segment(&data),
            1 => data.join("master.key"),
            _ => all[turn % all.len()].clone(),
        };
        let name = path.strip_prefix(&data).expect("a path");
        let (mut at, mask) = (0, 1 << dice.roll(8));
        change(&data_dir.join(name), |bytes| {
            let used: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
            at = used[usize::try_from(dice.roll(used.len() as u64)).expect("a place")];
            bytes[at] ^= mask;
        });
        let place = format!("{mask:#04x} at byte {at} of {}", name.display());
        let (whole, said) = verify(&data_dir);
        match on(&data_dir) {
            Ok(mut server) => {
                eventually(&format!("{place}: all is told"), || {
                    alike(&tell(&server), &scene.told, whole).then_some(())
                });
                // What a start does not read shows when it is read: payloads.
                assert!(whole || said.contains("payload"), "{place}: {said}");
                assert!(server.terminate().success());
                held += 1;
            }
            Err((status, log)) => {
                assert!(!status.success(), "{place}: {log}");
                let named = match name.parent() {
                    Some(parent) if parent.ends_with("log") => {
                        log.contains("data/log/") && log.contains("at byte")
                    }
                    _ => log.contains("master.key") || log.contains("master key"),
                };
                assert!(named || log.contains("has format"), "{place}: {log}");
                refused += 1;
            }
        }
    }
    println!("{held} held, {refused} refused");
    assert!(held > 0 && refused > 0, "{held} held, {refused} refused");
}

/// CRS.4, I23: another master key is found before anything was sealed with it, also where no pipeline has a key.
#[test]
fn a_master_key_that_was_changed_is_refused_also_without_pipelines() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    // An orderly stop: a kill right behind the start may take the first key along, and then nothing is sealed.
    assert!(on(&data_dir).expect("a server").terminate().success());
    let key = data_dir.join("master.key");
    let sound = fs::read(&key).expect("a key");
    change(&key, |bytes| bytes[3] = if bytes[3] == b'A' { b'B' } else { b'A' });
    let (.., log) = on(&data_dir).map(drop).expect_err("another key");
    assert!(log.contains("wrapped under another master key"), "{log}");
    change(&key, |bytes| bytes[3] = b'!');
    let (.., log) = on(&data_dir).map(drop).expect_err("no key at all");
    assert!(log.contains("master.key"), "{log}");
    fs::write(&key, sound).expect("a key");
    drop(on(&data_dir).expect("the key that belongs to it"));
}

/// CRS.4, I23: what a start does not read is found when it is used: no request is made of changed bytes, the delivery
/// is a dead letter that says why, others go on, and reads show it as damaged.
#[test]
fn a_payload_that_was_damaged_is_never_sent() {
    let receiver = receiver();
    let scene = Scene::new(&receiver);
    let copy = scene.copy();
    let data_dir = copy.path().join("data");
    let path = segment(&data_dir);
    let at = find(&path, r#""id":"evt_12""#);
    change(&path, |bytes| bytes[at + 10] ^= 1);
    let server = on(&data_dir).expect("it starts");
    let api = server.api();
    let sent = receiver.count();
    api.put(
        &format!("/api/admin/webhooks/pipelines/{}", scene.paused),
        &serde_json::json!({"status": "active"}),
    )
    .data(200);
    eventually("the others are delivered", || (receiver.count() >= sent + 15).then_some(()));
    // Four of the resource that always fails, in each pipeline, and this one.
    eventually("it is a dead letter", || {
        let state = api.get("/api/state").data(200)["deliveries"].clone();
        (state["delivered"] == 31 && state["dead_lettered"] == 9).then_some(())
    });
    let items = api.list("/api/admin/webhooks/logs/dlq", "items");
    assert_eq!(items.len(), 9, "one that cannot be read hides no other");
    let shown = api.get("/api/events/evt_12").data(200);
    assert_eq!((&shown["damaged"], &shown["payload"]), (&json!(true), &json!(null)), "{shown}");
    let delivery = shown["deliveries"][0]["id"].as_str().expect("a delivery");
    api.get(&format!("/api/deliveries/{delivery}")).data(200);
    assert!(api.get("/api/events/evt_11").data(200).get("damaged").is_none());
    assert!(server.log().contains("is not what it was") && server.log().contains("at byte"));
    assert!(
        !receiver.received()[sent..].iter().any(|request| ["evt_12", "evt_02"].contains(&request.event()))
    );
    assert!(!verify(&data_dir).0);
}

/// I23: nothing is given up without being told, nothing that is cut is deleted, and the log says what was done.
#[test]
fn a_repair_shows_what_is_lost_and_writes_it_down() {
    let receiver = receiver();
    let scene = Scene::new(&receiver);
    let copy = scene.copy();
    let data_dir = copy.path().join("data");
    let path = segment(&data_dir);
    assert!(repair(&data_dir, &[]).1.contains("nothing to repair"));

    // A fact in the middle, and the payload of an event before it.
    let payload = find(&path, r#""id":"evt_2""#);
    let fact = find(&path, "conv_2");
    let later = fs::read(&path).expect("a segment");
    let last = later
        .windows(6)
        .enumerate()
        .take(1 << 20)
        .filter(|(_, text)| text == b"evt_15")
        .map(|(at, _)| at)
        .next();
    let last = last.expect("an event").max(fact);
    change(&path, |bytes| {
        bytes[payload + 10] ^= 1;
        bytes[last] ^= 1;
    });
    let damaged = fs::read(&path).expect("a segment");
    let (.., log) = on(&data_dir).map(drop).expect_err("it refuses");
    assert!(log.contains("damage in") && log.contains(".seg` at byte"), "{log}");

    let (done, shown) = repair(&data_dir, &[]);
    assert!(!done && shown.contains("nothing was changed"), "{shown}");
    assert!(shown.contains("damage in") && shown.contains("the log is to be cut before position"), "{shown}");
    assert!(
        shown.contains("attempt_ended") && shown.contains("exec_") && shown.contains("is to be given up"),
        "{shown}"
    );
    assert_eq!(fs::read(&path).expect("a segment"), damaged, "without --yes nothing is changed");

    let (done, said) = repair(&data_dir, &["--yes"]);
    assert!(done, "{said}");
    let aside =
        fs::read_dir(data_dir.join("repaired")).expect("a folder").flatten().next().expect("one").path();
    let kept = fs::read(aside.join("00000000000000000001.seg")).expect("what was cut");
    assert_eq!(kept, damaged, "nothing is deleted");
    let told = fs::read_to_string(aside.join("given-up.txt")).expect("what was given up");
    assert!(shown.starts_with(&told), "{told}");
    let (whole, said) = verify(&data_dir);
    assert!(whole && said.contains("repaired at position") && said.contains("were given up"), "{said}");
    assert!(repair(&data_dir, &[]).1.contains("nothing to repair"));

    let mut server = on(&data_dir).expect("it starts");
    let (busy, said) = repair(&data_dir, &[]);
    assert!(!busy && said.contains("is in use by another process"), "{said}");
    let api = server.api();
    let facts = api.list("/api/log", "items");
    let repaired = facts.iter().find(|fact| fact["kind"] == "log_repaired").expect("a fact");
    assert!(repaired["payload"]["cut"].as_u64().is_some_and(|cut| cut > 1), "{repaired}");
    post(&api, &conversion("evt_new", "conv_1", 99));
    eventually("it delivers", || {
        receiver.received().iter().any(|request| request.event() == "evt_new").then_some(())
    });
    assert!(server.terminate().success());
    assert!(verify(&data_dir).0);
}

/// A repair that is killed leaves a log that refuses to open; asked for again, it is finished.
#[test]
fn a_repair_that_was_interrupted_is_finished_when_it_is_asked_for_again() {
    let receiver = receiver();
    let scene = Scene::new(&receiver);
    let copy = scene.copy();
    let data_dir = copy.path().join("data");
    let aside = data_dir.join("repaired/1");
    let note = serde_json::json!({
        "type": "log_repaired", "reason": "a test", "cut": 5, "records": 1, "payloads": [], "aside": aside,
    });
    fs::write(data_dir.join("log/repairing"), note.to_string()).expect("a note");
    let (.., log) = on(&data_dir).map(drop).expect_err("it refuses");
    assert!(log.contains("a repair was begun and not finished"), "{log}");
    let (done, said) = repair(&data_dir, &["--yes"]);
    assert!(done, "{said}");
    let (whole, said) = verify(&data_dir);
    assert!(whole && said.contains("a test"), "{said}");
    drop(on(&data_dir).expect("it starts"));
}
