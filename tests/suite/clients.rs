//! The client libraries, packed as they are published, against the real binary.
//!
//! SOC-04, SOC-05, SIG.5, SIG.9.

use crate::support::{
    Receiver, Reply, TestServer, eventually, make,
    program::{Program, checkout, python, run},
};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command};

/// The files of a package in a folder of its own, with the examples of its README beside them.
struct Package {
    folder: tempfile::TempDir,
}

impl Package {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn with_examples_of(self, client: &str) -> Self {
        let readme = fs::read_to_string(checkout(client).join("README.md")).expect("a README");
        let signatures = fs::read_to_string(checkout("docs/signatures.md")).expect("the page");
        for file in fs::read_dir(checkout(client).join("examples")).expect("examples").flatten() {
            let name = file.file_name().into_string().expect("a name");
            let text = fs::read_to_string(file.path()).expect("an example");
            assert!(readme.contains(&text), "the README of {client} does not show {name}");
            let receives = name.starts_with("receive");
            assert!(
                !receives || signatures.contains(&text),
                "docs/signatures.md does not show {client}'s {name}"
            );
            fs::copy(file.path(), self.path().join(name)).expect("a copy");
        }
        self
    }
}

fn npm_package() -> Package {
    let folder = tempfile::tempdir().expect("a folder");
    let mut pack = Command::new("npm");
    pack.args(["pack", "--silent", "--pack-destination"]).arg(folder.path());
    run(pack.current_dir(checkout("clients/js")));
    let place = folder.path().join("node_modules/@ledgerhook/client");
    fs::create_dir_all(&place).expect("a folder");
    let archive = folder.path().join("ledgerhook-client-0.1.0.tgz");
    run(Command::new("tar").arg("-xzf").arg(archive).args(["--strip-components", "1", "-C"]).arg(&place));
    fs::write(folder.path().join("package.json"), r#"{"type": "module"}"#).expect("a file");
    Package { folder }.with_examples_of("clients/js")
}

fn python_package() -> Package {
    let folder = tempfile::tempdir().expect("a folder");
    // Built from a copy: nothing is left in the checkout.
    let source = folder.path().join("source");
    run(Command::new("cp").arg("-r").arg(checkout("clients/python")).arg(&source));
    let wheels = folder.path().join("wheels");
    let mut build = python();
    build.args(["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]);
    run(build.args(["--disable-pip-version-check", "--wheel-dir"]).arg(&wheels).arg(&source));
    let wheel = wheels.join("ledgerhook-0.1.0-py3-none-any.whl");
    run(python().args(["-m", "zipfile", "-e"]).arg(wheel).arg(folder.path()));
    assert!(folder.path().join("ledgerhook/py.typed").exists(), "the package says that it is typed");
    Package { folder }.with_examples_of("clients/python")
}

/// Registers a webhook at `receiver`, sends an event, and sees it arrive, by the examples of a client.
fn sends_and_receives(mut send: Command, receiver: &Program, path: &str) {
    let server = TestServer::start();
    let api = server.api();
    send.env("LEDGERHOOK_URL", format!("http://{}", server.address)).env("LEDGERHOOK_KEY", &api.key);
    send.env("RECEIVER_URL", format!("http://{}{path}", receiver.address));
    let told = run(send.env("WEBHOOK_SECRET", make::SIGNING_KEY));
    for part in ["made wh_", "conversion:conv_1 ", "/url ", "/events "] {
        assert!(told.contains(part), "{part} is missing:\n{told}");
    }
    let delivered = eventually("the event is delivered", || {
        let listed = api.list("/api/deliveries?status=delivered", "items");
        listed.first().cloned()
    });
    assert_eq!(delivered["last_http_status"], 200);
    let line =
        format!("received conversion.created with id {}", delivered["event_id"].as_str().expect("an id"));
    eventually("the receiver says so", || receiver.output().contains(&line).then_some(()));

    // With another secret the same receiver refuses.
    let webhook = delivered["pipeline_id"].as_str().expect("an id");
    let changed = json!({"secret": "another-secret-of-the-sender", "retry_policy": {"max_attempts": 1}});
    api.put(&format!("/api/webhooks/{webhook}"), &changed).data(200);
    make::post(&api, &make::conversion("evt_2", "conv_2", 2));
    let dead = eventually("the second event is refused", || {
        api.list("/api/deliveries?status=dead_lettered", "items").first().cloned()
    });
    assert_eq!(dead["last_http_status"], 401);
    eventually("the receiver says why", || {
        receiver.output().contains("refused: wrong_signature").then_some(())
    });
}

#[test]
fn the_javascript_package_does_what_its_readme_shows() {
    let package = npm_package();
    let mut receive = Command::new("node");
    receive.arg("-r").arg(checkout("tests/receivers/express/port.js")).arg("receive.js");
    receive.current_dir(package.path()).env("WEBHOOK_SECRET", make::SIGNING_KEY);
    let receiver = Program::start(receive);
    let mut send = Command::new("node");
    send.arg("send.js").current_dir(package.path());
    sends_and_receives(send, &receiver, "/");
}

#[test]
fn the_python_package_does_what_its_readme_shows() {
    let package = python_package();
    let mut receive = python();
    receive.args(["-m", "flask", "--app", "receive", "run", "--port", "0"]);
    receive.current_dir(package.path()).env("WEBHOOK_SECRET", make::SIGNING_KEY);
    let receiver = Program::start(receive);
    let mut send = python();
    send.arg("send.py").current_dir(package.path());
    sends_and_receives(send, &receiver, "/webhooks");
}

/// SIG.1, SIG.5, SIG.7, and every call against a server that answers as it is told.
#[test]
fn the_javascript_client_passes_its_own_tests() {
    let mut tests = Command::new("node");
    let told = run(tests.args(["--test", "--test-reporter", "tap"]).current_dir(checkout("clients/js")));
    assert!(told.contains("# fail 0") && !told.contains("# pass 0"), "{told}");
}

/// The same in Python.
#[test]
fn the_python_client_passes_its_own_tests() {
    let mut tests = python();
    tests.args(["-m", "unittest", "discover", "-s", "tests"]).env("PYTHONPATH", "src");
    let told = run(tests.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(checkout("clients/python")));
    assert!(told.contains("\nOK") && !told.contains("Ran 0 tests"), "{told}");
}

/// Runs a program that makes every call of a client against the real binary.
fn walks_through(mut walk: Command) {
    let receiver =
        Receiver::start(|request| Reply::Status(if request.path.ends_with("fail") { 500 } else { 200 }));
    let server = TestServer::start();
    walk.env("LEDGERHOOK_URL", format!("http://{}", server.address)).env("LEDGERHOOK_KEY", &server.api().key);
    walk.env("RECEIVER_URL", format!("http://{}", receiver.address));
    let told = run(&mut walk);
    assert!(told.contains("walked through "), "{told}");
}

/// SOC-06 … SOC-10, ATT-05 … ATT-07
#[test]
fn every_call_of_the_javascript_client_does_what_the_server_has() {
    let mut walk = Command::new("node");
    walk.arg(checkout("clients/js/live/walk.js"));
    walks_through(walk);
}

/// SOC-06 … SOC-10, ATT-05 … ATT-07
#[test]
fn every_call_of_the_python_client_does_what_the_server_has() {
    let mut walk = python();
    walk.arg(checkout("clients/python/live/walk.py")).env("PYTHONPATH", checkout("clients/python/src"));
    walks_through(walk);
}

/// Runs the document's own line of an SDK, between `before` and `after`, for a tenant of the Social profile.
fn registers_as_documented(mut program: Command, file: &str, [before, after]: [&str; 2], package: &Package) {
    let server = TestServer::start();
    let api = server.api().tenant_of("social", "ws_789");
    let snippet = fs::read_to_string(checkout("tests/fixtures/documents/social").join(file)).expect("text");
    fs::write(package.path().join(file), format!("{before}\n{snippet}\n{after}\n")).expect("a file");
    program.env("LEDGERHOOK_URL", format!("http://{}", server.address)).env("LEDGERHOOK_KEY", &api.key);
    let made = run(program.arg(file).current_dir(package.path()));
    let made: Value = serde_json::from_str(&made).expect("JSON");
    assert!(made["id"].as_str().is_some_and(|id| id.starts_with("webhook_")), "{made}");
    let listed = api.get("/api/v1/webhooks").json;
    assert_eq!(listed[0]["id"], made["id"]);
    assert_eq!(listed[0]["url"], "https://your-app.com/webhooks/social-media");
    assert_eq!(listed[0]["events"], json!(["post.published", "mention.created", "message.received"]));
}

/// SOC-04
#[test]
fn the_javascript_sdk_registers_as_the_social_document_prints_it() {
    let before = "import { Client } from '@ledgerhook/client';
const { LEDGERHOOK_URL: url, LEDGERHOOK_KEY: key } = process.env;
const client = new Client({ url, key, profile: 'social' });";
    let around = [before, "console.log(JSON.stringify(webhook));"];
    registers_as_documented(Command::new("node"), "register-your-webhook.js", around, &npm_package());
}

/// SOC-05
#[test]
fn the_python_sdk_registers_as_the_social_document_prints_it() {
    let before = "import json, os
from ledgerhook import Client
client = Client(os.environ['LEDGERHOOK_URL'], os.environ['LEDGERHOOK_KEY'], profile='social')";
    let around = [before, "print(json.dumps(webhook))"];
    registers_as_documented(python(), "register-your-webhook.py", around, &python_package());
}
