//! What parameters of aggregations may ask for: the library takes whatever it is given, and some of it would never end.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::span;

/// Most fields that `composite` and `multi_terms` combine: every document counts once for each combination of their values.
const MOST_SOURCES: usize = 4;
/// Most ranges of one aggregation, where `api.max_buckets` does not allow fewer.
const MOST_RANGES: usize = 1_000;
/// Most terms that a segment may be asked to count for each bucket.
pub(super) const SEGMENT_TERMS: u32 = 65_000;

/// Refuses parameters, whose fields are columns, that go beyond the limits.
pub(super) fn check(kind: &str, parameters: &mut Map<String, Value>, max_buckets: u32) -> Result<(), String> {
    match kind {
        "range" => ranges(parameters, max_buckets),
        "composite" => {
            sources(kind, "sources", parameters)?;
            intervals(parameters)?;
            sizes(parameters, max_buckets)
        }
        "multi_terms" => {
            sources(kind, "terms", parameters)?;
            sizes(parameters, max_buckets)
        }
        "terms" => sizes(parameters, max_buckets),
        "date_histogram" => match parameters.get("offset").and_then(Value::as_str) {
            Some(text) if span::time(text.trim_start_matches(['+', '-'])).is_none() => {
                Err(format!("offset: expected a time such as \"-6h\", found {text:?}"))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn sizes(parameters: &Map<String, Value>, max_buckets: u32) -> Result<(), String> {
    let limits = [
        ("size", max_buckets),
        ("segment_size", SEGMENT_TERMS.max(max_buckets)),
        ("shard_size", SEGMENT_TERMS.max(max_buckets)),
        ("split_size", SEGMENT_TERMS.max(max_buckets)),
    ];
    for (name, most) in limits {
        if let Some(size) = parameters.get(name).and_then(Value::as_u64)
            && size > u64::from(most)
        {
            return Err(format!("{name}: found {size}, expected at most {most}"));
        }
    }
    Ok(())
}

fn sources(kind: &str, member: &str, parameters: &Map<String, Value>) -> Result<(), String> {
    let given = parameters.get(member).and_then(Value::as_array).map_or(0, Vec::len);
    if !(1..=MOST_SOURCES).contains(&given) {
        return Err(format!("{kind}: {member}: found {given}, expected 1 to {MOST_SOURCES}"));
    }
    let mut fields = Vec::new();
    parameters.get(member).into_iter().for_each(|value| named(value, &mut fields));
    let mut seen = BTreeSet::new();
    match fields.into_iter().find(|field| !seen.insert(*field)) {
        Some(field) => Err(format!("{kind}: field {field:?} is named twice, expected each once")),
        None => Ok(()),
    }
}

fn named<'a>(value: &'a Value, fields: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| named(item, fields)),
        Value::Object(members) => members.iter().for_each(|(name, value)| match value {
            Value::String(field) if name == "field" => fields.push(field),
            value => named(value, fields),
        }),
        _ => {}
    }
}

/// The intervals of the histograms of `composite`.
fn intervals(parameters: &Map<String, Value>) -> Result<(), String> {
    let sources = parameters.get("sources").and_then(Value::as_array).into_iter().flatten();
    for source in sources.filter_map(Value::as_object).flat_map(Map::values) {
        if let Some(interval) = source.pointer("/histogram/interval")
            && !span::number(interval).is_some_and(|n| n > 0.0 && n.is_finite())
        {
            return Err(format!("interval: found {interval}, expected a number above 0"));
        }
        // The library would pass over them.
        let misplaced = |name: &&str| source["date_histogram"].get(*name).is_some_and(|zone| zone != "UTC");
        if let Some(name) =
            ["time_zone", "offset"].iter().find(|name| source.get("date_histogram").is_some() && misplaced(name))
        {
            return Err(format!("composite: {name:?} is not understood here"));
        }
        if let Some(interval) = source.pointer("/date_histogram/fixed_interval")
            && interval.as_str().and_then(span::fixed).is_none()
        {
            return Err(format!("fixed_interval: found {interval}, expected a time above 0 such as \"90m\""));
        }
    }
    Ok(())
}

/// Checks ranges, and names what lies between them: the library looks for that again from the first for each that it finds.
fn ranges(parameters: &mut Map<String, Value>, max_buckets: u32) -> Result<(), String> {
    let most = MOST_RANGES.min(max_buckets as usize);
    let ranges = parameters.get_mut("ranges").and_then(Value::as_array_mut);
    let Some(ranges) = ranges.filter(|ranges| (1..=most).contains(&ranges.len())) else {
        return Err(format!("ranges: expected a list of 1 to {most} ranges such as {{\"from\": 1, \"to\": 5}}"));
    };
    let mut bounds = Vec::with_capacity(ranges.len());
    for range in &*ranges {
        let from = limit(range, "from")?.unwrap_or(f64::NEG_INFINITY);
        let to = limit(range, "to")?.unwrap_or(f64::INFINITY);
        if from > to {
            return Err(format!("ranges: from {from} is above to {to}"));
        }
        bounds.push((from, to));
    }
    bounds.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let holes = bounds.windows(2).filter(|pair| pair[0].1 < pair[1].0);
    ranges.extend(holes.map(|pair| json!({"from": pair[0].1, "to": pair[1].0})));
    Ok(())
}

fn limit(range: &Value, name: &str) -> Result<Option<f64>, String> {
    let Some(value) = range.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    match span::number(value).filter(|n| n.is_finite()) {
        Some(n) => Ok(Some(n)),
        None => Err(format!("{name}: found {value}, expected a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(kind: &str, mut parameters: Value) -> Result<Value, String> {
        check(kind, parameters.as_object_mut().unwrap(), 2_000).map(|()| parameters)
    }

    #[test]
    fn what_lies_between_ranges_is_named_once() {
        let given = json!({"ranges": [{"from": 20}, {"to": 5}, {"from": 5, "to": 10}]});
        let all = checked("range", given).unwrap();
        assert_eq!(all["ranges"].as_array().unwrap().len(), 4);
        assert_eq!(all["ranges"][3], json!({"from": 10.0, "to": 20.0}));
    }

    #[test]
    fn what_goes_beyond_a_limit_is_refused_with_the_limit() {
        let many: Vec<Value> = (0..1_001).map(|i| json!({"from": i, "to": i + 1})).collect();
        let field = |name: &str| json!({"field": name});
        let day = |interval: &str| json!([{"d": {"date_histogram": {"field": "at", "fixed_interval": interval}}}]);
        let cases = [
            ("range", json!({"ranges": []}), "1 to 1000"),
            ("range", json!({"ranges": many}), "1 to 1000"),
            ("range", json!({"ranges": [{"from": 5, "to": 1}]}), "above"),
            ("range", json!({"ranges": [{"from": "NaN"}]}), "a number"),
            ("multi_terms", json!({"terms": [field("a"), field("a")]}), "twice"),
            ("multi_terms", json!({"terms": Vec::from(["a", "b", "c", "d", "e"].map(field))}), "1 to 4"),
            (
                "composite",
                json!({"sources": [{"x": {"terms": {"field": "a"}}}, {"y": {"terms": {"field": "a"}}}]}),
                "twice",
            ),
            ("composite", json!({"sources": day("0ms")}), "above 0"),
            ("composite", json!({"sources": [{"x": {"histogram": {"field": "a", "interval": 0}}}]}), "above 0"),
            (
                "composite",
                json!({"sources": [{"x": {"date_histogram": {"field": "a", "fixed_interval": "1d", "time_zone": "Asia/Tokyo"}}}]}),
                "time_zone",
            ),
            ("composite", json!({"sources": day("1d"), "size": 2_001}), "at most 2000"),
            ("terms", json!({"field": "a", "size": 2_001}), "at most 2000"),
            ("terms", json!({"field": "a", "shard_size": 65_001}), "at most 65000"),
            ("date_histogram", json!({"field": "a", "offset": "-99999999999999999d"}), "offset"),
        ];
        for (kind, parameters, what) in cases {
            let error = checked(kind, parameters.clone()).unwrap_err();
            assert!(error.contains(what), "{kind} {parameters}: {error}");
        }
        assert!(checked("composite", json!({"sources": day("1d"), "size": 2_000})).is_ok());
        assert!(checked("date_histogram", json!({"field": "a", "offset": "-6h"})).is_ok());
    }
}
