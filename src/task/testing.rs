//! A table and its tasks for the tests of what works on them.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::restore::Repaired;
use super::{Role, Task, TaskView};
use crate::config::MemoryPlan;
use crate::index::TableIndex;
use crate::query::Table;
use crate::store::{Position, SharedMemory, Store};

/// A table of the tests of the index, without tasks; its index is in this folder.
pub(crate) fn table(dir: &Path, partitions: u32) -> Arc<Table> {
    let def = Arc::new(crate::index::testing::def());
    let options = crate::index::testing::options(dir);
    let metrics = Arc::clone(&options.metrics);
    let (index, _) = TableIndex::open(Arc::clone(&def), options).unwrap();
    Arc::new(Table { def, partitions, repartition: None, index, tasks: ArcSwap::default(), metrics })
}

/// Room for the stores of a few tasks.
pub(crate) fn memory() -> SharedMemory {
    SharedMemory::new(&MemoryPlan::share(256 << 20, 1, 1), 1).unwrap()
}

/// A task at this position; its store is in this folder, under the partition's number.
pub(crate) fn task(dir: &Path, partition: u32, position: Position, shared: &SharedMemory) -> Task {
    let store = Store::open(&dir.join(partition.to_string()), shared).unwrap();
    let view = TaskView::new("t".into(), partition, Role::Active);
    Task { partition, view, store: Arc::new(store), position, restored: 0, repaired: Repaired::default() }
}
