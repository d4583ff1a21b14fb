//! The state of one record: cells, accumulators, journals, tombstone.

/// Everything that is kept of one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {}

impl Record {
    /// Whether there is anything to show: a live non-null cell or a live contribution.
    pub fn is_visible(&self) -> bool {
        todo!()
    }
    /// Whether nothing at all is kept (such a record is not stored).
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    /// Estimate of the heap bytes it takes, for cache and overlay budgets.
    pub fn heap_size(&self) -> usize {
        todo!()
    }
}
