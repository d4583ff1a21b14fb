//! A table as queries see it: definition, index, and the tasks that are here.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::index::TableIndex;
use crate::metrics::TableMetrics;
use crate::record::TableDef;
use crate::task::TaskView;

/// A table as queries see it.
#[derive(Debug)]
pub struct Table {
    /// Definition.
    pub def: Arc<TableDef>,
    /// Partitions of the table: those of each of its sources.
    pub partitions: u32,
    /// Internal topic that misplaced events come through, where there is one: it is read to its end also when the table does
    /// not send events through it any more.
    pub repartition: Option<Arc<str>>,
    /// Index over all tasks of the table on this instance.
    pub index: Arc<TableIndex>,
    /// Tasks on this instance, by partition.
    pub tasks: ArcSwap<BTreeMap<u32, Arc<TaskView>>>,
    /// Counters.
    pub metrics: Arc<TableMetrics>,
}

impl Table {
    /// The task of a partition, if it is here.
    pub fn task(&self, partition: u32) -> Option<Arc<TaskView>> {
        self.tasks.load().get(&partition).cloned()
    }
    /// Shows a task to readers.
    pub fn add_task(&self, task: Arc<TaskView>) {
        self.change_tasks(|tasks| drop(tasks.insert(task.partition, task.clone())));
    }
    /// Hides a task from readers.
    pub fn remove_task(&self, partition: u32) {
        self.change_tasks(|tasks| drop(tasks.remove(&partition)));
    }
    fn change_tasks(&self, change: impl Fn(&mut BTreeMap<u32, Arc<TaskView>>)) {
        self.tasks.rcu(|old| {
            let mut new = BTreeMap::clone(old);
            change(&mut new);
            new
        });
    }
    /// The tasks that are here, by partition.
    pub fn tasks(&self) -> Arc<BTreeMap<u32, Arc<TaskView>>> {
        self.tasks.load_full()
    }
}
