//! Derived fields: what an expression in CEL makes of a merged record.
//!
//! They are computed wherever a record is shown or becomes a search document and are in no stored byte, so that another
//! expression needs another index, not another changelog. The language has no clock, no randomness and, as it is let in
//! here, no loops: the same record gives the same values everywhere, in time that its size bounds.

mod check;
mod convert;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use cel::{Context, Env, ExecutionError, IdedExpr, extensions};

use super::definition::{FieldDef, FieldType, KeyFrom, Strategy, TableDef};
use super::render;
use super::state::Record;
use super::value::Value;
use check::Type;

/// Longest expression, bytes.
const LONGEST: usize = 2_000;
/// Most bytes that the fields of an expression may hold in one record, each counted as often as it is named. A chain of n
/// additions copies its left part n times.
const MOST_INPUT: usize = 256 << 10;
/// Most bytes of a derived value: above any text worth a search, below what an index minds.
const MOST_OUTPUT: usize = 256 << 10;

/// A field that is computed, with its expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Derived {
    /// Name, type and search options; it is not merged, so its strategy and path say nothing.
    pub field: FieldDef,
    /// What computes it.
    pub expression: Expression,
}

/// A checked expression.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    tree: Arc<IdedExpr>,
    /// What it names, as often as it names it.
    names: Vec<String>,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// The functions of the language; [`check`] says which of them may be used.
static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib().with_optional_support(false);
    for added in [extensions::strings(&mut env), extensions::math(&mut env)] {
        debug_assert!(added.is_ok(), "{added:?}");
    }
    Arc::new(env)
});

impl Expression {
    /// Reads and checks an expression for a field of type `kind` over a record with this key and these declared fields.
    ///
    /// # Errors
    /// Says what is wrong, and at which character.
    pub fn compile(text: &str, kind: FieldType, key: &KeyFrom, fields: &[&FieldDef]) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("an expression may have {LONGEST} bytes, this one has {}", text.len()));
        }
        let parser = LANGUAGE.parser().max_recursion_depth(check::DEEPEST).error_recovery_limit(1);
        let (tree, places) = parser.parse_with_source_info(text).map_err(|e| check::syntax(text, &e))?;
        let known = |name: &str| match fields.iter().find(|f| f.name == name) {
            Some(field) => Some(type_of(field)),
            None => is_key(key, name).then_some(Type::Text),
        };
        let all = || {
            let declared = fields.iter().map(|f| f.name.clone());
            let key = if let KeyFrom::Path(path) = key { Some(path.to_string()) } else { None };
            declared.chain(key).collect::<Vec<_>>()
        };
        let names = check::check(&tree, &places, kind, &known, &all)?;
        Ok(Self { text: text.to_owned(), tree: Arc::new(tree), names })
    }

    /// As it is written in a configuration.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value for a record, as its type keeps it (dates as `Int` milliseconds); `None` where the expression says null.
    fn evaluate(&self, kind: FieldType, def: &TableDef, key: &[u8], record: &Record) -> Result<Option<Value>, String> {
        let inputs: Vec<_> = self.names.iter().map(|name| (name, input(name, def, key, record))).collect();
        let size: usize = inputs.iter().map(|(_, value)| size_of::<Value>() + bytes(value)).sum();
        if size > MOST_INPUT {
            return Err(format!("the fields it names hold {size} bytes here, at most {MOST_INPUT} are taken"));
        }
        let mut context = Context::with_env(Arc::clone(&LANGUAGE));
        for (name, value) in &inputs {
            context.add_variable_as_val(name.as_str(), convert::into_cel(value));
        }
        let found = cel::Value::resolve(&self.tree, &context).map_err(|e| reason(&e, &inputs))?;
        let value = convert::from_cel(found, kind)?;
        match value.as_ref().map_or(0, bytes) {
            found if found > MOST_OUTPUT => Err(format!("the value has {found} bytes, at most {MOST_OUTPUT} are kept")),
            _ => Ok(value),
        }
    }
}

/// The value of every derived field of a record, in the order of the definition: `None` where the expression says null,
/// and why where it cannot be computed. `wanted` selects names; of the others nothing is computed.
pub fn values<'d>(
    def: &'d TableDef,
    key: &[u8],
    record: &Record,
    wanted: impl Fn(&str) -> bool,
) -> Vec<(&'d FieldDef, Result<Option<Value>, String>)> {
    let derived = def.derived.iter().filter(|derived| wanted(&derived.field.name));
    derived.map(|d| (&d.field, d.expression.evaluate(d.field.kind, def, key, record))).collect()
}

/// What an expression finds under a name; null where the record has nothing there.
fn input(name: &str, def: &TableDef, key: &[u8], record: &Record) -> Value {
    let held = def.field(name).and_then(|field| render::value(field, record));
    held.unwrap_or_else(|| match is_key(&def.key, name) {
        true => Value::Str(String::from_utf8_lossy(key).into()),
        false => Value::Null,
    })
}

fn is_key(key: &KeyFrom, name: &str) -> bool {
    matches!(key, KeyFrom::Path(path) if path.to_string() == name)
}

/// Bytes of a value's content.
fn bytes(value: &Value) -> usize {
    match value {
        Value::Str(text) => text.len(),
        other => other.heap_size(),
    }
}

/// Why an expression failed on a record, without the values of the record.
fn reason(error: &ExecutionError, inputs: &[(&String, Value)]) -> String {
    let absent: Vec<&str> = inputs.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| name.as_str()).collect();
    match error {
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "division by zero".to_owned(),
        ExecutionError::Overflow(..) => "the result leaves 64 bits".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "there is nothing at this index of the list".to_owned(),
        ExecutionError::NoSuchKey(name) => format!("there is no member {name:?}"),
        ExecutionError::FunctionError { function, .. } => format!("{function}() does not take this value"),
        _ if !absent.is_empty() => format!("the record has no {}", absent.join(", no ")),
        ExecutionError::NoSuchOverload(wrong) => wrong.to_string(),
        _ => "a value has another type than the expression needs".to_owned(),
    }
}

/// What an expression sees of a declared field that holds something.
fn type_of(field: &FieldDef) -> Type {
    let one = match field.kind {
        FieldType::Text | FieldType::Keyword => Type::Text,
        FieldType::Integer | FieldType::Date => Type::Int,
        FieldType::Float => Type::Float,
        FieldType::Boolean => Type::Bool,
        FieldType::Json => Type::Any,
    };
    match field.merge {
        Strategy::Set | Strategy::Append => Type::List(Box::new(one)),
        Strategy::Count => Type::Int,
        Strategy::Lww | Strategy::Sum | Strategy::Max | Strategy::Min | Strategy::Map | Strategy::First => one,
    }
}
