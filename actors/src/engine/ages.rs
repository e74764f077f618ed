//! How old the log's records are, counted in time that the engine ran.
//!
//! While it runs, its clock follows the monotonic one, so that the wall clock may jump as it likes. Over a stop nobody
//! can tell a long pause from a wall clock that was put forward; so the time between the end of one run and the start of
//! the next does not count. What is to be remembered for a day is remembered for a day of running.
//!
//! ```text
//!   records   ── run 1 ──|        stop        |── run 2 ──|   stop   |── run 3, now
//!   age of the first one:  ^^^^^^^^             +++++++++++            ++++++
//! ```

use crate::{
    domain::{
        event::{EngineEvent, Fact},
        time::Timestamp,
    },
    log::{EventLog, LogError, Position, StreamId},
};
use std::time::Duration;

/// Facts of the engine's own that are read at a time.
const FACTS: u64 = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Ages {
    now: Timestamp,
    /// For each start, the latest first: what is before it aged so much less than the times in the log say. The first one
    /// is the start that is under way.
    starts: Vec<(Position, Duration)>,
}

impl Ages {
    /// Those of a log that is opened at `wall`, as far as `window` reaches back.
    pub(super) fn of(log: &dyn EventLog, wall: Timestamp, window: Duration) -> Result<Self, LogError> {
        let durable = log.watermark().get();
        let end = if durable == Position::START { wall } else { log.read_at(durable)?.at };
        // As the engine's clock does, which runs on from the end if the wall clock was put back.
        let now = wall.max(end);
        let mut ages = Self { now, starts: vec![(durable.next(), now.since(end))] };
        let engine = StreamId::new("engine");
        let mut left = log.stream_version(&engine);
        while left > 0 {
            let from = left.saturating_sub(FACTS) + 1;
            let facts = log.read_stream(&engine, from, usize::try_from(left + 1 - from).unwrap_or(1))?;
            for record in facts.iter().rev() {
                let is_start = matches!(record.fact(), Ok(Fact::Engine(EngineEvent::EngineStarted { .. })));
                if !is_start || record.position.0 <= log.floor().0.max(1) {
                    continue;
                }
                let before = log.read_at(Position(record.position.0 - 1))?.at;
                let skipped = ages.skipped() + record.at.since(before);
                if ages.now.since(before.plus(skipped)) > window {
                    return Ok(ages);
                }
                ages.starts.push((record.position, skipped));
            }
            left = from - 1;
        }
        Ok(ages)
    }

    /// What is older by its time in the log is older than `window`.
    pub(super) fn floor(&self, window: Duration) -> Timestamp {
        let reach = window + self.skipped();
        Timestamp(self.now.0.saturating_sub(u64::try_from(reach.as_millis()).unwrap_or(u64::MAX)))
    }

    /// When a record would have been appended, had the engine run all the time since.
    pub(super) fn appended(&self, position: Position, at: Timestamp) -> Timestamp {
        let behind = self.starts.partition_point(|(start, _)| *start > position);
        let skipped = self.starts[..behind].last().map_or(Duration::ZERO, |(_, skipped)| *skipped);
        at.plus(skipped).min(self.now)
    }

    /// Whether a record is at most so old.
    pub(super) fn within(&self, window: Duration, position: Position, at: Timestamp) -> bool {
        self.now.since(self.appended(position, at)) <= window
    }

    fn skipped(&self) -> Duration {
        self.starts.last().map_or(Duration::ZERO, |(_, skipped)| *skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::testing::T0,
        log::{codec, memory::MemoryLog},
    };

    const DAY: Duration = Duration::from_hours(24);

    fn hour(hours: u64) -> Timestamp {
        T0.plus(Duration::from_hours(hours))
    }

    fn write(log: &MemoryLog, at: Timestamp, event: EngineEvent) -> Position {
        codec::append(log, at, &Fact::Engine(event), None).unwrap().last
    }

    fn start(log: &MemoryLog, at: Timestamp) -> Position {
        write(log, at, EngineEvent::EngineStarted { version: "1".into() })
    }

    fn other(log: &MemoryLog, at: Timestamp) -> Position {
        write(log, at, EngineEvent::ErasureFinished { erasure: Position(1), payloads: 0, bytes: 0 })
    }

    /// CLK.3, I3: put forward, right, put back, and at its very beginning.
    #[test]
    fn a_clock_that_is_wrong_at_a_start_makes_nothing_older() {
        let log = MemoryLog::new();
        start(&log, hour(0));
        let record = other(&log, hour(1));
        other(&log, hour(2));
        for wall in [hour(27), hour(2), hour(0), Timestamp(5), hour(100_000)] {
            let ages = Ages::of(&log, wall, DAY).unwrap();
            assert_eq!(ages.now.since(ages.appended(record, hour(1))), Duration::from_hours(1), "{wall:?}");
            assert!(ages.within(DAY, record, hour(1)) && ages.floor(DAY) <= hour(1));
        }
    }

    #[test]
    fn every_stop_counts_for_nothing_and_every_run_for_what_it_took() {
        let log = MemoryLog::new();
        start(&log, hour(0));
        let first = other(&log, hour(1));
        start(&log, hour(100));
        let second = other(&log, hour(110));
        // More of them than are read at a time.
        let mut last = second;
        for _ in 0..200 {
            last = other(&log, hour(112));
        }
        start(&log, hour(1_000));
        let ages = Ages::of(&log, hour(2_000), DAY).unwrap();
        let age = |position, at| ages.now.since(ages.appended(position, at)).as_secs() / 3600;
        assert_eq!((age(last, hour(112)), age(second, hour(110)), age(first, hour(1))), (0, 2, 12));
        assert!(ages.within(DAY, first, hour(1)) && !ages.within(Duration::from_hours(11), first, hour(1)));
        let short = Ages::of(&log, hour(2_000), Duration::from_hours(1)).unwrap();
        assert!(!short.within(Duration::from_hours(1), second, hour(110)) && short.floor(DAY) > hour(1));
    }

    #[test]
    fn an_empty_log_has_no_ages() {
        let ages = Ages::of(&MemoryLog::new(), hour(5), DAY).unwrap();
        assert_eq!((ages.now, ages.floor(DAY)), (hour(5), Timestamp(hour(5).0 - 24 * 3_600_000)));
        assert_eq!(ages.appended(Position(1), hour(5)), hour(5));
    }
}
