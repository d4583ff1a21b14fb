//! What is kept of searches for the next ones: segments never change.

use super::equals::KnownRuns;
use super::orders::Orders;
use super::sets::Sets;
use super::statistics::Counted;

/// What is known of segments; cheap to clone, and all clones are one.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) counted: Counted,
    /// Where runs of ascending keys begin.
    pub(super) runs: KnownRuns,
    /// Documents that words have.
    pub(super) sets: Sets,
    /// Documents by the values of columns.
    pub(super) orders: Orders,
}

impl Kept {
    /// With so many bytes of sets and orders, half of each.
    pub(super) fn new(bytes: u64) -> Self {
        let (sets, orders) = (Sets::new(bytes / 2), Orders::new(bytes / 2));
        Self { counted: Counted::default(), runs: KnownRuns::default(), sets, orders }
    }
}
