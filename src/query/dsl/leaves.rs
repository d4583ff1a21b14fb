//! Queries for values: terms, ranges, beginnings, patterns, keys.

use serde_json::Value;

use super::dates::{Dates, Moment};
use super::{Members, Named, Short, Translator, is_whole, scalar, short, wrong};
use crate::Result;
use crate::index::KEY;
use crate::query::clause::{Clause, Edge, Fuzziness, MOST_VALUES, of_lucene, of_wildcard};
use crate::record::FieldType;

/// Times within these bounds, milliseconds, the last one not included.
pub(super) fn within(field: String, Moment { start, end }: Moment) -> Clause {
    let edge = |ms: i64, inclusive| Some(Edge { value: ms.to_string(), inclusive });
    Clause::Range { field, lower: edge(start, true), upper: edge(end, false) }
}

impl Translator<'_> {
    pub(super) fn term(&mut self, body: &Value, at: &str) -> Result<Clause> {
        let (name, mut members, bare) = self.field(body, at, "value")?;
        let ignore_case = members.flag("case_insensitive")?;
        let value = members.value(&bare)?.clone();
        let boost = members.boost()?;
        let at = members.at.clone();
        self.finish(members);
        let Some(named) = self.named(name) else { return Ok(Clause::Nothing) };
        if ignore_case && named.target.kind == FieldType::Keyword {
            let text = scalar(&value).ok_or_else(|| wrong(&at, "expected a value"))?;
            let escaped = escaped(&text);
            let (regex, beginning) = of_wildcard(&escaped, true).map_err(|what| wrong(&at, what))?;
            return Ok(Clause::Pattern { field: named.name, regex, beginning }.boosted(boost));
        }
        Ok(self.values(named, std::slice::from_ref(&value), &at, true)?.boosted(boost))
    }

    pub(super) fn terms(&mut self, body: &Value, at: &str) -> Result<Clause> {
        let mut members = self.members(body, at)?;
        let boost = members.boost()?;
        let mut fields = members.of.iter().filter(|(name, _)| !matches!(name.as_str(), "boost" | "_name"));
        let Some((name, Value::Array(values))) = fields.next() else {
            return Err(wrong(
                at,
                "expected one field with a list of values, such as {\"brand\": [\"acme\", \"bolt\"]}",
            ));
        };
        if let Some((other, _)) = fields.next() {
            return Err(wrong(at, format_args!("found {name:?} and {other:?}, expected one field")));
        }
        if values.len() > MOST_VALUES {
            return Err(wrong(at, format_args!("found {} values, expected at most {MOST_VALUES}", values.len())));
        }
        let Some(named) = self.named(name) else { return Ok(Clause::Nothing) };
        Ok(self.values(named, values, &format!("{at}.{name}"), false)?.boosted(boost))
    }

    fn values(&mut self, named: Named, values: &[Value], at: &str, scored: bool) -> Result<Clause> {
        let Named { name, target, whole } = named;
        if target.kind == FieldType::Date {
            let mut all = Vec::with_capacity(values.len());
            for value in values {
                let text =
                    scalar(value).ok_or_else(|| wrong(at, format_args!("found {}, expected a date", short(value))))?;
                all.push(within(name.clone(), self.moment(&text, None, at)?));
            }
            return Ok(Clause::any_of(all));
        }
        let mut texts = Vec::with_capacity(values.len());
        for value in values {
            match (is_whole(target.kind), value.as_f64()) {
                // 5.0 is 5; no integer is 5.5.
                (true, Some(number)) if value.as_i64().is_none() => texts.extend(whole_number(number)),
                _ => texts.push(
                    scalar(value).ok_or_else(|| wrong(at, format_args!("found {}, expected a value", short(value))))?,
                ),
            }
        }
        Ok(match (texts.is_empty(), whole) {
            (true, _) => Clause::Nothing,
            (_, true) => Clause::Exact { field: name, values: texts },
            _ => Clause::Values { field: name, values: texts, scored },
        })
    }

    pub(super) fn ids(&mut self, body: &Value, at: &str) -> Result<Clause> {
        let mut body = self.members(body, at)?;
        let values = body.texts("values")?.ok_or_else(|| wrong(at, "expected \"values\""))?;
        let boost = body.boost()?;
        self.finish(body);
        if values.is_empty() {
            return Ok(Clause::Nothing);
        }
        Ok(Clause::Values { field: KEY.to_owned(), values, scored: false }.boosted(boost))
    }

    pub(super) fn exists(&mut self, body: &Value, at: &str) -> Result<Clause> {
        let mut body = self.members(body, at)?;
        let name = body.text("field")?.ok_or_else(|| wrong(at, "expected \"field\""))?;
        let boost = body.boost()?;
        self.finish(body);
        let clause = match self.named(&name) {
            // Every record has these.
            _ if matches!(name.as_str(), "_id" | "_index" | "_source" | KEY) => Clause::All,
            None => Clause::Nothing,
            Some(Named { name, .. }) => Clause::Has { field: name },
        };
        Ok(Clause::Constant { of: Box::new(clause), score: boost })
    }

    pub(super) fn prefix(&mut self, body: &Value, at: &str) -> Result<Clause> {
        let (name, mut members, bare) = self.field(body, at, "value")?;
        let (text, boost, ignore_case) = self.one_text(&mut members, &bare)?;
        let at = members.at.clone();
        self.finish(members);
        let Some(named) = self.in_terms(name, &at)? else { return Ok(Clause::Nothing) };
        if ignore_case {
            let escaped = escaped(&text);
            let (regex, beginning) = of_wildcard(&format!("{escaped}*"), true).map_err(|what| wrong(&at, what))?;
            return Ok(Clause::Pattern { field: named, regex, beginning }.boosted(boost));
        }
        Ok(Clause::Prefix { field: named, text }.boosted(boost))
    }

    pub(super) fn pattern(&mut self, body: &Value, at: &str, wildcard: bool) -> Result<Clause> {
        let (name, mut members, bare) = self.field(body, at, "value")?;
        let bare = match wildcard && members.of.contains_key("wildcard") {
            true => Short("wildcard", None),
            false => bare,
        };
        let (text, boost, ignore_case) = self.one_text(&mut members, &bare)?;
        let at = members.at.clone();
        for name in ["flags", "max_determinized_states"] {
            members.take(name);
        }
        self.finish(members);
        let Some(field) = self.in_terms(name, &at)? else { return Ok(Clause::Nothing) };
        let expression = if wildcard { of_wildcard(&text, ignore_case) } else { of_lucene(&text, ignore_case) };
        let (regex, beginning) = expression.map_err(|what| wrong(&at, format_args!("the pattern {what}")))?;
        Ok(Clause::Pattern { field, regex, beginning }.boosted(boost))
    }

    pub(super) fn fuzzy(&mut self, body: &Value, at: &str) -> Result<Clause> {
        let (name, mut members, bare) = self.field(body, at, "value")?;
        let fuzziness = members.fuzziness()?.unwrap_or(Fuzziness::AUTO);
        let (text, boost, _) = self.one_text(&mut members, &bare)?;
        let at = members.at.clone();
        for name in ["max_expansions", "transpositions"] {
            members.take(name);
        }
        self.finish(members);
        let Some(field) = self.in_terms(name, &at)? else { return Ok(Clause::Nothing) };
        let distance = fuzziness.of(&text);
        Ok(Clause::Fuzzy { field, text, distance }.boosted(boost))
    }

    /// A value, its boost, and whether large and small letters are the same.
    fn one_text<'v>(&mut self, members: &mut Members<'v>, bare: &Short<'v>) -> Result<(String, f32, bool)> {
        let value = members.value(bare)?;
        let text = scalar(value).ok_or_else(|| members.wrong(bare.0, value, "a text"))?;
        let (boost, ignore_case) = (members.boost()?, members.flag("case_insensitive")?);
        members.take("rewrite");
        Ok((text, boost, ignore_case))
    }

    /// A field whose terms are looked through; `None` if it is none of the table.
    fn in_terms(&mut self, name: &str, at: &str) -> Result<Option<String>> {
        match self.named(name) {
            Some(Named { whole: true, .. }) => Err(wrong(
                at,
                "the texts of this field are not looked through as a whole: make it a keyword, or ask without .keyword",
            )),
            found => Ok(found.map(|named| named.name)),
        }
    }

    pub(super) fn range(&mut self, body: &Value, at: &str) -> Result<Clause> {
        let (name, mut members, _) = self.field(body, at, "gte")?;
        let format = members.text("format")?;
        let zone = members.text("time_zone")?;
        let boost = members.boost()?;
        let mut lower = [(members.take("gte"), true), (members.take("gt"), false)];
        let mut upper = [(members.take("lte"), true), (members.take("lt"), false)];
        // As old clients say it.
        let including = |members: &mut Members<'_>, name| members.take(name).and_then(Value::as_bool).unwrap_or(true);
        if members.of.contains_key("from") || members.of.contains_key("to") {
            let (from, to) = (including(&mut members, "include_lower"), including(&mut members, "include_upper"));
            lower[0] = (members.take("from").or(lower[0].0), from);
            upper[0] = (members.take("to").or(upper[0].0), to);
        }
        members.take("relation");
        let at = members.at.clone();
        self.finish(members);
        let Some(Named { name, target, whole }) = self.named(name) else { return Ok(Clause::Nothing) };
        if whole {
            return Err(wrong(&at, "the texts of this field have no order as a whole: make it a keyword"));
        }
        let first = |all: [(Option<&Value>, bool); 2]| {
            all.into_iter().find_map(|(value, inclusive)| Some((value?.clone(), inclusive)))
        };
        let (lower, upper) = (first(lower), first(upper));
        if lower.is_none() && upper.is_none() {
            return Ok(Clause::Has { field: name }.boosted(boost));
        }
        let clause = if target.kind == FieldType::Date {
            let dates = Dates::new(self.now_ms, format.as_deref(), zone.as_deref()).map_err(|what| wrong(&at, what))?;
            let bound = |value: Option<(Value, bool)>, is_lower: bool| -> Result<Option<Edge>> {
                let Some((value, inclusive)) = value else { return Ok(None) };
                let text = scalar(&value)
                    .ok_or_else(|| wrong(&at, format_args!("found {}, expected a date", short(&value))))?;
                let moment = dates.read(&text).map_err(|what| wrong(&at, what))?;
                // A day is all of it: what is after it begins with the next, what is up to it ends with it.
                let ms = if is_lower == inclusive { moment.start } else { moment.end };
                Ok(Some(Edge { value: ms.to_string(), inclusive: is_lower }))
            };
            Clause::Range { field: name, lower: bound(lower, true)?, upper: bound(upper, false)? }
        } else {
            let bound = |value: Option<(Value, bool)>, is_lower: bool| -> Result<Option<Edge>> {
                let Some((value, inclusive)) = value else { return Ok(None) };
                let text = scalar(&value)
                    .ok_or_else(|| wrong(&at, format_args!("found {}, expected a value", short(&value))))?;
                let is_fraction = |n: &f64| n.is_finite() && is_whole(target.kind) && text.parse::<i64>().is_err();
                let fraction = text.parse::<f64>().ok().filter(is_fraction);
                Ok(Some(match fraction {
                    Some(number) if number.fract() != 0.0 => whole_edge(number, is_lower),
                    Some(number) => Edge { inclusive, ..whole_edge(number, is_lower) },
                    None => Edge { value: text, inclusive },
                }))
            };
            Clause::Range { field: name, lower: bound(lower, true)?, upper: bound(upper, false)? }
        };
        Ok(clause.boosted(boost))
    }

    /// The time that a text stands for, by itself.
    pub(super) fn moment(&self, text: &str, format: Option<&str>, at: &str) -> Result<Moment> {
        let dates = Dates::new(self.now_ms, format, None).map_err(|what| wrong(at, what))?;
        dates.read(text).map_err(|what| wrong(at, what))
    }

    /// Times in this text with the words of times between them made into milliseconds: in a text that a person typed, `now-1h` and
    /// `2026-01` stand where the index knows moments only.
    pub(super) fn times(&self, text: &str) -> String {
        let Ok(dates) = Dates::new(self.now_ms, None, None) else { return text.to_owned() };
        let word = |word: &str| -> String {
            let begins = word.rfind(['[', '{', ':', '=', '<', '>']).map_or(0, |i| i + 1);
            let (before, rest) = word.split_at(begins);
            let ends = rest.find([']', '}', ')']).unwrap_or(rest.len());
            let (time, after) = rest.split_at(ends);
            match dates.read(time) {
                // A lone "now" is a word like others.
                Ok(moment) if time.contains("||") || (time.starts_with("now") && (begins > 0 || ends < rest.len())) => {
                    format!("{before}{}{after}", moment.start)
                }
                _ => word.to_owned(),
            }
        };
        text.split(' ').map(word).collect::<Vec<_>>().join(" ")
    }
}

/// A text with nothing in it that stands for other letters.
fn escaped(text: &str) -> String {
    let special = |c: char| matches!(c, '*' | '?' | '\\').then_some('\\');
    text.chars().flat_map(|c| special(c).into_iter().chain([c])).collect()
}

/// A number without a fraction, as text; `None` for others.
fn whole_number(number: f64) -> Option<String> {
    (number.fract() == 0.0 && number.abs() < 9e15).then(|| format!("{number:.0}"))
}

/// The bound among integers that stands for one that is none.
fn whole_edge(number: f64, is_lower: bool) -> Edge {
    // "more than 10.5" and "10.5 or more" are both 11 or more.
    let value = if is_lower { number.ceil() } else { number.floor() };
    let exact = value.clamp(-9.2e18, 9.2e18);
    #[expect(clippy::cast_possible_truncation, reason = "clamped")]
    let value = (exact as i64).to_string();
    Edge { value, inclusive: true }
}
