//! What of a table's definition its stored records depend on, and which changes they survive. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::{KeyFrom, TableDef};
use crate::{Error, Kind, Result};

/// The part of a definition that stored records depend on; kept in the store as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDefinition {
    key: String,
    partitions: u32,
    sources: BTreeMap<String, StoredSource>,
    fields: BTreeMap<String, StoredField>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredSource {
    topic: String,
    version: String,
    rank: i32,
    event_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredField {
    r#type: String,
    merge: String,
    path: String,
}

impl StoredDefinition {
    /// What `def` stores under.
    pub fn of(def: &TableDef, partitions: u32) -> Self {
        let source = |s: &crate::record::SourceDef| StoredSource {
            topic: s.topic.clone(),
            version: s.version.words().join(","),
            rank: s.rank,
            event_id: s.event_id.as_ref().map(ToString::to_string),
        };
        let field = |f: &crate::record::FieldDef| StoredField {
            r#type: format!("{:?}", f.kind).to_lowercase(),
            merge: format!("{:?}", f.merge).to_lowercase(),
            path: f.path.to_string(),
        };
        Self {
            key: match &def.key {
                KeyFrom::Message => "@key".to_owned(),
                KeyFrom::Path(path) => path.to_string(),
            },
            partitions,
            sources: def.sources.iter().map(|s| (s.name.clone(), source(s))).collect(),
            fields: def.fields.iter().map(|f| (f.name.clone(), field(f))).collect(),
        }
    }

    /// The stored form.
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::internal("a table definition does not encode").because(e))
    }

    /// Reads a stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes)
            .map_err(|e| Error::new(Kind::Corrupt, "a stored table definition cannot be read").because(e))
    }

    /// What stands against reading records of `self` under `new`; empty if nothing does. New and dropped fields are fine,
    /// as are other ranks: they decide ties from now on.
    pub fn differences(&self, new: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut differ = |what: String, old: &str, new: &str| {
            if old != new {
                found.push(format!("{what} was {old:?} and is now {new:?}"));
            }
        };
        differ("key".into(), &self.key, &new.key);
        differ("the number of partitions".into(), &self.partitions.to_string(), &new.partitions.to_string());
        for (name, old) in &self.sources {
            if let Some(now) = new.sources.get(name) {
                differ(format!("sources.{name}.topic"), &old.topic, &now.topic);
                differ(format!("sources.{name}.version"), &old.version, &now.version);
                let id = |s: &StoredSource| s.event_id.clone().unwrap_or_default();
                differ(format!("sources.{name}.event_id"), &id(old), &id(now));
            }
        }
        for (name, old) in &self.fields {
            if let Some(now) = new.fields.get(name) {
                differ(format!("fields.{name}.type"), &old.r#type, &now.r#type);
                differ(format!("fields.{name}.merge"), &old.merge, &now.merge);
            }
        }
        found
    }
}

/// Checks that records stored under `stored` can be read under `now`.
pub fn check(table: &str, stored: &StoredDefinition, now: &StoredDefinition) -> Result<()> {
    let differences = stored.differences(now);
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "the definition of table {table:?} changed in a way that its stored records do not survive: {}",
        differences.join("; ")
    ))
    .advise(
        "change it back, or use a new application name (or table name) so that the sources are read again from the start; \
         --rebuild restores from the changelog, which holds the same records, and does not help here",
    ))
}
