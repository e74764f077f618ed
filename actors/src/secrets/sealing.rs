//! The key that seals: drawn on the first run and kept in the data folder, wrapped under the master key. Another master
//! key takes over by wrapping it anew, and no record of the log has to change.

use super::{MasterKey, MasterKeyError, Secrets, master::write_private};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Its file in the data folder.
const FILE: &str = "sealing.key";

impl MasterKey {
    /// The key to seal with. It is drawn where `first_run` tells that nothing was sealed before; a folder without one is
    /// older than this rule, and the master key itself seals there.
    pub fn sealing_key(self, data_dir: &Path, first_run: bool) -> Result<Self, MasterKeyError> {
        match self.unwrap_sealing_key(data_dir)? {
            Some(key) => Ok(key),
            None if first_run => {
                let key = Self::drawn()?;
                self.wrap(&key, data_dir)?;
                Ok(key)
            }
            None => Ok(self),
        }
    }

    /// Lets `new` take the place of this key: what was sealed stays as it is. Answers whether anything had to be done.
    pub fn rewrap(self, new: &Self, data_dir: &Path) -> Result<bool, MasterKeyError> {
        if matches!(new.unwrap_sealing_key(data_dir), Ok(Some(_))) {
            return Ok(false);
        }
        let key = self.sealing_key(data_dir, false)?;
        new.wrap(&key, data_dir)?;
        Ok(true)
    }

    fn unwrap_sealing_key(&self, data_dir: &Path) -> Result<Option<Self>, MasterKeyError> {
        let path = path(data_dir);
        let wrapped = match fs::read_to_string(&path) {
            Ok(wrapped) => wrapped,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(MasterKeyError::File { path, source }),
        };
        let text = self
            .wrapping()
            .open(wrapped.trim())
            .map_err(|_| MasterKeyError::Wrapped { path: path.clone() })?;
        let key = Self::parse(text.expose());
        key.map(Some).map_err(|why| MasterKeyError::Unusable { path, why: Box::new(why) })
    }

    fn wrap(&self, key: &Self, data_dir: &Path) -> Result<(), MasterKeyError> {
        let (wrapped, path) = (self.wrapping().seal(&key.text())?, path(data_dir));
        let written = write_private(data_dir, &path, wrapped.as_bytes());
        written.map_err(|source| MasterKeyError::File { path, source })
    }

    /// Seals nothing else, also where the master key itself seals.
    fn wrapping(&self) -> Secrets {
        Secrets::new(&self.derived("ledgerhook/wrap/1"))
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(first: u8) -> MasterKey {
        let key: Vec<u8> = (first..first + 32).collect();
        MasterKey::parse(&hex::encode(key)).unwrap()
    }

    #[test]
    fn another_master_key_takes_over_what_was_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = Secrets::new(&master(1).sealing_key(dir.path(), true).unwrap()).seal("canary").unwrap();
        let opened = |key: MasterKey| {
            let key = key.sealing_key(dir.path(), false)?;
            Ok::<_, MasterKeyError>(Secrets::new(&key).open(&sealed).unwrap().expose().to_owned())
        };
        assert_eq!(opened(master(1)).unwrap(), "canary");
        assert!(matches!(opened(master(2)), Err(MasterKeyError::Wrapped { .. })));
        assert!(matches!(master(2).rewrap(&master(3), dir.path()), Err(MasterKeyError::Wrapped { .. })));
        assert!(master(1).rewrap(&master(2), dir.path()).unwrap());
        // Once more, as after a crash.
        assert!(!master(1).rewrap(&master(2), dir.path()).unwrap());
        assert_eq!(opened(master(2)).unwrap(), "canary");
        assert!(matches!(opened(master(1)), Err(MasterKeyError::Wrapped { .. })));
    }

    /// UPG: a folder from before there was such a key.
    #[test]
    fn where_there_is_none_the_master_key_seals_until_it_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = Secrets::new(&master(1)).seal("canary").unwrap();
        let key = master(1).sealing_key(dir.path(), false).unwrap();
        assert_eq!(Secrets::new(&key).open(&sealed).unwrap().expose(), "canary");
        assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
        assert!(master(1).rewrap(&master(2), dir.path()).unwrap());
        let key = master(2).sealing_key(dir.path(), false).unwrap();
        assert_eq!(Secrets::new(&key).open(&sealed).unwrap().expose(), "canary");
    }
}
