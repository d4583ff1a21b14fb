//! Any JSON value, straight into a [`Value`].

use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::json::State;
use crate::record::event::Reason;
use crate::record::value::Value;

/// Any value at a depth: the event itself is at depth 1.
pub(super) struct Any<'s, 'a> {
    pub(super) state: &'s mut State<'a>,
    pub(super) depth: usize,
}

impl Any<'_, '_> {
    fn enter<E: de::Error>(&mut self) -> Result<usize, E> {
        let depth = self.depth + 1;
        let most = self.state.rules.max_depth;
        if depth > most {
            return Err(self.state.refuse(Reason::TooDeep, format!("nested deeper than {most} levels")));
        }
        Ok(depth)
    }
}

impl<'de> DeserializeSeed<'de> for Any<'_, '_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        match i64::try_from(value) {
            Ok(value) => Ok(Value::Int(value)),
            Err(_) => Err(self.state.refuse(Reason::OutOfRange, format!("the integer {value} does not fit 64 bits"))),
        }
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        if self.state.hunted == Some(value) {
            return Err(self.state.refuse(Reason::OutOfRange, "found".to_owned()));
        }
        let value = Value::number(value);
        if let Value::Float(f) = value
            && f.fract() == 0.0
        {
            self.state.suspect = true;
        }
        Ok(value)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Str(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        let depth = self.enter()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Any { state: self.state, depth })? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let depth = self.enter()?;
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            match map.next_value_seed(Any { state: self.state, depth }) {
                Ok(value) => members.push((name, value)),
                Err(error) => {
                    self.state.locate(&name);
                    return Err(error);
                }
            }
        }
        Ok(Value::object(members))
    }
}

/// The first number of a valid JSON text that is written as an integer and does not fit `i64`. A float of that size
/// looks the same once parsed, and is fine; so this is asked only when one was seen.
pub(super) fn oversized_integer(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let rest = &text[at..];
                let number = &rest[..rest
                    .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
                    .unwrap_or(rest.len())];
                if !number.contains(['.', 'e', 'E']) && number.parse::<i64>().is_err() {
                    return Some(number);
                }
                at += number.len();
            }
            _ => at += 1,
        }
    }
    None
}
