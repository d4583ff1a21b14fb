//! Segments on disk are merged when it suits the search library. What it merges after the last commit is shown, too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::testing::{batch, change, def, options, record};
use super::{IndexChange, TableIndex};
use crate::record::Value;

/// So many segments of a size are merged.
const MERGED: i64 = 8;
/// Keys of one batch.
const KEYS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(60);

fn key(n: usize) -> String {
    format!("k{n:04}")
}

fn version(n: usize, version: i64, existed: bool) -> IndexChange {
    let values = (BTreeMap::from([("sold", Value::Int(version))]), BTreeMap::new());
    change(&key(n), Some(record(&def(), &key(n), &values)), existed)
}

fn open(dir: &std::path::Path) -> Arc<TableIndex> {
    TableIndex::open_at(Arc::new(def()), options(dir), None).expect("the index opens").0
}

fn waits_until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Each key has one document, of this version.
fn shows(index: &TableIndex, expected: &BTreeMap<usize, i64>) {
    let view = index.view();
    assert_eq!(view.documents(), expected.len() as u64);
    for (n, version) in expected {
        let found = view.document_values(key(*n).as_bytes()).expect("values");
        assert_eq!((found.len(), &found[0]["sold"][..]), (1, &[Value::Int(*version)][..]), "{}", key(*n));
    }
}

#[test]
fn merged_segments_are_shown_though_nothing_more_is_committed() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = open(dir.path());
    let mut expected = BTreeMap::new();
    for n in 0..MERGED {
        let keys = (0..KEYS).map(|k| k + KEYS * usize::try_from(n).expect("few"));
        index.submit(batch(0, n + 1, keys.clone().map(|k| version(k, n, false)).collect())).expect("submitted");
        index.flush().expect("flushed");
        expected.extend(keys.map(|k| (k, n)));
    }
    let commits = index.stats().commits;
    waits_until("the segments of the commits are shown still", || index.view().segments() < 3);
    assert_eq!(index.stats().commits, commits, "a commit brought them");
    shows(&index, &expected);
    index.close().expect("closed");
}
