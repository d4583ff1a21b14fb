//! A value of a column, exactly: what a bucket of an aggregation counts, where the terms of a field may be those of words.

use std::ops::Bound;

use serde_json::Value;

use super::{Found, Terms, between, one};
use crate::index::Target;
use crate::index::syntax::{
    AllQuery, BooleanQuery, EmptyQuery, ExistsQuery, IndexRecordOption, Occur, Query, RangeQuery, Term, TermQuery,
};
use crate::query::aggs::tops::{moment, plain};
use crate::record::FieldType;

/// Documents that have a value in a column, or none.
pub(in crate::query) fn has(target: &Target, value: bool) -> Box<dyn Query> {
    let has = Box::new(ExistsQuery::new(target.path.clone(), true));
    if value {
        return has;
    }
    Box::new(BooleanQuery::new(vec![(Occur::Must, Box::new(AllQuery)), (Occur::MustNot, has)]))
}

fn only(term: Term) -> Box<dyn Query> {
    Box::new(RangeQuery::new(Bound::Included(term.clone()), Bound::Included(term)))
}

impl Terms<'_> {
    /// Documents whose column has this value; null: none at all.
    pub(in crate::query) fn same(&mut self, name: &str, value: &Value) -> Found {
        let Some(target) = self.view.fields.resolve(name).filter(|target| target.column) else {
            return self.problem(format!("field {name:?} is not known or has no column"));
        };
        if value.is_null() {
            return Some(has(&target, false));
        }
        let (field, text) = (target.field, plain(value));
        let number = || value.as_f64().or_else(|| text.parse().ok());
        let found = match target.kind {
            FieldType::Text => Some(only(Term::from_field_text(field, &text))),
            FieldType::Json => member(&target, value),
            FieldType::Date => moment(value).map(|ms| between(&target, Some(ms), ms.checked_add(1))),
            FieldType::Float => number().map(|n| only(Term::from_field_f64(field, n))),
            FieldType::Boolean | FieldType::Integer | FieldType::Keyword if target.mark.is_some() => {
                let whole = match target.kind {
                    FieldType::Integer => integer(value).map(|n| n.to_string()),
                    FieldType::Boolean => truth(value).map(|truth| truth.to_string()),
                    _ => Some(text),
                };
                whole.and_then(|whole| self.whole(&target, &whole)).map(one)
            }
            FieldType::Boolean => truth(value).map(|truth| only(Term::from_field_bool(field, truth))),
            FieldType::Integer => integer(value).map(|n| only(Term::from_field_i64(field, n))),
            FieldType::Keyword => Some(only(Term::from_field_text(field, &text))),
        };
        // No document has what the field cannot hold, though it may stand for those without a value.
        Some(found.unwrap_or_else(|| Box::new(EmptyQuery)))
    }
}

/// True or false, which buckets may show as a number.
fn truth(value: &Value) -> Option<bool> {
    value.as_bool().or_else(|| value.as_f64().map(|n| n != 0.0)).or_else(|| value.as_str()?.parse().ok())
}

/// A whole number, which buckets may show with a fraction of 0.
fn integer(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "whole, and saturated where it is beyond")]
    let whole = |n: &f64| *n as i64;
    value
        .as_i64()
        .or_else(|| value.as_f64().filter(|n| n.fract() == 0.0).as_ref().map(whole))
        .or_else(|| value.as_str()?.parse().ok())
}

/// A member of JSON, by the type of the value.
fn member(target: &Target, value: &Value) -> Found {
    let mut term = Term::from_field_json_path(target.field, &target.inner, true);
    match value {
        Value::String(text) => term.append_type_and_str(text),
        Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(n), ..) => term.append_type_and_fast_value(n),
            (_, Some(n), _) => term.append_type_and_fast_value(n),
            (.., n) => term.append_type_and_fast_value(n?),
        },
        Value::Bool(truth) => {
            // The library has no ranges of these.
            term.append_type_and_fast_value(*truth);
            return Some(Box::new(TermQuery::new(term, IndexRecordOption::Basic)));
        }
        _ => return None,
    }
    Some(only(term))
}
