//! One task's RocksDB.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rocksdb::{
    ColumnFamilyDescriptor, DB, DBIterator, Direction, ErrorKind, IteratorMode, ReadOptions, ReadTier, WriteBatch,
    WriteOptions,
};

use super::expiry::Due;
use super::layout;
use super::position::Position;
use super::shared::SharedMemory;
use crate::broker::Offset;
use crate::record::Retention;
use crate::touch::touch;
use crate::{Error, Kind, Result};

const RECORDS: &str = "records";
const META: &str = "meta";
pub(super) const EXPIRY: &str = "expiry";

const CHANGELOG: &[u8] = b"changelog";
const POSITION: &[u8] = b"position";
const DEFINITION: &[u8] = b"definition";

/// Records that are brought into the processor's cache together.
const AT_A_TIME: usize = 32;

/// What a write batch holds of a record beside its key and value, at most: a kind, a family and two lengths.
const PUT_BYTES: usize = 16;

/// Folder of the database within that of the task, and its name while it is removed.
const FILES: &str = "db";
const GONE: &str = "db.gone";

/// One task's RocksDB. Readers and the one writer share it.
#[derive(Debug)]
pub struct Store {
    db: DB,
    dir: PathBuf,
    retention: OnceLock<Retention>,
}

/// What a committed batch, or a stretch of the changelog, brings into the store. Applied whole or not at all.
#[derive(Debug, Default)]
pub struct StoreBatch<'a> {
    /// Key and stored bytes; `None` removes the key.
    pub records: Vec<(&'a [u8], Option<&'a [u8]>)>,
    /// New position of the task, if it moved.
    pub position: Option<&'a Position>,
    /// Changelog position that the store covers afterwards.
    pub changelog: Offset,
}

impl Store {
    /// Opens or creates the store of a task. One process at a time: a second one is refused.
    pub fn open(dir: &Path, shared: &SharedMemory) -> Result<Self> {
        layout::prepare(dir)?;
        let others = [META, EXPIRY, "default"].map(|name| ColumnFamilyDescriptor::new(name, shared.family()));
        let families = others.into_iter().chain([ColumnFamilyDescriptor::new(RECORDS, shared.family_of_lookups())]);
        remove(&dir.join(GONE))?;
        let db = DB::open_cf_descriptors(&shared.database(), dir.join(FILES), families).map_err(|e| opening(dir, e))?;
        Ok(Self { db, dir: dir.to_owned(), retention: OnceLock::new() })
    }

    /// Removes the files of a store that is not open. Whoever is killed meanwhile leaves the store whole, or none.
    pub fn destroy(dir: &Path) -> Result<()> {
        let gone = dir.join(GONE);
        remove(&gone)?;
        // Files go one by one; half of them would be taken for a damaged store.
        match std::fs::rename(dir.join(FILES), gone) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(not_removed(dir, e)),
            _ => remove(dir),
        }
    }

    pub(super) fn family(&self, name: &'static str) -> Result<impl rocksdb::AsColumnFamilyRef + '_> {
        self.db.cf_handle(name).ok_or_else(|| {
            Error::new(Kind::Corrupt, format!("{}: column family {name} is missing", self.dir.display()))
        })
    }

    pub(super) fn failed(&self, what: &str, e: rocksdb::Error) -> Error {
        let kind = if e.kind() == ErrorKind::Corruption { Kind::Corrupt } else { Kind::Storage };
        Error::new(kind, format!("{what} in the store {}", self.dir.display())).because(e).advise(match kind {
            Kind::Corrupt => "start with --rebuild: the store is then restored from its changelog",
            _ => "check the disk's space and health; the changelog has everything that was committed",
        })
    }

    /// The stored bytes of a record.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.db.get_cf(&self.family(RECORDS)?, key).map_err(|e| self.failed("reading", e))
    }

    /// The stored bytes of a few records, in the order asked, where memory has them; `None` if the disk would have to be read.
    /// Never waits.
    pub fn peek(&self, keys: &[&[u8]]) -> Result<Option<Vec<Option<Vec<u8>>>>> {
        let family = self.family(RECORDS)?;
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::BlockCache);
        let mut out = Vec::with_capacity(keys.len());
        for key in keys {
            match self.db.get_cf_opt(&family, key, &options) {
                Ok(found) => out.push(found),
                Err(e) if e.kind() == ErrorKind::Incomplete => return Ok(None),
                Err(e) => return Err(self.failed("reading", e)),
            }
        }
        Ok(Some(out))
    }

    /// The stored bytes of many records, in the order asked.
    pub fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        let mut out = vec![None; keys.len()];
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_unstable_by_key(|&i| keys[i]);
        let sorted: Vec<&[u8]> = order.iter().map(|&i| keys[i]).collect();
        self.visit_sorted(&sorted, &mut |n, bytes| {
            out[order[n]] = bytes.map(<[u8]>::to_vec);
            Ok(())
        })?;
        Ok(out)
    }

    /// Looks up keys that are sorted and hands each its number and stored bytes, without copying them.
    pub fn visit_sorted(
        &self,
        keys: &[&[u8]],
        visit: &mut dyn FnMut(usize, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        debug_assert!(keys.is_sorted());
        let family = self.family(RECORDS)?;
        for (i, found) in self.db.batched_multi_get_cf(&family, keys.iter(), true).into_iter().enumerate() {
            let found = found.map_err(|e| self.failed("reading", e))?;
            visit(i, found.as_deref())?;
        }
        Ok(())
    }

    /// Hands every record to `visit`, by key, from `from` on, until it returns false.
    pub fn scan(&self, from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<bool>) -> Result<()> {
        let mut options = ReadOptions::default();
        options.set_readahead_size(1 << 20);
        options.fill_cache(false);
        let mode = IteratorMode::From(from, Direction::Forward);
        for item in self.db.iterator_cf_opt(&self.family(RECORDS)?, options, mode) {
            let (key, value) = item.map_err(|e| self.failed("scanning", e))?;
            if !visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    /// Hands every record to `visit`, by key, all as they are now; returns the changelog position that they cover.
    pub fn scan_whole(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<Offset> {
        let snapshot = self.db.snapshot();
        let at =
            self.offset(snapshot.get_cf(&self.family(META)?, CHANGELOG).map_err(|e| self.failed("reading", e))?)?;
        let mut options = ReadOptions::default();
        options.set_readahead_size(1 << 20);
        options.fill_cache(false);
        let mut items = snapshot.raw_iterator_cf_opt(&self.family(RECORDS)?, options);
        items.seek_to_first();
        while let Some((key, value)) = items.item() {
            visit(key, value)?;
            items.next();
        }
        items.status().map_err(|e| self.failed("scanning", e))?;
        Ok(at)
    }

    /// As [`Store::scan`], for a few records: neighbours are not read ahead, and what is read stays in memory.
    pub fn scan_some(&self, from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<bool>) -> Result<()> {
        let mode = IteratorMode::From(from, Direction::Forward);
        for item in self.db.iterator_cf_opt(&self.family(RECORDS)?, ReadOptions::default(), mode) {
            let (key, value) = item.map_err(|e| self.failed("scanning", e))?;
            if !visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    /// The rules by which records are due; none until [`Store::keep_due`] was called.
    pub(super) fn retention(&self) -> Option<&Retention> {
        self.retention.get()
    }

    pub(super) fn set_retention(&self, retention: Retention) {
        // The rules of a table do not change while it runs.
        let _ = self.retention.set(retention);
    }

    /// Entries of a family, in their order.
    pub(super) fn iterate(&self, family: &'static str, mode: IteratorMode<'_>) -> Result<DBIterator<'_>> {
        Ok(self.db.iterator_cf(&self.family(family)?, mode))
    }

    /// Applies a stretch of the changelog whole, with an entry for every record that is due at some time; the earliest of these
    /// times. The write-ahead log is not synced: a process crash loses nothing, a power loss loses a tail that the changelog gives
    /// back.
    pub fn apply(&self, batch: &StoreBatch<'_>) -> Result<Option<i64>> {
        let mut write = self.prepare(batch)?;
        let mut earliest: Option<i64> = None;
        for (key, value) in &batch.records {
            if let Some(at) = value.map_or(Ok(None), |value| self.put_entry_of(&mut write, key, value))? {
                earliest = Some(earliest.map_or(at, |earliest| earliest.min(at)));
            }
        }
        self.write(write)?;
        Ok(earliest)
    }

    /// Applies a committed batch whole, with the entries that come and go by it.
    pub fn apply_with(&self, batch: &StoreBatch<'_>, due: &[Due]) -> Result<()> {
        let mut write = self.prepare(batch)?;
        self.put_entries(&mut write, due)?;
        self.write(write)
    }

    fn prepare(&self, batch: &StoreBatch<'_>) -> Result<WriteBatch> {
        let (records, meta) = (self.family(RECORDS)?, self.family(META)?);
        let bytes = |(key, value): &(&[u8], Option<&[u8]>)| key.len() + value.map_or(0, <[u8]>::len) + PUT_BYTES;
        let mut write = WriteBatch::with_capacity_bytes(batch.records.iter().map(bytes).sum());
        for some in batch.records.chunks(AT_A_TIME) {
            touch(some.iter().flat_map(|(key, value)| [*key, value.unwrap_or_default()]));
            for (key, value) in some {
                match value {
                    Some(value) => write.put_cf(&records, key, value),
                    None => write.delete_cf(&records, key),
                }
            }
        }
        if let Some(position) = batch.position {
            write.put_cf(&meta, POSITION, position.encode()?);
        }
        write.put_cf(&meta, CHANGELOG, batch.changelog.to_be_bytes());
        Ok(write)
    }

    pub(super) fn write(&self, write: WriteBatch) -> Result<()> {
        crate::rocks::write(&self.db, write, WriteOptions::default()).map_err(|e| self.failed("writing", e))
    }

    /// Brings something of our own into a batch; `None` removes it.
    pub(super) fn put_meta(&self, write: &mut WriteBatch, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let meta = self.family(META)?;
        match value {
            Some(value) => write.put_cf(&meta, key, value),
            None => write.delete_cf(&meta, key),
        }
        Ok(())
    }

    pub(super) fn meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.db.get_cf(&self.family(META)?, key).map_err(|e| self.failed("reading", e))
    }

    /// Changelog position that the store covers; 0 for a new store.
    pub fn changelog(&self) -> Result<Offset> {
        self.offset(self.meta(CHANGELOG)?)
    }

    fn offset(&self, stored: Option<Vec<u8>>) -> Result<Offset> {
        let Some(bytes) = stored else { return Ok(0) };
        bytes.try_into().map(Offset::from_be_bytes).map_err(|_| {
            Error::new(Kind::Corrupt, format!("{}: the changelog position is damaged", self.dir.display()))
        })
    }

    /// Position of the task, if it ever had one.
    pub fn position(&self) -> Result<Option<Position>> {
        self.meta(POSITION)?.map(|bytes| Position::decode(&bytes)).transpose()
    }

    /// The table definition that the store was written under.
    pub fn definition(&self) -> Result<Option<Vec<u8>>> {
        self.meta(DEFINITION)
    }

    /// Keeps the table definition.
    pub fn set_definition(&self, definition: &[u8]) -> Result<()> {
        let mut write = WriteBatch::default();
        self.put_meta(&mut write, DEFINITION, Some(definition))?;
        self.write(write)
    }

    /// Bytes on disk and in memtables, approximate.
    pub fn bytes(&self) -> u64 {
        let parts = ["rocksdb.total-sst-files-size", "rocksdb.cur-size-all-mem-tables"];
        parts.iter().map(|name| self.property(RECORDS, name)).sum()
    }

    /// Bytes that compaction has still to rewrite, an estimate: what is written now and paid for later.
    pub fn compaction_debt(&self) -> u64 {
        self.property(RECORDS, "rocksdb.estimate-pending-compaction-bytes")
    }

    /// Records, approximate.
    pub fn approximate_records(&self) -> u64 {
        self.property(RECORDS, "rocksdb.estimate-num-keys")
    }

    /// Records that are due at some time, approximate: some may be counted twice.
    pub fn approximate_due(&self) -> u64 {
        self.property(EXPIRY, "rocksdb.estimate-num-keys")
    }

    fn property(&self, family: &'static str, name: &str) -> u64 {
        self.family(family).ok().and_then(|f| self.db.property_int_value_cf(&f, name).ok().flatten()).unwrap_or(0)
    }

    /// Syncs what was written; part of a clean close.
    pub fn sync(&self) -> Result<()> {
        self.db.flush_wal(true).map_err(|e| self.failed("syncing", e))
    }

    /// Folder of the task.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn remove(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(not_removed(dir, e)),
        _ => Ok(()),
    }
}

fn not_removed(dir: &Path, e: std::io::Error) -> Error {
    Error::new(Kind::Storage, format!("cannot remove {}", dir.display())).because(e)
}

fn opening(dir: &Path, e: rocksdb::Error) -> Error {
    let text = e.to_string();
    // RocksDB's words; the path itself may speak of locks, and a lock file also fails on a full or read-only disk.
    let taken = text.contains("lock hold by current process") || text.contains("Resource temporarily unavailable");
    if taken {
        return Error::refused(format!("the store {} is in use by another process", dir.display()))
            .because(e)
            .advise("stop the other Keld, or give this one its own instance.data_dir");
    }
    if e.kind() == ErrorKind::Corruption {
        return Error::new(Kind::Corrupt, format!("the store {} is damaged", dir.display()))
            .because(e)
            .advise("start with --rebuild: it is then restored from its changelog");
    }
    Error::new(Kind::Storage, format!("cannot open the store {}", dir.display()))
        .because(e)
        .advise("check that the directory is writable and has space")
}

#[cfg(test)]
mod tests;
