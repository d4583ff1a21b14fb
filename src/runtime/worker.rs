//! One worker: its two threads, started together, ended together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::committer::{Committer, CommitterParts, panicked};
use super::control::Control;
use super::link::Link;
use super::merger::{Merger, MergerParts};
use super::watchdog::stalled;
use crate::config::{MemoryPlan, Settings};
use crate::metrics::Metrics;
use crate::quarantine::{Breaker, Entry, Room};
use crate::record::TableDef;
use crate::registry::Registry;
use crate::runtime::{BrokerTime, Health};
use crate::task::Opener;
use crate::task::batch::Quarantine;
use crate::task::commit::Protocol;
use crate::{Error, Kind, Result};

/// Batches that wait for the commit thread; they are bounded in bytes by the overlay.
const BATCHES: usize = 64;
/// Orders that wait for the merge thread.
const ORDERS: usize = 256;

/// What every worker of the process is built from.
#[derive(Clone)]
pub struct WorkerContext {
    /// Opens its tasks.
    pub opener: Opener,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Health.
    pub health: Arc<Health>,
    /// Memory plan.
    pub memory: Arc<MemoryPlan>,
    /// Partitions of the quarantine topic.
    pub quarantine_partitions: u32,
    /// What the parts of a quarantine entry may take.
    pub quarantine_room: Room,
    /// Largest stored record that the table's changelog takes, bytes.
    pub max_record: usize,
    /// Where schemas come from, if the application has a registry.
    pub registry: Option<Arc<Registry>>,
    /// The table's breaker.
    pub breaker: Arc<Breaker>,
    /// The newest broker timestamp of the table's tasks here.
    pub broker_time: BrokerTime,
    /// Where the end of any thread is told, with its outcome.
    pub ended: Sender<(String, Result<()>)>,
}

/// A running worker.
pub struct Worker {
    /// Transactional id.
    pub id: String,
    /// Orders to its merge thread.
    pub orders: Sender<Control>,
    /// Closed when its producer is initialised: from then on no earlier process of this identity commits anything.
    pub initialised: Receiver<()>,
    link: Arc<Link>,
    threads: Vec<JoinHandle<()>>,
}

impl Worker {
    /// Starts worker number `number` of a table. Its commit thread initialises the producer, which fences an earlier process,
    /// while the group is joined.
    pub fn start(context: &WorkerContext, number: usize) -> Result<Self> {
        let settings: &Settings = &context.opener.settings;
        let (table, link) = (context.opener.table.clone(), Arc::new(Link::default()));
        let id = settings.transactional_id(&table.def.name, number);
        let (initialising, initialised) = bounded(0);
        let (orders, control) = bounded(ORDERS);
        let (out, batches) = bounded(BATCHES);
        let workers = (settings.tables.len() * settings.instance.workers).max(1) as u64;
        let merger = Merger::new(MergerParts {
            application: settings.application.clone(),
            table: table.clone(),
            broker: context.opener.broker.clone(),
            health: context.health.clone(),
            link: link.clone(),
            control,
            out,
            cache_bytes: context.memory.record_cache / workers,
            batch_bytes: context.memory.batches / workers,
            max_record: context.max_record,
            registry: context.registry.clone(),
            breaker: context.breaker.clone(),
            broker_time: context.broker_time.clone(),
        })?;
        let (protocol, opener, own_id) = (protocol(context), context.opener.clone(), id.clone());
        let watched = link.clone();
        let (settings, health) = (settings.processing.clone(), context.health.clone());
        let commit = move || {
            let producer = opener.broker.transactional(&own_id)?;
            drop(initialising);
            let parts =
                CommitterParts { protocol, opener, id: own_id, producer, link, orders: batches, settings, health };
            Committer::new(parts).run()
        };
        let name = &table.def.name;
        let threads = vec![
            spawn(format!("merge-{name}-{number}"), context.ended.clone(), move || merger.run())?,
            spawn(format!("commit-{name}-{number}"), context.ended.clone(), commit)?,
        ];
        Ok(Self { id, orders, initialised, link: watched, threads })
    }

    /// For how long it has been without progress, if that is longer than `limit`.
    pub fn stalled(&self, limit: Duration) -> Option<Duration> {
        stalled(&[&self.link.merge, &self.link.commit], limit)
    }

    /// Finishes what is consumed, commits it, ends both threads.
    pub fn stop(self) {
        // A merge thread that has ended already took its order with it.
        let _ = self.orders.send(Control::Stop);
        for thread in self.threads {
            // Its outcome was told through `ended`.
            let _ = thread.join();
        }
    }
}

fn protocol(context: &WorkerContext) -> Protocol {
    let (opener, settings) = (&context.opener, context.opener.settings.clone());
    let (def, partitions, room) = (opener.table.def.clone(), context.quarantine_partitions, context.quarantine_room);
    let topic: Arc<str> = settings.quarantine.topic.as_str().into();
    Protocol {
        table: opener.table.clone(),
        group: settings.application.clone(),
        changelog: Arc::from(settings.changelog_topic(&def.name)),
        metrics: context.metrics.clone(),
        quarantine: Box::new(move |aside| entry(aside, &def).into_record(&topic, partitions, room)),
    }
}

/// The quarantine entry of an event that was set aside.
fn entry(aside: Quarantine, def: &TableDef) -> Entry {
    let source = &def.sources[aside.source];
    Entry {
        reason: aside.rejects.first().map_or("unknown", |r| r.reason.code()).to_owned(),
        error: aside.rejects.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        table: def.name.clone(),
        source: source.name.clone(),
        topic: source.topic.clone(),
        partition: aside.partition,
        offset: aside.offset,
        timestamp_ms: aside.timestamp_ms,
        fields: aside.fields,
        replay_of: aside.replay_of,
        key: aside.key,
        payload: aside.payload,
        headers: aside.headers,
        ..Entry::default()
    }
}

/// A thread whose end, good or bad, is told: a stage that ends unexpectedly ends the process.
pub fn spawn(
    name: String,
    ended: Sender<(String, Result<()>)>,
    work: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<JoinHandle<()>> {
    let thread = name.clone();
    std::thread::Builder::new()
        .name(name.chars().take(15).collect())
        .spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|cause| Err(panicked(&thread, &*cause)));
            // Nobody listens any more only when the process is ending.
            let _ = ended.try_send((thread, outcome));
        })
        .map_err(|e| Error::new(Kind::Internal, "a thread does not start").because(e))
}

/// The far end of [`WorkerContext::ended`].
pub type Ended = Receiver<(String, Result<()>)>;
