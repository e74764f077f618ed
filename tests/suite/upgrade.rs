//! Data folders of every version of the formats, opened by today's binary. `tests/fixtures/data/make.py` made them, with
//! binaries of those days: the number is the snapshots' format, which counts the changes of the fold.

use crate::{
    crashes::Dice,
    support::{
        Api, TestServer, eventually, files,
        program::{checkout, run},
        server::{OPERATOR_KEY, command},
    },
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

/// One stored folder.
struct Fixture {
    version: String,
    folder: tempfile::TempDir,
    expected: Value,
    /// Of today's fold at the position that the state was told at.
    digest: String,
}

const SEGMENT: (&str, &str) = ("LEDGERHOOK_LOG_SEGMENT_BYTES", "8388608");

impl Fixture {
    fn unpack(version: &str) -> Self {
        let stored = checkout("tests/fixtures/data").join(version);
        let folder = tempfile::tempdir().expect("a folder");
        let mut tar = Command::new("tar");
        run(tar.arg("-C").arg(folder.path()).arg("-xzf").arg(stored.join("data.tar.gz")));
        let text = |name: &str| fs::read_to_string(stored.join(name)).expect("a file of the fixture");
        let expected = serde_json::from_str(&text("expected.json")).expect("JSON");
        Self { version: version.to_owned(), folder, expected, digest: text("digest").trim().to_owned() }
    }

    fn all() -> Vec<Self> {
        let folders = fs::read_dir(checkout("tests/fixtures/data")).expect("fixtures").flatten();
        let mut versions: Vec<_> = folders
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        versions.sort();
        assert!(versions.len() >= 3, "{versions:?}");
        versions.iter().map(|version| Self::unpack(version)).collect()
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn read(&self, path: &str) -> &Value {
        let read = &self.expected["reads"][path];
        assert!(read.is_object(), "{path} was not read");
        read
    }

    fn verb(&self, words: &[&str]) -> Output {
        command(&self.data_dir(), &[], &[]).args(words).output().expect("the binary runs")
    }

    fn start(&self) -> TestServer {
        TestServer::with().variable(SEGMENT.0, SEGMENT.1).on(&self.data_dir()).start()
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &output.stderr].concat()).into_owned()
}

/// States of deliveries by id, and what the totals say: all that an upgrade could lose.
fn told(server: &TestServer) -> Vec<Value> {
    let api = server.api();
    let state = api.get("/api/state").data(200);
    let mut told = vec![state["deliveries"].clone(), state["events"].clone()];
    for path in ["/api/deliveries", "/api/admin/webhooks/logs/dlq"] {
        told.extend(api.list(path, "items").into_iter().map(|item| json!([item["id"], item["status"]])));
    }
    told
}

/// UPG.1, UPG.6, I21: nothing is lost, and every fold of the same records is the same.
#[test]
fn folders_of_every_version_are_opened_with_all_that_is_in_them() {
    for fixture in Fixture::all() {
        let version = &fixture.version;
        let before = files(&fixture.data_dir());
        let verified = fixture.verb(&["log", "verify"]);
        assert!(verified.status.success(), "{version}: {}", text(&verified));
        let was = &fixture.read("/api/state")["answer"]["data"];
        let position = was["position"].to_string();
        for _ in 0..3 {
            let replayed = fixture.verb(&["log", "replay", "--to", &position]);
            let state: Value = serde_json::from_slice(&replayed.stdout).expect("a state");
            assert_eq!(
                (&state["deliveries"], &state["events"]),
                (&was["deliveries"], &was["events"]),
                "{version}"
            );
            assert_eq!(state["digest"], fixture.digest, "{version}: the fold of recorded facts has changed");
        }
        assert_eq!(files(&fixture.data_dir()), before, "{version}: reading changes nothing");

        let mut server = fixture.start();
        let state = server.api().get("/api/state").data(200);
        assert_eq!(
            (&state["deliveries"], &state["events"]),
            (&was["deliveries"], &was["events"]),
            "{version}"
        );
        let old = fixture.read("/api/deliveries?limit=15")["answer"]["data"]["items"].clone();
        let old =
            old.as_array().or_else(|| fixture.read("/api/deliveries?limit=15")["answer"]["items"].as_array());
        let old = old.cloned().unwrap_or_default();
        assert!(!old.is_empty(), "{version}");
        eventually("the read models have caught up", || {
            let now = server.api().list("/api/deliveries", "items");
            let same = |was: &Value| now.iter().any(|n| n["id"] == was["id"] && n["status"] == was["status"]);
            old.iter().all(same).then_some(())
        });
        let audit = server.api().list("/api/audit", "items");
        assert!(!audit.is_empty(), "{version}");
        // Facts of those days do not say how a key came.
        let is_old = |record: &Value| record["actor"].is_string() && record["actor_name"].is_null();
        assert!(audit.iter().all(is_old), "{version}: {audit:#?}");
        // The log is appended to and never rewritten: what was there is there, byte for byte.
        let segment = PathBuf::from("log/00000000000000000001.seg");
        let (then, now) = (&before[&fixture.data_dir().join(&segment)], files(&fixture.data_dir()));
        let now = &now[&fixture.data_dir().join(&segment)];
        let changed = (1024..then.len()).find(|at| then[*at] != 0 && then[*at] != now[*at]);
        assert_eq!(changed, None, "{version}");
        let before = told(&server);
        server.restart();
        eventually("the read models have caught up", || (told(&server) == before).then_some(()));
        assert!(server.terminate().success());
        let verified = fixture.verb(&["log", "verify"]);
        assert!(verified.status.success(), "{version}: {}", text(&verified));
    }
}

/// UPG.3: killed ten times while it opens an old folder.
#[test]
fn a_start_on_an_old_folder_that_is_killed_ten_times_ends_as_one_that_was_not() {
    let calm = Fixture::unpack("1");
    let expected = told(&calm.start());
    let killed = Fixture::unpack("1");
    let mut dice = Dice::new(3);
    for _ in 0..10 {
        let mut command = command(&killed.data_dir(), &[], &[]);
        command.args(["--listen", "127.0.0.1:0"]).env("LEDGERHOOK_OPERATOR_KEY", OPERATOR_KEY);
        command.env(SEGMENT.0, SEGMENT.1).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the binary starts");
        thread::sleep(Duration::from_millis(dice.roll(400)));
        child.kill().expect("a process to kill");
        child.wait().expect("its end");
    }
    let _ = fs::remove_file(killed.data_dir().join("address"));
    let mut server = killed.start();
    eventually("it tells the same", || (told(&server) == expected).then_some(()));
    assert!(server.terminate().success());
    assert!(killed.verb(&["log", "verify"]).status.success());
}

/// CRC-32C, as `docs/log-format.md` has it.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1)))
    })
}

/// UPG.2: of a newer format nothing is touched, and the message says which.
#[test]
fn a_newer_format_is_refused_untouched() {
    let newer = |what: &str, change: &dyn Fn(&Path), says: &str| {
        let fixture = Fixture::unpack("3");
        let data_dir = fixture.data_dir();
        change(&data_dir.join("log"));
        let before = files(&data_dir);
        let started = TestServer::with().variable(SEGMENT.0, SEGMENT.1).on(&data_dir).try_start();
        let (status, log) = started.map(drop).expect_err(what);
        assert!(!status.success() && log.contains(says), "{what}: {log}");
        let mut after = files(&data_dir);
        after.retain(|path, _| !path.ends_with("lock") || before.contains_key(path));
        assert!(after == before, "{what}: something was changed");
        for verb in ["verify", "replay"] {
            let output = fixture.verb(&["log", verb]);
            assert!(!output.status.success(), "{what}: {}", text(&output));
        }
        assert!(files(&data_dir) == after, "{what}: something was changed");
    };
    newer(
        "a newer folder",
        &|log| {
            let format = fs::read_to_string(log.join("FORMAT")).expect("FORMAT");
            fs::write(log.join("FORMAT"), format.replace("format 1", "format 2")).expect("FORMAT");
        },
        "has format 2, and this version reads up to 1",
    );
    newer(
        "a newer segment",
        &|log| {
            let path = log.join("00000000000000000001.seg");
            let mut bytes = fs::read(&path).expect("a segment");
            bytes[8] = 2;
            let sum = crc(&bytes[8..72]).to_le_bytes();
            bytes[4..8].copy_from_slice(&sum);
            fs::write(&path, bytes).expect("a segment");
        },
        "has format 2, and this version reads up to 1",
    );
}

/// What of an old answer a new one lacks or has of another type.
fn missing(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in old {
                match new.get(name) {
                    Some(now) => missing(&format!("{path}.{name}"), value, now, found),
                    // Of what happened within the period that is looked at: the days go by, and the fixture stays.
                    None if path.ends_with(".by_trigger_type") => {}
                    None => found.push(format!("{path}.{name} is gone")),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            if let (Some(old), Some(new)) = (old.first(), new.first()) {
                missing(&format!("{path}[]"), old, new, found);
            }
        }
        // What had no value then may have one now, and the other way round.
        (Value::Null, _) | (_, Value::Null) => {}
        (old, new) if std::mem::discriminant(old) == std::mem::discriminant(new) => {}
        (old, new) => found.push(format!("{path} was {old}, is {new}")),
    }
}

fn asked(api: &Api, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let answer = api.send(method, path, Some(body).filter(|body| !body.is_null()));
    (answer.status, answer.json)
}

/// UPG.4: what a client of the first version read and did, it reads and does today.
#[test]
fn answers_keep_their_fields_types_and_status_codes() {
    for fixture in Fixture::all() {
        let version = &fixture.version;
        let upgraded = fixture.start();
        let api = upgraded.api();
        for (path, was) in fixture.expected["reads"].as_object().expect("reads") {
            let lost = eventually(path, || {
                let (status, now) = asked(&api, "GET", path, &Value::Null);
                let mut lost = Vec::new();
                missing("", &was["answer"], &now, &mut lost);
                (was["status"] == status).then_some(lost)
            });
            assert!(lost.is_empty(), "{version}: GET {path}: {lost:?}");
        }
        // The same calls in the same order on a new folder, where new ids take the place of the old ones.
        let fresh = TestServer::start();
        let api = fresh.api();
        let mut ids: Vec<(String, String)> = Vec::new();
        for call in fixture.expected["calls"].as_array().expect("calls") {
            let (method, path) =
                (call["method"].as_str().expect("a method"), call["path"].as_str().expect("a path"));
            let path = ids.iter().fold(path.to_owned(), |path, (old, new)| path.replace(old, new));
            let (status, now) = asked(&api, method, &path, &call["body"]);
            assert_eq!(call["status"], status, "{version}: {method} {path}: {now}");
            let mut lost = Vec::new();
            missing("", &call["answer"], &now, &mut lost);
            assert!(lost.is_empty(), "{version}: {method} {path}: {lost:?}");
            if let (Some(old), Some(new)) =
                (call["answer"]["data"]["id"].as_str(), now["data"]["id"].as_str())
            {
                ids.push((old.to_owned(), new.to_owned()));
            }
        }
    }
}
