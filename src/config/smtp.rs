//! `[smtp]`: mails to the contacts of tenants.

use super::{ConfigError, Secret, require};
use ledgerhook_actors::{
    domain::tenant::is_mail_address,
    notices::{MailConfig, MailSink, Pace, SmtpConfig, SmtpTls},
    secrets,
};
use serde::{Deserialize, Serialize};
use std::{fs, path::PathBuf, time::Duration};

/// Sender of mails that go into a folder.
const FOLDER_SENDER: &str = "notices@ledgerhook.invalid";

/// How a connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tls {
    /// After `STARTTLS`, which the server has to offer.
    #[default]
    Starttls,
    /// From the first byte.
    Implicit,
    /// Not at all; only to this machine.
    None,
}

/// Mails to the contacts of tenants; none without `host` or `mail_dir`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Smtp {
    /// The mail server: a name, or an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// Its port.
    pub(crate) port: u16,
    /// How the connection is protected.
    pub(crate) tls: Tls,
    /// Who logs in, if anybody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// The user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<Secret>,
    /// Or a file whose first line it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password_file: Option<PathBuf>,
    /// Sender of the mails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// Where answers go, if elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reply_to: Option<String>,
    /// For the connection, and for each answer of the server.
    pub(crate) timeout_seconds: u64,
    /// Mails an hour that tell a tenant of one dead letter each.
    pub(crate) per_hour: usize,
    /// How long what goes beyond is gathered for one mail.
    pub(crate) digest_seconds: u64,
    /// A folder that takes the mails in the place of a server, for development.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mail_dir: Option<PathBuf>,
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            host: None,
            port: 587,
            tls: Tls::default(),
            user: None,
            password: None,
            password_file: None,
            from: None,
            reply_to: None,
            timeout_seconds: 30,
            per_hour: 10,
            digest_seconds: 900,
            mail_dir: None,
        }
    }
}

impl Smtp {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Self { host, port, user, password, password_file, from, reply_to, mail_dir, .. } = self;
        require(
            host.is_none() || mail_dir.is_none(),
            "smtp.mail_dir",
            "stands beside `smtp.host`; choose one",
        )?;
        require(host.as_deref() != Some(""), "smtp.host", "must not be empty")?;
        require(*port > 0, "smtp.port", "must not be 0")?;
        let addresses = [("smtp.from", from), ("smtp.reply_to", reply_to)];
        for (setting, address) in addresses {
            let plain = address.as_deref().is_none_or(is_mail_address);
            require(plain, setting, "must be a plain mail address like `hooks@example.com`")?;
        }
        require(host.is_none() || from.is_some(), "smtp.from", "is needed beside `smtp.host`")?;
        let both = password.is_some() && password_file.is_some();
        require(!both, "smtp.password_file", "stands beside `smtp.password`; choose one")?;
        let has_password = password.is_some() || password_file.is_some();
        require(user.is_some() == has_password, "smtp.user", "and a password are needed together")?;
        let plain = |text: &String| !text.is_empty() && !text.chars().any(char::is_control);
        require(user.as_ref().is_none_or(plain), "smtp.user", "must be one line")?;
        require(
            (1..=300).contains(&self.timeout_seconds),
            "smtp.timeout_seconds",
            "must lie between 1 and 300",
        )?;
        require((1..=1000).contains(&self.per_hour), "smtp.per_hour", "must lie between 1 and 1000")?;
        let fits = (1..=86_400).contains(&self.digest_seconds);
        require(fits, "smtp.digest_seconds", "must lie between 1 and 86400")?;
        self.secret().map(drop)
    }

    /// The password, from where it is kept.
    fn secret(&self) -> Result<Option<secrets::Secret>, ConfigError> {
        if let Some(Secret(password)) = &self.password {
            return Ok(Some(secrets::Secret::new(password.clone())));
        }
        let Some(path) = &self.password_file else { return Ok(None) };
        let text = fs::read_to_string(path);
        let line = text.as_deref().ok().and_then(|text| text.lines().next()).filter(|line| !line.is_empty());
        let problem = format!("`{}` cannot be read, or begins with an empty line", path.display());
        require(line.is_some(), "smtp.password_file", problem)?;
        Ok(line.map(|line| secrets::Secret::new(line.to_owned())))
    }

    /// What the engine is told; nothing if no mails are to be sent.
    pub(super) fn engine(&self) -> Option<MailConfig> {
        let sink = match (&self.host, &self.mail_dir) {
            (Some(host), _) => {
                let tls = match self.tls {
                    Tls::Starttls => SmtpTls::StartTls,
                    Tls::Implicit => SmtpTls::Implicit,
                    Tls::None => SmtpTls::None,
                };
                // It could be read when the settings were checked.
                let login = self.user.clone().zip(self.secret().ok().flatten());
                let (host, timeout) = (host.clone(), Duration::from_secs(self.timeout_seconds));
                MailSink::Smtp(SmtpConfig { host, port: self.port, tls, login, timeout })
            }
            (None, Some(dir)) => MailSink::Folder(dir.clone()),
            (None, None) => return None,
        };
        let from = self.from.clone().unwrap_or_else(|| FOLDER_SENDER.to_owned());
        let pace = Pace { per_hour: self.per_hour, gather: Duration::from_secs(self.digest_seconds) };
        Some(MailConfig { sink, from, reply_to: self.reply_to.clone(), pace })
    }
}
