//! `calendar_interval`, and intervals in a zone. What has a fixed length in UTC is left to the library; months, quarters, years, and
//! everything where clocks change are counted as ranges, and shown as a histogram.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::shape::{each_bucket, kind, subs};
use super::span;
use crate::query::dates;
use crate::query::dsl::dates::read_zone;

const HOUR: i64 = 3_600_000;

/// How long a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Months(i32),
    /// Weeks are seven of them, from Monday on.
    Days(i32),
    /// Milliseconds; where they do not divide the hour, of the clock there, from the midnight of the epoch.
    Fixed(i64),
}

/// Buckets that are made as ranges.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    unit: Unit,
    zone: TimeZone,
}

/// The units of a calendar in the words of a request.
fn unit(text: &str) -> Option<Unit> {
    Some(match text {
        "minute" | "1m" => Unit::Fixed(60_000),
        "hour" | "1h" => Unit::Fixed(HOUR),
        "day" | "1d" => Unit::Days(1),
        "week" | "1w" => Unit::Days(7),
        "month" | "1M" => Unit::Months(1),
        "quarter" | "1q" => Unit::Months(3),
        "year" | "1y" => Unit::Months(12),
        _ => return None,
    })
}

/// The buckets of a `date_histogram` that are made as ranges, or else a fixed interval in the place of a unit that has one.
pub(super) fn interval(parameters: &mut Map<String, Value>) -> Result<Option<Calendar>, String> {
    let zone = match parameters.remove("time_zone") {
        None => TimeZone::UTC,
        Some(zone) => read_zone(zone.as_str().unwrap_or_default())?,
    };
    let is_utc = zone.to_fixed_offset().is_ok_and(|offset| offset.is_zero());
    let unit = match (parameters.remove("calendar_interval"), parameters.get("fixed_interval")) {
        (Some(_), Some(_)) => return Err("expected calendar_interval or fixed_interval, found both".to_owned()),
        (Some(given), None) => unit(given.as_str().unwrap_or_default()).ok_or_else(|| {
            format!("calendar_interval: found {given}, expected minute, hour, day, week, month, quarter, year")
        })?,
        // Whoever reads it next says what is wrong with it.
        (None, Some(given)) if !is_utc => match given.as_str().and_then(span::time).filter(|ms| *ms > 0) {
            Some(ms) => Unit::Fixed(ms),
            None => return Ok(None),
        },
        (None, _) => return Ok(None),
    };
    let fixed = match unit {
        Unit::Fixed(60_000) => "1m",
        Unit::Fixed(_) => "1h",
        Unit::Days(1) => "1d",
        _ => "7d",
    };
    if !is_utc || matches!(unit, Unit::Months(_)) {
        let allowed = ["field", "keyed", "min_doc_count", "fixed_interval"];
        return match parameters.keys().find(|name| !allowed.contains(&name.as_str())) {
            Some(other) => Err(format!("{other:?} does not go with months, quarters, years, and zones")),
            None => Ok(Some(Calendar { unit, zone })),
        };
    }
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

impl Calendar {
    /// The beginnings of all buckets from that of the first moment to the one behind the last, milliseconds; `None` for more than
    /// `most` buckets.
    pub(super) fn starts(&self, (first, last): (i64, i64), most: usize) -> Option<Vec<i64>> {
        let mut all = Vec::new();
        let shift = self.shift(first)?;
        let mut n = self.number(first, shift)?;
        loop {
            let start = self.start(n, shift)?;
            // A time that clocks leave out begins no bucket.
            if all.last().is_none_or(|before| *before < start) {
                all.push(start);
            }
            if start > last {
                return Some(all);
            }
            if all.len() > most {
                return None;
            }
            n += 1;
        }
    }

    /// Where the bucket that begins at a moment ends.
    pub(super) fn end(&self, start: i64) -> Option<i64> {
        self.starts((start, start), 2)?.into_iter().find(|next| *next > start)
    }

    /// Of units that divide the hour: how much earlier than in UTC they begin. It is the same whether it is summer or winter, but for one
    /// island, so that no hour is left out and none comes twice.
    fn shift(&self, ms: i64) -> Option<Option<i64>> {
        let Unit::Fixed(unit) = self.unit else { return Some(None) };
        let offset = self.zone.to_offset(Timestamp::from_millisecond(ms).ok()?);
        Some((HOUR % unit == 0).then_some(i64::from(offset.seconds()) * 1_000 % unit))
    }

    /// The number of the bucket that a moment is in.
    fn number(&self, ms: i64, shift: Option<i64>) -> Option<i64> {
        let at = Timestamp::from_millisecond(ms).ok()?.to_zoned(self.zone.clone());
        Some(match (self.unit, shift) {
            (Unit::Months(n), _) => (i64::from(at.year()) * 12 + i64::from(at.month()) - 1).div_euclid(n.into()),
            (Unit::Days(n), _) => (days(at.date())? + before_epoch(n)).div_euclid(n.into()),
            (Unit::Fixed(unit), Some(shift)) => ms.checked_add(shift)?.div_euclid(unit),
            (Unit::Fixed(unit), None) => local(at.datetime())?.div_euclid(unit),
        })
    }

    /// When a bucket begins.
    fn start(&self, n: i64, shift: Option<i64>) -> Option<i64> {
        let at = match (self.unit, shift) {
            (Unit::Months(months), _) => {
                let month = n.checked_mul(months.into())?;
                let year = i16::try_from(month.div_euclid(12)).ok()?;
                Date::new(year, i8::try_from(month.rem_euclid(12)).ok()? + 1, 1).ok()?.at(0, 0, 0, 0)
            }
            (Unit::Days(days), _) => {
                let day = n.checked_mul(days.into())? - before_epoch(days);
                epoch().checked_add(jiff::Span::new().try_days(day).ok()?).ok()?.at(0, 0, 0, 0)
            }
            (Unit::Fixed(unit), Some(shift)) => return n.checked_mul(unit)?.checked_sub(shift),
            (Unit::Fixed(unit), None) => {
                let ms = jiff::Span::new().try_milliseconds(n.checked_mul(unit)?).ok()?;
                epoch().at(0, 0, 0, 0).checked_add(ms).ok()?
            }
        };
        Some(at.to_zoned(self.zone.clone()).ok()?.timestamp().as_millisecond())
    }
}

fn epoch() -> Date {
    jiff::civil::date(1970, 1, 1)
}

fn days(date: Date) -> Option<i64> {
    Some(epoch().until(date).ok()?.get_days().into())
}

/// Days between the beginning of the first bucket and the epoch, a Thursday.
fn before_epoch(days: i32) -> i64 {
    if days == 7 { 3 } else { 0 }
}

/// Milliseconds since the epoch as clocks there showed it.
fn local(at: DateTime) -> Option<i64> {
    Some(at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// Turns the ranges of a result back into histograms.
pub(super) fn finish(request: &Value, result: &mut Map<String, Value>) {
    for (name, body) in request.as_object().into_iter().flatten() {
        let Some(found) = result.get_mut(name) else { continue };
        if let Some(below) = subs(body) {
            each_bucket(found, |bucket| finish(below, bucket));
        }
        if let Some(("date_histogram", parameters)) = kind(body)
            && let Some(given) = parameters.as_object()
            && let Ok(Some(_)) = interval(&mut given.clone())
        {
            *found = histogram(parameters, found);
        }
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
    let ms = (range["from"].as_f64().unwrap_or(0.0) / 1e6).round() as i64;
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

    fn calendar(parameters: Value) -> Calendar {
        interval(&mut parameters.as_object().unwrap().clone()).unwrap().unwrap()
    }

    fn shown(parameters: Value, first: &str, last: &str) -> Vec<String> {
        let starts = calendar(parameters).starts((ms(first), ms(last)), 100).unwrap();
        starts.into_iter().map(|at| dates::text(at).replace(":00Z", "Z")).collect()
    }

    #[test]
    fn units_begin_with_the_first_of_a_month() {
        let of =
            |unit: &str| shown(json!({"calendar_interval": unit}), "2025-11-30T23:59:59.999Z", "2026-02-01T00:00:00Z");
        let midnight = |days: &[&str]| days.iter().map(|d| format!("{d}T00:00Z")).collect::<Vec<_>>();
        let months = ["2025-11-01", "2025-12-01", "2026-01-01", "2026-02-01", "2026-03-01"];
        assert_eq!(of("month"), midnight(&months));
        assert_eq!(of("1q"), midnight(&["2025-10-01", "2026-01-01", "2026-04-01"]));
        assert_eq!(of("year"), midnight(&["2025-01-01", "2026-01-01", "2027-01-01"]));
        let span = (ms("2025-11-30T23:59:59.999Z"), ms("2026-02-01T00:00:00Z"));
        assert_eq!(calendar(json!({"calendar_interval": "1M"})).starts(span, 3), None);
        let years = calendar(json!({"calendar_interval": "1y"}));
        assert_eq!(years.starts((0, 0), 1).unwrap(), [0, ms("1971-01-01T00:00:00Z")]);
        assert_eq!(years.starts((-1, -1), 1).unwrap(), [ms("1969-01-01T00:00:00Z"), 0]);
    }

    #[test]
    fn one_interval_is_taken_and_not_two() {
        for (unit, zone) in [("month", "UTC"), ("1d", "UTC"), ("1d", "Europe/Berlin")] {
            let both = json!({"calendar_interval": unit, "fixed_interval": "1d", "time_zone": zone});
            let refused = interval(&mut both.as_object().unwrap().clone()).unwrap_err();
            assert!(refused.contains("found both"), "{refused}");
        }
    }

    #[test]
    fn in_a_zone_buckets_are_as_long_as_its_clocks_say() {
        let of = |interval: Value, first: &str, last: &str| {
            let mut parameters = interval;
            parameters["time_zone"] = "Europe/Berlin".into();
            shown(parameters, first, last)
        };
        // Clocks go from two to three on 29 March 2026, and from three back to two on 25 October.
        let days = of(json!({"calendar_interval": "day"}), "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
        assert_eq!(days, ["2026-03-27T23:00Z", "2026-03-28T23:00Z", "2026-03-29T22:00Z"]);
        let fixed = of(json!({"fixed_interval": "1d"}), "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
        assert_eq!(fixed, days, "a day of fixed length begins at midnight, too");
        let months = of(json!({"calendar_interval": "month"}), "2026-03-10T00:00:00Z", "2026-03-31T22:00:00Z");
        assert_eq!(months, ["2026-02-28T23:00Z", "2026-03-31T22:00Z", "2026-04-30T22:00Z"]);
        let weeks = of(json!({"calendar_interval": "week"}), "2026-03-29T21:59:59Z", "2026-03-29T22:00:00Z");
        assert_eq!(weeks, ["2026-03-22T23:00Z", "2026-03-29T22:00Z", "2026-04-05T22:00Z"]);
        let hours = of(json!({"calendar_interval": "hour"}), "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z");
        assert_eq!(hours, ["2026-03-29T00:00Z", "2026-03-29T01:00Z", "2026-03-29T02:00Z"], "two o'clock is left out");
        let again = of(json!({"fixed_interval": "1h"}), "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z");
        assert_eq!(again, ["2026-10-25T00:00Z", "2026-10-25T01:00Z", "2026-10-25T02:00Z"], "two o'clock comes twice");
        let kathmandu = json!({"calendar_interval": "hour", "time_zone": "Asia/Kathmandu"});
        let hours = shown(kathmandu, "2026-01-01T00:00:00Z", "2026-01-01T00:15:00Z");
        assert_eq!(hours, ["2025-12-31T23:15Z", "2026-01-01T00:15Z", "2026-01-01T01:15Z"]);
        let twice = of(json!({"fixed_interval": "2h"}), "2026-10-24T23:00:00Z", "2026-10-25T01:30:00Z");
        assert_eq!(
            twice,
            ["2026-10-24T22:00Z", "2026-10-25T00:00Z", "2026-10-25T03:00Z"],
            "from two to four are three hours"
        );
        let quarters = of(json!({"fixed_interval": "15m"}), "2026-10-25T00:50:00Z", "2026-10-25T01:00:00Z");
        assert_eq!(quarters, ["2026-10-25T00:45Z", "2026-10-25T01:00Z", "2026-10-25T01:15Z"]);
    }

    #[test]
    fn what_has_a_fixed_length_is_left_to_the_library() {
        let fixed = |parameters: Value| {
            let mut parameters = parameters.as_object().unwrap().clone();
            assert!(interval(&mut parameters).unwrap().is_none());
            Value::Object(parameters)
        };
        assert_eq!(fixed(json!({"calendar_interval": "day", "time_zone": "Z"})), json!({"fixed_interval": "1d"}));
        assert_eq!(fixed(json!({"calendar_interval": "1w"})), json!({"fixed_interval": "7d", "offset": "4d"}));
        for (parameters, what) in [
            (json!({"calendar_interval": "century"}), "calendar_interval"),
            (json!({"calendar_interval": "month", "offset": "1d"}), "offset"),
            (json!({"fixed_interval": "1d", "time_zone": "Mars/Base"}), "time_zone"),
            (json!({"fixed_interval": "1d", "time_zone": "Asia/Tokyo", "extended_bounds": {}}), "extended_bounds"),
        ] {
            let error = interval(&mut parameters.as_object().unwrap().clone()).unwrap_err();
            assert!(error.contains(what), "{parameters}: {error}");
        }
    }
}
