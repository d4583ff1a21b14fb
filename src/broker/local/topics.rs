//! Topics and partitions as everybody may see them: names, settings, and the offsets that the log thread publishes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::LocalOptions;
use super::db::{self, Db, prefix};
use crate::broker::{Offset, TopicInfo, TopicPartition, TopicSpec, Watermarks};
use crate::{Error, Kind, Result};

/// Most partitions a topic of the local broker may have.
const MAX_PARTITIONS: u32 = 4096;

/// What is stored of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TopicMeta {
    pub(super) id: u32,
    pub(super) partitions: u32,
    pub(super) compacted: bool,
    /// Milliseconds; `None`: as the broker's options say, negative: for ever.
    pub(super) retention_ms: Option<i64>,
    /// Bytes of a partition; `None`: as the broker's options say, negative: no limit.
    pub(super) retention_bytes: Option<i64>,
    pub(super) segment_bytes: Option<i64>,
    pub(super) delete_retention_ms: Option<i64>,
    pub(super) max_message_bytes: Option<i64>,
}

impl TopicMeta {
    /// What `spec` asks for; settings that only a Kafka cluster has are passed over.
    pub(super) fn from_spec(id: u32, spec: &TopicSpec, default_partitions: u32) -> Result<Self> {
        check_name(&spec.name)?;
        let partitions = if spec.partitions == 0 { default_partitions } else { spec.partitions };
        if partitions == 0 || partitions > MAX_PARTITIONS {
            return Err(Error::bad_request(format!("topic {}: {partitions} partitions", spec.name))
                .advise(format!("between 1 and {MAX_PARTITIONS}")));
        }
        let setting = |name: &str| number(spec, name);
        Ok(Self {
            id,
            partitions,
            compacted: spec.compacted,
            retention_ms: setting("retention.ms")?,
            retention_bytes: setting("retention.bytes")?,
            segment_bytes: setting("segment.bytes")?,
            delete_retention_ms: setting("delete.retention.ms")?,
            max_message_bytes: setting("max.message.bytes")?,
        })
    }

    /// The limits that apply, with the broker's options where the topic says nothing.
    pub(super) fn limits(&self, options: &LocalOptions) -> Limits {
        let or = |own: Option<i64>, default: Option<u64>| match own {
            Some(n) => u64::try_from(n).ok(),
            None => default,
        };
        Limits {
            retention_ms: or(self.retention_ms, options.retention_ms),
            retention_bytes: or(self.retention_bytes, options.retention_bytes),
            segment_bytes: or(self.segment_bytes, None).unwrap_or(options.segment_bytes).max(1),
            delete_retention_ms: or(self.delete_retention_ms, None).unwrap_or(options.delete_retention_ms),
            max_message_bytes: or(self.max_message_bytes, None).unwrap_or(options.max_message_bytes),
        }
    }
}

/// Limits of a topic, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) retention_ms: Option<u64>,
    pub(super) retention_bytes: Option<u64>,
    pub(super) segment_bytes: u64,
    pub(super) delete_retention_ms: u64,
    pub(super) max_message_bytes: u64,
}

fn number(spec: &TopicSpec, name: &str) -> Result<Option<i64>> {
    let Some(text) = spec.settings.get(name) else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|e| Error::refused(format!("topic {}: {name} = {text:?} is not a number", spec.name)).because(e))
}

fn check_name(name: &str) -> Result<()> {
    let fits = (1..=249).contains(&name.len()) && name != "." && name != "..";
    if fits && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
        return Ok(());
    }
    Err(Error::bad_request(format!("{name:?} cannot be the name of a topic"))
        .advise("1 to 249 letters, digits, dots, underscores and hyphens, as in Kafka"))
}

/// A topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) meta: TopicMeta,
    pub(super) partitions: Vec<Arc<Partition>>,
}

impl Topic {
    fn new(name: &str, meta: TopicMeta, options: &LocalOptions) -> Self {
        let name: Arc<str> = name.into();
        let limits = meta.limits(options);
        let partition = |index| {
            Arc::new(Partition {
                topic: name.clone(),
                topic_id: meta.id,
                index,
                compacted: meta.compacted,
                limits,
                low: AtomicI64::new(0),
                high: AtomicI64::new(0),
                bytes: AtomicU64::new(0),
                cleaned: AtomicI64::new(0),
                clean_bytes: AtomicU64::new(0),
                cleanings: AtomicU64::new(0),
            })
        };
        Self { partitions: (0..meta.partitions).map(partition).collect(), name, meta }
    }

    /// What the contract tells of a topic.
    pub(super) fn info(&self, options: &LocalOptions) -> TopicInfo {
        TopicInfo {
            partitions: self.meta.partitions,
            compacted: Some(self.meta.compacted),
            max_message_bytes: Some(self.meta.limits(options).max_message_bytes),
        }
    }
}

/// A partition. Only the log thread changes its numbers; everybody reads them.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) topic: Arc<str>,
    pub(super) topic_id: u32,
    pub(super) index: u32,
    pub(super) compacted: bool,
    pub(super) limits: Limits,
    /// First offset that can be read. Raised before the records below it are removed.
    pub(super) low: AtomicI64,
    /// One past the last record written. Raised after the records below it are durable.
    pub(super) high: AtomicI64,
    /// Bytes of all records.
    pub(super) bytes: AtomicU64,
    /// Up to where the cleaner has come.
    pub(super) cleaned: AtomicI64,
    /// Bytes below `cleaned`.
    pub(super) clean_bytes: AtomicU64,
    /// Counted up before the cleaner removes something.
    pub(super) cleanings: AtomicU64,
}

impl Partition {
    pub(super) fn low(&self) -> Offset {
        self.low.load(Ordering::Acquire)
    }

    pub(super) fn high(&self) -> Offset {
        self.high.load(Ordering::Acquire)
    }

    pub(super) fn key(&self, offset: Offset) -> [u8; 16] {
        db::log_key(self.topic_id, self.index, offset)
    }

    pub(super) fn tp(&self) -> TopicPartition {
        TopicPartition::new(self.topic.clone(), self.index)
    }

    /// Offsets now. Nothing of an open transaction is in the log, so all of it is stable.
    pub(super) fn watermarks(&self) -> Watermarks {
        let low = self.low();
        let high = self.high().max(low);
        Watermarks { low, high, stable: high }
    }
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.topic, self.index)
    }
}

/// All topics. Written by the log thread only.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    topics: RwLock<HashMap<Arc<str>, Arc<Topic>>>,
}

impl Catalogue {
    /// Reads the topics that the database knows.
    pub(super) fn load(db: &Db, options: &LocalOptions) -> Result<Self> {
        let this = Self::default();
        db.each_meta(prefix::TOPIC, |key, value| {
            let name = String::from_utf8_lossy(&key[1..]).into_owned();
            let meta = serde_json::from_slice(value).map_err(|e| {
                Error::new(Kind::Corrupt, format!("{}: entry of topic {name} cannot be read", db.dir().display()))
                    .because(e)
            })?;
            this.add(&name, meta, options);
            Ok(())
        })?;
        Ok(this)
    }

    /// Adds a topic.
    pub(super) fn add(&self, name: &str, meta: TopicMeta, options: &LocalOptions) -> Arc<Topic> {
        let topic = Arc::new(Topic::new(name, meta, options));
        self.topics.write().insert(topic.name.clone(), topic.clone());
        topic
    }

    /// A topic, if it exists.
    pub(super) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().get(name).cloned()
    }

    /// A topic that has to exist.
    pub(super) fn topic(&self, name: &str) -> Result<Arc<Topic>> {
        self.get(name).ok_or_else(|| {
            Error::new(Kind::NotFound, format!("topic {name} does not exist on the local broker"))
                .advise("create it first")
        })
    }

    /// A partition that has to exist.
    pub(super) fn partition(&self, name: &str, index: u32) -> Result<Arc<Partition>> {
        let topic = self.topic(name)?;
        let found = usize::try_from(index).ok().and_then(|i| topic.partitions.get(i)).cloned();
        found.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("topic {name} has no partition {index}"))
                .advise(format!("it has {} partitions, from 0", topic.meta.partitions))
        })
    }

    /// Every partition, by topic name.
    pub(super) fn partitions(&self) -> Vec<Arc<Partition>> {
        let topics: BTreeMap<_, _> = self.topics.read().iter().map(|(n, t)| (n.clone(), t.clone())).collect();
        topics.values().flat_map(|t| t.partitions.iter().cloned()).collect()
    }

    /// The id of the next topic. Topics are never deleted, so ids are never used again.
    pub(super) fn next_id(&self) -> u32 {
        self.topics.read().values().map(|t| t.meta.id + 1).max().unwrap_or(0)
    }
}
