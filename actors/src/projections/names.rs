//! Numbers for texts that come again and again: tenants, pipelines, steps, triggers. Only what an administrator
//! configured is numbered, so the table stays small; it is kept in memory whole.

use super::store::{StoreError, Tag};
use fjall::{Keyspace, OwnedWriteBatch};
use hashbrown::HashMap;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The number of a text, from 0, in the order of first appearance in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Name(pub(super) u32);

impl Name {
    /// As part of a key.
    pub(super) fn bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

/// The table. One thread adds, any thread reads.
#[derive(Default)]
pub(super) struct Names {
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, Name>,
}

impl Table {
    fn add(&mut self, text: &str) -> Name {
        let (text, name) = (Arc::from(text), Name(u32::try_from(self.texts.len()).unwrap_or(u32::MAX)));
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, name);
        name
    }
}

impl Names {
    /// Reads the stored table.
    pub(super) fn load(book: &Keyspace) -> Result<Self, StoreError> {
        let mut table = Table::default();
        for entry in book.prefix(Tag::Name.key(&[])) {
            table.add(&String::from_utf8_lossy(&entry.value()?));
        }
        Ok(Self { table: RwLock::new(table) })
    }

    /// The number of `text`, if it has one.
    pub(super) fn find(&self, text: &str) -> Option<Name> {
        self.table.read().numbers.get(text).copied()
    }

    /// The number of `text`, which gets one if it has none.
    pub(super) fn intern(&self, text: &str) -> Name {
        self.find(text).unwrap_or_else(|| self.table.write().add(text))
    }

    /// The text of a number.
    pub(super) fn text(&self, name: Name) -> Arc<str> {
        self.table.read().texts.get(name.0 as usize).cloned().unwrap_or_else(|| "".into())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.table.read().texts.len()
    }

    /// Writes those from number `from` on.
    pub(super) fn write(&self, from: usize, batch: &mut OwnedWriteBatch, book: &Keyspace) {
        let table = self.table.read();
        for text in table.texts.iter().skip(from) {
            if let Some(name) = table.numbers.get(text) {
                batch.insert(book, Tag::Name.key(&[&name.bytes()]), text.as_bytes());
            }
        }
    }
}
