//! `ledgerhook secrets rewrap`: another master key takes the place of the present one.
//!
//! One small file is replaced, so a server may run meanwhile: it has what it needs in memory, and asks for the new key at
//! its next start.

use crate::config::Config;
use anyhow::Context as _;
use ledgerhook_actors::secrets::MasterKey;
use std::{fs, io::Write, path::Path};

/// Wraps the sealing key anew, and takes a `master.key` out of the data folder.
pub(crate) fn run(config: &Config, new_key_file: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let data_dir = &config.log.data_dir;
    let given = config.secrets.key().map(|key| key.0.as_str());
    let old = MasterKey::open(given, data_dir, false, false)?;
    let text = fs::read_to_string(new_key_file)
        .with_context(|| format!("cannot read the new key from `{}`", new_key_file.display()))?;
    let new = MasterKey::parse(&text).with_context(|| format!("`{}`", new_key_file.display()))?;
    let done = old.rewrap(&new, data_dir)?;
    let made_here = given.is_none() && MasterKey::is_in(data_dir);
    if made_here {
        MasterKey::remove_from(data_dir)?;
    }
    let file = new_key_file.display();
    if done {
        writeln!(out, "the master key is the one in `{file}` from now on")?;
    } else {
        writeln!(out, "the master key was the one in `{file}` already")?;
    }
    if made_here {
        writeln!(out, "removed `{}`", data_dir.join("master.key").display())?;
    }
    writeln!(
        out,
        "start with `secrets.master_key_file` (LEDGERHOOK_MASTER_KEY_FILE) set to it; backups of the folder from before \
         still open with the former key"
    )?;
    Ok(())
}
