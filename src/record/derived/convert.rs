//! Values of records as the language has them, and back.

use std::collections::HashMap;

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString};
use cel::common::value::Val;

use crate::record::definition::FieldType;
use crate::record::value::Value;

/// A value as an expression sees it; texts are borrowed.
pub(super) fn into_cel(value: &Value) -> Box<dyn Val + '_> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(b) => Box::new(CelBool::from(*b)),
        Value::Int(i) => Box::new(CelInt::from(*i)),
        Value::Float(f) => Box::new(CelDouble::from(*f)),
        Value::Str(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(items) => Box::new(CelList::from(items.iter().map(into_cel).collect::<Vec<_>>())),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (CelMapKey::from(name.as_str()), into_cel(value)));
            Box::new(CelMap::from(members.collect::<HashMap<_, _>>()))
        }
    }
}

/// What an expression gave, as a field of type `kind` keeps it; `None` for null.
///
/// # Errors
/// Says what it gave instead.
pub(super) fn from_cel(found: cel::Value, kind: FieldType) -> Result<Option<Value>, String> {
    let value = match (kind, found) {
        (_, cel::Value::Null) => return Ok(None),
        (FieldType::Json, found) => any(found)?,
        (_, cel::Value::List(items)) => {
            let all = items.iter().map(|item| one(item, kind)).collect::<Result<Vec<_>, _>>()?;
            return Ok((!all.is_empty()).then_some(Value::Array(all)));
        }
        (_, found) => one(&found, kind)?,
    };
    Ok(Some(value))
}

fn one(found: &cel::Value, kind: FieldType) -> Result<Value, String> {
    match (kind, found) {
        (FieldType::Text | FieldType::Keyword, cel::Value::String(text)) => Ok(Value::Str(text.as_str().into())),
        (FieldType::Integer | FieldType::Date, cel::Value::Int(i)) => Ok(Value::Int(*i)),
        (FieldType::Boolean, cel::Value::Bool(b)) => Ok(Value::Bool(*b)),
        #[expect(clippy::cast_precision_loss, reason = "a float field shows the nearest float")]
        (FieldType::Float, cel::Value::Int(i)) => Ok(Value::float(*i as f64)),
        (FieldType::Float, cel::Value::Float(f)) => finite(*f).map(Value::float),
        (_, other) => Err(format!("the value is {}, which is not the field's type", other.type_of())),
    }
}

fn any(found: cel::Value) -> Result<Value, String> {
    Ok(match found {
        cel::Value::Null => Value::Null,
        cel::Value::Bool(b) => Value::Bool(b),
        cel::Value::Int(i) => Value::Int(i),
        cel::Value::Float(f) => Value::number(finite(f)?),
        cel::Value::String(text) => Value::Str(text.as_str().into()),
        cel::Value::List(items) => Value::Array(items.iter().cloned().map(any).collect::<Result<_, _>>()?),
        cel::Value::Map(map) => {
            let member = |(key, value): (&cel::objects::Key, &cel::Value)| Ok((key.to_string(), any(value.clone())?));
            Value::object(map.map.iter().map(member).collect::<Result<_, String>>()?)
        }
        other => return Err(format!("the value is {}, which JSON does not have", other.type_of())),
    })
}

/// Floats divide by zero, and overflow, without an error of the language.
fn finite(value: f64) -> Result<f64, String> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err("the value is not finite (a division by zero, or too large)".to_owned())
    }
}
