//! The log in memory, for tests: durable at every kick, unless a test holds durability back or makes it fail.

use super::{
    Append, Appended, EventLog, Expected, LogError, PayloadInfo, Position, Record, RecordRef, StreamId,
    Watermark,
};
use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// An [`EventLog`] that forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryLog {
    state: Mutex<State>,
    watermark: Arc<Watermark>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    heads: HashMap<StreamId, u64>,
    held: bool,
    closed: Option<&'static str>,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    payload: Option<Bytes>,
    hash: [u8; 32],
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on appends stay without durability, however often the log is kicked.
    pub fn hold(&self) {
        self.state.lock().held = true;
    }

    /// Ends [`MemoryLog::hold`] and makes everything durable that was appended meanwhile.
    pub fn release(&self) {
        self.state.lock().held = false;
        self.kick();
    }

    /// Makes what was appended up to `position` durable, also while durability is held back.
    pub fn release_up_to(&self, position: Position) {
        let tail = self.tail();
        self.watermark.advance(position.min(tail));
    }

    /// Fails as a disk does: what is not durable now never will be, and nothing more is taken.
    pub fn fail(&self) {
        self.state.lock().closed.get_or_insert("it failed");
        self.watermark.fail();
    }

    /// Loses what is not durable, as a machine does whose process was killed; a hold ends with it.
    pub fn crash(&self) {
        let mut state = self.state.lock();
        state.held = false;
        state.entries.truncate(usize::try_from(self.watermark.get().0).unwrap_or(usize::MAX));
        let State { entries, heads, .. } = &mut *state;
        heads.clear();
        for Entry { record, .. } in entries {
            heads.insert(record.stream.clone(), record.version);
        }
    }

    fn with<T>(&self, position: Position, pick: impl FnOnce(&Entry) -> T) -> Result<T, LogError> {
        let missing = LogError::NotFound(position);
        if position > self.watermark.get() {
            return Err(missing);
        }
        let state = self.state.lock();
        let index = usize::try_from(position.0).ok().and_then(|number| number.checked_sub(1));
        index.and_then(|index| state.entries.get(index)).map(pick).ok_or(missing)
    }
}

impl State {
    fn check_versions(&self, appends: &[Append<'_>]) -> Result<(), LogError> {
        let mut grown: HashMap<&StreamId, u64> = HashMap::new();
        for append in appends {
            let stored = || self.heads.get(append.stream).copied().unwrap_or_default();
            let actual = grown.entry(append.stream).or_insert_with(stored);
            if let Expected::Version(expected) = append.expected
                && *actual != expected
            {
                return Err(LogError::Conflict { stream: append.stream.clone(), expected, actual: *actual });
            }
            *actual += append.records.len() as u64;
        }
        Ok(())
    }

    fn place(&mut self, append: &Append<'_>) -> Appended {
        let first = Position(self.entries.len() as u64 + 1);
        let mut version = self.heads.get(append.stream).copied().unwrap_or_default();
        for new in append.records {
            version += 1;
            let digest = |payload: &Bytes| PayloadInfo {
                len: u32::try_from(payload.len()).unwrap_or(u32::MAX),
                digest: Sha256::digest(payload).into(),
            };
            let record = Record {
                position: Position(self.entries.len() as u64 + 1),
                stream: append.stream.clone(),
                version,
                at: append.at,
                kind: new.kind,
                format: new.format,
                body: Bytes::copy_from_slice(&new.body),
                payload: new.payload.as_ref().map(digest),
            };
            self.entries.push(Entry { record, payload: new.payload.clone(), hash: [0; 32] });
        }
        self.heads.insert(append.stream.clone(), version);
        Appended { first, last: Position(self.entries.len() as u64), version }
    }

    /// Hashes the group that begins behind the first `before` entries; a group is a batch here.
    fn chain(&mut self, before: usize) {
        let (old, group) = self.entries.split_at_mut(before);
        let mut hash = Sha256::new_with_prefix(old.last().map_or([0; 32], |entry| entry.hash));
        for entry in group.iter() {
            hash.update(&entry.record.body);
        }
        let hash = hash.finalize().into();
        for entry in group {
            entry.hash = hash;
        }
    }
}

impl EventLog for MemoryLog {
    fn append(
        &self,
        appends: &[Append<'_>],
        placed: &mut dyn FnMut(usize, Appended),
    ) -> Result<Appended, LogError> {
        let mut state = self.state.lock();
        if let Some(reason) = state.closed {
            return Err(LogError::Closed { reason: reason.to_owned() });
        }
        state.check_versions(appends)?;
        let before = state.entries.len();
        let first = Position(before as u64 + 1);
        let mut group = Appended { first, last: Position(before as u64), version: 0 };
        for (i, append) in appends.iter().enumerate() {
            let appended = state.place(append);
            group = Appended { first, ..appended };
            placed(i, appended);
        }
        state.chain(before);
        Ok(group)
    }

    fn kick(&self) {
        let state = self.state.lock();
        let tail = Position(state.entries.len() as u64);
        if !state.held && !self.watermark.failed() {
            drop(state);
            self.watermark.advance(tail);
        }
    }

    fn tail(&self) -> Position {
        Position(self.state.lock().entries.len() as u64)
    }

    fn watermark(&self) -> &Arc<Watermark> {
        &self.watermark
    }

    fn read(&self, from: Position, max_records: usize, max_bytes: usize) -> Result<Vec<Record>, LogError> {
        let durable = self.watermark.get();
        let state = self.state.lock();
        let mut bytes = 0;
        let from = from.max(Position(1));
        let before = usize::try_from(from.0 - 1).unwrap_or(usize::MAX);
        let records = state.entries.iter().skip(before).map(|entry| &entry.record);
        let records = records.take_while(|r| r.position <= durable);
        let within = |record: &&Record| {
            let fits = bytes < max_bytes || bytes == 0;
            bytes += record.body.len() + record.stream.as_str().len();
            fits
        };
        Ok(records.take(max_records).take_while(within).cloned().collect())
    }

    fn scan(
        &self,
        from: Position,
        visit: &mut dyn FnMut(RecordRef<'_>) -> bool,
    ) -> Result<Position, LogError> {
        let mut next = from.max(Position(1));
        loop {
            // In pieces, so that the visitor runs without the lock.
            let records = self.read(next, 256, usize::MAX)?;
            if records.is_empty() {
                return Ok(next);
            }
            for record in &records {
                next = record.position.next();
                let Record { position, version, at, kind, format, payload, .. } = *record;
                let (stream, body) = (record.stream.as_str(), &record.body[..]);
                if !visit(RecordRef { position, stream, version, at, kind, format, body, payload }) {
                    return Ok(next);
                }
            }
        }
    }

    fn read_at(&self, position: Position) -> Result<Record, LogError> {
        self.with(position, |entry| entry.record.clone())
    }

    fn payload(&self, position: Position) -> Result<Option<Bytes>, LogError> {
        self.with(position, |entry| entry.payload.clone())
    }

    fn read_stream(&self, stream: &StreamId, from: u64, max_records: usize) -> Result<Vec<Record>, LogError> {
        let durable = self.watermark.get();
        let state = self.state.lock();
        let records = state.entries.iter().map(|entry| &entry.record);
        let ours = records.filter(|r| r.stream == *stream && r.version >= from && r.position <= durable);
        Ok(ours.take(max_records).cloned().collect())
    }

    fn stream_version(&self, stream: &StreamId) -> u64 {
        self.state.lock().heads.get(stream).copied().unwrap_or_default()
    }

    fn floor(&self) -> Position {
        Position(1)
    }

    fn chain_hash(&self, position: Position) -> Result<[u8; 32], LogError> {
        self.with(position, |entry| entry.hash)
    }

    fn close(&self) -> Result<(), LogError> {
        self.state.lock().closed.get_or_insert("it was closed");
        self.release();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::conformance::{append_to, record};

    crate::log::conformance::conformance!(MemoryLog::new());

    #[test]
    fn nothing_is_durable_while_it_is_held_back() {
        let log = MemoryLog::new();
        log.hold();
        let first = append_to(&log, "a", &[record("1"), record("2")]).unwrap().first;
        log.kick();
        assert_eq!((log.tail(), log.watermark().get()), (Position(2), Position(0)));
        log.release_up_to(first);
        assert_eq!(log.read(Position(1), 10, 1000).unwrap().len(), 1);
        log.release();
        assert_eq!(log.watermark().get(), Position(2));
    }

    #[test]
    fn a_crash_loses_what_is_not_durable_and_nothing_else() {
        let log = MemoryLog::new();
        append_to(&log, "a", &[record("1")]).unwrap();
        log.kick();
        log.hold();
        append_to(&log, "a", &[record("2")]).unwrap();
        log.crash();
        assert_eq!((log.tail(), log.stream_version(&StreamId::new("a"))), (Position(1), 1));
        append_to(&log, "a", &[record("3")]).unwrap();
        log.kick();
        assert_eq!(log.watermark().get(), Position(2));
    }

    #[test]
    fn a_failed_log_stays_failed() {
        let log = MemoryLog::new();
        log.hold();
        append_to(&log, "a", &[record("1")]).unwrap();
        log.fail();
        log.release();
        assert!(log.watermark().failed());
        assert_eq!(log.watermark().get(), Position(0));
        assert!(matches!(append_to(&log, "a", &[record("2")]), Err(LogError::Closed { .. })));
    }
}
