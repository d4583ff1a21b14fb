//! Results over dates: the library counts nanoseconds, the answer shows milliseconds as Elasticsearch does.

use serde_json::{Map, Value};

use super::shape::{each_bucket, kind, subs};
use crate::query::dates;

/// Nanoseconds of a millisecond.
const NANOS: f64 = 1e6;
/// Members of metrics that are moments or spans of time.
const LINEAR: &[&str] = &[
    "value",
    "min",
    "max",
    "avg",
    "sum",
    "std_deviation",
    "std_deviation_population",
    "std_deviation_sampling",
    "upper",
    "lower",
    "upper_sampling",
    "lower_sampling",
    "upper_population",
    "lower_population",
];
/// Members that are squares of such.
const SQUARED: &[&str] = &["sum_of_squares", "variance", "variance_population", "variance_sampling"];

/// Brings the results of a request in the terms of the library to milliseconds; `is_date` knows columns of dates.
pub(super) fn finish(request: &Map<String, Value>, result: &mut Map<String, Value>, is_date: &dyn Fn(&str) -> bool) {
    for (name, body) in request {
        let (Some((kind, parameters)), Some(found)) = (kind(body), result.get_mut(name)) else { continue };
        if let Some(Value::Object(below)) = subs(body) {
            each_bucket(found, |bucket| finish(below, bucket, is_date));
        }
        if !parameters.get("field").and_then(Value::as_str).is_some_and(is_date) {
            continue;
        }
        match kind {
            "min" | "max" | "avg" | "sum" | "stats" | "extended_stats" => metric(found),
            "percentiles" => percentiles(found),
            "range" => ranges(found),
            _ => {}
        }
    }
}

fn scale(value: &mut Value, by: f64) {
    if let Some(n) = value.as_f64() {
        *value = (n / by).into();
    }
}

fn metric(found: &mut Value) {
    let Value::Object(members) = found else { return };
    for (name, value) in members {
        match name.as_str() {
            linear if LINEAR.contains(&linear) => scale(value, NANOS),
            squared if SQUARED.contains(&squared) => scale(value, NANOS * NANOS),
            "std_deviation_bounds" => metric(value),
            _ => {}
        }
    }
}

fn percentiles(found: &mut Value) {
    match found.get_mut("values") {
        Some(Value::Object(values)) => values.values_mut().for_each(|value| scale(value, NANOS)),
        Some(Value::Array(values)) => {
            values.iter_mut().filter_map(|v| v.get_mut("value")).for_each(|value| scale(value, NANOS));
        }
        _ => {}
    }
}

fn ranges(found: &mut Value) {
    match found.get_mut("buckets") {
        Some(Value::Array(buckets)) => {
            for bucket in buckets {
                let key = range(bucket);
                if let (Some(key), Some(held)) = (key, bucket.get_mut("key")) {
                    *held = key.into();
                }
            }
        }
        Some(Value::Object(buckets)) => {
            let named = std::mem::take(buckets).into_iter().map(|(name, mut bucket)| {
                let key = range(&mut bucket);
                if let (Some(key), Some(held)) = (&key, bucket.get_mut("key")) {
                    *held = key.clone().into();
                }
                (key.unwrap_or(name), bucket)
            });
            *buckets = named.collect();
        }
        _ => {}
    }
}

/// Brings the bounds of a range to milliseconds; the key that follows from them, unless the request has given one.
fn range(bucket: &mut Value) -> Option<String> {
    let made = bucket.get("key").and_then(Value::as_str).is_some_and(|key| key == library_key(bucket));
    let mut shown = ["*".to_owned(), "*".to_owned()];
    for (name, shown) in ["from", "to"].into_iter().zip(&mut shown) {
        let Some(n) = bucket.get(name).and_then(Value::as_f64) else { continue };
        #[expect(clippy::cast_possible_truncation, reason = "whole milliseconds within the range of dates")]
        let ms = (n / NANOS).round() as i64;
        *shown = dates::text(ms);
        bucket[name] = ms.into();
        bucket[format!("{name}_as_string")] = shown.clone().into();
    }
    made.then(|| shown.join("-"))
}

/// The key that the library makes of the bounds.
fn library_key(bucket: &Value) -> String {
    let shown = |name: &str| bucket.get(name).and_then(Value::as_str).unwrap_or("*").to_owned();
    format!("{}-{}", shown("from_as_string"), shown("to_as_string"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_over_dates_are_milliseconds_and_others_stay() {
        let request = json!({
            "a": {"max": {"field": "at"}}, "n": {"max": {"field": "price"}},
            "e": {"extended_stats": {"field": "at"}},
            "p": {"percentiles": {"field": "at"}},
            "t": {"terms": {"field": "brand"}, "aggs": {"low": {"min": {"field": "at"}}}}
        });
        let mut result = json!({
            "a": {"value": 5e9}, "n": {"value": 5e9},
            "e": {"count": 2, "avg": 3e9, "variance": 1e12, "std_deviation_bounds": {"upper": 4e9}},
            "p": {"values": {"50.0": 2e9}},
            "t": {"buckets": [{"key": "x", "low": {"value": null}}, {"key": "y", "low": {"value": 7e6}}]}
        });
        let Value::Object(members) = &mut result else { panic!("an object") };
        finish(request.as_object().unwrap(), members, &|column| column == "at");
        let expected = json!({
            "a": {"value": 5e3}, "n": {"value": 5e9},
            "e": {"count": 2, "avg": 3e3, "variance": 1.0, "std_deviation_bounds": {"upper": 4e3}},
            "p": {"values": {"50.0": 2e3}},
            "t": {"buckets": [{"key": "x", "low": {"value": null}}, {"key": "y", "low": {"value": 7.0}}]}
        });
        assert_eq!(result, expected);
    }
}
