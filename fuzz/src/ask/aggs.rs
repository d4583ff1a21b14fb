//! Aggregations of Elasticsearch.

use serde_json::{Map, Value, json};

use super::Ask;

/// Deepest nesting that is made: one more than is allowed.
const DEEPEST: usize = 11;
const KINDS: &[&str] = &[
    "avg",
    "sum",
    "min",
    "max",
    "stats",
    "extended_stats",
    "percentiles",
    "value_count",
    "cardinality",
    "terms",
    "multi_terms",
    "composite",
    "histogram",
    "date_histogram",
    "range",
    "date_range",
    "filter",
    "filters",
    "missing",
    "top_hits",
    "nested",
];
const INTERVALS: &[&str] = &[
    "1d",
    "90m",
    "0ms",
    "1ms",
    "99999999999d",
    "day",
    "month",
    "1M",
    "quarter",
    "1y",
    "week",
    "minute",
    "century",
    "-1d",
    "0.5",
];
const MEMBERS: &[&str] = &[
    "size",
    "order",
    "min_doc_count",
    "missing",
    "keyed",
    "format",
    "time_zone",
    "offset",
    "percents",
    "hdr",
    "include",
    "exclude",
    "shard_size",
    "segment_size",
    "split_size",
    "script",
    "show_term_doc_count_error",
    "after",
    "sigma",
    "unknown",
];

impl Ask<'_> {
    pub(super) fn aggregations(&mut self, depth: usize) -> Value {
        let mut all = Map::new();
        for n in 0..self.below(3) + usize::from(depth == 0) {
            let name = if self.rarely(12) { self.text() } else { format!("a{n}") };
            all.insert(name, self.aggregation(depth));
        }
        Value::Object(all)
    }

    fn aggregation(&mut self, depth: usize) -> Value {
        if self.rarely(24) {
            return self.any(0);
        }
        let kind = self.of(KINDS);
        let mut body = Map::new();
        body.insert(kind.to_owned(), self.parameters(kind));
        if depth < DEEPEST && self.rarely(2) {
            body.insert("aggs".to_owned(), self.aggregations(depth + 1));
        }
        if self.rarely(12) {
            body.insert("meta".to_owned(), self.any(0));
        }
        Value::Object(body)
    }

    fn parameters(&mut self, kind: &str) -> Value {
        let mut body = Map::new();
        match kind {
            "filter" => return self.query(20),
            "filters" if self.rarely(2) => {
                body.insert("filters".to_owned(), Value::Array(self.list(3, |ask| ask.query(20))));
                return Value::Object(body);
            }
            "filters" => {
                let named: Map<String, Value> = self.list(3, |ask| (ask.text(), ask.query(20))).into_iter().collect();
                body.insert("filters".to_owned(), Value::Object(named));
                return Value::Object(body);
            }
            "multi_terms" => {
                let fields = self.list(5, |ask| json!({"field": ask.field()}));
                body.insert("terms".to_owned(), Value::Array(fields));
            }
            "composite" => {
                let sources = self.list(5, |ask| {
                    let kind = ask.of(&["terms", "histogram", "date_histogram"]);
                    json!({ ask.text(): {kind: ask.bucketed(kind)} })
                });
                body.insert("sources".to_owned(), Value::Array(sources));
            }
            "range" | "date_range" => {
                let bound = |ask: &mut Self| if ask.rarely(2) { ask.scalar() } else { ask.number() };
                let ranges = self.list(4, |ask| json!({"from": bound(ask), "to": bound(ask)}));
                body.insert("ranges".to_owned(), Value::Array(ranges));
                body.insert("field".to_owned(), self.field());
            }
            kind => body = self.bucketed(kind),
        }
        self.members(&mut body, MEMBERS);
        Value::Object(body)
    }

    /// A field, and where there are buckets how wide they are.
    fn bucketed(&mut self, kind: &str) -> Map<String, Value> {
        let mut body = Map::new();
        let of_dates = kind == "date_histogram" && !self.rarely(8);
        body.insert("field".to_owned(), if of_dates { "date".into() } else { self.field() });
        match kind {
            "histogram" => {
                body.insert("interval".to_owned(), self.number());
            }
            "date_histogram" => {
                let name = self.of(&["fixed_interval", "calendar_interval", "interval"]);
                body.insert(name.to_owned(), self.of(INTERVALS).into());
            }
            _ => return body,
        }
        if self.rarely(3) {
            let name = self.of(&["extended_bounds", "hard_bounds"]);
            body.insert(name.to_owned(), json!({"min": self.scalar(), "max": self.scalar()}));
        }
        body
    }
}
