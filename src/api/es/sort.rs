//! `sort` in all its spellings, and `search_after`.

use jiff::tz::TimeZone;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::problem::Problem;
use super::body::{Pairs, wrong};
use crate::index::{Fields, KEY, Ordering, Place, SCORE, SortBy};
use crate::query::dsl::dates::{Dates, Format};
use crate::query::{MOST_SORT_KEYS, SortKey};
use crate::record::FieldType;

/// One sort key of a request.
#[derive(Debug, PartialEq)]
enum Asked {
    /// A key of the search, and how its dates are written.
    Key(SortKey, Option<Format>),
    /// A field that is not there, where that is no error: no record has a value.
    Unmapped,
}

/// What a request sorts by.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Order {
    asked: Vec<Asked>,
    /// Whether the key of a record stands behind its sort values.
    tie_break: bool,
}

impl Order {
    /// Reads `sort` of a body.
    pub(super) fn read(raw: Option<&RawValue>, fields: &Fields) -> Result<Self, Problem> {
        let Some(raw) = raw else { return Ok(Self::default()) };
        let items: Vec<Box<RawValue>> = match raw.get().trim_start().starts_with('[') {
            true => serde_json::from_str(raw.get()).map_err(|e| wrong(&format!("sort: {e}")))?,
            false => vec![raw.to_owned()],
        };
        let mut asked = Vec::with_capacity(items.len());
        for item in items {
            if let Ok(text) = serde_json::from_str::<String>(item.get()) {
                asked.push(key(&text, &Value::Null, fields)?);
                continue;
            }
            let Pairs(pairs) = serde_json::from_str(item.get()).map_err(|e| wrong(&format!("sort: {e}")))?;
            let (last, first): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| is_key(name));
            // Members of one object have no order for many who write JSON: what decides between equals comes last.
            for (name, options) in first.into_iter().chain(last) {
                asked.push(key(&name, &options, fields)?);
            }
        }
        Self { asked, tie_break: false }.checked()
    }

    /// Reads `sort` of a URL: `price:desc,title`.
    pub(super) fn read_url(text: &str, fields: &Fields) -> Result<Self, Problem> {
        let item = |item: &str| match item.rsplit_once(':') {
            Some((name, order)) => key(name, &Value::from(order), fields),
            None => key(item, &Value::Null, fields),
        };
        let asked = text.split(',').map(item).collect::<Result<_, _>>()?;
        Self { asked, tie_break: false }.checked()
    }

    /// By key: an order in which every record keeps its place.
    pub(super) fn by_key() -> Self {
        let key = SortKey { field: KEY.to_owned(), descending: false, missing_first: false };
        Self { asked: vec![Asked::Key(key, None)], tie_break: false }
    }

    /// The same, with the key behind the sort values where nothing else stands for it.
    pub(super) fn with_tie_break(mut self) -> Self {
        self.tie_break = !self.asked.is_empty() && !self.keys().iter().any(|key| key.field == KEY);
        self
    }

    fn checked(self) -> Result<Self, Problem> {
        if self.asked.len() > MOST_SORT_KEYS {
            return Err(wrong(&format!("sort: found {} keys, expected at most {MOST_SORT_KEYS}", self.asked.len())));
        }
        Ok(self)
    }

    /// Whether anything is sorted by.
    pub(super) fn is_given(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether hits have scores.
    pub(super) fn has_scores(&self) -> bool {
        self.asked.is_empty() || self.keys().iter().any(|key| key.field == SCORE)
    }

    /// The sort keys of the search.
    pub(super) fn keys(&self) -> Vec<SortKey> {
        let key = |asked: &Asked| match asked {
            Asked::Key(key, _) => Some(key.clone()),
            Asked::Unmapped => None,
        };
        self.asked.iter().filter_map(key).collect()
    }

    /// The sort values of a hit.
    pub(super) fn values(&self, place: &Place, ordering: &Ordering) -> Vec<Value> {
        let values = place.values(ordering);
        let mut values = values.into_iter();
        let mut shown = Vec::with_capacity(self.asked.len() + 1);
        for asked in &self.asked {
            shown.push(match asked {
                Asked::Unmapped => Value::Null,
                Asked::Key(key, _) if key.field == KEY => {
                    values.next();
                    key_text(place)
                }
                Asked::Key(_, format) => {
                    let value =
                        values.next().map_or(Value::Null, |value| serde_json::to_value(value).unwrap_or_default());
                    match (format, value.as_i64()) {
                        (Some(format), Some(ms)) => format.write(ms, &TimeZone::UTC).into(),
                        _ => value,
                    }
                }
            });
        }
        if self.tie_break {
            shown.push(key_text(place));
        }
        shown
    }

    /// The place behind which a search goes on, from the sort values of a hit. Without the key of the hit that is behind all that
    /// have these values.
    pub(super) fn place(&self, after: &[Value], ordering: &Ordering, now_ms: i64) -> Result<Place, Problem> {
        let n = self.asked.len();
        if n == 0 || !(n..=n + 1).contains(&after.len()) {
            return Err(wrong(&format!(
                "search_after: found {} values for {n} sort keys, expected one for each",
                after.len()
            )));
        }
        let mut key = after.get(n).and_then(Value::as_str).map(|key| key.as_bytes().to_vec());
        let mut given = Vec::with_capacity(n);
        let mut sorts = ordering.0.iter();
        for (asked, value) in self.asked.iter().zip(after) {
            let Asked::Key(asked, format) = asked else { continue };
            if asked.field == KEY {
                key = key.or_else(|| value.as_str().map(|key| key.as_bytes().to_vec()));
            }
            let is_date = matches!(sorts.next().map(|s| &s.by), Some(SortBy::Column(_, FieldType::Date)));
            given.push(match value.as_str().filter(|_| is_date) {
                Some(text) => {
                    let dates = Dates::with(now_ms, format.clone());
                    dates.read(text).map_err(|what| wrong(&format!("search_after: {what}")))?.start.into()
                }
                None => value.clone(),
            });
        }
        // No key has this byte: it is behind all of them.
        let key = key.unwrap_or_else(|| vec![0xff]);
        Place::of(ordering, &given, key).ok_or_else(|| wrong("search_after: the values do not fit the sort keys"))
    }
}

fn key_text(place: &Place) -> Value {
    String::from_utf8_lossy(&place.key).into()
}

/// Names under which the key is sorted by.
fn is_key(name: &str) -> bool {
    matches!(name, "_doc" | "_shard_doc" | "_id" | KEY)
}

fn key(name: &str, options: &Value, fields: &Fields) -> Result<Asked, Problem> {
    let at = format!("sort.{name}");
    let option = |option: &str| options.get(option).filter(|value| !value.is_null());
    let order = options.as_str().or_else(|| option("order").and_then(Value::as_str));
    let descending = match order.map(str::to_ascii_lowercase).as_deref() {
        None => name == SCORE,
        Some("asc") => false,
        Some("desc") => true,
        Some(other) => return Err(wrong(&format!("{at}: found {other:?}, expected asc, desc"))),
    };
    let missing_first = match option("missing").map(|value| value.as_str().unwrap_or_default()) {
        None | Some("_last") => false,
        Some("_first") => true,
        Some(_) => return Err(wrong(&format!("{at}: missing: expected _first or _last"))),
    };
    match option("mode").and_then(Value::as_str) {
        None => {}
        Some("min") if !descending => {}
        Some("max") if descending => {}
        Some(mode) => {
            return Err(wrong(&format!("{at}: mode: found {mode:?}, expected min upwards and max downwards")));
        }
    }
    let format = match option("format").and_then(Value::as_str) {
        None => None,
        Some(text) => Some(Format::parse(text).ok_or_else(|| wrong(&format!("{at}: format: {text:?} is not known")))?),
    };
    let sorted =
        |field: &str, format| Ok(Asked::Key(SortKey { field: field.to_owned(), descending, missing_first }, format));
    match name {
        SCORE => sorted(SCORE, None),
        name if is_key(name) => sorted(KEY, None),
        name => match fields.alias(name) {
            Some((name, target, _)) => sorted(name, format.filter(|_| target.kind == FieldType::Date)),
            None if option("unmapped_type").is_some() => Ok(Asked::Unmapped),
            None => {
                let known = fields.sortable_names().join(", ");
                Err(wrong(&format!("{at}: No mapping found for [{name}] in order to sort on; expected one of {known}")))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::query::{SearchRequest, order};

    fn fields() -> Fields {
        Fields::new(std::sync::Arc::new(crate::index::testing::def())).unwrap()
    }

    fn read(sort: &str) -> Result<Order, Problem> {
        Order::read(Some(&RawValue::from_string(sort.to_owned()).unwrap()), &fields())
    }

    fn shown(order: &Order) -> Vec<String> {
        let show = |k: &SortKey| {
            format!("{}{}{}", if k.descending { "-" } else { "" }, k.field, if k.missing_first { "!" } else { "" })
        };
        order.keys().iter().map(show).collect()
    }

    #[test]
    fn every_spelling_is_understood() {
        let cases = [
            (r#""price""#, vec!["price"]),
            (r#"["price", "_score", "_doc"]"#, vec!["price", "-_score", "_key"]),
            (r#"{"price": "desc", "brand": {"order": "asc", "missing": "_first"}}"#, vec!["-price", "brand!"]),
            (r#"[{"brand.keyword": {"order": "DESC"}}, {"_shard_doc": "asc"}]"#, vec!["-brand", "_key"]),
            (
                r#"{"_doc": {"order": "desc"}, "at": {"order": "desc", "unmapped_type": "boolean"}}"#,
                vec!["-at", "-_key"],
            ),
        ];
        for (sort, expected) in cases {
            assert_eq!(shown(&read(sort).unwrap()), expected, "{sort}");
        }
        assert_eq!(shown(&Order::read_url("price:desc,brand", &fields()).unwrap()), ["-price", "brand"]);
        for bad in [r#"{"price": "up"}"#, r#"{"price": {"missing": 5}}"#, r#"{"price": {"mode": "avg"}}"#, "[1]"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sort_values_lead_back_to_their_place() {
        let order_of =
            read(r#"[{"price": "desc"}, {"at": {"order": "asc", "format": "strict_date_optional_time"}}]"#).unwrap();
        let order_of = order_of.with_tie_break();
        let request = SearchRequest { sort: order_of.keys(), ..SearchRequest::default() };
        let ordering = order(&fields(), &request).unwrap();
        let given = [json!(2.5), json!("2026-02-03T04:05:06.007Z"), json!("k")];
        let place = order_of.place(&given, &ordering, 0).unwrap();
        assert_eq!(order_of.values(&place, &ordering), given);
        // Without the key: behind all of them.
        assert!(order_of.place(&given[..2], &ordering, 0).unwrap() > place);
        let null = order_of.place(&[json!(null), given[1].clone()], &ordering, 0).unwrap();
        assert_eq!(null.ranks[0], crate::index::Rank::Missing);
        for bad in [&given[..1], &[json!("x"), json!(1), json!("k")], &[]] {
            assert!(order_of.place(bad, &ordering, 0).is_err(), "{bad:?}");
        }
    }
}
