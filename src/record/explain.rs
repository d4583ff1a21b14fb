//! Why a record is what it is: what won each field, what journals hold, what a delete covers.
//!
//! Says what is kept and guesses nothing. Of a cell the stamp is kept, not the event: its source is known as far as ranks
//! tell sources apart, and its event as far as a journal holds it. What lost is gone, but for `first` fields in the window.

use super::contribution::{Contribution, Folded, append_cmp, first_cmp};
use super::definition::{FieldDef, Strategy, TableDef};
use super::derived;
use super::event::{Stamp, Version};
use super::journal::{Journal, NO_ID};
use super::render::{display, is_shown};
use super::state::{Cell, FieldState, Record, cleared_at};
use super::value::Value;

/// Why a record is what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Version of the newest delete: whatever is not newer is gone, and stays away.
    pub tombstone: Option<Version>,
    /// The tombstone goes when the task's watermark has passed this; `None`: never.
    pub tombstone_due: Option<i64>,
    /// The record goes, as it is now, when the task's watermark has passed this; `None`: never.
    pub record_due: Option<i64>,
    /// Declared fields of which something is kept, by name, then dynamic members, by name.
    pub fields: Vec<Field>,
    /// Journals, by the name of their source; by its id where it is not configured any more.
    pub journals: Vec<(String, Held)>,
    /// What became of each derived field: its value, none where its expression says null, or why there is none.
    pub derived: Vec<(String, Result<Option<Value>, String>)>,
}

/// Why a field is what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Name.
    pub name: String,
    /// Strategy; `lww` for dynamic members.
    pub merge: Strategy,
    /// Up to where a null for the whole field cleared it; the rank where the strategy looks at it.
    pub cleared: Option<(Version, Option<i32>)>,
    /// What the value is made of: the winner; of a map one for each key, of a set for each member, of `max` and `min` the
    /// extreme and what a delete would uncover, of an `append` each value that is known by itself. None for sums and counts.
    pub origins: Vec<Origin>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// Key of a map.
    pub key: Option<String>,
    /// The value; null where a null cleared the field, or the key.
    pub value: Value,
    /// Version of its event.
    pub version: Version,
    /// Rank of its source; not kept by `max` and `min`.
    pub rank: Option<i32>,
    /// The sources that it may come from: one where that is known.
    pub sources: Vec<String>,
    /// Hashes of the ids of events that journals of these sources hold at this version; its event is among them if it
    /// contributed to a `sum`, `count`, `first` or `append` field.
    pub events: Vec<u64>,
    /// Values that lost to it by a tie; `None` where such are not kept.
    pub lost_ties: Option<Vec<Value>>,
}

/// What the journal of one source holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// What left the window.
    pub base: Option<HeldBase>,
    /// Events in the window, lowest first.
    pub events: Vec<HeldEvent>,
}

/// Contributions that left the window, folded.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldBase {
    /// Lowest version folded.
    pub lowest: Version,
    /// Highest version folded; what is not above it is outside the window.
    pub highest: Version,
    /// Hash of the id of the event that is highest.
    pub highest_event: Option<u64>,
    /// What they come to, by field.
    pub folded: Vec<(String, Value)>,
}

/// An event in the window.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldEvent {
    /// Version.
    pub version: Version,
    /// Hash of its id; `None` where it has none, and stands for all such events at this version.
    pub event: Option<u64>,
    /// What it contributes, by field. What a null cleared is listed too.
    pub contributions: Vec<(String, Value)>,
}

/// Explains a record.
pub fn explain(def: &TableDef, key: &[u8], record: &Record) -> Explanation {
    let declared = def.fields.iter().filter_map(|field| declared(def, record, field));
    let dynamic = record.dynamic.iter().map(|(name, cell)| Field {
        name: name.to_string(),
        merge: Strategy::Lww,
        cleared: None,
        origins: vec![origin(def, record, None, cell)],
    });
    Explanation {
        tombstone: record.tombstone,
        tombstone_due: def.retention.tombstone_due(record),
        record_due: def.retention.record_due(record),
        fields: declared.chain(dynamic).collect(),
        journals: record
            .journals
            .iter()
            .map(|(source, journal)| (source_name(def, *source), held(def, journal)))
            .collect(),
        derived: derived(def, key, record),
    }
}

/// Empty where nothing is shown.
fn derived(def: &TableDef, key: &[u8], record: &Record) -> Vec<(String, Result<Option<Value>, String>)> {
    if !is_shown(def, record) {
        return Vec::new();
    }
    let show = |field: &FieldDef, value: Option<Value>| value.map(|value| display(field.kind, value));
    let values = derived::values(def, key, record, |_| true).into_iter();
    values.map(|(field, value)| (field.name.clone(), value.map(|value| show(field, value)))).collect()
}

/// `None` if nothing is kept of the field.
fn declared(def: &TableDef, record: &Record, field: &FieldDef) -> Option<Field> {
    let show = |origin: Origin| {
        let lost = origin.lost_ties.map(|lost| lost.into_iter().map(|value| display(field.kind, value)).collect());
        Origin { value: display(field.kind, origin.value), lost_ties: lost, ..origin }
    };
    let told = |cleared, origins: Vec<Origin>| {
        let origins = origins.into_iter().map(show).collect();
        Some(Field { name: field.name.clone(), merge: field.merge, cleared, origins })
    };
    if field.merge.accumulates() {
        let cleared = cleared_at(&record.fields, field.id).map(|version| (version, None));
        let any = cleared.is_some() || record.journals.iter().any(|(_, journal)| contributes(journal, field.id));
        return any.then(|| told(cleared, accumulated(def, record, field))).flatten();
    }
    let by_stamp = |cleared: Option<Stamp>| cleared.map(|stamp| (stamp.version, Some(stamp.rank)));
    match record.field(field.id)? {
        FieldState::Lww(cell) => told(None, vec![origin(def, record, None, cell)]),
        FieldState::Map(map) => {
            let keys = map.cells.iter().map(|(key, cell)| origin(def, record, Some(key), cell));
            told(by_stamp(map.cleared), keys.collect())
        }
        FieldState::Set(members) => {
            let cells = members.entries.iter().map(|(value, stamp)| Cell { value: value.clone(), stamp: *stamp });
            told(by_stamp(members.cleared), cells.map(|cell| origin(def, record, None, &cell)).collect())
        }
        FieldState::Extreme(front) => {
            let origins = front.front.iter().map(|(version, value)| versioned(def, record, *version, value));
            told(front.cleared.map(|version| (version, None)), origins.collect())
        }
        FieldState::Cleared(version) => told(Some((*version, None)), Vec::new()),
    }
}

fn contributes(journal: &Journal, field: u32) -> bool {
    journal.base.as_ref().is_some_and(|base| base.of(field).is_some()) || journal.live(field, None).next().is_some()
}

/// Where a cell comes from: its rank tells the source.
fn origin(def: &TableDef, record: &Record, key: Option<&str>, cell: &Cell) -> Origin {
    let Stamp { version, rank } = cell.stamp;
    let sources = def.sources.iter().filter(|source| source.rank == rank);
    let (ids, names): (Vec<u32>, Vec<String>) = sources.map(|source| (source.id, source.name.clone())).unzip();
    Origin {
        key: key.map(str::to_owned),
        value: cell.value.clone(),
        version,
        rank: Some(rank),
        sources: names,
        events: events(record, version, |source| ids.contains(&source)),
        lost_ties: None,
    }
}

/// Where a value comes from of which the version is all that is kept.
fn versioned(def: &TableDef, record: &Record, version: Version, value: &Value) -> Origin {
    Origin {
        key: None,
        value: value.clone(),
        version,
        rank: None,
        sources: def.sources.iter().map(|source| source.name.clone()).collect(),
        events: events(record, version, |_| true),
        lost_ties: None,
    }
}

/// Hashes of the ids that journals hold at a version.
fn events(record: &Record, version: Version, of: impl Fn(u32) -> bool) -> Vec<u64> {
    let journals = record.journals.iter().filter(|(source, _)| of(*source));
    let entries = journals.flat_map(|(_, journal)| &journal.entries);
    entries.filter(|entry| entry.version == version && entry.id != NO_ID).map(|entry| entry.id).collect()
}

/// The values of a `first` or `append`; sums and counts are told by the journals.
fn accumulated(def: &TableDef, record: &Record, field: &FieldDef) -> Vec<Origin> {
    let cells = cells(def, record, field);
    match field.merge {
        Strategy::First => first(cells).into_iter().collect(),
        Strategy::Append => cells.into_iter().map(|(_, origin)| origin).collect(),
        _ => Vec::new(),
    }
}

/// The winner of a `first`, and whom it is known to have beaten in a tie.
fn first(mut cells: Vec<(Cell, Origin)>) -> Option<Origin> {
    cells.sort_by(|(a, _), (b, _)| first_cmp(a, b));
    let mut cells = cells.into_iter();
    let (winner, origin) = cells.next()?;
    let lost = cells.filter(|(cell, _)| cell.stamp == winner.stamp && cell.value != winner.value);
    Some(Origin { lost_ties: Some(lost.map(|(cell, _)| cell.value).collect()), ..origin })
}

/// The live values of a field that journals keep, with where they come from, by stamp.
fn cells(def: &TableDef, record: &Record, field: &FieldDef) -> Vec<(Cell, Origin)> {
    let cleared = cleared_at(&record.fields, field.id);
    let mut out = Vec::new();
    for (source, journal) in &record.journals {
        let mut tell = |cell: &Cell, event: Option<u64>| {
            let told = Origin {
                key: None,
                value: cell.value.clone(),
                version: cell.stamp.version,
                rank: Some(cell.stamp.rank),
                sources: vec![source_name(def, *source)],
                events: event.into_iter().collect(),
                lost_ties: None,
            };
            out.push((cell.clone(), told));
        };
        match journal.base.as_ref().and_then(|base| base.of(field.id)) {
            Some(Folded::First(cell)) => tell(cell, None),
            Some(Folded::Append(cells)) => cells.iter().for_each(|cell| tell(cell, None)),
            _ => {}
        }
        for entry in journal.entries.iter().filter(|entry| cleared.is_none_or(|at| entry.version > at)) {
            for (_, part) in entry.parts.iter().filter(|(id, _)| *id == field.id) {
                if let Contribution::First(cell) | Contribution::Append(cell) = part {
                    tell(cell, named(entry.id));
                }
            }
        }
    }
    out.sort_by(|(a, _), (b, _)| append_cmp(a, b));
    out
}

fn held(def: &TableDef, journal: &Journal) -> Held {
    let show = |field: u32, value: Value| match def.field_by_id(field) {
        Some(field) => (field.name.clone(), display(field.kind, value)),
        None => (field.to_string(), value),
    };
    let base = journal.base.as_ref().map(|base| HeldBase {
        lowest: base.low,
        highest: base.high.0,
        highest_event: named(base.high.1),
        folded: base
            .folded
            .iter()
            .map(|(field, folded)| show(*field, folded.clone().shown(usize::MAX).unwrap_or(Value::Null)))
            .collect(),
    });
    let events = journal.entries.iter().map(|entry| HeldEvent {
        version: entry.version,
        event: named(entry.id),
        contributions: entry.parts.iter().map(|(field, part)| show(*field, part.value())).collect(),
    });
    Held { base, events: events.collect() }
}

fn named(id: u64) -> Option<u64> {
    (id != NO_ID).then_some(id)
}

fn source_name(def: &TableDef, id: u32) -> String {
    def.sources.iter().find(|source| source.id == id).map_or_else(|| id.to_string(), |source| source.name.clone())
}

#[cfg(test)]
mod tests;
