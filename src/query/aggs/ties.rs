//! Buckets that the library leaves in any order: ranges that begin alike, and combinations of terms that count the same. Everybody
//! gets them in the same one.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::shape::{each_bucket, kind, subs};

/// Puts the buckets of a result in order; `request` is in the terms of the library.
pub(super) fn finish(request: &Map<String, Value>, result: &mut Map<String, Value>) {
    for (name, body) in request {
        let (Some((kind, parameters)), Some(found)) = (kind(body), result.get_mut(name)) else { continue };
        if let Some(Value::Object(below)) = subs(body) {
            each_bucket(found, |bucket| finish(below, bucket));
        }
        let Some(Value::Array(buckets)) = found.get_mut("buckets") else { continue };
        match kind {
            "range" => buckets.sort_by(|a, b| bound(a, "from", b).then_with(|| bound(a, "to", b))),
            "multi_terms" if is_by_count(parameters) => {
                let same = |a: &Value, b: &Value| a["doc_count"] == b["doc_count"];
                buckets.chunk_by_mut(same).for_each(|equals| equals.sort_by(|a, b| keys(&a["key"], &b["key"])));
            }
            _ => {}
        }
    }
}

/// By a bound: ranges without a beginning come first, those without an end last.
fn bound(a: &Value, name: &str, b: &Value) -> Ordering {
    let open = if name == "from" { f64::NEG_INFINITY } else { f64::INFINITY };
    let of = |range: &Value| range[name].as_f64().unwrap_or(open);
    of(a).total_cmp(&of(b))
}

fn is_by_count(parameters: &Value) -> bool {
    parameters.get("order").is_none_or(|order| order.get("_count").is_some())
}

/// By one part after the other; those of a field are of one type.
fn keys(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.iter().zip(b).map(|(a, b)| keys(a, b)).find(|order| order.is_ne()).unwrap_or(a.len().cmp(&b.len()))
        }
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => match (a.as_i64(), b.as_i64(), a.as_f64(), b.as_f64()) {
            (Some(a), Some(b), ..) => a.cmp(&b),
            (.., Some(a), Some(b)) => a.total_cmp(&b),
            _ => a.to_string().cmp(&b.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn finished(request: &Value, mut result: Value) -> Value {
        finish(request.as_object().unwrap(), result.as_object_mut().unwrap());
        result
    }

    #[test]
    fn ranges_that_begin_alike_are_ordered_by_their_ends_below_others_too() {
        let request =
            json!({"t": {"terms": {"field": "brand"}, "aggs": {"r": {"range": {"field": "sold", "ranges": []}}}}});
        let of = |ranges: Value| json!({"t": {"buckets": [{"key": "a", "r": {"buckets": ranges}}]}});
        let open = json!({"from": 5.0});
        let (short, long, first) =
            (json!({"from": 5.0, "to": 5.0}), json!({"from": 5.0, "to": 7.0}), json!({"to": 5.0}));
        let found = finished(&request, of(json!([open, long, first, short])));
        assert_eq!(found, of(json!([first, short, long, open])));
    }

    #[test]
    fn combinations_that_count_the_same_are_ordered_by_their_parts() {
        let bucket = |n: u32, key: Value| json!({"doc_count": n, "key": key});
        let all = [
            bucket(3, json!(["z", 1])),
            bucket(2, json!(["b", 10])),
            bucket(2, json!(["b", 9])),
            bucket(2, json!(["a", 2.5])),
            bucket(1, json!([true, 1])),
            bucket(1, json!([false, 2])),
        ];
        let ordered = [0, 3, 2, 1, 5, 4].map(|i: usize| all[i].clone());
        let of = |parameters: Value, buckets: &[Value]| {
            finished(&json!({"m": {"multi_terms": parameters}}), json!({"m": {"buckets": buckets}}))["m"]["buckets"]
                .clone()
        };
        assert_eq!(of(json!({"terms": []}), &all), json!(ordered));
        assert_eq!(of(json!({"order": {"_count": "desc"}}), &all), json!(ordered));
        assert_eq!(of(json!({"order": {"price": "desc"}}), &all), json!(all), "what it is ordered by counts");
    }
}
