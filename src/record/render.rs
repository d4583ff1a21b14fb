//! What a client sees of a record.

use super::definition::{FieldDef, FieldType, KeyFrom, Strategy, TableDef};
use super::state::{FieldState, Record};
use super::sums;
use super::value::Value;

/// The visible value of every field, declared first (by name), then dynamic (by name); `None` if the record is absent.
/// The key's path leads the list where the key is taken from the event. Dates are RFC 3339 text in UTC.
///
/// A dynamic member that was stored before a field of its name was declared is shown until the field holds something.
/// A declared field with the name of the key's path is shown in the key's place, if it has a value.
pub fn fields(def: &TableDef, key: &[u8], record: &Record) -> Option<Vec<(String, Value)>> {
    let shown = def.fields.iter().filter_map(|field| Some((field, value(field, record)?)));
    let mut out: Vec<(String, Value)> = shown.map(|(field, v)| (field.name.clone(), display(field.kind, v))).collect();
    let key_name = match &def.key {
        KeyFrom::Path(path) => Some(path.to_string()),
        KeyFrom::Message => None,
    };
    let lead = key_name.as_ref().and_then(|name| out.iter().position(|(held, _)| held == name));
    out.extend(unshadowed(def, record, key_name.as_deref()).map(|(name, v)| (name.to_owned(), v.clone())));
    if out.is_empty() {
        return None;
    }
    if let Some(name) = key_name {
        let lead = match lead {
            Some(at) => out.remove(at),
            None => (name, Value::Str(String::from_utf8_lossy(key).into())),
        };
        out.insert(0, lead);
    }
    Some(out)
}

/// As [`fields`], as a JSON object; `only` selects names.
pub fn json(
    def: &TableDef,
    key: &[u8],
    record: &Record,
    only: Option<&[String]>,
) -> Option<serde_json::Map<String, serde_json::Value>> {
    let wanted = |name: &String| only.is_none_or(|only| only.contains(name));
    let all = fields(def, key, record)?;
    Some(all.into_iter().filter(|(name, _)| wanted(name)).map(|(name, v)| (name, v.to_json())).collect())
}

/// The current (merged) value of a declared field as its type keeps it (dates as `Int` milliseconds); `None` if there is
/// nothing to show. Used to build search documents.
pub fn current(def: &TableDef, record: &Record, field: usize) -> Option<Value> {
    value(def.fields.get(field)?, record)
}

/// The dynamic members to show, by name. What [`fields`] hides behind a declared field of the same name is listed here.
pub fn dynamic(record: &Record) -> Vec<(&str, &Value)> {
    members(record).collect()
}

fn members(record: &Record) -> impl Iterator<Item = (&str, &Value)> {
    let live = record.dynamic.iter().filter(|(_, cell)| !cell.value.is_null());
    live.map(|(name, cell)| (name.as_ref(), &cell.value))
}

/// Dynamic members but those whose name belongs to the key or to a declared field that holds something.
fn unshadowed<'r>(
    def: &'r TableDef,
    record: &'r Record,
    key_name: Option<&'r str>,
) -> impl Iterator<Item = (&'r str, &'r Value)> {
    members(record).filter(move |(name, _)| {
        let holds = |field: &FieldDef| record.field(field.id).is_some() || sums::total(record, field.id).is_some();
        Some(*name) != key_name && !def.field(name).is_some_and(holds)
    })
}

fn value(field: &FieldDef, record: &Record) -> Option<Value> {
    match field.merge {
        Strategy::Sum | Strategy::Count => sums::total(record, field.id).and_then(sums::shown),
        Strategy::Lww | Strategy::Set | Strategy::Max | Strategy::Min => match record.field(field.id)? {
            FieldState::Lww(cell) => (!cell.value.is_null()).then(|| cell.value.clone()),
            FieldState::Extreme(front) => front.value().cloned(),
            FieldState::Set(members) => {
                let values: Vec<Value> = members.values().cloned().collect();
                (!values.is_empty()).then_some(Value::Array(values))
            }
            FieldState::Cleared(_) => None,
        },
    }
}

/// The value as clients see it: dates as text.
fn display(kind: FieldType, value: Value) -> Value {
    match (kind, value) {
        (FieldType::Date, Value::Int(ms)) => match jiff::Timestamp::from_millisecond(ms) {
            Ok(time) => Value::Str(time.to_string().into()),
            Err(_) => Value::Int(ms),
        },
        (FieldType::Date, Value::Array(items)) => {
            Value::Array(items.into_iter().map(|item| display(kind, item)).collect())
        }
        (_, value) => value,
    }
}
