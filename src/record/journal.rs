//! Journals: the recent contributions of one source to the `sum`, `count`, `first` and `append` fields of a record, by event
//! id.
//!
//! What leaves the window leaves lowest first and is folded into the base. A null does not change which entries are held
//! or when they are folded (that would make the bytes depend on the order of arrival); it masks contributions up to its
//! version, wherever they are counted or folded.

use smallvec::SmallVec;

use super::contribution::{Contribution, Folded};
use super::definition::TableDef;
use super::event::Version;
use super::state::{FieldState, Part, cleared_at};
use super::value::Value;

/// Stands for the id of an event that has none. All that such events say at one version is one entry.
pub(super) const NO_ID: u64 = 0;

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

/// What became of the contributions of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// New, and entered.
    Entered,
    /// Its id is held, with the same content.
    Held,
    /// Its id is held with other content; whether the new content is now the one kept.
    Conflict { replaced: bool },
    /// It has no id, and its version is held; what became of it.
    Joined(Part),
    /// At or below the base, and its id is not held: it cannot be told from a duplicate.
    Outside,
}

impl Entry {
    fn order(&self) -> (Version, u64) {
        (self.version, self.id)
    }

    /// Canonical JSON of the content, for conflicts.
    fn content(&self) -> String {
        let part =
            |(field, part): &(u32, Contribution)| Value::Array(vec![Value::Int(i64::from(*field)), part.value()]);
        Value::Array(self.parts.iter().map(part).collect()).canonical()
    }

    /// Takes in what another event without an id says at the same version.
    fn join(&mut self, parts: Parts) -> Part {
        let mut all = Part::Held;
        for (field, part) in parts {
            let one = match self.parts.binary_search_by_key(&field, |(held, _)| *held) {
                Ok(at) => self.parts[at].1.join(part),
                Err(at) => {
                    self.parts.insert(at, (field, part));
                    Part::Changed
                }
            };
            all = all.and(one);
        }
        all
    }
}

impl Journal {
    /// Takes in the contributions of an event, unless its id is held or it lies outside the window.
    pub(super) fn admit(&mut self, entry: Entry) -> Admission {
        let admission = match self.find(&entry) {
            Some(at) if entry.id == NO_ID => return Admission::Joined(self.entries[at].join(entry.parts)),
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

    /// The entry of the same event; of those without an id, that of the same version.
    fn find(&self, entry: &Entry) -> Option<usize> {
        if entry.id == NO_ID {
            return self.entries.binary_search_by_key(&entry.order(), Entry::order).ok();
        }
        self.entries.iter().position(|held| held.id == entry.id)
    }

    /// Folds what left the window, lowest first: all but the `most` highest, and what is older than `span_ms` before
    /// the newest (`None` where versions are not times). `fields` holds the masks. Returns how many values of `append` fields
    /// their limits let go.
    pub(super) fn shrink(
        &mut self,
        def: &TableDef,
        most: usize,
        span_ms: Option<i64>,
        fields: &[(u32, FieldState)],
    ) -> u32 {
        let newest = self.entries.last().map_or(i64::MIN, |entry| entry.version.major);
        let oldest = span_ms.map_or(i64::MIN, |span| newest.saturating_sub(span));
        let over = self.entries.len().saturating_sub(most.max(1));
        let leaving = over.max(self.entries.partition_point(|entry| entry.version.major < oldest));
        let mut evicted = 0;
        for entry in self.entries.drain(..leaving) {
            let order = entry.order();
            let base = self.base.get_or_insert_with(|| Base { low: entry.version, high: order, folded: Vec::new() });
            base.high = base.high.max(order);
            evicted += base.fold(def, entry.version, entry.parts, fields).1;
        }
        evicted
    }

    /// Takes in contributions that lie outside the window, of fields for which it does not matter whether they came before
    /// (`first`), or of which a person says that they did not: they are folded at once, as if they had come in time. What became
    /// of them, and how many values of `append` fields went over their limits.
    pub(super) fn fold_late(
        &mut self,
        def: &TableDef,
        version: Version,
        parts: Parts,
        fields: &[(u32, FieldState)],
    ) -> (Part, u32) {
        match &mut self.base {
            Some(base) if !parts.is_empty() => base.fold(def, version, parts, fields),
            _ => (Part::Held, 0),
        }
    }

    /// Drops the base's part of a field as far as a null at `version` covers it. True if some of what it covers cannot be
    /// taken out any more.
    pub(super) fn clear(&mut self, field: u32, version: Version) -> bool {
        let Some(base) = &mut self.base else { return false };
        let Ok(at) = base.folded.binary_search_by_key(&field, |(id, _)| *id) else { return false };
        let covered = base.high.0 <= version;
        let split = !covered && base.folded[at].1.split(version);
        if covered || base.folded[at].1.is_empty() {
            base.folded.remove(at);
        }
        !covered && !split && base.low <= version
    }

    /// Removes what a tombstone at `version` covers; counts in `misses` a base that it covers only in part. False if
    /// nothing is left.
    pub(super) fn bury(&mut self, version: Version, misses: &mut u32) -> bool {
        self.entries.retain(|entry| entry.version > version);
        if let Some(base) = &mut self.base {
            if base.high.0 <= version {
                self.base = None;
            } else if base.low <= version {
                *misses = misses.saturating_add(u32::from(base.bury(version)));
            }
        }
        self.base.is_some() || !self.entries.is_empty()
    }

    /// The live contributions to one field, added up; `None` if there are none.
    pub(super) fn total(&self, field: u32, cleared: Option<Version>) -> Option<Folded> {
        let base = self.base.as_ref().and_then(|base| base.of(field)).cloned();
        self.live(field, cleared).fold(base, |total, part| {
            let part = Folded::of(part.clone());
            Some(match total {
                Some(mut total) => {
                    total.add(part);
                    total
                }
                None => part,
            })
        })
    }

    /// The live contributions to one field that are still in the window, lowest first.
    pub(super) fn live(&self, field: u32, cleared: Option<Version>) -> impl Iterator<Item = &Contribution> {
        let from = cleared.map_or(0, |at| self.entries.partition_point(|entry| entry.version <= at));
        self.entries[from..]
            .iter()
            .filter_map(move |entry| entry.parts.iter().find(|(id, _)| *id == field).map(|(_, part)| part))
    }

    /// Whether any contribution is live.
    pub(super) fn is_live(&self, fields: &[(u32, FieldState)]) -> bool {
        self.base.as_ref().is_some_and(|base| !base.folded.is_empty())
            || self.entries.iter().any(|entry| entry.parts.iter().any(|(id, _)| !masked(fields, *id, entry.version)))
    }

    pub(super) fn heap_size(&self) -> usize {
        let base = self.base.as_ref().map_or(0, |base| {
            let behind: usize = base.folded.iter().map(|(_, folded)| folded.heap_size()).sum();
            base.folded.capacity() * size_of::<(u32, Folded)>() + behind
        });
        let of_entry = |entry: &Entry| {
            let spilled = if entry.parts.spilled() { entry.parts.capacity() } else { 0 };
            let behind: usize = entry.parts.iter().map(|(_, part)| part.heap_size()).sum();
            spilled * size_of::<(u32, Contribution)>() + behind
        };
        base + self.entries.capacity() * size_of::<Entry>() + self.entries.iter().map(of_entry).sum::<usize>()
    }
}

impl Base {
    /// What is folded of a field.
    pub(super) fn of(&self, field: u32) -> Option<&Folded> {
        self.folded.binary_search_by_key(&field, |(id, _)| *id).ok().map(|at| &self.folded[at].1)
    }

    /// Folds the contributions of one event; what became of them, and how many values of `append` fields went over their
    /// limits.
    fn fold(&mut self, def: &TableDef, version: Version, parts: Parts, fields: &[(u32, FieldState)]) -> (Part, u32) {
        let mut all = if version < self.low { Part::Changed } else { Part::Held };
        let mut evicted = 0;
        self.low = self.low.min(version);
        for (field, part) in parts {
            if masked(fields, field, version) {
                all = all.and(Part::Superseded);
                continue;
            }
            let (at, one) = match self.folded.binary_search_by_key(&field, |(id, _)| *id) {
                Ok(at) => (at, self.folded[at].1.add(Folded::of(part))),
                Err(at) => {
                    self.folded.insert(at, (field, Folded::of(part)));
                    (at, Part::Changed)
                }
            };
            let limit = def.field_by_id(field).map_or(usize::MAX, |field| field.limit);
            evicted += self.folded[at].1.shrink(limit);
            all = all.and(one);
        }
        (all, evicted)
    }

    /// Takes out what a tombstone at `version`, which covers only a part, covers; true if some of it cannot be taken out.
    fn bury(&mut self, version: Version) -> bool {
        let mut missed = false;
        self.folded.retain_mut(|(_, folded)| {
            missed |= !folded.split(version);
            !folded.is_empty()
        });
        missed
    }
}

/// Whether a null cleared contributions of this version to this field.
fn masked(fields: &[(u32, FieldState)], field: u32, version: Version) -> bool {
    cleared_at(fields, field).is_some_and(|cleared| version <= cleared)
}
