//! The audit of a task: store = changelog = index, key by key.
//!
//! Streams: the changelog once (a hash of every key's last record is kept, about 80 bytes a key), then the store once, with
//! the index asked for every visible key.
//!
//! The store is held against the changelog as it was up to where the store covers it. Other instances may be writing meanwhile, and
//! the broker may remove what they supersede: keys that were written since are left out of that, and counted.

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::open::{Opener, Task};
use super::plan::RestorePlan;
use crate::Result;
use crate::broker::Offset;
use crate::index::View;
use crate::record::{Record, Value, codec, derived, render};

/// Differences that are named; more are only counted.
const NAMED: usize = 100;

/// What an audit of one task found.
#[derive(Debug, Default, Serialize)]
pub struct Audit {
    /// Table.
    pub table: String,
    /// Partition.
    pub partition: u32,
    /// Keys in the changelog's compacted view.
    pub changelog: u64,
    /// Records in the store.
    pub store: u64,
    /// Of these, visible: something to show.
    pub visible: u64,
    /// Of these, due at some time: a tombstone or a record that event time will end.
    pub due: u64,
    /// Documents in the index.
    pub documents: u64,
    /// Events consumed since the beginning.
    pub consumed: u64,
    /// Records that had to be read from the changelog before the comparison (0 after a clean stop).
    pub restored: u64,
    /// Documents that had to be renewed before the comparison (0 after a clean stop).
    pub reindexed: u64,
    /// Keys that somebody wrote while this was compared: store and changelog were not compared there.
    pub moved: u64,
    /// Number of differences.
    pub different: u64,
    /// Of these, those between changelog and store; the others are between store and index.
    pub store_differs: u64,
    /// The first of them, a sentence each.
    pub differences: Vec<String>,
}

impl Audit {
    fn store_differs(&mut self, key: &[u8], what: &str) {
        self.store_differs += 1;
        self.differs(key, what);
    }

    fn differs(&mut self, key: &[u8], what: &str) {
        self.different += 1;
        if self.differences.len() < NAMED {
            self.differences.push(format!("{:?}: {what}", String::from_utf8_lossy(key)));
        }
    }
}

/// Compares store, changelog and index of a task that is open and caught up.
pub fn audit(opener: &Opener, task: &Task) -> Result<Audit> {
    let def = &opener.table.def;
    let mut found = Audit {
        table: def.name.clone(),
        partition: task.partition,
        consumed: task.position.sources.values().map(|s| s.accounting.consumed()).sum(),
        restored: task.restored,
        reindexed: task.repaired.keys,
        ..Audit::default()
    };
    let covered = task.store.changelog()?;
    let mut changelog = compacted(opener, task.partition, covered)?;
    found.changelog = changelog.len() as u64;
    let moved = written_since(opener, task.partition, covered)?;
    found.moved = moved.len() as u64;
    let view = opener.table.index.view();
    let mut visible = FxHashSet::default();
    let mut due = earliest_entries(task)?;
    task.store.scan(b"", &mut |key, stored| {
        found.store += 1;
        match changelog.remove(key) {
            _ if moved.contains(&xxh3_64(key)) => {}
            None => found.store_differs(key, "in the store, not in the changelog"),
            Some(hash) if hash != xxh3_128(stored) => {
                found.store_differs(key, "store and changelog hold different records");
            }
            Some(_) => {}
        }
        let record = codec::decode(stored)?;
        if let Some(at) = def.retention.due(&record) {
            found.due += 1;
            // INV-STORE-3
            match due.remove(&xxh3_64(key)) {
                Some(earliest) if earliest <= at => {}
                entry => found.store_differs(key, &format!("due at {at}, but its entry in expiry is {entry:?}")),
            }
        }
        if render::is_shown(def, &record) {
            found.visible += 1;
            visible.insert(xxh3_64(key));
            for what in document(&view, opener, key, &record)? {
                found.differs(key, &what);
            }
        }
        Ok(true)
    })?;
    for key in changelog.keys().filter(|key| !moved.contains(&xxh3_64(key))) {
        found.store_differs(key, "in the changelog, not in the store");
    }
    view.document_keys(task.partition, &mut |key| {
        found.documents += 1;
        if !visible.contains(&xxh3_64(key)) {
            found.differs(key, "in the index, but the store has nothing to show");
        }
        Ok(())
    })?;
    Ok(found)
}

/// The earliest entry of every key in the family `expiry`, by the hash of the key.
fn earliest_entries(task: &Task) -> Result<FxHashMap<u64, i64>> {
    let mut earliest = FxHashMap::default();
    task.store.visit_due(i64::MIN, &mut |at, key| {
        earliest.entry(xxh3_64(key)).or_insert(at);
        true
    })?;
    Ok(earliest)
}

/// Whether a store can be made anew from its changelog: that is read to its end, and is not the one that was lost.
pub fn is_restorable(opener: &Opener, partition: u32) -> Result<()> {
    if compacted(opener, partition, Offset::MAX)?.is_empty() { opener.check_group(partition, None) } else { Ok(()) }
}

/// The changelog's compacted view below an offset: the last record of every key, as a hash.
fn compacted(opener: &Opener, partition: u32, below: Offset) -> Result<FxHashMap<Vec<u8>, u128>> {
    let changelog = opener.changelog(partition);
    let log = opener.broker.watermarks(&changelog.tp)?;
    let mut last = FxHashMap::default();
    changelog.visit(RestorePlan { from: log.low, to: log.high.min(below) }, &mut |key, payload| match payload {
        Some(payload) => drop(last.insert(key.to_vec(), xxh3_128(payload))),
        None => drop(last.remove(key)),
    })?;
    Ok(last)
}

/// The keys that were written at an offset or behind it, hashed.
fn written_since(opener: &Opener, partition: u32, from: Offset) -> Result<FxHashSet<u64>> {
    let changelog = opener.changelog(partition);
    let log = opener.broker.watermarks(&changelog.tp)?;
    let mut keys = FxHashSet::default();
    changelog.visit(RestorePlan { from: from.max(log.low), to: log.high }, &mut |key, _| {
        keys.insert(xxh3_64(key));
    })?;
    Ok(keys)
}

/// How the documents of a visible record differ from it.
fn document(view: &View, opener: &Opener, key: &[u8], record: &Record) -> Result<Vec<String>> {
    let documents = view.document_values(key)?;
    let [document] = documents.as_slice() else {
        return Ok(vec![format!("{} documents in the index instead of 1", documents.len())]);
    };
    let mut out = Vec::new();
    let def = &opener.table.def;
    let declared = def.fields.iter().enumerate().map(|(number, field)| (field, render::current(def, record, number)));
    let derived = derived::values(def, key, record, |_| true).into_iter();
    for (field, value) in declared.chain(derived.map(|(field, value)| (field, value.ok().flatten()))) {
        let Some(indexed) = document.get(&field.name) else { continue };
        let wanted = match value {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(values)) => values,
            Some(value) => vec![value],
        };
        if *indexed != wanted {
            out.push(format!("field {:?} is {wanted:?} in the store and {indexed:?} in the index", field.name));
        }
    }
    Ok(out)
}
