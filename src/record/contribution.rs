//! What events contribute to the `sum`, `count`, `first` and `append` fields of a record, one by one and folded.

use std::cmp::Ordering;

use super::definition::{FieldDef, FieldType, Strategy};
use super::event::{Stamp, Version};
use super::state::{Cell, Part};
use super::value::Value;

/// What an event adds to one field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Contribution {
    /// To a `sum`.
    Int(i64),
    /// To a `sum`.
    Float(f64),
    /// One, to a `count`.
    One,
    /// The value for a `first`.
    First(Box<Cell>),
    /// The value for an `append`; an array, which is never empty, appends each of its values.
    Append(Box<Cell>),
}

/// Contributions of one source to one field, folded.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Folded {
    Int(i128),
    Float(f64),
    Count(u64),
    /// The value with the lowest stamp.
    First(Box<Cell>),
    /// Values by stamp, of equal stamps by canonical text, never none.
    Append(Vec<Cell>),
}

impl Contribution {
    /// What a value, neither null nor an empty array, contributes to a field; `None` if it is of another type.
    pub(super) fn of(field: &FieldDef, value: &Value, stamp: Stamp) -> Option<Self> {
        let cell = |value: Value| Box::new(Cell { value, stamp });
        match (field.merge, field.kind, value) {
            (Strategy::First, ..) => Some(Contribution::First(cell(value.clone()))),
            (Strategy::Append, ..) => Some(Contribution::Append(cell(value.clone()))),
            (Strategy::Count, ..) => Some(Contribution::One),
            (Strategy::Sum, FieldType::Float, Value::Int(i)) => Some(Contribution::Float(*i as f64)),
            (Strategy::Sum, FieldType::Float, Value::Float(f)) => Some(Contribution::Float(f + 0.0)),
            (Strategy::Sum, _, Value::Int(i)) => Some(Contribution::Int(*i)),
            _ => None,
        }
    }

    /// Whether nothing but the id of its event tells it from another one. A `first` looks the same however often the same
    /// value came.
    pub(super) fn needs_id(&self) -> bool {
        !matches!(self, Contribution::First(_))
    }

    /// What it adds, as a value.
    pub(super) fn value(&self) -> Value {
        match self {
            Contribution::Int(i) => Value::Int(*i),
            Contribution::Float(f) => Value::Float(*f),
            Contribution::One => Value::Int(1),
            Contribution::First(cell) | Contribution::Append(cell) => cell.value.clone(),
        }
    }

    /// Takes in another contribution to the same field at the same version: of two for a `first` the one that wins the tie
    /// stays.
    pub(super) fn join(&mut self, other: Contribution) -> Part {
        match (&mut *self, &other) {
            (Contribution::First(held), Contribution::First(cell)) => match first_cmp(cell, held) {
                Ordering::Less => {
                    *self = other;
                    Part::Changed
                }
                Ordering::Equal => Part::Held,
                Ordering::Greater => Part::Superseded,
            },
            (held, other) if *held == *other => Part::Held,
            _ => Part::Superseded,
        }
    }

    pub(super) fn heap_size(&self) -> usize {
        match self {
            Contribution::Int(_) | Contribution::Float(_) | Contribution::One => 0,
            Contribution::First(cell) | Contribution::Append(cell) => size_of::<Cell>() + cell.value.heap_size(),
        }
    }
}

impl Folded {
    /// One contribution alone.
    pub(super) fn of(part: Contribution) -> Self {
        match part {
            Contribution::Int(i) => Folded::Int(i.into()),
            Contribution::Float(f) => Folded::Float(f),
            Contribution::One => Folded::Count(1),
            Contribution::First(cell) => Folded::First(cell),
            Contribution::Append(cell) => Folded::Append(vec![*cell]),
        }
    }

    /// Adds what comes after it; what became of that. What is of another kind (the field's type changed, which is refused
    /// elsewhere) starts anew.
    pub(super) fn add(&mut self, later: Folded) -> Part {
        match (&mut *self, later) {
            (Folded::Int(sum), Folded::Int(i)) => *sum = sum.saturating_add(i),
            (Folded::Float(sum), Folded::Float(f)) => *sum += f,
            (Folded::Count(n), Folded::Count(more)) => *n = n.saturating_add(more),
            (Folded::First(held), Folded::First(cell)) => match first_cmp(&cell, held) {
                Ordering::Less => *held = cell,
                Ordering::Equal => return Part::Held,
                Ordering::Greater => return Part::Superseded,
            },
            (Folded::Append(held), Folded::Append(cells)) => {
                held.extend(cells);
                // Two ascending runs; most often the second follows the first.
                held.sort_by(append_cmp);
            }
            (_, later) => *self = later,
        }
        Part::Changed
    }

    /// Lets the lowest values of an `append` go as far as at least `limit` stay; their number.
    pub(super) fn shrink(&mut self, limit: usize) -> u32 {
        let Folded::Append(cells) = self else { return 0 };
        let mut over = cells.iter().map(count).sum::<usize>().saturating_sub(limit.max(1));
        let mut evicted = 0;
        let leaving = cells.iter().map(count).take_while(|n| {
            let goes = *n <= over;
            over = over.saturating_sub(*n);
            evicted += if goes { *n } else { 0 };
            goes
        });
        let leaving = leaving.count();
        cells.drain(..leaving);
        u32::try_from(evicted).unwrap_or(u32::MAX)
    }

    /// Takes out what a delete or null at `version` covers, where the parts can still be told from each other; false if
    /// they cannot.
    pub(super) fn split(&mut self, version: Version) -> bool {
        let Folded::Append(cells) = self else { return false };
        cells.retain(|cell| cell.stamp.version > version);
        true
    }

    /// Whether nothing is left of an `append`.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Folded::Append(cells) if cells.is_empty())
    }

    /// What a client sees of it; `None` if it is out of range. Of an `append` the newest `limit` values.
    pub(super) fn shown(self, limit: usize) -> Option<Value> {
        match self {
            Folded::Int(sum) => i64::try_from(sum).ok().map(Value::Int),
            Folded::Float(sum) => sum.is_finite().then(|| Value::float(sum)),
            Folded::Count(n) => i64::try_from(n).ok().map(Value::Int),
            Folded::First(cell) => Some(cell.value),
            Folded::Append(cells) => {
                let mut values: Vec<Value> = cells.into_iter().flat_map(|cell| values(cell.value)).collect();
                let over = values.len().saturating_sub(limit);
                values.drain(..over);
                Some(Value::Array(values))
            }
        }
    }

    pub(super) fn heap_size(&self) -> usize {
        match self {
            Folded::Int(_) | Folded::Float(_) | Folded::Count(_) => 0,
            Folded::First(cell) => size_of::<Cell>() + cell.value.heap_size(),
            Folded::Append(cells) => {
                cells.capacity() * size_of::<Cell>() + cells.iter().map(|cell| cell.value.heap_size()).sum::<usize>()
            }
        }
    }
}

/// Which of two values comes first: that with the lower stamp; of equal stamps that with the larger canonical text, as
/// everywhere.
pub(super) fn first_cmp(a: &Cell, b: &Cell) -> Ordering {
    a.stamp.cmp(&b.stamp).then_with(|| b.value.canonical_cmp(&a.value))
}

/// The order in which values are appended: by stamp, the winner of a tie last.
pub(super) fn append_cmp(a: &Cell, b: &Cell) -> Ordering {
    a.stamp.cmp(&b.stamp).then_with(|| a.value.canonical_cmp(&b.value))
}

/// How many values a contribution to an `append` holds.
fn count(cell: &Cell) -> usize {
    if let Value::Array(items) = &cell.value { items.len() } else { 1 }
}

fn values(value: Value) -> Vec<Value> {
    if let Value::Array(items) = value { items } else { vec![value] }
}
