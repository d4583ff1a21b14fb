//! Merging one inbox, key by key. Decides nothing about reading or committing; the store is only looked up.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::inbox::{Arrived, Inbox};
use super::overlay::Overlay;
use crate::metrics::TableHistory;
use crate::record::{Merged, Outcome, Reason, Record, Reject, TableDef, codec, merge};
use crate::store::Store;
use crate::task::batch::{Change, Moved, Quarantine, TaskBatch};
use crate::{Error, Result};

/// Merges what arrived into the records of a worker's tasks.
pub struct Grouping<'a> {
    /// Definition.
    pub def: &'a TableDef,
    /// Stores by partition.
    pub stores: &'a BTreeMap<u32, Arc<Store>>,
    /// Largest stored record that the changelog takes, bytes.
    pub max_record: usize,
    /// Counters of rare things.
    pub history: &'a TableHistory,
}

/// What merging an inbox gave.
#[derive(Debug, Default)]
pub struct Merges {
    /// By partition.
    pub tasks: BTreeMap<u32, TaskBatch>,
    /// Events set aside.
    pub quarantined: Vec<Quarantine>,
    /// New state for the overlay.
    pub staged: Vec<(Box<[u8]>, Arc<Record>)>,
    /// Bytes of changed records, about.
    pub bytes: u64,
    /// Oldest broker timestamp, milliseconds.
    pub oldest_ms: i64,
}

/// The events of one key, in the order of arrival.
struct Group<'i> {
    partition: u32,
    key: &'i [u8],
    events: Vec<usize>,
}

impl Grouping<'_> {
    /// Merges all of `inbox`; `overlay` is read, and filled with what had to be read from the stores.
    pub fn merge(&self, inbox: &Inbox, overlay: &mut Overlay) -> Result<Merges> {
        let mut out = Merges { oldest_ms: i64::MAX, ..Merges::default() };
        for a in &inbox.arrived {
            out.oldest_ms = out.oldest_ms.min(a.timestamp_ms);
            self.note_arrival(a, &mut out);
            if let Err(reject) = &a.event {
                self.set_aside(inbox, a, vec![reject.clone()], &mut out);
            }
        }
        let groups = group(&inbox.arrived);
        let records = self.look_up(&groups, overlay)?;
        for (group, record) in groups.iter().zip(records) {
            self.merge_group(inbox, group, record, &mut out);
        }
        Ok(out)
    }

    fn moved<'o>(&self, a: &Arrived, out: &'o mut Merges) -> &'o mut Moved {
        out.tasks.entry(a.partition).or_default().moved.entry(a.source).or_default()
    }

    fn note_arrival(&self, a: &Arrived, out: &mut Merges) {
        let moved = self.moved(a, out);
        moved.next = moved.next.max(a.offset + 1);
        moved.timestamp_ms = moved.timestamp_ms.max(a.timestamp_ms);
        if let Ok(event) = &a.event {
            moved.watermark = moved.watermark.max(Some(event.stamp.version.major));
        }
    }

    fn set_aside(&self, inbox: &Inbox, a: &Arrived, rejects: Vec<Reject>, out: &mut Merges) {
        self.moved(a, out).accounting.count(Outcome::Quarantined);
        let (key, payload) = inbox.raw(a);
        out.quarantined.push(Quarantine {
            source: a.source,
            partition: a.partition,
            offset: a.offset,
            timestamp_ms: a.timestamp_ms,
            rejects,
            key,
            payload,
        });
    }

    /// The current record of every group: overlay, cache, else store.
    fn look_up(&self, groups: &[Group<'_>], overlay: &mut Overlay) -> Result<Vec<Arc<Record>>> {
        let mut scratch = Vec::new();
        let mut records: Vec<Option<Arc<Record>>> =
            groups.iter().map(|g| overlay.get(Overlay::name(g.partition, g.key, &mut scratch))).collect();
        for (partition, store) in self.stores {
            let wanted: Vec<usize> =
                (0..groups.len()).filter(|&i| records[i].is_none() && groups[i].partition == *partition).collect();
            let keys: Vec<&[u8]> = wanted.iter().map(|&i| groups[i].key).collect();
            store.visit_sorted(&keys, &mut |n, stored| {
                let record = stored.map(codec::decode).transpose().map_err(|e| {
                    e.within(format_args!("record {:?} of partition {partition}", String::from_utf8_lossy(keys[n])))
                })?;
                let record = Arc::new(record.unwrap_or_default());
                overlay.remember(Overlay::name(*partition, keys[n], &mut scratch), record.clone());
                records[wanted[n]] = Some(record);
                Ok(())
            })?;
        }
        let missing = || Error::internal("an event arrived for a task that is not here");
        records.into_iter().map(|r| r.ok_or_else(missing)).collect()
    }

    fn merge_group(&self, inbox: &Inbox, group: &Group<'_>, before: Arc<Record>, out: &mut Merges) {
        let mut record = before.clone();
        let mut changed = false;
        let mut stored = Vec::new();
        let all: Vec<_> = group.events.iter().map(|&i| self.merge_one(&inbox.arrived[i], &mut record)).collect();
        if all.iter().any(|m| m.as_ref().is_some_and(|m| m.changed)) {
            codec::encode(&record, &mut stored);
            changed = true;
        }
        if group.key.len() + stored.len() <= self.max_record {
            for (&i, merged) in group.events.iter().zip(all) {
                self.account(inbox, &inbox.arrived[i], merged, out);
            }
        } else {
            // Rare: some event makes the record too large. Merge one by one, and leave that one out.
            (record, changed) = self.merge_bounded(inbox, group, &before, out);
            stored.clear();
            codec::encode(&record, &mut stored);
        }
        if changed {
            self.stage(group, &before, record, stored, out);
        }
    }

    fn merge_one(&self, a: &Arrived, record: &mut Arc<Record>) -> Option<Merged> {
        let event = a.event.as_ref().ok()?;
        Some(merge(self.def, Arc::make_mut(record), event))
    }

    fn merge_bounded(
        &self,
        inbox: &Inbox,
        group: &Group<'_>,
        before: &Arc<Record>,
        out: &mut Merges,
    ) -> (Arc<Record>, bool) {
        let (mut record, mut changed, mut stored) = (before.clone(), false, Vec::new());
        for &i in &group.events {
            let a = &inbox.arrived[i];
            let mut next = record.clone();
            let merged = self.merge_one(a, &mut next);
            stored.clear();
            codec::encode(&next, &mut stored);
            if group.key.len() + stored.len() > self.max_record {
                self.set_aside(inbox, a, vec![self.too_large(group.key, group.key.len() + stored.len())], out);
                continue;
            }
            changed |= merged.as_ref().is_some_and(|m| m.changed);
            record = next;
            self.account(inbox, a, merged, out);
        }
        (record, changed)
    }

    fn too_large(&self, key: &[u8], bytes: usize) -> Reject {
        Reject {
            reason: Reason::TooLarge,
            path: String::new(),
            detail: format!(
                "the record {:?} with its key would take {bytes} bytes, the changelog takes at most {}",
                String::from_utf8_lossy(key),
                self.max_record
            ),
        }
    }

    fn account(&self, inbox: &Inbox, a: &Arrived, merged: Option<Merged>, out: &mut Merges) {
        let Some(merged) = merged else { return };
        self.history.note(&merged);
        if merged.outcome == Outcome::Quarantined {
            self.set_aside(inbox, a, merged.rejects, out);
        } else {
            self.moved(a, out).accounting.count(merged.outcome);
        }
    }

    fn stage(&self, group: &Group<'_>, before: &Record, record: Arc<Record>, stored: Vec<u8>, out: &mut Merges) {
        let key: Arc<[u8]> = group.key.into();
        out.bytes += (stored.len() + record.heap_size() + 2 * key.len() + 256) as u64;
        let mut scratch = Vec::new();
        out.staged.push((Overlay::name(group.partition, group.key, &mut scratch).into(), record.clone()));
        let stored = (!record.is_empty()).then_some(stored);
        let change = Change { key: key.clone(), stored, record, existed: before.is_visible() };
        out.tasks.entry(group.partition).or_default().changes.insert(key, change);
    }
}

/// Groups the decoded arrivals by task and key, ordered by both; within a group in the order of arrival.
fn group(arrived: &[Arrived]) -> Vec<Group<'_>> {
    let mut order: Vec<(u32, &[u8], usize)> = arrived
        .iter()
        .enumerate()
        .filter_map(|(i, a)| a.event.as_ref().ok().map(|e| (a.partition, e.key.as_slice(), i)))
        .collect();
    order.sort_unstable();
    let mut groups: Vec<Group<'_>> = Vec::with_capacity(order.len());
    for (partition, key, i) in order {
        match groups.last_mut() {
            Some(g) if g.partition == partition && g.key == key => g.events.push(i),
            _ => groups.push(Group { partition, key, events: vec![i] }),
        }
    }
    groups
}
