//! The receivers of the `AffTok` documents, verbatim, as processes: `tests/receivers/`.

use super::{Received, http1, wait::within};
use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// A language that the documents have a receiver in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Language {
    Express,
    Flask,
    Php,
}

/// A running receiver; it is killed when this is dropped.
pub(crate) struct Snippet {
    pub address: SocketAddr,
    child: Child,
}

impl Snippet {
    /// Starts it with this secret in `WEBHOOK_SECRET`, on a free port.
    #[track_caller]
    pub(crate) fn start(language: Language, secret: &str) -> Self {
        let mut command = language.command();
        command.env("WEBHOOK_SECRET", secret).env("PYTHONUNBUFFERED", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("cannot run {language:?} ({error}); `scripts/test` installs what it needs")
        });
        let (found, port) = mpsc::channel();
        look_for_port(child.stdout.take().expect("stdout"), found.clone());
        look_for_port(child.stderr.take().expect("stderr"), found);
        let port = port.recv_timeout(Duration::from_secs(30));
        let port = port.unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("{language:?} does not start; `scripts/test` installs what it needs")
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        within(Duration::from_secs(10), "the snippet listens", || TcpStream::connect(address).ok());
        Self { address, child }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/webhooks/afftok", self.address)
    }

    /// Passes a request on, with another body, and answers with the snippet's status.
    pub(crate) fn forward(address: SocketAddr, request: &Received, body: &[u8]) -> u16 {
        let pass = || -> std::io::Result<u16> {
            let mut stream = TcpStream::connect(address)?;
            let mut head = format!("POST {} HTTP/1.1\r\nConnection: close\r\n", request.path);
            for (name, value) in &request.message.headers {
                if !["content-length", "connection"].contains(&&*name.to_ascii_lowercase()) {
                    let _ = write!(head, "{name}: {value}\r\n");
                }
            }
            let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), body].concat())?;
            let answer = http1::read(&mut BufReader::new(stream))?.unwrap_or_default();
            Ok(answer.first.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0))
        };
        pass().unwrap_or(502)
    }
}

impl Drop for Snippet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Language {
    fn command(self) -> Command {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/receivers");
        let within = |name: &str, program: PathBuf, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.current_dir(folder.join(name)).args(arguments);
            command
        };
        match self {
            Self::Express => within("express", "node".into(), &["-r", "./port.js", "server.js"]),
            Self::Flask => {
                let python = folder.join("flask/.venv/bin/python");
                let arguments = ["-m", "flask", "--app", "app", "run", "--port", "0"];
                within("flask", python, &arguments)
            }
            Self::Php => within("php", "php".into(), &["-S", "127.0.0.1:0", "index.php"]),
        }
    }
}

/// All three say on which port they listen; the rest is read so that they never block on a full pipe.
fn look_for_port(stream: impl Read + Send + 'static, found: mpsc::Sender<u16>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let after =
                ["listening on ", "http://127.0.0.1:"].iter().find_map(|mark| line.split(mark).nth(1));
            let digits = after.map(|text| text.chars().take_while(char::is_ascii_digit).collect::<String>());
            if let Some(port) = digits.and_then(|digits| digits.parse().ok()) {
                let _ = found.send(port);
            }
        }
    });
}
