//! The supervisor: turns the group's assignment into open tasks and orders to workers.
//!
//! Owns the membership and which task is at which worker. Whoever owns partition p of a table's changelog owns task p.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::control::{Control, Release};
use super::worker::{Worker, WorkerContext, spawn};
use crate::broker::{GroupToken, MemberEvent, Membership, TopicPartition};
use crate::task::{Role, Task, TaskView};
use crate::runtime::Health;
use crate::{Error, Reaction, Result};

/// Tasks of one table that are opened at a time.
const OPEN_AT_ONCE: usize = 2;
/// How long the membership is polled at a time.
const POLL: Duration = Duration::from_millis(100);

/// One table's workers and what they are built from.
struct TableWorkers {
    context: WorkerContext,
    workers: Vec<Worker>,
    /// Permits for opening.
    permits: (Sender<()>, Receiver<()>),
}

/// The supervisor's state.
pub struct Supervisor {
    membership: Box<dyn Membership>,
    /// By changelog topic.
    tables: BTreeMap<String, TableWorkers>,
    token: Arc<Mutex<Option<GroupToken>>>,
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
        Self { membership, tables, token: Arc::default(), stop, health }
    }

    /// Runs until told to stop, then stops the workers and leaves the group.
    pub fn run(mut self) -> Result<()> {
        while self.stop.try_recv().is_err() {
            match self.membership.poll(POLL) {
                Err(e) if e.reaction() == Reaction::Retry => self.health.set_trouble(Some(e.to_string())),
                Err(e) => return Err(e),
                Ok(event) => self.follow(event)?,
            }
        }
        for (_, table) in std::mem::take(&mut self.tables) {
            table.workers.into_iter().for_each(Worker::stop);
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
    fn open(&self, tp: &TopicPartition) -> Result<()> {
        let table = self.table(tp)?;
        let view = TaskView::new(table.context.opener.table.def.name.as_str().into(), tp.partition, Role::Active);
        table.context.opener.table.add_task(view.clone());
        let worker = &table.workers[tp.partition as usize % table.workers.len()];
        let (opener, orders, id) = (table.context.opener.clone(), worker.orders.clone(), worker.id.clone());
        let (permits, token) = (table.permits.clone(), self.token.clone());
        let name = format!("open-{}", opener.task_name(tp.partition));
        let failed = table.context.ended.clone();
        spawn(name, failed, move || {
            permits.0.send(()).map_err(|_| Error::internal("the supervisor has ended"))?;
            let opened = opener.open(&view, &id);
            let _ = permits.1.try_recv();
            hand_over(opened?, &token, &orders)
        })?;
        Ok(())
    }

    fn release(&self, partitions: &[TopicPartition], lost: bool) -> Result<()> {
        for tp in partitions {
            let table = self.table(tp)?;
            let worker = &table.workers[tp.partition as usize % table.workers.len()];
            let (done, wait) = bounded(1);
            let order = Control::Release(Release { partitions: vec![tp.partition], lost, done });
            if worker.orders.send(order).is_ok() {
                // The worker's end, if it ended instead, is told by itself.
                let _ = wait.recv_timeout(table.context.opener.settings.instance.stall_timeout);
            }
            table.context.opener.table.remove_task(tp.partition);
        }
        Ok(())
    }

    fn table(&self, tp: &TopicPartition) -> Result<&TableWorkers> {
        self.tables
            .get(&*tp.topic)
            .ok_or_else(|| Error::internal(format!("the group assigned {tp}, which is no changelog of ours")))
    }
}

fn hand_over(task: Task, token: &Mutex<Option<GroupToken>>, orders: &Sender<Control>) -> Result<()> {
    let view = &task.view;
    tracing::info!(
        task = format!("{}/{}", view.table, task.partition),
        restored = task.restored,
        reindexed = task.repaired.keys,
        whole_index = task.repaired.whole,
        "task is open"
    );
    let token = token.lock().clone().ok_or_else(|| Error::internal("a task without a membership"))?;
    orders.send(Control::Add(Box::new(task), token)).map_err(|_| Error::internal("the worker has ended"))
}
