//! What the fold has in hand: values read from the store once, changed in memory, written together.

use super::store::{Store, StoreError, Stored};
use fjall::OwnedWriteBatch;
use hashbrown::HashMap;

/// Values of one kind. Those that no write of late has touched are forgotten: at a write, the younger half
/// becomes the older one once it holds more than `room`, and the older half goes.
pub(super) struct Cache<V: Stored> {
    young: HashMap<V::Key, Slot<V>>,
    old: HashMap<V::Key, Slot<V>>,
    dirty: Vec<V::Key>,
    room: usize,
}

struct Slot<V> {
    value: V,
    dirty: bool,
}

impl<V: Stored> Cache<V> {
    /// An empty cache that keeps about `room` values.
    pub(super) fn new(room: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), dirty: Vec::new(), room }
    }

    /// The value of `key`, to be read.
    pub(super) fn get(&mut self, store: &Store, key: V::Key) -> Result<Option<&V>, StoreError> {
        Ok(self.slot(store, key)?.map(|slot| &slot.value))
    }

    /// The value of `key`, to be changed.
    pub(super) fn change(&mut self, store: &Store, key: V::Key) -> Result<Option<&mut V>, StoreError> {
        if self.slot(store, key)?.is_none() {
            return Ok(None);
        }
        Ok(self.young.get_mut(&key).map(|slot| {
            if !std::mem::replace(&mut slot.dirty, true) {
                self.dirty.push(key);
            }
            &mut slot.value
        }))
    }

    /// The value of `key`, to be changed; a new one if there is none.
    pub(super) fn change_or_new(&mut self, store: &Store, key: V::Key) -> Result<&mut V, StoreError>
    where
        V: Default,
    {
        if self.slot(store, key)?.is_none() {
            self.put(key, V::default());
        }
        let slot = self.young.get_mut(&key).expect("it was put there just now");
        if !std::mem::replace(&mut slot.dirty, true) {
            self.dirty.push(key);
        }
        Ok(&mut slot.value)
    }

    /// Sets the value of `key`.
    pub(super) fn put(&mut self, key: V::Key, value: V) {
        self.old.remove(&key);
        if self.young.insert(key, Slot { value, dirty: true }).is_none_or(|slot| !slot.dirty) {
            self.dirty.push(key);
        }
    }

    /// Adds what was changed to the batch.
    pub(super) fn write(&mut self, store: &Store, batch: &mut OwnedWriteBatch) -> Result<(), StoreError> {
        let space = V::space(store);
        for key in self.dirty.drain(..) {
            if let Some(slot) = self.young.get_mut(&key) {
                slot.dirty = false;
                batch.insert(space, V::key(key), postcard::to_stdvec(&slot.value)?);
            }
        }
        if self.young.len() > self.room {
            self.old = std::mem::take(&mut self.young);
        }
        Ok(())
    }

    fn slot(&mut self, store: &Store, key: V::Key) -> Result<Option<&Slot<V>>, StoreError> {
        if !self.young.contains_key(&key) {
            let slot = match self.old.remove(&key) {
                Some(slot) => Some(slot),
                None => store.load(key)?.map(|value| Slot { value, dirty: false }),
            };
            let Some(slot) = slot else { return Ok(None) };
            self.young.insert(key, slot);
        }
        Ok(self.young.get(&key))
    }
}
