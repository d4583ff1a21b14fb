//! Ranges over members of JSON, whose values have no declared type.

use std::ops::Bound;

use super::{Found, Terms};
use crate::index::Target;
use crate::index::syntax::{RangeQuery, Term, Type, UserInputBound, json_term};

impl Terms<'_> {
    /// The range if its ends are of different types; `None` if they are of one, or one is open. The library takes both for values of the
    /// first one's type, and panics. Numbers are compared as numbers with a fraction (whole ones beyond 2^53 by the nearest such), other things are not compared.
    pub(super) fn mixed_range(
        &mut self,
        target: &Target,
        lower: &UserInputBound,
        upper: &UserInputBound,
    ) -> Option<Found> {
        if [lower, upper].iter().any(|bound| bound.term_str() == "*") {
            return None;
        }
        let kind = |bound: &UserInputBound| json_term(path(target), bound.term_str()).value().json_path_type();
        let (from, to) = (kind(lower), kind(upper));
        if from == to {
            return None;
        }
        let number = |kind: Option<Type>, bound: &UserInputBound| {
            let is_number = matches!(kind, Some(Type::I64 | Type::U64 | Type::F64));
            bound.term_str().parse::<f64>().ok().filter(|_| is_number)
        };
        let Some((from, to)) = number(from, lower).zip(number(to, upper)) else {
            let (name, from, to) = (&target.path, lower.term_str(), upper.term_str());
            let problem =
                format!("field {name:?}: {from:?} and {to:?} are of different types: a range has two of one type");
            return Some(self.problem(problem));
        };
        Some(Some(Box::new(RangeQuery::new(edge(target, lower, from), edge(target, upper, to)))))
    }
}

fn path(target: &Target) -> Term {
    Term::from_field_json_path(target.field, &target.inner, true)
}

fn edge(target: &Target, bound: &UserInputBound, number: f64) -> Bound<Term> {
    let mut term = path(target);
    term.append_type_and_fast_value(number);
    match bound {
        UserInputBound::Exclusive(_) => Bound::Excluded(term),
        _ => Bound::Included(term),
    }
}
