//! What the merge thread hands to the commit thread.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::broker::{GroupToken, NewRecord, Offset};
use crate::quarantine::EntryId;
use crate::record::Reject;
use crate::store::{Accounting, Due, EndedCount};

/// The new state of one key.
#[derive(Clone, Debug)]
pub struct Change {
    /// Key.
    pub key: Arc<[u8]>,
    /// Stored bytes; `None` if nothing at all is kept.
    pub stored: Option<Arc<[u8]>>,
    /// Whether there is anything to show.
    pub visible: bool,
    /// Whether there was before.
    pub existed: bool,
    /// Whether the open transaction has this state already.
    pub sent: bool,
}

/// Changed records, one change a key.
#[derive(Debug, Default)]
pub struct Changes {
    list: Vec<Change>,
    /// Place of each key in the list; filled when a second list comes to the first, and most have none.
    places: FxHashMap<Arc<[u8]>, usize>,
}

impl Changes {
    /// Appends the change of a key that has none yet.
    pub fn push(&mut self, change: Change) {
        debug_assert!(self.places.is_empty(), "only a list of its own is pushed to");
        self.list.push(change);
    }

    /// Sorts the last `most` by key, as long as they are in the processor's cache.
    pub fn sort_last(&mut self, most: usize) {
        debug_assert!(self.places.is_empty(), "only a list of its own is sorted");
        let from = self.list.len().saturating_sub(most);
        self.list[from..].sort_by(|a, b| a.key.cmp(&b.key));
    }

    /// Takes later changes in: the last state of a key counts, the first says whether it existed.
    pub fn absorb(&mut self, later: Changes) {
        if self.list.is_empty() {
            *self = later;
            return;
        }
        if self.places.is_empty() {
            self.places = self.list.iter().enumerate().map(|(at, c)| (c.key.clone(), at)).collect();
        }
        for change in later.list {
            match self.places.entry(change.key.clone()) {
                Entry::Occupied(place) => {
                    let held = &mut self.list[*place.get()];
                    *held = Change { existed: held.existed, ..change };
                }
                Entry::Vacant(place) => {
                    place.insert(self.list.len());
                    self.list.push(change);
                }
            }
        }
    }

    /// The changes, as they came.
    pub fn all_mut(&mut self) -> &mut [Change] {
        &mut self.list
    }

    /// The changes by key: a store takes what is sorted in with fewer steps, and those lie in nearer memory.
    pub fn into_sorted(mut self) -> Vec<Change> {
        // What each batch of events changed is sorted already: the stable sort sees that and merges.
        self.list.sort_by(|a, b| a.key.cmp(&b.key));
        self.list
    }
}

/// An event, or a part of it, that was set aside.
#[derive(Clone, Debug)]
pub struct Quarantine {
    /// Number of the source in the definition.
    pub source: usize,
    /// Task that refused it.
    pub task: u32,
    /// Partition it came from.
    pub partition: u32,
    /// Offset it came from.
    pub offset: Offset,
    /// Broker timestamp, milliseconds.
    pub timestamp_ms: i64,
    /// Why; the first decides the reason code.
    pub rejects: Vec<Reject>,
    /// Message key.
    pub key: Option<Vec<u8>>,
    /// Message value, whole.
    pub payload: Option<Vec<u8>>,
    /// Message headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Names of the refused fields where the rest of the event was merged.
    pub fields: Vec<String>,
    /// The quarantine entry that it is a replay of.
    pub replay_of: Option<EntryId>,
}

/// An event on its way to the partition of its key.
#[derive(Clone, Debug)]
pub struct Misplaced {
    /// Partition it came in: the task that moves past it.
    pub partition: u32,
    /// The record of the internal topic.
    pub record: NewRecord,
}

/// How far a batch moves one source of one task. Its number is one past the last source for the internal topic that misplaced
/// events come through; what became of them is counted for the sources that they came from.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    /// Next offset to read; `None` where nothing of the topic itself was read.
    pub next: Option<Offset>,
    /// Highest version seen, first part.
    pub watermark: Option<i64>,
    /// Newest broker timestamp, milliseconds.
    pub timestamp_ms: i64,
    /// What became of the events.
    pub accounting: Accounting,
}

/// A batch's effect on one task.
#[derive(Debug, Default)]
pub struct TaskBatch {
    /// Changed records.
    pub changes: Changes,
    /// Sources by number.
    pub moved: BTreeMap<usize, Moved>,
    /// Entries of `expiry` that come and go, in order.
    pub due: Vec<Due>,
    /// What event time has ended.
    pub ended: EndedCount,
    /// Event time that the task has reached.
    pub watermark: Option<i64>,
}

impl TaskBatch {
    /// Takes a later batch of the same task in.
    pub fn absorb(&mut self, later: TaskBatch) {
        self.changes.absorb(later.changes);
        self.due.extend(later.due);
        self.ended.add(later.ended);
        self.watermark = self.watermark.max(later.watermark);
        for (source, moved) in later.moved {
            let into = self.moved.entry(source).or_default();
            into.next = moved.next.or(into.next);
            into.watermark = into.watermark.max(moved.watermark);
            into.timestamp_ms = into.timestamp_ms.max(moved.timestamp_ms);
            into.accounting.add(&moved.accounting);
        }
    }
}

/// Merged, not yet committed.
#[derive(Debug)]
pub struct Batch {
    /// Rises by one; the overlay drops what is applied by it.
    pub seq: u64,
    /// Rollbacks before it; a batch of an older epoch is void.
    pub epoch: u64,
    /// Membership under which it was consumed: never renewed later, or a zombie could commit old work.
    pub token: GroupToken,
    /// By partition.
    pub tasks: BTreeMap<u32, TaskBatch>,
    /// Events set aside.
    pub quarantined: Vec<Quarantine>,
    /// Events that go to other partitions.
    pub misplaced: Vec<Misplaced>,
    /// Bytes of changed records, about.
    pub bytes: u64,
    /// Oldest broker timestamp, milliseconds.
    pub oldest_ms: i64,
    /// Events that wait to be read, where so many do that what is late anyway may be shown a little later.
    pub behind: Option<u64>,
    /// What waits for its commit takes half the memory that there is for that.
    pub presses: bool,
}

impl Batch {
    /// Takes a later batch of the same epoch and membership in.
    pub fn absorb(&mut self, later: Batch) {
        self.seq = later.seq;
        self.quarantined.extend(later.quarantined);
        self.misplaced.extend(later.misplaced);
        self.bytes += later.bytes;
        self.oldest_ms = self.oldest_ms.min(later.oldest_ms);
        self.behind = later.behind;
        self.presses |= later.presses;
        self.token = later.token;
        for (partition, task) in later.tasks {
            self.tasks.entry(partition).or_default().absorb(task);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, stored: &[u8], existed: bool) -> Change {
        Change { key: key.as_bytes().into(), stored: Some(stored.into()), visible: true, existed, sent: false }
    }

    fn of(all: Vec<Change>) -> Changes {
        let mut changes = Changes::default();
        all.into_iter().for_each(|change| changes.push(change));
        changes
    }

    #[test]
    fn no_more_than_the_last_changes_are_sorted() {
        let mut all = of(vec![change("d", b"1", true), change("c", b"1", true), change("a", b"1", true)]);
        all.push(change("b", b"1", true));
        let keys = |all: &mut Changes| all.all_mut().iter().map(|c| c.key[0]).collect::<Vec<_>>();
        all.sort_last(3);
        assert_eq!(keys(&mut all), b"dabc");
        all.sort_last(9);
        assert_eq!(keys(&mut all), b"abcd");
    }

    #[test]
    fn changes_come_by_key_with_the_last_state_of_each_and_what_was_before_the_first() {
        let mut all = of(vec![change("b", b"1", false), change("d", b"1", true)]);
        all.absorb(of(vec![change("a", b"2", true), change("b", b"2", true), change("c", b"2", false)]));
        all.absorb(of(vec![change("a", b"3", true)]));
        let seen: Vec<_> =
            all.into_sorted().into_iter().map(|c| (c.key.to_vec(), c.stored.unwrap(), c.existed)).collect();
        let expected = [("a", "3", true), ("b", "2", false), ("c", "2", false), ("d", "1", true)];
        assert_eq!(seen, expected.map(|(key, stored, existed)| (key.into(), stored.as_bytes().into(), existed)));
    }
}
