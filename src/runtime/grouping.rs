//! Merging one inbox, key by key. Decides nothing about reading or committing; the store is only looked up.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::inbox::{Arrived, Content, Inbox};
use super::overlay::{Overlay, decoded};
use super::repartition::Origin;
use crate::broker::NewRecord;
use crate::metrics::TableHistory;
use crate::record::{Event, Merged, Outcome, Reason, Record, Reject, TableDef, codec, merge_at};
use crate::store::{Due, EndedCount, Store};
use crate::task::batch::{Change, Misplaced, Moved, Quarantine, TaskBatch};
use crate::touch::touch;
use crate::{Error, Result};

/// What a change takes in a batch beside its bytes and its key.
const CHANGE_OVERHEAD: usize = 128;

/// Keys that are looked up together.
const AT_A_TIME: usize = 256;

/// Merges what arrived into the records of a worker's tasks.
pub struct Grouping<'a> {
    /// Definition.
    pub def: &'a TableDef,
    /// The internal topic for misplaced events.
    pub repartition: Option<&'a Arc<str>>,
    /// Stores by partition.
    pub stores: &'a BTreeMap<u32, Arc<Store>>,
    /// Largest stored record that the changelog takes, bytes.
    pub max_record: usize,
    /// Counters of rare things.
    pub history: &'a TableHistory,
    /// The watermark that each message of the inbox finds, by its place; empty where nothing ever ends.
    pub watermarks: &'a [Option<i64>],
}

/// What merging an inbox gave.
#[derive(Debug, Default)]
pub struct Merges {
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
    moves: Moves,
    /// A record that is being encoded.
    scratch: Vec<u8>,
}

/// How far the inbox moves every source of every task. Arrivals come in runs, so the last one is looked at first.
#[derive(Debug, Default)]
struct Moves {
    all: Vec<((u32, usize), Moved)>,
    last: usize,
}

impl Moves {
    /// The account of its source.
    fn of(&mut self, a: &Arrived) -> &mut Moved {
        self.at((a.partition, a.source))
    }

    /// The topic it was read from.
    fn input(&mut self, a: &Arrived) -> &mut Moved {
        self.at((a.partition, a.input))
    }

    fn at(&mut self, which: (u32, usize)) -> &mut Moved {
        if self.all.get(self.last).is_none_or(|(held, _)| *held != which) {
            self.last = self.all.iter().position(|(held, _)| *held == which).unwrap_or(self.all.len());
            if self.last == self.all.len() {
                self.all.push((which, Moved::default()));
            }
        }
        &mut self.all[self.last].1
    }
}

/// A record that changed.
struct After {
    /// Its stored form; `None` if nothing is kept.
    stored: Option<Arc<[u8]>>,
}

/// One event of a group: partition, key, and its place in the inbox.
type Place<'i> = (u32, &'i [u8], usize);

/// The events of one key, in the order of arrival; never empty.
type Group<'i> = [Place<'i>];

impl Grouping<'_> {
    /// Merges all of `inbox` as batch `seq`; `overlay` is filled with what had to be read from the stores, and its records
    /// are changed.
    pub fn merge(&self, inbox: &Inbox, overlay: &mut Overlay, seq: u64) -> Result<Merges> {
        let mut out = Merges { oldest_ms: i64::MAX, ..Merges::default() };
        for a in &inbox.arrived {
            out.oldest_ms = out.oldest_ms.min(a.timestamp_ms);
            note_arrival(a, &mut out.moves);
            match &a.content {
                Content::Event(_) => {}
                Content::Refused(reject) => set_aside(inbox, a, vec![reject.clone()], Vec::new(), &mut out),
                Content::Misplaced(to) => {
                    let record = self.sent_on(inbox, a, *to)?;
                    out.bytes += record.payload.as_ref().map_or(0, Vec::len) as u64;
                    out.misplaced.push(Misplaced { partition: a.partition, record });
                }
                Content::Elsewhere | Content::Nothing => out.moves.of(a).accounting.count(Outcome::Duplicate),
            }
        }
        let order = by_key(&inbox.arrived);
        for of_task in order.chunk_by(|a, b| a.0 == b.0) {
            let store = self.stores.get(&of_task[0].0).ok_or_else(not_here)?;
            let groups: Vec<&Group<'_>> = of_task.chunk_by(|a, b| a.1 == b.1).collect();
            for groups in groups.chunks(AT_A_TIME) {
                let missing = self.merge_held(inbox, groups, overlay, seq, &mut out)?;
                self.merge_stored(inbox, &missing, store, overlay, seq, &mut out)?;
                if let Some(task) = out.tasks.get_mut(&of_task[0].0) {
                    task.changes.sort_last(groups.len());
                }
            }
        }
        for ((partition, source), moved) in std::mem::take(&mut out.moves).all {
            out.tasks.entry(partition).or_default().moved.insert(source, moved);
        }
        Ok(out)
    }

    /// The record that brings a misplaced event to the partition of its key. It is counted there.
    fn sent_on(&self, inbox: &Inbox, a: &Arrived, to: u32) -> Result<NewRecord> {
        let topic = self.repartition.cloned().ok_or_else(|| Error::internal("no topic for misplaced events"))?;
        let (key, payload, mut headers) = inbox.raw(a);
        let source = self.def.sources[a.source].name.clone();
        let origin = Origin { source, partition: a.from, offset: a.offset, timestamp_ms: a.timestamp_ms };
        headers.push(origin.header()?);
        // Now, not the event's: retention could take an old one before it is read.
        Ok(NewRecord { topic, partition: to, key, payload, headers, timestamp_ms: None })
    }

    /// Merges into the records that are in memory; returns the groups of others.
    fn merge_held<'g, 'i>(
        &self,
        inbox: &Inbox,
        groups: &[&'g Group<'i>],
        overlay: &mut Overlay,
        seq: u64,
        out: &mut Merges,
    ) -> Result<Vec<&'g Group<'i>>> {
        let is_held = |group: &&Group<'_>| overlay.hold(group[0].0, group[0].1, seq).is_some();
        let (held, missing): (Vec<&'g Group<'i>>, Vec<_>) = groups.iter().copied().partition(is_held);
        touch(held.iter().filter_map(|group| overlay.get(group[0].0, group[0].1)));
        for group in held {
            let (partition, key, _) = group[0];
            let mut held = overlay.get_mut(partition, key).ok_or_else(not_here)?;
            if let Some(after) = self.merge_group(inbox, group, &held.key, held.stored.as_deref(), out)? {
                held.stored = after.stored;
            }
        }
        Ok(missing)
    }

    /// Merges into the records of a store as they are read from it, and takes them into memory.
    fn merge_stored(
        &self,
        inbox: &Inbox,
        groups: &[&Group<'_>],
        store: &Store,
        overlay: &mut Overlay,
        seq: u64,
        out: &mut Merges,
    ) -> Result<()> {
        let keys: Vec<&[u8]> = groups.iter().map(|group| group[0].1).collect();
        store.visit_sorted(&keys, &mut |n, found| {
            let (partition, key, _) = groups[n][0];
            let key = Arc::from(key);
            let after = self.merge_group(inbox, groups[n], &key, found, out)?;
            let stored = after.map_or_else(|| found.map(Arc::from), |after| after.stored);
            overlay.insert(partition, key, stored, seq);
            Ok(())
        })
    }

    /// Merges into the record of a key; returns its new stored form if that changed.
    fn merge_group(
        &self,
        inbox: &Inbox,
        group: &Group<'_>,
        key: &Arc<[u8]>,
        stored: Option<&[u8]>,
        out: &mut Merges,
    ) -> Result<Option<After>> {
        let (partition, ..) = group[0];
        let mut record = decoded(key, stored).map_err(|e| e.within(format_args!("partition {partition}")))?;
        let existed = record.is_visible();
        let (retention, mut ended) = (&self.def.retention, EndedCount::default());
        let due = retention.due(&record);
        let fits = self.surely_fits(inbox, group, key.len() + 5 * stored.map_or(0, <[u8]>::len));
        let changed = if fits {
            self.merge_in_place(inbox, group, &mut record, &mut ended, out)
        } else {
            self.merge_bounded(inbox, group, &mut record, &mut ended, out)
        };
        if !changed {
            return Ok(None);
        }
        out.scratch.clear();
        codec::encode(&record, &mut out.scratch);
        let stored: Option<Arc<[u8]>> = (!record.is_empty()).then(|| out.scratch.as_slice().into());
        out.bytes += (out.scratch.len() + key.len() + CHANGE_OVERHEAD) as u64;
        let visible = record.is_visible();
        let change = Change { key: key.clone(), stored: stored.clone(), visible, existed, sent: false };
        let task = out.tasks.entry(partition).or_default();
        task.due.extend(entries(key, due, retention.due(&record)));
        task.ended.add(ended);
        task.changes.push(change);
        Ok(Some(After { stored }))
    }

    /// Whether the changelog takes the record whatever the events of the group add to it. No member of an event grows by more
    /// than a factor of sixteen when it is stored (`[1,1]`: nine bytes for two), a field that an event clears by not naming it
    /// takes less than 64 bytes, a further stamp makes none of those held longer than twice its size, and what is folded into a
    /// base takes at most five times its size in the window. `held` is what the key and so much of the record take.
    fn surely_fits(&self, inbox: &Inbox, group: &Group<'_>, held: usize) -> bool {
        let events: usize = group.iter().map(|(.., i)| inbox.arrived[*i].weight).sum();
        let added = 16 * events + (64 * self.def.fields.len() + 256) * group.len();
        held + added <= self.max_record
    }

    fn merge_in_place(
        &self,
        inbox: &Inbox,
        group: &Group<'_>,
        record: &mut Record,
        ended: &mut EndedCount,
        out: &mut Merges,
    ) -> bool {
        let mut changed = false;
        for (.., i) in group {
            let a = &inbox.arrived[*i];
            let Some(event) = a.event() else { continue };
            let merged = self.merge_one(record, a, event, *i);
            changed |= merged.changed;
            ended.count(merged.ended);
            self.account(inbox, a, merged, out);
        }
        changed
    }

    /// Rare: some event may make the record too large. Merges one by one, and leaves that one out.
    fn merge_bounded(
        &self,
        inbox: &Inbox,
        group: &Group<'_>,
        record: &mut Record,
        ended: &mut EndedCount,
        out: &mut Merges,
    ) -> bool {
        let (mut changed, mut stored) = (false, Vec::new());
        for (_, key, i) in group {
            let a = &inbox.arrived[*i];
            let Some(event) = a.event() else { continue };
            let mut next = record.clone();
            let merged = self.merge_one(&mut next, a, event, *i);
            stored.clear();
            codec::encode(&next, &mut stored);
            if key.len() + stored.len() > self.max_record {
                set_aside(inbox, a, vec![self.too_large(key, key.len() + stored.len())], Vec::new(), out);
                continue;
            }
            changed |= merged.changed;
            ended.count(merged.ended);
            *record = next;
            self.account(inbox, a, merged, out);
        }
        changed
    }

    /// Merges an event, which stands at a place of the inbox, or what a replay has to apply of it.
    fn merge_one(&self, record: &mut Record, a: &Arrived, event: &Event, place: usize) -> Merged {
        let watermark = self.watermarks.get(place).copied().flatten();
        let replay = a.replay.as_deref().map(|replay| replay.fields.as_slice());
        merge_at(self.def, record, event, watermark, replay)
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

    fn account(&self, inbox: &Inbox, a: &Arrived, merged: Merged, out: &mut Merges) {
        self.history.note(&merged);
        if merged.outcome == Outcome::Quarantined {
            let name = |id: &u32| self.def.field_by_id(*id).map(|field| field.name.clone());
            let fields = merged.refused.iter().filter_map(name).collect();
            set_aside(inbox, a, merged.rejects, fields, out);
        } else {
            out.moves.of(a).accounting.count(merged.outcome);
        }
    }
}

/// Brings records into memory, by keys that are sorted, and keeps them there until batch `seq` is applied; the bytes that were
/// read.
pub fn load(store: &Store, partition: u32, keys: &[&[u8]], overlay: &mut Overlay, seq: u64) -> Result<usize> {
    let missing: Vec<&[u8]> = keys.iter().copied().filter(|key| overlay.hold(partition, key, seq).is_none()).collect();
    let mut read = 0;
    store.visit_sorted(&missing, &mut |n, stored| {
        read += stored.map_or(0, <[u8]>::len);
        overlay.insert(partition, missing[n].into(), stored.map(Arc::from), seq);
        Ok(())
    })?;
    Ok(read)
}

/// The entries of `expiry` that come and go when a record is due at another time. Where it is put off only, the entry that is
/// there serves: it is looked at in its time.
fn entries(key: &Arc<[u8]>, before: Option<i64>, now: Option<i64>) -> impl Iterator<Item = Due> {
    let earlier = |a: i64, b: Option<i64>| b.is_none_or(|b| a < b);
    let goes = before.filter(|before| now.is_none_or(|now| now < *before)).map(|at| (at, false));
    let comes = now.filter(|now| earlier(*now, before)).map(|at| (at, true));
    let key = key.clone();
    goes.into_iter().chain(comes).map(move |(at, entered)| Due { at, key: key.clone(), entered })
}

fn not_here() -> Error {
    Error::internal("an event arrived for a task that is not here")
}

fn note_arrival(a: &Arrived, moves: &mut Moves) {
    let read = moves.input(a);
    read.next = read.next.max(Some(a.next));
    read.timestamp_ms = read.timestamp_ms.max(a.timestamp_ms);
    if let Some(event) = a.event() {
        let moved = moves.of(a);
        moved.timestamp_ms = moved.timestamp_ms.max(a.timestamp_ms);
        moved.watermark = moved.watermark.max(Some(event.stamp.version.major));
    }
}

/// `fields`: those that were refused, where the rest was merged.
fn set_aside(inbox: &Inbox, a: &Arrived, rejects: Vec<Reject>, fields: Vec<String>, out: &mut Merges) {
    out.moves.of(a).accounting.count(Outcome::Quarantined);
    let (key, payload, headers) = inbox.raw(a);
    // A replay of refused fields has merged the rest before, even where it fails as a whole now.
    let replayed = a.replay.as_deref();
    let fields = if fields.is_empty() { replayed.map(|r| r.fields.clone()).unwrap_or_default() } else { fields };
    out.quarantined.push(Quarantine {
        source: a.source,
        task: a.partition,
        partition: a.from,
        offset: a.offset,
        timestamp_ms: a.timestamp_ms,
        rejects,
        key,
        payload,
        headers,
        fields,
        replay_of: replayed.and_then(|replay| replay.entry_id()),
    });
}

/// The decoded arrivals by task and key; of a key in the order of arrival.
fn by_key(arrived: &[Arrived]) -> Vec<Place<'_>> {
    let decoded = arrived.iter().enumerate();
    let mut order: Vec<_> =
        decoded.filter_map(|(i, a)| a.event().map(|e| (a.partition, e.key.as_slice(), i))).collect();
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_when_a_record_is_due_earlier_and_goes_when_it_is_not_due_any_more() {
        let moves = |before, now| {
            let key: Arc<[u8]> = b"k".as_slice().into();
            entries(&key, before, now).map(|due| (due.at, due.entered)).collect::<Vec<_>>()
        };
        assert_eq!(moves(None, None), []);
        assert_eq!(moves(None, Some(5)), [(5, true)]);
        assert_eq!(moves(Some(5), None), [(5, false)]);
        assert_eq!(moves(Some(5), Some(3)), [(5, false), (3, true)]);
        assert_eq!(moves(Some(5), Some(5)), []);
        assert_eq!(moves(Some(5), Some(9)), [], "the one that is there serves");
    }
}
