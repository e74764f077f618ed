//! Sending a delivery again: by one call at a time, and never without its payload.
//!
//! A lane forgets what is over. Which rounds a delivery had and how the last one ended, a retry learns from the read
//! models, and none of that may change before its order is carried out. Three rules make it so:
//!
//! 1. What is over changes by being sent again and by nothing else, and that takes the delivery's [`Turn`]. There is one.
//! 2. The turn travels in the order and ends with it. Whoever has the next one finds what the order before it did in the
//!    log already, or it was dropped and never does anything.
//! 3. The end of the log is looked at with the turn in hand, and the past is what the read models say once they have
//!    folded everything up to there.
//!
//! A caller who hangs up changes nothing about that: the order, once given, keeps the turn. A worker that is restarted
//! folds the log and then carries out what waits in its inbox, under turns that are still held. A kill ends turns and
//! orders alike; what was appended is in the log that the next process folds.
//!
//! Retention keeps payloads that the log says are needed. A retry under way is not in the log yet, so its turn keeps the
//! payload, and none begins for a payload that is about to go ([`Redeliveries::let_go_below`]).

use crate::{domain::id::DeliveryId, error::EngineError, log::Position};
use parking_lot::Mutex;
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::Notify;

/// The turns of all deliveries. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redeliveries(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
    /// A turn has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Table {
    /// By event, so that the oldest is found.
    under_way: BTreeSet<DeliveryId>,
    /// Payloads below are about to go.
    going: Position,
}

/// The right to send one delivery again, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    delivery: DeliveryId,
    shared: Arc<Shared>,
}

impl Redeliveries {
    /// Takes the turn of a delivery, unless somebody has it.
    pub(crate) fn take(&self, delivery: &DeliveryId) -> Result<Turn, EngineError> {
        let mut table = self.0.table.lock();
        if delivery.event < table.going {
            return Err(EngineError::PayloadGone(delivery.to_string()));
        }
        if !table.under_way.insert(delivery.clone()) {
            let detail = format!("delivery `{delivery}` is being sent again by another call");
            return Err(EngineError::Conflict(detail));
        }
        Ok(Turn { delivery: delivery.clone(), shared: Arc::clone(&self.0) })
    }

    /// Waits until nobody has the turn of a delivery.
    pub(crate) async fn settled(&self, delivery: &DeliveryId) {
        loop {
            let ended = self.0.ended.notified();
            if !self.0.table.lock().under_way.contains(delivery) {
                return;
            }
            ended.await;
        }
    }

    /// From here on nothing below `below` is sent again, until the guard is dropped. Answers the oldest event of those
    /// that are under way: they began before.
    pub(crate) fn let_go_below(&self, below: Position) -> (LettingGo, Option<Position>) {
        let mut table = self.0.table.lock();
        table.going = below;
        let oldest = table.under_way.first().map(|delivery| delivery.event);
        (LettingGo(Arc::clone(&self.0)), oldest)
    }
}

impl Turn {
    /// The event of the delivery.
    pub(crate) fn event(&self) -> Position {
        self.delivery.event
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shared.table.lock().under_way.remove(&self.delivery);
        self.shared.ended.notify_waiters();
    }
}

/// See [`Redeliveries::let_go_below`].
pub(crate) struct LettingGo(Arc<Shared>);

impl Drop for LettingGo {
    fn drop(&mut self) {
        self.0.table.lock().going = Position::START;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::pipe;

    fn delivery(event: u64) -> DeliveryId {
        DeliveryId::new(Position(event), &pipe())
    }

    /// I11, I20: the second of two calls is told so, and others are not held up.
    #[test]
    fn a_delivery_has_one_turn_at_a_time() {
        let turns = Redeliveries::default();
        let first = turns.take(&delivery(7)).unwrap();
        assert!(matches!(turns.take(&delivery(7)), Err(EngineError::Conflict(_))));
        assert!(turns.take(&delivery(8)).is_ok());
        drop(first);
        assert!(turns.take(&delivery(7)).is_ok());
    }

    /// A payload goes or its delivery is sent again, never both.
    #[test]
    fn what_is_under_way_keeps_its_payload_and_nothing_begins_below_what_goes() {
        let turns = Redeliveries::default();
        let _newer = turns.take(&delivery(9)).unwrap();
        let older = turns.take(&delivery(7)).unwrap();
        let (going, oldest) = turns.let_go_below(Position(8));
        assert_eq!(oldest, Some(Position(7)));
        drop(older);
        assert!(matches!(turns.take(&delivery(7)), Err(EngineError::PayloadGone(_))));
        assert!(turns.take(&delivery(8)).is_ok());
        drop(going);
        assert!(turns.take(&delivery(7)).is_ok());
    }

    #[tokio::test]
    async fn who_waits_for_a_turn_to_end_goes_on_when_it_has() {
        let turns = Redeliveries::default();
        turns.settled(&delivery(7)).await;
        let turn = turns.take(&delivery(7)).unwrap();
        let seven = delivery(7);
        let waits = turns.settled(&seven);
        drop(turn);
        waits.await;
    }
}
