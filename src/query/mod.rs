//! Queries over this instance's tasks (the leaf), and waiting for freshness. Routing to other instances builds on it.

pub mod aggs;
pub mod clause;
pub mod cursor;
mod dates;
mod dress;
pub mod dsl;
pub mod facets;
pub mod gather;
pub mod leaf;
mod order;
pub mod parse;
pub mod root;
pub mod route;
pub mod scan;
pub mod standing;
pub mod table;
mod terms;
mod wire;

pub use crate::index::{Place, Statistics, Stop};
pub use aggs::AggPartial;
pub use clause::Clause;
pub use dress::MOST_FIELDS as MOST_HIGHLIGHTED;
pub use facets::{Facet, FacetRequest};
pub use order::{MOST_SORT_KEYS, order};
pub use table::Table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::broker::Offset;
use crate::record::Shown;

/// Most hits of a search that are explained: the first ones.
pub const MOST_EXPLAINED: usize = 10;

/// How the number of matches is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Count {
    /// All matches are counted.
    #[default]
    Exact,
    /// Not counted.
    None,
}

/// One sort key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SortKey {
    /// A field, `_score` or `_key`.
    pub field: String,
    /// Largest first.
    pub descending: bool,
    /// Whether records without a value come first instead of last.
    #[serde(default)]
    pub missing_first: bool,
}

/// A search over one table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SearchRequest {
    /// The words a person types; parsed leniently. `None` or blank: everything.
    pub q: Option<String>,
    /// What programs ask for, scored with `q`; `None`: everything.
    #[serde(default)]
    pub clause: Option<Clause>,
    /// Strict filters; all must hold; not scored.
    pub filter: Vec<String>,
    /// What else must hold; not scored.
    #[serde(default)]
    pub within: Vec<Clause>,
    /// Sort keys; empty: by score, then key. Ties end with the key.
    pub sort: Vec<SortKey>,
    /// Hits up to this place are left out: the search goes on behind it. Matches are counted all the same.
    pub after: Option<Place>,
    /// Most hits. An answer with fewer says that there are no more.
    pub limit: usize,
    /// Members of the record to return; `None`: all.
    pub fields: Option<Vec<String>>,
    /// Text fields of which hits show the pieces that have words of `q`.
    pub highlight: Vec<String>,
    /// Longest piece of a text that is shown, characters; `None`: a few words around what was found.
    #[serde(default)]
    pub highlight_length: Option<usize>,
    /// Whether hits say which version their record has.
    #[serde(default)]
    pub versions: bool,
    /// Whether the first [`MOST_EXPLAINED`] hits say why they have their score.
    pub explain: bool,
    /// Whether matches are counted.
    pub count: Count,
    /// Facets to count, each over all matches.
    pub facets: Vec<FacetRequest>,
    /// Aggregations over all matches, in the syntax of Elasticsearch.
    pub aggs: Option<serde_json::Value>,
    /// Most buckets of the aggregations.
    pub max_buckets: u32,
    /// Partitions that are addressed; `None`: all that are here.
    pub partitions: Option<BTreeSet<u32>>,
    /// What scores depend on, where other instances answer, too; `None`: what this instance counts.
    pub statistics: Option<Arc<Statistics>>,
    /// Whether tasks answer, too, whose store or index is not caught up.
    pub stale: bool,
    /// Stops the search when nobody waits for it any more.
    #[serde(skip)]
    pub stop: Stop,
}

impl SearchRequest {
    /// Whether the statistics of all documents change what it finds, or in which order.
    pub fn is_scored(&self) -> bool {
        let by_score = self.sort.is_empty() || self.sort.iter().any(|k| k.field == crate::index::SCORE);
        let asked = self.q.as_ref().is_some_and(|q| !q.trim().is_empty());
        by_score && (asked || self.clause.as_ref().is_some_and(Clause::is_scored))
    }
}

/// One hit; `R` is the record in whatever form it travels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hit<R = Shown> {
    /// Where it stands in the order of the search, with the key of the record: answers of several instances are put in order
    /// by it.
    pub place: Place,
    /// BM25 score, when sorted by score.
    pub score: Option<f32>,
    /// The current record.
    pub record: R,
    /// By field, pieces of its texts, escaped for HTML, with words of `q` in `<em>`.
    pub highlight: BTreeMap<String, Vec<String>>,
    /// Why it has its score, where that was asked for: a tree of values and descriptions.
    pub explain: Option<serde_json::Value>,
    /// The highest version of anything in the record, where that was asked for.
    #[serde(default)]
    pub version: Option<i64>,
}

/// How far a task's answer reaches.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TaskPosition {
    /// Source positions by topic that the answer covers.
    pub sources: BTreeMap<Arc<str>, Offset>,
    /// Unread source records.
    pub lag: i64,
}

/// Answer to a search.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SearchAnswer<R = Shown> {
    /// Hits in order; fewer than asked for only where there are no more.
    pub hits: Vec<Hit<R>>,
    /// Number of matches, if counted.
    pub total: Option<u64>,
    /// What is known of each facet, in the order asked.
    pub facets: Vec<Facet>,
    /// What the records contribute to the aggregations, if there are any: see [`aggs::finish`].
    #[serde(with = "wire")]
    pub aggs: Option<AggPartial>,
    /// What the lenient parser had to pass over.
    pub warnings: Vec<String>,
    /// What the index covers, by partition.
    pub index: BTreeMap<u32, TaskPosition>,
    /// What the stores cover, by partition.
    pub store: BTreeMap<u32, TaskPosition>,
    /// Partitions that could not answer.
    pub missing_partitions: Vec<u32>,
}

impl<R> Default for SearchAnswer<R> {
    fn default() -> Self {
        Self {
            hits: Vec::new(),
            total: None,
            facets: Vec::new(),
            aggs: None,
            warnings: Vec::new(),
            index: BTreeMap::new(),
            store: BTreeMap::new(),
            missing_partitions: Vec::new(),
        }
    }
}

impl<R> SearchAnswer<R> {
    /// The same with records in another form.
    pub fn map<S>(self, mut record: impl FnMut(R) -> S) -> SearchAnswer<S> {
        let Self { hits, total, facets, aggs, warnings, index, store, missing_partitions } = self;
        let hit = |Hit { place, score, record: r, highlight, explain, version }| Hit {
            version,
            place,
            score,
            record: record(r),
            highlight,
            explain,
        };
        let hits = hits.into_iter().map(hit).collect();
        SearchAnswer { hits, total, facets, aggs, warnings, index, store, missing_partitions }
    }
}

/// A demand for freshness: the event at this offset must be covered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtLeast {
    /// Source topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset of the event.
    pub offset: Offset,
}
