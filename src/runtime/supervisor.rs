//! The supervisor: turns the group's assignment into open tasks and orders to workers.
//!
//! Owns the membership and which task is at which worker. Whoever owns partition p of a table's changelog owns task p.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use parking_lot::Mutex;

use super::control::{Control, Release};
use super::worker::{Worker, WorkerContext, spawn};
use crate::broker::{GroupToken, MemberEvent, Membership, TopicPartition};
use crate::runtime::Health;
use crate::task::{Opener, Phase, Role, Task, TaskView};
use crate::{Error, Reaction, Result};

/// Tasks of one table that are opened at a time.
const OPEN_AT_ONCE: usize = 4;
/// How long the membership is polled at a time.
const POLL: Duration = Duration::from_millis(100);
/// Pause between attempts to open a task while the broker is away.
const AGAIN: Duration = Duration::from_millis(500);

/// One table's workers and what they are built from.
struct TableWorkers {
    context: WorkerContext,
    workers: Vec<Worker>,
    /// Permits for opening.
    permits: (Sender<()>, Receiver<()>),
}

/// A task that was lost, be it only because the broker did not answer. It keeps answering reads with what it has until it
/// is ours again, or taken away for good.
struct Parked {
    view: Arc<TaskView>,
    /// Told, or closed, when the worker has let go of it.
    released: Receiver<()>,
}

/// The supervisor's state.
pub struct Supervisor {
    membership: Box<dyn Membership>,
    /// By changelog topic.
    tables: BTreeMap<String, TableWorkers>,
    token: Arc<Mutex<Option<GroupToken>>>,
    /// Threads that open tasks, or have.
    opening: BTreeMap<TopicPartition, JoinHandle<()>>,
    parked: BTreeMap<TopicPartition, Parked>,
    stop: Receiver<()>,
    health: Arc<Health>,
}

impl Supervisor {
    /// A supervisor over the tables' workers.
    pub fn new(
        membership: Box<dyn Membership>,
        tables: Vec<(WorkerContext, Vec<Worker>)>,
        stop: Receiver<()>,
        health: Arc<Health>,
    ) -> Self {
        let table = |(context, workers): (WorkerContext, Vec<Worker>)| {
            let topic = context.opener.settings.changelog_topic(&context.opener.table.def.name);
            (topic, TableWorkers { context, workers, permits: bounded(OPEN_AT_ONCE) })
        };
        let tables = tables.into_iter().map(table).collect();
        Self {
            membership,
            tables,
            token: Arc::default(),
            opening: BTreeMap::new(),
            parked: BTreeMap::new(),
            stop,
            health,
        }
    }

    /// Runs until told to stop, then stops the workers and leaves the group.
    pub fn run(mut self) -> Result<()> {
        let mut troubled = false;
        while matches!(self.stop.try_recv(), Err(TryRecvError::Empty)) {
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
                    self.follow(event)?;
                }
            }
        }
        for table in self.tables.values() {
            table.context.opener.table.tasks().values().for_each(|view| self.abandon(view));
        }
        for (_, table) in std::mem::take(&mut self.tables) {
            table.workers.into_iter().for_each(Worker::stop);
        }
        for (_, opening) in std::mem::take(&mut self.opening) {
            // Its outcome was told through `ended`.
            let _ = opening.join();
        }
        for parked in std::mem::take(&mut self.parked).into_values() {
            parked.view.store().map_or(Ok(()), |store| store.sync())?;
        }
        self.membership.close()
    }

    fn follow(&mut self, event: Option<MemberEvent>) -> Result<()> {
        match event {
            None => {}
            Some(MemberEvent::Assigned { partitions, token }) => {
                self.renew(&token);
                for tp in partitions {
                    self.open(&tp)?;
                }
            }
            Some(MemberEvent::Renewed { token }) => self.renew(&token),
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
        let (previous, parked) = (self.opening.remove(tp), self.parked.remove(tp));
        let table = self.table(tp)?;
        let name = || table.context.opener.table.def.name.as_str().into();
        let view = parked.as_ref().map(|p| p.view.successor());
        let view = view.unwrap_or_else(|| TaskView::new(name(), tp.partition, Role::Active));
        table.context.opener.table.add_task(view.clone());
        let worker = &table.workers[tp.partition as usize % table.workers.len()];
        let (opener, orders, id) = (table.context.opener.clone(), worker.orders.clone(), worker.id.clone());
        let (permits, token, initialised) = (table.permits.clone(), self.token.clone(), worker.initialised.clone());
        let name = format!("open-{}", opener.task_name(tp.partition));
        let (failed, health) = (table.context.ended.clone(), self.health.clone());
        let opening = spawn(name, failed, move || {
            // An opening that was given up may still hold the store; its outcome was told.
            if let Some(previous) = previous {
                let _ = previous.join();
            }
            if let Some(Parked { released, .. }) = parked {
                // The worker may be waiting for the broker; it writes to the store until it has let go.
                while !view.is_abandoned() && released.recv_timeout(AGAIN) == Err(RecvTimeoutError::Timeout) {}
            }
            // Nothing is ever sent: it is closed when nobody can write under our identity any more.
            let _ = initialised.recv();
            permits.0.send(()).map_err(|_| Error::internal("the supervisor has ended"))?;
            let opened = persist(&opener, &view, &id, &health);
            let _ = permits.1.try_recv();
            opened?.map_or(Ok(()), |task| hand_over(task, &token, &orders))
        })?;
        self.opening.insert(tp.clone(), opening);
        Ok(())
    }

    /// Gives up a task that is still being opened. Whoever opens it holds the lock while it hands it over: afterwards the
    /// worker either has it, in front of the orders that follow, or never gets it.
    fn abandon(&self, view: &TaskView) {
        let _handing_over = self.token.lock();
        view.abandon();
    }

    fn release(&mut self, partitions: &[TopicPartition], lost: bool) -> Result<()> {
        for tp in partitions {
            let table = self.table(tp)?;
            let worker = &table.workers[tp.partition as usize % table.workers.len()];
            let view = table.context.opener.table.task(tp.partition);
            if let Some(view) = &view {
                self.abandon(view);
            }
            let (done, released) = bounded(1);
            let order = Control::Release(Release { partitions: vec![tp.partition], lost, done });
            // A worker that has ended tells why itself.
            let told = worker.orders.send(order).is_ok();
            if let Some(view) = view.as_ref().filter(|v| lost && v.store().is_some()) {
                self.parked.insert(tp.clone(), Parked { view: view.clone(), released });
                continue;
            }
            if told {
                // The worker's end, if it ended instead, is told by itself.
                let _ = released.recv_timeout(table.context.opener.settings.instance.stall_timeout);
            }
            table.context.opener.table.remove_task(tp.partition);
            // Of a task that was still being opened nobody else does it; a reader that waits would keep the store open.
            if let Some(view) = view {
                view.set_store(None);
            }
        }
        Ok(())
    }

    fn table(&self, tp: &TopicPartition) -> Result<&TableWorkers> {
        self.tables
            .get(&*tp.topic)
            .ok_or_else(|| Error::internal(format!("the group assigned {tp}, which is no changelog of ours")))
    }
}

/// Opens a task, trying until the broker is there; `None` if it was given up.
fn persist(opener: &Opener, view: &Arc<TaskView>, writer: &str, health: &Health) -> Result<Option<Task>> {
    let mut troubled = false;
    while !view.is_abandoned() {
        let opened = match view.store() {
            Some(store) => opener.resume(view, store, writer),
            None => opener.open(view, writer),
        };
        match opened {
            Ok(task) => {
                if troubled {
                    health.set_trouble(None);
                }
                return Ok(Some(task));
            }
            Err(e) if view.is_abandoned() => tracing::info!(error = %e, "opening was given up"),
            Err(e) if e.reaction() == Reaction::Retry => {
                tracing::warn!(error = %e, "trying again");
                troubled = true;
                health.set_trouble(Some(e.to_string()));
                view.show(Phase::Opening);
                std::thread::sleep(AGAIN);
            }
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

fn hand_over(task: Task, token: &Mutex<Option<GroupToken>>, orders: &Sender<Control>) -> Result<()> {
    let view = &task.view;
    let token = token.lock();
    if !view.hand_over() {
        return Ok(());
    }
    tracing::info!(
        task = format!("{}/{}", view.table, task.partition),
        restored = task.restored,
        reindexed = task.repaired.keys,
        whole_index = task.repaired.whole,
        "task is open"
    );
    let token = token.clone().ok_or_else(|| Error::internal("a task without a membership"))?;
    orders.send(Control::Add(Box::new(task), token)).map_err(|_| Error::internal("the worker has ended"))
}
