//! From what clients ask to what is asked here: names of fields, filters as clauses, dates as milliseconds.

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::super::body::wrong;
use super::{Adapted, Shape};
use crate::api::problem::Problem;
use crate::index::Fields;
use crate::query::aggs::CLAUSE;
use crate::query::dsl::Translator;
use crate::query::dsl::dates::{Dates, Format, read_zone};
use crate::record::FieldType;

/// Parameters that change how an aggregation is computed elsewhere, and nothing here.
const PASSED_OVER: &[&str] =
    &["execution_hint", "collect_mode", "precision_threshold", "tdigest", "hdr", "rehash", "value_type"];
/// Aggregations that are understood here.
const KNOWN: &[&str] = &[
    "avg",
    "sum",
    "min",
    "max",
    "stats",
    "extended_stats",
    "value_count",
    "cardinality",
    "percentiles",
    "terms",
    "multi_terms",
    "composite",
    "range",
    "date_range",
    "histogram",
    "date_histogram",
    "filter",
    "filters",
    "missing",
    "top_hits",
];

/// Reads the aggregations of a request at a moment.
pub(in crate::api::es) fn adapt(
    asked: &Value,
    fields: &Fields,
    now_ms: i64,
    translator: &mut Translator<'_>,
) -> Result<Option<Adapted>, Problem> {
    let adapter = &mut Adapter { fields, now_ms, translator };
    let (request, shapes) = adapter.level(asked)?;
    Ok((!shapes.is_empty()).then_some(Adapted { request: Value::Object(request), shapes }))
}

struct Adapter<'a, 'b> {
    fields: &'a Fields,
    now_ms: i64,
    translator: &'a mut Translator<'b>,
}

impl Adapter<'_, '_> {
    fn level(&mut self, asked: &Value) -> Result<(Map<String, Value>, Vec<Shape>), Problem> {
        let members = asked.as_object().ok_or_else(|| wrong("aggs: expected an object"))?;
        let (mut request, mut shapes) = (Map::new(), Vec::new());
        for (name, body) in members {
            let (adapted, shape) = self.one(name, body)?;
            if !shape.is_of_nothing() {
                request.insert(name.clone(), adapted);
            }
            shapes.push(shape);
        }
        Ok((request, shapes))
    }

    fn one(&mut self, name: &str, body: &Value) -> Result<(Value, Shape), Problem> {
        let members = body.as_object().ok_or_else(|| wrong(&format!("aggs.{name}: expected an object")))?;
        let (mut kind, mut parameters, mut below, mut meta) = (None, Map::new(), None, None);
        for (member, value) in members {
            match member.as_str() {
                "aggs" | "aggregations" => below = Some(value),
                "meta" => meta = Some(value.clone()),
                found if kind.is_none() => {
                    kind = Some(found.to_owned());
                    match value {
                        Value::Object(given) => parameters.clone_from(given),
                        other => return Err(wrong(&format!("aggs.{name}.{found}: found {other}, expected an object"))),
                    }
                }
                other => {
                    return Err(wrong(&format!("aggs.{name}: found {other:?} beside {kind:?}, expected one kind")));
                }
            }
        }
        let kind = kind.ok_or_else(|| wrong(&format!("aggs.{name}: expected one kind of aggregation")))?;
        if !KNOWN.contains(&kind.as_str()) {
            let known = KNOWN.join(", ");
            return Err(wrong(&format!("aggs.{name}: Unknown aggregation type [{kind}]; known are {known}")));
        }
        for passed in PASSED_OVER {
            parameters.remove(*passed);
        }
        for refused in ["script", "nested"] {
            if parameters.contains_key(refused) {
                return Err(wrong(&format!("aggs.{name}: {refused:?} is not understood here")));
            }
        }
        let mut shape = Shape {
            name: name.to_owned(),
            kind: kind.clone(),
            field: None,
            format: None,
            zone: TimeZone::UTC,
            reversed: false,
            anonymous: false,
            ranges: Vec::new(),
            percents: Vec::new(),
            keyed: parameters.get("keyed").and_then(Value::as_bool).unwrap_or(false),
            unknown: Vec::new(),
            meta,
            below: Vec::new(),
        };
        self.field(&mut parameters, &mut shape);
        if parameters.contains_key("missing") || matches!(kind.as_str(), "filter" | "filters" | "missing") {
            shape.unknown.clear();
        }
        shape.unknown.iter().for_each(|name| self.translator.warn_of_no_field(name));
        let adapted = self.parameters(name, &kind, parameters, &mut shape)?;
        let mut all = Map::from_iter([adapted]);
        if let Some(below) = below {
            let (below, shapes) = self.level(below)?;
            if !below.is_empty() {
                all.insert("aggs".to_owned(), Value::Object(below));
            }
            shape.below = shapes;
        }
        Ok((Value::Object(all), shape))
    }

    /// Names of fields as they are here.
    fn field(&self, parameters: &mut Map<String, Value>, shape: &mut Shape) {
        for (member, value) in parameters.iter_mut() {
            match value {
                Value::String(name) if member == "field" => match self.fields.alias(name) {
                    Some((found, target, _)) => {
                        shape.field = Some(target.kind);
                        *value = found.into();
                    }
                    None => shape.unknown.push(name.clone()),
                },
                Value::Object(members) if shape.kind == "composite" => self.field(members, shape),
                Value::Array(items) if matches!(shape.kind.as_str(), "composite" | "multi_terms") => {
                    items.iter_mut().filter_map(Value::as_object_mut).for_each(|item| self.field(item, shape));
                }
                _ => {}
            }
        }
    }

    /// The kind of the aggregation here and its parameters.
    fn parameters(
        &mut self,
        name: &str,
        kind: &str,
        mut parameters: Map<String, Value>,
        shape: &mut Shape,
    ) -> Result<(String, Value), Problem> {
        let at = format!("aggs.{name}.{kind}");
        if kind != "composite"
            && kind != "multi_terms"
            && let Some(format) = parameters.remove("format").as_ref().and_then(Value::as_str)
        {
            // Numbers are shown as they are, whatever pattern is asked for.
            shape.format = Format::parse(format);
        }
        match kind {
            "filter" => return Ok(("filter".to_owned(), self.filter(&Value::Object(parameters))?)),
            "missing" => {
                let exists = json!({"bool": {"must_not": {"exists": parameters}}});
                return Ok(("filter".to_owned(), self.filter(&exists)?));
            }
            "filters" => {
                let mut named = Map::new();
                match parameters.remove("filters") {
                    Some(Value::Object(filters)) => {
                        for (name, filter) in &filters {
                            named.insert(name.clone(), self.filter(filter)?);
                        }
                    }
                    Some(Value::Array(filters)) => {
                        shape.anonymous = true;
                        for (i, filter) in filters.iter().enumerate() {
                            named.insert(format!("{i:05}"), self.filter(filter)?);
                        }
                    }
                    _ => return Err(wrong(&format!("{at}: expected \"filters\""))),
                }
                if let Some((other, _)) = parameters.iter().find(|(name, _)| *name != "keyed") {
                    return Err(wrong(&format!("{at}: {other:?} is not understood here")));
                }
                return Ok(("filters".to_owned(), json!({"filters": named})));
            }
            "terms" => terms(&at, &mut parameters)?,
            "percentiles" => {
                numbers(parameters.get_mut("percents"));
                let percents = parameters.get("percents").and_then(Value::as_array);
                shape.percents = percents.into_iter().flatten().filter_map(Value::as_f64).collect();
            }
            "range" | "date_range" => return self.ranges(&at, parameters, shape),
            "date_histogram" => self.date_histogram(&at, &mut parameters, shape)?,
            "histogram" => shape.reversed = downwards(parameters.remove("order").as_ref()),
            _ => {}
        }
        if matches!(kind, "histogram" | "date_histogram" | "value_count" | "cardinality" | "percentiles")
            && parameters.contains_key("missing")
        {
            return Err(wrong(&format!("{at}: \"missing\" is not understood here")));
        }
        if matches!(kind, "histogram" | "date_histogram")
            && parameters.get("min_doc_count").and_then(Value::as_u64).is_some_and(|least| least > 0)
        {
            // Empty buckets are left out anyway.
            parameters.remove("extended_bounds");
        }
        Ok((kind.to_owned(), Value::Object(parameters)))
    }

    fn filter(&mut self, query: &Value) -> Result<Value, Problem> {
        let clause = self.translator.query(query)?;
        Ok(json!({CLAUSE: clause}))
    }

    fn date_histogram(&self, at: &str, parameters: &mut Map<String, Value>, shape: &mut Shape) -> Result<(), Problem> {
        shape.reversed = downwards(parameters.remove("order").as_ref());
        if let Some(interval) = parameters.remove("interval") {
            let calendar = interval.as_str().is_some_and(|i| {
                matches!(
                    i,
                    "minute" | "hour" | "day" | "week" | "month" | "quarter" | "year" | "1w" | "1M" | "1q" | "1y"
                )
            });
            let member = if calendar { "calendar_interval" } else { "fixed_interval" };
            parameters.insert(member.to_owned(), interval);
        }
        if let Some(zone) = parameters.remove("time_zone") {
            shape.zone =
                read_zone(zone.as_str().unwrap_or_default()).map_err(|what| wrong(&format!("{at}: {what}")))?;
            let moved = ["offset", "calendar_interval"].iter().any(|name| parameters.contains_key(*name));
            match shape.zone.to_fixed_offset().map(|offset| offset.seconds()) {
                Ok(0) => {}
                // Buckets begin at the hours of the zone.
                Ok(offset) if !moved => drop(parameters.insert("offset".to_owned(), format!("{}s", -offset).into())),
                _ => drop(parameters.insert("time_zone".to_owned(), zone)),
            }
        }
        let dates = Dates::with(self.now_ms, None);
        for bounds in ["extended_bounds", "hard_bounds"] {
            for bound in ["min", "max"] {
                if let Some(value) = parameters.get_mut(bounds).and_then(|b| b.get_mut(bound))
                    && let Some(text) = value.as_str()
                {
                    *value = dates.read(text).map_err(|what| wrong(&format!("{at}.{bounds}: {what}")))?.start.into();
                }
            }
        }
        Ok(())
    }

    fn ranges(
        &self,
        at: &str,
        mut parameters: Map<String, Value>,
        shape: &mut Shape,
    ) -> Result<(String, Value), Problem> {
        let zone = parameters.remove("time_zone");
        let zone = zone.as_ref().and_then(Value::as_str);
        let dates = Dates::new(self.now_ms, None, zone).map_err(|what| wrong(&format!("{at}: {what}")))?;
        let is_date = shape.field == Some(FieldType::Date);
        for range in parameters.get_mut("ranges").and_then(Value::as_array_mut).into_iter().flatten() {
            let mut bounds = [None, None];
            for (into, bound) in bounds.iter_mut().zip(["from", "to"]) {
                let Some(value) = range.get_mut(bound).filter(|value| !value.is_null()) else { continue };
                if let Some(text) = value.as_str().filter(|_| is_date) {
                    *value = dates.read(text).map_err(|what| wrong(&format!("{at}.{bound}: {what}")))?.start.into();
                }
                *into = value.as_f64().or_else(|| value.as_str()?.parse().ok());
            }
            shape.ranges.push((bounds[0], bounds[1]));
        }
        Ok(("range".to_owned(), Value::Object(parameters)))
    }
}

/// What the library knows of the parameters of `terms`.
fn terms(at: &str, parameters: &mut Map<String, Value>) -> Result<(), Problem> {
    let order = match parameters.remove("order") {
        Some(Value::Array(mut orders)) => {
            // Buckets that are equal by the first are in the order of their keys anyway.
            let first = if orders.is_empty() { None } else { Some(orders.remove(0)) };
            if orders.iter().any(|order| order.get("_key").is_none()) {
                return Err(wrong(&format!("{at}.order: expected one order, and _key behind it at most")));
            }
            first
        }
        order => order,
    };
    if let Some(Value::Object(order)) = order {
        let renamed = order.into_iter().map(|(by, way)| (if by == "_term" { "_key".to_owned() } else { by }, way));
        let order: Map<String, Value> = renamed.collect();
        parameters.insert("order".to_owned(), Value::Object(order));
    }
    Ok(())
}

fn numbers(list: Option<&mut Value>) {
    for item in list.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(number) = item.as_str().and_then(|text| text.parse::<f64>().ok()) {
            *item = number.into();
        }
    }
}

/// Whether the order of a histogram is that of its keys, from the last.
fn downwards(order: Option<&Value>) -> bool {
    let way = order.and_then(|order| order.get("_key").or_else(|| order.get(0)?.get("_key")));
    way.and_then(Value::as_str) == Some("desc")
}
