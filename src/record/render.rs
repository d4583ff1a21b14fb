//! What a client sees of a record.

use super::{Record, TableDef, Value};

/// The visible value of every field, declared first (by name), then dynamic (by name); `None` if the record is absent.
/// The key's path leads the list where the key is taken from the event. Dates are RFC 3339 text in UTC.
pub fn fields(_def: &TableDef, _key: &[u8], _record: &Record) -> Option<Vec<(String, Value)>> {
    todo!()
}

/// As [`fields`], as a JSON object; `only` selects names.
pub fn json(
    _def: &TableDef,
    _key: &[u8],
    _record: &Record,
    _only: Option<&[String]>,
) -> Option<serde_json::Map<String, serde_json::Value>> {
    todo!()
}

/// The current (merged) value of a declared field as its type keeps it (dates as `Int` milliseconds); `None` if there is
/// nothing to show. Used to build search documents.
pub fn current(_def: &TableDef, _record: &Record, _field: usize) -> Option<Value> {
    todo!()
}

/// The dynamic members to show, by name.
pub fn dynamic(_record: &Record) -> Vec<(&str, &Value)> {
    todo!()
}
