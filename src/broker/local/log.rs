//! The log thread: the only one that writes the database.
//!
//! It takes whatever waits in its queue, numbers the records, puts everything into one write batch, waits until that
//! is on the disk, publishes the new ends and answers. An idle log writes at once; a busy one shares an fsync among
//! all who wait. Owns the segments of every partition and the order of all events: appends, transactions, joins of a
//! group and takeovers of a producer happen one after another, here. Does not own cleaning (it decides elsewhere what
//! goes) and does not read records.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use rocksdb::WriteBatch;
use rustc_hash::{FxHashMap, FxHashSet};

use super::cleaner::Removal;
use super::db::{self, Db, prefix};
use super::segments::{Segment, Segments};
use super::shared::{Group, Shared};
use super::stored::RecordBuffer;
use super::topics::{Partition, Topic, TopicMeta};
use crate::broker::{Offset, TopicSpec};
use crate::{Error, Kind, Result, clock};

/// Requests that may wait; each caller waits for its answer, so callers bound the bytes.
pub(super) const QUEUE: usize = 1024;
/// Bytes of records after which a group takes no further request.
const GROUP_BYTES: usize = 8 << 20;

/// Something the log thread has to do.
pub(super) enum Request {
    /// Write records and positions, all or nothing.
    Append(Append, Sender<Result<Appended>>),
    /// Make a topic unless it exists.
    Create(TopicSpec, Sender<Result<()>>),
    /// Give the transactional id a new epoch.
    Fence(String, Sender<Result<Fence>>),
    /// Begin another generation of a group.
    Advance(Arc<Group>, Sender<Result<u64>>),
    /// Drop expired segments; answers with the records dropped.
    Retain(Sender<Result<u64>>),
    /// Remove what the cleaner found superseded.
    Remove(Removal, Sender<Result<()>>),
    /// End the thread after what came before.
    Stop,
}

/// Records and positions to be written together.
#[derive(Debug, Default)]
pub(super) struct Append {
    pub(super) records: RecordBuffer,
    /// Positions of a group, and the generation in which they were consumed.
    pub(super) positions: Option<Positions>,
    /// The producer's identity; checked when the batch is written.
    pub(super) fence: Option<Fence>,
}

/// Positions of a group that a transaction commits.
#[derive(Clone, Debug)]
pub(super) struct Positions {
    pub(super) group: Arc<Group>,
    pub(super) generation: u64,
    pub(super) list: Vec<(Arc<Partition>, Offset)>,
}

/// An epoch of a transactional id.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    pub(super) id: Arc<str>,
    pub(super) current: Arc<AtomicU64>,
    pub(super) mine: u64,
}

impl Fence {
    /// Fails when a later producer of the same id exists.
    pub(super) fn check(&self) -> Result<()> {
        let now = self.current.load(Ordering::Acquire);
        if now == self.mine {
            return Ok(());
        }
        Err(Error::new(
            Kind::Fenced,
            format!("transactional id {}: fenced by a newer producer (epoch {now}, mine {})", self.id, self.mine),
        ))
    }
}

impl Positions {
    /// Fails when the group has moved on.
    pub(super) fn check(&self) -> Result<()> {
        let now = self.group.generation();
        if now == self.generation {
            return Ok(());
        }
        Err(Error::new(
            Kind::AbortRequired,
            format!(
                "group {}: the positions belong to generation {}, the group is at {now}",
                self.group.name, self.generation
            ),
        ))
    }
}

/// What an append wrote; the buffer comes back for reuse.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) records: RecordBuffer,
    /// One offset per record, in order.
    pub(super) offsets: Vec<Offset>,
}

/// An answer that waits until its group is durable; it gets the failure if there was one.
type Answer = Box<dyn FnOnce(Option<Error>)>;

/// Everything that goes to the disk with one fsync.
#[derive(Default)]
struct WriteGroup {
    batch: WriteBatch,
    answers: Vec<Answer>,
    /// Partitions whose books changed.
    touched: FxHashMap<(u32, u32), Arc<Partition>>,
    records: u64,
    bytes: usize,
    stop: bool,
}

impl WriteGroup {
    fn answer<T: 'static>(&mut self, reply: Sender<Result<T>>, value: T) {
        self.answers.push(Box::new(move |failure| {
            // A caller that has gone needs no answer.
            let _ = reply.send(failure.map_or(Ok(value), Err));
        }));
    }

    fn touch(&mut self, partition: &Arc<Partition>) {
        let key = (partition.topic_id, partition.index);
        self.touched.entry(key).or_insert_with(|| partition.clone());
    }
}

/// The log thread's state.
pub(super) struct Log {
    shared: Arc<Shared>,
    requests: Receiver<Request>,
    segments: FxHashMap<(u32, u32), Segments>,
}

impl Log {
    /// Reads the segments and publishes the offsets of every partition.
    pub(super) fn open(shared: Arc<Shared>, requests: Receiver<Request>) -> Result<Self> {
        let mut segments = load_segments(&shared.db)?;
        for partition in shared.topics.partitions() {
            let own = segments.entry((partition.topic_id, partition.index)).or_insert_with(Segments::new);
            let at = db::cleaned_key(partition.topic_id, partition.index);
            if let Some([cleaned, bytes]) = shared.db.get_meta(&at)?.as_deref().and_then(db::words) {
                partition.cleaned.store(cleaned, Ordering::Release);
                partition.clean_bytes.store(bytes.unsigned_abs(), Ordering::Release);
            }
            publish(&partition, own);
        }
        Ok(Self { shared, requests, segments })
    }

    /// Serves requests until it is told to stop or nobody is left to ask.
    pub(super) fn run(mut self) {
        while let Ok(first) = self.requests.recv() {
            let mut group = WriteGroup::default();
            self.admit(first, &mut group);
            while group.bytes < GROUP_BYTES && !group.stop {
                let Ok(next) = self.requests.try_recv() else { break };
                self.admit(next, &mut group);
            }
            let stop = group.stop;
            self.finish(group);
            if stop {
                return;
            }
        }
    }

    /// Takes a request into the group, or answers at once that it cannot be.
    fn admit(&mut self, request: Request, group: &mut WriteGroup) {
        match request {
            Request::Append(append, reply) => match self.append(append, group) {
                Ok(appended) => group.answer(reply, appended),
                Err(e) => refuse(&reply, e),
            },
            Request::Create(spec, reply) => match self.create(&spec, group) {
                Ok(()) => group.answer(reply, ()),
                Err(e) => refuse(&reply, e),
            },
            Request::Fence(id, reply) => match self.fence(&id, group) {
                Ok(fence) => group.answer(reply, fence),
                Err(e) => refuse(&reply, e),
            },
            Request::Advance(of, reply) => group.answer(reply, of.advance()),
            Request::Retain(reply) => match self.retain(group) {
                Ok(records) => group.answer(reply, records),
                Err(e) => refuse(&reply, e),
            },
            Request::Remove(removal, reply) => match self.remove(&removal, group) {
                Ok(()) => group.answer(reply, ()),
                Err(e) => refuse(&reply, e),
            },
            Request::Stop => group.stop = true,
        }
    }

    fn segments(&mut self, partition: &Partition) -> &mut Segments {
        self.segments.entry((partition.topic_id, partition.index)).or_insert_with(Segments::new)
    }

    fn append(&mut self, append: Append, group: &mut WriteGroup) -> Result<Appended> {
        // Checks first: from here on nothing may fail, or half a transaction would be in the batch.
        append.fence.as_ref().map_or(Ok(()), Fence::check)?;
        append.positions.as_ref().map_or(Ok(()), Positions::check)?;
        let shared = self.shared.clone();
        let (log, meta) = (shared.db.log()?, shared.db.meta()?);
        let mut offsets = Vec::with_capacity(append.records.len());
        for record in append.records.iter() {
            let p = record.partition;
            let segment_bytes = if p.compacted { u64::MAX } else { p.limits.segment_bytes };
            let offset = self.segments(p).append(record.value.len(), record.timestamp_ms, segment_bytes);
            group.batch.put_cf(log, p.key(offset), record.value);
            group.touch(p);
            offsets.push(offset);
        }
        for (p, offset) in append.positions.iter().flat_map(|own| &own.list) {
            let group_name = append.positions.as_ref().map_or("", |own| &own.group.name);
            let key = db::group_key(group_name, p.topic_id, p.index);
            group.batch.put_cf(meta, key, db::from_words(&[*offset]));
        }
        group.records += append.records.len() as u64;
        group.bytes += append.records.size();
        Ok(Appended { records: append.records, offsets })
    }

    fn create(&mut self, spec: &TopicSpec, group: &mut WriteGroup) -> Result<()> {
        if self.shared.topics.get(&spec.name).is_some() {
            return Ok(());
        }
        let options = &self.shared.options;
        let meta = TopicMeta::from_spec(self.shared.topics.next_id(), spec, options.default_partitions)?;
        let bytes = serde_json::to_vec(&meta).map_err(|e| Error::internal("topic cannot be stored").because(e))?;
        group.batch.put_cf(self.shared.db.meta()?, db::named_key(prefix::TOPIC, &spec.name), bytes);
        let topic: Arc<Topic> = self.shared.topics.add(&spec.name, meta, options);
        tracing::info!(topic = &*topic.name, partitions = topic.meta.partitions, "topic created");
        Ok(())
    }

    fn fence(&mut self, id: &str, group: &mut WriteGroup) -> Result<Fence> {
        let meta = self.shared.db.meta()?;
        let current = self.shared.producer_epoch(id);
        let mine = current.fetch_add(1, Ordering::AcqRel) + 1;
        let word = i64::try_from(mine).unwrap_or(i64::MAX);
        group.batch.put_cf(meta, db::named_key(prefix::PRODUCER, id), db::from_words(&[word]));
        Ok(Fence { id: id.into(), current, mine })
    }

    fn retain(&mut self, group: &mut WriteGroup) -> Result<u64> {
        let shared = self.shared.clone();
        let (log, meta) = (shared.db.log()?, shared.db.meta()?);
        let now = clock::now_ms();
        let mut records = 0;
        for partition in shared.topics.partitions().into_iter().filter(|p| !p.compacted) {
            let segments = self.segments(&partition);
            let dropped = segments.drop_front(segments.expired(&partition.limits, now));
            let (Some(first), Some(last)) = (dropped.first(), dropped.last()) else { continue };
            records += last.end.abs_diff(first.base);
            // Readers that come too late must see that they do before the records are gone.
            partition.low.store(last.end, Ordering::Release);
            // From 0, so that nothing below survives the dropping of whole files by `housekeeping`.
            group.batch.delete_range_cf(log, partition.key(0), partition.key(last.end));
            for segment in &dropped {
                group.batch.delete_cf(meta, db::segment_key(partition.topic_id, partition.index, segment.base));
            }
            group.touch(&partition);
        }
        shared.counters.expired.fetch_add(records, Ordering::Relaxed);
        Ok(records)
    }

    fn remove(&mut self, removal: &Removal, group: &mut WriteGroup) -> Result<()> {
        let shared = self.shared.clone();
        let (log, meta) = (shared.db.log()?, shared.db.meta()?);
        let p = &removal.partition;
        p.cleanings.fetch_add(1, Ordering::AcqRel);
        for offset in &removal.singles {
            group.batch.delete_cf(log, p.key(*offset));
        }
        for span in &removal.spans {
            group.batch.delete_range_cf(log, p.key(span.start), p.key(span.end));
        }
        self.segments(p).shrink(removal.bytes);
        if let Some((cleaned, kept)) = removal.finished {
            p.cleaned.store(cleaned, Ordering::Release);
            p.clean_bytes.store(kept, Ordering::Release);
            let value = db::from_words(&[cleaned, i64::try_from(kept).unwrap_or(i64::MAX)]);
            group.batch.put_cf(meta, db::cleaned_key(p.topic_id, p.index), value);
        }
        shared.counters.cleaned.fetch_add(removal.records, Ordering::Relaxed);
        group.touch(p);
        Ok(())
    }

    /// Writes the group, publishes what it changed, answers everybody.
    fn finish(&mut self, mut group: WriteGroup) {
        let failure = match self.shared.failed() {
            Some(e) => Some(e),
            None => self.write(&mut group).err().inspect(|e| self.shared.fail(e)),
        };
        if failure.is_none() {
            for (key, partition) in &group.touched {
                if let Some(segments) = self.segments.get(key) {
                    publish(partition, segments);
                }
            }
            self.shared.counters.records.fetch_add(group.records, Ordering::Relaxed);
            self.shared.counters.bytes.fetch_add(group.bytes as u64, Ordering::Relaxed);
            if group.records > 0 {
                self.shared.appended.ring();
            }
        }
        for answer in group.answers {
            answer(failure.is_some().then(|| self.shared.failed()).flatten());
        }
    }

    fn write(&mut self, group: &mut WriteGroup) -> Result<()> {
        let meta = self.shared.db.meta()?;
        for (key, p) in &group.touched {
            for segment in self.segments.get_mut(key).map(Segments::take_unsaved).unwrap_or_default() {
                group.batch.put_cf(meta, db::segment_key(p.topic_id, p.index, segment.base), segment.to_bytes());
            }
        }
        if group.batch.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        self.shared.db.write_synced(std::mem::take(&mut group.batch))?;
        let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.shared.counters.fsyncs.fetch_add(1, Ordering::Relaxed);
        self.shared.counters.fsync_us.fetch_add(us, Ordering::Relaxed);
        Ok(())
    }
}

fn refuse<T>(reply: &Sender<Result<T>>, error: Error) {
    // A caller that has gone needs no answer.
    let _ = reply.send(Err(error));
}

fn publish(partition: &Partition, segments: &Segments) {
    partition.bytes.store(segments.bytes(), Ordering::Release);
    partition.low.store(segments.start(), Ordering::Release);
    partition.high.store(segments.end(), Ordering::Release);
}

fn load_segments(db: &Db) -> Result<FxHashMap<(u32, u32), Segments>> {
    let mut lists: FxHashMap<(u32, u32), VecDeque<Segment>> = FxHashMap::default();
    let corrupt = || Error::new(Kind::Corrupt, format!("{}: a segment entry cannot be read", db.dir().display()));
    db.each_meta(prefix::SEGMENT, |key, value| {
        let word = |at: usize| key.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        let (Some(topic), Some(partition)) = (word(1), word(5)) else { return Err(corrupt()) };
        let base = db::offset_in(&key[1..], topic, partition).ok_or_else(corrupt)?;
        let segment = Segment::from_bytes(base, value).ok_or_else(corrupt)?;
        lists.entry((topic, partition)).or_default().push_back(segment);
        Ok(())
    })?;
    let broken: FxHashSet<_> = lists.iter().filter(|(_, l)| !touching(l)).map(|(k, _)| *k).collect();
    if !broken.is_empty() {
        return Err(corrupt().advise("segments do not touch: restore the directory from a backup"));
    }
    Ok(lists.into_iter().map(|(k, l)| (k, Segments::restore(l))).collect())
}

fn touching(list: &VecDeque<Segment>) -> bool {
    list.iter().zip(list.iter().skip(1)).all(|(a, b)| a.end == b.base)
}

#[cfg(test)]
mod tests {
    use super::super::{LocalBroker, LocalOptions};
    use super::*;
    use crate::broker::{Broker, NewRecord, TopicPartition};

    /// What a producer hands over after its own looks at epoch and generation, which a takeover may overtake.
    fn append(broker: &LocalBroker, fence: Option<Fence>, positions: Option<Positions>) -> Result<Vec<Offset>> {
        let mut records = RecordBuffer::default();
        records.push(broker.shared.topics.partition("t", 0)?, &NewRecord::default());
        let append = Append { records, positions, fence };
        broker.shared.ask(|reply| Request::Append(append, reply)).map(|done| done.offsets)
    }

    fn open() -> (tempfile::TempDir, Arc<LocalBroker>) {
        let dir = tempfile::tempdir().unwrap();
        let broker = LocalBroker::open(dir.path(), LocalOptions::default()).unwrap();
        let spec = TopicSpec {
            name: "t".into(),
            partitions: 1,
            replication: 1,
            compacted: false,
            settings: Default::default(),
        };
        broker.create_topic(&spec).unwrap();
        (dir, broker)
    }

    #[test]
    fn a_batch_that_waited_while_its_producer_was_fenced_is_not_written() {
        let (_dir, broker) = open();
        let fence = |_| broker.shared.ask(|reply| Request::Fence("id".into(), reply)).unwrap();
        let [old, new] = [0, 1].map(fence);
        assert_eq!(append(&broker, Some(old), None).unwrap_err().kind(), Kind::Fenced);
        assert_eq!(append(&broker, Some(new), None).unwrap(), [0]);
    }

    #[test]
    fn a_batch_that_waited_while_its_group_moved_on_is_not_written() {
        let (_dir, broker) = open();
        let group = broker.shared.group("g");
        let positions = |_| {
            let generation = broker.shared.ask(|reply| Request::Advance(group.clone(), reply)).unwrap();
            let list = vec![(broker.shared.topics.partition("t", 0).unwrap(), 5)];
            Positions { group: group.clone(), generation, list }
        };
        let [old, new] = [0, 1].map(positions);
        let tp = [TopicPartition::new("t", 0)];
        assert_eq!(append(&broker, None, Some(old)).unwrap_err().kind(), Kind::AbortRequired);
        assert_eq!((broker.watermarks(&tp[0]).unwrap().high, broker.committed("g", &tp).unwrap()), (0, vec![]));
        assert_eq!(append(&broker, None, Some(new)).unwrap(), [0]);
        assert_eq!(broker.committed("g", &tp).unwrap(), [(tp[0].clone(), 5)]);
    }

    #[test]
    fn an_epoch_survives_opening_again() {
        let (dir, broker) = open();
        let fence = |broker: &LocalBroker| broker.shared.ask(|reply| Request::Fence("id".into(), reply)).unwrap();
        assert_eq!((fence(&broker).mine, fence(&broker).mine), (1, 2));
        drop(broker);
        let broker = LocalBroker::open(dir.path(), LocalOptions::default()).unwrap();
        assert_eq!(fence(&broker).mine, 3);
    }
}
