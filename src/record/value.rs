//! Values of fields and their canonical JSON.

/// A value. Objects are sorted by member name without repetition. In `json` and dynamic fields an integral float within
/// the range of `i64` is an [`Value::Int`], so that equal canonical text means equal bytes.
#[derive(Clone, Debug, PartialEq, bincode::Encode, bincode::Decode)]
pub enum Value {
    /// Explicit nothing; clears a field.
    Null,
    /// Boolean.
    Bool(bool),
    /// Integer; also dates, as milliseconds since the epoch.
    Int(i64),
    /// Finite float, never -0.
    Float(f64),
    /// Text.
    Str(Box<str>),
    /// Array.
    Array(Vec<Value>),
    /// Object, members ordered by name.
    Object(Vec<(String, Value)>),
}
