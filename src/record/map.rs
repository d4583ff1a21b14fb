//! `map`: an object merged key by key, each key the value with the highest stamp.

use std::cmp::Ordering;

use super::event::{Stamp, Version};
use super::state::{Cell, Part};
use super::value::Value;

/// The keys of a map field. Exact for ever within the limit, for the reason that a set is: a key that the limit pushed
/// out had a lower stamp than every one that stayed, so whatever removes those would have removed it too.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Map {
    /// Keys written at or below this stamp were cleared by a null in place of the map.
    pub(super) cleared: Option<Stamp>,
    /// By key, ascending. A null in a cell cleared that key alone; it counts for the limit, as it is kept.
    pub(super) cells: Vec<(Box<str>, Cell)>,
}

impl Map {
    /// Writes one key; `evicted` counts what the limit pushes out, be it the key itself.
    pub(super) fn write(&mut self, key: &str, value: &Value, stamp: Stamp, limit: usize, evicted: &mut u32) -> Part {
        if self.cleared.is_some_and(|cleared| stamp <= cleared) {
            return Part::Superseded;
        }
        match self.cells.binary_search_by(|(held, _)| held.as_ref().cmp(key)) {
            Ok(at) => self.cells[at].1.write(value, stamp),
            Err(at) => {
                if self.cells.len() >= limit && !self.outranks_lowest(key, stamp) {
                    *evicted = evicted.saturating_add(1);
                    return Part::Superseded;
                }
                self.cells.insert(at, (key.into(), Cell { value: value.clone(), stamp }));
                self.shrink(limit, evicted);
                Part::Changed
            }
        }
    }

    /// Clears every key written at or below `stamp`: at equal stamps null wins.
    pub(super) fn clear(&mut self, stamp: Stamp) -> Part {
        match self.cleared {
            Some(cleared) if stamp == cleared => Part::Held,
            Some(cleared) if stamp < cleared => Part::Superseded,
            _ => {
                self.cleared = Some(stamp);
                self.cells.retain(|(_, cell)| cell.stamp > stamp);
                Part::Changed
            }
        }
    }

    /// Removes what a tombstone at `version` covers; false if nothing is left.
    pub(super) fn bury(&mut self, version: Version) -> bool {
        self.cleared = self.cleared.filter(|cleared| cleared.version > version);
        self.cells.retain(|(_, cell)| cell.stamp.version > version);
        !self.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cleared.is_none() && self.cells.is_empty()
    }

    /// The keys that hold something, ascending.
    pub(super) fn shown(&self) -> impl Iterator<Item = (&str, &Value)> {
        let live = self.cells.iter().filter(|(_, cell)| !cell.value.is_null());
        live.map(|(key, cell)| (key.as_ref(), &cell.value))
    }

    pub(super) fn heap_size(&self) -> usize {
        let behind: usize = self.cells.iter().map(|(key, cell)| key.len() + cell.value.heap_size()).sum();
        self.cells.capacity() * size_of::<(Box<str>, Cell)>() + behind
    }

    fn shrink(&mut self, limit: usize, evicted: &mut u32) {
        while self.cells.len() > limit {
            let Some(at) = self.lowest() else { return };
            self.cells.remove(at);
            *evicted = evicted.saturating_add(1);
        }
    }

    fn outranks_lowest(&self, key: &str, stamp: Stamp) -> bool {
        self.lowest().is_some_and(|at| {
            let (held, cell) = &self.cells[at];
            rank(stamp, key, cell.stamp, held).is_gt()
        })
    }

    fn lowest(&self) -> Option<usize> {
        let lower = |a: &usize, b: &usize| {
            let ((a, held), (b, other)) = (&self.cells[*a], &self.cells[*b]);
            rank(held.stamp, a, other.stamp, b)
        };
        (0..self.cells.len()).min_by(lower)
    }
}

/// Which of two keys stays under the limit: the one written at the higher stamp, of equal stamps the larger one. What is
/// written does not count, for which of two tied values a key holds is known only when both were seen.
fn rank(stamp: Stamp, key: &str, other_stamp: Stamp, other: &str) -> Ordering {
    stamp.cmp(&other_stamp).then_with(|| key.cmp(other))
}
