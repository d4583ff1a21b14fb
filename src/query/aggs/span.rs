//! How many buckets a histogram spans. The library makes every one between the first and the last, and those of
//! `extended_bounds`, before it counts them: what spans too many is refused before.

use serde_json::{Map, Value, json};

use crate::query::dates::Span as Moment;

/// Nanoseconds of a millisecond: the library compares dates by the former, and takes intervals and bounds of the latter.
const NANOS: f64 = 1e6;

/// A histogram of a level, at whatever depth.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Histogram {
    /// Its name.
    pub(super) name: String,
    /// The column that it is of.
    pub(super) column: String,
    /// Whether the column holds dates; then everything here is in milliseconds.
    pub(super) is_date: bool,
    /// Whether buckets without documents are shown.
    fills: bool,
    interval: f64,
    extended: Option<(f64, f64)>,
    hard: Option<(f64, f64)>,
}

impl Histogram {
    /// Reads the parameters of `histogram` or of `date_histogram` with a fixed interval.
    pub(super) fn read(name: &str, kind: &str, is_date: bool, parameters: &Map<String, Value>) -> Result<Self, String> {
        let interval = if kind == "histogram" {
            parameters.get("interval").and_then(number).filter(|n| *n > 0.0 && n.is_finite())
        } else {
            parameters.get("fixed_interval").and_then(Value::as_str).and_then(fixed)
        };
        let interval = interval.ok_or_else(|| match kind {
            "histogram" => "interval: expected a number above 0".to_owned(),
            _ => "fixed_interval: expected a time above 0 such as \"90m\", in ms, s, m, h or d".to_owned(),
        })?;
        let bounds = |name: &str| {
            let bounds = parameters.get(name)?;
            bounds.get("min").and_then(bound).zip(bounds.get("max").and_then(bound))
        };
        Ok(Self {
            name: name.to_owned(),
            column: parameters.get("field").and_then(Value::as_str).unwrap_or_default().to_owned(),
            is_date,
            fills: parameters.get("min_doc_count").and_then(Value::as_u64).unwrap_or(0) == 0,
            interval,
            extended: bounds("extended_bounds"),
            hard: bounds("hard_bounds"),
        })
    }

    /// Refuses more than `most` buckets; `values` are the least and the largest value of the documents, if there are any.
    pub(super) fn check(&self, values: Option<(f64, f64)>, most: u32) -> Result<(), String> {
        if !self.fills && self.extended.is_none() {
            return Ok(());
        }
        let values = values.map(|(low, high)| match self.is_date {
            true => (low / NANOS, high / NANOS),
            false => (low, high),
        });
        let joined = match (values, self.extended) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, other) => one.or(other),
        };
        let Some((low, high)) = joined else { return Ok(()) };
        let (low, high) = self.hard.map_or((low, high), |(from, to)| (low.max(from), high.min(to)));
        // One more for where they lie.
        let buckets = (high - low) / self.interval + 1.0;
        if buckets <= f64::from(most) + 1.0 || low > high {
            return Ok(());
        }
        Err(format!(
            "values from {low} to {high} with an interval of {} are more than {most} buckets: choose a larger interval, \
             hard_bounds, or min_doc_count 1",
            self.interval
        ))
    }

    /// Name and body of the aggregation that finds the least and the largest value of the column: no name of a request begins
    /// so.
    pub(super) fn extremes(&self) -> Option<(String, Value)> {
        self.fills.then(|| (extremes_name(&self.column), json!({"stats": {"field": self.column}})))
    }
}

/// What names of such aggregations begin with.
pub(super) const HIDDEN: char = '\u{0}';

/// The name of the aggregation that finds the least and the largest value of a column.
pub(super) fn extremes_name(column: &str) -> String {
    format!("{HIDDEN}{column}")
}

/// A number as the library takes it: also as text.
pub(super) fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn bound(value: &Value) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds within the range of dates")]
    let moment = |text: &str| Moment::parse(text).map(|span| span.start as f64);
    value.as_f64().or_else(|| moment(value.as_str()?))
}

/// A time such as `90m`, milliseconds; `None` if it is not above 0, or its nanoseconds do not fit.
pub(super) fn fixed(text: &str) -> Option<f64> {
    let ms = time(text)?;
    #[expect(clippy::cast_precision_loss, reason = "for comparing")]
    (ms > 0).then_some(ms as f64)
}

/// A time of 0 or more such as `90m`, milliseconds.
pub(super) fn time(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" | "milliseconds" => 1,
        "s" | "seconds" => 1_000,
        "m" | "minutes" => 60_000,
        "h" | "hours" => 3_600_000,
        "d" | "days" => 86_400_000,
        _ => return None,
    };
    let ms = number.parse::<i64>().ok()?.checked_mul(unit)?;
    ms.checked_mul(1_000_000).map(|_| ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(parameters: &Value) -> Histogram {
        Histogram::read("x", "histogram", false, parameters.as_object().unwrap()).unwrap()
    }

    #[test]
    fn buckets_are_those_between_values_and_bounds() {
        let plain = histogram(&json!({"field": "a", "interval": 2}));
        assert!(plain.check(None, 3).is_ok());
        assert!(plain.check(Some((0.0, 6.0)), 3).is_ok());
        assert!(plain.check(Some((0.0, 8.0)), 3).is_err());
        let filled = histogram(&json!({"field": "a", "interval": 2, "min_doc_count": 1}));
        assert!(filled.check(Some((0.0, 1e300)), 3).is_ok());
        let wide =
            json!({"field": "a", "interval": 1, "extended_bounds": {"min": 0, "max": 384_307_168_202_282_368_u64}});
        assert!(histogram(&wide).check(None, 1_000).is_err());
        let mut cut = wide;
        cut["hard_bounds"] = json!({"min": 0, "max": 9});
        assert!(histogram(&cut).check(Some((-1e18, 1e18)), 10).is_ok());
        assert!(histogram(&json!({"field": "a", "interval": 1e-300})).check(Some((0.0, 1e300)), 10).is_err());
    }

    #[test]
    fn times_are_positive_and_their_nanoseconds_fit() {
        assert_eq!(
            (time("90m"), time("0ms"), time("1"), time("m"), time("1w")),
            (Some(5_400_000), Some(0), None, None, None)
        );
        assert_eq!(
            (time("106751d"), time("106752d"), time("99999999999999999d")),
            (Some(106_751 * 86_400_000), None, None)
        );
        assert_eq!((fixed("0ms"), fixed("1ms")), (None, Some(1.0)));
    }
}
