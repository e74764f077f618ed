//! A log that has lost what was acknowledged, though all that is left of it is sound: what was folded from it tells.

use crate::support::{
    Receiver, TestServer, eventually,
    make::{Pipeline, conversion, post},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A server with some events, all delivered and in its lists.
fn with_events(receiver: &Receiver) -> TestServer {
    let server = TestServer::start();
    let api = server.api();
    Pipeline::to(receiver).create(&api);
    for n in 0..10 {
        post(&api, &conversion(&format!("evt_{n}"), "conv_1", n));
    }
    eventually("all are delivered", || {
        (api.get("/api/state").data(200)["deliveries"]["delivered"] == 10).then_some(())
    });
    assert_eq!(api.list("/api/deliveries", "items").len(), 10);
    server
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// Every start is refused, by a message that names these; nothing is changed, so that the way back stays open.
fn is_refused(server: &TestServer, named: &[&str]) {
    for _ in 0..2 {
        let refused = server.verb(&["--listen", "127.0.0.1:0"]);
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success(), "{text}");
        for word in named.iter().chain(&["records that were acknowledged are missing", "Put the log back"]) {
            assert!(text.contains(word), "`{word}`: {text}");
        }
    }
}

fn set_aside(server: &TestServer, name: &str) -> PathBuf {
    let aside = server.data_dir.with_file_name(format!("{name}-aside"));
    fs::rename(server.data_dir.join(name), &aside).expect("it is moved");
    aside
}

/// CRS.4, I23
#[test]
fn a_folder_whose_log_is_gone_is_refused_until_it_is_back() {
    let receiver = Receiver::healthy();
    let mut server = with_events(&receiver);
    assert!(server.terminate().success());
    let log = set_aside(&server, "log");
    is_refused(&server, &["there is no log in", "projections"]);
    assert!(!server.data_dir.join("log").exists(), "a mount that is missing stays as it is");
    fs::rename(log, server.data_dir.join("log")).expect("the log");
    server.launch();
    assert_eq!(server.api().list("/api/deliveries", "items").len(), 10);
}

/// A server with one event, folded into its read models; its log, and a copy from before there was any.
fn with_an_older_log(receiver: &Receiver, event: &str) -> (TestServer, [PathBuf; 2]) {
    let mut server = TestServer::start();
    assert!(server.terminate().success());
    let (log, older) = (server.data_dir.join("log"), server.data_dir.with_file_name("older"));
    copy(&log, &older);
    server.launch();
    let api = server.api();
    Pipeline::to(receiver).create(&api);
    post(&api, &conversion(event, "conv_1", 0));
    eventually("it is in the lists", || (api.list("/api/deliveries", "items").len() == 1).then_some(()));
    (server, [log, older])
}

/// CRS.4, I23: read models, and without them the place of the notices, know how far the log went.
#[test]
fn an_older_log_is_refused_until_the_loss_is_accepted() {
    let receiver = Receiver::healthy();
    let (mut server, [log, older]) = with_an_older_log(&receiver, "evt_0");
    assert!(server.terminate().success());
    fs::remove_dir_all(&log).expect("the log is gone");
    copy(&older, &log);
    for name in ["projections", "notices"] {
        is_refused(&server, &["ends at position", name]);
        set_aside(&server, name);
    }
    fs::create_dir_all(server.data_dir.join("snapshots")).expect("a folder");
    fs::write(server.data_dir.join("snapshots/00000000000000999999.snapshot"), "x").expect("a snapshot");
    is_refused(&server, &["up to position 999999", "snapshots"]);
    set_aside(&server, "snapshots");
    server.launch();
    assert!(server.api().list("/api/deliveries", "items").is_empty());
}

/// CRS.4, I23: an empty log is not the same as one that was zeroed behind its header.
#[test]
fn a_log_zeroed_behind_its_header_is_refused_and_not_called_whole() {
    let receiver = Receiver::healthy();
    let mut server = with_events(&receiver);
    server.kill();
    let segment = server.data_dir.join("log/00000000000000000001.seg");
    let mut bytes = fs::read(&segment).expect("a segment");
    bytes[512..].fill(0);
    fs::write(&segment, bytes).expect("a damaged segment");
    let refused = server.verb(&["--listen", "127.0.0.1:0"]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && text.contains("mark does not check out"), "{text}");
    let verified = server.verb(&["log", "verify"]);
    let text = String::from_utf8_lossy(&verified.stdout);
    assert!(!verified.status.success() && text.contains("DAMAGED"), "{text}");
    // Given up openly: what was folded goes aside with it, and the log says so.
    let repaired = server.verb(&["log", "repair", "--yes"]);
    assert!(repaired.status.success(), "{}", String::from_utf8_lossy(&repaired.stderr));
    assert!(!server.data_dir.join("projections").exists());
    server.launch();
    assert!(server.terminate().success());
    let told = server.verb(&["log", "verify"]);
    let told = String::from_utf8_lossy(&told.stdout);
    assert!(told.contains("repaired at position 1") && told.contains("the log is whole"), "{told}");
}

/// I21: the log went another way than the one that was folded.
#[test]
fn read_models_of_another_course_of_the_log_are_not_shown() {
    let receiver = Receiver::healthy();
    let (mut server, [log, older]) = with_an_older_log(&receiver, "evt_gone");
    server.kill();
    let projections = set_aside(&server, "projections");
    fs::remove_dir_all(&log).expect("the log is gone");
    copy(&older, &log);
    let _ = fs::remove_file(server.data_dir.join("notices"));
    server.launch();
    let api = server.api();
    for _ in 0..10 {
        Pipeline::to(&receiver).create(&api);
    }
    assert!(server.terminate().success());
    fs::remove_dir_all(server.data_dir.join("projections")).expect("read models");
    fs::rename(projections, server.data_dir.join("projections")).expect("the others");
    server.launch();
    assert!(server.log().contains("of another course of this log"), "{}", server.log());
    assert!(server.api().list("/api/deliveries", "items").is_empty());
}
