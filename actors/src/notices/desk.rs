//! Does what is owed: the effects of the fold.

use super::{NoticesParts, notice::Notice, watch::Watch};
use crate::{
    domain::{
        event::{Accepted, Fact},
        id::TenantId,
        operator_event::Cause,
    },
    failpoint,
    log::{EventLog, Position},
};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};
use tracing::warn;

/// Operator events on their way to the disk. More wait for these: a flood of failures does not become one of events.
const UNDER_WAY_MAX: usize = 256;

/// What could not be done is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// What was done and is not yet seen in the log.
#[derive(Default)]
pub(super) struct Desk {
    accepted: HashSet<(Cause, TenantId)>,
}

impl Desk {
    /// Does what is owed and has not been done; when to come back, if not for a new record.
    pub(super) fn work(&mut self, parts: &NoticesParts, watch: &Watch) -> Option<Instant> {
        self.accepted.retain(|(cause, tenant)| watch.owes(*cause, tenant));
        for (cause, tenant, notice) in watch.owed() {
            if self.accepted.len() >= UNDER_WAY_MAX {
                break; // those that become durable bring us back
            }
            let key = (cause, tenant.clone());
            if self.accepted.contains(&key) {
                continue;
            }
            if !accept(parts, cause, tenant, notice) {
                return Some(Instant::now() + RETRY);
            }
            self.accepted.insert(key);
        }
        None
    }
}

/// Accepts the operator event of a notice, as if its tenant had posted it; false if that has to wait.
fn accept(parts: &NoticesParts, cause: Cause, tenant: &TenantId, notice: &Notice) -> bool {
    failpoint::hit("notices.accept");
    let subject = notice.what.subject().and_then(|position| accepted_at(&*parts.log, position));
    let tag = parts.secrets.tag(&cause.tagged(tenant));
    let event = notice.event(cause, &tag, subject.as_ref());
    match parts.intake.accept_own(tenant, &event) {
        Ok(accepted) => accepted,
        Err(error) => {
            warn!(%error, event.id = %event.id, "an operator event waits");
            false
        }
    }
}

/// The accepted event at a position.
pub(super) fn accepted_at(log: &dyn EventLog, position: Position) -> Option<Accepted> {
    match log.read_at(position).ok()?.fact().ok()? {
        Fact::Accepted(_, accepted) => Some(accepted),
        _ => None,
    }
}
