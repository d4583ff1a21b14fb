//! The embedded broker on a disk that is taken, foreign, damaged, read-only or full.

use std::path::{Path, PathBuf};
use std::process::Command;

use keld::broker::local::{LocalBroker, LocalOptions};
use keld::broker::{Broker, NewRecord, TopicPartition};
use keld::{Error, Kind};

use crate::harness::{read_to_end, record, spec};

fn options() -> LocalOptions {
    LocalOptions { memory: 8 << 20, ..LocalOptions::default() }
}

/// The error must say which directory, and what to do.
fn assert_helpful(error: &Error, dir: &Path) {
    assert!(error.to_string().contains(&dir.display().to_string()), "names the directory: {error}");
    assert!(error.advice().is_some(), "advises: {error}");
}

#[test]
fn a_directory_can_be_open_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = LocalBroker::open(dir.path(), options()).unwrap();
    let error = LocalBroker::open(dir.path(), options()).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.message().contains("in use"), "{error}");
    assert_helpful(&error, dir.path());
    drop(broker);
    LocalBroker::open(dir.path(), options()).unwrap();
}

#[test]
fn a_directory_with_another_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut other = rocksdb::Options::default();
    other.create_if_missing(true);
    other.create_missing_column_families(true);
    drop(rocksdb::DB::open_cf(&other, dir.path(), ["records"]).unwrap());
    let error = LocalBroker::open(dir.path(), options()).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert_helpful(&error, dir.path());
}

#[test]
fn a_damaged_directory_is_reported_as_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let broker = LocalBroker::open(dir.path(), options()).unwrap();
    broker.create_topic(&spec("t", 1, false)).unwrap();
    drop(broker);
    std::fs::write(dir.path().join("CURRENT"), "MANIFEST").unwrap();
    let error = LocalBroker::open(dir.path(), options()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert_helpful(&error, dir.path());
}

/// The one write-ahead log in a directory, and its bytes without the zeros that were allocated ahead.
fn write_ahead_log(dir: &Path) -> (PathBuf, Vec<u8>) {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut logs: Vec<_> = entries.filter(|p| p.extension().is_some_and(|e| e == "log")).collect();
    assert_eq!(logs.len(), 1, "{logs:?}");
    let path = logs.remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(bytes.iter().rposition(|b| *b != 0).unwrap() + 1);
    (path, bytes)
}

/// A directory with three acknowledged records that are in the write-ahead log only.
fn three_records() -> (tempfile::TempDir, TopicPartition) {
    let dir = tempfile::tempdir().unwrap();
    let tp = TopicPartition::new("t", 0);
    let broker = LocalBroker::open(dir.path(), options()).unwrap();
    broker.create_topic(&spec("t", 1, false)).unwrap();
    for value in ["first", "second", "third"] {
        broker.appender().unwrap().append(vec![record(&tp, value)]).unwrap();
    }
    (dir, tp)
}

#[test]
fn damage_in_the_middle_of_the_write_ahead_log_is_not_taken_for_its_end() {
    let (dir, _) = three_records();
    let (path, mut bytes) = write_ahead_log(dir.path());
    let at = bytes.windows(6).position(|w| w == b"second").unwrap();
    bytes[at] ^= 0xff;
    std::fs::write(&path, bytes).unwrap();
    let error = LocalBroker::open(dir.path(), options()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert_helpful(&error, dir.path());
}

#[test]
fn a_write_that_a_crash_cut_short_is_forgotten_whole() {
    let (dir, tp) = three_records();
    let (path, bytes) = write_ahead_log(dir.path());
    let at = bytes.windows(5).position(|w| w == b"third").unwrap();
    std::fs::write(&path, &bytes[..at + 2]).unwrap();
    let broker = LocalBroker::open(dir.path(), options()).unwrap();
    let read = read_to_end(&mut *broker.reader(&tp, 0).unwrap()).0;
    assert_eq!(read.iter().map(|r| r.text()).collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(broker.watermarks(&tp).unwrap().high, 2);
    assert_eq!(broker.appender().unwrap().append(vec![record(&tp, "again")]).unwrap(), [2]);
}

#[test]
fn a_file_where_the_directory_should_be_is_a_storage_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = LocalBroker::open(&file, options()).unwrap_err();
    assert_eq!(error.kind(), Kind::Storage, "{error}");
    assert_helpful(&error, &file);
}

/// A small file system in memory, unmounted at the end.
struct Mount(tempfile::TempDir);

impl Mount {
    /// `None`, loudly, where mounting is not permitted.
    fn new(size: &str) -> Option<Self> {
        let mount = Self(tempfile::tempdir().unwrap());
        if mount.mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]) {
            return Some(mount);
        }
        println!("SKIPPED: cannot mount a tmpfs here (needs root and CAP_SYS_ADMIN); this test checked NOTHING");
        None
    }

    fn mount(&self, args: &[&str]) -> bool {
        Command::new("mount").args(args).arg(self.0.path()).status().is_ok_and(|s| s.success())
    }

    fn remount(&self, option: &str) {
        assert!(self.mount(&["-o", &format!("remount,{option}")]), "remount,{option}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_read_only_directory_is_a_storage_error() {
    let Some(mount) = Mount::new("32m") else { return };
    let dir = mount.0.path().join("broker");
    drop(LocalBroker::open(&dir, options()).unwrap());
    mount.remount("ro");
    for dir in [dir, mount.0.path().join("another")] {
        let error = LocalBroker::open(&dir, options()).unwrap_err();
        assert_eq!(error.kind(), Kind::Storage, "{error}");
        assert_helpful(&error, &dir);
        assert!(error.to_string().contains("ead-only"), "says why: {error}");
    }
    mount.remount("rw");
}

#[test]
fn a_full_disk_stops_writing_loudly_and_loses_nothing_acknowledged() {
    let Some(mount) = Mount::new("12m") else { return };
    let dir = mount.0.path().join("broker");
    let broker = LocalBroker::open(&dir, options()).unwrap();
    broker.create_topic(&spec("t", 1, false)).unwrap();
    let tp = TopicPartition::new("t", 0);
    let appender = broker.appender().unwrap();
    // Bytes that do not compress, 50 kB each: more than 300 cannot fit.
    let mut x: u64 = 7;
    let mut noise = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 56) as u8
    };
    let mut acknowledged: Vec<Vec<u8>> = Vec::new();
    let error = loop {
        let payload: Vec<u8> = (0..50_000).map(|_| noise()).collect();
        match appender.append(vec![NewRecord { payload: Some(payload.clone()), ..record(&tp, "") }]) {
            Ok(_) => acknowledged.push(payload),
            Err(e) => break e,
        }
        assert!(acknowledged.len() < 300, "the disk never filled up");
    };
    assert!(acknowledged.len() > 20, "it took some: {}", acknowledged.len());
    assert_eq!(error.kind(), Kind::Storage, "{error}");
    assert_helpful(&error, &dir);
    assert!(error.to_string().contains("disk is full"), "{error}");
    // It stays so until a person acts, and reading goes on.
    assert_eq!(appender.append(vec![record(&tp, "small")]).unwrap_err().kind(), Kind::Storage);
    assert_eq!(broker.ping(Default::default()).unwrap_err().kind(), Kind::Storage);
    let read = |broker: &LocalBroker| {
        let (read, _) = read_to_end(&mut *broker.reader(&tp, 0).unwrap());
        read.into_iter().map(|r| r.payload.unwrap()).collect::<Vec<_>>()
    };
    assert!(read(&broker) == acknowledged, "what was acknowledged can be read");
    drop((appender, broker));
    // The person gives it room.
    mount.remount("size=64m");
    let broker = LocalBroker::open(&dir, options()).unwrap();
    let found = read(&broker);
    assert!(found[..acknowledged.len()] == acknowledged, "what was acknowledged is there after opening again");
    assert!(found.len() <= acknowledged.len() + 1, "nothing but the append whose end was unknown");
    let next = broker.appender().unwrap().append(vec![record(&tp, "small")]).unwrap();
    assert_eq!(next, [i64::try_from(found.len()).unwrap()]);
}
