//! Any JSON is a query of Elasticsearch or refused with its place. What is understood can be searched by, here and where it is sent to,
//! and splits the records in two: those that it holds of and the others.
#![no_main]

use keld_fuzz::index::syntax::Query;
use keld_fuzz::index::{Ordering, Stop, View};
use keld_fuzz::query::Clause;
use keld_fuzz::query::clause::Bool;
use keld_fuzz::query::dsl::Translator;
use keld_fuzz::query::parse::Spent;
use keld_fuzz::{Error, Kind, ask, query, view};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// The moment that `now` is.
const NOW_MS: i64 = 1_770_000_000_000;
/// Most words and conditions of a request; a word may stand for each of the records' words.
const MOST_LEAVES: usize = 1_024;

fuzz_target!(|data: &[u8]| {
    let body = ask::query(data);
    let view = view();
    let mut translator = Translator::new(&view.fields, NOW_MS);
    let clause = match translator.query(&body) {
        Ok(clause) => clause,
        Err(e) => return refused(&body, &e),
    };
    let sent = serde_json::to_string(&clause).expect("clauses are sent to other instances");
    let received: Clause = serde_json::from_str(&sent).expect("clauses of other instances are read");
    assert_eq!(received, clause, "{body}");

    let query = match query::compile(&view, &clause, &mut Spent::default()) {
        Ok(query) => query,
        Err(e) => return refused(&body, &e),
    };
    let leaves = format!("{query:?}").matches("TermQuery(").count();
    assert!(leaves <= 32 * MOST_LEAVES, "{leaves} terms: {body}");
    let found = total(&view, query.as_ref(), &body);
    let of = |clause: Bool| {
        let query = query::compile(&view, &Clause::Bool(clause), &mut Spent::default());
        // What it stands in may pass a limit that it keeps by itself.
        query.ok().map(|query| total(&view, query.as_ref(), &body))
    };
    if let Some(others) = of(Bool { must_not: vec![clause.clone()], ..Bool::default() }) {
        assert_eq!(found + others, view.documents(), "{body}: {clause:?}");
    }
    if let Some(same) = of(Bool { filter: vec![clause.clone()], ..Bool::default() }) {
        assert_eq!(found, same, "{body}: {clause:?}");
    }
});

/// An error that says whose fault it is, and where.
fn refused(body: &Value, e: &Error) {
    assert_eq!(e.kind(), Kind::BadRequest, "{body}: {e}");
    assert!(e.message().starts_with("query"), "{body}: {e}");
}

/// How many records a query finds; those that are shown have scores that are numbers.
fn total(view: &View, query: &dyn Query, body: &Value) -> u64 {
    let found = view.search(query, Ordering::default(), None, 10, true, &Stop::default());
    let found = found.unwrap_or_else(|e| panic!("{body} can be searched by: {e}"));
    assert!(found.total >= Some(found.hits.len() as u64));
    found.total.expect("it was to be counted")
}
