//! A hash over a set: order does not matter, so parts add up to the whole whatever thread holds them.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Sum, modulo 2^64 in each of four words, of the SHA-256 hashes of the members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest([u64; 4]);

impl Digest {
    /// Adds one member, by its postcard encoding.
    ///
    /// # Panics
    /// Never for the types of the domain: all of them can be encoded.
    pub fn add(&mut self, member: &impl Serialize) {
        let bytes = postcard::to_stdvec(member).expect("domain types encode");
        let hash: [u8; 32] = Sha256::digest(&bytes).into();
        for (word, chunk) in self.0.iter_mut().zip(hash.as_chunks::<8>().0) {
            *word = word.wrapping_add(u64::from_le_bytes(*chunk));
        }
    }

    /// Adds all members of another set, which shares none with this one.
    pub fn merge(&mut self, other: Self) {
        for (word, theirs) in self.0.iter_mut().zip(other.0) {
            *word = word.wrapping_add(theirs);
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| write!(f, "{word:016x}"))
    }
}
