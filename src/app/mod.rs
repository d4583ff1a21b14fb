//! Wiring: builds every part, owns start-up and shut-down order.
//!
//! Up: lock the data directory → bind the port → reach the broker → make the topics → open the indexes → start the workers →
//! join the group → serve. Down: stop serving new work → let the workers finish their commits → close the indexes → leave.

mod connect;
mod lock;
mod serve;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::{Sender, bounded};

use crate::api::ApiState;
use crate::broker::{Broker, MemberConfig};
use crate::cluster::Cluster;
use crate::config::{Guarantee, MemoryPlan, Settings};
use crate::index::{Found, IndexOptions, TableIndex};
use crate::metrics::Metrics;
use crate::quarantine::{Breaker, Replayer};
use crate::query::Table;
use crate::record::TableDef;
use crate::registry::Registry;
use crate::runtime::supervisor::{Supervisor, SupervisorParts};
use crate::runtime::worker::{Ended, Worker, WorkerContext, spawn};
use crate::runtime::{BrokerTime, Health};
use crate::store::SharedMemory;
use crate::task::Opener;
use crate::{Error, Kind, Result};

pub use lock::DataLock;

/// Thread outcomes that may wait to be read.
const OUTCOMES: usize = 1_024;
/// How long the cause of a failure may be told after its consequences.
const NEIGHBOURS: Duration = Duration::from_millis(200);

/// What is built before anything runs; enough for an audit.
pub struct Parts {
    /// Configuration.
    pub settings: Arc<Settings>,
    /// Shares of the memory budget.
    pub memory: Arc<MemoryPlan>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// State of the process.
    pub health: Arc<Health>,
    /// Broker.
    pub broker: Arc<dyn Broker>,
    /// Tables with what opens their tasks.
    pub openers: Vec<Opener>,
    /// What the topics turned out to be.
    topics: topics::Topics,
    _lock: DataLock,
}

/// How to start.
#[derive(Clone, Copy, Debug, Default)]
pub struct StartOptions {
    /// Drop local state and take the changelog as the truth.
    pub rebuild: bool,
    /// Only look: fence nobody, create nothing.
    pub audit: bool,
    /// What to do with the tasks at a stop; `None`: stay if membership is static.
    pub on_stop: Option<OnStop>,
}

/// What happens to the tasks of an instance that is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OnStop {
    /// Other instances get them at once
    Leave,
    /// They wait for it to come back within broker.session_timeout
    Stay,
}

impl Parts {
    /// Builds the parts: data directory, broker, topics, indexes.
    pub fn build(settings: Settings, options: StartOptions) -> Result<Self> {
        refuse_unbuilt(&settings)?;
        let settings = Arc::new(settings);
        let lock = DataLock::take(&settings.instance.data_dir, &settings.application)?;
        let (tables, workers) = (settings.tables.len(), settings.instance.workers);
        let memory = Arc::new(MemoryPlan::share(settings.memory_budget, tables, workers));
        let (metrics, health) = (Metrics::new(), Arc::new(Health::default()));
        let broker = connect::connect(&settings, &memory, &health)?;
        let topics = topics::ensure(&settings, &*broker, options.audit)?;
        let tasks: u32 = topics.partitions.values().sum();
        let shared = SharedMemory::new(&memory, tasks as usize)?;
        let own_ids = Arc::new(own_ids(&settings));
        let opener = |def: &Arc<TableDef>| {
            Ok(Opener {
                settings: settings.clone(),
                broker: broker.clone(),
                shared: shared.clone(),
                table: open_table(def, &topics, &settings, &memory, &metrics)?,
                own_ids: own_ids.clone(),
                fence: !options.audit,
                rebuild: options.rebuild,
            })
        };
        let openers = settings.tables.iter().map(opener).collect::<Result<_>>()?;
        Ok(Self { settings: settings.clone(), memory, metrics, health, broker, openers, topics, _lock: lock })
    }

    /// Tables by name.
    pub fn tables(&self) -> BTreeMap<String, Arc<Table>> {
        self.openers.iter().map(|o| (o.table.def.name.clone(), o.table.clone())).collect()
    }

    /// Commits and closes the indexes, all of them; the first error.
    pub fn close_indexes(&self) -> Result<()> {
        let closed: Vec<Result<()>> = self.openers.iter().map(|o| o.table.index.close()).collect();
        closed.into_iter().collect()
    }
}

/// Connects to the broker alone, and waits until it answers.
pub fn reach(settings: &Settings) -> Result<Arc<dyn Broker>> {
    let memory = MemoryPlan::share(settings.memory_budget, settings.tables.len(), settings.instance.workers);
    connect::connect(settings, &memory, &Health::default())
}

fn refuse_unbuilt(settings: &Settings) -> Result<()> {
    if settings.processing.guarantee == Guarantee::AtLeastOnce {
        return Err(Error::refused("processing.guarantee = \"at_least_once\" is not available in this version")
            .advise("leave it at \"exactly_once\": it costs under 7 %"));
    }
    Ok(())
}

/// Transactional ids that this process uses.
fn own_ids(settings: &Settings) -> BTreeSet<String> {
    let of = |t: &Arc<TableDef>| {
        (0..settings.instance.workers).map(|w| settings.transactional_id(&t.name, w)).collect::<Vec<_>>()
    };
    settings.tables.iter().flat_map(of).collect()
}

fn open_table(
    def: &Arc<TableDef>,
    topics: &topics::Topics,
    settings: &Settings,
    memory: &MemoryPlan,
    metrics: &Metrics,
) -> Result<Arc<Table>> {
    let sources: Vec<String> = def.sources.iter().map(|s| s.name.clone()).collect();
    let derived: Vec<String> = def.derived.iter().map(|d| d.field.name.clone()).collect();
    let table_metrics = metrics.table(&def.name, &sources, &derived);
    let (index, found) = TableIndex::open(
        def.clone(),
        IndexOptions {
            dir: settings.instance.data_dir.join(&settings.application).join(&def.name).join("index"),
            writer_memory: memory.index_writer as usize,
            queue_memory: memory.index_queue as usize,
            sets_memory: memory.index_sets,
            interval: settings.index.interval,
            catch_up_interval: settings.index.catch_up_interval,
            commit_interval: settings.index.commit_interval,
            sync_interval: settings.index.sync_interval,
            metrics: table_metrics.clone(),
        },
    )?;
    match found {
        Found::Usable(_) => tracing::info!(table = def.name, "the index on disk is usable"),
        Found::Empty(why) => tracing::info!(table = def.name, "the index starts empty: {why}"),
    }
    let table = Arc::new(Table {
        def: def.clone(),
        partitions: topics.partitions.get(&def.name).copied().unwrap_or(0),
        repartition: topics.repartition(&def.name),
        index,
        tasks: ArcSwap::from_pointee(BTreeMap::new()),
        metrics: table_metrics,
    });
    let seen = Arc::downgrade(&table);
    table.index.on_visible(Box::new(move |covered| {
        let Some(table) = seen.upgrade() else { return };
        for (partition, covered) in covered {
            if let Some(task) = table.task(*partition) {
                task.advance(|p| {
                    p.indexed = covered.changelog;
                    if !covered.sources.is_empty() {
                        p.visible.clone_from(&covered.sources);
                    }
                });
            }
        }
    }));
    Ok(table)
}

/// A running instance.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// What the handlers work with; the demo looks through it too.
    pub state: ApiState,
    parts: Parts,
    server: serve::Server,
    supervisor: JoinHandle<()>,
    stop: Sender<()>,
    ended: Ended,
}

/// Starts an instance; returns when it serves. Its tasks may still be restoring.
pub fn start(settings: Settings, options: StartOptions) -> Result<Running> {
    let listener = serve::bind(settings.instance.listen)?;
    let address = listener.local_addr()?;
    let mut settings = settings;
    if settings.instance.listen.port() == 0 {
        settings.instance.advertise = format!("http://{address}");
    }
    let parts = Parts::build(settings, options)?;
    for (part, bytes) in parts.memory.parts() {
        tracing::info!(part, size = %bytesize::ByteSize(bytes), "memory");
    }
    let state = ApiState {
        settings: parts.settings.clone(),
        memory: parts.memory.clone(),
        tables: Arc::new(parts.tables()),
        broker: parts.broker.clone(),
        appender: parts.broker.appender()?,
        replayer: Arc::new(Replayer::new(
            parts.settings.clone(),
            parts.broker.clone(),
            parts.topics.quarantine_partitions,
        )),
        metrics: parts.metrics.clone(),
        cluster: Cluster::new(&parts.settings, parts.metrics.clone()),
        health: parts.health.clone(),
    };
    // Before the group is joined: what is going on can be asked from the first moment.
    let server = serve::Server::start(listener, state.clone())?;
    let (told, ended) = bounded(OUTCOMES);
    let supervisor = supervisor(&parts, options, state.cluster.clone(), &told)?;
    let (stop, stopped) = bounded(1);
    let supervisor = spawn("supervisor".into(), told, move || supervisor(stopped)?.run())?;
    Ok(Running { address, state, parts, server, supervisor, stop, ended })
}

fn supervisor(
    parts: &Parts,
    options: StartOptions,
    cluster: Arc<Cluster>,
    told: &Sender<(String, Result<()>)>,
) -> Result<impl FnOnce(crossbeam_channel::Receiver<()>) -> Result<Supervisor> + Send + 'static> {
    let settings = &parts.settings;
    let registry = settings.schema_registry.as_ref().map(|settings| {
        let health = parts.health.clone();
        Registry::start(settings, Box::new(move |trouble| health.set_schema_trouble(trouble)))
    });
    let registry = registry.transpose()?;
    let mut tables = Vec::new();
    for opener in &parts.openers {
        let context = WorkerContext {
            opener: opener.clone(),
            metrics: parts.metrics.clone(),
            health: parts.health.clone(),
            memory: parts.memory.clone(),
            quarantine_partitions: parts.topics.quarantine_partitions,
            breaker: Arc::new(Breaker::new(settings.quarantine.max_rate)),
            broker_time: BrokerTime::default(),
            quarantine_room: parts.topics.quarantine_room(settings),
            max_record: parts.topics.max_record(&opener.table.def.name),
            registry: registry.clone(),
            ended: told.clone(),
        };
        let workers = (0..settings.instance.workers).map(|n| Worker::start(&context, n)).collect::<Result<_>>()?;
        tables.push((context, workers));
    }
    let membership = parts.broker.join(&MemberConfig {
        group: settings.application.clone(),
        topics: settings.tables.iter().map(|t| settings.changelog_topic(&t.name)).collect(),
        static_id: settings.instance.static_membership.then(|| settings.instance.id.clone()),
        advertise: settings.instance.advertise.clone(),
        session_timeout: settings.broker.session_timeout,
        protocol: settings.broker.protocol,
    })?;
    let leave = match options.on_stop {
        Some(OnStop::Stay) if !settings.instance.static_membership => {
            return Err(Error::refused(
                "--on-stop stay: the group does not wait for an instance without static membership",
            )
            .advise("set instance.static_membership = true, or leave --on-stop out"));
        }
        Some(chosen) => chosen == OnStop::Leave,
        None => !settings.instance.static_membership,
    };
    let (health, settings) = (parts.health.clone(), settings.clone());
    Ok(move |stop| Supervisor::new(SupervisorParts { membership, tables, cluster, stop, health, leave, settings }))
}

impl Running {
    /// Waits at most `timeout` for a failure; an error says which part ended and why.
    pub fn wait_failure(&self, timeout: Duration) -> Result<()> {
        match self.ended.recv_timeout(timeout) {
            Ok((_, Err(e))) => Err(self.cause(e)),
            Ok((name, Ok(()))) if !["open-", "close-", "delete-"].iter().any(|done| name.starts_with(done)) => {
                Err(Error::internal(format!("{name} ended although nobody stopped it")))
            }
            _ => self.parts.openers.iter().find_map(|o| o.table.index.failure()).map_or(Ok(()), Err),
        }
    }

    /// A thread that ends takes its neighbours with it, and theirs may be told first: what it says is not the cause.
    fn cause(&self, first: Error) -> Error {
        let mut cause = first;
        while cause.kind() == Kind::Internal {
            match self.ended.recv_timeout(NEIGHBOURS) {
                Ok((_, Err(other))) if other.kind() != Kind::Internal => cause = other,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        cause
    }

    /// Whether every task that the tables have is here and running.
    pub fn is_ready(&self) -> bool {
        let ready = |o: &Opener| {
            let tasks = o.table.tasks();
            tasks.len() == o.table.partitions as usize
                && tasks.values().all(|t| *t.phase() == crate::task::Phase::Running)
        };
        self.parts.openers.iter().all(ready)
    }

    /// Finishes the commits, closes everything. The first error is returned, after the rest was closed.
    pub fn stop(self) -> Result<()> {
        self.parts.health.stop();
        // The supervisor may have ended by itself; its outcome is in `ended`.
        let _ = self.stop.try_send(());
        let _ = self.supervisor.join();
        let indexes = self.parts.close_indexes();
        self.server.stop();
        let failed = self.ended.try_iter().find_map(|(_, outcome)| outcome.err());
        failed.map_or(indexes, Err)
    }
}
