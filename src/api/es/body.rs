//! Bodies of requests: read as bytes whatever their type, an empty one is `{}`. Members keep the order in which they were written
//! where that has a meaning.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::problem::{Problem, Reason};

/// The members of a body, and which of them were understood.
#[derive(Debug, Default)]
pub(super) struct Body {
    members: BTreeMap<String, Box<RawValue>>,
}

impl Body {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        serde_json::from_slice(bytes).map(|members| Self { members }).map_err(|e| wrong(&format!("the body: {e}")))
    }

    /// A member as it is written.
    pub(super) fn raw(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.members.remove(name).filter(|raw| raw.get() != "null")
    }

    /// A member as a type; an error that says what was found.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Problem> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|e| {
            let shown: String = raw.get().chars().take(80).collect();
            wrong(&format!("{name}: found {shown}: {e}"))
        })
    }

    /// A member that is a text or a list of them.
    pub(super) fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Problem> {
        match self.take::<Value>(name)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(vec![text])),
            Some(other) => match serde_json::from_value(other) {
                Ok(texts) => Ok(Some(texts)),
                Err(e) => Err(wrong(&format!("{name}: expected a text or a list of texts: {e}"))),
            },
        }
    }

    /// What nobody took.
    pub(super) fn rest(self) -> impl Iterator<Item = (String, Box<RawValue>)> {
        self.members.into_iter()
    }
}

/// A request that is not understood.
pub(super) fn wrong(what: &str) -> Problem {
    Problem::new(Reason::BadRequest, what, "fix the request; README.md says what of Elasticsearch is understood")
}

/// An object whose members stand in the order in which they were written.
#[derive(Debug)]
pub(super) struct Pairs(pub(super) Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Pairs, A::Error> {
                let mut all = Vec::new();
                while let Some(pair) = members.next_entry()? {
                    all.push(pair);
                }
                Ok(Pairs(all))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_taken_by_name_and_the_rest_is_known() {
        let mut body = Body::read(br#"{"size": 3, "x": 1, "from": null}"#).unwrap();
        assert_eq!((body.take::<u64>("size").unwrap(), body.take::<u64>("from").unwrap()), (Some(3), None));
        assert_eq!(body.rest().map(|(name, _)| name).collect::<Vec<_>>(), ["x"]);
        assert!(Body::read(b" \n").unwrap().rest().next().is_none());
        assert!(Body::read(b"[]").is_err() && Body::read(b"{\"a\":").is_err());
        assert!(Body::read(br#"{"size": "many"}"#).unwrap().take::<u64>("size").is_err());
        let texts = |body: &[u8]| Body::read(body).unwrap().texts("a");
        assert_eq!(texts(br#"{"a": "x"}"#).unwrap(), texts(br#"{"a": ["x"]}"#).unwrap());
        assert!(
            texts(b"{}").unwrap().is_none() && texts(br#"{"a": ["x", 1]}"#).is_err() && texts(br#"{"a": 1}"#).is_err()
        );
    }

    #[test]
    fn pairs_keep_their_order() {
        let Pairs(pairs) = serde_json::from_str(r#"{"b": 1, "a": 2}"#).unwrap();
        assert_eq!(pairs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    }
}
