//! Facets: the most frequent values of a field among the records that match.
//!
//! A leaf answers with its counts, several leaves are merged by adding them, and the root takes the first few. A leaf that has
//! more values than it may send leaves the rarest out and says how often the most frequent of those occurs: by so much a merged
//! count may be too small.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::index::{FacetCounts, FacetValue, Fields};
use crate::record::{FieldType, Value};
use crate::{Error, Result};

/// Most facets of a search.
pub const MOST_FACETS: usize = 32;
/// Values of a facet that are shown unless the request says how many.
pub const DEFAULT_SIZE: usize = 10;
/// Most values of a facet that a leaf sends.
const MOST_VALUES: usize = 10_000;

/// A facet that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FacetRequest {
    /// The field.
    pub field: String,
    /// Most values to show.
    pub size: usize,
}

/// What is known of a facet: by one leaf, or by several that were merged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facet {
    /// Records by value, ordered by value.
    pub counts: Vec<(FacetValue, u64)>,
    /// Whether values are missing, and the most by which a count may be too small therefore.
    pub cut: Option<u64>,
}

/// A facet as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct TopValues {
    /// The most frequent values; equally frequent ones in their order.
    pub values: Vec<(Value, u64)>,
    /// How many values there are; `None` where too many to tell.
    pub distinct: Option<u64>,
    /// The most by which a count may be too small; 0: none is.
    pub max_error: u64,
}

impl Facet {
    /// What a leaf sends of its counts.
    pub fn of(counts: FacetCounts) -> Self {
        Self::limited(counts, MOST_VALUES)
    }

    fn limited(counts: FacetCounts, most: usize) -> Self {
        let mut counts: Vec<(FacetValue, u64)> = counts.into_iter().collect();
        if counts.len() <= most {
            return Self { counts, cut: None };
        }
        counts.sort_by_key(|(_, n)| Reverse(*n));
        let cut = Some(counts[most].1);
        counts.truncate(most);
        counts.sort();
        Self { counts, cut }
    }

    /// Adds what another leaf knows.
    pub fn merge(&mut self, other: Self) {
        let mut sum: FacetCounts = std::mem::take(&mut self.counts).into_iter().collect();
        for (value, n) in other.counts {
            *sum.entry(value).or_default() += n;
        }
        self.counts = sum.into_iter().collect();
        self.cut = match (self.cut, other.cut) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0) + b.unwrap_or(0)),
        };
    }

    /// The `size` most frequent values.
    pub fn top(mut self, size: usize) -> TopValues {
        let distinct = self.cut.is_none().then_some(self.counts.len() as u64);
        self.counts.sort_by_key(|(_, n)| Reverse(*n));
        let values = self.counts.into_iter().take(size).map(|(value, n)| (shown(&value), n)).collect();
        TopValues { values, distinct, max_error: self.cut.unwrap_or(0) }
    }
}

/// A value as records show it.
fn shown(value: &FacetValue) -> Value {
    match value {
        FacetValue::Date(ms) => Value::Str(super::dates::text(*ms).into()),
        other => other.value(),
    }
}

/// The columns of the facets asked for.
pub(super) fn columns(fields: &Fields, facets: &[FacetRequest]) -> Result<Vec<(String, FieldType)>> {
    if facets.len() > MOST_FACETS {
        return Err(Error::bad_request(format!("facets: found {}, expected at most {MOST_FACETS}", facets.len())));
    }
    let column = |facet: &FacetRequest| {
        if let Some(def) = fields.faceted().find(|f| f.name == facet.field) {
            return Ok((def.name.clone(), def.kind));
        }
        let why = if fields.resolve(&facet.field).is_some() { "has no facet = true" } else { "is not known" };
        let known: Vec<&str> = fields.faceted().map(|f| f.name.as_str()).collect();
        let expected = if known.is_empty() { "no field has it".to_owned() } else { known.join(", ") };
        Err(Error::bad_request(format!("facets: field {:?} {why}, expected one of: {expected}", facet.field))
            .advise("set facet = true for the field in the configuration, or ask with a terms aggregation (aggs)"))
    };
    facets.iter().map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> FacetValue {
        FacetValue::Keyword(text.to_owned())
    }

    fn counts(all: &[(&str, u64)]) -> FacetCounts {
        all.iter().map(|(text, n)| (word(text), *n)).collect()
    }

    #[test]
    fn counts_of_leaves_are_added_and_the_most_frequent_shown_first() {
        let mut all = Facet::of(counts(&[("a", 3), ("b", 1), ("d", 2)]));
        all.merge(Facet::of(counts(&[("b", 4), ("c", 2)])));
        let top = all.top(3);
        let value = |text: &str| Value::Str(text.into());
        assert_eq!(top.values, [(value("b"), 5), (value("a"), 3), (value("c"), 2)]);
        assert_eq!((top.distinct, top.max_error), (Some(4), 0));
    }

    #[test]
    fn a_leaf_with_too_many_values_says_by_how_much_counts_may_be_too_small() {
        let mut all = Facet::limited(counts(&[("a", 9), ("b", 5), ("c", 4), ("d", 1)]), 2);
        assert_eq!(all, Facet { counts: vec![(word("a"), 9), (word("b"), 5)], cut: Some(4) });
        all.merge(Facet::limited(counts(&[("a", 1), ("c", 7), ("d", 3)]), 2));
        all.merge(Facet::of(counts(&[("e", 1)])));
        let top = all.top(10);
        assert_eq!((top.distinct, top.max_error), (None, 5));
        assert_eq!(top.values[0], (Value::Str("a".into()), 9), "at most 5 too small: it is 10");
    }

    #[test]
    fn merging_in_any_order_gives_the_same() {
        let parts = [counts(&[("a", 1), ("b", 2)]), counts(&[("b", 2), ("c", 9)]), counts(&[("a", 5)])];
        let merged = |order: [usize; 3]| {
            order.into_iter().fold(Facet::default(), |mut all, i| {
                all.merge(Facet::limited(parts[i].clone(), 1));
                all
            })
        };
        assert_eq!(merged([0, 1, 2]), merged([2, 0, 1]));
        assert_eq!(merged([0, 1, 2]), merged([1, 2, 0]));
    }
}
