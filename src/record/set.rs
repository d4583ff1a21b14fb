//! `set`: the union of values, each with the highest stamp that named it.

use std::cmp::Ordering;

use super::event::{Stamp, Version};
use super::state::Part;
use super::value::Value;

/// Members of a set field. Exact for ever within the limit: a member that the limit pushed out had a lower stamp than
/// every one that stayed, so whatever removes those would have removed it too.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Members {
    /// Members named at or below this stamp were cleared by a null.
    pub(super) cleared: Option<Stamp>,
    /// Members in the order they are shown in, distinct.
    pub(super) entries: Vec<(Value, Stamp)>,
}

impl Members {
    /// Adds one value; `evicted` counts what the limit pushes out, be it the value itself.
    pub(super) fn add(&mut self, value: &Value, stamp: Stamp, limit: usize, evicted: &mut u32) -> Part {
        if self.cleared.is_some_and(|cleared| stamp <= cleared) {
            return Part::Superseded;
        }
        match self.entries.binary_search_by(|(held, _)| held.shown_cmp(value)) {
            Ok(at) => match stamp.cmp(&self.entries[at].1) {
                Ordering::Less => Part::Superseded,
                Ordering::Equal => Part::Held,
                Ordering::Greater => {
                    self.entries[at].1 = stamp;
                    Part::Changed
                }
            },
            Err(at) => {
                if self.entries.len() >= limit && !self.outranks_lowest(value, stamp) {
                    *evicted = evicted.saturating_add(1);
                    return Part::Superseded;
                }
                self.entries.insert(at, (value.clone(), stamp));
                self.shrink(limit, evicted);
                Part::Changed
            }
        }
    }

    /// Clears every member named at or below `stamp`: at equal stamps null wins.
    pub(super) fn clear(&mut self, stamp: Stamp) -> Part {
        match self.cleared {
            Some(cleared) if stamp == cleared => Part::Held,
            Some(cleared) if stamp < cleared => Part::Superseded,
            _ => {
                self.cleared = Some(stamp);
                self.entries.retain(|(_, held)| *held > stamp);
                Part::Changed
            }
        }
    }

    /// Removes what a tombstone at `version` covers; false if nothing is left.
    pub(super) fn bury(&mut self, version: Version) -> bool {
        self.cleared = self.cleared.filter(|cleared| cleared.version > version);
        self.entries.retain(|(_, stamp)| stamp.version > version);
        !self.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cleared.is_none() && self.entries.is_empty()
    }

    /// Members in the order they are shown in.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value> {
        self.entries.iter().map(|(value, _)| value)
    }

    pub(super) fn heap_size(&self) -> usize {
        let behind: usize = self.values().map(Value::heap_size).sum();
        self.entries.capacity() * size_of::<(Value, Stamp)>() + behind
    }

    fn shrink(&mut self, limit: usize, evicted: &mut u32) {
        while self.entries.len() > limit {
            let Some(at) = self.lowest() else { return };
            self.entries.remove(at);
            *evicted = evicted.saturating_add(1);
        }
    }

    fn outranks_lowest(&self, value: &Value, stamp: Stamp) -> bool {
        self.lowest().is_some_and(|at| {
            let (held, held_stamp) = &self.entries[at];
            stamp.cmp(held_stamp).then_with(|| value.canonical_cmp(held)).is_gt()
        })
    }

    fn lowest(&self) -> Option<usize> {
        let lower = |a: &(Value, Stamp), b: &(Value, Stamp)| a.1.cmp(&b.1).then_with(|| a.0.canonical_cmp(&b.0));
        (0..self.entries.len()).min_by(|a, b| lower(&self.entries[*a], &self.entries[*b]))
    }
}
