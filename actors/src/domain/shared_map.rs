//! A sorted map whose clones share what they have in common: a clone copies pointers, a change copies one piece.
//!
//! The configuration is replaced as a whole whenever something in it changes, and of ten thousand pipelines one does.

use std::{borrow::Borrow, sync::Arc};

/// Most entries of a piece: a change copies so many at most, a clone one pointer for about as many.
const PIECE: usize = 128;

/// Sorted by key. Pieces are never empty; they are split when they grow, and not joined again when they shrink.
#[derive(Clone, Debug)]
pub struct SharedMap<K, V> {
    pieces: Vec<Arc<Vec<(K, V)>>>,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { pieces: Vec::new() }
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// The value of `key`.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let (piece, at) = self.find(key)?;
        Some(&self.pieces[piece][at].1)
    }

    /// The value of `key`, to be changed: here, and not in the clones.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let (piece, at) = self.find(key)?;
        Some(&mut Arc::make_mut(&mut self.pieces[piece])[at].1)
    }

    /// Sets the value of `key`, and answers the former one.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.pieces.is_empty() {
            self.pieces.push(Arc::new(vec![(key, value)]));
            return None;
        }
        // What is behind everything goes into the last piece.
        let at = self.piece_of(&key).min(self.pieces.len() - 1);
        let piece = Arc::make_mut(&mut self.pieces[at]);
        match piece.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(place) => return Some(std::mem::replace(&mut piece[place].1, value)),
            Err(place) => piece.insert(place, (key, value)),
        }
        if piece.len() > PIECE {
            let upper = piece.split_off(PIECE / 2);
            self.pieces.insert(at + 1, Arc::new(upper));
        }
        None
    }

    /// Takes `key` out, and answers what it had.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (at, place) = self.find(key)?;
        let piece = Arc::make_mut(&mut self.pieces[at]);
        let (_, value) = piece.remove(place);
        if piece.is_empty() {
            self.pieces.remove(at);
        }
        Some(value)
    }

    /// All values, by their keys.
    #[must_use]
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.pieces.iter().flat_map(|piece| piece.iter().map(|(_, value)| value))
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(usize, usize)>
    where
        K: Borrow<Q>,
    {
        let at = self.piece_of(key);
        let place = self.pieces.get(at)?.binary_search_by(|(other, _)| other.borrow().cmp(key)).ok()?;
        Some((at, place))
    }

    /// The first piece that does not end before `key`.
    fn piece_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.pieces.partition_point(|piece| piece.last().is_some_and(|(last, _)| last.borrow() < key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn does_what_a_sorted_map_does_and_leaves_clones_alone(
            changes in prop::collection::vec((0_u16..600, prop::option::weighted(0.7, 0_u8..4)), 0..1_500),
        ) {
            let (mut shared, mut plain) = (SharedMap::default(), BTreeMap::new());
            let mut kept = Vec::new();
            for (nth, (key, value)) in changes.into_iter().enumerate() {
                let (former, known) = match value {
                    Some(value) if value == 0 && plain.contains_key(&key) => {
                        *shared.get_mut(&key).unwrap() += 100;
                        *plain.get_mut(&key).unwrap() += 100;
                        (None, None)
                    }
                    Some(value) => (shared.insert(key, u32::from(value)), plain.insert(key, u32::from(value))),
                    None => (shared.remove(&key), plain.remove(&key)),
                };
                prop_assert_eq!(former, known);
                prop_assert_eq!(shared.get(&key), plain.get(&key));
                if nth % 200 == 0 {
                    kept.push((shared.clone(), plain.clone()));
                }
            }
            kept.push((shared, plain));
            for (shared, plain) in kept {
                prop_assert!(shared.values().eq(plain.values()));
                prop_assert!(shared.values().rev().eq(plain.values().rev()));
                prop_assert_eq!(shared.is_empty(), plain.is_empty());
                prop_assert!(shared.pieces.iter().all(|piece| (1..=PIECE).contains(&piece.len())));
            }
        }
    }

    #[test]
    fn a_change_copies_one_piece() {
        let mut first = SharedMap::default();
        for key in 0..1_000_u32 {
            first.insert(key, key);
        }
        let mut second = first.clone();
        second.insert(500, 0);
        let shared = first.pieces.iter().zip(&second.pieces).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, first.pieces.len() - 1);
        assert_eq!((first.get(&500), second.get(&500)), (Some(&500), Some(&0)));
    }
}
