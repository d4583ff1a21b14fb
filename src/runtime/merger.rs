//! The merge thread of a worker: poll → decode → group by key → look up → merge → encode → hand over.
//!
//! Owns the consumer, the overlay and the read positions of its tasks. Does not own the stores' content (the commit
//! thread writes them) nor which tasks it has (the supervisor says).

mod expiry;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError};

pub use self::expiry::BrokerTime;
use self::expiry::TaskTime;
use super::control::{Control, Release, ToCommit};
use super::grouping::{Grouping, Merges};
use super::inbox::{Content, Inbox, Reading};
use super::link::Link;
use super::overlay::Overlay;
use super::waiting::Waiting;
use crate::broker::{Broker, Consumer, GroupToken, Offset, TopicPartition};
use crate::quarantine::Breaker;
use crate::query::Table;
use crate::record::Reason;
use crate::record::decode::{Decoder, Schemas};
use crate::registry::Registry;
use crate::runtime::Health;
use crate::store::{Position, Store};
use crate::task::batch::Batch;
use crate::task::{Phase, Task, TaskView};
use crate::{Error, Reaction, Result};

/// Messages taken at a time.
const POLL_MAX: usize = 4_000;
/// How long an idle worker sleeps before it looks for orders.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// Full polls in a row after which the worker counts as catching up.
const BEHIND_AFTER: u32 = 3;
/// So many unread events take a worker about a second.
const FAR: u64 = 50_000;
/// How often a broker that is away is asked whether it is back.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often the lag is published.
const LAG_EVERY: Duration = Duration::from_millis(250);

struct MergeTask {
    view: Arc<TaskView>,
    /// Next offset of each source, by its number.
    next: Vec<Offset>,
    /// Where it was when it came: a rollback that happens before the commit thread knows the task goes back to here.
    came_at: Vec<Offset>,
    time: TaskTime,
    /// As it was when the task came.
    came_with: TaskTime,
}

/// The merge thread's state.
pub struct Merger {
    application: String,
    table: Arc<Table>,
    broker: Arc<dyn Broker>,
    health: Arc<Health>,
    link: Arc<Link>,
    control: Receiver<Control>,
    out: Sender<ToCommit>,
    consumer: Box<dyn Consumer>,
    decoders: Vec<Decoder>,
    topics: Vec<Arc<str>>,
    /// Where schemas come from, if the application has a registry.
    registry: Option<Arc<Registry>>,
    waiting: Waiting,
    tasks: BTreeMap<u32, MergeTask>,
    stores: BTreeMap<u32, Arc<Store>>,
    overlay: Overlay,
    batch_bytes: u64,
    max_record: usize,
    token: Option<GroupToken>,
    seq: u64,
    epoch: u64,
    full_polls: u32,
    /// Events that can be read and are not, when the lag was last looked at. What waits for a schema is not among them, for it may wait
    /// for ever.
    unread: u64,
    /// The last batch said that more waits.
    hurried: bool,
    lag_at: Instant,
    told_wrong_partition: bool,
    breaker: Arc<Breaker>,
    broker_time: BrokerTime,
    /// Since when the broker was not asked whether it is back, while it is away.
    away: Option<Instant>,
}

/// What a merger is built from.
pub struct MergerParts {
    /// Application.
    pub application: String,
    /// Table.
    pub table: Arc<Table>,
    /// Broker.
    pub broker: Arc<dyn Broker>,
    /// Health.
    pub health: Arc<Health>,
    /// Link to the commit thread.
    pub link: Arc<Link>,
    /// Orders.
    pub control: Receiver<Control>,
    /// To the commit thread.
    pub out: Sender<ToCommit>,
    /// Bytes of the record cache.
    pub cache_bytes: u64,
    /// Bytes of batches that may wait for their commit.
    pub batch_bytes: u64,
    /// Largest stored record, bytes.
    pub max_record: usize,
    /// Where schemas come from, if the application has a registry.
    pub registry: Option<Arc<Registry>>,
    /// The table's breaker.
    pub breaker: Arc<Breaker>,
    /// The newest broker timestamp of the table's tasks here.
    pub broker_time: BrokerTime,
}

impl Merger {
    /// A merger without tasks.
    pub fn new(parts: MergerParts) -> Result<Self> {
        let def = parts.table.def.clone();
        Ok(Self {
            application: parts.application,
            consumer: parts.broker.consumer(&format!("{}-data", def.name))?,
            decoders: (0..def.sources.len()).map(|i| Decoder::new(&def, i)).collect(),
            topics: inputs(&parts.table),
            table: parts.table,
            broker: parts.broker,
            health: parts.health,
            link: parts.link,
            control: parts.control,
            out: parts.out,
            registry: parts.registry,
            waiting: Waiting::default(),
            tasks: BTreeMap::new(),
            stores: BTreeMap::new(),
            overlay: Overlay::new(parts.cache_bytes),
            // What is pinned must leave the cache room, or looking for something to drop would take all its time.
            batch_bytes: parts.batch_bytes.min(parts.cache_bytes / 2),
            max_record: parts.max_record,
            token: None,
            seq: 0,
            epoch: 0,
            full_polls: 0,
            unread: 0,
            hurried: false,
            lag_at: Instant::now(),
            told_wrong_partition: false,
            breaker: parts.breaker,
            broker_time: parts.broker_time,
            away: None,
        })
    }

    /// Runs until told to stop; an error ends the process.
    pub fn run(mut self) -> Result<()> {
        let mut inbox = Inbox::default();
        while self.obey()? {
            self.follow_commits()?;
            self.follow_schemas()?;
            self.publish_lag();
            if let Some(why) = self.breaker.tripped() {
                self.show_stopped(&why);
                self.link.wait(POLL_WAIT);
                continue;
            }
            if self.overlay.bytes() > self.batch_bytes {
                self.link.wait(POLL_WAIT);
                continue;
            }
            inbox.clear();
            let polled = match self.poll(&mut inbox) {
                Ok(n) => n,
                Err(e) => {
                    // What came before the error has moved the read positions already.
                    if !inbox.arrived.is_empty() {
                        self.hand_over(&inbox)?;
                    }
                    self.after_poll_error(e)?;
                    continue;
                }
            };
            self.follow_broker(polled);
            self.full_polls = if polled >= POLL_MAX {
                self.full_polls + 1
            } else if polled > POLL_MAX / 4 {
                self.full_polls
            } else {
                0
            };
            if !inbox.arrived.is_empty() {
                self.hand_over(&inbox)?;
            } else {
                if std::mem::take(&mut self.hurried) {
                    self.send(ToCommit::Calm)?;
                }
                self.expire_quietly()?;
            }
        }
        self.link.merge.rest();
        self.send(ToCommit::Stop)
    }

    fn send(&self, order: ToCommit) -> Result<()> {
        self.out.send(order).map_err(|_| Error::internal("the commit thread has ended"))
    }

    /// Carries out the orders that wait; false after `Stop`.
    fn obey(&mut self) -> Result<bool> {
        self.link.merge.beat();
        loop {
            let order = if self.tasks.is_empty() {
                self.link.merge.rest();
                match self.control.recv_timeout(POLL_WAIT) {
                    Ok(order) => order,
                    Err(crossbeam_channel::RecvTimeoutError::Timeout) => continue,
                    Err(crossbeam_channel::RecvTimeoutError::Disconnected) => return Ok(false),
                }
            } else {
                match self.control.try_recv() {
                    Ok(order) => order,
                    Err(TryRecvError::Empty) => return Ok(true),
                    Err(TryRecvError::Disconnected) => return Ok(false),
                }
            };
            self.link.merge.beat();
            match order {
                Control::Stop => return Ok(false),
                Control::Renew(token) => self.token = Some(token),
                Control::Add(task, token) => self.add(task, token)?,
                Control::Release(release) => self.release(release)?,
            }
        }
    }

    fn add(&mut self, task: Box<Task>, token: GroupToken) -> Result<()> {
        // Orders to renew come from another thread: the one that is here already may be newer.
        self.token.get_or_insert(token);
        // A rollback from before may name a position of an earlier stay of this partition here.
        self.follow_commits()?;
        // What is in memory of an earlier stay here is older than the store now.
        self.overlay.forget(task.partition);
        self.waiting.forget(task.partition);
        let next = self.next_of(&task.position);
        let time = TaskTime::of(&self.table.def, &task.position);
        let came_at = next.clone();
        let view = task.view.clone();
        self.tasks.insert(task.partition, MergeTask { view, came_at, next, came_with: time.clone(), time });
        self.stores.insert(task.partition, task.store.clone());
        self.assign()?;
        task.view.set_phase(Phase::Running);
        self.send(ToCommit::Add(task))
    }

    fn release(&mut self, release: Release) -> Result<()> {
        for partition in &release.partitions {
            // A lost one goes on answering with what it has.
            if let Some(task) = self.tasks.remove(partition).filter(|_| !release.lost) {
                task.view.set_phase(Phase::Releasing);
            }
            self.stores.remove(partition);
            self.waiting.forget(*partition);
        }
        self.assign()?;
        self.send(ToCommit::Release(release))
    }

    fn next_of(&self, position: &Position) -> Vec<Offset> {
        let sources = self.table.def.sources.iter().map(|s| position.next(&s.name).unwrap_or(0));
        let moved = self.table.repartition.as_ref().map(|_| position.repartition.unwrap_or(0));
        sources.chain(moved).collect()
    }

    /// Reads on from the read positions, but of what waits for a schema; whatever was prefetched is dropped.
    fn assign(&mut self) -> Result<()> {
        let tp = |p: u32, i: usize| TopicPartition { topic: self.topics[i].clone(), partition: p };
        let all = self.tasks.iter().flat_map(|(p, task)| task.next.iter().enumerate().map(|(i, next)| (*p, i, *next)));
        let reading = all.filter(|(p, i, _)| !self.waiting.holds(*p, *i));
        let positions: Vec<_> = reading.map(|(p, i, next)| (tp(p, i), next)).collect();
        self.consumer.assign(&positions)
    }

    /// Reads on where a schema was waited for and is here.
    fn follow_schemas(&mut self) -> Result<()> {
        let Some(registry) = &self.registry else { return Ok(()) };
        if self.waiting.look(registry) { self.assign() } else { Ok(()) }
    }

    /// Stops reading where a schema is needed: nothing behind the message that needs it may be merged before it.
    fn stop_where_schemas_lack(&mut self) -> Result<()> {
        if !self.waiting.is_new() {
            return Ok(());
        }
        for (partition, source, wait) in self.waiting.unannounced() {
            let tp = TopicPartition { topic: self.topics[source].clone(), partition };
            wait.unread += self.consumer.lag(&tp).unwrap_or(0);
            tracing::info!(%tp, schema = wait.schema, "reading waits for a schema of the registry");
        }
        self.assign()
    }

    /// Drops what is applied from the overlay, and everything after a rollback.
    fn follow_commits(&mut self) -> Result<()> {
        if self.link.epoch() != self.epoch {
            self.epoch = self.link.epoch();
            self.overlay.clear();
            let back_to = self.link.back_to();
            let next: BTreeMap<u32, Vec<Offset>> = back_to.iter().map(|(p, at)| (*p, self.next_of(at))).collect();
            for (partition, task) in &mut self.tasks {
                // The commit thread did not know a task that is not named: nothing of it was committed yet.
                task.next = next.get(partition).unwrap_or(&task.came_at).clone();
                let time = back_to.get(partition).map(|at| TaskTime::of(&self.table.def, at));
                task.time = time.unwrap_or_else(|| task.came_with.clone());
            }
            self.assign()?;
        }
        self.overlay.applied(self.link.applied());
        Ok(())
    }

    fn poll(&mut self, inbox: &mut Inbox) -> Result<usize> {
        let (def, partitions) = (&self.table.def, self.table.partitions);
        let schemas: &dyn Schemas = match &self.registry {
            Some(registry) => registry.as_ref(),
            None => &(),
        };
        let reading = Reading { application: &self.application, def, partitions, decoders: &self.decoders, schemas };
        let (topics, tasks, waiting) = (&self.topics, &mut self.tasks, &mut self.waiting);
        let polled = self.consumer.poll(POLL_MAX, POLL_WAIT, &mut |m| {
            let Some(input) = topics.iter().position(|t| **t == *m.topic) else { return };
            // Below the read position: fetched before a rollback moved it forward. Merging would be harmless, counting not.
            let Some(next) = tasks.get_mut(&m.partition).map(|t| &mut t.next[input]).filter(|n| **n <= m.offset) else {
                return;
            };
            if waiting.skips(m.partition, input) {
                return;
            }
            match inbox.take(reading, input, &m) {
                None => *next = m.offset + 1,
                Some(schema) => waiting.begin(m.partition, input, schema),
            }
        });
        self.stop_where_schemas_lack()?;
        polled
    }

    /// The log lost what was to be read next, or the broker is away.
    fn after_poll_error(&mut self, e: Error) -> Result<()> {
        if e.reaction() != Reaction::Retry {
            for task in self.tasks.values() {
                task.view.set_phase(Phase::Stopped(e.to_string()));
            }
            return Err(e.within(format_args!("table {}", self.table.def.name)));
        }
        self.health.set_trouble(Some(e.to_string()));
        self.away = Some(Instant::now());
        self.link.wait(POLL_WAIT * 4);
        Ok(())
    }

    /// Notes that the broker is back: what went wrong is told once, and silence says nothing.
    fn follow_broker(&mut self, polled: usize) {
        let Some(asked) = self.away else { return };
        if polled == 0 && asked.elapsed() < ASK_EVERY {
            return;
        }
        if polled > 0 || self.broker.ping(ASK_EVERY).is_ok() {
            self.health.set_trouble(None);
            self.away = None;
        } else {
            self.away = Some(Instant::now());
        }
    }

    /// How much waits to be read, where that is much. Short polls alone say nothing: on a busy machine the consumer does not always have
    /// as much at hand as it could.
    fn behind(&self) -> Option<u64> {
        (self.full_polls >= BEHIND_AFTER || self.unread >= FAR).then_some(self.unread)
    }

    fn hand_over(&mut self, inbox: &Inbox) -> Result<()> {
        self.warn_of_misplaced(inbox);
        let watermarks = self.watermarks(inbox);
        let grouping = Grouping {
            def: &self.table.def,
            repartition: self.table.repartition.as_ref(),
            stores: &self.stores,
            max_record: self.max_record,
            history: &self.table.metrics.history,
            watermarks: &watermarks,
        };
        self.seq += 1;
        let mut merges = grouping.merge(inbox, &mut self.overlay, self.seq)?;
        self.expire(&mut merges)?;
        let Merges { tasks, quarantined, misplaced, bytes, oldest_ms, .. } = merges;
        if inbox.arrived.is_empty() && tasks.is_empty() {
            return Ok(());
        }
        let example = quarantined.last().and_then(|q| q.rejects.first()).map(ToString::to_string).unwrap_or_default();
        let (consumed, refused) = (inbox.arrived.len() as u64, quarantined.len() as u64);
        if let Some(why) = self.breaker.count(&self.table.def.name, consumed, refused, &example) {
            tracing::error!("{why}");
        }
        if self.breaker.tripped().is_some() {
            // Not handed over, so not committed: whoever starts again reads it again.
            return Ok(());
        }
        let token = self.token.clone().ok_or_else(|| Error::internal("events without a membership"))?;
        let aside: usize = quarantined.iter().map(|q| q.payload.as_ref().map_or(0, Vec::len)).sum();
        let bytes = bytes + aside as u64;
        self.overlay.stage(self.seq, bytes);
        let presses = self.overlay.bytes() > self.batch_bytes / 2;
        let behind = self.behind();
        let has_caught_up = std::mem::replace(&mut self.hurried, behind.is_some()) && behind.is_none();
        let (seq, epoch) = (self.seq, self.epoch);
        self.send(ToCommit::Batch(Batch {
            seq,
            epoch,
            token,
            tasks,
            quarantined,
            misplaced,
            bytes,
            oldest_ms,
            behind,
            presses,
        }))?;
        // Not every task has something in this batch.
        if has_caught_up { self.send(ToCommit::Calm) } else { Ok(()) }
    }

    /// The breaker has tripped, here or in another worker: reads see why, and nothing is read any more.
    fn show_stopped(&self, why: &str) {
        for task in self.tasks.values().filter(|task| *task.view.phase() == Phase::Running) {
            task.view.set_phase(Phase::Stopped(why.to_owned()));
        }
    }

    fn warn_of_misplaced(&mut self, inbox: &Inbox) {
        if self.told_wrong_partition {
            return;
        }
        let remedy = "is quarantined, as will be all like it: set the table's `partitioner` to what the producer uses, or \
                      `repartition = true` to send such events on to their partition, or partitioner = \"any\"";
        let misplaced = |content: &Content| match content {
            Content::Refused(reject) if reject.reason == Reason::WrongPartition => Some(format!("{remedy}; {reject}")),
            Content::Misplaced(to) => Some(format!("is sent on to partition {to}, as will be all like it")),
            _ => None,
        };
        if let Some((a, why)) = inbox.arrived.iter().find_map(|a| Some((a, misplaced(&a.content)?))) {
            self.told_wrong_partition = true;
            let (table, topic) = (&self.table.def.name, &self.topics[a.source]);
            let (partition, offset) = (a.from, a.offset);
            if matches!(a.content, Content::Misplaced(_)) {
                tracing::warn!(table, %topic, partition, offset, "an event stands in the wrong partition and {why}");
            } else {
                tracing::error!(table, %topic, partition, offset, "an event stands in the wrong partition and {why}");
            }
        }
    }

    fn publish_lag(&mut self) {
        if self.lag_at.elapsed() < LAG_EVERY {
            return;
        }
        self.lag_at = Instant::now();
        let mut unread = 0;
        for (partition, task) in &self.tasks {
            let mut of = |(source, topic): (usize, &Arc<str>)| {
                let tp = TopicPartition { topic: topic.clone(), partition: *partition };
                let held = self.waiting.unread(*partition, source);
                let lag = held.or_else(|| self.consumer.lag(&tp))?;
                unread += if held.is_none() { u64::try_from(lag).unwrap_or(0) } else { 0 };
                Some((topic.clone(), lag))
            };
            task.view.set_lag(self.topics.iter().enumerate().filter_map(&mut of).collect());
        }
        self.unread = unread;
        self.follow_ends();
    }
}

/// The topics that a table reads: those of its sources by their number, then the internal one, if it has one.
fn inputs(table: &Table) -> Vec<Arc<str>> {
    table.def.sources.iter().map(|s| s.topic.as_str().into()).chain(table.repartition.clone()).collect()
}

#[cfg(test)]
#[path = "merger_tests.rs"]
mod tests;
