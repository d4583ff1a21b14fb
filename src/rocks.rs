//! What every RocksDB of the process needs: a write that no full disk can hold for ever.

use std::time::{Duration, Instant};

use rocksdb::{DBWithThreadMode, ErrorKind, ThreadMode, WriteBatch, WriteOptions};

/// Pause between two attempts while RocksDB takes no writes; as long as its own naps.
const PAUSE: Duration = Duration::from_millis(1);
/// Background errors that RocksDB does not hand to writers are told after this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes a batch; waits as long as RocksDB must first flush or compact, and ends with its error where that fails.
///
/// RocksDB's own wait does not end so: a writer that waits for a flush when the disk fills up sleeps until there is space
/// again (`DBImpl::DelayWrite` goes on while `IsRecoveryInProgress`, RocksDB 11.8.1). Whoever asks anew is told the error.
pub(crate) fn write<T: ThreadMode>(
    db: &DBWithThreadMode<T>,
    batch: WriteBatch,
    mut options: WriteOptions,
) -> Result<(), rocksdb::Error> {
    options.set_no_slowdown(true);
    // A refused batch was not written at all, but is used up.
    let bytes = batch.data().to_vec();
    let mut outcome = db.write_opt(batch, &options);
    let since = Instant::now();
    while matches!(&outcome, Err(e) if e.kind() == ErrorKind::Incomplete) {
        if since.elapsed() > PATIENCE && background_errors(db) > 0 {
            break;
        }
        std::thread::sleep(PAUSE);
        outcome = db.write_opt(WriteBatch::from_data(&bytes), &options);
    }
    outcome
}

/// Flushes and compactions that failed since the database was opened.
fn background_errors<T: ThreadMode>(db: &DBWithThreadMode<T>) -> u64 {
    db.property_int_value("rocksdb.background-errors").ok().flatten().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;
    use std::sync::Arc;

    use rocksdb::{DB, Options};

    use super::*;

    /// A disk of one MiB, unmounted at the end.
    struct SmallDisk(tempfile::TempDir);

    impl SmallDisk {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let mounted =
                Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir.path()).status();
            assert!(mounted.unwrap().success(), "mounting a tmpfs needs root");
            Self(dir)
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        }
    }

    /// Flushes take so long that a writer waits for the one that fails.
    fn slow_flushes(dir: &Path) -> DB {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(2 << 20);
        options.set_max_write_buffer_number(2);
        options.set_ratelimiter(1 << 20, 10_000, 10);
        DB::open(&options, dir).unwrap()
    }

    /// 40 kB that do not compress.
    fn batch(n: u64) -> WriteBatch {
        let noise = (n * 5_000..).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(i | 1));
        let value: Vec<u8> = noise.take(5_000).flat_map(u64::to_be_bytes).collect();
        let mut batch = WriteBatch::default();
        batch.put(n.to_be_bytes(), value);
        batch
    }

    /// What fails is the flush then, not the log.
    fn without_log() -> WriteOptions {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        options
    }

    #[test]
    fn a_full_disk_ends_a_write_that_waits_for_a_flush() {
        let disk = SmallDisk::new();
        let db = Arc::new(slow_flushes(&disk.0.path().join("db")));
        let writer = std::thread::spawn({
            let db = Arc::clone(&db);
            move || (0..300).find_map(|n| write(&db, batch(n), without_log()).err())
        });
        let mut waited = false;
        while !writer.is_finished() {
            waited |= db.property_int_value("rocksdb.is-write-stopped").unwrap() == Some(1);
            std::thread::sleep(PAUSE);
        }
        let error = writer.join().unwrap().expect("300 batches cannot fit").to_string();
        assert!(waited, "the write did not wait when the flush failed: {error}");
        assert!(error.contains("No space left"), "{error}");
    }
}
