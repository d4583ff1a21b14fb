//! The topics that the tables need: there, made, or refused with what would have been made.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, TopicInfo, TopicSpec};
use crate::config::{BrokerKind, Settings};
use crate::quarantine::Room;
use crate::record::TableDef;
use crate::{Error, Kind, Result};

/// Bytes of a changelog record that are not the stored record: key, batch header, margin.
const RECORD_OVERHEAD: u64 = 16 << 10;
/// What brokers allow a record to be unless they say otherwise.
const DEFAULT_MAX_MESSAGE: u64 = 1_048_588;
/// Partitions of a quarantine topic that is made.
const QUARANTINE_PARTITIONS: u32 = 4;
/// How long the brokers of a cluster may take to learn of a topic.
const APPEARS_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two looks for it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What the topics turned out to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Topics {
    /// Partitions by table.
    pub(super) partitions: BTreeMap<String, u32>,
    /// Partitions of the quarantine topic.
    pub(super) quarantine_partitions: u32,
    quarantine_max_message: u64,
    max_message: BTreeMap<String, u64>,
    /// Tables with an internal topic for misplaced events.
    repartition: BTreeMap<String, Arc<str>>,
}

impl Topics {
    /// Largest stored record of a table, bytes.
    pub(super) fn max_record(&self, table: &str) -> usize {
        let most = self.max_message.get(table).copied().unwrap_or(DEFAULT_MAX_MESSAGE);
        usize::try_from(most.saturating_sub(RECORD_OVERHEAD)).unwrap_or(usize::MAX)
    }

    /// The internal topic for misplaced events of a table, if it has one.
    pub(super) fn repartition(&self, table: &str) -> Option<Arc<str>> {
        self.repartition.get(table).cloned()
    }

    /// What the parts of a quarantine entry may take.
    pub(super) fn quarantine_room(&self, settings: &Settings) -> Room {
        Room::new(settings.quarantine.max_payload, self.quarantine_max_message)
    }
}

/// Checks or makes every topic of the application. An audit makes nothing.
pub(super) fn ensure(settings: &Settings, broker: &dyn Broker, audit: bool) -> Result<Topics> {
    let mut topics = Topics::default();
    for def in &settings.tables {
        let partitions = sources(settings, broker, def, audit)?;
        if let Some(topic) = repartition(settings, broker, def, partitions, audit)? {
            topics.repartition.insert(def.name.clone(), topic);
        }
        let changelog = changelog(settings, broker, def, partitions, audit)?;
        topics.partitions.insert(def.name.clone(), partitions);
        topics.max_message.insert(def.name.clone(), changelog.max_message_bytes.unwrap_or(DEFAULT_MAX_MESSAGE));
    }
    let quarantine = require(settings, broker, &quarantine_spec(settings), settings.topics.create && !audit)?;
    topics.quarantine_partitions = quarantine.partitions;
    topics.quarantine_max_message = quarantine.max_message_bytes.unwrap_or(DEFAULT_MAX_MESSAGE);
    if !audit {
        require(settings, broker, &replays_spec(settings), settings.topics.create)?;
    }
    Ok(topics)
}

fn sources(settings: &Settings, broker: &dyn Broker, def: &TableDef, audit: bool) -> Result<u32> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for source in &def.sources {
        let spec = TopicSpec {
            name: source.topic.clone(),
            partitions: if settings.broker.kind == BrokerKind::Local { settings.broker.default_partitions } else { 0 },
            replication: settings.topics.replication,
            compacted: false,
            settings: BTreeMap::new(),
        };
        let spec = match counts.values().next() {
            Some(n) => TopicSpec { partitions: *n, ..spec },
            None => TopicSpec { partitions: settings.broker.default_partitions, ..spec },
        };
        let info = require(settings, broker, &spec, settings.topics.create_sources && !audit)?;
        counts.insert(&source.topic, info.partitions);
    }
    let distinct: std::collections::BTreeSet<u32> = counts.values().copied().collect();
    if distinct.len() > 1 {
        let each: Vec<String> = counts.iter().map(|(t, n)| format!("{t}: {n}")).collect();
        return Err(Error::refused(format!(
            "the sources of table {:?} differ in their number of partitions ({}); a key must stand in the same partition of each",
            def.name,
            each.join(", ")
        ))
        .advise("give them the same number of partitions"));
    }
    distinct.first().copied().ok_or_else(|| Error::refused(format!("table {:?} has no source", def.name)))
}

/// The internal topic for misplaced events: made where the table sends events through it, read where it is there.
fn repartition(
    settings: &Settings,
    broker: &dyn Broker,
    def: &TableDef,
    partitions: u32,
    audit: bool,
) -> Result<Option<Arc<str>>> {
    let largest = def.sources.iter().map(|s| Ok(broker.topic(&s.topic)?.and_then(|info| info.max_message_bytes)));
    let largest = largest.collect::<Result<Vec<_>>>()?.into_iter().flatten().max().unwrap_or(DEFAULT_MAX_MESSAGE);
    let spec = repartition_spec(settings, &def.name, partitions, largest + RECORD_OVERHEAD);
    let info = match broker.topic(&spec.name)? {
        Some(info) => info,
        None if def.repartition => require(settings, broker, &spec, settings.topics.create && !audit)?,
        None => return Ok(None),
    };
    let fits = info.max_message_bytes.is_none_or(|most| most >= largest);
    if info.partitions != partitions || !fits {
        return Err(Error::refused(format!(
            "the topic {} for misplaced events of table {:?} has {} partitions and takes messages of {:?} bytes",
            spec.name, def.name, info.partitions, info.max_message_bytes
        ))
        .advise(format!("it needs {}", describe(&spec))));
    }
    Ok(Some(spec.name.into()))
}

fn repartition_spec(settings: &Settings, table: &str, partitions: u32, max_message: u64) -> TopicSpec {
    let own = [
        // Whoever is off for longer finds a gap, as in a source.
        ("retention.ms", "604800000".to_owned()),
        // An event of any size that a source takes must pass, with one header more.
        ("max.message.bytes", max_message.to_string()),
    ];
    TopicSpec {
        name: settings.repartition_topic(table),
        partitions,
        replication: settings.topics.replication,
        compacted: false,
        settings: own.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
    }
}

fn changelog(
    settings: &Settings,
    broker: &dyn Broker,
    def: &TableDef,
    partitions: u32,
    audit: bool,
) -> Result<TopicInfo> {
    let spec = changelog_spec(settings, &def.name, partitions);
    let info = require(settings, broker, &spec, settings.topics.create && !audit)?;
    if info.partitions != partitions {
        return Err(Error::refused(format!(
            "the sources of table {:?} have {partitions} partitions, its changelog {} has {}: the keys of stored records live elsewhere now",
            def.name, spec.name, info.partitions
        ))
        .advise("a changed number of partitions needs the old number again, or a new application name (everything is read again) and repartition = true for the table, since the events of before stand in partitions of before"));
    }
    if info.compacted == Some(false) {
        return Err(Error::refused(format!(
            "the changelog {} is not compacted: its retention would take records that are still current",
            spec.name
        ))
        .advise("set cleanup.policy=compact on it"));
    }
    Ok(info)
}

fn changelog_spec(settings: &Settings, table: &str, partitions: u32) -> TopicSpec {
    let own =
        [("segment.bytes", settings.topics.segment_bytes.to_string()), ("min.cleanable.dirty.ratio", "0.3".to_owned())];
    TopicSpec {
        name: settings.changelog_topic(table),
        partitions,
        replication: settings.topics.replication,
        compacted: true,
        settings: own.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
    }
}

fn quarantine_spec(settings: &Settings) -> TopicSpec {
    TopicSpec {
        name: settings.quarantine.topic.clone(),
        partitions: QUARANTINE_PARTITIONS,
        replication: settings.topics.replication,
        compacted: false,
        // Kept until somebody has looked.
        settings: BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]),
    }
}

/// The marks of replayed entries: kept for ever, or an entry could be replayed again.
fn replays_spec(settings: &Settings) -> TopicSpec {
    TopicSpec {
        name: settings.replays_topic(),
        partitions: 1,
        replication: settings.topics.replication,
        compacted: true,
        settings: BTreeMap::new(),
    }
}

fn require(settings: &Settings, broker: &dyn Broker, spec: &TopicSpec, create: bool) -> Result<TopicInfo> {
    if let Some(info) = broker.topic(&spec.name)? {
        return Ok(info);
    }
    let shape = describe(spec);
    if !create {
        let setting = if settings.tables.iter().flat_map(|t| &t.sources).any(|s| s.topic == spec.name) {
            "topics.create_sources"
        } else {
            "topics.create"
        };
        return Err(Error::refused(format!("topic {:?} does not exist", spec.name))
            .advise(format!("create it ({shape}), or set {setting} = true")));
    }
    tracing::info!(topic = spec.name, "creating a topic: {shape}");
    broker.create_topic(spec)?;
    // Of several brokers each learns of it by itself, and any may be the one that is asked.
    let deadline = Instant::now() + APPEARS_WITHIN;
    loop {
        if let Some(info) = broker.topic(&spec.name)? {
            return Ok(info);
        }
        if Instant::now() >= deadline {
            let text = format!("topic {:?} was created and is not there after {APPEARS_WITHIN:?}", spec.name);
            return Err(Error::new(Kind::BrokerAway, text).advise("are all brokers of the cluster running?"));
        }
        thread::sleep(LOOK_AGAIN);
    }
}

fn describe(spec: &TopicSpec) -> String {
    let mut parts = vec![format!("{} partitions", spec.partitions)];
    if spec.compacted {
        parts.push("cleanup.policy=compact".to_owned());
    }
    parts.extend(spec.settings.iter().map(|(k, v)| format!("{k}={v}")));
    parts.join(", ")
}
