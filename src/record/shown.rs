//! A record as an answer carries it: written straight from the merged values, with no tree of JSON between.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use smol_str::SmolStr;

use super::definition::TableDef;
use super::render;
use super::state::Record;
use super::value::Value;

/// The visible fields of a record in the order of [`render::fields`]; serialises as one JSON object.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown(Vec<(SmolStr, Value)>);

impl Shown {
    /// What is visible of `record`, or `None` if it is absent; `only` selects names.
    pub fn of(def: &TableDef, key: &[u8], record: &Record, only: Option<&[String]>) -> Option<Self> {
        render::fields(def, key, record, only).map(Self)
    }

    /// The value shown under a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(held, _)| held == name).map(|(_, value)| value)
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        members(&self.0, serializer)
    }
}

/// As [`Value::to_json`] has it.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Int(n) => serializer.serialize_i64(*n),
            Value::Float(n) => serializer.serialize_f64(*n),
            Value::Str(text) => serializer.serialize_str(text),
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Value::Object(all) => members(all, serializer),
        }
    }
}

fn members<S: Serializer>(all: &[(impl AsRef<str>, Value)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(Some(all.len()))?;
    all.iter().try_for_each(|(name, value)| object.serialize_entry(name.as_ref(), value))?;
    object.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::{after, table, text, upsert};
    use crate::record::{FieldType, Strategy};

    #[test]
    fn an_answer_says_what_the_tree_of_json_says() {
        let def = table(&[("price", FieldType::Float, Strategy::Lww), ("any", FieldType::Json, Strategy::Lww)]);
        let any = Value::Object(vec![
            (
                "list".to_owned(),
                Value::Array(vec![Value::Null, Value::Bool(true), text("\"é\n"), Value::Int(i64::MIN)]),
            ),
            ("none".to_owned(), Value::Object(Vec::new())),
        ]);
        let values = [("price", Value::Float(0.1)), ("any", any), ("free", Value::Float(1e300))];
        let record = after(&def, &[upsert(&def, 0, 1, 1, &values)]);
        let only = ["any".to_owned(), "sku".to_owned()];
        for only in [None, Some(&only[..])] {
            let shown = Shown::of(&def, b"k", &record, only).unwrap();
            let tree = render::json(&def, b"k", &record, only).unwrap();
            let read: serde_json::Value = serde_json::from_str(&serde_json::to_string(&shown).unwrap()).unwrap();
            assert_eq!(read, serde_json::Value::Object(tree));
        }
        let shown = Shown::of(&def, b"k", &record, None).unwrap();
        assert_eq!((shown.get("price"), shown.get("no")), (Some(&Value::Float(0.1)), None));
        assert_eq!(Shown::of(&def, b"k", &Record::default(), None), None);
    }
}
