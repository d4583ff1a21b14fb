//! The leaves of a query: words, phrases, ranges, sets, prefixes and fuzzy words, each for the field it names.

mod json_range;
mod pattern;
mod same;

use std::ops::Bound;

pub(super) use same::has;

use super::clause::of_lucene;
use super::dates::Span;
use crate::Result;
use crate::index::syntax::{
    AllQuery, BooleanQuery, Delimiter, EmptyQuery, ExistsQuery, Field, IndexRecordOption, Occur, Query, QueryParser,
    QueryParserError, RangeQuery, Term, TermQuery, TermSetQuery, UserInputAst, UserInputBound, UserInputLeaf,
    UserInputLiteral,
};
use crate::index::{Mark, Target, View, date};
use crate::record::FieldType;

/// Most words and conditions of a request.
const MOST_LEAVES: usize = 1_024;

/// The beginning of a word that is looked for in a field of texts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prefix {
    pub(super) field: Field,
    pub(super) text: String,
}

/// What the texts of a request, `q` and all filters, have come to so far.
#[derive(Debug, Default)]
pub struct Spent {
    /// Leaves, and those of them that are patterns.
    leaves: usize,
    patterns: usize,
}

/// Builds the queries of leaves and gathers what cannot be understood.
pub(super) struct Terms<'a> {
    view: &'a View,
    parser: QueryParser,
    words: Vec<Target>,
    /// Whether what cannot be understood is passed over.
    lenient: bool,
    /// Whether texts are read as Elasticsearch reads them: fields that are not there hold nothing, `*` and `?` may stand anywhere.
    foreign: bool,
    /// How words without an operator are joined.
    pub(super) default: Occur,
    pub(super) spent: &'a mut Spent,
    /// Beginnings of words that are looked for in texts.
    pub(super) prefixes: Vec<Prefix>,
    /// What could not be understood, as sentences.
    pub(super) problems: Vec<String>,
    /// Fields that are not there, where that is no problem.
    pub(super) unknown: Vec<String>,
}

/// A word with a pattern behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pattern {
    Prefix,
    Fuzzy(u8),
}

pub(super) type Found = Option<Box<dyn Query>>;

impl<'a> Terms<'a> {
    pub(super) fn new(view: &'a View, lenient: bool, spent: &'a mut Spent) -> Result<Self> {
        Ok(Self {
            view,
            parser: view.parser(),
            words: view.fields.of_words(),
            lenient,
            foreign: false,
            default: Occur::Must,
            spent,
            prefixes: Vec::new(),
            problems: Vec::new(),
            unknown: Vec::new(),
        })
    }

    /// Runs `f` with the manner of Elasticsearch, and words without a field looked for in `words`, if there are any.
    pub(super) fn foreign(
        &mut self,
        words: &[(Target, f32)],
        (all, lenient): (bool, bool),
        f: impl FnOnce(&mut Self) -> Found,
    ) -> Found {
        let before = (self.foreign, self.lenient, self.default, self.words.clone());
        (self.foreign, self.lenient, self.default) = (true, lenient, if all { Occur::Must } else { Occur::Should });
        if !words.is_empty() {
            self.words = words.iter().map(|(target, _)| target.clone()).collect();
            self.parser = self.view.parser_of(words);
        }
        let found = f(self);
        (self.foreign, self.lenient, self.default, self.words) = before;
        if !words.is_empty() {
            self.parser = self.view.parser();
        }
        found
    }

    /// Counts one more word or condition; `None` where there are too many.
    pub(super) fn spend(&mut self) -> Option<()> {
        self.spent.leaves += 1;
        if self.spent.leaves > MOST_LEAVES {
            return self.problem(format!("expected at most {MOST_LEAVES} words and conditions"));
        }
        Some(())
    }

    /// Whether the request asks for more than may be asked for.
    pub(super) fn is_over(&self) -> bool {
        self.spent.leaves > MOST_LEAVES || self.spent.patterns > pattern::MOST
    }

    /// The query of a leaf; `None` if it is passed over.
    pub(super) fn leaf(&mut self, leaf: UserInputLeaf) -> Found {
        self.spend()?;
        match leaf {
            UserInputLeaf::All => Some(Box::new(AllQuery)),
            UserInputLeaf::Literal(literal) => self.literal(literal),
            UserInputLeaf::Exists { field } => {
                let target = self.named(&field)?;
                self.exists(&target)
            }
            UserInputLeaf::Range { field, lower, upper } => self.range(field, lower, upper),
            UserInputLeaf::Set { field, elements } => self.set(field, elements),
            UserInputLeaf::Regex { field: Some(field), pattern } if self.foreign => {
                let target = self.named(&field)?;
                self.expression(&target, of_lucene(&pattern, false))
            }
            UserInputLeaf::Regex { .. } => self.problem("regular expressions are not supported"),
        }
    }

    pub(super) fn problem<T>(&mut self, what: impl Into<String>) -> Option<T> {
        self.problems.push(what.into());
        None
    }

    /// The searchable field of this name.
    pub(super) fn named(&mut self, name: &str) -> Option<Target> {
        let found = if self.foreign {
            self.view.fields.alias(name).map(|(_, target, _)| target)
        } else {
            self.view.fields.resolve(name)
        };
        match found {
            Some(target) if target.indexed => Some(target),
            Some(_) => self.problem(format!("field {name:?} is not searchable: it has index = false")),
            None if self.foreign => {
                self.unknown.push(name.to_owned());
                None
            }
            None => {
                let known = self.view.fields.names().join(", ");
                self.problem(format!("there is no searchable field {name:?}, expected one of: {known}"))
            }
        }
    }

    fn literal(&mut self, mut literal: UserInputLiteral) -> Found {
        let Some(name) = literal.field_name.clone() else { return self.in_words(&literal) };
        if self.foreign && name == "_exists_" {
            let target = self.named(&literal.phrase)?;
            return self.exists(&target);
        }
        if self.lenient && !self.foreign && self.view.fields.resolve(&name).is_none() {
            // People type "12:30" and addresses: what looks like a field but is none is looked for as words.
            self.problem::<()>(format!("there is no field {name:?}: {name}:{} was read as words", literal.phrase));
            literal.phrase = format!("{name}:{}", literal.phrase);
            literal.field_name = None;
            return self.in_words(&literal);
        }
        let target = self.named(&name)?;
        if let Some(wildcard) = self.wildcard(&literal) {
            return self.expression(&target, wildcard);
        }
        match pattern(&literal) {
            Some((word, pattern)) => self.pattern(&target, word, pattern),
            None => self.value(&target, literal),
        }
    }

    /// Looks for words without a field name in every field that has words.
    fn in_words(&mut self, literal: &UserInputLiteral) -> Found {
        if let Some(wildcard) = self.wildcard(literal) {
            let targets = self.words.clone();
            let all: Vec<_> = targets.iter().filter_map(|t| self.expression(t, wildcard.clone())).collect();
            return any(all);
        }
        if let Some((word, pattern)) = pattern(literal) {
            let targets = self.words.clone();
            let all: Vec<_> = targets.iter().filter_map(|t| self.pattern(t, word, pattern)).collect();
            return any(all);
        }
        let mut all = Vec::new();
        if self.words.iter().any(|t| t.kind == FieldType::Text) {
            if !self.has_tokens(&literal.phrase) {
                // "salt & pepper": a sign alone is no word.
                return if self.lenient { None } else { self.problem(no_word(&literal.phrase)) };
            }
            all.push(self.parse(UserInputLeaf::Literal(literal.clone()), None, &literal.phrase)?);
        }
        let marks: Vec<Mark> = self.words.iter().filter_map(|t| t.mark).collect();
        all.extend(marks.into_iter().map(|mark| one(self.view.fields.term(mark, &literal.phrase))));
        any(all)
    }

    /// Whether any field of texts finds a word in it.
    fn has_tokens(&self, text: &str) -> bool {
        let mut texts = self.words.iter().filter(|t| t.kind == FieldType::Text);
        texts.any(|target| self.view.analyzer(target).is_ok_and(|mut a| a.token_stream(text).advance()))
    }

    pub(super) fn tokens_of(&self, target: &Target, text: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        if let Ok(mut analyzer) = self.view.plain_analyzer(target) {
            analyzer.token_stream(text).process(&mut |t| tokens.push(t.text.clone()));
        }
        tokens
    }

    pub(super) fn value(&mut self, target: &Target, mut literal: UserInputLiteral) -> Found {
        if target.kind == FieldType::Date {
            let span = self.span(target, &literal.phrase)?;
            return Some(between(target, Some(span.start), Some(span.end)));
        }
        let phrase = literal.phrase.clone();
        if target.mark.is_some() {
            return self.whole(target, &phrase).map(one);
        }
        if target.scanned {
            let bound = || UserInputBound::Inclusive(phrase.clone());
            return self.range(Some(target.path.clone()), bound(), bound());
        }
        literal.field_name = Some(target.path.clone());
        self.parse(UserInputLeaf::Literal(literal), Some(target), &phrase)
    }

    /// The term of one value of a field that is matched whole.
    pub(super) fn whole(&mut self, target: &Target, text: &str) -> Option<Term> {
        let value = match target.kind {
            FieldType::Integer => text.parse::<i64>().ok().map(|n| n.to_string()),
            FieldType::Boolean => text.parse::<bool>().ok().map(|b| b.to_string()),
            _ => Some(text.to_owned()),
        };
        match (target.mark, value) {
            (Some(mark), Some(value)) => Some(self.view.fields.term(mark, &value)),
            _ => self.problem(unexpected(target, text)),
        }
    }

    /// Has the parser of the index make the query.
    fn parse(&mut self, leaf: UserInputLeaf, target: Option<&Target>, text: &str) -> Found {
        let ast = UserInputAst::Leaf(Box::new(leaf));
        let (query, errors) = self.parser.build_query_from_user_input_ast_lenient(ast);
        if let Some(e) = errors.first() {
            return self.problem(explain(e, target, text));
        }
        if query.downcast_ref::<EmptyQuery>().is_some() {
            return self.problem(no_word(text));
        }
        Some(query)
    }

    pub(super) fn exists(&mut self, target: &Target) -> Found {
        if target.column {
            return Some(Box::new(ExistsQuery::new(target.path.clone(), true)));
        }
        let first = Bound::Included(Term::from_field_text(target.field, ""));
        Some(Box::new(RangeQuery::new(first, Bound::Unbounded)))
    }

    pub(super) fn range(&mut self, field: Option<String>, lower: UserInputBound, upper: UserInputBound) -> Found {
        let Some(name) = field else { return self.problem("a range needs a field: field:[low TO high]") };
        let target = self.named(&name)?;
        if lower.term_str() == "*" && upper.term_str() == "*" {
            return self.exists(&target);
        }
        if target.kind == FieldType::Date {
            return self.date_range(&target, &lower, &upper);
        }
        for bound in [&lower, &upper] {
            let text = bound.term_str();
            let of_truths = target.kind == FieldType::Boolean && text != "*";
            if of_truths || target.kind == FieldType::Json && text.parse::<bool>().is_ok() {
                return self.problem(format!("field {:?}: a range cannot begin or end with {text}", target.path));
            }
            if target.kind == FieldType::Float && text.parse::<f64>().is_ok_and(|n| !n.is_finite()) {
                return self.problem(format!("field {:?}: expected a number, found {text:?}", target.path));
            }
        }
        if target.kind == FieldType::Keyword {
            return Some(Box::new(RangeQuery::new(edge(&target, &lower), edge(&target, &upper))));
        }
        if target.kind == FieldType::Json
            && let Some(found) = self.mixed_range(&target, &lower, &upper)
        {
            return found;
        }
        let text = format!("{} TO {}", lower.term_str(), upper.term_str());
        let leaf = UserInputLeaf::Range { field: Some(target.path.clone()), lower, upper };
        self.parse(leaf, Some(&target), &text)
    }

    fn date_range(&mut self, target: &Target, lower: &UserInputBound, upper: &UserInputBound) -> Found {
        let from = match lower {
            bound if bound.term_str() == "*" => None,
            UserInputBound::Exclusive(text) => Some(self.span(target, text)?.end),
            bound => Some(self.span(target, bound.term_str())?.start),
        };
        let to = match upper {
            bound if bound.term_str() == "*" => None,
            UserInputBound::Exclusive(text) => Some(self.span(target, text)?.start),
            bound => Some(self.span(target, bound.term_str())?.end),
        };
        Some(between(target, from, to))
    }

    fn span(&mut self, target: &Target, text: &str) -> Option<Span> {
        match Span::parse(text) {
            Some(span) => Some(span),
            None => {
                let name = &target.path;
                self.problem(format!(
                    "field {name:?}: expected a date such as 2026-01-31 or \"2026-01-31T12:00:00Z\", found {text:?}"
                ))
            }
        }
    }

    fn set(&mut self, field: Option<String>, elements: Vec<String>) -> Found {
        let Some(name) = field else { return self.problem("IN needs a field: field: IN [a b]") };
        let target = self.named(&name)?;
        if elements.is_empty() {
            return self.problem(format!("field {name:?}: expected at least one value in IN [ ]"));
        }
        if target.mark.is_some() {
            let terms: Option<Vec<Term>> = elements.iter().map(|text| self.whole(&target, text)).collect();
            return Some(Box::new(TermSetQuery::new(terms?)));
        }
        if target.scanned || matches!(target.kind, FieldType::Text | FieldType::Json) {
            let mut all = Vec::with_capacity(elements.len());
            for phrase in elements {
                // Each is a condition of its own.
                self.spend()?;
                let literal = UserInputLiteral {
                    field_name: None,
                    phrase,
                    delimiter: Delimiter::DoubleQuotes,
                    slop: 0,
                    prefix: false,
                };
                all.extend(self.value(&target, literal));
            }
            return any(all);
        }
        let text = elements.join(" ");
        self.parse(UserInputLeaf::Set { field: Some(target.path.clone()), elements }, Some(&target), &text)
    }
}

/// Documents with this term.
pub(super) fn one(term: Term) -> Box<dyn Query> {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

/// A bound of a range of keywords.
fn edge(target: &Target, bound: &UserInputBound) -> Bound<Term> {
    let term = |text: &str| Term::from_field_text(target.field, text);
    match bound {
        UserInputBound::Inclusive(text) if text != "*" => Bound::Included(term(text)),
        UserInputBound::Exclusive(text) if text != "*" => Bound::Excluded(term(text)),
        _ => Bound::Unbounded,
    }
}

fn no_word(text: &str) -> String {
    format!("there is no word to look for in {text:?}")
}

pub(super) fn any(mut queries: Vec<Box<dyn Query>>) -> Found {
    if queries.len() > 1 {
        return Some(Box::new(BooleanQuery::union(queries)));
    }
    queries.pop()
}

/// Dates from `from` on and before `to`, milliseconds.
fn between(target: &Target, from: Option<i64>, to: Option<i64>) -> Box<dyn Query> {
    let term = |ms: i64| Term::from_field_date(target.field, date(ms));
    if from.zip(to).is_some_and(|(from, to)| from >= to) {
        return Box::new(EmptyQuery);
    }
    let lower = from.map_or(Bound::Unbounded, |ms| Bound::Included(term(ms)));
    let upper = to.map_or(Bound::Unbounded, |ms| Bound::Excluded(term(ms)));
    Box::new(RangeQuery::new(lower, upper))
}

/// Splits `ket*` and `kettel~1`; a phrase of one word with a star behind it is a prefix too.
fn pattern(literal: &UserInputLiteral) -> Option<(&str, Pattern)> {
    let text = literal.phrase.as_str();
    if literal.delimiter != Delimiter::None {
        let one = literal.prefix && !text.contains(char::is_whitespace);
        return one.then_some((text, Pattern::Prefix));
    }
    if let Some(word) = text.strip_suffix('*').filter(|w| !w.is_empty() && !w.ends_with('\\')) {
        return Some((word, Pattern::Prefix));
    }
    let (word, distance) = text.rsplit_once('~').filter(|(word, _)| !word.is_empty())?;
    if distance.is_empty() {
        let by_length = match word.chars().count() {
            0..=2 => 0,
            3..=5 => 1,
            _ => 2,
        };
        return Some((word, Pattern::Fuzzy(by_length)));
    }
    distance.parse().ok().map(|d| (word, Pattern::Fuzzy(d)))
}

/// What an error of the parser means for the text it is about.
fn explain(error: &QueryParserError, target: Option<&Target>, text: &str) -> String {
    let Some(target) = target else { return format!("{text:?}: {error}") };
    match target.kind {
        FieldType::Integer | FieldType::Float | FieldType::Boolean => unexpected(target, text),
        _ => format!("field {:?}: {text:?}: {error}", target.path),
    }
}

fn unexpected(target: &Target, text: &str) -> String {
    let expected = match target.kind {
        FieldType::Integer => "an integer",
        FieldType::Float => "a number",
        FieldType::Boolean => "true or false",
        _ => "a value of its type",
    };
    format!("field {:?}: expected {expected}, found {text:?}", target.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(phrase: &str) -> UserInputLiteral {
        UserInputLiteral {
            field_name: None,
            phrase: phrase.to_owned(),
            delimiter: Delimiter::None,
            slop: 0,
            prefix: false,
        }
    }

    #[test]
    fn patterns_stand_behind_words() {
        let fuzzy = |d| Pattern::Fuzzy(d);
        let cases = [
            ("ket*", Some(("ket", Pattern::Prefix))),
            ("kettel~1", Some(("kettel", fuzzy(1)))),
            ("kettel~", Some(("kettel", fuzzy(2)))),
            ("ab~", Some(("ab", fuzzy(0)))),
            ("kettel", None),
            ("*", None),
            ("~2", None),
            ("ket\\*", None),
            ("a~b", None),
        ];
        for (text, expected) in cases {
            assert_eq!(pattern(&word(text)), expected, "{text}");
        }
    }
}
