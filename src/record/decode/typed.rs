//! Values as their field's type keeps them. Converted only where nothing is lost, but for parts of a millisecond.

use super::identity::shorten;
use crate::record::definition::{FieldDef, FieldType, Strategy};
use crate::record::event::{Reason, Reject};
use crate::record::value::Value;

/// The value of a declared field, typed; null stays null.
pub(super) fn field(field: &FieldDef, value: Value) -> Result<Value, Reject> {
    if is_plain(field, &value) {
        return Ok(value);
    }
    let many = matches!(field.merge, Strategy::Lww | Strategy::Set | Strategy::First | Strategy::Append);
    match value {
        Value::Null => Ok(Value::Null),
        value if field.merge == Strategy::Map && !matches!(value, Value::Object(_)) => {
            Err(wrong(field, &value, "an object"))
        }
        Value::Array(items) if many => match field.kind {
            FieldType::Json => Ok(Value::Array(items)),
            kind => items.into_iter().map(|item| scalar(field, kind, item)).collect::<Result<_, _>>().map(Value::Array),
        },
        Value::Array(_) => Err(wrong(field, &value, "one value")),
        // What is counted is that there is a value, not what it is.
        _ if field.merge == Strategy::Count => Ok(Value::Int(1)),
        value => scalar(field, field.kind, value),
    }
}

/// Whether a single value is of its field's type as it stands.
#[inline]
fn is_plain(field: &FieldDef, value: &Value) -> bool {
    !matches!(field.merge, Strategy::Map | Strategy::Count)
        && matches!(
            (field.kind, value),
            (FieldType::Text | FieldType::Keyword, Value::Str(_))
                | (FieldType::Integer, Value::Int(_))
                | (FieldType::Boolean, Value::Bool(_))
        )
}

fn scalar(field: &FieldDef, kind: FieldType, value: Value) -> Result<Value, Reject> {
    match (kind, value) {
        (FieldType::Json, value) => Ok(value),
        (FieldType::Text | FieldType::Keyword, Value::Str(s)) => Ok(Value::Str(s)),
        (FieldType::Text | FieldType::Keyword, Value::Int(i)) => Ok(Value::Str(i.to_string().into())),
        (FieldType::Text | FieldType::Keyword, value) => Err(wrong(field, &value, "text")),
        (FieldType::Boolean, Value::Bool(b)) => Ok(Value::Bool(b)),
        (FieldType::Boolean, Value::Str(s)) if s == "true" => Ok(Value::Bool(true)),
        (FieldType::Boolean, Value::Str(s)) if s == "false" => Ok(Value::Bool(false)),
        (FieldType::Boolean, value) => Err(wrong(field, &value, "true or false")),
        (FieldType::Integer, value) => integer(field, value),
        (FieldType::Float, value) => float(field, &value),
        (FieldType::Date, value) => date(field, value),
    }
}

fn integer(field: &FieldDef, value: Value) -> Result<Value, Reject> {
    match &value {
        Value::Int(_) => Ok(value),
        Value::Float(f) if f.fract() == 0.0 => Err(beyond(field, &value, "an integer of 64 bits")),
        Value::Str(s) => match integer_text(s) {
            Some(Ok(i)) => Ok(Value::Int(i)),
            Some(Err(())) => Err(beyond(field, &value, "an integer of 64 bits")),
            None => Err(wrong(field, &value, "an integer")),
        },
        _ => Err(wrong(field, &value, "an integer")),
    }
}

/// The integer that a text is in plain decimal: no plus sign, no leading zeros, no blanks. `Err` if it is one that does
/// not fit.
pub(super) fn integer_text(text: &str) -> Option<Result<i64, ()>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let leading_zero = digits.len() > 1 && digits.starts_with('0') || text == "-0";
    (plain && !leading_zero).then(|| text.parse().map_err(|_| ()))
}

fn float(field: &FieldDef, value: &Value) -> Result<Value, Reject> {
    match value {
        Value::Float(f) => Ok(Value::float(*f)),
        Value::Int(i) if (*i as f64) as i128 == i128::from(*i) => Ok(Value::float(*i as f64)),
        Value::Int(_) => Err(wrong(field, value, "a number that a 64-bit float holds exactly")),
        Value::Str(s) => match float_text(s) {
            Some(f) if f.is_finite() => Ok(Value::float(f)),
            Some(_) => Err(beyond(field, value, "a finite 64-bit float")),
            None => Err(wrong(field, value, "a number")),
        },
        _ => Err(wrong(field, value, "a number")),
    }
}

/// The number that a text is, written as JSON writes numbers.
fn float_text(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let starts_well = digits.starts_with(|c: char| c.is_ascii_digit());
    let ends_well = digits.ends_with(|c: char| c.is_ascii_digit());
    let known = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    (starts_well && ends_well && known).then(|| text.parse().ok()).flatten()
}

fn date(field: &FieldDef, value: Value) -> Result<Value, Reject> {
    match &value {
        Value::Int(ms) if jiff::Timestamp::from_millisecond(*ms).is_ok() => Ok(value),
        Value::Int(_) | Value::Float(_) => Err(beyond(field, &value, "a time between the years -9999 and 9999")),
        Value::Str(s) => rfc3339_ms(s).map(Value::Int).ok_or_else(|| wrong(field, &value, "RFC 3339 or milliseconds")),
        _ => Err(wrong(field, &value, "RFC 3339 text or milliseconds since the epoch")),
    }
}

/// Milliseconds since the epoch of a time in RFC 3339, rounded down.
pub(super) fn rfc3339_ms(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond().div_euclid(1_000_000)).ok()
}

fn wrong(field: &FieldDef, found: &Value, expected: &str) -> Reject {
    refusal(Reason::WrongType, field, found, expected)
}

fn beyond(field: &FieldDef, found: &Value, expected: &str) -> Reject {
    refusal(Reason::OutOfRange, field, found, expected)
}

fn refusal(reason: Reason, field: &FieldDef, found: &Value, expected: &str) -> Reject {
    let found = found.canonical();
    let detail = format!("found {}, expected {expected} for the field {}", shorten(&found), field.name);
    Reject { reason, path: field.path.to_string(), detail }
}
