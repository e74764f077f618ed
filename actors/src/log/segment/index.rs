//! Where the streams of a segment are: kept in memory for the segment that is being written, in a file for the
//! sealed ones.
//!
//! An index is derived and never trusted: what it points at is checked against the batch's own checksum, and a
//! file that is missing or does not check out is built again from the segment.

use super::{
    batch::Filling,
    bytes::{Cursor, narrow, put_varint},
    folder::{File, Folder},
};
use crate::{
    domain::time::Timestamp,
    log::{RecordRef, StreamId, disk::Access},
};
use crc32c::{crc32c, crc32c_append};
use hashbrown::HashMap;
use std::{io, sync::Arc};

const MAGIC: [u8; 4] = *b"LHix";
const HEAD_LEN: usize = 16;
const ENTRY_LEN: usize = 12;
/// How far apart in the file two entries of the position row are, at least.
const STRIDE: u32 = 4096;

/// A batch that holds records of a row: number of the first of them, and where the batch stands.
pub(super) type Entry = (u64, u32);

/// The batches that hold records of one stream, or, for the row of positions, every few batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) last: u64,
    pub(super) entries: Vec<Entry>,
}

impl Row {
    /// The entries from the one on that may hold `number`.
    pub(super) fn from(&self, number: u64) -> &[Entry] {
        let behind = self.entries.partition_point(|entry| entry.0 <= number);
        if self.last < number { &[] } else { &self.entries[behind.saturating_sub(1)..] }
    }
}

/// The index of one segment in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) positions: Row,
    pub(super) streams: HashMap<Arc<str>, Row>,
    /// The latest time of a record. Not in the file: the segment's seal has it.
    pub(super) newest: Timestamp,
}

impl Index {
    /// Notes a batch that was written at `offset`.
    pub(super) fn add_batch(&mut self, batch: &Filling, offset: u32) {
        self.add_positions(batch.first, batch.count, offset);
        self.newest = self.newest.max(batch.newest);
        for (stream, first, last) in &batch.streams {
            let row = match self.streams.get_mut(stream.as_str()) {
                Some(row) => row,
                None => self.streams.entry(Arc::clone(&stream.0)).or_default(),
            };
            row.last = *last;
            row.entries.push((*first, offset));
        }
    }

    pub(super) fn add_positions(&mut self, first: u64, count: u32, offset: u32) {
        let row = &mut self.positions;
        row.last = first + u64::from(count) - 1;
        if row.entries.last().is_none_or(|entry| entry.1 + STRIDE <= offset) {
            row.entries.push((first, offset));
        }
    }

    /// Notes one record of a batch at `offset` that is being read back.
    pub(super) fn add_record(&mut self, record: &RecordRef<'_>, offset: u32) {
        self.newest = self.newest.max(record.at);
        let row = match self.streams.get_mut(record.stream) {
            Some(row) => row,
            None => self.streams.entry(record.stream.into()).or_default(),
        };
        row.last = record.version;
        if row.entries.last().is_none_or(|entry| entry.1 != offset) {
            row.entries.push((record.version, offset));
        }
    }

    /// Each stream's last version.
    pub(super) fn heads(&self) -> impl Iterator<Item = (StreamId, u64)> {
        self.streams.iter().map(|(name, row)| (StreamId(Arc::clone(name)), row.last))
    }

    /// The index as a file: head, table of rows (positions first, streams by name), entries of all rows.
    pub(super) fn encode(&self, seed: u32) -> Vec<u8> {
        let mut rows: Vec<_> = self.streams.iter().map(|(id, row)| (&**id, row)).collect();
        rows.sort_unstable_by_key(|(name, _)| *name);
        rows.insert(0, ("", &self.positions));
        let (mut table, mut entries) = (Vec::new(), Vec::new());
        for (name, row) in rows {
            let start = entries.len();
            for (number, offset) in &row.entries {
                entries.extend(number.to_le_bytes());
                entries.extend(offset.to_le_bytes());
            }
            table.push(narrow(name.len()).to_le_bytes()[0]);
            table.extend(name.as_bytes());
            put_varint(&mut table, row.last);
            put_varint(&mut table, row.entries.len() as u64);
            table.extend(crc32c(&entries[start..]).to_le_bytes());
        }
        let mut file = MAGIC.to_vec();
        file.extend(crc32c_append(seed, &table).to_le_bytes());
        file.extend((table.len() as u64).to_le_bytes());
        file.extend(table);
        file.extend(entries);
        file
    }
}

/// An index file whose table has been read.
pub(super) struct IndexFile {
    file: Arc<File>,
    table: Vec<u8>,
}

impl IndexFile {
    /// Opens the index of the segment that begins at `first`; `None` if it is missing or its table is damaged.
    pub(super) fn open(folder: &Folder, first: u64, seed: u32) -> Option<Self> {
        let file = folder.open(&folder.index(first), Access::Read).ok()?;
        let room = file.length().ok()?;
        let head: [u8; HEAD_LEN] = read(&*file, 0, HEAD_LEN).ok()?.try_into().ok()?;
        let mut fields = Cursor(&head);
        let (magic, crc, len) = (fields.array()?, fields.u32()?, fields.u64()?);
        let len = usize::try_from(len).ok().filter(|_| magic == MAGIC && len <= room)?;
        let table = read(&*file, HEAD_LEN as u64, len).ok()?;
        (crc32c_append(seed, &table) == crc).then_some(Self { file, table })
    }

    /// Each stream's last version.
    pub(super) fn heads(&self) -> impl Iterator<Item = (StreamId, u64)> {
        self.rows().skip(1).map(|row| (StreamId::new(row.name), row.last))
    }

    pub(super) fn positions(&self) -> Option<Row> {
        self.load(&self.rows().next()?)
    }

    /// A stream's row. The outer `None` says that the file is damaged, the inner one that it has no such stream.
    #[expect(clippy::option_option, reason = "damaged and absent are different answers")]
    pub(super) fn stream(&self, name: &str) -> Option<Option<Row>> {
        match self.rows().skip(1).find(|row| row.name == name) {
            Some(row) => self.load(&row).map(Some),
            None => Some(None),
        }
    }

    fn load(&self, row: &TableRow<'_>) -> Option<Row> {
        let at = HEAD_LEN as u64 + self.table.len() as u64 + row.entries_at;
        let room = self.file.length().ok()?.checked_sub(at)?;
        let len = row.count.checked_mul(ENTRY_LEN).filter(|len| *len as u64 <= room)?;
        let bytes = read(&*self.file, at, len).ok().filter(|bytes| crc32c(bytes) == row.crc)?;
        let entries = bytes.chunks_exact(ENTRY_LEN).filter_map(|entry| {
            let mut fields = Cursor(entry);
            Some((fields.u64()?, fields.u32()?))
        });
        Some(Row { last: row.last, entries: entries.collect() })
    }

    fn rows(&self) -> impl Iterator<Item = TableRow<'_>> {
        let mut fields = Cursor(&self.table);
        let mut entries_at = 0;
        std::iter::from_fn(move || {
            let len = fields.u8()?;
            let row = TableRow {
                name: std::str::from_utf8(fields.bytes(usize::from(len))?).ok()?,
                last: fields.varint()?,
                count: fields.length()?,
                crc: fields.u32()?,
                entries_at,
            };
            entries_at += row.count.checked_mul(ENTRY_LEN)? as u64;
            Some(row)
        })
    }
}

struct TableRow<'a> {
    name: &'a str,
    last: u64,
    count: usize,
    crc: u32,
    entries_at: u64,
}

fn read(file: &File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}
