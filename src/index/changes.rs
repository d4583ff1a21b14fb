//! Changes that wait, one a key: the last one counts, the first says whether a document may be there.

use std::collections::hash_map::{Entry, Keys};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::IndexChange;

/// A change of a partition.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) partition: u32,
    pub(super) change: IndexChange,
}

/// Changes by key, and what they take.
#[derive(Debug, Default)]
pub(super) struct Changes {
    by_key: FxHashMap<Arc<[u8]>, Changed>,
    bytes: usize,
}

impl Changes {
    /// Takes a change in; returns the bytes of the one that it replaces.
    pub(super) fn put(&mut self, partition: u32, change: IndexChange) -> usize {
        self.bytes += change.size();
        match self.by_key.entry(change.key.clone()) {
            Entry::Vacant(place) => {
                place.insert(Changed { partition, change });
                0
            }
            Entry::Occupied(mut place) => {
                let (replaced, existed) = (place.get().change.size(), place.get().change.existed);
                place.insert(Changed { partition, change: IndexChange { existed, ..change } });
                self.bytes -= replaced;
                replaced
            }
        }
    }

    /// Takes later changes in; returns the bytes of those that they replace.
    pub(super) fn absorb(&mut self, later: Changes) -> usize {
        if self.by_key.is_empty() {
            *self = later;
            return 0;
        }
        later.by_key.into_values().map(|c| self.put(c.partition, c.change)).sum()
    }

    /// Drops the changes of a partition; returns the bytes that they took.
    pub(super) fn remove(&mut self, partition: u32) -> usize {
        let gone = self.by_key.extract_if(|_, c| c.partition == partition).map(|(_, c)| c.change.size()).sum();
        self.bytes -= gone;
        gone
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// What they take while they wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Changed> {
        self.by_key.values()
    }

    /// By key, ascending.
    pub(super) fn in_order(self) -> Vec<Changed> {
        let mut all: Vec<Changed> = self.by_key.into_values().collect();
        all.sort_unstable_by(|a, b| a.change.key.cmp(&b.change.key));
        all
    }

    pub(super) fn keys(&self) -> Keys<'_, Arc<[u8]>, Changed> {
        self.by_key.keys()
    }
}
