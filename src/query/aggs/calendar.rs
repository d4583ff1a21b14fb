//! `calendar_interval`: units of the calendar in UTC. Those of a fixed length are left to the library; months, quarters and years
//! are counted as ranges, and shown as a histogram.

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value, json};

use super::shape::{kind, subs};
use crate::query::dates;

/// A unit whose length varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Month,
    Quarter,
    Year,
}

impl Unit {
    fn months(self) -> i32 {
        match self {
            Unit::Month => 1,
            Unit::Quarter => 3,
            Unit::Year => 12,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "month" | "1M" => Unit::Month,
            "quarter" | "1q" => Unit::Quarter,
            "year" | "1y" => Unit::Year,
            _ => return None,
        })
    }
}

/// The unit whose length varies, or else a fixed interval in the place of one that does not.
pub(super) fn interval(parameters: &mut Map<String, Value>) -> Result<Option<Unit>, String> {
    match parameters.remove("time_zone").as_ref().map(|zone| zone.as_str().unwrap_or_default()) {
        None | Some("UTC" | "Z" | "+00:00") => {}
        Some(zone) => return Err(format!("time_zone: found {zone:?}, expected UTC")),
    }
    let Some(given) = parameters.remove("calendar_interval") else { return Ok(None) };
    let given = given.as_str().unwrap_or_default();
    if let Some(unit) = Unit::parse(given) {
        let allowed = ["field", "keyed", "min_doc_count"];
        return match parameters.keys().find(|name| !allowed.contains(&name.as_str())) {
            Some(other) => Err(format!("{other:?} does not go with calendar_interval {given:?}")),
            None => Ok(Some(unit)),
        };
    }
    let fixed = match given {
        "minute" | "1m" => "1m",
        "hour" | "1h" => "1h",
        "day" | "1d" => "1d",
        "week" | "1w" => "7d",
        _ => {
            return Err(format!(
                "calendar_interval: found {given:?}, expected minute, hour, day, week, month, quarter, year"
            ));
        }
    };
    if fixed == "7d" {
        // The epoch was a Thursday; weeks begin on Monday.
        if parameters.contains_key("offset") {
            return Err("offset does not go with calendar_interval \"week\"".to_owned());
        }
        parameters.insert("offset".to_owned(), "4d".into());
    }
    parameters.insert("fixed_interval".to_owned(), fixed.into());
    Ok(None)
}

/// The beginnings of all units from that of the first moment to the one behind the last, milliseconds; `None` for more than
/// `most` units.
pub(super) fn starts(unit: Unit, (first, last): (i64, i64), most: usize) -> Option<Vec<i64>> {
    let day = |ms: i64| Timestamp::from_millisecond(ms).ok().map(|t| t.to_zoned(TimeZone::UTC).date());
    let ms = |d: Date| Some(d.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond());
    let from = day(first)?;
    let months = i8::try_from(unit.months()).ok()?;
    let mut at = date(from.year(), (from.month() - 1) / months * months + 1, 1);
    let mut all = vec![ms(at)?];
    while *all.last()? <= last {
        if all.len() > most {
            return None;
        }
        at = at.checked_add(unit.months().months()).ok()?;
        all.push(ms(at)?);
    }
    Some(all)
}

/// Turns the ranges of a result back into histograms.
pub(super) fn finish(request: &Value, result: &mut Map<String, Value>) {
    for (name, body) in request.as_object().into_iter().flatten() {
        let Some(found) = result.get_mut(name) else { continue };
        if let Some(below) = subs(body) {
            match found.get_mut("buckets") {
                Some(Value::Array(buckets)) => buckets.iter_mut().for_each(|b| finish_bucket(below, b)),
                Some(Value::Object(buckets)) => buckets.values_mut().for_each(|b| finish_bucket(below, b)),
                _ => {}
            }
        }
        if let Some(("date_histogram", parameters)) = kind(body)
            && parameters.get("calendar_interval").and_then(Value::as_str).and_then(Unit::parse).is_some()
        {
            *found = histogram(parameters, found);
        }
    }
}

fn finish_bucket(below: &Value, bucket: &mut Value) {
    if let Value::Object(members) = bucket {
        finish(below, members);
    }
}

/// A histogram from ranges: without what lies before the first unit and behind the last, and without empty ends.
fn histogram(parameters: &Value, ranges: &Value) -> Value {
    let least = parameters.get("min_doc_count").and_then(Value::as_u64).unwrap_or(0);
    let keyed = parameters.get("keyed").and_then(Value::as_bool).unwrap_or(false);
    let count = |bucket: &Value| bucket["doc_count"].as_u64().unwrap_or(0);
    let inner =
        ranges["buckets"].as_array().into_iter().flatten().filter(|b| b["from"].is_number() && b["to"].is_number());
    let all: Vec<&Value> = inner.collect();
    let first = all.iter().position(|b| count(b) > 0).unwrap_or(all.len());
    let end = all.iter().rposition(|b| count(b) > 0).map_or(first, |at| at + 1);
    let buckets = all[first..end].iter().filter(|b| count(b) >= least).map(|b| bucket(b));
    let buckets: Value = if keyed {
        let named = buckets.map(|b| (b["key_as_string"].as_str().unwrap_or_default().to_owned(), b));
        Value::Object(named.collect())
    } else {
        buckets.collect()
    };
    json!({ "buckets": buckets })
}

fn bucket(range: &Value) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "whole milliseconds within the range of dates")]
    let ms = (range["from"].as_f64().unwrap_or(0.0) / 1e6) as i64;
    let mut members = range.as_object().cloned().unwrap_or_default();
    ["from", "to", "from_as_string", "to_as_string"].iter().for_each(|name| drop(members.remove(*name)));
    members.insert("key".to_owned(), ms.into());
    members.insert("key_as_string".to_owned(), dates::text(ms).into());
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn units_begin_with_the_first_of_a_month() {
        let span = (ms("2025-11-30T23:59:59.999Z"), ms("2026-02-01T00:00:00Z"));
        let shown = |unit| starts(unit, span, 100).unwrap().into_iter().map(dates::text).collect::<Vec<_>>();
        let midnight = |days: &[&str]| days.iter().map(|d| format!("{d}T00:00:00Z")).collect::<Vec<_>>();
        let months = ["2025-11-01", "2025-12-01", "2026-01-01", "2026-02-01", "2026-03-01"];
        assert_eq!(shown(Unit::Month), midnight(&months));
        assert_eq!(shown(Unit::Quarter), midnight(&["2025-10-01", "2026-01-01", "2026-04-01"]));
        assert_eq!(shown(Unit::Year), midnight(&["2025-01-01", "2026-01-01", "2027-01-01"]));
        assert_eq!(starts(Unit::Month, span, 3), None);
        assert_eq!(starts(Unit::Year, (0, 0), 1).unwrap(), [0, ms("1971-01-01T00:00:00Z")]);
    }
}
