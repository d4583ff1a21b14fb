//! `max` and `min`: the front of (version, value) pairs that no pair of equal or higher version beats.

use std::cmp::Ordering;

use super::event::Version;
use super::state::Part;
use super::value::Value;

/// Most pairs a front holds. Beyond it the oldest but the extreme itself go: the value shown stays right until a delete
/// or a null removes the extreme and should uncover one that went.
pub(super) const FRONT_LIMIT: usize = 64;

/// Which end of the order is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Max,
    Min,
}

impl End {
    /// `Greater` if `a` is the better value.
    fn compare(self, a: &Value, b: &Value) -> Ordering {
        match self {
            End::Max => a.natural_cmp(b),
            End::Min => b.natural_cmp(a),
        }
    }
}

/// State of a `max` or `min` field.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Extreme {
    /// Values of versions up to this one were cleared by a null.
    pub(super) cleared: Option<Version>,
    /// Ascending by version, and each value worse than the one before: the first is the extreme.
    pub(super) front: Vec<(Version, Value)>,
}

impl Extreme {
    /// Offers a value; `evicted` counts pairs that the limit pushes out.
    pub(super) fn offer(&mut self, end: End, value: &Value, version: Version, evicted: &mut u32) -> Part {
        if self.cleared.is_some_and(|cleared| version <= cleared) {
            return Part::Superseded;
        }
        let at = self.front.partition_point(|(held, _)| *held < version);
        if let Some((held_version, held)) = self.front.get(at) {
            match end.compare(value, held) {
                Ordering::Less => return Part::Superseded,
                Ordering::Equal if *held_version == version => return Part::Held,
                Ordering::Equal => return Part::Superseded,
                Ordering::Greater => {}
            }
        }
        self.place(end, at, value, version, evicted)
    }

    /// Puts the pair at `at` in place of those it beats.
    fn place(&mut self, end: End, at: usize, value: &Value, version: Version, evicted: &mut u32) -> Part {
        let after = at + usize::from(self.front.get(at).is_some_and(|(held, _)| *held == version));
        let better = |(_, held): &(Version, Value)| end.compare(held, value) == Ordering::Greater;
        let from = self.front[..at].partition_point(better);
        let grows = from == after && self.front.len() >= FRONT_LIMIT;
        if grows {
            *evicted = evicted.saturating_add(1);
            if from == 1 {
                return Part::Superseded;
            }
        }
        self.front.splice(from..after, [(version, value.clone())]);
        if grows {
            self.front.remove(1);
        }
        Part::Changed
    }

    /// Clears the values of versions up to `version`: at equal versions null wins.
    pub(super) fn clear(&mut self, version: Version) -> Part {
        match self.cleared {
            Some(cleared) if version == cleared => Part::Held,
            Some(cleared) if version < cleared => Part::Superseded,
            _ => {
                self.cleared = Some(version);
                self.front.retain(|(held, _)| *held > version);
                Part::Changed
            }
        }
    }

    /// Removes what a tombstone at `version` covers; false if nothing is left.
    pub(super) fn bury(&mut self, version: Version) -> bool {
        self.cleared = self.cleared.filter(|cleared| *cleared > version);
        self.front.retain(|(held, _)| *held > version);
        !self.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cleared.is_none() && self.front.is_empty()
    }

    /// The extreme value.
    pub(super) fn value(&self) -> Option<&Value> {
        self.front.first().map(|(_, value)| value)
    }

    pub(super) fn heap_size(&self) -> usize {
        let behind: usize = self.front.iter().map(|(_, value)| value.heap_size()).sum();
        self.front.capacity() * size_of::<(Version, Value)>() + behind
    }
}
