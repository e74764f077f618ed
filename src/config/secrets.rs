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
}

impl Secrets {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let is_once = self.master_key.is_none() || self.master_key_file.is_none();
        require(
            is_once,
            "secrets.master_key_file",
            "is set beside `secrets.master_key`; one of them is enough",
        )?;
        let given = self.given();
        let problem = given.as_ref().err().map(ToString::to_string).unwrap_or_default();
        require(given.is_ok(), "secrets.master_key_file", problem)
    }

    /// The key as text, if one is given: by setting, by file, or by systemd.
    pub(super) fn given(&self) -> std::io::Result<Option<String>> {
        if let Some(Secret(key)) = &self.master_key {
            return Ok(Some(key.clone()));
        }
        let credential =
            env::var_os("CREDENTIALS_DIRECTORY").map(|folder| PathBuf::from(folder).join(CREDENTIAL));
        let file = self.master_key_file.clone().or(credential.filter(|path| path.exists()));
        file.map(fs::read_to_string).transpose()
    }
}
