//! Lists that mostly hold one element stand where they are used; they are stored as any other list.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::{Array, SmallVec};

pub(super) fn serialize<A, S>(few: &SmallVec<A>, serializer: S) -> Result<S::Ok, S::Error>
where
    A: Array<Item: Serialize>,
    S: Serializer,
{
    few.as_slice().serialize(serializer)
}

pub(super) fn deserialize<'de, A, D>(deserializer: D) -> Result<SmallVec<A>, D::Error>
where
    A: Array<Item: Deserialize<'de>>,
    D: Deserializer<'de>,
{
    Vec::deserialize(deserializer).map(SmallVec::from_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Few(#[serde(with = "super")] SmallVec<[(u32, u32); 1]>);

    #[test]
    fn few_are_stored_as_a_list_or_a_map_is() {
        for pairs in [vec![], vec![(7, 300)], vec![(7, 300), (9, 1)]] {
            let (few, map) = (Few(pairs.iter().copied().collect()), BTreeMap::from_iter(pairs.clone()));
            let stored = postcard::to_stdvec(&few).unwrap();
            assert_eq!(stored, postcard::to_stdvec(&pairs).unwrap());
            assert_eq!(stored, postcard::to_stdvec(&map).unwrap());
            assert_eq!(postcard::from_bytes::<Few>(&stored).unwrap(), few);
        }
    }
}
