//! What an aggregation amounts to where there is nothing that it could be of: its field is none of the table.

use serde_json::{Map, Value, json};

use super::Shape;

/// Percentiles where a request names none.
const PERCENTS: [f64; 7] = [1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0];

impl Shape {
    /// The result over no values.
    pub(super) fn nothing(&self) -> Value {
        match self.kind.as_str() {
            "terms" | "multi_terms" => {
                json!({"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": []})
            }
            "composite" => json!({"buckets": []}),
            "histogram" | "date_histogram" if self.keyed => json!({"buckets": {}}),
            "histogram" | "date_histogram" => json!({"buckets": []}),
            "range" | "date_range" => json!({"buckets": self.no_ranges()}),
            "filter" | "missing" => Value::Object(self.no_documents()),
            "filters" => json!({"buckets": {}}),
            "sum" => json!({"value": 0.0}),
            "value_count" | "cardinality" => json!({"value": 0}),
            "stats" => json!({"count": 0, "min": null, "max": null, "avg": null, "sum": 0.0}),
            "extended_stats" => json!({
                "count": 0, "min": null, "max": null, "avg": null, "sum": 0.0, "sum_of_squares": null, "variance": null,
                "variance_population": null, "variance_sampling": null, "std_deviation": null,
                "std_deviation_population": null, "std_deviation_sampling": null,
                "std_deviation_bounds": {
                    "upper": null, "lower": null, "upper_population": null, "lower_population": null,
                    "upper_sampling": null, "lower_sampling": null
                }
            }),
            "percentiles" => {
                let percents = if self.percents.is_empty() { &PERCENTS[..] } else { &self.percents };
                let values: Map<String, Value> = percents.iter().map(|p| (format!("{p:?}"), Value::Null)).collect();
                json!({"values": values})
            }
            "top_hits" => {
                json!({"hits": {"total": {"value": 0, "relation": "eq"}, "max_score": null, "hits": []}})
            }
            _ => json!({"value": null}),
        }
    }

    /// Every range that was asked for, without documents.
    fn no_ranges(&self) -> Value {
        let bound = |bound: Option<f64>| bound.map_or_else(|| "*".to_owned(), |b| format!("{b:?}"));
        let one = |(from, to): &(Option<f64>, Option<f64>)| {
            let name = format!("{}-{}", bound(*from), bound(*to));
            let mut members = self.no_documents();
            members.extend(from.map(|from| ("from".to_owned(), from.into())));
            members.extend(to.map(|to| ("to".to_owned(), to.into())));
            (name, members)
        };
        let ranges = self.ranges.iter().map(one);
        if self.keyed {
            return Value::Object(ranges.map(|(name, members)| (name, Value::Object(members))).collect());
        }
        let named = |(name, mut members): (String, Map<String, Value>)| {
            members.insert("key".to_owned(), name.into());
            Value::Object(members)
        };
        ranges.map(named).collect()
    }

    /// A bucket without documents. What is below it has its own name and shape there as anywhere.
    fn no_documents(&self) -> Map<String, Value> {
        let below = self.below.iter().map(|below| (below.name.clone(), below.nothing()));
        below.chain([("doc_count".to_owned(), 0.into())]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{adapted, warned};
    use super::*;

    #[test]
    fn an_aggregation_of_no_field_is_empty_as_elsewhere() {
        let asked = json!({
            "t": {"terms": {"field": "no.such"}}, "a": {"avg": {"field": "no.such"}}, "s": {"sum": {"field": "no.such"}},
            "h": {"date_histogram": {"field": "no.such", "fixed_interval": "1d", "keyed": true}},
            "p": {"percentiles": {"field": "no.such", "percents": [50, "99.9"]}},
            "r": {"range": {"field": "no.such", "ranges": [{"to": 5}, {"from": 5, "to": 7.5}]}, "aggs": {"n": {"max": {"field": "price"}}, "f": {"top_hits": {}}}}
        });
        let adapted = adapted(asked.clone()).unwrap();
        assert_eq!(adapted.request, json!({}), "nothing is left to be searched for");
        let shown = adapted.shape(json!({}), false);
        let first = json!({"hits": {"total": {"value": 0, "relation": "eq"}, "max_score": null, "hits": []}});
        let expected = json!({
            "t": {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": []}, "a": {"value": null},
            "s": {"value": 0.0}, "h": {"buckets": {}}, "p": {"values": {"50.0": null, "99.9": null}},
            "r": {"buckets": [
                {"key": "*-5.0", "to": 5.0, "doc_count": 0, "n": {"value": null}, "f": first},
                {"key": "5.0-7.5", "from": 5.0, "to": 7.5, "doc_count": 0, "n": {"value": null}, "f": first}
            ]}
        });
        assert_eq!(shown, expected);
        let typed = adapted.shape(json!({}), true);
        assert!(typed["umterms#t"].is_object() && typed["range#r"]["buckets"][0]["max#n"].is_object(), "{typed}");
        assert_eq!(warned(asked).len(), 1, "who looks for it is told once");
    }

    #[test]
    fn it_is_empty_in_every_bucket_of_others_and_may_have_a_value_for_records_without_one() {
        let asked = json!({"b": {"terms": {"field": "brand"}, "aggs": {"x": {"cardinality": {"field": "no.such"}}}}});
        let result = json!({"b": {"buckets": [{"key": "a", "doc_count": 2}]}});
        let shown = adapted(asked).unwrap().shape(result, false);
        assert_eq!(shown["b"]["buckets"][0]["x"], json!({"value": 0}), "{shown}");
        // Then it is not empty elsewhere: to say so here would be to lie.
        let filled = json!({"t": {"terms": {"field": "no.such", "missing": "none"}}});
        assert_eq!(adapted(filled.clone()).unwrap().request, filled);
        let missing = adapted(json!({"m": {"missing": {"field": "no.such"}}})).unwrap();
        assert!(missing.request["m"]["filter"].is_object(), "{:?}", missing.request);
    }
}
