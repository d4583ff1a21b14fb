//! The supervisor: turns the group's assignment into open tasks and orders to workers.
//!
//! Owns the membership and which task is at which worker. Whoever owns partition p of a table's changelog owns task p.
//!
//! A task can be lost in two ways. While the group itself is away (its broker is down, or we cannot reach it) nobody can say
//! who owns it: it is *parked*, and goes on answering with what it has, as a standby. When the group has settled again
//! without giving it to us, somebody else owns it: then it is followed as a standby, or closed, and its files stay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use parking_lot::Mutex;

use super::control::{Control, Release};
use super::follower::{Follow, Follower};
use super::opening::{close, hand_over, persist, wait_released};
use super::retention::Tidy;
use super::standbys::{Neighbours, Standbys};
use super::worker::{Worker, WorkerContext, spawn};
use crate::broker::{GroupToken, MemberEvent, Membership, TopicPartition};
use crate::cluster::Cluster;
use crate::config::{BrokerKind, Settings};
use crate::runtime::Health;
use crate::task::{Role, TaskView};
use crate::{Error, Reaction, Result};

/// Tasks of one table that are opened at a time.
const OPEN_AT_ONCE: usize = 4;
/// Copies of one table that are opened at a time.
const COPIES_AT_ONCE: usize = 1;
/// Orders that wait for a follower.
const FOLLOW_ORDERS: usize = 1_024;
/// How long the membership is polled at a time.
const POLL: Duration = Duration::from_millis(100);
/// How long leaving the group may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// The most that the group is kept waiting for tasks that are asked back.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(25);

/// One table's workers and what they are built from.
pub(super) struct TableWorkers {
    pub(super) context: WorkerContext,
    workers: Vec<Worker>,
    /// Permits for opening.
    permits: (Sender<()>, Receiver<()>),
    /// Orders to the thread that follows changelogs.
    pub(super) follower: Sender<Follow>,
    following: JoinHandle<()>,
    /// Permits for opening copies.
    pub(super) copy_permits: (Sender<()>, Receiver<()>),
}

impl TableWorkers {
    fn start(context: WorkerContext, workers: Vec<Worker>) -> Result<Self> {
        let (follower, orders) = bounded(FOLLOW_ORDERS);
        let opener = context.opener.clone();
        let name = format!("follow-{}", opener.table.def.name);
        let following = spawn(name, context.ended.clone(), move || Follower::new(opener, orders).run())?;
        let (permits, copy_permits) = (bounded(OPEN_AT_ONCE), bounded(COPIES_AT_ONCE));
        Ok(Self { context, workers, permits, follower, following, copy_permits })
    }

    /// Whether there are files of tasks here.
    fn has_files(&self) -> bool {
        let opener = &self.context.opener;
        (0..opener.table.partitions).any(|partition| opener.dir(partition).exists())
    }
}

/// A task that is open, and that whoever wrote to it lets go of.
pub(super) struct Open {
    pub(super) view: Arc<TaskView>,
    /// Told, or closed, when it has been let go of.
    pub(super) released: Receiver<()>,
}

/// The supervisor's state.
pub struct Supervisor {
    pub(super) membership: Box<dyn Membership>,
    /// By changelog topic.
    pub(super) tables: BTreeMap<String, TableWorkers>,
    pub(super) token: Arc<Mutex<Option<GroupToken>>>,
    /// Threads that open or close tasks, or have.
    pub(super) working: BTreeMap<TopicPartition, JoinHandle<()>>,
    /// Tasks that were lost, and nobody knows yet to whom. They go on answering with what they have.
    parked: BTreeMap<TopicPartition, Open>,
    /// Copies of others' tasks.
    pub(super) standbys: Standbys,
    pub(super) neighbours: Neighbours,
    stop: Receiver<()>,
    pub(super) health: Arc<Health>,
    /// Whether the group gives the tasks away at once when this instance stops.
    leave: bool,
    /// Out of the group, since a worker makes no progress.
    out: bool,
    /// Leaving the group only to join it again.
    pub(super) returning: bool,
    pub(super) settings: Arc<Settings>,
    pub(super) tidy: Tidy,
}

/// What a supervisor is built from.
pub struct SupervisorParts {
    /// The group.
    pub membership: Box<dyn Membership>,
    /// Each table's workers and what they are built from.
    pub tables: Vec<(WorkerContext, Vec<Worker>)>,
    /// The other instances.
    pub cluster: Arc<Cluster>,
    /// Told, or closed, when it is time to stop.
    pub stop: Receiver<()>,
    /// Health.
    pub health: Arc<Health>,
    /// At the end the group is told to give the tasks away at once; else a static member goes silent, and finds them again
    /// when it comes back in time.
    pub leave: bool,
    /// Settings.
    pub settings: Arc<Settings>,
}

impl Supervisor {
    /// A supervisor over the tables' workers.
    pub fn new(parts: SupervisorParts) -> Result<Self> {
        let SupervisorParts { membership, tables, cluster, stop, health, leave, settings } = parts;
        let table = |(context, workers): (WorkerContext, Vec<Worker>)| {
            let topic = settings.changelog_topic(&context.opener.table.def.name);
            Ok((topic, TableWorkers::start(context, workers)?))
        };
        let tables: BTreeMap<String, TableWorkers> = tables.into_iter().map(table).collect::<Result<_>>()?;
        // Only who was here before can have had copies, and only where there are others.
        let was_here = tables.values().any(TableWorkers::has_files);
        health.set_cold(was_here && settings.broker.kind == BrokerKind::Kafka);
        Ok(Self {
            membership,
            tables,
            token: Arc::default(),
            working: BTreeMap::new(),
            parked: BTreeMap::new(),
            standbys: Standbys::new(),
            neighbours: Neighbours::new(cluster, &settings),
            stop,
            health,
            leave,
            out: false,
            returning: false,
            tidy: Tidy::default(),
            settings,
        })
    }

    /// Runs until told to stop, then stops the workers and leaves the group.
    pub fn run(mut self) -> Result<()> {
        let mut troubled = false;
        while matches!(self.stop.try_recv(), Err(TryRecvError::Empty)) {
            self.watch()?;
            self.place()?;
            self.tidy()?;
            match self.membership.poll(POLL) {
                Err(e) if e.reaction() == Reaction::Retry => {
                    troubled = true;
                    self.health.set_trouble(Some(e.to_string()));
                }
                Err(e) => return Err(e),
                Ok(event) => {
                    if std::mem::take(&mut troubled) {
                        self.health.set_trouble(None);
                    }
                    self.heed(event)?;
                }
            }
        }
        for table in self.tables.values() {
            table.context.opener.table.tasks().values().for_each(|view| self.abandon(view));
        }
        let mut following = Vec::new();
        for (_, table) in std::mem::take(&mut self.tables) {
            table.workers.into_iter().for_each(Worker::stop);
            following.push(table.following);
        }
        for (_, working) in std::mem::take(&mut self.working) {
            // Its outcome was told through `ended`.
            let _ = working.join();
        }
        for following in following {
            // It ends when nobody can give it orders any more; its outcome was told through `ended`.
            let _ = following.join();
        }
        for parked in std::mem::take(&mut self.parked).into_values() {
            parked.view.store().map_or(Ok(()), |store| store.sync())?;
        }
        if self.leave {
            self.leave_group();
        }
        self.membership.close()
    }

    /// Leaves the group while a worker makes no progress: only so do others get its tasks. Those of the other workers are given
    /// back in order.
    fn watch(&mut self) -> Result<()> {
        let mut stuck = Vec::new();
        for table in self.tables.values() {
            let limit = table.context.opener.settings.instance.stall_timeout;
            stuck.extend(table.workers.iter().filter_map(|w| Some((w.id.clone(), w.stalled(limit)?))));
        }
        match (stuck.first(), self.out) {
            (Some((worker, silent)), false) => {
                let why = format!("worker {worker} has made no progress for {} s", silent.as_secs());
                tracing::error!("{why}: leaving the group, so that others get its tasks");
                if let Some(table) = self.tables.values().next() {
                    table.context.metrics.stalls.inc();
                }
                self.health.set_stall(Some(why));
                self.out = true;
                self.membership.leave()
            }
            (None, true) => {
                tracing::warn!("every worker makes progress again: back into the group");
                self.health.set_stall(None);
                self.out = false;
                self.membership.rejoin()
            }
            _ => Ok(()),
        }
    }

    /// Tells the group that this instance goes. Everything is committed; a group that does not hear it waits for the end of
    /// the session instead.
    fn leave_group(&mut self) {
        let until = Instant::now() + LEAVE_WITHIN;
        let mut told = self.membership.leave();
        while told.is_ok() && Instant::now() < until {
            told = match self.membership.poll(POLL) {
                Ok(Some(MemberEvent::Revoked { partitions, .. })) => self.membership.release(&partitions),
                Ok(Some(MemberEvent::Left)) => return tracing::info!("left the group: others get the tasks at once"),
                Ok(_) => Ok(()),
                Err(e) => Err(e),
            };
        }
        let why = told.err().map_or_else(|| "it did not answer".to_owned(), |e| e.to_string());
        tracing::warn!("the group was not told that this instance goes: {why}");
    }

    fn heed(&mut self, event: Option<MemberEvent>) -> Result<()> {
        match event {
            None => {}
            Some(MemberEvent::Assigned { partitions, token }) => {
                self.renew(&token);
                for tp in partitions {
                    self.open(&tp)?;
                }
            }
            Some(MemberEvent::Renewed { token }) => {
                self.renew(&token);
                self.settle()?;
            }
            Some(MemberEvent::Left) => {
                tracing::info!("left the group");
                if std::mem::take(&mut self.returning) && !self.out {
                    self.membership.rejoin()?;
                }
            }
            Some(MemberEvent::Revoked { partitions, lost }) => {
                self.release(&partitions, lost)?;
                self.membership.release(&partitions)?;
            }
        }
        Ok(())
    }

    fn renew(&self, token: &GroupToken) {
        *self.token.lock() = Some(token.clone());
        for worker in self.tables.values().flat_map(|t| &t.workers) {
            // A worker that has ended tells why itself.
            let _ = worker.orders.send(Control::Renew(token.clone()));
        }
    }

    /// Opens a task beside the running ones and gives it to its worker when it is caught up.
    fn open(&mut self, tp: &TopicPartition) -> Result<()> {
        let open = match self.parked.remove(tp) {
            Some(parked) => Some(parked),
            None => self.unfollow(tp)?,
        };
        let previous = self.working.remove(tp);
        let table = self.table(tp)?;
        let name = || table.context.opener.table.def.name.as_str().into();
        let view = open.as_ref().map(|o| o.view.successor(Role::Active));
        let view = view.unwrap_or_else(|| TaskView::new(name(), tp.partition, Role::Active));
        table.context.opener.table.add_task(view.clone());
        let worker = &table.workers[tp.partition as usize % table.workers.len()];
        let (opener, orders, id) = (table.context.opener.clone(), worker.orders.clone(), worker.id.clone());
        let (permits, token, initialised) = (table.permits.clone(), self.token.clone(), worker.initialised.clone());
        let name = format!("open-{}", opener.task_name(tp.partition));
        let (failed, health) = (table.context.ended.clone(), self.health.clone());
        let working = spawn(name, failed, move || {
            // An opening that was given up may still hold the store; its outcome was told.
            if let Some(previous) = previous {
                let _ = previous.join();
            }
            if let Some(open) = open {
                // The worker may be waiting for the broker; it writes to the store until it has let go.
                wait_released(&open.released, || health.is_stopping() && view.is_abandoned());
                view.set_store(open.view.store());
            }
            // Nothing is ever sent: it is closed when nobody can write under our identity any more.
            let _ = initialised.recv();
            permits.0.send(()).map_err(|_| Error::internal("the supervisor has ended"))?;
            let opened = persist(&opener, &view, &id, &health);
            let _ = permits.1.try_recv();
            opened?.map_or(Ok(()), |task| hand_over(task, &token, &orders))
        })?;
        self.working.insert(tp.clone(), working);
        Ok(())
    }

    /// Gives up a task that is still being opened. Whoever opens it holds the lock while it hands it over: afterwards the
    /// worker either has it, in front of the orders that follow, or never gets it.
    pub(super) fn abandon(&self, view: &TaskView) {
        let _handing_over = self.token.lock();
        view.abandon();
    }

    /// Takes tasks away from their workers. What was asked back is finished first; what is lost already is parked.
    fn release(&mut self, partitions: &[TopicPartition], lost: bool) -> Result<()> {
        let mut leaving = Vec::new();
        for tp in partitions {
            let table = self.table(tp)?;
            let worker = &table.workers[tp.partition as usize % table.workers.len()];
            // Whoever is stuck cannot finish anything: what it commits later must be refused.
            let lost = lost || worker.stalled(table.context.opener.settings.instance.stall_timeout).is_some();
            let Some(view) = table.context.opener.table.task(tp.partition) else { continue };
            self.abandon(&view);
            let (done, released) = bounded(1);
            // A worker that has ended tells why itself.
            let _ = worker.orders.send(Control::Release(Release { partitions: vec![tp.partition], lost, done }));
            leaving.push((tp.clone(), Open { view, released }, lost));
        }
        let until = Instant::now() + GIVE_BACK_WITHIN;
        for (tp, task, lost) in leaving {
            if lost && task.view.store().is_some() {
                self.park(tp, task)?;
                continue;
            }
            // If it does not let go in time, the group gives the task away regardless, and what it commits is refused. What it
            // has can answer until somebody else does; nothing is written to it before the worker has let go.
            let let_go = task.released.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok();
            // It is told once, and whoever takes the task up looks for it again.
            let released = if let_go { bounded(1).1 } else { task.released };
            self.follow(tp, Some(Open { released, ..task }))?;
        }
        Ok(())
    }

    /// Shows a lost task as what it is now: a copy that answers.
    fn park(&mut self, tp: TopicPartition, task: Open) -> Result<()> {
        let view = task.view.successor(Role::Standby);
        self.table(&tp)?.context.opener.table.add_task(view.clone());
        self.parked.insert(tp, Open { view, ..task });
        Ok(())
    }

    /// The group has settled: what it did not give back to us is somebody else's.
    fn settle(&mut self) -> Result<()> {
        self.tidy.settled.get_or_insert_with(Instant::now);
        for (tp, task) in std::mem::take(&mut self.parked) {
            tracing::info!(%tp, "the group has given a task that was lost to another instance");
            self.follow(tp, Some(task))?;
        }
        Ok(())
    }

    /// Hides a task from readers, and closes its store beside everything else.
    pub(super) fn close(&mut self, tp: &TopicPartition, task: Open) -> Result<()> {
        let previous = self.working.remove(tp);
        let table = self.table(tp)?;
        table.context.opener.table.remove_task(tp.partition);
        let name = format!("close-{}", table.context.opener.task_name(tp.partition));
        let health = self.health.clone();
        let working = spawn(name, table.context.ended.clone(), move || {
            if let Some(previous) = previous {
                // Whoever was opening it has given up; its outcome was told.
                let _ = previous.join();
            }
            wait_released(&task.released, || health.is_stopping());
            close(&task.view)
        })?;
        self.working.insert(tp.clone(), working);
        Ok(())
    }

    /// Whether the group has told what is ours in it, as far as is known here.
    pub(super) fn is_in_group(&self) -> bool {
        self.tidy.settled.is_some() && self.parked.is_empty() && !self.out && !self.returning
    }

    pub(super) fn table(&self, tp: &TopicPartition) -> Result<&TableWorkers> {
        self.tables
            .get(&*tp.topic)
            .ok_or_else(|| Error::internal(format!("the group assigned {tp}, which is no changelog of ours")))
    }
}
