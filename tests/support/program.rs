//! Programs in other languages: those that serve on a port, and those that run to their end.

use super::within;
use std::{
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

/// A program that serves on a port of loopback and says which; it is killed when this is dropped.
pub(crate) struct Program {
    pub address: SocketAddr,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// Starts it and waits until it listens. It is to print `listening on PORT`, or a URL of 127.0.0.1.
    #[track_caller]
    pub(crate) fn start(mut command: Command) -> Self {
        command.env("PYTHONUNBUFFERED", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("cannot run {command:?} ({error}); `scripts/test` installs what it needs")
        });
        let lines = Arc::default();
        let (found, port) = mpsc::channel();
        read(child.stdout.take().expect("stdout"), found.clone(), Arc::clone(&lines));
        read(child.stderr.take().expect("stderr"), found, Arc::clone(&lines));
        let mut program = Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), child, lines };
        let port = port.recv_timeout(Duration::from_mins(1));
        let port = port.unwrap_or_else(|_| {
            panic!("{command:?} does not start; `scripts/test` installs what it needs:\n{}", program.output())
        });
        program.address.set_port(port);
        within(Duration::from_secs(10), "the program listens", || TcpStream::connect(program.address).ok());
        program
    }

    /// What it wrote so far, to both streams.
    pub(crate) fn output(&self) -> String {
        self.lines.lock().expect("lines").join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- what the program wrote ---\n{}\n---", self.output());
        }
    }
}

/// Runs a program to its end and answers what it wrote; panics with that if it failed.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| {
        panic!("cannot run {command:?} ({error}); `scripts/test` installs what it needs")
    });
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{command:?} failed:\n{text}");
    text
}

/// A path of the checkout.
pub(crate) fn checkout(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The interpreter that has what `tests/receivers/flask/requirements.txt` names.
pub(crate) fn python() -> Command {
    Command::new(checkout("tests/receivers/flask/.venv/bin/python"))
}

/// Keeps every line, so that the program never blocks on a full pipe, and sends the port that one of them names.
fn read(stream: impl Read + Send + 'static, found: mpsc::Sender<u16>, lines: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let after =
                ["listening on ", "http://127.0.0.1:"].iter().find_map(|mark| line.split(mark).nth(1));
            let digits = after.map(|text| text.chars().take_while(char::is_ascii_digit).collect::<String>());
            if let Some(port) = digits.and_then(|digits| digits.parse().ok()) {
                let _ = found.send(port);
            }
            lines.lock().expect("lines").push(line);
        }
    });
}
