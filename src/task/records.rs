//! The records of a task's store, for an index that takes them all at once.

use std::sync::{Arc, Weak};

use crate::Result;
use crate::broker::Offset;
use crate::index::Records;
use crate::store::Store;

impl Records for Store {
    fn count(&self) -> u64 {
        self.approximate_records()
    }

    fn all(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<Offset> {
        self.scan_whole(visit)
    }
}

/// The records of a store, for as long as it is open.
pub(super) fn of_store(store: &Arc<Store>) -> Weak<dyn Records> {
    let weak: Weak<Store> = Arc::downgrade(store);
    weak
}
