//! `[secrets]`: the key that seals all others.

use super::{ConfigError, Secret, require};
use serde::{Deserialize, Serialize};
use std::{env, fs, path::PathBuf};

/// Its name among the credentials that systemd hands over (`LoadCredential=`).
const CREDENTIAL: &str = "ledgerhook-master-key";

/// The key that seals all others. Without any of these it is `master.key` in the data folder.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Secrets {
    /// 32 bytes in hex or base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) master_key: Option<Secret>,
    /// A file that holds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) master_key_file: Option<PathBuf>,
    /// Whether a first run makes the key by itself although it listens beyond loopback.
    pub(crate) generate_master_key: bool,
    /// What a file held: not a setting, so that what is shown of them can be read back.
    #[serde(skip)]
    from_file: Option<Secret>,
}

impl Secrets {
    /// Reads the key, once: by setting, by file, or by systemd.
    pub(super) fn read(&mut self) -> Result<(), ConfigError> {
        let is_once = self.master_key.is_none() || self.master_key_file.is_none();
        require(
            is_once,
            "secrets.master_key_file",
            "is set beside `secrets.master_key`; one of them is enough",
        )?;
        let credential =
            env::var_os("CREDENTIALS_DIRECTORY").map(|folder| PathBuf::from(folder).join(CREDENTIAL));
        let credential = credential.filter(|path| self.master_key.is_none() && path.exists());
        let Some(file) = self.master_key_file.clone().or(credential) else { return Ok(()) };
        let text = fs::read_to_string(&file).map_err(|error| ConfigError::Setting {
            setting: "secrets.master_key_file".into(),
            problem: format!("`{}`: {error}", file.display()),
        })?;
        self.from_file = Some(Secret(text));
        Ok(())
    }

    /// The key, wherever it is from.
    pub(crate) fn key(&self) -> Option<&Secret> {
        self.master_key.as_ref().or(self.from_file.as_ref())
    }
}
