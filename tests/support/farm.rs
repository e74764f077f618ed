//! The receivers of the documents and of the published libraries, one program for each language: `tests/receivers/`.

use super::{
    Received, http1, make,
    program::{Program, checkout, python},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::{self, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    process::Command,
    thread,
};

/// The running programs by their folder: `express`, `flask`, `php`. They know [`make::SIGNING_KEY`].
pub(crate) struct Farm(BTreeMap<&'static str, Program>);

impl Farm {
    /// Starts what these receivers need, all at once. A receiver is named by its path: `flask/social/endpoint`.
    #[track_caller]
    pub(crate) fn start(receivers: impl IntoIterator<Item = &'static str>) -> Self {
        let folders: BTreeSet<_> = receivers.into_iter().map(|name| split(name).0).collect();
        let programs =
            folders.into_iter().map(|folder| (folder, thread::spawn(|| Program::start(command(folder)))));
        let programs: Vec<_> = programs.collect();
        Self(
            programs
                .into_iter()
                .map(|(folder, started)| (folder, started.join().expect("a program")))
                .collect(),
        )
    }

    /// Where each program listens, for a script that forwards.
    pub(crate) fn addresses(&self) -> Addresses {
        Addresses(self.0.iter().map(|(folder, program)| ((*folder).to_owned(), program.address)).collect())
    }

    /// What a receiver in Express kept of what it got.
    pub(crate) fn seen(&self, receiver: &str) -> Vec<Value> {
        let (folder, place) = split(receiver);
        let answer =
            exchange(self.0[folder].address, &format!("GET /{place}/seen HTTP/1.1\r\nHost: farm\r\n"), b"");
        serde_json::from_slice(&answer.expect("an answer").body).expect("a list")
    }

    /// Posts to `<folder>/<provider>/<name>/…` and answers with the receiver's status.
    pub(crate) fn post(&self, path: &str, headers: &str, body: &[u8]) -> u16 {
        let (folder, place) = split(path);
        let head = format!("POST /{place} HTTP/1.1\r\nHost: farm\r\nConnection: close\r\n{headers}");
        exchange(self.0[folder].address, &head, body).map_or(502, |answer| status(&answer))
    }

    /// What a program wrote.
    pub(crate) fn output(&self, folder: &str) -> String {
        self.0[folder].output()
    }
}

/// Where the programs of a farm listen.
#[derive(Clone)]
pub(crate) struct Addresses(BTreeMap<String, SocketAddr>);

impl Addresses {
    /// Passes a request on to `/<folder>/<provider>/<name>/…`, with this body and the headers that `keep` names, and
    /// answers with the receiver's status.
    pub(crate) fn forward(
        &self,
        path: &str,
        request: &Received,
        body: &[u8],
        keep: impl Fn(&str) -> bool,
    ) -> u16 {
        let (folder, place) = split(path.trim_start_matches('/'));
        let mut head = format!("POST /{place} HTTP/1.1\r\nConnection: close\r\n");
        for (name, value) in &request.message.headers {
            let name = name.to_ascii_lowercase();
            if name != "content-length" && name != "connection" && keep(&name) {
                let _ = write!(head, "{name}: {value}\r\n");
            }
        }
        let Some(address) = self.0.get(folder) else { return 404 };
        exchange(*address, &head, body).map_or(502, |answer| status(&answer))
    }
}

fn split(path: &str) -> (&str, &str) {
    path.split_once('/').unwrap_or((path, ""))
}

fn status(answer: &http1::Message) -> u16 {
    answer.first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

fn exchange(address: SocketAddr, head: &str, body: &[u8]) -> io::Result<http1::Message> {
    let mut stream = TcpStream::connect(address)?;
    let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat())?;
    http1::read(&mut BufReader::new(stream))?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn command(folder: &str) -> Command {
    let (mut command, arguments): (_, &[&str]) = match folder {
        "express" => (Command::new("node"), &["farm.js"]),
        "flask" => (python(), &["farm.py"]),
        // As in production: an error is answered with 500, not printed into a 200.
        "php" => (Command::new("php"), &["-d", "display_errors=0", "-S", "127.0.0.1:0", "farm.php"]),
        _ => panic!("{folder} is no folder of tests/receivers"),
    };
    command.current_dir(checkout("tests/receivers").join(folder)).args(arguments);
    command.env("WEBHOOK_SECRET", make::SIGNING_KEY).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}
