//! What the fold has in hand: values read from the store once, changed in memory, written together.

use super::store::{Store, StoreError, Stored};
use fjall::OwnedWriteBatch;
use hashbrown::{HashMap, hash_map::Entry};

/// Values of one kind. Those that no write of late has touched are forgotten: at a write, the younger half
/// becomes the older one once it holds more than `room`, and the older half goes.
pub(super) struct Cache<V: Stored> {
    young: Slots<V>,
    old: Slots<V>,
    dirty: Vec<V::Key>,
    room: usize,
}

type Slots<V> = HashMap<<V as Stored>::Key, Slot<V>>;

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
        let slot = slot(&mut self.young, &mut self.old, store, key, || None)?;
        Ok(slot.map(|slot| &slot.value))
    }

    /// The value of `key`, to be changed.
    pub(super) fn change(&mut self, store: &Store, key: V::Key) -> Result<Option<&mut V>, StoreError> {
        self.change_or(store, key, || None)
    }

    /// The value of `key`, to be changed; a new one if there is none.
    pub(super) fn change_or_new(&mut self, store: &Store, key: V::Key) -> Result<&mut V, StoreError>
    where
        V: Default,
    {
        let value = self.change_or(store, key, || Some(V::default()))?;
        Ok(value.expect("there is a new one, if no other"))
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
        let (space, mut bytes) = (V::space(store), Vec::new());
        for key in self.dirty.drain(..) {
            if let Some(slot) = self.young.get_mut(&key) {
                slot.dirty = false;
                bytes.clear();
                bytes = postcard::to_extend(&slot.value, bytes)?;
                batch.insert(space, V::key(key), &bytes);
            }
        }
        if self.young.len() > self.room {
            self.old = std::mem::take(&mut self.young);
        }
        Ok(())
    }

    fn change_or(
        &mut self,
        store: &Store,
        key: V::Key,
        new: impl FnOnce() -> Option<V>,
    ) -> Result<Option<&mut V>, StoreError> {
        let Self { young, old, dirty, .. } = self;
        let slot = slot(young, old, store, key, new)?;
        Ok(slot.map(|slot| {
            if !std::mem::replace(&mut slot.dirty, true) {
                dirty.push(key);
            }
            &mut slot.value
        }))
    }
}

/// The slot of `key` among the young ones, where it comes to from the old ones, the store or `new`.
fn slot<'a, V: Stored>(
    young: &'a mut Slots<V>,
    old: &mut Slots<V>,
    store: &Store,
    key: V::Key,
    new: impl FnOnce() -> Option<V>,
) -> Result<Option<&'a mut Slot<V>>, StoreError> {
    match young.entry(key) {
        Entry::Occupied(slot) => Ok(Some(slot.into_mut())),
        Entry::Vacant(place) => {
            let slot = match old.remove(&key) {
                Some(slot) => Some(slot),
                None => store.load(key)?.or_else(new).map(|value| Slot { value, dirty: false }),
            };
            Ok(slot.map(|slot| place.insert(slot)))
        }
    }
}
