//! Queries for words: the `match` family, and what a person typed.

use serde_json::Value;

use super::simple::{self, Scope, within_limits};
use super::{Members, Named, Translator, bounded, scalar, wrong};
use crate::Result;
use crate::query::clause::{Bool, Clause, Fuzziness, Text, Words};
use crate::record::FieldType;

impl Translator<'_> {
    pub(super) fn words(&mut self, body: &Value, at: &str, prefix: bool) -> Result<Clause> {
        let (name, mut members, short) = self.field(body, at, "query")?;
        let value = members.value(&short)?;
        let text = bounded(at, scalar(value).ok_or_else(|| members.wrong("query", value, "a text"))?)?;
        let words = Words { text, prefix, ..members.words()? };
        let boost = members.boost()?;
        self.finish(members);
        Ok(self.words_in(name, words).boosted(boost))
    }

    /// These words in a field: whole where the field is asked for as a whole.
    fn words_in(&mut self, name: &str, words: Words) -> Clause {
        match self.named(name) {
            None => Clause::Nothing,
            Some(Named { name, whole: true, .. }) => Clause::Exact { field: name, values: vec![words.text] },
            Some(Named { name, target, .. }) if target.kind == FieldType::Date => self.date_words(name, &words),
            Some(Named { name, .. }) => Clause::Words(Words { field: name, ..words }),
        }
    }

    /// A date in a field of dates.
    fn date_words(&mut self, name: String, words: &Words) -> Clause {
        match self.moment(&words.text, None, "match") {
            Ok(clause) => super::leaves::within(name, clause),
            // The search itself says what is wrong with it, unless it may be anything.
            Err(_) => Clause::Words(Words { field: name, ..words.clone() }),
        }
    }

    pub(super) fn phrase(&mut self, body: &Value, at: &str, prefix: bool) -> Result<Clause> {
        let (name, mut members, short) = self.field(body, at, "query")?;
        let value = members.value(&short)?;
        let text = bounded(at, scalar(value).ok_or_else(|| members.wrong("query", value, "a text"))?)?;
        let slop = members.count("slop")?.unwrap_or(0);
        let boost = members.boost()?;
        // Bounds what a prefix may stand for; here a limit of its own does.
        members.take("max_expansions");
        self.finish(members);
        Ok(self.phrase_in(name, &text, slop, prefix).boosted(boost))
    }

    fn phrase_in(&mut self, name: &str, text: &str, slop: u32, prefix: bool) -> Clause {
        let text = text.to_owned();
        match self.named(name) {
            None => Clause::Nothing,
            Some(Named { name, whole: true, .. }) => Clause::Exact { field: name, values: vec![text] },
            Some(Named { name, .. }) => Clause::Phrase { field: name, text, slop, prefix },
        }
    }

    pub(super) fn multi_match(&mut self, body: &Value, at: &str) -> Result<Clause> {
        let mut body = self.members(body, at)?;
        let text = bounded(at, body.text("query")?.ok_or_else(|| wrong(at, "expected \"query\""))?)?;
        let fields = match body.texts("fields")? {
            None => self.all_fields(),
            Some(patterns) => self.fields(&patterns, at)?,
        };
        let kind = body.text("type")?.unwrap_or_else(|| "best_fields".to_owned());
        let words = Words { text: text.clone(), lenient: body.flag("lenient")?, ..body.words()? };
        let slop = body.count("slop")?.unwrap_or(0);
        let tie_breaker = body.number("tie_breaker")?;
        let boost = body.boost()?;
        self.finish(body);
        let mut each = |f: &mut dyn FnMut(&mut Self, &str) -> Clause| -> Vec<Clause> {
            fields.iter().map(|(name, boost)| f(self, name).boosted(*boost)).collect()
        };
        let best = |of: Vec<Clause>, tie_breaker: f32| match of.len() {
            0 => Clause::Nothing,
            1 => Clause::any_of(of),
            _ => Clause::Best { of, tie_breaker },
        };
        let found = match kind.as_str() {
            "best_fields" => {
                best(each(&mut |this, name| this.words_in(name, words.clone())), tie_breaker.unwrap_or(0.0))
            }
            "most_fields" => Clause::any_of(each(&mut |this, name| this.words_in(name, words.clone()))),
            "phrase" => {
                best(each(&mut |this, name| this.phrase_in(name, &text, slop, false)), tie_breaker.unwrap_or(0.0))
            }
            "phrase_prefix" => {
                best(each(&mut |this, name| this.phrase_in(name, &text, slop, true)), tie_breaker.unwrap_or(0.0))
            }
            "bool_prefix" => {
                let words = Words { prefix: true, ..words };
                Clause::any_of(each(&mut |this, name| this.words_in(name, words.clone())))
            }
            "cross_fields" => {
                within_limits(text.split_whitespace().count(), fields.len()).map_err(|what| wrong(at, what))?;
                let parts = text.split_whitespace().map(|part| {
                    // Each word stands alone; a sign that is none must not stand in the way of the others.
                    let one = Words { text: part.to_owned(), least: None, none_is_all: words.all, ..words.clone() };
                    best(each(&mut |this, name| this.words_in(name, one.clone())), tie_breaker.unwrap_or(0.0))
                });
                let parts: Vec<Clause> = parts.collect();
                match words.all {
                    true => Clause::all_of(parts),
                    false => Clause::Bool(Bool { should: parts, least: words.least.clone(), ..Bool::default() }),
                }
            }
            unknown => {
                let known = "best_fields, most_fields, cross_fields, phrase, phrase_prefix, bool_prefix";
                return Err(wrong(at, format_args!("type: found {unknown:?}, expected one of: {known}")));
            }
        };
        Ok(found.boosted(boost))
    }

    pub(super) fn query_string(&mut self, body: &Value, at: &str) -> Result<Clause> {
        let mut body = self.members(body, at)?;
        let text = bounded(at, body.text("query")?.ok_or_else(|| wrong(at, "expected \"query\""))?)?;
        let mut patterns = body.texts("fields")?.unwrap_or_default();
        patterns.extend(body.text("default_field")?);
        let fields = if patterns.iter().any(|p| p == "*") { Vec::new() } else { self.fields(&patterns, at)? };
        let nowhere = fields.is_empty() && !patterns.is_empty() && !patterns.iter().any(|p| p == "*");
        let all = body.operator("default_operator")?;
        let lenient = body.flag("lenient")?;
        let boost = body.boost()?;
        // What these ask for is so anyway.
        for name in ["analyze_wildcard", "allow_leading_wildcard", "auto_generate_synonyms_phrase_query", "rewrite"] {
            body.take(name);
        }
        self.finish(body);
        if nowhere {
            return Ok(Clause::Nothing);
        }
        let text = self.times(&text);
        let everything = matches!(text.trim(), "*" | "*:*");
        let found = if everything { Clause::All } else { Clause::Text(Text { text, fields, all, lenient }) };
        Ok(found.boosted(boost))
    }

    pub(super) fn simple_query_string(&mut self, body: &Value, at: &str) -> Result<Clause> {
        let mut body = self.members(body, at)?;
        let text = bounded(at, body.text("query")?.ok_or_else(|| wrong(at, "expected \"query\""))?)?;
        let fields = match body.texts("fields")? {
            None => self.all_fields(),
            Some(patterns) if patterns.iter().any(|p| p == "*") => self.all_fields(),
            Some(patterns) => self.fields(&patterns, at)?,
        };
        let all = body.operator("default_operator")?;
        let least = body.least()?;
        let boost = body.boost()?;
        for name in ["analyze_wildcard", "lenient", "flags"] {
            body.take(name);
        }
        self.finish(body);
        let found = simple::parse(&text, &Scope { fields, all, least }).map_err(|what| wrong(at, what))?;
        Ok(found.boosted(boost))
    }
}

impl Members<'_> {
    /// Whether all words must be there.
    fn operator(&mut self, name: &'static str) -> Result<bool> {
        let Some(word) = self.text(name)? else { return Ok(false) };
        match word.to_ascii_lowercase().as_str() {
            "and" => Ok(true),
            "or" => Ok(false),
            _ => Err(wrong(&self.at, format_args!("{name}: found {word:?}, expected and, or"))),
        }
    }

    /// What the `match` family has in common.
    fn words(&mut self) -> Result<Words> {
        let none_is_all = match self.text("zero_terms_query")?.as_deref() {
            None | Some("none") => false,
            Some("all") => true,
            Some(other) => {
                return Err(wrong(&self.at, format_args!("zero_terms_query: found {other:?}, expected none, all")));
            }
        };
        let fuzziness = self.fuzziness()?;
        // The index has its own limits for these.
        for name in ["max_expansions", "fuzzy_transpositions", "auto_generate_synonyms_phrase_query"] {
            self.take(name);
        }
        Ok(Words {
            all: self.operator("operator")?,
            least: self.least()?,
            fuzziness: fuzziness.filter(|f| *f != Fuzziness::Letters(0)),
            none_is_all,
            lenient: self.flag("lenient")?,
            ..Words::default()
        })
    }

    /// How many letters may differ: a number, or `AUTO`, or `AUTO:low,high`.
    pub(super) fn fuzziness(&mut self) -> Result<Option<Fuzziness>> {
        let Some(text) = self.text("fuzziness")? else { return Ok(None) };
        let auto = |rest: &str| {
            let (low, high) = rest.strip_prefix(':')?.split_once(',')?;
            Some(Fuzziness::Auto(low.parse().ok()?, high.parse().ok()?))
        };
        let found = match text.to_ascii_uppercase().strip_prefix("AUTO") {
            Some("") => Some(Fuzziness::AUTO),
            Some(rest) => auto(rest),
            None => text.parse().ok().filter(|n| *n <= 2).map(Fuzziness::Letters),
        };
        let expected =
            || wrong(&self.at, format_args!("fuzziness: found {text:?}, expected 0, 1, 2, AUTO or AUTO:3,6"));
        found.map(Some).ok_or_else(expected)
    }
}
