//! TLS of the server itself: its certificate, those it asks for, and a new one without a restart; and whom a step trusts.

use crate::support::{
    Receiver, Reply, TestServer, eventually,
    make::{Pipeline, conversion, post},
    server::{OPERATOR_KEY, Start, command},
    tls::{self, Authority},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
};

fn text(path: &Path) -> String {
    path.to_str().expect("a path").to_owned()
}

fn serving(authority: &Authority) -> Start {
    TestServer::with()
        .variable("LEDGERHOOK_SERVER_TLS_CERT", &text(&authority.folder().join("cert.pem")))
        .variable("LEDGERHOOK_SERVER_TLS_KEY", &text(&authority.folder().join("key.pem")))
}

/// The answer to `GET /api/state`, or why there is none.
fn state(address: SocketAddr, trusting: &Authority, identity: Option<&Authority>) -> Result<String, String> {
    let mut stream = trusting.connect(address, identity).map_err(|error| error.to_string())?;
    let request = format!(
        "GET /api/state HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {OPERATOR_KEY}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => Err(error.to_string()),
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

fn healthcheck(server: &TestServer, settings: &[(&str, String)]) -> bool {
    let variables: Vec<_> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let output = command(&server.data_dir, &[], &variables).arg("healthcheck").output();
    output.expect("the binary runs").status.success()
}

fn files(authority: &Authority) -> Vec<(&'static str, String)> {
    let folder = authority.folder();
    vec![
        ("LEDGERHOOK_SERVER_TLS_CERT", text(&folder.join("cert.pem"))),
        ("LEDGERHOOK_SERVER_TLS_KEY", text(&folder.join("key.pem"))),
    ]
}

/// The answers come over TLS and not without it; a certificate that was replaced is shown after SIGHUP, and one that
/// cannot serve leaves the old one in force.
#[test]
fn answers_come_over_tls_and_the_certificate_is_replaced_without_a_restart() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = serving(&authority).start();
    let answer = state(server.address, &authority, None).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(state(server.address, &other, None).is_err(), "whoever trusts another authority gets nothing");
    let mut plain = TcpStream::connect(server.address).expect("a connection");
    plain.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").expect("a request");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/"), "plain HTTP was answered");
    assert!(healthcheck(&server, &files(&authority)));
    assert!(server.log().contains(&format!("ledgerhook listens on https://{}", server.address)));

    std::fs::write(authority.folder().join("cert.pem"), "nothing").expect("a file");
    server.signal(Signal::HUP);
    eventually("it tells that it goes on with the old one", || {
        server.log().contains("goes on with the certificate that it had").then_some(())
    });
    assert!(state(server.address, &authority, None).is_ok());
    for name in ["cert.pem", "key.pem"] {
        std::fs::copy(other.folder().join(name), authority.folder().join(name)).expect("a copy");
    }
    server.signal(Signal::HUP);
    eventually("the new certificate is shown", || state(server.address, &other, None).ok());
    assert!(state(server.address, &authority, None).is_err(), "the old one is shown still");
}

/// Mutual TLS: without a certificate of the right authority there is no answer at all.
#[test]
fn clients_without_a_certificate_are_not_let_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let roots = text(&authority.folder().join("roots.pem"));
    let server = serving(&authority).variable("LEDGERHOOK_SERVER_TLS_CLIENT_CA", &roots).start();
    assert!(state(server.address, &authority, None).is_err());
    assert!(state(server.address, &authority, Some(&stranger)).is_err());
    let answer = state(server.address, &authority, Some(&authority)).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut settings = files(&authority);
    assert!(!healthcheck(&server, &settings));
    settings.push(("LEDGERHOOK_SERVER_TLS_CLIENT_CA", roots));
    assert!(healthcheck(&server, &settings));
}

/// Files that cannot serve stop the start, and the setting is named.
#[test]
fn files_that_cannot_serve_are_named() {
    let (authority, other) = (Authority::new(), Authority::new());
    let path = |authority: &Authority, name: &str| text(&authority.folder().join(name));
    let cases = [
        (path(&authority, "cert.pem"), None, "server.tls_key"),
        (path(&authority, "missing.pem"), Some(path(&authority, "key.pem")), "server.tls_cert"),
        (path(&authority, "key.pem"), Some(path(&authority, "key.pem")), "server.tls_cert"),
        (path(&authority, "cert.pem"), Some(path(&authority, "cert.pem")), "server.tls_key"),
        (path(&authority, "cert.pem"), Some(path(&other, "key.pem")), "server.tls_key"),
    ];
    for (cert, key, setting) in cases {
        let mut start = TestServer::with().variable("LEDGERHOOK_SERVER_TLS_CERT", &cert);
        if let Some(key) = &key {
            start = start.variable("LEDGERHOOK_SERVER_TLS_KEY", key);
        }
        let Err((_, log)) = start.try_start() else { panic!("started with {cert} and {key:?}") };
        assert!(log.contains(&format!("setting `{setting}`")), "{cert} and {key:?}: {log}");
    }
}

/// A step that names an authority trusts that one and no other; what it does not say stays as it was.
#[test]
fn a_step_may_trust_an_authority_of_its_own() {
    let receiver = Receiver::https(|_| Reply::Status(200));
    let server = TestServer::with().start();
    let api = server.api();
    let own = std::fs::read_to_string(tls::roots()).expect("a root");
    let other = std::fs::read_to_string(Authority::new().folder().join("roots.pem")).expect("a root");
    let pipelines = [(Value::Null, false), (json!(other), false), (json!(own), true)].map(|(ca, trusted)| {
        let id = Pipeline::to(&receiver).retry(1, 1).step("tls_ca", ca.clone()).create(&api);
        let shown = api.get(&format!("/api/admin/webhooks/pipelines/{id}")).data(200);
        assert_eq!(shown["steps"][0]["tls_ca"], ca);
        (id, trusted)
    });
    post(&api, &conversion("evt_1", "conv_1", 0));
    for (id, trusted) in pipelines {
        let wanted = if trusted { ("delivered", "success") } else { ("dead_lettered", "tls_error") };
        eventually("it has ended as it should", || {
            let found = api.get(&format!("/api/deliveries?pipeline_id={id}")).data(200)["items"][0].clone();
            ((found["status"].as_str()?, found["last_outcome"].as_str()?) == wanted).then_some(())
        });
    }
    assert_eq!(receiver.succeeded(), 1);
    let with_key = tls::authority().pem("roots.pem") + &tls::authority().pem("key.pem");
    let refused =
        [("nothing".to_owned(), "certificate"), (with_key, "certificate"), (" ".repeat(20_000), "length")];
    for (ca, code) in refused {
        let refused =
            api.post("/api/admin/webhooks/pipelines", &Pipeline::to(&receiver).step("tls_ca", ca).0);
        assert_eq!((refused.status, &refused.json["errors"][0]["code"]), (422, &json!(code)), "{refused:?}");
        assert_eq!(refused.json["errors"][0]["pointer"], "/steps/0/tls_ca");
    }
}
