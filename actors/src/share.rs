//! What one tenant may have of something that all share: up to [`SHARE`] times what is still free.
//!
//! Alone, it gets eight ninths of everything; while others hold much, it gets less, and whoever holds little always
//! finds room (OVL.3, OVL.4). Nothing is set aside for anybody, and there is nothing to configure.

/// See the module.
const SHARE: usize = 8;

/// Whether `wanted` would be more than a tenant's share that has `held` already. Its first always passes.
pub(crate) fn is_over(held: usize, wanted: usize, free: usize) -> bool {
    held > 0 && held + wanted > free * SHARE
}
