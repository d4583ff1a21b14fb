//! The embedded log: one RocksDB, one instance, the semantics of the contract.
//!
//! - A transaction is one write batch: its records, its positions and nothing else, durable and visible at once.
//! - One thread writes (`log.rs`); it numbers the records, so the order of the log is the order of its work.
//! - What is acknowledged is on the disk (fsync), and nothing that is not can be read.
//! - Nothing of an open transaction is ever in the log: the last stable offset *is* the high watermark.
//!
//! After a write failed (disk full, say) reading goes on, but nothing is written any more until the directory is opened
//! again: what reached the disk is unknown before that.

mod cleaner;
mod consumer;
mod db;
mod group;
mod housekeeping;
mod log;
mod producer;
mod read;
mod segments;
mod shared;
mod stored;
mod topics;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use self::consumer::{LocalConsumer, LocalReader};
use self::db::Db;
use self::group::LocalMember;
use self::housekeeping::Housekeeping;
use self::log::{Log, Request};
use self::producer::{LocalAppender, LocalProducer};
use self::read::{Cursor, Slot};
use self::shared::Shared;
use super::{
    Appender, Broker, Consumer, LogReader, MemberConfig, Membership, NewRecord, Offset, TopicInfo, TopicPartition,
    TopicSpec, TransactionalProducer, Watermarks,
};
use crate::{Error, Kind, Result};

/// How a [`LocalBroker`] works. Settings of a topic (`retention.ms`, `retention.bytes`, `segment.bytes`,
/// `delete.retention.ms`, `max.message.bytes`) override the options of the same name; -1 means no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalOptions {
    /// Partitions of a topic whose specification says 0.
    pub default_partitions: u32,
    /// Milliseconds for which records of topics that are not compacted are kept; `None`: for ever.
    pub retention_ms: Option<u64>,
    /// Bytes that a partition of such a topic keeps at least, and exceeds by no more than a segment after each round
    /// of housekeeping; `None`: no limit.
    pub retention_bytes: Option<u64>,
    /// Bytes after which a partition begins a new segment. Retention drops whole segments: smaller ones are dropped
    /// more promptly and cost more entries in the books.
    pub segment_bytes: u64,
    /// Milliseconds for which cleaning keeps a tombstone, by its timestamp.
    pub delete_retention_ms: u64,
    /// Largest record (key, value and headers), in bytes.
    pub max_message_bytes: u64,
    /// Bytes of block cache; memtables are charged to it and take at most half. At least 8 MiB.
    pub memory: u64,
    /// Bytes that cleaning may hold for the keys of one pass. Less means more passes.
    pub cleaner_memory: u64,
    /// Pause between two rounds of retention and cleaning.
    pub housekeeping_interval: Duration,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            default_partitions: 4,
            retention_ms: Some(7 * 24 * 60 * 60 * 1000),
            retention_bytes: Some(1 << 30),
            segment_bytes: 16 << 20,
            delete_retention_ms: 24 * 60 * 60 * 1000,
            max_message_bytes: 16 << 20,
            memory: 64 << 20,
            cleaner_memory: 32 << 20,
            housekeeping_interval: Duration::from_secs(30),
        }
    }
}

/// A broker in a directory of this process. Dropping it ends its threads; consumers that outlive it can still read,
/// everything that writes fails.
#[derive(Debug)]
pub struct LocalBroker {
    shared: Arc<Shared>,
    housekeeping: Arc<Housekeeping>,
    requests: Sender<Request>,
    log: Option<JoinHandle<()>>,
    keeper: Option<JoinHandle<()>>,
    stop_keeper: Option<Sender<()>>,
}

impl LocalBroker {
    /// Opens the broker in `dir`, making it if there is none, and takes its lock.
    ///
    /// Fails with [`Kind::Refused`] if another process (or this one) has it open or the directory holds something else,
    /// with [`Kind::Storage`] if it cannot be written, with [`Kind::Corrupt`] if its content cannot be read.
    pub fn open(dir: &Path, options: LocalOptions) -> Result<Arc<Self>> {
        let db = Db::open(dir, &options)?;
        let (requests, queue) = bounded(log::QUEUE);
        let shared = Arc::new(Shared::new(db, options, requests.clone())?);
        let log = Log::open(shared.clone(), queue)?;
        let housekeeping = Arc::new(Housekeeping::new(shared.clone()));
        let (stop, stopped): (_, Receiver<()>) = bounded(1);
        let mut this = Self {
            shared,
            housekeeping: housekeeping.clone(),
            requests,
            log: None,
            keeper: None,
            stop_keeper: Some(stop),
        };
        this.log = Some(thread::Builder::new().name("broker-log".into()).spawn(move || log.run())?);
        let keeper = thread::Builder::new().name("broker-keeper".into());
        this.keeper = Some(keeper.spawn(move || housekeeping.run(&stopped))?);
        Ok(Arc::new(this))
    }

    /// Drops expired segments now instead of at the next round; returns how many records went.
    pub fn run_retention_now(&self) -> Result<u64> {
        self.housekeeping.retain()
    }

    /// Cleans all partitions of a compacted topic now; returns how many records went.
    pub fn compact_now(&self, topic: &str) -> Result<u64> {
        let topic = self.shared.topics.topic(topic)?;
        if !topic.meta.compacted {
            return Err(Error::bad_request(format!("topic {} is not compacted", topic.name)));
        }
        topic.partitions.iter().map(|p| self.housekeeping.clean(p)).sum()
    }

    /// A single record with its headers; `None` if there is none at that offset. For looking into a log.
    pub fn record_at(&self, tp: &TopicPartition, offset: Offset) -> Result<Option<NewRecord>> {
        let partition = self.shared.topics.partition(&tp.topic, tp.partition)?;
        let slot = Slot::new(partition.clone(), offset)?;
        let (mut cursor, high) = Cursor::open(&self.shared, std::slice::from_ref(&slot), || partition.high())?;
        cursor.seek(&partition, offset);
        let found = cursor.current(&partition, high)?.filter(|(at, _)| *at == offset && *at >= partition.low());
        let Some((_, stored)) = found else { return Ok(None) };
        let headers = stored.headers().ok_or_else(|| {
            Error::new(Kind::Corrupt, format!("{tp}: the headers of the record at offset {offset} cannot be read"))
        })?;
        Ok(Some(NewRecord {
            topic: tp.topic.clone(),
            partition: tp.partition,
            key: stored.key.map(<[u8]>::to_vec),
            payload: stored.payload.map(<[u8]>::to_vec),
            headers,
            timestamp_ms: Some(stored.timestamp_ms),
        }))
    }
}

impl Drop for LocalBroker {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        drop(self.stop_keeper.take());
        // The keeper may wait for the log thread: it goes first. A send fails only if the thread has ended already.
        let keeper_ended = self.keeper.take().is_none_or(|t| t.join().is_ok());
        let _ = self.requests.send(Request::Stop);
        let log_ended = self.log.take().is_none_or(|t| t.join().is_ok());
        if !keeper_ended || !log_ended {
            tracing::error!(dir = %self.shared.db.dir().display(), "a thread of the local broker panicked");
        }
    }
}

impl Broker for LocalBroker {
    fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        Ok(self.shared.topics.get(name).map(|t| t.info(&self.shared.options)))
    }

    fn create_topic(&self, spec: &TopicSpec) -> Result<()> {
        self.shared.ask(|reply| Request::Create(spec.clone(), reply))
    }

    fn watermarks(&self, tp: &TopicPartition) -> Result<Watermarks> {
        Ok(self.shared.topics.partition(&tp.topic, tp.partition)?.watermarks())
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Offset)>> {
        let mut out = Vec::new();
        for tp in partitions {
            let Ok(p) = self.shared.topics.partition(&tp.topic, tp.partition) else { continue };
            let Some(value) = self.shared.db.get_meta(&db::group_key(group, p.topic_id, p.index))? else { continue };
            let [offset] = db::words(&value).ok_or_else(|| {
                Error::new(Kind::Corrupt, format!("position of group {group} in {tp} cannot be read"))
            })?;
            out.push((tp.clone(), offset));
        }
        Ok(out)
    }

    fn consumer(&self, _name: &str) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(LocalConsumer::new(self.shared.clone())))
    }

    fn reader(&self, tp: &TopicPartition, from: Offset) -> Result<Box<dyn LogReader>> {
        let slot = Slot::new(self.shared.topics.partition(&tp.topic, tp.partition)?, from)?;
        Ok(Box::new(LocalReader::new(self.shared.clone(), slot)))
    }

    fn transactional(&self, transactional_id: &str) -> Result<Box<dyn TransactionalProducer>> {
        if transactional_id.is_empty() {
            return Err(Error::bad_request("a transactional producer needs an id"));
        }
        let fence = self.shared.ask(|reply| Request::Fence(transactional_id.to_owned(), reply))?;
        Ok(Box::new(LocalProducer::new(self.shared.clone(), fence)))
    }

    fn appender(&self) -> Result<Arc<dyn Appender>> {
        Ok(Arc::new(LocalAppender::new(self.shared.clone())))
    }

    fn join(&self, member: &MemberConfig) -> Result<Box<dyn Membership>> {
        Ok(Box::new(LocalMember::join(self.shared.clone(), member)?))
    }

    fn members(&self, group: &str, _timeout: Duration) -> Result<Vec<String>> {
        Ok(self.shared.group(group).member.lock().iter().cloned().collect())
    }

    fn stats(&self) -> Vec<(String, f64)> {
        let partitions = self.shared.topics.partitions();
        let bytes: u64 = partitions.iter().map(|p| p.bytes.load(Ordering::Relaxed)).sum();
        let c = &self.shared.counters;
        let total = |n: &AtomicU64| n.load(Ordering::Relaxed) as f64;
        [
            ("partitions", partitions.len() as f64),
            ("log_bytes", bytes as f64),
            ("records_appended", total(&c.records)),
            ("bytes_appended", total(&c.bytes)),
            ("fsyncs", total(&c.fsyncs)),
            ("fsync_ms", total(&c.fsync_us) / 1000.0),
            ("records_cleaned", total(&c.cleaned)),
            ("records_expired", total(&c.expired)),
            ("queued_requests", self.requests.len() as f64),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    fn ping(&self, _timeout: Duration) -> Result<()> {
        if let Some(error) = self.shared.failed() {
            return Err(error);
        }
        if self.log.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(Error::internal(format!("the log thread of {} ended", self.shared.db.dir().display())));
        }
        Ok(())
    }
}
