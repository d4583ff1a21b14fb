//! What the index thread has taken that is neither shown nor on its way to the disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::changes::Changes;
use super::{Covered, IndexChange};
use crate::broker::Offset;

/// Changes, and how far they bring their partitions.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    changes: Changes,
    steps: BTreeMap<u32, Step>,
}

/// How far a partition comes.
#[derive(Debug, Default)]
pub(super) struct Step {
    covered: Covered,
    /// Timestamps of what becomes visible then.
    oldest: Vec<i64>,
}

impl Step {
    /// Moves the positions of its partition on; returns the timestamps.
    pub(super) fn apply(self, covered: &mut Covered) -> Vec<i64> {
        covered.advance(self.covered.changelog, self.covered.sources);
        self.oldest
    }
}

impl Fresh {
    /// Takes a change in.
    pub(super) fn put(&mut self, partition: u32, change: IndexChange) {
        self.changes.put(partition, change);
    }

    /// Everything up to these positions of a partition is here.
    pub(super) fn advance(
        &mut self,
        partition: u32,
        changelog: Offset,
        sources: Vec<(Arc<str>, Offset)>,
        oldest_ms: Option<i64>,
    ) {
        let step = self.steps.entry(partition).or_default();
        step.covered.advance(changelog, sources);
        step.oldest.extend(oldest_ms);
    }

    /// Whether there are no changes. Positions may have moved all the same.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Number of changed keys.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// What the changes take while they wait.
    pub(super) fn bytes(&self) -> usize {
        self.changes.bytes()
    }

    /// Everything, and nothing is left.
    pub(super) fn take(&mut self) -> (Changes, BTreeMap<u32, Step>) {
        let Self { changes, steps } = std::mem::take(self);
        (changes, steps)
    }

    /// Takes what there is of a partition out, but for its changes, which are dropped; returns the bytes that these took, too.
    pub(super) fn drop_partition(&mut self, partition: u32) -> (Step, usize) {
        (self.steps.remove(&partition).unwrap_or_default(), self.changes.remove(partition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str) -> IndexChange {
        IndexChange { key: key.as_bytes().into(), stored: None, existed: true }
    }

    #[test]
    fn what_is_dropped_of_a_partition_does_not_move_its_positions() {
        let mut fresh = Fresh::default();
        for (partition, key, at) in [(0, "a", 1), (1, "b", 1), (0, "c", 2)] {
            fresh.put(partition, change(key));
            fresh.advance(partition, at, vec![("t".into(), 10 * at)], Some(at));
        }
        let (all, one) = (fresh.bytes(), change("b").size());
        let (step, freed) = fresh.drop_partition(0);
        assert_eq!((freed, fresh.bytes(), fresh.len()), (all - one, one, 1));
        let mut covered = Covered { changelog: 0, sources: BTreeMap::from([("s".into(), 5)]) };
        assert_eq!(step.apply(&mut covered), [1, 2]);
        assert_eq!(covered, Covered { changelog: 2, sources: BTreeMap::from([("s".into(), 5), ("t".into(), 20)]) });
        let (changes, steps) = fresh.take();
        assert_eq!(changes.in_order().iter().map(|c| &*c.change.key).collect::<Vec<_>>(), [b"b"]);
        assert_eq!(steps.into_keys().collect::<Vec<_>>(), [1]);
        assert!(fresh.is_empty() && fresh.bytes() == 0);
    }
}
