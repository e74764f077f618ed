//! The receivers of the `AffTok` documents, verbatim, as processes: `tests/receivers/`.

use super::{
    Received, http1,
    program::{Program, checkout, python},
};
use std::{
    fmt::Write as _,
    io::{BufReader, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
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
    _program: Program,
}

impl Snippet {
    /// Starts it with this secret in `WEBHOOK_SECRET`, on a free port.
    #[track_caller]
    pub(crate) fn start(language: Language, secret: &str) -> Self {
        let mut command = language.command();
        command.env("WEBHOOK_SECRET", secret);
        let program = Program::start(command);
        Self { address: program.address, _program: program }
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

impl Language {
    fn command(self) -> Command {
        let (folder, mut command, arguments): (_, _, &[&str]) = match self {
            Self::Express => ("express", Command::new("node"), &["-r", "./port.js", "server.js"]),
            Self::Flask => ("flask", python(), &["-m", "flask", "--app", "app", "run", "--port", "0"]),
            Self::Php => ("php", Command::new("php"), &["-S", "127.0.0.1:0", "index.php"]),
        };
        command.current_dir(checkout("tests/receivers").join(folder)).args(arguments);
        command
    }
}
