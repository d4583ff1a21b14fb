//! From what a person types to a query of the index.
//!
//! Words must all match (AND); `OR`, `NOT`, `+`, `-`, brackets, "phrases", `field:value`, ranges, `IN [a b]`, `field:*`,
//! prefixes (`ket*`), fuzzy words (`kettel~1`) and boosts (`^2`) do what they do elsewhere. `q` is lenient: what cannot be
//! understood is passed over with a warning. A filter is strict: it is an error that says what was expected.

pub(super) use super::terms::Prefix;
pub use super::terms::Spent;
use super::terms::Terms;
use crate::index::View;
use crate::index::syntax::{
    AllQuery, BooleanQuery, BoostQuery, ConstScoreQuery, EmptyQuery, Occur, Query, UserInputAst, parse_query,
    parse_query_lenient,
};
use crate::{Error, Result};

/// Longest query text, bytes.
const LONGEST: usize = 16 * 1024;
/// Deepest nesting of brackets and NOT: the parser of the index is recursive.
const DEEPEST: usize = 50;
/// Largest boost.
const MOST_BOOST: f64 = 1_000_000.0;

/// Most warnings that one text gets: one bracket out of place gets six from the grammar.
const MOST_WARNINGS: usize = 20;

/// What [`lenient`] made of a text.
#[derive(Debug)]
pub struct Parsed {
    /// The query.
    pub query: Box<dyn Query>,
    /// What was passed over.
    pub warnings: Vec<String>,
    /// Beginnings of words that are looked for in texts.
    pub(super) prefixes: Vec<Prefix>,
}

/// Parses a text for `terms`, whose manner decides what is a problem; `None` where nothing of it could be understood.
pub(super) fn text(terms: &mut Terms<'_>, text: &str) -> Option<Box<dyn Query>> {
    let text = tame(text, &mut terms.problems);
    if text.trim().is_empty() {
        return Some(Box::new(EmptyQuery));
    }
    let (ast, errors) = parse_query_lenient(&text);
    terms.problems.extend(errors.iter().map(|e| format!("{} at position {}", e.message, e.pos)));
    compile(ast, terms)
}

/// Parses the words a person types; never fails on any text. Blank text is everything.
pub fn lenient(view: &View, text: &str, spent: &mut Spent) -> Result<Parsed> {
    let mut warnings = Vec::new();
    let text = tame(text, &mut warnings);
    if text.trim().is_empty() {
        return Ok(Parsed { query: Box::new(AllQuery), warnings, prefixes: Vec::new() });
    }
    let (ast, errors) = parse_query_lenient(&text);
    warnings.extend(errors.iter().map(|e| format!("{} at position {}", e.message, e.pos)));
    let mut terms = Terms::new(view, true, spent)?;
    let query = compile(ast, &mut terms).unwrap_or_else(|| Box::new(EmptyQuery));
    warnings.append(&mut terms.problems);
    warnings.dedup();
    Ok(Parsed { query, warnings: cut(warnings), prefixes: terms.prefixes })
}

/// The first of many warnings, and how many more there were.
fn cut(mut warnings: Vec<String>) -> Vec<String> {
    let more = warnings.len().saturating_sub(MOST_WARNINGS);
    if more > 0 {
        warnings.truncate(MOST_WARNINGS);
        warnings.push(format!("and {more} more"));
    }
    warnings
}

/// Parses a filter; `parameter` names it in errors. Blank text is an error.
pub fn strict(view: &View, parameter: &str, text: &str, spent: &mut Spent) -> Result<Box<dyn Query>> {
    let wrong = |what: String| {
        Error::bad_request(format!("{parameter}: {text:?}: {what}"))
            .advise("write field:value, field:[low TO high], field:\"a phrase\", joined by AND, OR, NOT and brackets")
    };
    if text.len() > LONGEST {
        return Err(Error::bad_request(format!("{parameter}: {} bytes, expected at most {LONGEST}", text.len())));
    }
    if text.trim().is_empty() {
        return Err(wrong("expected an expression at position 0".to_owned()));
    }
    if depth(text) > DEEPEST {
        return Err(wrong(format!("expected brackets and NOT nested at most {DEEPEST} deep")));
    }
    let (ast, errors) = parse_query_lenient(text);
    if let Some(e) = errors.first() {
        return Err(wrong(format!("{} at position {}", e.message, e.pos)));
    }
    if parse_query(text).is_err() {
        // The lenient grammar takes a stray quote for a letter.
        let what = match text.rfind('"') {
            Some(at) => format!("expected a well-formed expression, found a stray quote at position {at}"),
            None => "expected a well-formed expression".to_owned(),
        };
        return Err(wrong(what));
    }
    let mut terms = Terms::new(view, false, spent)?;
    let query = compile(ast, &mut terms);
    match (terms.problems.into_iter().next(), query) {
        (Some(problem), _) => Err(wrong(problem)),
        (None, None) => Err(wrong("expected something to look for at position 0".to_owned())),
        (None, Some(query)) => Ok(query),
    }
}

/// A query that selects without changing scores.
pub fn unscored(query: Box<dyn Query>) -> Box<dyn Query> {
    Box::new(ConstScoreQuery::new(query, 0.0))
}

/// Brackets and NOTs: at least as many as are nested.
fn depth(text: &str) -> usize {
    text.matches('(').count() + text.matches("NOT ").count()
}

/// Brings a text into the bounds that the parser can take.
fn tame(text: &str, warnings: &mut Vec<String>) -> String {
    let cut = &text[..text.floor_char_boundary(LONGEST)];
    if cut.len() < text.len() {
        warnings.push(format!("only the first {LONGEST} bytes were read"));
    }
    if depth(cut) <= DEEPEST {
        return cut.to_owned();
    }
    warnings.push(format!("more than {DEEPEST} brackets and NOTs: all of them were passed over"));
    cut.replace(['(', ')'], " ").replace("NOT ", " ")
}

/// `None` where nothing of it could be understood.
fn compile(ast: UserInputAst, terms: &mut Terms<'_>) -> Option<Box<dyn Query>> {
    match ast {
        UserInputAst::Leaf(leaf) => terms.leaf(*leaf),
        UserInputAst::Boost(inner, boost) => {
            let query = compile(*inner, terms)?;
            #[expect(clippy::cast_possible_truncation, reason = "bounded; a boost needs no more digits")]
            let boost = boost.into_inner().clamp(0.0, MOST_BOOST) as f32;
            Some(Box::new(BoostQuery::new(query, boost)))
        }
        UserInputAst::Clause(children) => clause(children, terms),
    }
}

fn clause(children: Vec<(Option<Occur>, UserInputAst)>, terms: &mut Terms<'_>) -> Option<Box<dyn Query>> {
    let mixed = children.iter().any(|(o, _)| o.is_none()) && children.iter().any(|(o, _)| *o == Some(Occur::Should));
    let mut parts: Vec<(Occur, Box<dyn Query>)> = Vec::with_capacity(children.len());
    for (occur, child) in children {
        if let Some(query) = compile(child, terms) {
            parts.push((occur.unwrap_or(terms.default), query));
        }
    }
    if parts.is_empty() {
        return None;
    }
    if parts.iter().all(|(o, _)| *o == Occur::MustNot) {
        parts.push((Occur::Must, Box::new(AllQuery)));
    }
    // "a OR b c" and "c a AND b": the alternatives are one more thing that must match, not an extra.
    if mixed && parts.iter().any(|(o, _)| *o == Occur::Should) {
        return Some(Box::new(BooleanQuery::with_minimum_required_clauses(parts, 1)));
    }
    if let [(Occur::Must | Occur::Should, _)] = parts.as_slice() {
        return parts.pop().map(|(_, query)| query);
    }
    Some(Box::new(BooleanQuery::new(parts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_too_deep_for_the_parser_are_flattened_with_a_warning() {
        let mut warnings = Vec::new();
        let text = tame(&"(".repeat(100_000), &mut warnings);
        assert_eq!((text.trim(), warnings.len()), ("", 2));
    }

    #[test]
    fn of_many_warnings_the_first_are_told_and_the_number_of_the_rest() {
        let all = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        assert_eq!(cut(all(MOST_WARNINGS)), all(MOST_WARNINGS));
        let told = cut(all(1_000));
        assert_eq!((told.len(), told[19].as_str(), told[20].as_str()), (21, "19", "and 980 more"));
    }

    #[test]
    fn texts_within_the_bounds_are_left_as_they_are() {
        let mut warnings = Vec::new();
        assert_eq!(tame("(a OR b) NOT c", &mut warnings), "(a OR b) NOT c");
        assert!(warnings.is_empty());
    }
}
