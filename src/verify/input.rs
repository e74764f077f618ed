//! What the user gives: headers in whatever form they were kept, secrets, public keys.

use anyhow::{Context as _, bail};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use std::{
    fmt, fs,
    io::{self, Read as _},
    path::Path,
};

/// Largest input in bytes.
const INPUT_MAX: u64 = 64 << 20;

/// A file, or standard input for `-`.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let told = || format!("cannot read `{}`", path.display());
    if path == Path::new("-") {
        io::stdin().take(INPUT_MAX + 1).read_to_end(&mut bytes).with_context(told)?;
    } else {
        fs::File::open(path)
            .with_context(told)?
            .take(INPUT_MAX + 1)
            .read_to_end(&mut bytes)
            .with_context(told)?;
    }
    if bytes.len() as u64 > INPUT_MAX {
        bail!("`{}` is larger than {} MiB", path.display(), INPUT_MAX >> 20);
    }
    Ok(bytes)
}

/// Headers by name, whatever its case. Of equal names the last one counts, as in a dump of several requests.
#[derive(Debug, Default)]
pub(super) struct Headers(Vec<(String, String)>);

impl Headers {
    /// Takes what looks like a header out of a dump: `Name: value`, with curl's `> ` or `-H '…'` around it or not.
    pub(super) fn read_dump(&mut self, dump: &[u8]) {
        for line in String::from_utf8_lossy(dump).lines() {
            let line = line.trim().trim_end_matches('\\').trim_end();
            let line = line.strip_prefix("> ").or_else(|| line.strip_prefix("< ")).unwrap_or(line);
            let quoted = line.strip_prefix("-H ").or_else(|| line.strip_prefix("--header "));
            let line = quoted.map_or(line, |line| line.trim().trim_matches(['\'', '"']));
            // What is no header is the rest of the dump.
            drop(self.add(line));
        }
    }

    /// `Name: value`
    pub(super) fn add(&mut self, line: &str) -> anyhow::Result<()> {
        let (name, value) = line.split_once(':').context("there is no colon")?;
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            bail!("`{name}` is no name of a header");
        }
        self.0.push((name.to_owned(), value.trim().to_owned()));
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.0.iter().rev().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.as_str())
    }
}

/// A secret, and what it is called. Never shown.
pub(super) struct Key {
    name: String,
    text: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.name)
    }
}

impl Key {
    pub(super) fn new(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned() }
    }

    /// Where it came from.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// As the contracts use it: its bytes as they are written (AFF-35).
    pub(super) fn text(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// As Standard Webhooks uses it: what is behind `whsec_`, from base64 (T-54).
    pub(super) fn standard(&self) -> Vec<u8> {
        let decoded = self.text.strip_prefix("whsec_").and_then(base64);
        decoded.unwrap_or_else(|| self.text().to_vec())
    }

    /// The keys that people take it for, with what they did.
    pub(super) fn mistaken(&self) -> Vec<(&'static str, Vec<u8>)> {
        let text = self.text.as_str();
        let bare = text.strip_prefix("whsec_").unwrap_or(text);
        let mut all = vec![
            (
                "as it is written, prefix and all, instead of what it decodes to from base64",
                text.as_bytes().to_vec(),
            ),
            ("without its `whsec_` prefix, and not decoded", bare.as_bytes().to_vec()),
            ("with a line break behind it", format!("{text}\n").into_bytes()),
            ("without the white space around it", text.trim().as_bytes().to_vec()),
        ];
        if let Some(decoded) = base64(bare) {
            all.push(("decoded from base64, where the text itself is the key", decoded));
        }
        if let Ok(decoded) = hex::decode(bare) {
            all.push(("decoded from hexadecimal, where the text itself is the key", decoded));
        }
        all
    }
}

/// `whpk_…`, or its base64 alone.
pub(super) fn public_key(text: &str) -> anyhow::Result<Vec<u8>> {
    let encoded = text.strip_prefix("whpk_").unwrap_or(text);
    let bytes = base64(encoded).or_else(|| base64url(encoded));
    bytes.filter(|bytes| bytes.len() == 32).with_context(|| format!("`{text}` is no Ed25519 public key"))
}

pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).ok()
}

pub(super) fn base64url(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}
