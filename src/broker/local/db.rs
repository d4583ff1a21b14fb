//! The RocksDB under the embedded log: how it is opened, how its keys are laid out, and what its errors mean.
//!
//! Two column families. `log` holds the records, keyed by topic id, partition and offset, each big-endian so that the
//! order of the keys is the order of the log. `meta` holds everything else, told apart by the first byte of the key.

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, ErrorKind,
    Options, WriteBatch, WriteBufferManager, WriteOptions,
};

use super::LocalOptions;
use crate::broker::Offset;
use crate::{Error, Kind, Result};

const LOG: &str = "log";
const META: &str = "meta";
const FORMAT_KEY: &[u8] = b"f";
/// What this version of the code writes and reads.
const FORMAT: &[u8] = b"keld-log 1";

/// First byte of the keys in `meta`.
pub(super) mod prefix {
    /// Topic by name.
    pub(in super::super) const TOPIC: u8 = b't';
    /// Segment of a partition by its first offset.
    pub(in super::super) const SEGMENT: u8 = b's';
    /// How far a compacted partition is cleaned.
    pub(in super::super) const CLEANED: u8 = b'c';
    /// Position of a group in a partition.
    pub(in super::super) const GROUP: u8 = b'g';
    /// Epoch of a transactional id.
    pub(in super::super) const PRODUCER: u8 = b'p';
}

/// The open database and where it is.
#[derive(Debug)]
pub(super) struct Db {
    pub(super) raw: DB,
    dir: PathBuf,
}

impl Db {
    /// Opens or creates the database in `dir`; takes its lock.
    pub(super) fn open(dir: &Path, options: &LocalOptions) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(|e| {
            Error::new(Kind::Storage, format!("cannot create the broker directory {}", dir.display()))
                .because(e)
                .advise("check the path and its permissions, or choose another broker directory")
        })?;
        let (db, families) = database_options(options);
        let families = families.into_iter().map(|(name, o)| ColumnFamilyDescriptor::new(name, o));
        let raw = DB::open_cf_descriptors(&db, dir, families).map_err(|e| open_error(dir, e))?;
        let this = Self { raw, dir: dir.to_owned() };
        this.check_format()?;
        Ok(this)
    }

    fn check_format(&self) -> Result<()> {
        match self.get_meta(FORMAT_KEY)?.as_deref() {
            Some(FORMAT) => Ok(()),
            Some(other) => Err(Error::refused(format!(
                "the broker directory {} has format {:?}, this version reads {:?}",
                self.dir.display(),
                String::from_utf8_lossy(other),
                String::from_utf8_lossy(FORMAT)
            ))
            .advise("run the version that wrote it, or choose another broker directory")),
            None => {
                let mut batch = WriteBatch::default();
                batch.put_cf(self.meta()?, FORMAT_KEY, FORMAT);
                self.write_synced(batch)
            }
        }
    }

    /// Column family of the records.
    pub(super) fn log(&self) -> Result<&ColumnFamily> {
        self.raw.cf_handle(LOG).ok_or_else(|| Error::internal("column family log is not open"))
    }

    /// Column family of everything else.
    pub(super) fn meta(&self) -> Result<&ColumnFamily> {
        self.raw.cf_handle(META).ok_or_else(|| Error::internal("column family meta is not open"))
    }

    /// A value of `meta`.
    pub(super) fn get_meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.raw.get_cf(self.meta()?, key).map_err(|e| self.error("read", e))
    }

    /// Hands every entry of `meta` whose key begins with `first` to `visit`.
    pub(super) fn each_meta(&self, first: u8, mut visit: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let mut it = self.raw.raw_iterator_cf(self.meta()?);
        it.seek([first]);
        while let Some((key, value)) = it.item() {
            if key.first() != Some(&first) {
                break;
            }
            visit(key, value)?;
            it.next();
        }
        it.status().map_err(|e| self.error("read", e))
    }

    /// Writes a batch and waits until it is on the disk.
    pub(super) fn write_synced(&self, batch: WriteBatch) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        crate::rocks::write(&self.raw, batch, options).map_err(|e| self.error("write", e))
    }

    /// Names what failed, where, and what to do.
    pub(super) fn error(&self, action: &str, cause: rocksdb::Error) -> Error {
        storage_error(&format!("cannot {action} the broker directory {}", self.dir.display()), cause)
    }

    /// Where the database is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

fn database_options(options: &LocalOptions) -> (Options, Vec<(&'static str, Options)>) {
    const MIB: u64 = 1 << 20;
    let memory = options.memory.max(8 * MIB);
    let cache = Cache::new_lru_cache(to_usize(memory));
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&cache);
    table.set_block_size(32 << 10);
    table.set_format_version(6);

    let mut db = Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    // A torn tail is what a crash leaves behind; damage before it is an error and not, as by default, a silent end.
    db.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    db.set_max_background_jobs(2);
    db.set_max_total_wal_size(memory.max(64 * MIB));
    db.set_keep_log_file_num(4);
    db.set_max_open_files(512);
    db.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager_with_cache(
        to_usize(memory / 2),
        false,
        cache,
    ));

    let mut log = Options::default();
    log.set_block_based_table_factory(&table);
    log.set_compression_type(DBCompressionType::Lz4);
    log.set_write_buffer_size(to_usize((memory / 6).clamp(2 * MIB, 64 * MIB)));
    let mut meta = Options::default();
    meta.set_block_based_table_factory(&table);
    meta.set_write_buffer_size(2 << 20);
    (db, vec![("default", meta.clone()), (LOG, log), (META, meta)])
}

fn open_error(dir: &Path, cause: rocksdb::Error) -> Error {
    let text = cause.to_string();
    let at = dir.display();
    if text.contains("lock hold by current process") || text.contains("While lock file") && !unwritable(&text) {
        return Error::refused(format!("the broker directory {at} is in use already"))
            .because(cause)
            .advise("only one instance can own a local broker: stop the other one or choose another directory");
    }
    if text.contains("Column families not opened") || text.contains("does not exist (create_if_missing") {
        return Error::refused(format!("{at} holds something else than a local broker"))
            .because(cause)
            .advise("choose another broker directory");
    }
    storage_error(&format!("cannot open the broker directory {at}"), cause)
}

fn unwritable(text: &str) -> bool {
    ["Read-only file system", "Permission denied", "No space left"].iter().any(|t| text.contains(t))
}

/// Maps a RocksDB error to the kind that says how to react.
fn storage_error(message: &str, cause: rocksdb::Error) -> Error {
    let text = cause.to_string();
    let (kind, advice) = if text.contains("No space left") {
        (
            Kind::Storage,
            "the disk is full: free space or shorten the retention, then start again; nothing acknowledged is lost",
        )
    } else if text.contains("Read-only file system") || text.contains("Permission denied") {
        (Kind::Storage, "make the directory writable for this user, or choose another broker directory")
    } else if cause.kind() == ErrorKind::Corruption {
        (Kind::Corrupt, "restore the directory from a backup, or move it away to begin with an empty log")
    } else {
        (Kind::Storage, "check the disk and the system's log, then start again")
    };
    Error::new(kind, message).because(cause).advise(advice)
}

/// `u64` to `usize`, saturating.
pub(super) fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// Key of a record.
pub(super) fn log_key(topic: u32, partition: u32, offset: Offset) -> [u8; 16] {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&topic.to_be_bytes());
    key[4..8].copy_from_slice(&partition.to_be_bytes());
    key[8..].copy_from_slice(&offset.to_be_bytes());
    key
}

/// The offset in the key of a record, if it belongs to this partition.
pub(super) fn offset_in(key: &[u8], topic: u32, partition: u32) -> Option<Offset> {
    let (prefix, offset) = key.split_at_checked(8)?;
    let ours = prefix[..4] == topic.to_be_bytes() && prefix[4..] == partition.to_be_bytes();
    if ours { Some(Offset::from_be_bytes(offset.try_into().ok()?)) } else { None }
}

/// Key of a segment.
pub(super) fn segment_key(topic: u32, partition: u32, base: Offset) -> [u8; 17] {
    let mut key = [prefix::SEGMENT; 17];
    key[1..].copy_from_slice(&log_key(topic, partition, base));
    key
}

/// Key of the cleaner's progress in a partition.
pub(super) fn cleaned_key(topic: u32, partition: u32) -> [u8; 9] {
    let mut key = [prefix::CLEANED; 9];
    key[1..5].copy_from_slice(&topic.to_be_bytes());
    key[5..].copy_from_slice(&partition.to_be_bytes());
    key
}

/// Key of a group's position in a partition.
pub(super) fn group_key(group: &str, topic: u32, partition: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(group.len() + 17);
    key.push(prefix::GROUP);
    key.extend_from_slice(&(group.len() as u64).to_be_bytes());
    key.extend_from_slice(group.as_bytes());
    key.extend_from_slice(&topic.to_be_bytes());
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

/// Key made of a prefix and a name.
pub(super) fn named_key(prefix: u8, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 1);
    key.push(prefix);
    key.extend_from_slice(name.as_bytes());
    key
}

/// The 8-byte words of a stored value; `None` if its length is another.
pub(super) fn words<const N: usize>(value: &[u8]) -> Option<[i64; N]> {
    if value.len() != N * 8 {
        return None;
    }
    let mut out = [0; N];
    for (word, bytes) in out.iter_mut().zip(value.chunks_exact(8)) {
        *word = i64::from_be_bytes(bytes.try_into().ok()?);
    }
    Some(out)
}

/// A value of 8-byte words.
pub(super) fn from_words(words: &[i64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_the_log_does() {
        let mut keys = vec![log_key(1, 0, 256), log_key(0, 9, 5), log_key(1, 0, 2), log_key(0, 10, 0)];
        keys.sort_unstable();
        assert_eq!(keys, [log_key(0, 9, 5), log_key(0, 10, 0), log_key(1, 0, 2), log_key(1, 0, 256)]);
        assert_eq!(offset_in(&log_key(1, 0, 256), 1, 0), Some(256));
        assert_eq!(offset_in(&log_key(1, 0, 256), 1, 1), None);
    }

    #[test]
    fn words_refuse_another_length() {
        assert_eq!(words::<2>(&from_words(&[-1, 7])), Some([-1, 7]));
        assert_eq!(words::<2>(&from_words(&[1])), None);
    }
}
