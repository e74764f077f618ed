//! The process itself: how it starts, refuses to start, and stops.

use crate::support::{
    Receiver, Reply, TestServer, eventually,
    make::{Pipeline, conversion, post},
    server::command,
};
use rustix::process::Signal;
use std::time::Duration;

/// CRS.13
#[test]
fn a_second_process_on_the_same_folder_is_refused_and_the_first_goes_on() {
    let server = TestServer::start();
    let second = server.verb(&["--listen", "127.0.0.1:0"]);
    assert!(!second.status.success());
    let text = String::from_utf8_lossy(&second.stderr);
    assert!(text.contains("in use"), "{text}");
    assert_eq!(server.api().get("/livez").status, 200);
    assert_eq!(
        std::fs::read_to_string(server.data_dir.join("address")).ok(),
        Some(server.address.to_string())
    );
}

/// CRS.13: also where somebody has tidied the lock away.
#[test]
fn a_second_process_is_refused_though_the_lock_file_was_removed() {
    let server = TestServer::start();
    std::fs::remove_file(server.data_dir.join("log/lock")).expect("the lock");
    for words in [&["--listen", "127.0.0.1:0"][..], &["log", "repair", "--yes"]] {
        let second = server.verb(words);
        let text = String::from_utf8_lossy(&second.stderr);
        assert!(!second.status.success() && text.contains("in use"), "{words:?}: {text}");
    }
    let api = server.api();
    post(&api, &conversion("evt_0", "conv_1", 0));
}

/// CRS.6: where it listens is told in a file; a disk without a byte left is no reason not to serve.
#[test]
fn a_start_that_cannot_tell_its_address_goes_on() {
    let mut server = TestServer::start();
    assert!(server.terminate().success());
    // What stands in the way of the file stands for the byte that is missing.
    std::fs::create_dir(server.data_dir.join("address.new")).expect("a folder");
    let path = server.data_dir.with_file_name("told");
    let told = || std::fs::read_to_string(&path).expect("what it wrote");
    let file = std::fs::File::create(&path).expect("a file");
    let mut started = command(&server.data_dir, &["--listen".into(), "127.0.0.1:0".into()], &[]);
    started.stdout(file.try_clone().expect("a file")).stderr(file);
    let mut started = started.spawn().expect("the binary starts");
    eventually("it listens", || {
        let has_ended = started.try_wait().expect("a process").is_some();
        (has_ended || told().contains("listens on")).then_some(())
    });
    assert!(told().contains("listens on") && told().contains("healthcheck"), "{}", told());
    started.kill().expect("a process to kill");
    started.wait().expect("its end");
}

/// Without a certificate there is nothing to be read again, and no reason to end.
#[test]
fn a_hangup_without_tls_is_told_and_ignored() {
    let mut server = TestServer::start();
    server.signal(Signal::HUP);
    eventually("it says so", || server.log().contains("SIGHUP").then_some(()));
    assert_eq!(server.api().get("/livez").status, 200);
    assert!(server.terminate().success());
}

/// CRS.6: what is larger than the limit for files cannot be written, and that is said.
#[test]
fn a_file_over_its_limit_is_an_error_with_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = r#"ulimit -f 1024; exec "$0" --data-dir "$1" --listen 127.0.0.1:0"#;
    let ended = std::process::Command::new("sh")
        .args(["-c", run])
        .arg(crate::support::server::binary())
        .arg(folder.path().join("data"))
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code().is_some_and(|code| code != 0), "{:?}: {text}", ended.status);
    assert!(text.contains("File too large"), "{text}");
}

/// CRS.15: the limit is raised as far as it may be, and what strangers hold open never takes all of it.
#[test]
fn connections_are_bounded_by_the_limit_of_descriptors() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("told");
    let told = || std::fs::read_to_string(&path).expect("what it wrote");
    let file = std::fs::File::create(&path).expect("a file");
    let run = r#"ulimit -n 200; ulimit -Sn 100; exec "$0" --data-dir "$1" --listen 127.0.0.1:0"#;
    let mut started = std::process::Command::new("sh")
        .args(["-c", run])
        .arg(crate::support::server::binary())
        .arg(folder.path().join("data"))
        .stdout(file.try_clone().expect("a file"))
        .stderr(file)
        .spawn()
        .expect("the binary starts");
    let address = eventually("it listens", || {
        let text = told();
        let line = text.lines().find_map(|line| line.strip_prefix("ledgerhook listens on http://"));
        line.map(str::to_owned)
    });
    assert!(told().contains("limit=200") && told().contains("connections_max"), "{}", told());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", started.id())).expect("a process");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(line.split_whitespace().nth(3), Some("200"), "{line}");
    let idle: Vec<_> = (0..300).filter_map(|_| std::net::TcpStream::connect(&address).ok()).collect();
    eventually("what it takes is taken", || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", started.id())).expect("a process").count();
        (open > 60).then_some(())
    });
    let open = std::fs::read_dir(format!("/proc/{}/fd", started.id())).expect("a process").count();
    assert!(open < 180, "{open} of 200 are used by {} connections", idle.len());
    drop(idle);
    started.kill().expect("a process to kill");
    started.wait().expect("its end");
}

/// SUP.7: what was stopped from outside did not freeze by itself.
#[test]
fn a_process_that_was_stopped_goes_on_where_it_was() {
    let mut server = TestServer::with().variable("LEDGERHOOK_SUPERVISION_WATCHDOG_SECONDS", "1").start();
    server.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(5));
    server.signal(Signal::CONT);
    eventually("it says so", || server.log().contains("stood still").then_some(()));
    assert_eq!(server.api().get("/livez").status, 200);
    assert!(server.terminate().success());
}

/// I23: it would dead-letter every delivery whose secrets it cannot open.
#[test]
fn a_folder_with_the_master_key_of_another_is_refused() {
    let receiver = Receiver::healthy();
    let mut server = TestServer::start();
    Pipeline::to(&receiver).create(&server.api());
    server.terminate();
    let other = TestServer::start();
    std::fs::copy(other.data_dir.join("master.key"), server.data_dir.join("master.key")).expect("a key");
    // The address is taken, so that it would end in any case.
    let refused = server.verb(&["--listen", &other.address.to_string()]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("master key"), "{text}");
}

/// The operator key is in the log by then; a start that fails over its port shows it all the same.
#[test]
fn a_first_run_on_a_busy_port_shows_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let busy = other.local_addr().expect("an address").to_string();
    let start = || TestServer::with().without_key().on(folder.path());
    let (status, log) =
        start().option("--listen").option(&busy).try_start().err().expect("the port is taken");
    assert!(!status.success() && log.contains(&busy), "{log}");
    let key = log.lines().map(str::trim).find(|line| line.starts_with("lhk_")).expect("a key");
    let server = start().start();
    assert_eq!(server.api().with_key(key).get("/api/state").status, 200);
}

/// CRS.14
#[test]
fn a_stop_lets_attempts_in_flight_end_and_refuses_new_events() {
    let receiver = Receiver::start(|_| Reply::After(Duration::from_secs(1), 200));
    let mut server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).create(&api);
    post(&api, &conversion("evt_0", "conv_1", 0));
    eventually("it is under way", || (receiver.count() == 1).then_some(()));
    server.signal(Signal::TERM);
    eventually("new events are refused", || {
        let event = conversion("evt_late", "conv_2", 0).to_string();
        match api.try_send("POST", "/api/events", Some(event.as_bytes())) {
            Ok(answer) if answer.status == 503 => Some(()),
            Ok(_) => None,
            Err(_) => Some(()),
        }
    });
    let status = server.wait_for_exit();
    assert_eq!(status.code(), Some(0), "{}", server.log());
    let evt_0 = || receiver.received().into_iter().filter(|one| one.event() == "evt_0").collect::<Vec<_>>();
    assert!(evt_0()[0].is_success(), "it was cut off");
    server.launch();
    let state = server.api().get("/api/state").data(200);
    assert_ne!(state["deliveries"]["delivered"], 0, "its end was recorded: {state}");
    assert_eq!(evt_0().len(), 1);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let receiver = Receiver::start(|_| Reply::After(Duration::from_secs(20), 200));
    let mut server = TestServer::start();
    let api = server.api();
    Pipeline::to(&receiver).step("timeout_seconds", 60).create(&api);
    post(&api, &conversion("evt_0", "conv_1", 0));
    eventually("it is under way", || (receiver.count() == 1).then_some(()));
    server.signal(Signal::TERM);
    eventually("it says that it stops", || server.log().contains("stopping").then_some(()));
    server.signal(Signal::TERM);
    let started = std::time::Instant::now();
    server.wait_for_exit();
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// UPG.5
#[test]
fn a_setting_that_does_not_exist_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "[delivery]\nconcurency = 3\n").expect("a file");
    let refused = command(&folder.path().join("data"), &[], &[]).arg("--config").arg(&file).output();
    let refused = refused.expect("the binary runs");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("concurency"));
    assert!(!folder.path().join("data").exists(), "nothing is made before the configuration holds");
}

#[test]
fn the_effective_configuration_is_printed_without_its_secrets() {
    let server = TestServer::start();
    let key = ("LEDGERHOOK_OPERATOR_KEY".to_owned(), "canary-key-of-more-than-24-bytes".to_owned());
    let checked = command(&server.data_dir, &[], &[key]).args(["config", "check"]).output();
    let text = String::from_utf8(checked.expect("the binary runs").stdout).expect("UTF-8");
    assert!(text.contains("operator_key = \"***\"") && !text.contains("canary"), "{text}");
}

#[test]
fn the_health_check_tells_a_running_server_from_a_stopped_one() {
    let mut server = TestServer::start();
    assert!(server.verb(&["healthcheck"]).status.success());
    server.terminate();
    assert!(!server.verb(&["healthcheck"]).status.success());
}

/// SEC.7: beyond loopback, the key that seals all others is not made in passing.
#[test]
fn sec_7_a_first_run_beyond_loopback_needs_a_master_key() {
    let beyond = || TestServer::with().option("--listen").option("0.0.0.0:0");
    let Err((_, log)) = beyond().try_start() else { panic!("it made a key by itself") };
    assert!(log.contains("secrets.master_key_file"), "{log}");
    drop(beyond().variable("LEDGERHOOK_SECRETS_GENERATE_MASTER_KEY", "true").start());
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let server = beyond().variable("LEDGERHOOK_MASTER_KEY", key).start();
    eventually("it tells that plain HTTP can be read", || {
        server.log().contains("plain HTTP beyond loopback").then_some(())
    });
}

/// TPL.9: a variable without a value is told at the start and by the health answer, before a delivery needs it.
#[test]
fn tpl_9_a_variable_without_value_shows_before_it_is_needed() {
    let start = TestServer::with().option("--template-env").option("HOOK_TOKEN");
    let server = start.variable("HOOK_TOKEN", " ").start();
    let health = server.api().get("/readyz?verbose");
    assert_eq!(health.status, 200);
    let told = &health.json["degraded"][0];
    assert_eq!(told["part"], "templates", "{told}");
    assert!(told["problem"].as_str().expect("a text").contains("HOOK_TOKEN"), "{told}");
    assert!(server.log().contains("variable HOOK_TOKEN"), "{}", server.log());
}

/// The limits table: 64 KiB of head, and nothing happens to what is over it.
#[test]
fn a_head_over_its_limit_is_refused() {
    let server = TestServer::start();
    let api = server.api();
    let position = || api.get("/api/state").data(200)["position"].clone();
    let before = position();
    let event = conversion("evt_0", "conv_1", 0).to_string();
    for (length, status) in [(60_000, 202), (70_000, 431), (120_000, 431)] {
        let api = server.api().with_header("X-Filler", &"a".repeat(length));
        let answer = api.send("POST", "/api/events", serde_json::from_str(&event).ok().as_ref());
        assert_eq!(answer.status, status, "{length}: {answer:?}");
    }
    assert_ne!(position(), before);
    assert_eq!(api.get("/api/deliveries").status, 200);
}

/// CRS.6, I35
#[test]
fn a_full_disk_is_named_by_the_health_answer_and_refuses_events() {
    let server =
        TestServer::with().variable("LEDGERHOOK_LOG_FREE_BYTES_MIN", &(u64::MAX >> 2).to_string()).start();
    let api = server.api();
    let event = conversion("evt_0", "conv_1", 0).to_string();
    eventually("events are refused", || {
        (api.try_send("POST", "/api/events", Some(event.as_bytes())).ok()?.status == 507).then_some(())
    });
    let health = api.get("/readyz?verbose");
    assert_eq!(health.status, 503);
    assert!(health.json.to_string().contains("\"disk\""), "{}", health.json);
}

/// SEC.4
#[test]
fn every_log_line_is_json_when_asked() {
    let mut server = TestServer::with().option("--log-format").option("json").start();
    server.api().get("/no\u{1b}[31msuch/path");
    server.terminate();
    let log = server.log();
    let records = log.lines().filter(|line| !line.starts_with("ledgerhook listens"));
    let broken: Vec<_> =
        records.filter(|line| serde_json::from_str::<serde_json::Value>(line).is_err()).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// I30: whoever comes next under an id would see what the former tenant left.
#[test]
fn the_id_of_a_deleted_tenant_is_not_given_again() {
    let mut server = TestServer::start();
    let tenant = serde_json::json!({"id": "tenant_b", "name": "B", "profile": "afftok"});
    server.api().post("/api/tenants", &tenant).data(201);
    server.api().delete("/api/tenants/tenant_b").data(200);
    assert_eq!(server.api().post("/api/tenants", &tenant).status, 409);
    server.restart();
    assert_eq!(server.api().post("/api/tenants", &tenant).status, 409);
}
