//! What a client sees of a record.

use smol_str::{SmolStr, ToSmolStr};

use super::definition::{FieldDef, FieldType, KeyFrom, TableDef};
use super::derived;
use super::state::{FieldState, Record};
use super::sums;
use super::value::Value;

/// The visible value of every field, declared first, then derived, then dynamic (each by name); `None` if the record is
/// absent. The key's path leads the list where the key is taken from the event. Dates are RFC 3339 text in UTC. `only`
/// selects names; of the others nothing is derived.
///
/// A derived field alone makes no record: it is computed where there is something else to show.
/// A dynamic member that was stored before a field of its name was declared is shown until the field holds something.
/// A declared field with the name of the key's path is shown in the key's place, if it has a value.
pub fn fields(def: &TableDef, key: &[u8], record: &Record, only: Option<&[String]>) -> Option<Vec<(SmolStr, Value)>> {
    let wanted = |name: &str| only.is_none_or(|only| only.iter().any(|n| n == name));
    // Most names are short enough to stand in place.
    let mut out: Vec<(SmolStr, Value)> = Vec::with_capacity(1 + def.fields.len() + record.dynamic.len());
    let shown = def.fields.iter().filter_map(|field| Some((field, value(field, record)?)));
    out.extend(shown.map(|(field, v)| (SmolStr::new(&field.name), display(field.kind, v))));
    let key_name = key_name(def);
    let lead = key_name.as_ref().and_then(|name| out.iter().position(|(held, _)| held == name));
    let declared = out.len();
    out.extend(unshadowed(def, record, key_name.as_deref()).map(|(name, v)| (SmolStr::new(name), v.clone())));
    if out.is_empty() {
        return None;
    }
    let derived = derived::values(def, key, record, wanted).into_iter();
    let derived = derived.filter_map(|(field, value)| Some((field, value.ok()??)));
    let derived = derived.map(|(field, value)| (SmolStr::new(&field.name), display(field.kind, value)));
    out.splice(declared..declared, derived);
    if let Some(name) = key_name {
        let lead = match lead {
            Some(at) => out.remove(at),
            None => (name, Value::Str(String::from_utf8_lossy(key).into())),
        };
        out.insert(0, lead);
    }
    out.retain(|(name, _)| wanted(name));
    Some(out)
}

/// Whether [`fields`] shows anything: whether the record is there at all, by key and in searches. Where it does,
/// [`Record::is_visible`] holds, which knows no definition and counts more: what is declared no more, or hidden behind another name.
pub fn is_shown(def: &TableDef, record: &Record) -> bool {
    let key_name = key_name(def);
    def.fields.iter().any(|field| value(field, record).is_some())
        || unshadowed(def, record, key_name.as_deref()).next().is_some()
}

fn key_name(def: &TableDef) -> Option<SmolStr> {
    match &def.key {
        KeyFrom::Path(path) => Some(path.to_smolstr()),
        KeyFrom::Message => None,
    }
}

/// As [`fields`], as a JSON object.
pub fn json(
    def: &TableDef,
    key: &[u8],
    record: &Record,
    only: Option<&[String]>,
) -> Option<serde_json::Map<String, serde_json::Value>> {
    let all = fields(def, key, record, only)?;
    Some(all.into_iter().map(|(name, v)| (name.into(), v.to_json())).collect())
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

/// Dynamic members but those whose name belongs to the key, to a declared field that holds something, or to a derived one.
fn unshadowed<'r>(
    def: &'r TableDef,
    record: &'r Record,
    key_name: Option<&'r str>,
) -> impl Iterator<Item = (&'r str, &'r Value)> {
    members(record).filter(move |(name, _)| {
        let holds = |field: &FieldDef| record.field(field.id).is_some() || sums::total(record, field.id).is_some();
        let derived = || def.derived.iter().any(|derived| derived.field.name == *name);
        Some(*name) != key_name && !def.field(name).is_some_and(holds) && !derived()
    })
}

/// The current value of a declared field as its type keeps it.
pub(super) fn value(field: &FieldDef, record: &Record) -> Option<Value> {
    if field.merge.accumulates() {
        return sums::shown(record, field);
    }
    match record.field(field.id)? {
        FieldState::Lww(cell) => (!cell.value.is_null()).then(|| cell.value.clone()),
        FieldState::Extreme(front) => front.value().cloned(),
        FieldState::Set(members) => {
            let values: Vec<Value> = members.values().cloned().collect();
            (!values.is_empty()).then_some(Value::Array(values))
        }
        FieldState::Map(map) => {
            let members: Vec<_> = map.shown().map(|(key, value)| (key.to_owned(), value.clone())).collect();
            (!members.is_empty()).then_some(Value::Object(members))
        }
        FieldState::Cleared(_) => None,
    }
}

/// The value as clients see it: dates as text.
pub(super) fn display(kind: FieldType, value: Value) -> Value {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Strategy;
    use crate::record::testing::{after, table, text, upsert};

    fn def() -> TableDef {
        table(&[
            ("at", FieldType::Date, Strategy::Lww),
            ("price", FieldType::Float, Strategy::Lww),
            ("tags", FieldType::Date, Strategy::Set),
        ])
    }

    #[test]
    fn the_key_leads_then_declared_then_dynamic_by_name() {
        let def = def();
        let values = [
            ("zz", Value::Int(1)),
            ("a", Value::Null),
            ("b", text("x")),
            ("price", Value::Float(2.0)),
            ("at", Value::Int(1_700_000_000_001)),
            ("tags", Value::Array(vec![Value::Int(0), Value::Int(-1)])),
        ];
        let record = after(&def, &[upsert(&def, 0, 1, 1, &values)]);
        let expected = [
            ("sku", text("k-1")),
            ("at", text("2023-11-14T22:13:20.001Z")),
            ("price", Value::Float(2.0)),
            ("tags", Value::Array(vec![text("1969-12-31T23:59:59.999Z"), text("1970-01-01T00:00:00Z")])),
            ("b", text("x")),
            ("zz", Value::Int(1)),
        ];
        assert_eq!(fields(&def, b"k-1", &record, None), Some(expected.map(|(n, v)| (n.into(), v)).into()));
        assert_eq!(current(&def, &record, 0), Some(Value::Int(1_700_000_000_001)));
        assert_eq!(current(&def, &record, 9), None);
        assert_eq!(dynamic(&record), [("b", &text("x")), ("zz", &Value::Int(1))]);
        let only = json(&def, b"k-1", &record, Some(&["b".to_owned(), "sku".to_owned()])).unwrap();
        assert_eq!(serde_json::Value::Object(only), serde_json::json!({"sku": "k-1", "b": "x"}));
    }

    #[test]
    fn a_record_with_nothing_but_its_key_is_absent() {
        let def = def();
        let nulls = [("price", Value::Null), ("a", Value::Null), ("tags", Value::Null)];
        for record in [Record::default(), after(&def, &[upsert(&def, 0, 1, 1, &nulls)])] {
            assert_eq!(fields(&def, b"k", &record, None), None);
            assert_eq!(json(&def, b"k", &record, None), None);
        }
    }

    #[test]
    fn the_key_is_not_shown_where_the_message_has_it() {
        let def = TableDef { key: KeyFrom::Message, ..def() };
        let record = after(&def, &[upsert(&def, 0, 1, 1, &[("b", text("x"))])]);
        assert_eq!(fields(&def, b"k", &record, None), Some(vec![("b".into(), text("x"))]));
    }
}
