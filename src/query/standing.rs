//! Standing queries: which records match now, and whether a change does.
//!
//! Both are decided by the index's own queries: the one over the table's index, the other over an index of the changes alone
//! ([`crate::index::Probe`]). Scores play no part.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::leaf::{Tasks, narrowed};
use super::parse::{self, Spent};
use super::{SearchRequest, Table};
use crate::broker::Offset;
use crate::index::syntax::Query;
use crate::index::{Probe, View};
use crate::{Error, Kind, Result};

/// A key, as sets of keys hold it: too many bits for two keys to share them.
pub type KeyHash = u128;

/// The hash of a key.
pub fn hash(key: &[u8]) -> KeyHash {
    xxh3_128(key)
}

/// A query that is asked of every change.
#[derive(Debug)]
pub struct Standing {
    query: Box<dyn Query>,
    /// What `q` had to be changed to be understood.
    pub warnings: Vec<String>,
}

impl Standing {
    /// Reads `q` and the filters as a search does.
    pub fn new(view: &View, q: Option<&str>, filter: &[String]) -> Result<Self> {
        let mut spent = Spent::default();
        let parsed = parse::lenient(view, q.unwrap_or_default(), &mut spent)?;
        let everywhere: BTreeSet<u32> = view.covered.keys().copied().collect();
        let query = narrowed(view, &everywhere, parsed.query, (filter, &[]), &mut spent)?;
        Ok(Self { query, warnings: parsed.warnings })
    }

    /// Places of the probed records that match, ascending.
    pub fn of(&self, probe: &Probe) -> Result<Vec<usize>> {
        probe.matches(&*self.query)
    }
}

/// The records that match, as of a position.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Matching {
    /// Hashes of their keys.
    #[serde(with = "packed")]
    pub keys: FxHashSet<KeyHash>,
    /// Changelog position by partition: what matches is told as of then, or later.
    pub at: BTreeMap<u32, Offset>,
}

/// The records of this instance's tasks that match `q` and the filters of a request, in the partitions that it names. Blocking: runs
/// on the search pool. More than `most` are refused; it ends when the request is stopped.
pub fn matching(table: &Table, request: &SearchRequest, most: usize) -> Result<Matching> {
    let tasks = Tasks::answering(table, request);
    let view = table.index.view();
    let mut spent = Spent::default();
    let parsed = parse::lenient(&view, request.q.as_deref().unwrap_or_default(), &mut spent)?;
    let query = narrowed(&view, &tasks.addressed, parsed.query, (&request.filter, &request.within), &mut spent)?;
    let mut keys = FxHashSet::default();
    let all = view.matching_keys(&*query, most, &request.stop, &mut |key| {
        keys.insert(hash(key));
    })?;
    if !all {
        return Err(too_many(most));
    }
    let at = |p: &u32| (*p, view.covered.get(p).map_or(0, |covered| covered.changelog));
    Ok(Matching { keys, at: tasks.addressed.iter().map(at).collect() })
}

/// A live query has more matches than can be kept.
pub fn too_many(most: usize) -> Error {
    Error::new(Kind::BadRequest, format!("the query matches more than {most} records, too many to be watched")).advise(
        "narrow it, raise `api.max_live_matches`, or take all changes (no `q`, no `filter`) and choose among them yourself",
    )
}

/// A set of hashes as one text: JSON has no numbers of that size.
mod packed {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use rustc_hash::FxHashSet;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::KeyHash;

    pub(super) fn serialize<S: Serializer>(keys: &FxHashSet<KeyHash>, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
        serializer.serialize_str(&STANDARD_NO_PAD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FxHashSet<KeyHash>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD_NO_PAD.decode(text).map_err(D::Error::custom)?;
        let (whole, rest) = bytes.as_chunks::<{ size_of::<KeyHash>() }>();
        if !rest.is_empty() {
            return Err(D::Error::custom("keys that are cut"));
        }
        Ok(whole.iter().map(|key| KeyHash::from_le_bytes(*key)).collect())
    }
}
