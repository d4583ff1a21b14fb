//! From a clause to a query of the index.

use super::{Bool, Clause, DEEPEST, Edge, MOST_VALUES, Text, Words};
use crate::index::syntax::{
    AllQuery, BooleanQuery, BoostQuery, ConstScoreQuery, Delimiter, DisjunctionMaxQuery, EmptyQuery, IndexRecordOption,
    Occur, PhrasePrefixQuery, PhraseQuery, Query, RangeQuery, Term, TermQuery, TermSetQuery, UserInputBound,
    UserInputLiteral,
};
use crate::index::{Target, View};
use crate::query::parse::{self, Parsed, Spent, unscored};
use crate::query::terms::{Found, Pattern, Terms, any, one};
use crate::record::FieldType;
use crate::{Error, Result};

/// The query of a clause. Fails where a field cannot be searched so, or a limit is passed.
pub(in crate::query) fn compile(view: &View, clause: &Clause, spent: &mut Spent) -> Result<Parsed> {
    let terms = Terms::new(view, false, spent)?;
    let mut compiler = Compiler { terms, view };
    let query = compiler.query(clause, 0)?;
    let Compiler { terms, .. } = compiler;
    let mut unknown = terms.unknown;
    unknown.sort();
    unknown.dedup();
    let warnings = unknown.into_iter().map(|name| format!("there is no field {name:?}: nothing is found by it"));
    Ok(Parsed { query, warnings: warnings.collect(), prefixes: terms.prefixes })
}

struct Compiler<'a> {
    terms: Terms<'a>,
    view: &'a View,
}

type Compiled = Result<Box<dyn Query>>;

impl Compiler<'_> {
    fn query(&mut self, clause: &Clause, depth: usize) -> Compiled {
        if depth > DEEPEST {
            return Err(Error::bad_request(format!("query: expected clauses nested at most {DEEPEST} deep")));
        }
        match clause {
            Clause::All => self.counted(Box::new(AllQuery)),
            Clause::Nothing => self.counted(Box::new(EmptyQuery)),
            Clause::Bool(all) => self.bool(all, depth),
            Clause::Best { of, tie_breaker } => {
                let all = of.iter().map(|c| self.inner(c, depth)).collect::<Result<Vec<_>>>()?;
                Ok(if all.is_empty() {
                    Box::new(EmptyQuery)
                } else {
                    Box::new(DisjunctionMaxQuery::with_tie_breaker(all, *tie_breaker))
                })
            }
            Clause::Constant { of, score } => Ok(Box::new(ConstScoreQuery::new(self.query(of, depth + 1)?, *score))),
            Clause::Boost { of, by } => Ok(Box::new(BoostQuery::new(self.inner(of, depth)?, *by))),
            Clause::Filter(text) => parse::strict(self.view, "filter", text, self.terms.spent).map(unscored),
            leaf => self.leaf(leaf),
        }
    }

    /// A query that looks for nothing, and yet is one of many.
    fn counted(&mut self, query: Box<dyn Query>) -> Compiled {
        match self.terms.spend() {
            Some(()) => Ok(query),
            None => self.refused(),
        }
    }

    fn refused<T>(&mut self) -> Result<T> {
        let problem = self.terms.problems.drain(..).next().unwrap_or_default();
        Err(Error::bad_request(format!("query: {problem}")))
    }

    /// A clause within another.
    fn inner(&mut self, clause: &Clause, depth: usize) -> Compiled {
        match clause {
            // The library leaves out of a conjunction what matches everything, and its score.
            Clause::All => self.counted(Box::new(ConstScoreQuery::new(Box::new(AllQuery), 1.0))),
            clause => self.query(clause, depth + 1),
        }
    }

    fn bool(&mut self, all: &Bool, depth: usize) -> Compiled {
        let mut parts: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        for clause in &all.must {
            parts.push((Occur::Must, self.inner(clause, depth)?));
        }
        for clause in &all.filter {
            parts.push((Occur::Must, unscored(self.inner(clause, depth)?)));
        }
        let required = parts.len();
        for clause in &all.should {
            parts.push((Occur::Should, self.inner(clause, depth)?));
        }
        for clause in &all.must_not {
            parts.push((Occur::MustNot, self.inner(clause, depth)?));
        }
        let optional = all.should.len();
        let by_default = usize::from(required == 0 && optional > 0);
        // Where nothing else decides, one must hold, whatever is asked for: as elsewhere.
        let asked = all.least.as_ref().filter(|_| optional > 0);
        let least = asked.map_or(by_default, |least| least.of(optional).max(by_default));
        if least > optional {
            return Ok(Box::new(EmptyQuery));
        }
        if parts.is_empty() {
            return Ok(Box::new(AllQuery));
        }
        if required == 0 && least == 0 {
            parts.push((Occur::Must, unscored(Box::new(AllQuery))));
        }
        if let [(Occur::Must | Occur::Should, _)] = parts.as_slice() {
            return Ok(parts.pop().map_or_else(|| Box::new(EmptyQuery) as Box<dyn Query>, |(_, query)| query));
        }
        Ok(Box::new(BooleanQuery::with_minimum_required_clauses(parts, least)))
    }

    fn leaf(&mut self, clause: &Clause) -> Compiled {
        let view = self.view;
        let found = self.terms.foreign(&[], (false, false), |terms| {
            terms.spend()?;
            match clause {
                Clause::Words(words) => self::words(view, terms, words),
                Clause::Phrase { field, text, slop, prefix } => {
                    let target = terms.named(field)?;
                    phrase(view, terms, &target, text, *slop, *prefix)
                }
                Clause::Values { field, values, scored } => {
                    let target = terms.named(field)?;
                    self::values(terms, &target, values, *scored)
                }
                Clause::Exact { field, values } => {
                    let target = terms.named(field)?;
                    exact(terms, &target, values)
                }
                Clause::Range { field, lower, upper } => {
                    terms.named(field)?;
                    terms.range(Some(field.clone()), bound(lower.as_ref()), bound(upper.as_ref()))
                }
                Clause::Has { field } => {
                    let target = terms.named(field)?;
                    terms.exists(&target)
                }
                Clause::Prefix { field, text } => {
                    let target = terms.named(field)?;
                    terms.pattern(&target, text, Pattern::Prefix)
                }
                Clause::Pattern { field, regex, beginning } => {
                    let target = terms.named(field)?;
                    terms.expression(&target, Ok((regex.clone(), beginning.clone())))
                }
                Clause::Fuzzy { field, text, distance } => {
                    let target = terms.named(field)?;
                    terms.fuzzy(&target, text, *distance)
                }
                Clause::Text(text) => self::text(terms, text),
                Clause::Same { field, value } => terms.same(field, value),
                // The others are no leaves.
                _ => None,
            }
        });
        let passed_over =
            matches!(clause, Clause::Text(Text { lenient: true, .. }) | Clause::Words(Words { lenient: true, .. }));
        let problem = self.terms.problems.drain(..).next();
        // A part of a query that asks for too much is no answer to it, however lenient.
        match problem.filter(|_| !passed_over || self.terms.is_over()) {
            Some(problem) => Err(Error::bad_request(format!("query: {problem}"))),
            None => Ok(found.unwrap_or_else(|| Box::new(EmptyQuery))),
        }
    }
}

fn bound(edge: Option<&Edge>) -> UserInputBound {
    match edge {
        None => UserInputBound::Unbounded,
        Some(Edge { value, inclusive: true }) => UserInputBound::Inclusive(value.clone()),
        Some(Edge { value, inclusive: false }) => UserInputBound::Exclusive(value.clone()),
    }
}

/// A value as it stands.
fn literal(text: &str, slop: u32) -> UserInputLiteral {
    let phrase = text.to_owned();
    UserInputLiteral { field_name: None, phrase, delimiter: Delimiter::DoubleQuotes, slop, prefix: false }
}

/// The words of a text and their places, as they are looked for.
fn tokens(view: &View, target: &Target, text: &str) -> Vec<(usize, Term)> {
    let mut all = Vec::new();
    if let Ok(mut analyzer) = view.analyzer(target) {
        let mut stream = analyzer.token_stream(text);
        stream.process(&mut |t| all.push((t.position, Term::from_field_text(target.field, &t.text))));
    }
    all
}

fn word(term: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs))
}

fn words(view: &View, terms: &mut Terms<'_>, words: &Words) -> Found {
    let target = terms.named(&words.field)?;
    let parts: Vec<&str> = words.text.split_whitespace().collect();
    let (text, last) = match parts.split_last().filter(|_| words.prefix) {
        Some((last, before)) => (before.join(" "), Some(*last)),
        None => (words.text.clone(), None),
    };
    let mut all: Vec<Box<dyn Query>> = Vec::new();
    match (target.kind, words.fuzziness) {
        (FieldType::Text, None) => {
            for (_, term) in tokens(view, &target, &text) {
                terms.spend()?;
                all.push(word(term));
            }
        }
        (FieldType::Text, Some(fuzziness)) => {
            for token in terms.tokens_of(&target, &text) {
                terms.spend()?;
                let query = match fuzziness.of(&token) {
                    0 => terms.term(&target, &token).map(word),
                    distance => terms.fuzzy(&target, &token, distance),
                };
                all.push(query?);
            }
        }
        (FieldType::Json, _) => {
            for part in text.split_whitespace() {
                terms.spend()?;
                all.extend(terms.value(&target, literal(part, 0)));
            }
        }
        (FieldType::Keyword, Some(fuzziness)) => return terms.fuzzy(&target, &words.text, fuzziness.of(&words.text)),
        (FieldType::Keyword, None) if words.prefix => return terms.pattern(&target, &words.text, Pattern::Prefix),
        _ => return terms.value(&target, literal(&words.text, 0)),
    }
    // A sign that is no word yet means nothing until more is typed.
    if let Some(last) = last.filter(|last| target.kind != FieldType::Text || !tokens(view, &target, last).is_empty()) {
        all.extend(terms.pattern(&target, last, Pattern::Prefix));
    }
    let least = match &words.least {
        _ if words.all => all.len(),
        None => 1,
        Some(least) => least.of(all.len()),
    };
    match all.len() {
        0 if words.none_is_all => Some(Box::new(AllQuery)),
        0 => None,
        n if least > n => None,
        1 => all.pop(),
        n => {
            let occur = if least == n { Occur::Must } else { Occur::Should };
            let parts = all.into_iter().map(|query| (occur, query)).collect();
            let least = if least == n { 0 } else { least.max(1) };
            Some(Box::new(BooleanQuery::with_minimum_required_clauses(parts, least)))
        }
    }
}

fn phrase(view: &View, terms: &mut Terms<'_>, target: &Target, text: &str, slop: u32, prefix: bool) -> Found {
    if target.kind != FieldType::Text {
        return match prefix && target.kind == FieldType::Keyword {
            true => terms.pattern(target, text, Pattern::Prefix),
            false => terms.value(target, literal(text, slop)),
        };
    }
    let mut all = tokens(view, target, text);
    for _ in &all {
        terms.spend()?;
    }
    match all.len() {
        0 => None,
        1 if prefix => terms.pattern(target, text, Pattern::Prefix),
        1 => all.pop().map(|(_, term)| word(term)),
        _ if prefix => {
            terms.spend()?;
            Some(Box::new(PhrasePrefixQuery::new_with_offset(all)))
        }
        _ => Some(Box::new(PhraseQuery::new_with_offset_and_slop(all, slop))),
    }
}

fn values(terms: &mut Terms<'_>, target: &Target, values: &[String], scored: bool) -> Found {
    if values.len() > MOST_VALUES {
        let (found, name) = (values.len(), &target.path);
        return terms.problem(format!("field {name:?}: found {found} values, expected at most {MOST_VALUES}"));
    }
    let term = |terms: &mut Terms<'_>, value: &String| match target.kind {
        FieldType::Text => terms.term(target, value),
        _ => terms.whole(target, value),
    };
    if target.mark.is_none() && target.kind != FieldType::Text {
        // Columns and members of JSON have no terms of their own: each value is a condition.
        let mut all = Vec::with_capacity(values.len().min(1_024));
        for value in values {
            terms.spend()?;
            all.push(terms.value(target, literal(value, 0))?);
        }
        return any(all);
    }
    match values {
        [value] if scored => {
            let term = term(terms, value)?;
            Some(if target.kind == FieldType::Text { word(term) } else { one(term) })
        }
        values => {
            let all: Option<Vec<Term>> = values.iter().map(|value| term(terms, value)).collect();
            Some(Box::new(TermSetQuery::new(all?)))
        }
    }
}

fn exact(terms: &mut Terms<'_>, target: &Target, values: &[String]) -> Found {
    if !target.column {
        let name = &target.path;
        return terms.problem(format!(
            "field {name:?}: its texts cannot be looked for as a whole: it has neither sort nor facet in the configuration"
        ));
    }
    let mut all: Vec<Box<dyn Query>> = Vec::with_capacity(values.len().min(1_024));
    for value in values {
        terms.spend()?;
        let edge = || std::ops::Bound::Included(Term::from_field_text(target.field, value));
        all.push(Box::new(RangeQuery::new(edge(), edge())));
    }
    any(all)
}

fn text(terms: &mut Terms<'_>, text: &Text) -> Found {
    let mut words = Vec::with_capacity(text.fields.len());
    for (name, boost) in &text.fields {
        let target = terms.named(name)?;
        // A word is no number and no date: other fields hold none.
        if matches!(target.kind, FieldType::Text | FieldType::Keyword) {
            words.push((target, *boost));
        }
    }
    if words.is_empty() && !text.fields.is_empty() {
        return terms.problem("fields: expected text or keyword fields, in which there are words");
    }
    terms.foreign(&words, (text.all, text.lenient), |terms| parse::text(terms, &text.text))
}
