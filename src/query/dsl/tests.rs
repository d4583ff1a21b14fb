//! What queries become.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::index::testing::def;
use crate::query::clause::{Bool, Edge, Fuzziness, Least, Text, Words};

fn translated(query: &Value) -> (Result<Clause>, Vec<String>) {
    let fields =
        Fields::new(Arc::new(crate::record::TableDef { dynamic: crate::record::Dynamic::Store, ..def() })).unwrap();
    let mut translator = Translator::new(&fields, 1_770_000_000_000);
    let clause = translator.query(query);
    (clause, translator.warnings)
}

#[track_caller]
fn is(query: Value, expected: Clause) {
    let (clause, warnings) = translated(&query);
    assert_eq!(clause.unwrap(), expected, "{query}");
    assert!(warnings.is_empty(), "{query}: {warnings:?}");
}

fn words(field: &str, text: &str) -> Words {
    Words { field: field.to_owned(), text: text.to_owned(), ..Words::default() }
}

fn values(field: &str, all: &[&str], scored: bool) -> Clause {
    Clause::Values { field: field.to_owned(), values: all.iter().map(|v| (*v).to_owned()).collect(), scored }
}

fn edge(value: &str, inclusive: bool) -> Option<Edge> {
    Some(Edge { value: value.to_owned(), inclusive })
}

fn range(field: &str, lower: Option<Edge>, upper: Option<Edge>) -> Clause {
    Clause::Range { field: field.to_owned(), lower, upper }
}

#[test]
fn short_and_long_forms_are_the_same() {
    is(json!({"match": {"title": "red pan"}}), Clause::Words(words("title", "red pan")));
    is(json!({"match": {"title": {"query": "red pan"}}}), Clause::Words(words("title", "red pan")));
    is(json!({"term": {"brand": "Acme"}}), values("brand", &["Acme"], true));
    is(json!({"term": {"brand": {"value": "Acme", "boost": 2}}}), values("brand", &["Acme"], true).boosted(2.0));
    is(json!({"prefix": {"brand": "Ac"}}), Clause::Prefix { field: "brand".into(), text: "Ac".into() });
    is(json!({}), Clause::All);
    is(json!({"match_all": {"boost": 3.0}}), Clause::All.boosted(3.0));
}

#[test]
fn the_match_family_keeps_its_parameters() {
    let all = Words {
        all: true,
        least: Some(Least::parse("75%").unwrap()),
        fuzziness: Some(Fuzziness::AUTO),
        none_is_all: true,
        ..words("title", "a b")
    };
    let body = json!({"query": "a b", "operator": "AND", "minimum_should_match": "75%", "fuzziness": "auto", "zero_terms_query": "all"});
    is(json!({"match": {"title": body}}), Clause::Words(all));
    is(json!({"match_bool_prefix": {"title": "a b"}}), Clause::Words(Words { prefix: true, ..words("title", "a b") }));
    let phrase = |slop, prefix| Clause::Phrase { field: "title".into(), text: "a b".into(), slop, prefix };
    is(json!({"match_phrase": {"title": {"query": "a b", "slop": 2}}}), phrase(2, false));
    is(json!({"match_phrase_prefix": {"title": "a b"}}), phrase(0, true));
    let each = || vec![Clause::Words(words("title", "a")).boosted(2.0), Clause::Words(words("name", "a"))];
    let best = |tie_breaker| Clause::Best { of: each(), tie_breaker };
    let multi = |kind: &str| json!({"multi_match": {"query": "a", "fields": ["title^2", "name"], "type": kind}});
    is(multi("best_fields"), best(0.0));
    is(multi("most_fields"), Clause::any_of(each()));
    is(json!({"multi_match": {"query": "a", "fields": "na*"}}), Clause::Words(words("name", "a")));
}

#[test]
fn clauses_of_bool_may_stand_alone_or_in_lists() {
    let has = |field: &str| Clause::Constant { of: Box::new(Clause::Has { field: field.into() }), score: 1.0 };
    let expected = Bool {
        must: vec![has("price")],
        filter: vec![has("brand"), has("sold")],
        should: vec![has("at")],
        must_not: vec![has("live")],
        least: Some(Least::count(-1)),
    };
    let exists = |field: &str| json!({"exists": {"field": field}});
    let body = json!({
        "must": exists("price"), "filter": [exists("brand"), exists("sold")], "should": [exists("at")],
        "must_not": exists("live"), "minimum_should_match": -1
    });
    is(json!({"bool": body}), Clause::Bool(expected));
    is(json!({"bool": {"must": [], "filter": []}}), Clause::All);
    is(
        json!({"constant_score": {"filter": {"match_all": {}}, "boost": 4}}),
        Clause::Constant { of: Box::new(Clause::All), score: 4.0 },
    );
}

#[test]
fn ranges_are_rounded_and_now_is_the_given_moment() {
    is(json!({"range": {"price": {"gt": 1, "lte": "2.5"}}}), range("price", edge("1", false), edge("2.5", true)));
    is(json!({"range": {"sold": {"gt": 1.5, "lt": 2.5}}}), range("sold", edge("2", true), edge("2", true)));
    is(json!({"range": {"sold": {"gt": 1.0}}}), range("sold", edge("1", false), None));
    // 2026-02-02T02:40:00Z
    let day = 1_769_990_400_000_i64;
    let ms = |ms: i64, inclusive| edge(&ms.to_string(), inclusive);
    is(
        json!({"range": {"at": {"gte": "now/d", "lt": "now"}}}),
        range("at", ms(day, true), ms(1_770_000_000_000, false)),
    );
    is(json!({"range": {"at": {"gt": "now/d"}}}), range("at", ms(day + 86_400_000, true), None));
    is(json!({"range": {"at": {"lte": "2026-02-02"}}}), range("at", None, ms(day + 86_400_000, false)));
    let grafana = json!({"range": {"at": {"gte": day, "lte": day + 5, "format": "epoch_millis"}}});
    is(grafana, range("at", ms(day, true), ms(day + 6, false)));
    is(json!({"term": {"at": "2026-02-02"}}), range("at", ms(day, true), ms(day + 86_400_000, false)));
}

#[test]
fn names_of_tools_find_the_field() {
    is(json!({"term": {"brand.keyword": "Acme"}}), values("brand", &["Acme"], true));
    is(json!({"ids": {"values": ["a", 7]}}), values("_key", &["a", "7"], false));
    is(json!({"terms": {"_id": ["a"]}}), values("_key", &["a"], false));
    is(
        json!({"term": {"name.keyword": "Red pan"}}),
        Clause::Exact { field: "name".into(), values: vec!["Red pan".into()] },
    );
    is(json!({"terms": {"sold": [1, 2.0, 2.5]}}), values("sold", &["1", "2"], false));
}

#[test]
fn what_a_person_typed_stays_text_but_for_times() {
    let text = |text: &str, all| Clause::Text(Text { text: text.into(), fields: Vec::new(), all, lenient: false });
    is(json!({"query_string": {"query": "a b", "default_operator": "AND"}}), text("a b", true));
    is(json!({"query_string": {"query": "*", "analyze_wildcard": true}}), Clause::All);
    is(json!({"query_string": {"query": "at:[now-1s TO now]"}}), text("at:[1769999999000 TO 1770000000000]", false));
}

#[test]
fn what_is_not_understood_is_named_and_what_is_no_field_finds_nothing() {
    let (clause, warnings) = translated(&json!({"match": {"title": {"query": "a", "analyzer": "x", "_name": "n"}}}));
    assert_eq!((clause.unwrap(), warnings.len()), (Clause::Words(words("title", "a")), 1));
    assert!(warnings[0].contains("analyzer"), "{warnings:?}");
    for query in [
        json!({"term": {"nothing": 1}}),
        json!({"match": {"nothing": "a"}}),
        json!({"range": {"nothing": {"gt": 1}}}),
        json!({"wildcard": {"nothing": "a*"}}),
    ] {
        let (clause, warnings) = translated(&query);
        assert_eq!(clause.unwrap(), Clause::Nothing, "{query}");
        assert!(warnings[0].contains("nothing"), "{warnings:?}");
    }
}

#[test]
fn queries_that_cannot_be_understood_are_refused_with_their_place() {
    let deep = (0..40).fold(json!({"match_all": {}}), |q, _| json!({"bool": {"must": q}}));
    let cases = [
        (json!([]), "query: expected an object"),
        (json!({"term": {"a": 1}, "match": {"b": 1}}), "one kind"),
        (json!({"knn": {}}), "unknown query [knn]"),
        (json!({"bool": {"should": [{"term": {}}]}}), "query.bool.should[0].term"),
        (json!({"range": {"at": {"gte": "yesterday"}}}), "query.range.at"),
        (json!({"range": {"at": {"gte": 1, "time_zone": "Mars"}}}), "time_zone"),
        (json!({"match": {"title": {"query": "a", "operator": "xor"}}}), "operator"),
        (json!({"match": {"title": {"query": "a", "minimum_should_match": "x"}}}), "minimum_should_match"),
        (json!({"regexp": {"brand": "a~b"}}), "operator"),
        (json!({"terms": {"brand": "a"}}), "list of values"),
        (deep, "nested"),
    ];
    for (query, what) in cases {
        let error = translated(&query).0.unwrap_err();
        assert_eq!(error.kind(), crate::Kind::BadRequest);
        assert!(error.message().contains(what), "{query}: {error}");
    }
}

#[test]
fn patterns_of_names_match_whole_names() {
    for (pattern, name, expected) in [
        ("*", "x", true),
        ("a*", "abc", true),
        ("*c", "abc", true),
        ("a*c", "ac", true),
        ("a*b*c", "axxbyyc", true),
        ("ab", "abc", false),
        ("a*b", "abc", false),
        ("aba*aba", "aba", false),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
}

/// What is small as a text must not become large as a clause.
#[test]
fn queries_that_would_grow_are_refused() {
    let mut boosting = json!({ "match_all": {} });
    for _ in 0..3 {
        boosting =
            json!({ "boosting": { "positive": boosting, "negative": { "match_none": {} }, "negative_boost": 0.5 } });
    }
    translated(&boosting).0.unwrap_err();
    let many = "a ".repeat(2_000);
    let query = json!({ "multi_match": { "query": many, "fields": ["title"], "type": "cross_fields" } });
    translated(&query).0.unwrap_err();
    // A long text stands once for each field.
    let (long, most) = ("a".repeat((16 << 10) + 1), "a".repeat(16 << 10));
    for kind in ["multi_match", "query_string", "simple_query_string"] {
        translated(&json!({ kind: { "query": most } })).0.unwrap();
        let error = translated(&json!({ kind: { "query": long } })).0.unwrap_err();
        assert!(error.message().contains("16385 bytes, expected at most 16384"), "{error}");
    }
    for kind in ["match", "match_phrase", "match_bool_prefix", "match_phrase_prefix"] {
        translated(&json!({ kind: { "title": long } })).0.unwrap_err();
    }
    let names = vec!["*"; 1_025];
    translated(&json!({ "multi_match": { "query": "a", "fields": names } })).0.unwrap_err();
    let should: Vec<_> = (0..1_000).map(|n| json!({ "term": { format!("nothing{n}"): 1 } })).collect();
    let (clause, warnings) = translated(&json!({ "bool": { "should": should } }));
    assert!(clause.is_ok() && warnings.len() == 50, "{}", warnings.len());
}

#[test]
fn what_is_no_number_bounds_no_integers() {
    for text in ["NaN", "inf", "-inf"] {
        let clause = translated(&json!({ "range": { "sold": { "gte": text } } })).0.unwrap();
        let lower = Some(Edge { value: text.to_owned(), inclusive: true });
        assert_eq!(clause, Clause::Range { field: "sold".to_owned(), lower, upper: None });
    }
}

/// Offsets are read by letters, of which some have several bytes.
#[test]
fn a_zone_with_other_letters_is_refused() {
    dates::read_zone("+1\u{e9}2").unwrap_err();
    let found = dates::Format::parse(&"S".repeat(1_000));
    assert!(found.is_none(), "{found:?}");
}
