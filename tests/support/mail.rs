//! A mail server of somebody else's making, `tests/receivers/smtp/server.py`, with a certificate made for the test.

use super::program::{Program, checkout, python};
use serde_json::Value;
use std::{fs, net::SocketAddr, path::PathBuf};
use tempfile::TempDir;

pub(crate) const USER: &str = "hooks";
pub(crate) const PASSWORD: &str = "canary-of-the-mail-password";

/// What a mail server is started with.
pub(crate) struct MailServer {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

/// A mail that it took.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub to: Vec<String>,
    pub tls: bool,
    pub user: Option<String>,
    pub text: String,
}

impl Mail {
    fn of(mail: &Value) -> Self {
        let list = mail["to"].as_array().expect("recipients").iter();
        Self {
            to: list.map(|to| to.as_str().expect("an address").to_owned()).collect(),
            tls: mail["tls"] == true,
            user: mail["user"].as_str().map(str::to_owned),
            text: mail["text"].as_str().expect("a text").to_owned(),
        }
    }

    /// The value of a header, unfolded.
    pub(crate) fn header(&self, name: &str) -> String {
        let (head, _) = self.text.split_once("\r\n\r\n").expect("a head and a body");
        let head = head.replace("\r\n ", " ");
        let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned));
        line.unwrap_or_default()
    }
}

impl MailServer {
    /// With STARTTLS and a login, and a certificate for 127.0.0.1 that [`MailServer::roots`] vouches for.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        fs::write(&cert, made.cert.pem()).expect("a file");
        fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
        let variables = vec![
            ("SMTP_CERT", cert.display().to_string()),
            ("SMTP_KEY", key.display().to_string()),
            ("SMTP_USER", USER.to_owned()),
            ("SMTP_PASSWORD", PASSWORD.to_owned()),
        ];
        Self { folder, variables }
    }

    /// The certificate that has to be trusted.
    pub(crate) fn roots(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// With another setting.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Without this setting.
    pub(crate) fn without(mut self, names: &[&str]) -> Self {
        self.variables.retain(|(name, _)| !names.contains(name));
        self
    }

    /// Runs it on a free port.
    #[track_caller]
    pub(crate) fn run(&self) -> RunningMail {
        self.run_on(0)
    }

    /// Runs it on this port.
    #[track_caller]
    pub(crate) fn run_on(&self, port: u16) -> RunningMail {
        let mut command = python();
        command.arg(checkout("tests/receivers/smtp/server.py"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env("SMTP_PORT", port.to_string());
        let program = Program::start(command);
        RunningMail { address: program.address, program }
    }
}

/// A running mail server; it is killed when this is dropped.
pub(crate) struct RunningMail {
    pub address: SocketAddr,
    program: Program,
}

impl RunningMail {
    /// The mails that it took, in their order.
    pub(crate) fn mails(&self) -> Vec<Mail> {
        let output = self.program.output();
        let lines = output.lines().filter_map(|line| line.strip_prefix("mail "));
        lines.map(|line| Mail::of(&serde_json::from_str(line).expect("JSON"))).collect()
    }
}
