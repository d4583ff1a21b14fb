//! From a record to a search document.

use tantivy::schema::{Field, OwnedValue, TantivyDocument};
use tantivy::{DateTime, Term};

use super::IndexChange;
use super::mark::{LONGEST_MARK, Mark};
use super::schema::Fields;
use crate::Result;
use crate::record::{FieldType, Record, Value, codec, derived, render};

/// Longest text that one term or one column entry can hold, bytes.
pub(super) const LONGEST: usize = u16::MAX as usize - 5 - LONGEST_MARK;
/// Times that fit nanoseconds in 64 bits; beyond them a date counts as the first or last of them.
const DATES: std::ops::RangeInclusive<i64> = -9_223_372_036_854..=9_223_372_036_854;

/// The key as the index keeps it; `None` for keys that no term can hold (not UTF-8, or longer than [`LONGEST`] bytes).
pub(super) fn key_text(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key).ok().filter(|k| k.len() <= LONGEST)
}

/// The term of a key.
pub(super) fn key_term(fields: &Fields, key: &[u8]) -> Option<Term> {
    key_text(key).map(|k| fields.term(Mark::KEY, k))
}

/// A date as the index keeps it.
pub fn date(ms: i64) -> DateTime {
    DateTime::from_timestamp_millis(ms.clamp(*DATES.start(), *DATES.end()))
}

/// Told the number of a derived field that is left out of a document, and why.
pub(super) type LeftOut<'a> = &'a mut dyn FnMut(usize, String);

/// The search document of a change; `None` where nothing is to be shown, or the key cannot be indexed.
pub fn of_change(
    fields: &Fields,
    partition: u32,
    change: &IndexChange,
    left_out: LeftOut<'_>,
) -> Result<Option<TantivyDocument>> {
    let Some(stored) = &change.stored else { return Ok(None) };
    let record = codec::decode(stored)
        .map_err(|e| e.within(format_args!("record {:?}", String::from_utf8_lossy(&change.key))))?;
    if !render::is_shown(&fields.def, &record) {
        return Ok(None);
    }
    let document = build(fields, partition, &change.key, &record, left_out);
    if document.is_none() {
        let (table, bytes) = (&fields.def.name, change.key.len());
        tracing::warn!(%table, partition, bytes, "a key is too long to be searched; its record can be read by key only");
    }
    Ok(document)
}

/// The search document of a record; `None` if its key cannot be indexed.
pub(super) fn build(
    fields: &Fields,
    partition: u32,
    key: &[u8],
    record: &Record,
    left_out: LeftOut<'_>,
) -> Option<TantivyDocument> {
    let mut document = TantivyDocument::default();
    let key = key_text(key)?;
    document.add_text(fields.key, key);
    document.add_u64(fields.partition, u64::from(partition));
    document.add_text(fields.terms, Mark::KEY.text(key));
    document.add_text(fields.terms, Mark::PARTITION.text(&partition.to_string()));
    let declared = fields.def.fields.len();
    for i in (0..declared).filter(|i| fields.found[*i].is_some()) {
        if let Some(value) = render::current(&fields.def, record, i) {
            add_field(&mut document, fields, i, &value);
        }
    }
    let derived = derived::values(&fields.def, key.as_bytes(), record, |_| true);
    for (i, (_, value)) in derived.into_iter().enumerate() {
        match value {
            Ok(Some(value)) => add_field(&mut document, fields, declared + i, &value),
            Ok(None) => {}
            Err(why) => left_out(i, why),
        }
    }
    if let Some(field) = fields.dynamic {
        let members: Vec<_> = render::dynamic(record).into_iter().map(|(n, v)| (n.to_owned(), json(v))).collect();
        if !members.is_empty() {
            document.add_field_value(field, &OwnedValue::Object(members));
        }
    }
    Some(document)
}

fn add_field(document: &mut TantivyDocument, fields: &Fields, i: usize, value: &Value) {
    let Some(field) = fields.found[i] else { return };
    add(document, field, fields.all[i].kind, value);
    for (_, variant) in &fields.variants[i] {
        add(document, *variant, FieldType::Text, value);
    }
    if let Some(mark) = fields.mark(i) {
        add_terms(document, fields.terms, mark, value);
    }
}

fn add(document: &mut TantivyDocument, field: Field, kind: FieldType, value: &Value) {
    match (kind, value) {
        (_, Value::Null) => {}
        (FieldType::Json, Value::Object(_)) => document.add_field_value(field, &json(value)),
        (_, Value::Array(items)) => items.iter().for_each(|v| add(document, field, kind, v)),
        (FieldType::Json, scalar) => {
            document.add_field_value(field, &OwnedValue::Object(vec![(String::new(), json(scalar))]));
        }
        (FieldType::Text | FieldType::Keyword, Value::Str(text)) => {
            chunks(text).for_each(|part| document.add_text(field, part));
        }
        (FieldType::Integer, Value::Int(n)) => document.add_i64(field, *n),
        (FieldType::Float, Value::Float(n)) => document.add_f64(field, *n),
        #[expect(clippy::cast_precision_loss, reason = "a float field shows the nearest float")]
        (FieldType::Float, Value::Int(n)) => document.add_f64(field, *n as f64),
        (FieldType::Boolean, Value::Bool(b)) => document.add_bool(field, *b),
        (FieldType::Date, Value::Int(ms)) => document.add_date(field, date(*ms)),
        // The record model types values before it keeps them, so nothing else comes here.
        _ => {}
    }
}

/// Adds the terms of a value that is matched whole.
fn add_terms(document: &mut TantivyDocument, terms: Field, mark: Mark, value: &Value) {
    match value {
        Value::Array(items) => items.iter().for_each(|v| add_terms(document, terms, mark, v)),
        Value::Str(text) => chunks(text).for_each(|part| document.add_text(terms, mark.text(part))),
        Value::Int(n) => document.add_text(terms, mark.text(&n.to_string())),
        Value::Bool(b) => document.add_text(terms, mark.text(&b.to_string())),
        _ => {}
    }
}

fn json(value: &Value) -> OwnedValue {
    match value {
        Value::Null => OwnedValue::Null,
        Value::Bool(b) => OwnedValue::Bool(*b),
        Value::Int(n) => OwnedValue::I64(*n),
        Value::Float(n) => OwnedValue::F64(*n),
        Value::Str(text) if text.len() <= LONGEST => OwnedValue::Str(text.to_string()),
        Value::Str(text) => OwnedValue::Array(chunks(text).map(|c| OwnedValue::Str(c.to_owned())).collect()),
        Value::Array(items) => OwnedValue::Array(items.iter().map(json).collect()),
        Value::Object(members) => OwnedValue::Object(members.iter().map(|(n, v)| (n.clone(), json(v))).collect()),
    }
}

/// Cuts a text into parts that a term or column entry can hold, so that nothing of it is left out.
fn chunks(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let now = rest.take()?;
        let at = now.floor_char_boundary(LONGEST);
        if at < now.len() {
            rest = Some(&now[at..]);
        }
        Some(&now[..at])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_lose_nothing_and_cut_between_characters() {
        let text = "é".repeat(LONGEST);
        let parts: Vec<&str> = chunks(&text).collect();
        assert!(parts.iter().all(|p| p.len() <= LONGEST));
        assert_eq!(parts.concat(), text);
        assert_eq!(chunks("").collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn dates_beyond_the_range_are_the_first_or_last_date() {
        assert_eq!(date(i64::MAX).into_timestamp_millis(), *DATES.end());
        assert_eq!(date(i64::MIN).into_timestamp_millis(), *DATES.start());
        assert_eq!(date(1_700_000_000_123).into_timestamp_millis(), 1_700_000_000_123);
    }
}
