//! Whether read models descend from the log that they are opened beside.
//!
//! Only durable records are folded. Read models that are ahead of their log therefore prove that it has lost records that
//! were acknowledged, and are no reason to begin anew in silence. One case is innocent: a copy of the whole folder, taken
//! while an engine wrote to it, has the log as it was first and the read models as they were later.

use super::{
    ProjectionError,
    store::{Store, StoreError, generations},
};
use crate::log::{EventLog, Position};
use std::path::Path;

/// Whether there are read models in `dir`.
pub(super) fn is_there(dir: &Path) -> bool {
    dir.is_dir() && generations(dir).is_ok_and(|found| !found.is_empty())
}

/// Opens read models that fit the log, or begins new ones; whether the folder is a copy.
pub(super) fn open(log: &dyn EventLog, dir: &Path) -> Result<(Store, bool), ProjectionError> {
    let store = Store::open(dir)?;
    let (folded, durable) = (store.position()?, log.watermark().get());
    let copied = store.is_copied()?;
    if folded > durable && !copied {
        return Err(ProjectionError::Ahead { folded, durable });
    }
    let store = if folded > durable {
        tracing::warn!(%folded, %durable, "read models are ahead of the log in a copied folder, building them anew");
        begin_anew(store, dir)?
    } else if diverged(log, &store, folded)? {
        tracing::warn!(%folded, "read models are those of another course of this log, building them anew");
        begin_anew(store, dir)?
    } else {
        store
    };
    store.settle()?;
    Ok((store, copied))
}

fn begin_anew(old: Store, dir: &Path) -> Result<Store, StoreError> {
    drop(old);
    Store::create(dir)
}

/// Whether the log has another record where the store has been. What was removed from the log cannot be compared.
fn diverged(log: &dyn EventLog, store: &Store, folded: Position) -> Result<bool, ProjectionError> {
    let known = store.chain()?.filter(|_| folded > Position::START && folded >= log.floor());
    match known {
        Some(chain) => Ok(log.chain_hash(folded)? != chain),
        None => Ok(false),
    }
}
