//! Words that stand for many: beginnings, misspelt words, expressions.

use super::{Found, Pattern, Prefix, Terms, no_word};
use crate::index::Target;
use crate::index::syntax::{Delimiter, FuzzyTermQuery, PhrasePrefixQuery, RegexQuery, Term, UserInputLiteral};
use crate::query::clause::{Expression, of_wildcard};
use crate::record::FieldType;

/// Longest word that is looked up as prefix or fuzzily, bytes: automata grow with it.
const LONGEST: usize = 128;
/// Most prefixes, fuzzy words and expressions of a request, each counted for every field that it is looked for in.
pub(super) const MOST: usize = 128;
/// Most terms of a segment that one of them may stand for.
const MOST_EXPANDED: usize = 100_000;

impl Terms<'_> {
    /// Counts one more pattern of so many bytes.
    fn spend_pattern(&mut self, bytes: usize) -> Option<()> {
        if bytes > LONGEST {
            return self.problem(format!("a prefix or fuzzy word has at most {LONGEST} bytes"));
        }
        self.spent.patterns += 1;
        if self.spent.patterns > MOST {
            return self.problem(format!("expected at most {MOST} prefixes and fuzzy words, over all fields"));
        }
        Some(())
    }

    /// The expression of a word with `*` or `?` anywhere but at its end, where such are understood.
    pub(super) fn wildcard(&self, literal: &UserInputLiteral) -> Option<Result<Expression, String>> {
        let word = literal.phrase.as_str();
        let inner = word.strip_suffix('*').unwrap_or(word).contains(['*', '?']);
        (self.foreign && literal.delimiter == Delimiter::None && inner).then(|| of_wildcard(word, false))
    }

    /// Documents with a term that is wholly of this form.
    pub(in crate::query) fn expression(&mut self, target: &Target, expression: Result<Expression, String>) -> Found {
        self.spend_pattern(0)?;
        let name = &target.path;
        let (regex, beginning) = match expression {
            Ok(found) => found,
            Err(what) => return self.problem(format!("field {name:?}: the pattern {what}")),
        };
        let found = self.view.fields.expression(target, &regex).zip(self.term(target, &beginning));
        let Some(((field, whole), first)) = found else {
            return self.problem(format!("field {name:?}: patterns need a text or keyword field"));
        };
        if self.view.has_more_terms(&first, MOST_EXPANDED).unwrap_or(false) {
            return self.problem(format!(
                "field {name:?}: more than {MOST_EXPANDED} values begin with {beginning:?}: begin the pattern with more"
            ));
        }
        // By itself first, so that no bracket of it can reach the terms of other fields.
        match RegexQuery::from_pattern(&regex, field).and_then(|_| RegexQuery::from_pattern(&whole, field)) {
            Ok(query) => Some(Box::new(query)),
            Err(e) => self.problem(format!("field {name:?}: the pattern cannot be read: {e}")),
        }
    }

    /// The term of one word of a text field, or one value of a keyword field.
    pub(in crate::query) fn term(&self, target: &Target, text: &str) -> Option<Term> {
        match target.kind {
            FieldType::Text => Some(Term::from_field_text(target.field, text)),
            FieldType::Keyword => target.mark.map(|mark| self.view.fields.term(mark, text)),
            _ => None,
        }
    }

    /// Documents with a term that differs by a few letters.
    pub(in crate::query) fn fuzzy(&mut self, target: &Target, word: &str, distance: u8) -> Found {
        let Some(term) = self.term(target, word) else { return self.pattern(target, word, Pattern::Fuzzy(distance)) };
        self.spend_pattern(word.len())?;
        Some(Box::new(FuzzyTermQuery::new(term, distance.min(2), true)))
    }

    /// Documents with a term that begins with a word, or differs from it by a few letters.
    pub(in crate::query) fn pattern(&mut self, target: &Target, word: &str, pattern: Pattern) -> Found {
        self.spend_pattern(word.len())?;
        if let Pattern::Fuzzy(distance @ 3..) = pattern {
            return self.problem(format!("{word}~{distance}: expected at most ~2"));
        }
        let term = |text: &str| match target.kind {
            FieldType::Json => {
                let mut term = Term::from_field_json_path(target.field, &target.inner, true);
                term.append_type_and_str(text);
                Some(term)
            }
            _ => self.term(target, text),
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
                Some(Box::new(self.view.beginning(term.clone())))
            }
            (Some([term]), Pattern::Fuzzy(d)) => Some(Box::new(FuzzyTermQuery::new(term.clone(), d, true))),
            (Some(terms), Pattern::Prefix) if target.kind == FieldType::Text => {
                Some(Box::new(PhrasePrefixQuery::new(terms.to_vec())))
            }
            (Some(_), _) => self.problem(format!("{word:?} is more than one word, which cannot be a pattern here")),
        }
    }
}
