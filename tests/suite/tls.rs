//! TLS of the server itself: its certificate, those it asks for, and a new one without a restart.

use crate::support::{
    TestServer, eventually,
    server::{OPERATOR_KEY, Start, command},
    tls::Authority,
};
use rustix::process::Signal;
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
