//! What lanes cost.

use super::*;
use crate::domain::testing::T0;
use std::mem::size_of;

fn waiting(event: u64) -> Waiting {
    Waiting { event: Position(event), version: 1, redelivery: None }
}

fn filled(lanes: u64, deliveries: u64) -> Mailbox {
    let names: Vec<_> = (0..lanes).map(|lane| format!("conversion:{lane}")).collect();
    let keys: Vec<_> = names.iter().map(|name| LaneKey::of(name)).collect();
    let mut mailbox = Mailbox::default();
    for event in 1..=deliveries {
        let lane = usize::try_from(event % lanes).unwrap();
        mailbox.insert(keys[lane], &names[lane], waiting(event));
    }
    mailbox
}

/// Bytes of the heap behind the lanes, as their capacities tell.
fn heap(mailbox: &Mailbox) -> usize {
    let lanes = mailbox.lanes();
    let queues = lanes.map(|lane| lane.waiting.capacity() * size_of::<u64>() + lane.resource.len() + 16);
    let slots = mailbox.lanes.capacity() * size_of::<Option<Lane>>() + mailbox.by_key.allocation_size();
    queues.sum::<usize>() + slots + mailbox.ready.len() * 2 * size_of::<(Target, u64, u32)>()
}

/// DESIGN §1: a million waiting deliveries fit in 256 MiB, ten millions in 1.5 GiB. An entry is eight bytes, and a
/// line is at most half empty.
#[test]
fn a_waiting_delivery_costs_less_than_twenty_bytes() {
    let each = heap(&filled(200, 200_000)) / 200_000;
    assert!(each <= 20, "{each} bytes each");
}

/// A lane with one delivery that has not started: slot, name, place in the tables. A slot is 136 bytes; 264 in all
/// were measured, most of it room to grow.
#[test]
fn a_lane_with_one_delivery_costs_less_than_half_a_kilobyte() {
    let each = heap(&filled(100_000, 100_000)) / 100_000;
    assert!(size_of::<Lane>() <= 168, "{} bytes in its slot", size_of::<Lane>());
    assert!(each <= 512, "{each} bytes each");
}

#[test]
fn lanes_without_work_leave_nothing_but_their_slot() {
    let mut mailbox = filled(1_000, 10_000);
    let slots = mailbox.lanes.len();
    mailbox.clear(|_| true, |_, _| {});
    assert_eq!((mailbox.lanes_count(), mailbox.tally(), mailbox.by_key.len()), (0, Tally::default(), 0));
    assert!(mailbox.ready.is_empty() && mailbox.due.is_empty());
    mailbox.insert(LaneKey::of("x"), "x", waiting(1));
    assert_eq!(mailbox.lanes.len(), slots, "slots are used again");
    mailbox.assert_sound();
}

#[test]
fn a_long_lane_gives_its_memory_back_as_it_drains() {
    let mut mailbox = filled(1, 100_000);
    let full = heap(&mailbox);
    let key = LaneKey::of("conversion:0");
    for event in 1..=99_000 {
        mailbox.pop_head(key, Position(event), false);
    }
    assert!(heap(&mailbox) < full / 20);
    assert_eq!(mailbox.tally().queued, 1_000);
}

/// It does so rarely, and keeps room for as many again: a lane that drains and fills pays for neither each time.
#[test]
fn a_lane_that_drains_moves_its_memory_a_few_times_only() {
    let mut mailbox = filled(1, 100_000);
    let key = LaneKey::of("conversion:0");
    let room = |mailbox: &Mailbox| {
        let waiting = &mailbox.lane("conversion:0").unwrap().waiting;
        (waiting.capacity(), waiting.len())
    };
    let (mut before, mut moves) = (room(&mailbox).0, 0);
    for event in 1..99_000 {
        mailbox.pop_head(key, Position(event), false);
        let (capacity, len) = room(&mailbox);
        if capacity != before {
            assert!(capacity >= 2 * len, "{capacity} for {len}");
            (before, moves) = (capacity, moves + 1);
        }
    }
    assert!((3..=20).contains(&moves), "{moves}");
    // Those that are called off from its middle leave holes that the next end closes.
    for event in 99_010..=100_000 {
        mailbox.remove(key, "conversion:0", Position(event));
    }
    mailbox.pop_head(key, Position(99_000), false);
    assert!(room(&mailbox).0 < before);
}

/// Two resources whose hashes meet share a slot of the table, not a lane.
#[test]
fn resources_with_one_hash_keep_their_own_lanes() {
    let mut mailbox = Mailbox::default();
    let key = LaneKey(7);
    mailbox.insert(key, "a", waiting(1));
    mailbox.insert(key, "b", waiting(2));
    mailbox.insert(key, "a", waiting(3));
    assert_eq!(mailbox.lanes_count(), 2);
    assert_eq!(&*mailbox.headed_by(key, Position(2)).unwrap().0.resource, "b");
    mailbox.pop_head(key, Position(1), true);
    assert!(mailbox.remove(key, "b", Position(3)).is_none());
    mailbox.resume(key, "a");
    mailbox.assert_sound();
    assert_eq!(mailbox.next_ready(&mut |_| true).unwrap().head.as_ref().unwrap().entry.event, Position(2));
}

/// What is not there is left alone.
#[test]
fn unknown_lanes_and_events_change_nothing() {
    let mut mailbox = filled(1, 2);
    let (key, other) = (LaneKey::of("conversion:0"), LaneKey::of("other"));
    mailbox.with_head(key, Position(2), |_| unreachable!("not the head"));
    mailbox.with_head(other, Position(1), |_| unreachable!("no such lane"));
    assert!(mailbox.pop_head(other, Position(1), false).is_none());
    assert!(mailbox.remove(other, "other", Position(1)).is_none());
    assert!(mailbox.remove(key, "conversion:0", Position(9)).is_none());
    mailbox.resume(other, "other");
    mailbox.assert_sound();
    assert_eq!(mailbox.tally().queued, 2);
}

/// The hot path at scale: a hundred lanes with a thousand deliveries each, run dry. A step that went through
/// them all would take minutes.
#[test]
fn a_hundred_thousand_waiting_deliveries_are_worked_off_without_a_linear_step() {
    let mut mailbox = filled(100, 100_000);
    let mut ended = 0_u64;
    while let Some(lane) = mailbox.next_ready(&mut |_| true) {
        let (key, event) = (lane.key, lane.head.as_ref().unwrap().entry.event);
        mailbox.with_head(key, event, |head| {
            (head.phase, head.number) = (Phase::InFlight, 1);
        });
        mailbox.pop_head(key, event, false);
        ended += 1;
    }
    assert_eq!((ended, mailbox.lanes_count()), (100_000, 0));
}

/// Retries that come due in a different order than they were asked for.
#[test]
fn retries_wake_in_the_order_of_their_times() {
    let mut mailbox = filled(3, 3);
    for event in 1..=3_u64 {
        let key = LaneKey::of(&format!("conversion:{}", event % 3));
        mailbox.with_head(key, Position(event), |head| {
            (head.number, head.phase) = (1, Phase::Waiting(Timestamp(T0.0 + 10 - event)));
        });
    }
    assert_eq!(mailbox.next_due(), Some(Timestamp(T0.0 + 7)));
    assert!(mailbox.next_ready(&mut |_| true).is_none());
    mailbox.wake_due(Timestamp(T0.0 + 8));
    mailbox.assert_sound();
    let first = mailbox.next_ready(&mut |_| true).unwrap().head.as_ref().unwrap().entry.event;
    assert_eq!((first, mailbox.next_due()), (Position(3), Some(Timestamp(T0.0 + 9))));
    assert_eq!(mailbox.fronts().count(), 1);
}
