//! `[tenants]`: who there is on first run, and which profiles they can have.

use super::{ConfigError, Secret, require};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, net::IpAddr, path::PathBuf};

/// Bytes below which an operator key is good for a server on loopback only.
const STRONG_KEY: usize = 24;
/// Different bytes that a drawn key has at the least; `aaaa…` is none.
const STRONG_KEY_BYTES: usize = 8;

/// Who there is on first run, and which profiles they can have.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tenants {
    /// Profile of `tenant_default` on first run.
    pub(crate) default_profile: String,
    /// Folder with more profiles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profiles_dir: Option<PathBuf>,
    /// The operator key; made on first run if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) operator_key: Option<Secret>,
}

impl Default for Tenants {
    fn default() -> Self {
        Self { default_profile: "afftok".into(), profiles_dir: None, operator_key: None }
    }
}

impl Tenants {
    pub(super) fn check(&self, listen: IpAddr) -> Result<(), ConfigError> {
        if let Some(path) = &self.profiles_dir {
            let problem = format!("`{}` is no folder", path.display());
            require(path.is_dir(), "tenants.profiles_dir", problem)?;
        }
        let Some(Secret(key)) = &self.operator_key else { return Ok(()) };
        let sendable = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        require(sendable, "tenants.operator_key", "must be printable ASCII without spaces")?;
        let different = key.bytes().collect::<BTreeSet<_>>().len();
        require(
            (key.len() >= STRONG_KEY && different >= STRONG_KEY_BYTES) || listen.is_loopback(),
            "tenants.operator_key",
            format_args!(
                "is shorter than {STRONG_KEY} bytes or has fewer than {STRONG_KEY_BYTES} different ones, which only a \
                 server on loopback may have"
            ),
        )
    }
}
