//! The state of one record: cells, accumulators, journals, tombstone.

use super::event::{Stamp, Version};
use super::extreme::Extreme;
use super::journal::Journal;
use super::map::Map;
use super::set::Members;
use super::value::Value;

/// Everything that is kept of one key.
///
/// Invariants, which [`super::merge()`] keeps and [`super::codec::decode`] checks as far as order goes:
/// every list is strictly ascending by its first part; nothing is kept whose version the tombstone covers; no field
/// state and no journal is empty. So equal states have equal bytes.
///
/// Fields that are no longer declared keep their state until a tombstone takes it; nothing shows them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The highest version at which the record was deleted.
    pub(super) tombstone: Option<Version>,
    /// State of declared fields by [`super::FieldDef::id`].
    pub(super) fields: Vec<(u32, FieldState)>,
    /// Undeclared members by name.
    pub(super) dynamic: Vec<(Box<str>, Cell)>,
    /// Contributions to `sum`, `count`, `first` and `append` fields by [`super::SourceDef::id`].
    pub(super) journals: Vec<(u32, Journal)>,
}

/// What is kept of one declared field, beside the journals.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FieldState {
    /// `lww`.
    Lww(Cell),
    /// `set`.
    Set(Members),
    /// `max` and `min`.
    Extreme(Extreme),
    /// `sum`, `count`, `first` and `append`: contributions up to this version were cleared by a null.
    Cleared(Version),
    /// `map`.
    Map(Map),
}

/// The value of one field, with the stamp of the event that wrote it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cell {
    pub(super) value: Value,
    pub(super) stamp: Stamp,
}

/// What became of one part of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The state changed.
    Changed,
    /// Held already, stamp and value.
    Held,
    /// Superseded by what is held.
    Superseded,
}

impl Part {
    /// What became of two parts together.
    pub(super) fn and(self, other: Part) -> Part {
        match (self, other) {
            (Part::Changed, _) | (_, Part::Changed) => Part::Changed,
            (Part::Superseded, _) | (_, Part::Superseded) => Part::Superseded,
            (Part::Held, Part::Held) => Part::Held,
        }
    }
}

impl Cell {
    /// Writes if the stamp is higher, or equal and the value's canonical text larger.
    pub(super) fn write(&mut self, value: &Value, stamp: Stamp) -> Part {
        let order = stamp.cmp(&self.stamp).then_with(|| value.canonical_cmp(&self.value));
        match order {
            std::cmp::Ordering::Less => Part::Superseded,
            std::cmp::Ordering::Equal => Part::Held,
            std::cmp::Ordering::Greater => {
                *self = Cell { value: value.clone(), stamp };
                Part::Changed
            }
        }
    }
}

impl FieldState {
    /// Removes what a tombstone at `version` covers; false if nothing is left.
    pub(super) fn bury(&mut self, version: Version) -> bool {
        match self {
            FieldState::Lww(cell) => cell.stamp.version > version,
            FieldState::Set(members) => members.bury(version),
            FieldState::Extreme(front) => front.bury(version),
            FieldState::Cleared(at) => *at > version,
            FieldState::Map(map) => map.bury(version),
        }
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            FieldState::Lww(_) | FieldState::Cleared(_) => false,
            FieldState::Set(members) => members.is_empty(),
            FieldState::Extreme(front) => front.is_empty(),
            FieldState::Map(map) => map.is_empty(),
        }
    }

    fn is_visible(&self) -> bool {
        match self {
            FieldState::Lww(cell) => !cell.value.is_null(),
            FieldState::Set(members) => members.values().next().is_some(),
            FieldState::Extreme(front) => front.value().is_some(),
            FieldState::Cleared(_) => false,
            FieldState::Map(map) => map.shown().next().is_some(),
        }
    }

    fn heap_size(&self) -> usize {
        match self {
            FieldState::Lww(cell) => cell.value.heap_size(),
            FieldState::Set(members) => members.heap_size(),
            FieldState::Extreme(front) => front.heap_size(),
            FieldState::Cleared(_) => 0,
            FieldState::Map(map) => map.heap_size(),
        }
    }
}

impl Record {
    /// Whether there is anything to show: a live non-null cell or a live contribution. Judged without the definition:
    /// what a definition no longer declares counts here, but [`super::render`] does not show it.
    pub fn is_visible(&self) -> bool {
        self.fields.iter().any(|(_, state)| state.is_visible())
            || self.dynamic.iter().any(|(_, cell)| !cell.value.is_null())
            || self.journals.iter().any(|(_, journal)| journal.is_live(&self.fields))
    }

    /// Whether nothing at all is kept (such a record is not stored).
    pub fn is_empty(&self) -> bool {
        self.tombstone.is_none() && self.fields.is_empty() && self.dynamic.is_empty() && self.journals.is_empty()
    }

    /// The version of the newest delete.
    pub fn tombstone(&self) -> Option<Version> {
        self.tombstone
    }

    /// Estimate of the heap bytes it takes.
    pub fn heap_size(&self) -> usize {
        let fields = self.fields.capacity() * size_of::<(u32, FieldState)>();
        let dynamic = self.dynamic.capacity() * size_of::<(Box<str>, Cell)>();
        let journals = self.journals.capacity() * size_of::<(u32, Journal)>();
        let behind_fields: usize = self.fields.iter().map(|(_, state)| state.heap_size()).sum();
        let behind_dynamic: usize = self.dynamic.iter().map(|(name, c)| name.len() + c.value.heap_size()).sum();
        let behind_journals: usize = self.journals.iter().map(|(_, journal)| journal.heap_size()).sum();
        fields + dynamic + journals + behind_fields + behind_dynamic + behind_journals
    }

    /// Where the state of a declared field is, or belongs; `guess` is looked at first.
    pub(super) fn place(&self, id: u32, guess: usize) -> Result<usize, usize> {
        match self.fields.get(guess) {
            Some((found, _)) if *found == id => Ok(guess),
            _ => self.fields.binary_search_by_key(&id, |(field, _)| *field),
        }
    }

    /// State of a declared field.
    pub(super) fn field(&self, id: u32) -> Option<&FieldState> {
        self.fields.binary_search_by_key(&id, |(field, _)| *field).ok().map(|i| &self.fields[i].1)
    }
}

/// The version up to which contributions to an accumulator were cleared by a null.
pub(super) fn cleared_at(fields: &[(u32, FieldState)], id: u32) -> Option<Version> {
    match fields.binary_search_by_key(&id, |(field, _)| *field).ok().map(|i| &fields[i].1) {
        Some(FieldState::Cleared(at)) => Some(*at),
        _ => None,
    }
}
