//! Places and turns: each rule by itself, then a long random life.

use super::*;
use crate::testing::Dice;

fn id(name: &str) -> PipelineId {
    PipelineId::new(name)
}

fn host(name: &str) -> Arc<str> {
    Arc::from(name)
}

fn all(_: &PipelineId) -> bool {
    true
}

/// The one that is told.
fn only(told: &[PipelineId]) -> PipelineId {
    let [one] = told else { panic!("told {told:?}") };
    one.clone()
}

/// Tenants of these names.
fn tenants<const N: usize>(slots: &mut Slots, names: [&str; N]) -> [Rc<Share>; N] {
    names.map(|name| slots.join(&TenantId::new(name)))
}

/// I8: the one that gives a place back has more to send, and still it is the other's turn.
#[test]
fn pipelines_that_share_a_host_take_turns() {
    let (host, busy, other) = (host("host"), id("busy"), id("other"));
    let mut slots = Slots::new(1, 9);
    let [tenant] = tenants(&mut slots, ["tenant"]);
    assert!(slots.take(&host, &tenant, &busy));
    assert!(!slots.take(&host, &tenant, &other));
    assert!(!slots.take(&host, &tenant, &busy));
    assert_eq!(only(&slots.release(&host, &tenant, &all)), other);
    assert!(!slots.take(&host, &tenant, &busy), "the place is kept for the other");
    assert!(slots.take(&host, &tenant, &other));
    assert_eq!(only(&slots.release(&host, &tenant, &all)), busy);
    assert!(slots.take(&host, &tenant, &busy));
    assert!(slots.release(&host, &tenant, &all).is_empty());
    assert!(slots.hosts.is_empty() && slots.kept.is_empty());
    assert_eq!(slots.free, 9);
    slots.leave(&tenant);
    assert!(slots.tenants.is_empty());
}

/// OVL.3: a hundred pipelines of one tenant get no more of a host than the one of another.
#[test]
fn tenants_that_share_a_host_take_turns() {
    let (host, one) = (host("host"), id("one"));
    let mut slots = Slots::new(1, 9);
    let [many, few] = tenants(&mut slots, ["many", "few"]);
    let ids: Vec<_> = (0..100).map(|n| id(&n.to_string())).collect();
    for id in &ids {
        assert_eq!(slots.take(&host, &many, id), *id == ids[0]);
    }
    assert!(!slots.take(&host, &few, &one));
    let mut before = &many;
    let mut turns = Vec::new();
    for _ in 0..40 {
        let told = slots.release(&host, before, &all);
        let [next] = &told[..] else { panic!("{told:?}") };
        before = if *next == one { &few } else { &many };
        turns.push(next.clone());
        assert!(slots.take(&host, before, next));
        assert!(!slots.take(&host, before, next), "and it has more to send");
    }
    assert_eq!(turns.iter().filter(|id| **id == one).count(), 20, "every other one: {turns:?}");
    turns.retain(|id| *id != one);
    assert_eq!(turns, ids[1..21], "and within a tenant the pipelines take turns");
}

/// OVL.4: receivers that hang take eight ninths of a core from their tenant, and nothing from the others.
#[test]
fn a_tenant_whose_receivers_hang_leaves_room_for_others() {
    let mut slots = Slots::new(8, 90);
    let [hanging, healthy] = tenants(&mut slots, ["hanging", "healthy"]);
    let hosts: Vec<_> = (0..20).map(|n| host(&format!("hanging_{n}"))).collect();
    let mut taken: Vec<_> = hosts.iter().flat_map(|host| [host; 8]).collect();
    taken.retain(|host| slots.take(host, &hanging, &id(host)));
    assert_eq!(taken.len(), 80);
    let near = host("near");
    for _ in 0..8 {
        assert!(slots.take(&near, &healthy, &id("healthy")), "at once");
    }
    assert!(!slots.take(&near, &healthy, &id("healthy")), "the host is full");
    assert_eq!(slots.release(&near, &healthy, &all), [id("healthy")], "nobody who hangs comes first");
    assert!(slots.take(&near, &healthy, &id("healthy")));
    for _ in 0..8 {
        slots.release(&near, &healthy, &all).iter().for_each(|id| drop(slots.forgo(id, &healthy, &all)));
    }
    // Those that hang share what comes free of their own.
    let told = slots.release(taken[0], &hanging, &all);
    assert!(told.len() == 1 && told[0] != id("healthy"), "{told:?}");
}

#[test]
fn a_place_that_is_not_taken_goes_to_the_next_who_works() {
    let (host, busy, paused, gone, other) = (host("host"), id("busy"), id("paused"), id("gone"), id("other"));
    let mut slots = Slots::new(1, 9);
    let [tenant] = tenants(&mut slots, ["tenant"]);
    assert!(slots.take(&host, &tenant, &busy));
    for waiting in [&paused, &gone, &other] {
        assert!(!slots.take(&host, &tenant, waiting));
    }
    let works = |id: &PipelineId| *id != gone;
    assert_eq!(only(&slots.release(&host, &tenant, &works)), paused);
    assert_eq!(only(&slots.forgo(&paused, &tenant, &works)), other);
    assert!(slots.take(&host, &tenant, &other));
}

#[test]
fn a_full_core_has_one_queue() {
    let (near, far) = (host("near"), host("far"));
    let (busy, second, third) = (id("busy"), id("second"), id("third"));
    let mut slots = Slots::new(1, 1);
    let [tenant] = tenants(&mut slots, ["tenant"]);
    assert!(slots.take(&near, &tenant, &busy));
    assert!(!slots.take(&near, &tenant, &second), "the host is full");
    assert!(!slots.take(&far, &tenant, &third), "the core is full");
    assert_eq!(only(&slots.release(&near, &tenant, &all)), third);
    assert!(!slots.take(&near, &tenant, &busy));
    assert!(slots.take(&far, &tenant, &third));
    assert_eq!(only(&slots.release(&far, &tenant, &all)), second);
    assert!(slots.take(&near, &tenant, &second));
}

/// A worker of the random life below.
struct Someone {
    id: PipelineId,
    tenant: Rc<Share>,
    holds: Vec<Arc<str>>,
    /// Hosts that it was refused, until it is told or takes a place there.
    waits: Vec<Arc<str>>,
    told: bool,
}

/// OVL.8: whatever the order of things, limits hold and nobody who could have a place waits without being told.
#[test]
fn nobody_is_forgotten() {
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let (per_host, places) = (1 + below(&mut dice, 3), 1 + below(&mut dice, 20));
        let mut slots = Slots::new(per_host, places);
        let hosts: Vec<_> = (0..=dice.roll(7)).map(|n| host(&n.to_string())).collect();
        let mut people: Vec<_> = (0..=dice.roll(19))
            .map(|n| {
                let tenant = slots.join(&TenantId::new((n % 4).to_string()));
                let (holds, waits) = (Vec::new(), Vec::new());
                Someone { id: id(&n.to_string()), tenant, holds, waits, told: false }
            })
            .collect();
        for _ in 0..400 {
            let at = below(&mut dice, people.len());
            let one = &mut people[at];
            let told = match dice.roll(3) {
                0 if !one.holds.is_empty() => {
                    let held = one.holds.swap_remove(below(&mut dice, one.holds.len()));
                    slots.release(&held, &one.tenant, &all)
                }
                1 if one.told => answer(&mut slots, one, &mut dice),
                _ => {
                    let host = &hosts[below(&mut dice, hosts.len())];
                    ask(&mut slots, one, host);
                    Vec::new()
                }
            };
            hear(&mut people, &told);
            check(&slots, &people, places, per_host);
        }
        // Everybody comes to an end.
        while let Some(at) = people.iter().position(|one| one.told || !one.holds.is_empty()) {
            let one = &mut people[at];
            let told = if one.told {
                answer(&mut slots, one, &mut dice)
            } else {
                one.holds.pop().map_or_else(Vec::new, |held| slots.release(&held, &one.tenant, &all))
            };
            hear(&mut people, &told);
        }
        assert!(people.iter().all(|one| one.waits.is_empty()), "seed {seed}: someone waits for nothing");
        assert!(slots.hosts.is_empty() && slots.kept.is_empty() && slots.free == places, "seed {seed}");
    }
}

fn below(dice: &mut Dice, limit: usize) -> usize {
    usize::try_from(dice.roll(limit as u64)).expect("below a usize")
}

fn ask(slots: &mut Slots, one: &mut Someone, host: &Arc<str>) {
    if slots.take(host, &one.tenant, &one.id) {
        one.holds.push(Arc::clone(host));
    } else if !one.waits.contains(host) {
        one.waits.push(Arc::clone(host));
    }
}

/// As a worker does that hears of room: it asks for all that it wants, most of the time, and forgoes the rest.
fn answer(slots: &mut Slots, one: &mut Someone, dice: &mut Dice) -> Vec<PipelineId> {
    one.told = false;
    for host in std::mem::take(&mut one.waits) {
        if !dice.one_in(5) {
            ask(slots, one, &host);
        }
    }
    slots.forgo(&one.id, &one.tenant, &all)
}

fn hear(people: &mut [Someone], told: &[PipelineId]) {
    for one in people.iter_mut().filter(|one| told.contains(&one.id)) {
        one.told = true;
    }
}

fn check(slots: &Slots, people: &[Someone], places: usize, per_host: usize) {
    let kept: usize = slots.kept.values().map(Vec::len).sum();
    let held: usize = people.iter().map(|one| one.holds.len()).sum();
    assert_eq!(slots.free + kept + held, places);
    assert!(slots.hosts.values().all(|at| at.in_flight <= per_host));
    for one in people.iter().filter(|one| !one.told) {
        for host in &one.waits {
            let has_room = slots.hosts.get(host).is_none_or(|at| at.in_flight < per_host);
            assert!(!has_room || !one.tenant.fits(slots.free), "{} waits at {host}", one.id);
        }
    }
}
