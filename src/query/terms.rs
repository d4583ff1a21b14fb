//! The leaves of a query: words, phrases, ranges, sets, prefixes and fuzzy words, each for the field it names.

use std::ops::Bound;

use super::dates::Span;
use crate::Result;
use crate::index::syntax::{
    AllQuery, BooleanQuery, Delimiter, EmptyQuery, ExistsQuery, Field, FuzzyTermQuery, IndexRecordOption,
    PhrasePrefixQuery, Query, QueryParser, QueryParserError, RangeQuery, Term, TermQuery, TermSetQuery, UserInputAst,
    UserInputBound, UserInputLeaf, UserInputLiteral,
};
use crate::index::{Mark, Target, View, date};
use crate::record::FieldType;

/// Longest word that is looked up as prefix or fuzzily, bytes: automata grow with it.
const LONGEST_PATTERN: usize = 128;

/// Most words and conditions of a request.
const MOST_LEAVES: usize = 1_024;
/// Most prefixes and fuzzy words of a request, each counted for every field that it is looked for in.
const MOST_PATTERNS: usize = 128;
/// Most terms of a segment that a prefix may stand for.
const MOST_EXPANDED: usize = 100_000;

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
    lenient: bool,
    spent: &'a mut Spent,
    /// Beginnings of words that are looked for in texts.
    pub(super) prefixes: Vec<Prefix>,
    /// What could not be understood, as sentences.
    pub(super) problems: Vec<String>,
}

/// A word with a pattern behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pattern {
    Prefix,
    Fuzzy(u8),
}

type Found = Option<Box<dyn Query>>;

impl<'a> Terms<'a> {
    pub(super) fn new(view: &'a View, lenient: bool, spent: &'a mut Spent) -> Result<Self> {
        Ok(Self {
            view,
            parser: view.parser(),
            words: view.fields.of_words(),
            lenient,
            spent,
            prefixes: Vec::new(),
            problems: Vec::new(),
        })
    }

    /// The query of a leaf; `None` if it is passed over.
    pub(super) fn leaf(&mut self, leaf: UserInputLeaf) -> Found {
        self.spent.leaves += 1;
        if self.spent.leaves > MOST_LEAVES {
            return self.problem(format!("expected at most {MOST_LEAVES} words and conditions"));
        }
        match leaf {
            UserInputLeaf::All => Some(Box::new(AllQuery)),
            UserInputLeaf::Literal(literal) => self.literal(literal),
            UserInputLeaf::Exists { field } => {
                let target = self.named(&field)?;
                self.exists(&target)
            }
            UserInputLeaf::Range { field, lower, upper } => self.range(field, lower, upper),
            UserInputLeaf::Set { field, elements } => self.set(field, elements),
            UserInputLeaf::Regex { .. } => self.problem("regular expressions are not supported"),
        }
    }

    fn problem<T>(&mut self, what: impl Into<String>) -> Option<T> {
        self.problems.push(what.into());
        None
    }

    /// The searchable field of this name.
    fn named(&mut self, name: &str) -> Option<Target> {
        match self.view.fields.resolve(name) {
            Some(target) if target.indexed => Some(target),
            Some(_) => self.problem(format!("field {name:?} is not searchable: it has index = false")),
            None => {
                let known = self.view.fields.names().join(", ");
                self.problem(format!("there is no searchable field {name:?}, expected one of: {known}"))
            }
        }
    }

    fn literal(&mut self, mut literal: UserInputLiteral) -> Found {
        let Some(name) = literal.field_name.clone() else { return self.in_words(&literal) };
        if self.lenient && self.view.fields.resolve(&name).is_none() {
            // People type "12:30" and addresses: what looks like a field but is none is looked for as words.
            self.problem::<()>(format!("there is no field {name:?}: {name}:{} was read as words", literal.phrase));
            literal.phrase = format!("{name}:{}", literal.phrase);
            literal.field_name = None;
            return self.in_words(&literal);
        }
        let target = self.named(&name)?;
        match pattern(&literal) {
            Some((word, pattern)) => self.pattern(&target, word, pattern),
            None => self.value(&target, literal),
        }
    }

    /// Looks for words without a field name in every field that has words.
    fn in_words(&mut self, literal: &UserInputLiteral) -> Found {
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

    fn tokens_of(&self, target: &Target, text: &str) -> Vec<String> {
        let mut tokens = Vec::new();
        if let Ok(mut analyzer) = self.view.plain_analyzer(target) {
            analyzer.token_stream(text).process(&mut |t| tokens.push(t.text.clone()));
        }
        tokens
    }

    fn value(&mut self, target: &Target, mut literal: UserInputLiteral) -> Found {
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
    fn whole(&mut self, target: &Target, text: &str) -> Option<Term> {
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

    fn exists(&mut self, target: &Target) -> Found {
        if target.column {
            return Some(Box::new(ExistsQuery::new(target.path.clone(), true)));
        }
        let first = Bound::Included(Term::from_field_text(target.field, ""));
        Some(Box::new(RangeQuery::new(first, Bound::Unbounded)))
    }

    fn range(&mut self, field: Option<String>, lower: UserInputBound, upper: UserInputBound) -> Found {
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
            if target.kind == FieldType::Float && text.parse::<f64>().is_ok_and(|n| !n.is_finite()) {
                return self.problem(format!("field {:?}: expected a number, found {text:?}", target.path));
            }
        }
        if target.kind == FieldType::Keyword {
            return Some(Box::new(RangeQuery::new(edge(&target, &lower), edge(&target, &upper))));
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

    fn pattern(&mut self, target: &Target, word: &str, pattern: Pattern) -> Found {
        if word.len() > LONGEST_PATTERN {
            return self.problem(format!("a prefix or fuzzy word has at most {LONGEST_PATTERN} bytes"));
        }
        self.spent.patterns += 1;
        if self.spent.patterns > MOST_PATTERNS {
            return self.problem(format!("expected at most {MOST_PATTERNS} prefixes and fuzzy words, over all fields"));
        }
        if let Pattern::Fuzzy(distance @ 3..) = pattern {
            return self.problem(format!("{word}~{distance}: expected at most ~2"));
        }
        let term = |text: &str| match target.kind {
            FieldType::Text => Some(Term::from_field_text(target.field, text)),
            FieldType::Keyword => target.mark.map(|mark| self.view.fields.term(mark, text)),
            FieldType::Json => {
                let mut term = Term::from_field_json_path(target.field, &target.inner, true);
                term.append_type_and_str(text);
                Some(term)
            }
            _ => None,
        };
        let terms: Option<Vec<Term>> = self.tokens_of(target, word).iter().map(|t| term(t)).collect();
        match (terms.as_deref(), pattern) {
            (None, _) => {
                let name = &target.path;
                self.problem(format!("field {name:?}: prefixes and fuzzy words need a text or keyword field"))
            }
            (Some([]), _) if self.lenient => None,
            (Some([]), _) => self.problem(no_word(word)),
            (Some([term]), Pattern::Prefix) => {
                // Where the index cannot be asked, the search itself will say so.
                if self.view.has_more_terms(term, MOST_EXPANDED).unwrap_or(false) {
                    return self
                        .problem(format!("more than {MOST_EXPANDED} words begin with {word:?}: write more of it"));
                }
                if let Some(text) = term.value().as_str().filter(|_| target.kind == FieldType::Text) {
                    self.prefixes.push(Prefix { field: target.field, text: text.to_owned() });
                }
                Some(Box::new(FuzzyTermQuery::new_prefix(term.clone(), 0, true)))
            }
            (Some([term]), Pattern::Fuzzy(d)) => Some(Box::new(FuzzyTermQuery::new(term.clone(), d, true))),
            (Some(terms), Pattern::Prefix) if target.kind == FieldType::Text => {
                Some(Box::new(PhrasePrefixQuery::new(terms.to_vec())))
            }
            (Some(_), _) => self.problem(format!("{word:?} is more than one word, which cannot be a pattern here")),
        }
    }
}

/// Documents with this term.
fn one(term: Term) -> Box<dyn Query> {
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

fn any(mut queries: Vec<Box<dyn Query>>) -> Found {
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
