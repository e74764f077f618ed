//! A sixth and a seventh contract as files alone: the profiles of `examples/profiles`, loaded by the real binary, their
//! deliveries checked by code that follows the published schemes, and by `ledgerhook verify`.

use crate::support::{
    Api, Received, Receiver, TestServer, eventually,
    program::{checkout, run},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};
use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// A tenant of an example profile, with a webhook to the receiver.
fn tenant(server: &TestServer, profile: &str, receiver: &Receiver) -> (Api, String) {
    let tenant = json!({"id": profile, "name": profile, "profile": profile});
    let made = server.api().post("/api/tenants", &tenant).data(201);
    let api = server.api().with_key(made["api_key"]["key"].as_str().expect("a key"));
    let webhook = json!({"url": receiver.url(), "events": ["*"], "secret": OLD});
    let id = api.post("/api/webhooks", &webhook).data(201)["id"].as_str().expect("an id").to_owned();
    (api, id)
}

fn deliver(api: &Api, receiver: &Receiver, event: &Value) -> Received {
    let before = receiver.count();
    api.post("/api/events", event).data(202);
    eventually("it is delivered", || receiver.received().into_iter().nth(before))
}

/// A request for the script, as seen by someone who knows `secret`.
fn seen(scheme: &str, secret: &str, request: &Received, body: &[u8]) -> Value {
    let headers: Map<String, Value> = request
        .message
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), json!(value)))
        .collect();
    json!({"scheme": scheme, "secret": secret, "headers": headers, "body": BASE64_STANDARD.encode(body)})
}

fn verdicts(requests: &[Value]) -> Vec<bool> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), Value::from(requests).to_string()).expect("written");
    let told = run(Command::new("node").arg(checkout("tests/receivers/shapes/verify.mjs")).arg(file.path()));
    told.lines().map(|line| line == "true").collect()
}

/// Accepted as it is; refused with another secret, and with a byte changed.
#[track_caller]
fn assert_checked(scheme: &str, secret: &str, request: &Received) {
    let body = &request.message.body;
    let mut changed = body.clone();
    changed[0] ^= 1;
    let requests = [
        seen(scheme, secret, request, body),
        seen(scheme, "another_secret_of_some_length", request, body),
        seen(scheme, secret, request, &changed),
    ];
    assert_eq!(verdicts(&requests), [true, false, false]);
}

/// `t=…,v1=…` over `timestamp.body`, and one more `v1` while the key is rotated.
#[test]
fn deliveries_in_the_style_of_stripe_are_checked_by_its_published_scheme() {
    let receiver = Receiver::healthy();
    let server = TestServer::with().option("--profiles").option("examples/profiles").start();
    let (api, webhook) = tenant(&server, "stripe-style", &receiver);
    let event =
        json!({"type": "invoice.paid", "data": {"id": "in_1", "amount_paid": 4200, "note": "Zoë's 🚀"}});
    let request = deliver(&api, &receiver, &event);
    assert_checked("stripe", OLD, &request);
    let value = request.header("stripe-signature");
    assert_eq!(
        value,
        format!("t={},{}", request.header("webhook-timestamp"), value.split_once(',').expect("two").1)
    );
    assert_eq!(request.json()["object"], "event");

    let rotation = json!({"secret": NEW, "overlap_seconds": 600});
    api.post(&format!("/api/webhooks/{webhook}/secret/rotate"), &rotation).data(200);
    let request = deliver(&api, &receiver, &event);
    assert_eq!(request.header("stripe-signature").matches("v1=").count(), 2);
    assert_checked("stripe", NEW, &request);
    assert_checked("stripe", OLD, &request);
    let fits = verify(&request, "stripe-style", OLD, &[]);
    assert!(fits.status.success(), "{}", String::from_utf8_lossy(&fits.stdout));
}

/// `sha256=…` over the body, always one; the event's name and the delivery's id in headers of their own.
#[test]
fn deliveries_in_the_style_of_github_are_checked_by_its_published_scheme() {
    let receiver = Receiver::healthy();
    let server = TestServer::with().option("--profiles").option("examples/profiles").start();
    let (api, webhook) = tenant(&server, "github-style", &receiver);
    let event = json!({"type": "push", "data": {"repository_id": 1_296_269, "ref": "refs/heads/main"}});
    let request = deliver(&api, &receiver, &event);
    assert_checked("github", OLD, &request);
    assert_eq!(request.header("x-github-event"), "push");
    assert_eq!(request.header("x-github-delivery"), request.delivery());
    assert!(request.header("user-agent").starts_with("GitHub-Hookshot/"));
    let taken = json!({"url": receiver.url(), "events": ["*"], "headers": {"X-GitHub-Event": "mine"}});
    assert_eq!(api.post("/api/webhooks", &taken).status, 422, "the profile's own headers are not a step's");

    // T-6: receivers that know the old key only are served by one more request, those with the new one at once.
    receiver.now(|request| {
        let hmac = hex::encode(crate::support::checker::mac(OLD, &request.message.body));
        let known = request.header("x-hub-signature-256") == format!("sha256={hmac}");
        crate::support::Reply::Status(if known { 200 } else { 401 })
    });
    let rotation = json!({"secret": NEW, "overlap_seconds": 600});
    api.post(&format!("/api/webhooks/{webhook}/secret/rotate"), &rotation).data(200);
    let refused = deliver(&api, &receiver, &event);
    assert_checked("github", NEW, &refused);
    let taken = eventually("it is sent again", || receiver.received().into_iter().nth(refused.index + 1));
    assert_checked("github", OLD, &taken);
}

/// What the command says of a request that a receiver kept.
fn verify(request: &Received, profile: &str, secret: &str, words: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let (headers, body) = (folder.path().join("headers"), folder.path().join("body"));
    let mut file = fs::File::create(&headers).expect("a file");
    for (name, value) in &request.message.headers {
        writeln!(file, "> {name}: {value}").expect("written");
    }
    fs::write(&body, &request.message.body).expect("written");
    command(folder.path())
        .args(["verify", "--profiles", "examples/profiles", "--profile", profile, "--headers"])
        .arg(&headers)
        .arg("--body")
        .arg(&body)
        .args(words)
        .env("WEBHOOK_SECRET", secret)
        .output()
        .expect("the binary runs")
}

fn command(folder: &Path) -> Command {
    let mut command = crate::support::server::command(folder, &[], &[]);
    command.current_dir(checkout(".")).stdin(Stdio::null());
    command
}

/// The command takes what was delivered, says why it does not take the rest, and shows no secret.
#[test]
fn the_command_explains_what_does_not_fit() {
    let receiver = Receiver::healthy();
    let server = TestServer::with().option("--profiles").option("examples/profiles").start();
    let (api, _) = tenant(&server, "github-style", &receiver);
    let mut request =
        deliver(&api, &receiver, &json!({"type": "push", "data": {"repository_id": 1, "n": 5.5}}));
    let fits = verify(&request, "github-style", OLD, &["--json"]);
    let report: Value = serde_json::from_slice(&fits.stdout).expect("JSON");
    assert!(fits.status.success() && report["valid"] == true, "{report}");

    let codes = |output: &Output| -> Vec<String> {
        assert_eq!(output.status.code(), Some(1));
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(!report.to_string().contains(OLD), "no secret is shown");
        let checks = report["checks"].as_array().expect("checks").iter();
        checks
            .filter(|check| check["result"] == "fails")
            .map(|check| check["code"].as_str().expect("a code").to_owned())
            .collect()
    };
    assert_eq!(codes(&verify(&request, "github-style", NEW, &["--json"])), ["wrong_secret", "wrong_secret"]);
    assert_eq!(codes(&verify(&request, "github-style", OLD, &["--json", "--at", "1"])), ["stale"]);
    assert_eq!(codes(&verify(&request, "stripe-style", OLD, &["--json"])), ["missing_header"]);
    let told = verify(&request, "stripe-style", OLD, &[]);
    let told = String::from_utf8_lossy(&told.stdout);
    assert!(told.contains("belongs to the profile `github-style`"), "{told}");

    let text = String::from_utf8(request.message.body.clone()).expect("text");
    request.message.body = text.replace(',', ", ").replace("\":", "\": ").into_bytes();
    assert_eq!(codes(&verify(&request, "github-style", OLD, &["--json"])), ["changed_body", "changed_body"]);
    let told = verify(&request, "github-style", OLD, &[]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("JSON.stringify"));

    let nothing = verify(&request, "nobody", OLD, &[]);
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("github-style"), "the profiles that there are");
}
