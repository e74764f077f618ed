//! Where mails go: to an SMTP server, or into a folder. Blocks; it has a thread of its own.

use crate::{delivery::target::EgressPolicy, secrets::Secret};
use lettre::{
    Address,
    transport::smtp::{
        Error as SmtpError,
        authentication::{Credentials, Mechanism},
        client::{Certificate, CertificateStore, SmtpConnection, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::ClientId,
    },
};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    net::{SocketAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
    time::Duration,
};
use tracing::warn;

/// Characters of a server's answer that are shown.
const SHOWN_MAX: usize = 200;

/// How mails go out.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// Where to.
    pub sink: MailSink,
    /// Their sender.
    pub from: String,
    /// Where answers go, if elsewhere.
    pub reply_to: Option<String>,
    /// How many.
    pub pace: super::Pace,
}

/// Where mails go.
#[derive(Clone, Debug)]
pub enum MailSink {
    /// To a server.
    Smtp(SmtpConfig),
    /// Into a folder, one file each: for development.
    Folder(PathBuf),
}

/// An SMTP server.
#[derive(Clone, Debug)]
pub struct SmtpConfig {
    /// Its name, or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// User and password.
    pub login: Option<(String, Secret)>,
    /// For the connection, and for each answer.
    pub timeout: Duration,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// TLS after `STARTTLS`; without it nothing is sent (RFC 3207).
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Implicit,
    /// None; only to an address of this machine.
    None,
}

/// A mail and whom it goes to.
pub(super) struct Letter {
    pub(super) id: String,
    pub(super) from: String,
    pub(super) to: Vec<String>,
    pub(super) bytes: Vec<u8>,
}

/// Why a mail did not go out. Names no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Undelivered {
    /// Nothing goes out now, whoever it is for.
    Server(String),
    /// This mail is not taken.
    Refused(String),
}

/// The way out.
pub(super) struct Post {
    sink: MailSink,
    egress: EgressPolicy,
    tls: Option<TlsParameters>,
}

impl Post {
    /// `roots` are PEM files with roots beside the system's.
    pub(super) fn new(sink: MailSink, egress: EgressPolicy, roots: &[PathBuf]) -> Result<Self, String> {
        let tls = match &sink {
            MailSink::Smtp(server) if server.tls != SmtpTls::None => Some(trust(&server.host, roots)?),
            MailSink::Smtp(_) | MailSink::Folder(_) => None,
        };
        Ok(Self { sink, egress, tls })
    }

    /// Sends a mail; it has been taken when this answers.
    pub(super) fn send(&self, letter: &Letter) -> Result<(), Undelivered> {
        match &self.sink {
            MailSink::Smtp(server) => self.transact(server, letter),
            MailSink::Folder(dir) => file(dir, letter).map_err(|error| {
                Undelivered::Server(format!("cannot write to `{}`: {error}", dir.display()))
            }),
        }
    }

    fn transact(&self, server: &SmtpConfig, letter: &Letter) -> Result<(), Undelivered> {
        let mut connection = self.connect(server).map_err(Undelivered::Server)?;
        let taken = transaction(&mut connection, letter);
        if taken.is_ok() {
            // The mail has been taken; what comes of the farewell changes nothing.
            let _ = connection.quit();
        } else {
            connection.abort();
        }
        taken
    }

    /// A connection that is encrypted as it must be, and logged in.
    fn connect(&self, server: &SmtpConfig) -> Result<SmtpConnection, String> {
        let SmtpConfig { host, port, tls, login, timeout } = server;
        let told = |what: &str, error: &SmtpError| format!("{what} {host}:{port}: {}", shown(error));
        let address = self.address(host, *port, *tls)?;
        let hello = ClientId::default();
        let wrapped = self.tls.as_ref().filter(|_| *tls == SmtpTls::Implicit);
        // The very address that was judged: nothing is looked up again.
        let mut connection = SmtpConnection::connect(address, Some(*timeout), &hello, wrapped, None)
            .map_err(|error| told("cannot connect to", &error))?;
        if let Some(parameters) = self.tls.as_ref().filter(|_| *tls == SmtpTls::StartTls) {
            if !connection.can_starttls() {
                connection.abort();
                return Err(format!(
                    "{host}:{port} does not offer STARTTLS, and nothing is sent in the clear"
                ));
            }
            connection.starttls(parameters, &hello).map_err(|error| told("no TLS with", &error))?;
        }
        if let Some((user, password)) = login {
            let credentials = Credentials::new(user.clone(), password.expose().to_owned());
            if let Err(error) = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials) {
                connection.abort();
                // What the server says here may hold what it was told.
                let code = error.status().map_or_else(|| "no answer".to_owned(), |code| code.to_string());
                return Err(format!("{host}:{port} does not let `{user}` log in ({code})"));
            }
        }
        Ok(connection)
    }

    /// The first address of the server that may be dialled.
    fn address(&self, host: &str, port: u16, tls: SmtpTls) -> Result<SocketAddr, String> {
        let found = (host, port).to_socket_addrs().map_err(|_| format!("`{host}` does not resolve"))?;
        let open = |address: &SocketAddr| {
            let protected = tls != SmtpTls::None || address.ip().to_canonical().is_loopback();
            protected && self.egress.check_host(*address).is_ok()
        };
        let mut found = found.map(|address| SocketAddr::new(address.ip().to_canonical(), port));
        found.find(open).ok_or_else(|| format!("{host}:{port} is blocked by egress policy"))
    }
}

/// One mail over a connection. A contact whose address the server refuses for good does not keep it from the others.
fn transaction(connection: &mut SmtpConnection, letter: &Letter) -> Result<(), Undelivered> {
    let away = |error: SmtpError| Undelivered::Server(format!("the mail server: {}", shown(&error)));
    let refused = |what: &str, error: &SmtpError| Undelivered::Refused(format!("{what}: {}", shown(error)));
    let address = |text: &str| text.parse::<Address>().map_err(|e| Undelivered::Refused(e.to_string()));
    connection.command(Mail::new(Some(address(&letter.from)?), Vec::new())).map_err(away)?;
    let (mut taken, mut last) = (0, None);
    for contact in &letter.to {
        match connection.command(Rcpt::new(address(contact)?, Vec::new())) {
            Ok(_) => taken += 1,
            Err(error) if error.status().is_some() => {
                let problem = refused("a contact is refused", &error);
                warn!(?problem, "a contact gets no mail");
                last = Some(problem);
            }
            Err(error) => return Err(away(error)),
        }
    }
    if let (0, Some(problem)) = (taken, last) {
        return Err(problem);
    }
    connection.command(Data).map_err(away)?;
    match connection.message(&letter.bytes) {
        Ok(_) => Ok(()),
        Err(error) if error.is_permanent() => Err(refused("the mail is refused", &error)),
        Err(error) => Err(away(error)),
    }
}

/// Whom the server has to prove to be: `host`, to the system's roots and those in the files.
fn trust(host: &str, roots: &[PathBuf]) -> Result<TlsParameters, String> {
    let bare = rustls_native_certs::load_native_certs().certs.is_empty();
    let store = if bare { CertificateStore::WebpkiRoots } else { CertificateStore::Default };
    let mut parameters = TlsParameters::builder(host.to_owned()).certificate_store(store);
    for path in roots {
        let unread = |error: &dyn std::fmt::Display| format!("cannot read `{}`: {error}", path.display());
        let pem = fs::read(path).map_err(|error| unread(&error))?;
        parameters = parameters.add_root_certificate(Certificate::from_pem(&pem).map_err(|e| unread(&e))?);
    }
    parameters.build().map_err(|error| format!("cannot set up TLS: {error}"))
}

/// Writes a mail as a file; a reader sees the whole of it or nothing.
fn file(dir: &Path, letter: &Letter) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let path = dir.join(format!("{}.eml", letter.id));
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(&letter.bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, &path)
}

/// An error for people: bounded, on one line.
fn shown(error: &SmtpError) -> String {
    error.to_string().chars().take(SHOWN_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
