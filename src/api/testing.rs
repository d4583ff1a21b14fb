//! An API without tables over a broker that does nothing, for tests of everything around the handlers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use utoipa::PartialSchema;
use utoipa::openapi::{RefOr, Schema};

use super::ApiState;
use crate::broker::{
    Appender, Broker, Consumer, LogReader, MemberConfig, Membership, NewRecord, Offset, TopicInfo, TopicPartition,
    TopicSpec, TransactionalProducer, Watermarks,
};
use crate::cluster::Cluster;
use crate::config::*;
use crate::metrics::Metrics;
use crate::quarantine::Replayer;
use crate::query::Table;
use crate::{Error, Kind, Result};

/// Settings with the defaults of the reference.
pub(crate) fn settings() -> Settings {
    let seconds = Duration::from_secs;
    Settings {
        application: "test".to_owned(),
        instance: InstanceSettings {
            id: "keld-0".to_owned(),
            static_membership: true,
            data_dir: PathBuf::from("state"),
            listen: "127.0.0.1:0".parse().unwrap(),
            advertise: "http://127.0.0.1:0".to_owned(),
            workers: 1,
            stall_timeout: seconds(60),
        },
        broker: BrokerSettings {
            kind: BrokerKind::Local,
            bootstrap_servers: String::new(),
            client: BTreeMap::new(),
            protocol: GroupProtocol::Classic,
            session_timeout: seconds(10),
            default_partitions: 4,
            retention_time: seconds(7 * 24 * 3600),
            retention_bytes: 1 << 30,
        },
        state: StateSettings { retention: seconds(60), budget: 1 << 30 },
        cluster: ClusterSettings {
            peers: Vec::new(),
            heartbeat_interval: Duration::from_millis(100),
            misses: 3,
            standbys: 1,
        },
        processing: ProcessingSettings {
            guarantee: Guarantee::ExactlyOnce,
            min_gap: Duration::from_millis(20),
            commit_interval: Duration::from_millis(100),
            catch_up_interval: Duration::ZERO,
            commit_bytes: 16 << 20,
            transaction_timeout: seconds(10),
            on_gap: OnGap::Stop,
        },
        memory_budget: 256 << 20,
        index: IndexSettings {
            interval: Duration::from_millis(20),
            catch_up_interval: seconds(1),
            commit_interval: seconds(1),
            sync_interval: seconds(60),
        },
        topics: TopicSettings { create: true, create_sources: true, replication: -1, segment_bytes: 64 << 20 },
        api: ApiSettings {
            max_body: 64 << 10,
            timeout: seconds(10),
            max_in_flight: 512,
            max_hits: 1000,
            max_keys: 1000,
            max_buckets: 1000,
            ingest: true,
            max_lag: seconds(10),
            cors: Vec::new(),
            max_streams: 2,
            stream_buffer: 1 << 20,
            max_live_matches: 1000,
            search_threads: 2,
        },
        schema_registry: None,
        quarantine: QuarantineSettings { topic: "test-quarantine".to_owned(), max_payload: 900 << 10, max_rate: 0.5 },
        tables: Vec::new(),
    }
}

/// A state without tables.
pub(crate) fn state(settings: Settings) -> ApiState {
    let (settings, metrics) = (Arc::new(settings), Metrics::new());
    ApiState {
        memory: Arc::new(MemoryPlan::share(settings.memory_budget, 1, 1)),
        cluster: Cluster::new(&settings, metrics.clone()),
        replayer: Arc::new(Replayer::new(settings.clone(), Arc::<NoBroker>::default(), 1)),
        settings,
        tables: Arc::default(),
        broker: Arc::<NoBroker>::default(),
        appender: Arc::<NoBroker>::default(),
        metrics,
        health: Arc::default(),
    }
}

/// Names of the members of a schema.
pub(crate) fn members<T: PartialSchema>() -> Vec<String> {
    match T::schema() {
        RefOr::T(Schema::Object(object)) => object.properties.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// A table of the tests of the index, without tasks; its index is in this folder.
pub(crate) fn table(dir: &Path) -> Arc<Table> {
    crate::task::testing::table(dir, 1)
}

/// A broker that is away. Whoever asks it for watermarks hears so when nobody holds the lock.
#[derive(Debug, Default)]
pub(crate) struct NoBroker(pub(crate) Arc<Mutex<()>>);

fn nothing<T>() -> Result<T> {
    Err(Error::new(Kind::BrokerAway, "there is no broker in this test"))
}

impl Appender for NoBroker {
    fn append(&self, _records: Vec<NewRecord>) -> Result<Vec<Offset>> {
        nothing()
    }
}

impl Broker for NoBroker {
    fn topic(&self, _name: &str) -> Result<Option<TopicInfo>> {
        nothing()
    }
    fn create_topic(&self, _spec: &TopicSpec) -> Result<()> {
        nothing()
    }
    fn watermarks(&self, _tp: &TopicPartition) -> Result<Watermarks> {
        drop(self.0.lock());
        nothing()
    }
    fn committed(&self, _group: &str, _partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Offset)>> {
        nothing()
    }
    fn consumer(&self, _name: &str) -> Result<Box<dyn Consumer>> {
        nothing()
    }
    fn reader(&self, _tp: &TopicPartition, _from: Offset) -> Result<Box<dyn LogReader>> {
        nothing()
    }
    fn transactional(&self, _transactional_id: &str) -> Result<Box<dyn TransactionalProducer>> {
        nothing()
    }
    fn appender(&self) -> Result<Arc<dyn Appender>> {
        nothing()
    }
    fn join(&self, _member: &MemberConfig) -> Result<Box<dyn Membership>> {
        nothing()
    }
    fn members(&self, _group: &str, _timeout: Duration) -> Result<Vec<String>> {
        nothing()
    }
    fn stats(&self) -> Vec<(String, f64)> {
        vec![("log_bytes".to_owned(), 4096.0)]
    }
    fn ping(&self, _timeout: Duration) -> Result<()> {
        nothing()
    }
}
