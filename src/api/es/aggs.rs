//! Aggregations: from what clients of Elasticsearch ask to what is asked here, and back to what they expect. Pure.

mod adapt;
mod nothing;

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

pub(super) use adapt::adapt;

use crate::query::dsl::dates::Format;
use crate::record::FieldType;

/// One aggregation of a request: what has to be done with its result.
#[derive(Debug)]
struct Shape {
    name: String,
    kind: String,
    /// Type of the field.
    field: Option<FieldType>,
    format: Option<Format>,
    /// In which dates are shown.
    zone: TimeZone,
    /// Whether the last bucket comes first.
    reversed: bool,
    /// Whether the filters have no names.
    anonymous: bool,
    /// Bounds of the ranges that were asked for.
    ranges: Vec<(Option<f64>, Option<f64>)>,
    /// Percentiles that were asked for.
    percents: Vec<f64>,
    /// Whether buckets stand under their names.
    keyed: bool,
    /// Fields that the table does not have.
    unknown: Vec<String>,
    meta: Option<Value>,
    below: Vec<Shape>,
}

/// The aggregations of a request.
#[derive(Debug)]
pub(super) struct Adapted {
    /// As they are asked for here.
    pub(super) request: Value,
    shapes: Vec<Shape>,
}

impl Adapted {
    /// Makes of a result what clients expect; `typed` puts the kind in front of each name.
    pub(super) fn shape(&self, result: Value, typed: bool) -> Value {
        match result {
            Value::Object(members) => Value::Object(level(&self.shapes, members, typed)),
            other => other,
        }
    }
}

/// The results of one level, among other members of a bucket.
fn level(shapes: &[Shape], mut members: Map<String, Value>, typed: bool) -> Map<String, Value> {
    for shape in shapes {
        let found = match members.remove(&shape.name) {
            Some(found) => found,
            None if shape.is_of_nothing() => shape.nothing(),
            None => continue,
        };
        let name = if typed { format!("{}#{}", shape.word(), shape.name) } else { shape.name.clone() };
        members.insert(name, shape.apply(found, typed));
    }
    members
}

impl Shape {
    /// Whether it is of a field that the table does not have, and is not searched for.
    fn is_of_nothing(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// The kind of the aggregation as clients with `typed_keys` know it.
    fn word(&self) -> &str {
        match (self.kind.as_str(), self.field) {
            ("terms", None) if self.is_of_nothing() => "umterms",
            ("terms", Some(FieldType::Float)) => "dterms",
            ("terms", Some(FieldType::Integer | FieldType::Boolean | FieldType::Date)) => "lterms",
            ("terms", _) => "sterms",
            ("percentiles", _) => "tdigest_percentiles",
            ("range", Some(FieldType::Date)) => "date_range",
            (kind, _) => kind,
        }
    }

    fn apply(&self, found: Value, typed: bool) -> Value {
        let Value::Object(mut found) = found else { return found };
        let is_date = self.field == Some(FieldType::Date);
        match self.kind.as_str() {
            "filter" | "missing" => found = level(&self.below, found, typed),
            "terms" | "multi_terms" => {
                found.entry("doc_count_error_upper_bound").or_insert_with(|| 0.into());
            }
            "sum" if found.get("value").is_some_and(Value::is_null) => {
                found.insert("value".to_owned(), json!(0.0));
            }
            "min" | "max" | "avg" if is_date => {
                if let Some(ms) = found.get("value").and_then(Value::as_f64) {
                    found.insert("value_as_string".to_owned(), self.date(ms));
                }
            }
            _ => {}
        }
        if let Some(buckets) = found.remove("buckets") {
            found.insert("buckets".to_owned(), self.buckets(buckets, typed));
        }
        if let Some(meta) = &self.meta {
            found.insert("meta".to_owned(), meta.clone());
        }
        Value::Object(found)
    }

    fn buckets(&self, buckets: Value, typed: bool) -> Value {
        let bucket = |bucket: Value| match bucket {
            Value::Object(mut members) => {
                self.key(&mut members);
                Value::Object(level(&self.below, members, typed))
            }
            other => other,
        };
        match buckets {
            Value::Array(items) => {
                let mut all: Vec<Value> = items.into_iter().filter(|b| self.was_asked(b)).map(bucket).collect();
                if self.reversed {
                    all.reverse();
                }
                Value::Array(all)
            }
            Value::Object(named) if self.anonymous => named.into_values().map(bucket).collect(),
            Value::Object(named) => {
                let all = named.into_iter().filter(|(_, b)| self.was_asked(b));
                Value::Object(all.map(|(name, b)| (name, bucket(b))).collect())
            }
            other => other,
        }
    }

    /// Whether a range is one of those that were asked for: what lies around and between them is counted, too.
    fn was_asked(&self, bucket: &Value) -> bool {
        if !matches!(self.kind.as_str(), "range" | "date_range") {
            return true;
        }
        let same = |a: Option<f64>, b: Option<f64>| match (a, b) {
            // Milliseconds come back from nanoseconds.
            (Some(a), Some(b)) => (a - b).abs() <= if self.field == Some(FieldType::Date) { 0.5 } else { 0.0 },
            (a, b) => a.is_none() == b.is_none(),
        };
        let bounds = (bucket["from"].as_f64(), bucket["to"].as_f64());
        self.ranges.iter().any(|(from, to)| same(*from, bounds.0) && same(*to, bounds.1))
    }

    fn key(&self, bucket: &mut Map<String, Value>) {
        let histogram = self.kind == "date_histogram";
        if histogram || (self.kind == "terms" && self.field == Some(FieldType::Date)) {
            let ms = bucket.get("key").and_then(Value::as_f64);
            // Of terms the key is a text already where the library shows it so.
            if let Some(ms) = ms.filter(|_| histogram) {
                #[expect(clippy::cast_possible_truncation, reason = "whole milliseconds within the range of dates")]
                bucket.insert("key".to_owned(), (ms as i64).into());
                bucket.insert("key_as_string".to_owned(), self.date(ms));
            }
        }
        if matches!(self.kind.as_str(), "range" | "date_range") && self.field == Some(FieldType::Date) {
            for bound in ["from", "to"] {
                if let Some(ms) = bucket.get(bound).and_then(Value::as_f64) {
                    bucket.insert(format!("{bound}_as_string"), self.date(ms));
                }
            }
        }
    }

    fn date(&self, ms: f64) -> Value {
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds within the range of dates")]
        let ms = ms.round() as i64;
        self.format.as_ref().unwrap_or(&Format::Iso).write(ms, &self.zone).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::problem::Problem;
    use crate::index::Fields;
    use crate::query::aggs::CLAUSE;
    use crate::query::dsl::Translator;

    fn with_warnings(asked: &Value) -> (Result<Adapted, Problem>, Vec<String>) {
        let def = crate::record::TableDef { dynamic: crate::record::Dynamic::Store, ..crate::index::testing::def() };
        let fields = Fields::new(std::sync::Arc::new(def)).unwrap();
        let mut translator = Translator::new(&fields, 1_000);
        let adapted = adapt(asked, &fields, 1_000, &mut translator).map(Option::unwrap);
        (adapted, translator.warnings)
    }

    pub(super) fn adapted(asked: Value) -> Result<Adapted, Problem> {
        with_warnings(&asked).0
    }

    pub(super) fn warned(asked: Value) -> Vec<String> {
        with_warnings(&asked).1
    }

    #[test]
    fn what_grafana_asks_is_understood_and_answered_as_it_expects() {
        let asked = json!({"4": {"terms": {"field": "brand.keyword", "size": 10, "order": {"_key": "desc"}}, "aggs": {
            "2": {"date_histogram": {"field": "at", "fixed_interval": "1m", "min_doc_count": 0, "format": "epoch_millis",
                  "extended_bounds": {"min": 1, "max": 2}}, "aggs": {"1": {"max": {"field": "price"}}}}}}});
        let adapted = adapted(asked).unwrap();
        let expected = json!({"4": {"terms": {"field": "brand", "size": 10, "order": {"_key": "desc"}}, "aggs": {
            "2": {"date_histogram": {"field": "at", "fixed_interval": "1m", "min_doc_count": 0,
                  "extended_bounds": {"min": 1, "max": 2}}, "aggs": {"1": {"max": {"field": "price"}}}}}}});
        assert_eq!(adapted.request, expected);
        let result = json!({"4": {"sum_other_doc_count": 0, "buckets": [{"key": "a", "doc_count": 3,
            "2": {"buckets": [{"key": 60_000.0, "key_as_string": "x", "doc_count": 3, "1": {"value": 7.0}}]}}]}});
        let bucket = json!({"key": 60_000, "key_as_string": "60000", "doc_count": 3, "1": {"value": 7.0}});
        let shaped = json!({"4": {"sum_other_doc_count": 0, "doc_count_error_upper_bound": 0,
            "buckets": [{"key": "a", "doc_count": 3, "2": {"buckets": [bucket]}}]}});
        assert_eq!(adapted.shape(result.clone(), false), shaped);
        let typed = adapted.shape(result, true);
        assert_eq!(typed["sterms#4"]["buckets"][0]["date_histogram#2"]["buckets"][0]["max#1"]["value"], 7.0);
    }

    #[test]
    fn filters_hold_clauses_and_those_without_a_name_are_a_list() {
        let adapted =
            adapted(json!({"f": {"filters": {"filters": [{"term": {"brand": "a"}}, {"match_all": {}}]}}})).unwrap();
        assert_eq!(adapted.request["f"]["filters"]["filters"]["00001"], json!({CLAUSE: "All"}));
        let result = json!({"f": {"buckets": {"00000": {"doc_count": 1}, "00001": {"doc_count": 2}}}});
        assert_eq!(adapted.shape(result, false), json!({"f": {"buckets": [{"doc_count": 1}, {"doc_count": 2}]}}));
    }

    #[test]
    fn only_ranges_that_were_asked_for_are_shown() {
        let adapted =
            adapted(json!({"r": {"date_range": {"field": "at", "ranges": [{"from": "now-1s", "to": "now"}]}}}))
                .unwrap();
        assert_eq!(adapted.request["r"]["range"]["ranges"], json!([{"from": 0, "to": 1_000}]));
        let result = json!({"r": {"buckets": [{"to": 0.0, "doc_count": 9}, {"from": 0.0, "to": 1e3, "doc_count": 1}]}});
        let shaped = adapted.shape(result, false);
        assert_eq!(shaped["r"]["buckets"].as_array().unwrap().len(), 1);
        assert_eq!(shaped["r"]["buckets"][0]["to_as_string"], "1970-01-01T00:00:01.000Z");
    }

    #[test]
    fn a_zone_of_one_offset_shifts_the_buckets_and_another_is_asked_for_by_name() {
        let of = |interval: &str, zone: &str| {
            let asked = json!({"d": {"date_histogram": {"field": "at", interval: "1d", "time_zone": zone}}});
            let adapted = adapted(asked).unwrap();
            let result = json!({"d": {"buckets": [{"key": 1_769_900_400_000.0, "doc_count": 1}]}});
            let shown = adapted.shape(result, false)["d"]["buckets"][0]["key_as_string"].clone();
            (adapted.request["d"]["date_histogram"].clone(), shown.as_str().unwrap().to_owned())
        };
        let (request, shown) = of("fixed_interval", "+01:00");
        assert_eq!(request, json!({"field": "at", "fixed_interval": "1d", "offset": "-3600s"}));
        assert_eq!(shown, "2026-02-01T00:00:00.000+01:00");
        for interval in ["fixed_interval", "calendar_interval"] {
            let (request, shown) = of(interval, "Europe/Berlin");
            assert_eq!(request, json!({"field": "at", interval: "1d", "time_zone": "Europe/Berlin"}));
            assert_eq!(shown, "2026-02-01T00:00:00.000+01:00");
        }
        assert_eq!(of("calendar_interval", "UTC").0, json!({"field": "at", "calendar_interval": "1d"}));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (asked, what) in [
            (json!({"x": {"top_metrics": {}}}), "top_metrics"),
            (json!({"x": {"avg": {"script": "1"}}}), "script"),
            (json!({"x": {}}), "one kind"),
            (
                json!({"x": {"date_histogram": {"field": "at", "fixed_interval": "1d", "time_zone": "Mars/Base"}}}),
                "time_zone",
            ),
            (json!({"x": {"filter": {"nonsense": {}}}}), "nonsense"),
        ] {
            let problem = adapted(asked.clone()).unwrap_err();
            assert!(problem.body().detail.contains(what), "{asked}: {}", problem.body().detail);
        }
    }
}
