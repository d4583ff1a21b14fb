//! A Kafka cluster, through rdkafka.
//!
//! Owns every client of librdkafka, and the translation of its words into the contract's. Does not own: what is written,
//! when a transaction begins, or what to do about an error.
//!
//! | file | what it does |
//! |---|---|
//! | `settings.rs` | settings of the clients; refuses those that Keld must own |
//! | `admin.rs` | topics, watermarks, committed offsets, ping |
//! | `consumer.rs` | reads assigned partitions |
//! | `reader.rs` | reads one partition to its end |
//! | `producer.rs` | transactions |
//! | `appender.rs` | appends of clients |
//! | `membership.rs` | the group |
//! | `watch.rs` | logs and statistics of the clients |
//! | `errors.rs` | kinds of errors |

mod admin;
mod appender;
mod consumer;
mod errors;
mod membership;
mod producer;
mod reader;
mod settings;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::{
    Appender, Broker, Consumer, LogReader, MemberConfig, Membership, Offset, TopicInfo, TopicPartition, TopicSpec,
    TransactionalProducer, Watermarks,
};
use crate::Result;
use admin::Admin;
use watch::{Totals, Watch};

/// How long a single question to the cluster may take, retries included.
const PATIENCE: Duration = Duration::from_secs(30);

/// How to reach a cluster, and how much memory its clients may take.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// `host:port` of some brokers, separated by commas.
    pub bootstrap: String,
    /// Settings passed to librdkafka as they are. Those that Keld must own are refused.
    pub client: BTreeMap<String, String>,
    /// Name of the application: client id, and the group under whose name data is read.
    pub application: String,
    /// Address of this instance as others see it, where [`MemberConfig::advertise`] is empty.
    pub advertise: String,
    /// Bytes that one data consumer may prefetch. More: steadier catch-up. At least 64 KiB.
    pub consumer_bytes: u64,
    /// Bytes that one producer may queue. More: larger transactions without waiting. At least 1 MiB.
    pub producer_bytes: u64,
    /// After this time the broker aborts a transaction whose producer is silent, and lets others read on.
    pub transaction_timeout: Duration,
    /// How long a group waits for a silent member, where [`MemberConfig::session_timeout`] is zero.
    pub session_timeout: Duration,
}

impl KafkaOptions {
    /// Options with the defaults that were measured to suit: 32 MiB of prefetch and of producer queue, transactions of
    /// at most 10 s, sessions of 6 s.
    pub fn new(bootstrap: impl Into<String>, application: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            client: BTreeMap::new(),
            application: application.into(),
            advertise: String::new(),
            consumer_bytes: 32 << 20,
            producer_bytes: 32 << 20,
            transaction_timeout: Duration::from_secs(10),
            session_timeout: Duration::from_secs(6),
        }
    }
}

/// A cluster, connected.
pub struct KafkaBroker {
    shared: Arc<Shared>,
    appender: Mutex<Option<Arc<appender::KafkaAppender>>>,
}

/// What everything made by one [`KafkaBroker`] has in common.
struct Shared {
    options: KafkaOptions,
    admin: Admin,
    watches: Arc<Watches>,
}

/// The clients that are alive, for statistics.
#[derive(Default)]
struct Watches(Mutex<Vec<Weak<Watch>>>);

impl Watches {
    /// A watch for a new client.
    fn open(&self, name: impl Into<String>) -> Arc<Watch> {
        let watch = Watch::new(name);
        let mut all = self.0.lock();
        all.retain(|w| w.strong_count() > 0);
        all.push(Arc::downgrade(&watch));
        watch
    }

    fn totals(&self) -> Totals {
        let alive: Vec<_> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        let mut totals = Totals::default();
        for watch in alive {
            watch.add_to(&mut totals);
        }
        totals
    }
}

impl KafkaBroker {
    /// Checks the options and makes the clients. Does not wait for the cluster: it may be away now and come back
    /// later; [`Broker::ping`] tells.
    ///
    /// # Errors
    /// [`crate::Kind::Refused`] where a setting is Keld's own, unknown to librdkafka, or has a value that it refuses.
    pub fn connect(options: KafkaOptions) -> Result<Arc<Self>> {
        settings::check(&options.client)?;
        let watches = Arc::new(Watches::default());
        let admin = Admin::new(&options, &watches)?;
        let shared = Arc::new(Shared { options, admin, watches });
        Ok(Arc::new(Self { shared, appender: Mutex::new(None) }))
    }
}

impl fmt::Debug for KafkaBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaBroker").field("bootstrap", &self.shared.options.bootstrap).finish_non_exhaustive()
    }
}

impl Broker for KafkaBroker {
    fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        self.shared.admin.topic(name)
    }

    fn create_topic(&self, spec: &TopicSpec) -> Result<()> {
        self.shared.admin.create_topic(spec)
    }

    fn watermarks(&self, tp: &TopicPartition) -> Result<Watermarks> {
        self.shared.admin.watermarks(tp)
    }

    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Offset)>> {
        self.shared.admin.committed(&self.shared.options, group, partitions)
    }

    fn consumer(&self, name: &str) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(consumer::KafkaConsumer::new(Arc::clone(&self.shared), name)?))
    }

    fn reader(&self, tp: &TopicPartition, from: Offset) -> Result<Box<dyn LogReader>> {
        Ok(Box::new(reader::KafkaReader::new(Arc::clone(&self.shared), tp, from)?))
    }

    fn transactional(&self, transactional_id: &str) -> Result<Box<dyn TransactionalProducer>> {
        Ok(Box::new(producer::KafkaProducer::new(&self.shared, transactional_id)?))
    }

    fn appender(&self) -> Result<Arc<dyn Appender>> {
        let mut slot = self.appender.lock();
        if let Some(appender) = &*slot {
            return Ok(Arc::clone(appender) as Arc<dyn Appender>);
        }
        let made = Arc::new(appender::KafkaAppender::new(Arc::clone(&self.shared))?);
        *slot = Some(Arc::clone(&made));
        Ok(made)
    }

    fn join(&self, member: &MemberConfig) -> Result<Box<dyn Membership>> {
        Ok(Box::new(membership::KafkaMembership::join(&self.shared, member)?))
    }

    fn members(&self, group: &str, timeout: Duration) -> Result<Vec<String>> {
        self.shared.admin.members(group, timeout)
    }

    fn stats(&self) -> Vec<(String, f64)> {
        let totals = self.shared.watches.totals();
        [
            ("kafka_prefetched_records", totals.prefetched_records),
            ("kafka_prefetched_bytes", totals.prefetched_bytes),
            ("kafka_producer_queued_records", totals.queued_records),
            ("kafka_producer_queued_bytes", totals.queued_bytes),
            ("kafka_connections_up", totals.connections),
            ("kafka_round_trip_p99_us", totals.slowest_rtt_us),
        ]
        .map(|(name, value)| (name.to_owned(), as_f64(value)))
        .into()
    }

    fn ping(&self, timeout: Duration) -> Result<()> {
        self.shared.admin.ping(timeout)
    }
}

/// For display: counts beyond 2^53 lose their last digits.
fn as_f64(value: u64) -> f64 {
    value as f64
}

/// Kafka counts partitions in `i32`; no topic has more.
fn partition_id(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}
