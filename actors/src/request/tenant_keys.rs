//! The Ed25519 keys of tenants, opened and made ready once: that costs more than a signature does.

use super::BuildError;
use crate::{
    delivery::signing::Signer,
    domain::{id::TenantId, tenant::Tenant, time::Timestamp},
    secrets::Secrets,
};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;

/// Tenants whose keys are kept at most; beyond it all are opened anew as they are asked for.
const KEPT: usize = 4_096;

/// The keys of a tenant, the newest first, each with its end.
type Signers = Arc<[(Signer, Option<Timestamp>)]>;

/// What was opened last, for the tenant as it was then.
#[derive(Default)]
pub(super) struct TenantSigners(Mutex<HashMap<TenantId, (Arc<Tenant>, Signers)>>);

impl TenantSigners {
    pub(super) fn of(
        &self,
        tenant: &Arc<Tenant>,
        secrets: &Secrets,
        now: Timestamp,
    ) -> Result<Signers, BuildError> {
        let mut kept = self.0.lock();
        if let Some((_, signers)) = kept.get(&tenant.id).filter(|(then, _)| same_keys(then, tenant)) {
            return Ok(Arc::clone(signers));
        }
        let opened = tenant.signing_keys_at(now).map(|key| {
            let secret = secrets.open(&key.key.sealed)?;
            Ok((Signer::new(secret.expose())?, key.until))
        });
        let signers: Signers = opened.collect::<Result<_, BuildError>>()?;
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(tenant.id.clone(), (Arc::clone(tenant), Arc::clone(&signers)));
        Ok(signers)
    }

    /// Lets go of keys that have ended.
    pub(super) fn forget_ended(&self, now: Timestamp) {
        let holds = |until: &Option<Timestamp>| until.is_none_or(|until| now < until);
        self.0.lock().retain(|_, (_, signers)| signers.iter().all(|(_, until)| holds(until)));
    }
}

/// A tenant that was renamed, or got another API key, has another address and the same keys.
fn same_keys(then: &Arc<Tenant>, now: &Arc<Tenant>) -> bool {
    Arc::ptr_eq(then, now) || then.signing_keys == now.signing_keys
}
