//! Sums over all sources of a record, and whether they stay within 64 bits.

use super::definition::{FieldDef, FieldType, Strategy, TableDef};
use super::event::{Event, EventKind, Reason, Reject};
use super::journal::{Contribution, Folded};
use super::state::{Record, cleared_at};
use super::value::Value;

/// The visible total of a `sum` or `count` field: sources in the order of their ids, each lowest contribution first.
pub(super) fn total(record: &Record, field: u32) -> Option<Folded> {
    let cleared = cleared_at(&record.fields, field);
    let totals = record.journals.iter().filter_map(|(_, journal)| journal.total(field, cleared));
    totals.reduce(|a, b| match (a, b) {
        (Folded::Int(a), Folded::Int(b)) => Folded::Int(a.saturating_add(b)),
        (Folded::Float(a), Folded::Float(b)) => Folded::Float(a + b),
        (Folded::Count(a), Folded::Count(b)) => Folded::Count(a.saturating_add(b)),
        (_, b) => b,
    })
}

/// What a total is shown as; `None` if it is out of range.
pub(super) fn shown(total: Folded) -> Option<Value> {
    match total {
        Folded::Int(sum) => i64::try_from(sum).ok().map(Value::Int),
        Folded::Float(sum) => sum.is_finite().then(|| Value::float(sum)),
        Folded::Count(n) => i64::try_from(n).ok().map(Value::Int),
    }
}

/// The contribution that a non-null value makes to a `sum` or `count` field; `None` if it is not a number.
pub(super) fn contribution(field: &FieldDef, value: &Value) -> Option<Contribution> {
    match (field.merge, field.kind, value) {
        (Strategy::Count, _, _) => Some(Contribution::One),
        (_, FieldType::Float, Value::Int(i)) => Some(Contribution::Float(*i as f64)),
        (_, FieldType::Float, Value::Float(f)) => Some(Contribution::Float(f + 0.0)),
        (_, _, Value::Int(i)) => Some(Contribution::Int(*i)),
        _ => None,
    }
}

/// Whether merging `event` could bring a sum out of range. Errs towards yes: it asks whether the sizes of all
/// contributions together fit, since then so does any choice among them.
pub(super) fn at_risk(def: &TableDef, record: &Record, event: &Event) -> bool {
    match &event.kind {
        EventKind::Delete => !record.journals.is_empty() && sums(def).any(|field| !fits(record, field, None)),
        EventKind::Upsert { declared, .. } => declared
            .iter()
            .filter_map(|(at, value)| def.fields.get(*at).map(|field| (field, value)))
            .any(|(field, value)| field.merge == Strategy::Sum && !fits(record, field, contribution(field, value))),
    }
}

/// The first sum that is out of range.
pub(super) fn overflow(def: &TableDef, record: &Record) -> Option<Reject> {
    let beyond = |field: &&FieldDef| total(record, field.id).is_some_and(|sum| shown(sum).is_none());
    sums(def).find(beyond).map(|field| Reject {
        reason: Reason::OutOfRange,
        path: field.path.to_string(),
        detail: format!("the sum {} would leave 64 bits", field.name),
    })
}

fn sums(def: &TableDef) -> impl Iterator<Item = &FieldDef> {
    def.fields.iter().filter(|field| field.merge == Strategy::Sum)
}

fn fits(record: &Record, field: &FieldDef, added: Option<Contribution>) -> bool {
    let mut ints = 0_u128;
    let mut floats = 0.0_f64;
    let mut count = |part: Contribution| match part {
        Contribution::Int(i) => ints = ints.saturating_add(u128::from(i.unsigned_abs())),
        Contribution::Float(f) => floats += f.abs(),
        Contribution::One => {}
    };
    added.into_iter().for_each(&mut count);
    for (_, journal) in &record.journals {
        journal.live(field.id, None).for_each(&mut count);
    }
    for (_, base) in record
        .journals
        .iter()
        .flat_map(|(_, j)| &j.base)
        .flat_map(|base| &base.folded)
        .filter(|(id, _)| *id == field.id)
    {
        match base {
            Folded::Int(sum) => ints = ints.saturating_add(sum.unsigned_abs()),
            Folded::Float(sum) => floats += sum.abs(),
            Folded::Count(_) => {}
        }
    }
    ints <= i64::MAX.unsigned_abs().into() && floats < f64::MAX / 4.0
}
