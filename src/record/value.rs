//! Values of fields.

use smol_str::SmolStr;

/// A value. Objects are sorted by member name without repetition. In `json` and dynamic fields an integral float within
/// the range of `i64` is an [`Value::Int`], so that equal canonical text means equal bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Explicit nothing; clears a field.
    Null,
    /// Boolean.
    Bool(bool),
    /// Integer; also dates, as milliseconds since the epoch.
    Int(i64),
    /// Finite float, never -0.
    Float(f64),
    /// Text; short ones stand in place, longer ones are shared by clones.
    Str(SmolStr),
    /// Array.
    Array(Vec<Value>),
    /// Object, members ordered by name.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// A number as untyped values keep it: integral floats within the range of `i64` become integers, -0 becomes 0.
    /// NaN and infinities are the caller's to refuse.
    pub fn number(value: f64) -> Self {
        match integral(value) {
            Some(i) => Value::Int(i),
            None => Value::Float(value),
        }
    }

    /// A float as typed `float` fields keep it: -0 becomes 0.
    pub fn float(value: f64) -> Self {
        Value::Float(value + 0.0)
    }

    /// An object from members in any order; of a repeated member the last one stays.
    pub fn object(mut members: Vec<(String, Value)>) -> Self {
        sort_last_wins(&mut members);
        Value::Object(members)
    }

    /// Whether this is [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Estimate of the heap bytes behind this value.
    pub fn heap_size(&self) -> usize {
        match self {
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
            Value::Str(s) => {
                if s.is_heap_allocated() {
                    s.len()
                } else {
                    0
                }
            }
            Value::Array(items) => items.iter().map(|v| size_of::<Value>() + v.heap_size()).sum(),
            Value::Object(members) => {
                members.iter().map(|(n, v)| size_of::<(String, Value)>() + n.len() + v.heap_size()).sum()
            }
        }
    }

    /// The value as `serde_json` holds it.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            Value::Int(i) => (*i).into(),
            Value::Float(f) => (*f).into(),
            Value::Str(s) => s.as_str().into(),
            Value::Array(items) => items.iter().map(Value::to_json).collect(),
            Value::Object(members) => {
                serde_json::Value::Object(members.iter().map(|(n, v)| (n.clone(), v.to_json())).collect())
            }
        }
    }
}

/// The integer that a float is, if it is one and fits.
pub(super) fn integral(value: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (value.fract() == 0.0 && (-LIMIT..LIMIT).contains(&value)).then_some(value as i64)
}

/// Sorts members by name; of equal names the last one stays.
pub(super) fn sort_last_wins<V>(members: &mut Vec<(String, V)>) {
    if members.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        return;
    }
    members.reverse();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    members.dedup_by(|later, earlier| later.0 == earlier.0);
}
