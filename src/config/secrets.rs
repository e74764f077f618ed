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
}

impl Secrets {
    /// Reads the key, once: by setting, by file, or by systemd. Where it comes from a file, it stands in `master_key`
    /// afterwards.
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
        self.master_key = Some(Secret(text));
        Ok(())
    }
}
