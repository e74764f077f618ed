//! The one key that opens all others, and where it is kept.

use super::{SecretsError, mac, random};
use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::Mac;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};
use tracing::warn;
use zeroize::Zeroizing;

/// Its file in the data folder.
const FILE: &str = "master.key";

/// 32 bytes, wiped when dropped.
pub struct MasterKey(Zeroizing<[u8; 32]>);

/// Why there is no master key. Shows no part of one.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// Neither hex nor base64 of 32 bytes.
    #[error("the master key is not 32 bytes in hex or base64")]
    Format,
    /// The same byte over and over, or hardly any difference: nobody drew that by chance (SEC.7).
    #[error("the master key is not random")]
    Weak,
    /// The file holds no key: damaged, or edited.
    #[error("`{}`: {why}", path.display())]
    Unusable { path: PathBuf, why: Box<Self> },
    /// There is a log, and no key that could open its secrets.
    #[error("`{}` is missing, and the log's secrets cannot be opened without it", path.display())]
    Missing { path: PathBuf },
    /// A first run that may not make one.
    #[error(
        "there is no master key, and one is made by itself only where the engine listens on loopback: give it by \
         `secrets.master_key_file`, or let it be made with `secrets.generate_master_key = true` and keep a copy of `{}`",
        path.display()
    )]
    NotGiven { path: PathBuf },
    /// Others on this machine can read it.
    #[error("`{}` can be read by others (mode {mode:o}); make it 600", path.display())]
    Permissions { path: PathBuf, mode: u32 },
    /// The file cannot be read or written.
    #[error("cannot use `{}`", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Another key wrapped it.
    #[error("`{}` was wrapped under another master key; give the one that belongs to this data folder", path.display())]
    Wrapped { path: PathBuf },
    /// No key could be drawn.
    #[error(transparent)]
    Random(#[from] SecretsError),
}

impl MasterKey {
    /// The key that was `given` (`LEDGERHOOK_MASTER_KEY`), else the one in `<data_dir>/master.key`, which is made
    /// where there is none, `first_run` tells that nothing was sealed before, and it `may_make` one (SEC.7).
    pub fn open(
        given: Option<&str>,
        data_dir: &Path,
        first_run: bool,
        may_make: bool,
    ) -> Result<Self, MasterKeyError> {
        if let Some(text) = given {
            return Self::parse(text);
        }
        let path = data_dir.join(FILE);
        let failed = |source| MasterKeyError::File { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) => {
                check_mode(&path)?;
                let key = Self::parse(&Zeroizing::new(text));
                key.map_err(|why| MasterKeyError::Unusable { path, why: Box::new(why) })
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            Err(_) if !first_run => Err(MasterKeyError::Missing { path }),
            Err(_) if !may_make => Err(MasterKeyError::NotGiven { path }),
            Err(_) => {
                let key = Self::drawn()?;
                let text = Zeroizing::new(STANDARD.encode(key.0.as_slice()));
                write_private(data_dir, &path, text.as_bytes()).map_err(failed)?;
                warn!(
                    path = %path.display(),
                    "made the master key; it lies beside what it protects: keep a copy elsewhere, or give one from outside"
                );
                Ok(key)
            }
        }
    }

    /// Reads 64 hex digits, or base64 of either alphabet, padded or not.
    pub fn parse(text: &str) -> Result<Self, MasterKeyError> {
        let text = text.trim();
        let bytes = hex::decode(text)
            .or_else(|_| STANDARD.decode(text))
            .or_else(|_| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')))
            .map_err(|_| MasterKeyError::Format)?;
        let bytes = Zeroizing::new(bytes);
        let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| MasterKeyError::Format)?;
        let mut distinct = key;
        distinct.sort_unstable();
        // 32 random bytes practically never repeat so much.
        if distinct.chunk_by(u8::eq).count() < 12 {
            return Err(MasterKeyError::Weak);
        }
        Ok(Self(Zeroizing::new(key)))
    }

    /// A key for one purpose; keys of different purposes tell nothing about each other.
    pub(super) fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        let derived = mac(self.0.as_slice()).chain_update(purpose).finalize();
        Zeroizing::new(derived.into_bytes().into())
    }

    /// A new one.
    pub(super) fn drawn() -> Result<Self, SecretsError> {
        Ok(Self(Zeroizing::new(random()?)))
    }

    /// For a purpose that has keys of its own.
    pub(super) fn derived(&self, purpose: &str) -> Self {
        Self(self.derive(purpose))
    }

    /// Whether it was made by [`open`](Self::open) and lies in the data folder.
    #[must_use]
    pub fn is_in(data_dir: &Path) -> bool {
        data_dir.join(FILE).exists()
    }

    /// Takes the one that lies in the data folder away.
    pub fn remove_from(data_dir: &Path) -> Result<(), MasterKeyError> {
        let path = data_dir.join(FILE);
        let removed = fs::remove_file(&path).and_then(|()| File::open(data_dir)?.sync_all());
        removed.map_err(|source| MasterKeyError::File { path, source })
    }

    /// In hex.
    pub(super) fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.0.as_slice()))
    }
}

/// Whole or not at all, and durable: what is sealed with a key that a crash took is lost.
pub(super) fn write_private(data_dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(data_dir)?;
    let draft = path.with_extension("key.new");
    let mut file = create_private(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(data_dir)?.sync_all()
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // A draft left over by a crash keeps the mode that it had.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).open(path)
}

#[cfg(unix)]
fn check_mode(path: &Path) -> Result<(), MasterKeyError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |source| MasterKeyError::File { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    let is_private = matches!(mode, 0o400 | 0o600);
    if is_private { Ok(()) } else { Err(MasterKeyError::Permissions { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
fn check_mode(_: &Path) -> Result<(), MasterKeyError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn keys_are_read_in_either_spelling() {
        let key: Vec<u8> = (0..32).collect();
        for text in [HEX.to_owned(), STANDARD.encode(&key), URL_SAFE_NO_PAD.encode(&key) + "\n"] {
            assert_eq!(MasterKey::parse(&text).unwrap().0.as_slice(), key);
        }
    }

    /// SEC.7
    #[test]
    fn weak_and_malformed_keys_are_refused() {
        assert!(matches!(MasterKey::parse(""), Err(MasterKeyError::Format)));
        assert!(matches!(MasterKey::parse("changeme"), Err(MasterKeyError::Format)));
        assert!(matches!(MasterKey::parse(&HEX[2..]), Err(MasterKeyError::Format)));
        assert!(matches!(MasterKey::parse(&"00".repeat(32)), Err(MasterKeyError::Weak)));
        assert!(matches!(MasterKey::parse(&"0123".repeat(16)), Err(MasterKeyError::Weak)));
    }

    #[test]
    fn the_first_run_makes_a_private_file_that_later_runs_read() {
        let dir = tempfile::tempdir().unwrap();
        let made = MasterKey::open(None, dir.path(), true, true).unwrap();
        assert_eq!(MasterKey::open(None, dir.path(), false, true).unwrap().0, made.0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_ne!(MasterKey::open(Some(HEX), dir.path(), false, true).unwrap().0, made.0);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let path = dir.path().join(FILE);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            let refused = MasterKey::open(None, dir.path(), false, true);
            assert!(matches!(refused, Err(MasterKeyError::Permissions { mode: 0o644, .. })));
        }
    }

    /// SEC.7
    #[test]
    fn no_key_is_made_where_none_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let refused = MasterKey::open(None, dir.path(), true, false);
        assert!(matches!(refused, Err(MasterKeyError::NotGiven { .. })));
        assert!(MasterKey::open(Some(HEX), dir.path(), true, false).is_ok());
        MasterKey::open(None, dir.path(), true, true).unwrap();
        assert!(MasterKey::open(None, dir.path(), true, false).is_ok(), "there is one by now");
    }

    #[test]
    fn a_lost_key_is_not_replaced_by_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            MasterKey::open(None, dir.path(), false, true),
            Err(MasterKeyError::Missing { .. })
        ));
    }
}
