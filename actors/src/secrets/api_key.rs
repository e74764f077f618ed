//! API keys: `lhk_`, 34 random characters and a checksum of six.
//!
//! The checksum lets a scanner for leaked keys, and us, tell a key from a lookalike without asking anybody.

use super::{Secret, Secrets, SecretsError, random};
use hmac::Mac;

const PREFIX: &str = "lhk_";
const RANDOM_LEN: usize = 34;
const CHECKSUM_LEN: usize = 6;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// How much of a key its owner sees later.
const HINT_LEN: usize = 8;

/// A key that was just made.
#[derive(Debug)]
pub struct NewApiKey {
    /// The key, to be shown once.
    pub key: Secret,
    /// What the log keeps: [`Secrets::hash_api_key`].
    pub hash: String,
    /// Its first characters, by which its owner recognises it.
    pub hint: String,
}

/// Of a key, what may be kept of it: the 64 hex digits of [`Secrets::hash_api_key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash([u8; 64]);

impl KeyHash {
    /// As text.
    ///
    /// # Panics
    /// Never: digits are ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits are ASCII")
    }
}

impl Secrets {
    /// Makes a key of 202 random bits.
    pub fn new_api_key(&self) -> Result<NewApiKey, SecretsError> {
        let mut key = PREFIX.to_owned();
        while key.len() < PREFIX.len() + RANDOM_LEN {
            let bytes: [u8; 64] = random()?;
            let room = PREFIX.len() + RANDOM_LEN - key.len();
            // 248 = 4 · 62: what lies above would make the first digits likelier than the others.
            let fair = bytes.iter().filter(|&&byte| byte < 248);
            key.extend(fair.take(room).map(|&byte| char::from(DIGITS[usize::from(byte % 62)])));
        }
        let check = checksum(&key[PREFIX.len()..]);
        key.extend(check.map(char::from));
        Ok(self.describe_api_key(key))
    }

    /// Hash and hint of a key that comes from outside: the operator's own.
    #[must_use]
    pub fn describe_api_key(&self, key: String) -> NewApiKey {
        let hint = key.chars().take(HINT_LEN).collect();
        NewApiKey { hash: self.hash_api_key(&key).as_str().to_owned(), hint, key: Secret::new(key) }
    }

    /// HMAC-SHA256 under a derived key, hex: tells nobody anything without the master key, and is looked up
    /// directly, so comparing it leaks no timing of the key.
    ///
    /// # Panics
    /// Never: a digest has hex digits.
    #[must_use]
    pub fn hash_api_key(&self, key: &str) -> KeyHash {
        let digest = self.hashing.clone().chain_update(key).finalize().into_bytes();
        // Asked for with every request, and `hex::encode` goes digit by digit.
        let mut digits = [0; 64];
        hex::encode_to_slice(digest, &mut digits).expect("two digits a byte");
        KeyHash(digits)
    }
}

/// Whether `key` is one that [`Secrets::new_api_key`] can have made.
#[must_use]
pub fn is_well_formed(key: &str) -> bool {
    let Some(body) = key.strip_prefix(PREFIX) else { return false };
    let plain = body.len() == RANDOM_LEN + CHECKSUM_LEN && body.bytes().all(|byte| DIGITS.contains(&byte));
    plain && body.as_bytes()[RANDOM_LEN..] == checksum(&body[..RANDOM_LEN])
}

/// CRC-32C in base 62, which takes six digits.
fn checksum(text: &str) -> [u8; CHECKSUM_LEN] {
    let mut rest = crc32c::crc32c(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::super::tests::secrets;
    use super::*;

    #[test]
    fn keys_are_new_and_carry_their_checksum() {
        let secrets = secrets(1);
        let first = secrets.new_api_key().unwrap();
        let key = first.key.expose();
        assert_eq!(key.len(), 44);
        assert!(is_well_formed(key));
        assert_ne!(key, secrets.new_api_key().unwrap().key.expose());
        assert_eq!(first.hint, key[..8]);
        assert!(!format!("{first:?}").contains(&key[8..]));
        for place in 0..key.len() {
            let mut typo = key.as_bytes().to_vec();
            typo[place] = if typo[place] == b'x' { b'y' } else { b'x' };
            assert!(!is_well_formed(std::str::from_utf8(&typo).unwrap()), "{place}");
        }
        assert!(!is_well_formed("") && !is_well_formed("lhk_") && !is_well_formed(&format!("{key}0")));
    }

    #[test]
    fn hashes_depend_on_key_and_master_key() {
        let (a, b) = (secrets(1), secrets(2));
        assert_eq!(a.hash_api_key("k"), a.hash_api_key("k"));
        assert_ne!(a.hash_api_key("k"), b.hash_api_key("k"));
        assert_ne!(a.hash_api_key("k"), a.hash_api_key("K"));
        assert_eq!(a.hash_api_key("k").as_str().len(), 64);
    }
}
