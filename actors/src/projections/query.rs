//! Pages of a list, newest first, and the cursors between them.
//!
//! A cursor names a place in the log, so pages neither repeat nor skip anything while new events come in. A
//! request looks at a bounded number of rows: a page may come short, with a cursor that goes on behind it.

use super::{
    ProjectionError, Projections,
    rows::{EventRow, Page as RowPage},
    store::{StoreError, View},
    terms::{Term, Walk},
};
use crate::{domain::time::Timestamp, log::Position};
use std::{fmt, str::FromStr, time::Duration};

/// Rows that one request may look at.
const ROWS_MAX: usize = 50_000;

/// How much the wall clock may have jumped between neighbours in the log.
const CLOCK_SLACK: Duration = Duration::from_mins(10);

/// A place between two items of a list, and the direction in which to go on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    place: Place,
    newer: bool,
}

/// Where an item stands: its event, and which of the event's deliveries it is.
type Place = (Position, u16);

/// A cursor that this engine never gave out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one of this list")]
pub struct BadCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (position, nth) = self.place;
        write!(f, "{}{:x}.{nth:x}", if self.newer { 'n' } else { 'o' }, position.0)
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let read = || {
            let newer = text.starts_with('n');
            let (position, nth) = text.strip_prefix(['n', 'o'])?.split_once('.')?;
            let position = Position(u64::from_str_radix(position, 16).ok()?);
            Some(Self { place: (position, u16::from_str_radix(nth, 16).ok()?), newer })
        };
        // Only the one spelling that is given out.
        read().filter(|cursor| cursor.to_string() == text).ok_or(BadCursor)
    }
}

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    /// The most items to answer.
    pub limit: usize,
    /// Where to begin; the newest without one.
    pub cursor: Option<Cursor>,
}

/// Part of a list, newest first.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where older items begin, if there may be any.
    pub next: Option<Cursor>,
    /// Where newer items begin, if there may be any.
    pub prev: Option<Cursor>,
}

impl<T> Page<T> {
    /// A page of nothing.
    pub(super) fn empty() -> Self {
        Self { items: Vec::new(), next: None, prev: None }
    }

    /// The same page with other items.
    #[must_use]
    pub fn map<U>(self, each: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(each).collect(), next: self.next, prev: self.prev }
    }
}

/// Collects one page: items in the direction of the cursor, with one more to know whether the list goes on.
pub(super) struct Collector<T> {
    request: PageRequest,
    items: Vec<(Place, T)>,
    last: Option<Place>,
    more: bool,
}

impl<T> Collector<T> {
    /// An empty page for `request`.
    pub(super) fn new(request: PageRequest) -> Self {
        Self { request, items: Vec::new(), last: None, more: false }
    }

    /// Whether the list is read towards newer items.
    pub(super) fn newer(&self) -> bool {
        self.request.cursor.is_some_and(|cursor| cursor.newer)
    }

    /// The positions between `from` and `to` that can still hold an item.
    pub(super) fn bounds(&self, from: Position, to: Position) -> (Position, Position) {
        match self.request.cursor {
            Some(Cursor { place: (at, _), newer: true }) => (from.max(at), to),
            Some(Cursor { place: (at, _), newer: false }) => (from, to.min(at)),
            None => (from, to),
        }
    }

    /// Whether the item at `place` belongs to this page; false once the page is full.
    pub(super) fn wants(&mut self, place: Place) -> bool {
        let within = self
            .request
            .cursor
            .is_none_or(|cursor| if cursor.newer { place > cursor.place } else { place < cursor.place });
        within && !self.more
    }

    /// Takes the item at `place`.
    pub(super) fn take(&mut self, place: Place, item: T) {
        if self.items.len() < self.request.limit {
            self.items.push((place, item));
        } else {
            self.more = true;
        }
    }

    /// Notes that everything up to `place` was looked at.
    pub(super) fn passed(&mut self, place: Place) {
        if !self.more {
            self.last = Some(place);
        }
    }

    /// Whether the page is full.
    pub(super) fn is_full(&self) -> bool {
        self.more
    }

    /// The page. `cut` says that the list was not read to its end.
    pub(super) fn finish(mut self, cut: bool) -> Page<T> {
        let onward =
            if self.more { self.items.last().map(|(place, _)| *place) } else { self.last.filter(|_| cut) };
        let newer = self.newer();
        if newer {
            self.items.reverse();
        }
        let back = if newer { self.items.last() } else { self.items.first() }
            .map(|(place, _)| *place)
            .or(self.request.cursor.map(|cursor| cursor.place));
        let onward = onward.map(|place| Cursor { place, newer });
        let back = self.request.cursor.and(back).map(|place| Cursor { place, newer: !newer });
        let (next, prev) = if newer { (back, onward) } else { (onward, back) };
        Page { items: self.items.into_iter().map(|(_, item)| item).collect(), next, prev }
    }
}

/// Reads one page of the events behind `term`. `width` tells how many items an event may bring, `pick` makes
/// one, or passes over it.
pub(super) fn page<T>(
    view: &View<'_>,
    term: Term,
    (from, to): (Position, Position),
    request: PageRequest,
    width: impl Fn(&EventRow) -> usize,
    mut pick: impl FnMut(&EventRow, usize) -> Result<Option<T>, StoreError>,
) -> Result<Page<T>, StoreError> {
    let mut collector = Collector::new(request);
    let (from, to) = collector.bounds(from, to);
    if from > to {
        return Ok(collector.finish(false));
    }
    let newer = collector.newer();
    let walk = if newer { Walk::up(view, term, from, to)? } else { Walk::down(view, term, from, to)? };
    let mut rows = Rows::new(view);
    for (seen, position) in walk.enumerate() {
        if seen == ROWS_MAX {
            return Ok(collector.finish(true));
        }
        let position = position?;
        let Some(row) = rows.find(position)? else { continue };
        for turn in 0..width(row) {
            let nth = if newer { turn } else { width(row) - 1 - turn };
            let place = (position, u16::try_from(nth).unwrap_or(u16::MAX));
            if collector.wants(place)
                && let Some(item) = pick(row, nth)?
            {
                collector.take(place, item);
            }
            collector.passed(place);
        }
        if collector.is_full() {
            break;
        }
    }
    Ok(collector.finish(false))
}

/// Events by position; neighbours share a read.
pub(super) struct Rows<'a> {
    view: &'a View<'a>,
    page: Option<(u64, RowPage)>,
}

impl<'a> Rows<'a> {
    /// A reader of `view`.
    pub(super) fn new(view: &'a View<'a>) -> Self {
        Self { view, page: None }
    }

    /// The event at `position`.
    pub(super) fn find(&mut self, position: Position) -> Result<Option<&EventRow>, StoreError> {
        let number = RowPage::of(position);
        if self.page.as_ref().is_none_or(|(at, _)| *at != number) {
            self.page = Some((number, self.view.get::<RowPage>(number)?.unwrap_or_default()));
        }
        Ok(self.page.as_ref().and_then(|(_, page)| page.find(position)))
    }
}

impl Projections {
    /// Positions that may have been written between two instants. A little wide, since clocks jump; whoever asks
    /// still compares each row's own time.
    pub(super) fn positions_between(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<(Position, Position), ProjectionError> {
        let slack = u64::try_from(CLOCK_SLACK.as_millis()).unwrap_or(0);
        let (floor, end) = (self.shared.log.floor().0.max(1), self.position().0 + 1);
        let from = match since {
            Some(since) => self.first_at(floor, end, since.0.saturating_sub(slack))?,
            None => 0,
        };
        let to = match until {
            Some(until) => self.first_at(floor, end, until.0.saturating_add(slack))?,
            None => u64::MAX,
        };
        Ok((Position(from), Position(to)))
    }

    /// The first position in `low..high` that was written at `instant` or later.
    fn first_at(&self, mut low: u64, mut high: u64, instant: u64) -> Result<u64, ProjectionError> {
        while low < high {
            let middle = low + (high - low) / 2;
            if self.shared.log.read_at(Position(middle))?.at.0 < instant {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_in_its_one_spelling() {
        for cursor in [
            Cursor { place: (Position(0), 0), newer: false },
            Cursor { place: (Position(u64::MAX), u16::MAX), newer: true },
        ] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", "o", "o1", "o01.0", "oA.0", "x1.0", "o1.0 ", "o+1.0"] {
            assert_eq!(text.parse::<Cursor>(), Err(BadCursor), "{text}");
        }
    }
}
