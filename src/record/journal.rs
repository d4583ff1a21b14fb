//! Journals: the recent contributions of one source to the `sum` and `count` fields of a record, by event id.
//!
//! What leaves the window leaves lowest first and is folded into the base. A null does not change which entries are held
//! or when they are folded (that would make the bytes depend on the order of arrival); it masks contributions up to its
//! version, wherever they are counted or folded.

use smallvec::SmallVec;

use super::event::Version;
use super::state::{FieldState, Part, cleared_at};
use super::value::Value;

/// The contributions of one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Journal {
    /// What left the window.
    pub(super) base: Option<Base>,
    /// Contributions by event id, ascending by (version, id).
    pub(super) entries: Vec<Entry>,
}

/// Contributions that left the window, folded.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Base {
    /// Lowest version folded.
    pub(super) low: Version,
    /// Highest version folded, and the id hash of that event.
    pub(super) high: (Version, u64),
    /// Folded value by field id, ascending.
    pub(super) folded: Vec<(u32, Folded)>,
}

/// The contributions of one event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) version: Version,
    /// Hash of the event id.
    pub(super) id: u64,
    /// By field id, ascending, never empty.
    pub(super) parts: Parts,
}

/// Contributions by field id; most events make one.
pub(super) type Parts = SmallVec<[(u32, Contribution); 1]>;

/// What an event adds to one field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Contribution {
    Int(i64),
    Float(f64),
    /// One, to a `count`.
    One,
}

/// Contributions added up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Folded {
    Int(i128),
    Float(f64),
    Count(u64),
}

/// What became of the contributions of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// New, and entered.
    Entered,
    /// Its id is held, with the same content.
    Held,
    /// Its id is held with other content; whether the new content is now the one kept.
    Conflict { replaced: bool },
    /// At or below the base, and its id is not held: it cannot be told from a duplicate.
    Outside,
}

impl Entry {
    fn order(&self) -> (Version, u64) {
        (self.version, self.id)
    }

    /// Canonical JSON of the content, for conflicts.
    fn content(&self) -> String {
        let parts = self.parts.iter().map(|(field, part)| {
            let value = match part {
                Contribution::Int(i) => Value::Int(*i),
                Contribution::Float(f) => Value::Float(*f),
                Contribution::One => Value::Int(1),
            };
            Value::Array(vec![Value::Int(i64::from(*field)), value])
        });
        Value::Array(parts.collect()).canonical()
    }
}

impl Folded {
    /// Nothing yet, of the kind that `part` adds to.
    pub(super) fn zero(part: Contribution) -> Self {
        match part {
            Contribution::Int(_) => Folded::Int(0),
            Contribution::Float(_) => Folded::Float(0.0),
            Contribution::One => Folded::Count(0),
        }
    }

    /// Adds one contribution. One of another kind (the field's type changed, which is refused elsewhere) starts anew.
    pub(super) fn add(&mut self, part: Contribution) {
        match (&mut *self, part) {
            (Folded::Int(sum), Contribution::Int(i)) => *sum = sum.saturating_add(i128::from(i)),
            (Folded::Float(sum), Contribution::Float(f)) => *sum += f,
            (Folded::Count(n), Contribution::One) => *n = n.saturating_add(1),
            (_, part) => {
                *self = Folded::zero(part);
                self.add(part);
            }
        }
    }
}

impl Journal {
    /// Takes in the contributions of an event, unless its id is held or it lies outside the window.
    pub(super) fn admit(&mut self, entry: Entry) -> Admission {
        let admission = match self.entries.iter().position(|held| held.id == entry.id) {
            Some(at) => {
                let held = &self.entries[at];
                if *held == entry {
                    return Admission::Held;
                }
                let order = entry.version.cmp(&held.version).then_with(|| entry.content().cmp(&held.content()));
                if !order.is_gt() {
                    return Admission::Conflict { replaced: false };
                }
                self.entries.remove(at);
                Admission::Conflict { replaced: true }
            }
            None if self.base.as_ref().is_some_and(|base| entry.order() <= base.high) => return Admission::Outside,
            None => Admission::Entered,
        };
        let at = self.entries.partition_point(|held| held.order() < entry.order());
        self.entries.insert(at, entry);
        admission
    }

    /// Folds what left the window, lowest first: all but the `most` highest, and what is older than `span_ms` before
    /// the newest (`None` where versions are not times). `fields` holds the masks.
    pub(super) fn shrink(&mut self, most: usize, span_ms: Option<i64>, fields: &[(u32, FieldState)]) {
        let newest = self.entries.last().map_or(i64::MIN, |entry| entry.version.major);
        let oldest = span_ms.map_or(i64::MIN, |span| newest.saturating_sub(span));
        let over = self.entries.len().saturating_sub(most.max(1));
        let leaving = over.max(self.entries.partition_point(|entry| entry.version.major < oldest));
        for entry in self.entries.drain(..leaving) {
            fold(&mut self.base, &entry, fields);
        }
    }

    /// Folds a contribution outside the window into the base; what it may be a duplicate of, nobody can tell any more.
    pub(super) fn fold_in(&mut self, entry: &Entry, fields: &[(u32, FieldState)]) {
        fold(&mut self.base, entry, fields);
    }

    /// Drops the base's part of a field if a null at `version` covers it all. True if it covers only some of it, which
    /// cannot be taken out any more.
    pub(super) fn clear(&mut self, field: u32, version: Version) -> bool {
        let Some(base) = &mut self.base else { return false };
        let Ok(at) = base.folded.binary_search_by_key(&field, |(id, _)| *id) else { return false };
        if base.high.0 <= version {
            base.folded.remove(at);
            return false;
        }
        base.low <= version
    }

    /// Removes what a tombstone at `version` covers; counts in `misses` a base that it covers only in part. False if
    /// nothing is left.
    pub(super) fn bury(&mut self, version: Version, misses: &mut u32) -> bool {
        self.entries.retain(|entry| entry.version > version);
        if let Some(base) = &self.base {
            if base.high.0 <= version {
                self.base = None;
            } else if base.low <= version {
                *misses = misses.saturating_add(1);
            }
        }
        self.base.is_some() || !self.entries.is_empty()
    }

    /// The live contributions to one field, added up; `None` if there are none.
    pub(super) fn total(&self, field: u32, cleared: Option<Version>) -> Option<Folded> {
        let base = self
            .base
            .as_ref()
            .and_then(|base| base.folded.binary_search_by_key(&field, |(id, _)| *id).ok().map(|at| base.folded[at].1));
        self.live(field, cleared).fold(base, |total, part| {
            let mut sum = total.unwrap_or_else(|| Folded::zero(part));
            sum.add(part);
            Some(sum)
        })
    }

    /// The live contributions to one field that are still in the window, lowest first.
    pub(super) fn live(&self, field: u32, cleared: Option<Version>) -> impl Iterator<Item = Contribution> {
        let from = cleared.map_or(0, |at| self.entries.partition_point(|entry| entry.version <= at));
        self.entries[from..]
            .iter()
            .filter_map(move |entry| entry.parts.iter().find(|(id, _)| *id == field).map(|(_, part)| *part))
    }

    /// Whether any contribution is live.
    pub(super) fn is_live(&self, fields: &[(u32, FieldState)]) -> bool {
        self.base.as_ref().is_some_and(|base| !base.folded.is_empty())
            || self.entries.iter().any(|entry| entry.parts.iter().any(|(id, _)| !masked(fields, *id, entry.version)))
    }

    pub(super) fn heap_size(&self) -> usize {
        let base = self.base.as_ref().map_or(0, |base| base.folded.capacity() * size_of::<(u32, Folded)>());
        let parts: usize = self.entries.iter().filter(|e| e.parts.spilled()).map(|e| e.parts.capacity()).sum();
        base + self.entries.capacity() * size_of::<Entry>() + parts * size_of::<(u32, Contribution)>()
    }
}

/// Whether a null cleared contributions of this version to this field.
fn masked(fields: &[(u32, FieldState)], field: u32, version: Version) -> bool {
    cleared_at(fields, field).is_some_and(|cleared| version <= cleared)
}

fn fold(base: &mut Option<Base>, entry: &Entry, fields: &[(u32, FieldState)]) {
    let base = base.get_or_insert_with(|| Base { low: entry.version, high: entry.order(), folded: Vec::new() });
    base.low = base.low.min(entry.version);
    base.high = base.high.max(entry.order());
    for (field, part) in &entry.parts {
        if masked(fields, *field, entry.version) {
            continue;
        }
        let at = match base.folded.binary_search_by_key(field, |(id, _)| *id) {
            Ok(at) => at,
            Err(at) => {
                base.folded.insert(at, (*field, Folded::zero(*part)));
                at
            }
        };
        base.folded[at].1.add(*part);
    }
}

impl Admission {
    /// What it means for the outcome of the event; `None` where the contribution was refused.
    pub(super) fn part(self) -> Option<Part> {
        match self {
            Admission::Entered | Admission::Conflict { replaced: true } => Some(Part::Changed),
            Admission::Held | Admission::Conflict { replaced: false } => Some(Part::Held),
            Admission::Outside => None,
        }
    }
}
