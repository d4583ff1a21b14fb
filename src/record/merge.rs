//! The pure merge: `merge(record, event) → outcome`, changing the record in place.

use super::contribution::Contribution;
use super::definition::{FieldDef, Strategy, TableDef};
use super::event::{Event, EventKind, Outcome, Reason, Reject, Stamp, Version};
use super::extreme::{End, Extreme};
use super::journal::{Admission, Entry, Journal, NO_ID, Parts};
use super::map::Map;
use super::retention::Ended;
use super::set::Members;
use super::state::{Cell, FieldState, Part, Record};
use super::sums;
use super::value::Value;

/// What a merge did.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// The one outcome of the event.
    pub outcome: Outcome,
    /// Whether the record's bytes changed (also possible when the outcome is quarantined).
    pub changed: bool,
    /// Parts that were refused, when the outcome is [`Outcome::Quarantined`].
    pub rejects: Vec<Reject>,
    /// Ids of the fields that were refused where the rest of the event was merged; empty where all of it was refused.
    pub refused: Vec<u32>,
    /// Deletes and nulls that came later than the window: what they cover in part was folded already and stays.
    pub window_misses: u32,
    /// Values that a limit pushed out.
    pub evicted: u32,
    /// Ids seen again with other content.
    pub id_conflicts: u32,
    /// What event time had ended before.
    pub ended: Option<Ended>,
}

impl Merged {
    pub(super) fn refused(reject: Reject) -> Self {
        Merged { rejects: vec![reject], ..Self::plain(Outcome::Quarantined) }
    }

    fn plain(outcome: Outcome) -> Self {
        Merged {
            outcome,
            changed: outcome == Outcome::Applied,
            rejects: Vec::new(),
            refused: Vec::new(),
            window_misses: 0,
            evicted: 0,
            id_conflicts: 0,
            ended: None,
        }
    }
}

/// Merges `event` into `record`. Total: every event that decodes can be merged.
///
/// An event that would bring a sum out of 64 bits is quarantined and changes nothing at all, be it a contribution, or a
/// delete or null that takes away what kept the sum in range. A contribution outside the window is refused alone: the
/// rest of its event is merged.
pub fn merge(def: &TableDef, record: &mut Record, event: &Event) -> Merged {
    judge(def, record, event, false)
}

/// Merges what of `event` goes into `fields`, which were refused when it was merged before. A person has judged that its
/// contributions are no duplicates: what lies outside the window is folded into the base, whose highest entry stays.
pub fn merge_refused(def: &TableDef, record: &mut Record, event: &Event, fields: &[String]) -> Merged {
    let mut event = event.clone();
    if let EventKind::Upsert { declared, dynamic } = &mut event.kind {
        dynamic.clear();
        declared.retain(|(at, _)| def.fields.get(*at).is_some_and(|field| fields.contains(&field.name)));
    }
    judge(def, record, &event, true)
}

fn judge(def: &TableDef, record: &mut Record, event: &Event, no_duplicate: bool) -> Merged {
    if let Some(tombstone) = record.tombstone
        && event.stamp.version <= tombstone
    {
        let repeated = event.kind == EventKind::Delete && event.stamp.version == tombstone;
        return Merged::plain(if repeated { Outcome::Duplicate } else { Outcome::Stale });
    }
    if !sums::at_risk(def, record, event) {
        return apply(def, record, event, no_duplicate);
    }
    let before = record.clone();
    let merged = apply(def, record, event, no_duplicate);
    match sums::overflow(def, record) {
        None => merged,
        Some(reject) => {
            *record = before;
            Merged::refused(reject)
        }
    }
}

fn apply(def: &TableDef, record: &mut Record, event: &Event, no_duplicate: bool) -> Merged {
    match &event.kind {
        EventKind::Delete => bury(record, event.stamp.version),
        EventKind::Upsert { declared, dynamic } => {
            let mut upsert = Upsert { def, event, no_duplicate, next: 0, tally: Tally::default() };
            upsert.declared(record, declared);
            upsert.dynamic(record, dynamic);
            upsert.tally.outcome()
        }
    }
}

/// A delete newer than the tombstone: removes every cell and contribution up to its version, whatever the rank.
fn bury(record: &mut Record, version: Version) -> Merged {
    let mut merged = Merged::plain(Outcome::Applied);
    record.tombstone = Some(version);
    record.fields.retain_mut(|(_, state)| state.bury(version));
    record.dynamic.retain(|(_, cell)| cell.stamp.version > version);
    record.journals.retain_mut(|(_, journal)| journal.bury(version, &mut merged.window_misses));
    merged
}

/// What became of the parts of an event, added up.
#[derive(Default)]
struct Tally {
    changed: bool,
    superseded: bool,
    id_held: bool,
    rejects: Vec<Reject>,
    refused: Vec<u32>,
    window_misses: u32,
    evicted: u32,
    id_conflicts: u32,
}

impl Tally {
    fn count(&mut self, part: Part) {
        match part {
            Part::Changed => self.changed = true,
            Part::Held => {}
            Part::Superseded => self.superseded = true,
        }
    }

    /// Where several fit: quarantined, then applied, then duplicate, then stale.
    fn outcome(self) -> Merged {
        let outcome = if !self.rejects.is_empty() {
            Outcome::Quarantined
        } else if self.changed {
            Outcome::Applied
        } else if self.id_held || !self.superseded {
            Outcome::Duplicate
        } else {
            Outcome::Stale
        };
        Merged {
            outcome,
            changed: self.changed,
            rejects: self.rejects,
            refused: self.refused,
            window_misses: self.window_misses,
            evicted: self.evicted,
            id_conflicts: self.id_conflicts,
            ended: None,
        }
    }
}

struct Upsert<'a> {
    def: &'a TableDef,
    event: &'a Event,
    /// A person said so: a contribution outside the window is not refused.
    no_duplicate: bool,
    /// Where the state of the next field may be: fields of one source mostly lie side by side.
    next: usize,
    tally: Tally,
}

impl Upsert<'_> {
    fn declared(&mut self, record: &mut Record, values: &[(usize, Value)]) {
        let mut parts = Parts::new();
        for (at, value) in values {
            let Some(field) = self.def.fields.get(*at) else { continue };
            match field.merge {
                Strategy::Lww => self.lww(record, field, value),
                Strategy::Set => self.set(record, field, value),
                Strategy::Max => self.extreme(record, field, value, End::Max),
                Strategy::Min => self.extreme(record, field, value, End::Min),
                Strategy::Map => self.map(record, field, value),
                Strategy::Sum | Strategy::Count | Strategy::First | Strategy::Append => match value {
                    Value::Null => self.clear(record, field),
                    Value::Array(values) if field.merge == Strategy::Append && values.is_empty() => {}
                    value => match Contribution::of(field, value, self.event.stamp) {
                        Some(part) => parts.push((field.id, part)),
                        None => self.refuse(field, Reason::WrongType, "not a number"),
                    },
                },
            }
        }
        if !parts.is_empty() {
            self.contribute(record, parts);
        }
    }

    fn lww(&mut self, record: &mut Record, field: &FieldDef, value: &Value) {
        let stamp = self.event.stamp;
        let place = record.place(field.id, self.next);
        self.next = place.unwrap_or_else(|at| at) + 1;
        let part = match place {
            Err(at) => {
                record.fields.insert(at, (field.id, FieldState::Lww(Cell { value: value.clone(), stamp })));
                Part::Changed
            }
            Ok(at) => match &mut record.fields[at].1 {
                FieldState::Lww(cell) => cell.write(value, stamp),
                other => {
                    *other = FieldState::Lww(Cell { value: value.clone(), stamp });
                    Part::Changed
                }
            },
        };
        self.tally.count(part);
    }

    fn set(&mut self, record: &mut Record, field: &FieldDef, value: &Value) {
        let Upsert { event: Event { stamp, .. }, tally, .. } = self;
        with_state(record, field.id, FieldState::Set(Members::default()), |state| {
            let FieldState::Set(members) = state else { return };
            match value {
                Value::Null => tally.count(members.clear(*stamp)),
                Value::Array(values) => {
                    for value in values {
                        let part = members.add(value, *stamp, field.limit, &mut tally.evicted);
                        tally.count(part);
                    }
                }
                single => {
                    let part = members.add(single, *stamp, field.limit, &mut tally.evicted);
                    tally.count(part);
                }
            }
        });
    }

    fn map(&mut self, record: &mut Record, field: &FieldDef, value: &Value) {
        if !matches!(value, Value::Null | Value::Object(_)) {
            return self.refuse(field, Reason::WrongType, "not an object");
        }
        let Upsert { event: Event { stamp, .. }, tally, .. } = self;
        with_state(record, field.id, FieldState::Map(Map::default()), |state| {
            let FieldState::Map(map) = state else { return };
            let Value::Object(members) = value else { return tally.count(map.clear(*stamp)) };
            for (key, value) in members {
                let part = map.write(key, value, *stamp, field.limit, &mut tally.evicted);
                tally.count(part);
            }
        });
    }

    fn extreme(&mut self, record: &mut Record, field: &FieldDef, value: &Value, end: End) {
        let Upsert { event: Event { stamp: Stamp { version, .. }, .. }, tally, .. } = self;
        with_state(record, field.id, FieldState::Extreme(Extreme::default()), |state| {
            let FieldState::Extreme(front) = state else { return };
            let part = match value {
                Value::Null => front.clear(*version),
                value => front.offer(end, value, *version, &mut tally.evicted),
            };
            tally.count(part);
        });
    }

    /// A null on a field that is made of contributions: masks them up to its version.
    fn clear(&mut self, record: &mut Record, field: &FieldDef) {
        let version = self.event.stamp.version;
        match record.fields.binary_search_by_key(&field.id, |(id, _)| *id) {
            Err(at) => record.fields.insert(at, (field.id, FieldState::Cleared(version))),
            Ok(at) => match &mut record.fields[at].1 {
                FieldState::Cleared(held) if *held == version => return self.tally.count(Part::Held),
                FieldState::Cleared(held) if *held > version => return self.tally.count(Part::Superseded),
                state => *state = FieldState::Cleared(version),
            },
        }
        self.tally.count(Part::Changed);
        for (_, journal) in &mut record.journals {
            self.tally.window_misses += u32::from(journal.clear(field.id, version));
        }
    }

    fn contribute(&mut self, record: &mut Record, mut parts: Parts) {
        let Event { stamp: Stamp { version, .. }, source, id, .. } = *self.event;
        if id.is_none() {
            let nameless = take_with_id(&mut parts);
            self.refuse_parts(&nameless, Reason::MissingEventId, "a contribution without an event id");
            if parts.is_empty() {
                return;
            }
        }
        parts.sort_unstable_by_key(|(field, _)| *field);
        let at = match record.journals.binary_search_by_key(&source, |(held, _)| *held) {
            Ok(at) => at,
            Err(at) => {
                record.journals.insert(at, (source, Journal::default()));
                at
            }
        };
        let journal = &mut record.journals[at].1;
        let admission = journal.admit(Entry { version, id: id.unwrap_or(NO_ID), parts: parts.clone() });
        if admission == Admission::Outside && self.no_duplicate {
            let (part, evicted) = journal.fold_late(self.def, version, parts, &record.fields);
            self.tally.evicted += evicted;
            return self.tally.count(part);
        }
        self.tally.id_conflicts += u32::from(matches!(admission, Admission::Conflict { .. }));
        match admission {
            Admission::Entered | Admission::Conflict { replaced: true } => {
                let window = self.def.window.events;
                self.tally.evicted += journal.shrink(self.def, window, self.span(source), &record.fields);
                self.tally.changed = true;
            }
            Admission::Held | Admission::Conflict { replaced: false } => self.tally.id_held = true,
            Admission::Joined(part) => self.tally.count(part),
            Admission::Outside => {
                let late = take_with_id(&mut parts);
                self.tally.count(journal.fold_late(self.def, version, parts, &record.fields).0);
                let detail = "older than the window of its source, so it cannot be told from a duplicate";
                self.refuse_parts(&late, Reason::OutsideWindow, detail);
            }
        }
    }

    /// The window's length where the source's versions are times.
    fn span(&self, source: u32) -> Option<i64> {
        let source = self.def.sources.iter().find(|s| s.id == source)?;
        source.max_ahead_ms.map(|_| self.def.window.time_ms)
    }

    fn refuse_parts(&mut self, parts: &Parts, reason: Reason, detail: &str) {
        for field in parts.iter().filter_map(|(id, _)| self.def.field_by_id(*id)) {
            self.refuse(field, reason, detail);
        }
    }

    fn refuse(&mut self, field: &FieldDef, reason: Reason, detail: &str) {
        let detail = format!("{}: {detail}", field.name);
        self.tally.refused.push(field.id);
        self.tally.rejects.push(Reject { reason, path: field.path.to_string(), detail });
    }

    fn dynamic(&mut self, record: &mut Record, values: &[(String, Value)]) {
        let stamp = self.event.stamp;
        for (name, value) in values {
            let part = match record.dynamic.binary_search_by(|(held, _)| held.as_ref().cmp(name)) {
                Ok(at) => record.dynamic[at].1.write(value, stamp),
                Err(at) => {
                    record.dynamic.insert(at, (name.as_str().into(), Cell { value: value.clone(), stamp }));
                    Part::Changed
                }
            };
            self.tally.count(part);
        }
    }
}

/// Takes out the parts that only the id of their event tells from duplicates.
fn take_with_id(parts: &mut Parts) -> Parts {
    let (with_id, rest) = parts.drain(..).partition(|(_, part)| part.needs_id());
    *parts = rest;
    with_id
}

/// Runs `change` on the state of a field, which starts as `fresh` if there is none (or one of another strategy, which
/// the check of a changed definition refuses before it comes here). Keeps no empty state.
fn with_state(record: &mut Record, id: u32, fresh: FieldState, change: impl FnOnce(&mut FieldState)) {
    match record.fields.binary_search_by_key(&id, |(field, _)| *field) {
        Ok(at) => {
            let state = &mut record.fields[at].1;
            if std::mem::discriminant(state) != std::mem::discriminant(&fresh) {
                *state = fresh;
            }
            change(state);
        }
        Err(at) => {
            let mut state = fresh;
            change(&mut state);
            if !state.is_empty() {
                record.fields.insert(at, (id, state));
            }
        }
    }
}

#[cfg(test)]
mod catalogue;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod tests;
