//! Where a log begins once its oldest segments were removed: the floor, the chain's hash before it, and the
//! version that each stream had there. Written before anything is unlinked.

use super::{
    bytes::{Cursor, narrow, put_varint},
    folder::{During as _, Folder, damaged},
    format::{GENESIS, Hash},
};
use crate::log::{LogError, StreamId};
use crc32c::crc32c;
use hashbrown::HashMap;
use std::io::ErrorKind;

const MAGIC: [u8; 4] = *b"LHan";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    /// The lowest position that can still be read.
    pub(super) floor: u64,
    /// The chain's hash before it.
    pub(super) hash: Hash,
    /// Versions of streams before it.
    pub(super) heads: HashMap<StreamId, u64>,
}

impl Anchor {
    /// The folder's anchor; without one the log begins at its first record.
    pub(super) fn read(folder: &Folder, log_id: [u8; 16]) -> Result<Self, LogError> {
        let path = folder.file("anchor");
        match folder.disk.read(&path) {
            Ok(bytes) => {
                Self::decode(&bytes, log_id).ok_or_else(|| damaged(&path, 0, "the anchor does not check out"))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(Self { floor: 1, hash: GENESIS, heads: HashMap::new() })
            }
            Err(error) => Err(error).during("read", &path),
        }
    }

    pub(super) fn write(&self, folder: &Folder, log_id: [u8; 16]) -> Result<(), LogError> {
        folder.replace(&folder.file("anchor"), &self.encode(log_id))
    }

    fn encode(&self, log_id: [u8; 16]) -> Vec<u8> {
        let mut content = log_id.to_vec();
        content.extend(self.floor.to_le_bytes());
        content.extend(self.hash);
        let mut heads: Vec<_> = self.heads.iter().collect();
        heads.sort_unstable();
        for (stream, version) in heads {
            content.push(narrow(stream.as_str().len()).to_le_bytes()[0]);
            content.extend(stream.as_str().as_bytes());
            put_varint(&mut content, *version);
        }
        [&MAGIC[..], &crc32c(&content).to_le_bytes(), &content].concat()
    }

    fn decode(bytes: &[u8], log_id: [u8; 16]) -> Option<Self> {
        let mut fields = Cursor(bytes);
        let sound = fields.array() == Some(MAGIC) && fields.u32()? == crc32c(fields.0);
        if !sound || fields.array() != Some(log_id) {
            return None;
        }
        let (floor, hash) = (fields.u64()?, fields.array()?);
        let mut heads = HashMap::new();
        while !fields.0.is_empty() {
            let len = fields.u8()?;
            let name = std::str::from_utf8(fields.bytes(usize::from(len))?).ok()?;
            heads.insert(StreamId::new(name), fields.varint()?);
        }
        Some(Self { floor, hash, heads })
    }
}
