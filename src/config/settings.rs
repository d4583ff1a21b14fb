//! What a configuration file says, after checking: every value has its unit and its default filled in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::record::TableDef;

/// The whole configuration of one instance.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the application: group id, prefix of internal topics and transactional ids, folder of the state.
    pub application: String,
    /// This process.
    pub instance: InstanceSettings,
    /// Where the log lives.
    pub broker: BrokerSettings,
    /// The other instances.
    pub cluster: ClusterSettings,
    /// Exactly once or at least once, and when to commit.
    pub processing: ProcessingSettings,
    /// Files of tasks that have gone.
    pub state: StateSettings,
    /// One number for everything that holds memory.
    pub memory_budget: u64,
    /// Freshness and cost of the index.
    pub index: IndexSettings,
    /// Topics that Keld makes for itself.
    pub topics: TopicSettings,
    /// Limits of the HTTP interface.
    pub api: ApiSettings,
    /// Quarantine.
    pub quarantine: QuarantineSettings,
    /// Schema registry, if there is one.
    pub schema_registry: Option<RegistrySettings>,
    /// Tables, ordered by name.
    pub tables: Vec<Arc<TableDef>>,
}

/// `[instance]`
#[derive(Clone, Debug)]
pub struct InstanceSettings {
    /// Stable name of this instance (default `keld-0`): part of transactional ids and, if `static_membership`, member id.
    pub id: String,
    /// Whether the group should wait for this instance to come back after a stop (default: true with the classic protocol).
    pub static_membership: bool,
    /// Root of everything stored (default `state`).
    pub data_dir: PathBuf,
    /// HTTP address (default 127.0.0.1:7070; port 0 picks a free one).
    pub listen: SocketAddr,
    /// Address that other instances and clients reach this one at (default `http://<listen>`).
    pub advertise: String,
    /// Worker pipelines (default: one per two cores, at least 1).
    pub workers: usize,
    /// A worker without progress for so long releases its tasks (default 60 s).
    pub stall_timeout: Duration,
}

/// `[broker]`
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// Embedded log or Kafka.
    pub kind: BrokerKind,
    /// `host:port[,…]`; Kafka only.
    pub bootstrap_servers: String,
    /// Passed to librdkafka as they are (`[broker.client]`).
    pub client: BTreeMap<String, String>,
    /// How the group shares tasks out (default classic); Kafka only.
    pub protocol: GroupProtocol,
    /// How long a silent member keeps its tasks (default 10 s).
    pub session_timeout: Duration,
    /// Partitions of topics that the embedded log creates by itself (default 4); local only.
    pub default_partitions: u32,
    /// How long the embedded log keeps records of topics that are not compacted (default 7 days); local only.
    pub retention_time: Duration,
    /// How many bytes a partition of such a topic may hold (default 1 GiB); local only.
    pub retention_bytes: u64,
}

/// `[cluster]`
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// Addresses of other instances, beside those that the group names (default none).
    pub peers: Vec<String>,
    /// How often every other instance is asked what it hosts (default 100 ms).
    pub heartbeat_interval: Duration,
    /// So many heartbeats without an answer make an instance dead (default 3).
    pub misses: u32,
    /// Copies of each task on other instances than its owner's (default 1).
    pub standbys: usize,
}

/// `[state]`
#[derive(Clone, Debug)]
pub struct StateSettings {
    /// Files of a task that is not on this instance any more are kept for so long (default 24 h).
    pub retention: Duration,
    /// All such files together take at most so many bytes of the disk (default 10 GiB); the least recently used go first.
    pub budget: u64,
}

/// `broker.kind`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerKind {
    /// Embedded log in `data_dir`.
    Local,
    /// Apache Kafka or what speaks its protocol.
    Kafka,
}

/// `broker.protocol`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupProtocol {
    /// The members share the tasks out among them, cooperatively and sticky.
    #[default]
    Classic,
    /// The broker shares them out (KIP-848). Without static members, and with the broker's session timeout.
    Consumer,
}

/// `processing.guarantee`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// Transactions (default).
    ExactlyOnce,
    /// Idempotent producer, no transactions; merging makes the replays harmless.
    AtLeastOnce,
}

/// `processing.on_gap`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGap {
    /// Stop the table when retention took events that were not read (default).
    Stop,
    /// Go on with the first event there is, and count the gap.
    Continue,
}

/// `[processing]`
#[derive(Clone, Debug)]
pub struct ProcessingSettings {
    /// Guarantee.
    pub guarantee: Guarantee,
    /// Least time between the starts of two commits (default 15 ms).
    pub min_gap: Duration,
    /// A batch under load grows for at most so long (default 100 ms).
    pub commit_interval: Duration,
    /// The most between the starts of two commits while much waits to be read (default 500 ms).
    pub catch_up_interval: Duration,
    /// A batch under load grows to at most so many bytes of changed records (default 16 MiB).
    pub commit_bytes: u64,
    /// After that the broker ends a transaction that nobody finishes (default 10 s).
    pub transaction_timeout: Duration,
    /// What to do when retention took events that were not read.
    pub on_gap: OnGap,
}

/// `[index]`
#[derive(Clone, Debug)]
pub struct IndexSettings {
    /// Least time between two moments at which changes become searchable, when caught up (default 5 ms).
    pub interval: Duration,
    /// The most while input waits (default 60 s): half the lag or the time until all is read, and cheaper catch-up.
    pub catch_up_interval: Duration,
    /// Time between two commits of the index to disk when caught up (default 1 s); until then changes are searched in memory.
    pub commit_interval: Duration,
    /// How often the index is synced to disk for real (default 60 s); bounds the rebuild after a power loss.
    pub sync_interval: Duration,
}

/// `[topics]`
#[derive(Clone, Debug)]
pub struct TopicSettings {
    /// Create internal topics that are missing (default true); otherwise a missing one is refused with its settings.
    pub create: bool,
    /// Create *source* topics that are missing (default: true on the local broker, false on Kafka).
    pub create_sources: bool,
    /// Replication factor of created topics; -1 = the broker's default (default).
    pub replication: i32,
    /// `segment.bytes` of changelogs (default 64 MiB): the active segment is never compacted, so it bounds restores.
    pub segment_bytes: u64,
}

/// `[api]`
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Largest request body (default 8 MiB).
    pub max_body: u64,
    /// Longest time a request may take (default 10 s).
    pub timeout: Duration,
    /// Requests worked on at a time; more are answered 429 (default 512).
    pub max_in_flight: usize,
    /// Largest `limit` of a search (default 1,000).
    pub max_hits: usize,
    /// Most keys of one multi-get (default 1,000).
    pub max_keys: usize,
    /// Most buckets of a search's aggregations, and most values of a facet (default 10,000).
    pub max_buckets: u32,
    /// Whether `POST /v1/topics/{topic}/events` is allowed (default true).
    pub ingest: bool,
    /// Reads are refused as too stale beyond this lag unless `stale=allow` (default 10 s).
    pub max_lag: Duration,
    /// Origins whose pages may read answers in a browser; `*`: all (default none).
    pub cors: Vec<String>,
    /// Streams of changes open at a time; more are answered 429 (default 256).
    pub max_streams: usize,
    /// Newest changes of a table that are held for its streams (default 8 MiB): who falls further behind is cut.
    pub stream_buffer: u64,
    /// Records that all live queries may match together (default 1,000,000).
    pub max_live_matches: usize,
    /// Threads of the search pool (default: cores, at least 1).
    pub search_threads: usize,
}

/// `[quarantine]`
#[derive(Clone, Debug)]
pub struct QuarantineSettings {
    /// Topic (default `<application>-quarantine`).
    pub topic: String,
    /// Largest payload that is kept whole (default 900 KiB); a longer one is cut and its hash kept.
    pub max_payload: u64,
    /// Largest share of a table's events that may be refused before the table stops (default 0.5; 1: any).
    pub max_rate: f64,
}

/// `[schema_registry]`
#[derive(Clone, Debug)]
pub struct RegistrySettings {
    /// Base address, without a slash at its end.
    pub url: String,
    /// User name, where it wants one.
    pub username: Option<String>,
    /// Password that goes with it.
    pub password: Secret,
    /// How long one request may take (default 5 s).
    pub timeout: Duration,
}

/// Text that is never shown.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: String) -> Self {
        Self(text)
    }
    /// The text, for who must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl Settings {
    /// The changelog topic of a table: `<application>-<table>-changelog`.
    pub fn changelog_topic(&self, table: &str) -> String {
        format!("{}-{table}-changelog", self.application)
    }
    /// The topic through which misplaced events of a table go: `<application>-<table>-repartition`.
    pub fn repartition_topic(&self, table: &str) -> String {
        format!("{}-{table}-repartition", self.application)
    }
    /// The topic that says which quarantine entries were replayed: `<quarantine.topic>-replays`.
    pub fn replays_topic(&self) -> String {
        format!("{}-replays", self.quarantine.topic)
    }
    /// The transactional id of a table's worker: `<application>-<instance>-<table>-<worker>`.
    pub fn transactional_id(&self, table: &str, worker: usize) -> String {
        format!("{}-{}-{table}-{worker}", self.application, self.instance.id)
    }
}
