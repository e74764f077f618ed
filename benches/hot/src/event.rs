//! On the way in: JSON, the checks, the window of ids, the routes.

use crate::{Run, fixture};
use bytes::Bytes;
use ledgerhook_actors::{
    domain::id::TenantId,
    event_input::{self, InputError},
    hot::{self, Routes},
    intake::dedup::Dedup,
    json::{Limits, parse},
    log::Position,
};
use std::{hint::black_box, time::Duration};

/// As many as the window holds, so that each new id pushes the oldest out.
const IDS: u64 = 16_384;

pub(crate) fn parse_event() -> Run {
    let event = fixture::event();
    Box::new(move || drop(black_box(parse(black_box(event.as_bytes()), Limits::POSTED).expect("JSON"))))
}

pub(crate) fn check_event() -> Run {
    let (profile, tenant) = (fixture::profile(), fixture::tenant());
    let event = Bytes::from(fixture::event());
    Box::new(move || {
        let mint = || -> Result<_, InputError> { unreachable!("the event has an id") };
        let read = event_input::read(&profile, &tenant, black_box(event.clone()), mint);
        drop(black_box(read.expect("an event")));
    })
}

fn window() -> Dedup {
    let (dedup, tenant) = (Dedup::new(IDS, Duration::from_hours(24)), fixture::tenant());
    (0..IDS).for_each(|number| remember(&dedup, &tenant, number));
    dedup
}

fn id(number: u64) -> String {
    format!("evt_{number:032x}")
}

fn remember(dedup: &Dedup, tenant: &TenantId, number: u64) {
    dedup.restore(tenant, &id(number), Position(number + 1), fixture::NOW);
}

pub(crate) fn find_id() -> Run {
    let (dedup, tenant) = (window(), fixture::tenant());
    // The hashes are keyed by chance: of many ids the average is always the same.
    let ids: Vec<_> = (0..IDS).step_by(16).map(id).collect();
    let mut turn = 0;
    Box::new(move || {
        drop(black_box(hot::find_id(&dedup, &tenant, &ids[turn % ids.len()])));
        turn += 1;
    })
}

/// Many at a time, since a table is set in order anew only now and then.
pub(crate) fn remember_32_ids() -> Run {
    let (dedup, tenant, mut number) = (window(), fixture::tenant(), IDS);
    Box::new(move || {
        (number..number + 32).for_each(|number| remember(&dedup, &tenant, number));
        number += 32;
    })
}

pub(crate) fn route_event() -> Run {
    let routes = Routes::new(&fixture::catalog(10_000), &fixture::profiles());
    let tenant = fixture::tenant();
    assert_eq!(routes.find(&tenant, fixture::EVENT_TYPE).len(), 1);
    Box::new(move || drop(black_box(routes.find(&tenant, black_box(fixture::EVENT_TYPE)))))
}
