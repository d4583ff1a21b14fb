//! What contributions come to over all sources of a record, and whether sums stay within 64 bits.

use super::contribution::{Contribution, Folded};
use super::definition::{FieldDef, Strategy, TableDef};
use super::event::{Event, EventKind, Reason, Reject};
use super::state::{Record, cleared_at};
use super::value::Value;

/// The contributions to a field, added up: sources in the order of their ids, each lowest contribution first.
pub(super) fn total(record: &Record, field: u32) -> Option<Folded> {
    let cleared = cleared_at(&record.fields, field);
    let totals = record.journals.iter().filter_map(|(_, journal)| journal.total(field, cleared));
    totals.reduce(|mut total, source| {
        total.add(source);
        total
    })
}

/// The visible value of a field that is made of contributions.
pub(super) fn shown(record: &Record, field: &FieldDef) -> Option<Value> {
    total(record, field.id).and_then(|total| total.shown(field.limit))
}

/// Whether merging `event` could bring a sum out of range. Errs towards yes: it asks whether the sizes of all
/// contributions together fit, since then so does any choice among them.
pub(super) fn at_risk(def: &TableDef, record: &Record, event: &Event) -> bool {
    match &event.kind {
        EventKind::Delete => !record.journals.is_empty() && sums(def).any(|field| !fits(record, field, None)),
        EventKind::Upsert { declared, .. } => declared
            .iter()
            .filter_map(|(at, value)| def.fields.get(*at).map(|field| (field, value)))
            .any(|(field, value)| {
                field.merge == Strategy::Sum
                    && !fits(record, field, Contribution::of(field, value, event.stamp).as_ref())
            }),
    }
}

/// The first sum that is out of range.
pub(super) fn overflow(def: &TableDef, record: &Record) -> Option<Reject> {
    let beyond = |field: &&FieldDef| total(record, field.id).is_some_and(|sum| sum.shown(field.limit).is_none());
    sums(def).find(beyond).map(|field| Reject {
        reason: Reason::OutOfRange,
        path: field.path.to_string(),
        detail: format!("the sum {} would leave 64 bits", field.name),
    })
}

fn sums(def: &TableDef) -> impl Iterator<Item = &FieldDef> {
    def.fields.iter().filter(|field| field.merge == Strategy::Sum)
}

fn fits(record: &Record, field: &FieldDef, added: Option<&Contribution>) -> bool {
    let mut ints = 0_u128;
    let mut floats = 0.0_f64;
    let mut count = |part: &Contribution| match part {
        Contribution::Int(i) => ints = ints.saturating_add(u128::from(i.unsigned_abs())),
        Contribution::Float(f) => floats += f.abs(),
        Contribution::One | Contribution::First(_) | Contribution::Append(_) => {}
    };
    added.into_iter().for_each(&mut count);
    for (_, journal) in &record.journals {
        journal.live(field.id, None).for_each(&mut count);
    }
    for folded in record.journals.iter().filter_map(|(_, journal)| journal.base.as_ref()?.of(field.id)) {
        match folded {
            Folded::Int(sum) => ints = ints.saturating_add(sum.unsigned_abs()),
            Folded::Float(sum) => floats += sum.abs(),
            Folded::Count(_) | Folded::First(_) | Folded::Append(_) => {}
        }
    }
    ints <= i64::MAX.unsigned_abs().into() && floats < f64::MAX / 4.0
}
