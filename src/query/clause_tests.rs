//! Clauses against naive filtering, in one leaf and in several.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::super::clause::{Bool, Fuzziness, Least, Text, Words, of_lucene, of_wildcard};
use super::super::dsl::Translator;
use super::super::{Clause, SortKey, cursor};
use super::tests::{Product, Shop, by, filter, keys, products, q, shop, sorted};
use super::*;

fn asked(clause: Clause) -> SearchRequest {
    SearchRequest { clause: Some(clause), ..q("") }
}

fn words(field: &str, text: &str) -> Words {
    Words { field: field.to_owned(), text: text.to_owned(), ..Words::default() }
}

fn is(field: &str, value: &str) -> Clause {
    Clause::Values { field: field.to_owned(), values: vec![value.to_owned()], scored: true }
}

fn pattern(field: &str, (regex, beginning): (String, String)) -> Clause {
    Clause::Pattern { field: field.to_owned(), regex, beginning }
}

#[track_caller]
fn finds(shop: &Shop, clause: Clause, keep: impl Fn(&Product) -> bool) {
    let wanted = shop.wanted(keep);
    let answer = shop.ask(&asked(clause.clone())).expect("an answer");
    assert_eq!(sorted(&answer), wanted, "{clause:?}");
    assert_eq!(answer.total, Some(wanted.len() as u64));
    // As it travels to another instance.
    let sent: Clause = serde_json::from_str(&serde_json::to_string(&clause).expect("json")).expect("a clause");
    assert_eq!(sent, clause);
}

#[test]
fn clauses_find_what_naive_filtering_finds() {
    let shop = shop(products());
    let any =
        |least: &str| Words { least: Some(Least::parse(least).expect("a number")), ..words("title", "red blue large") };
    let count = |p: &Product, all: &[&str]| all.iter().filter(|w| p.has(w)).count();
    finds(&shop, Clause::Words(words("title", "red pan")), |p| p.has("red") || p.has("pan"));
    finds(&shop, Clause::Words(Words { all: true, ..words("title", "Red PAN") }), |p| p.has("red") && p.has("pan"));
    finds(&shop, Clause::Words(any("2")), |p| count(p, &["red", "blue", "large"]) >= 2);
    finds(&shop, Clause::Words(any("-1")), |p| count(p, &["red", "blue", "large"]) >= 2);
    finds(&shop, Clause::Words(any("4")), |_| false);
    finds(&shop, Clause::Words(words("title", "&!")), |_| false);
    finds(&shop, Clause::Words(Words { none_is_all: true, ..words("title", "&!") }), |_| true);
    let misspelt = Words { fuzziness: Some(Fuzziness::AUTO), ..words("title", "ketle") };
    finds(&shop, Clause::Words(misspelt), |p| p.has("kettle"));
    let begun = Words { prefix: true, all: true, ..words("title", "blue ket") };
    finds(&shop, Clause::Words(begun), |p| p.has("blue"));
    let phrase = |text: &str, slop, prefix| Clause::Phrase { field: "title".into(), text: text.into(), slop, prefix };
    finds(&shop, phrase("blue kettle", 0, false), |p| p.has("blue"));
    finds(&shop, phrase("blue large", 0, false), |_| false);
    finds(&shop, phrase("blue large", 1, false), |p| p.has("blue"));
    finds(&shop, phrase("blue kett", 0, true), |p| p.has("blue"));
    finds(&shop, is("brand", "Acme"), |p| p.brand == Some("Acme"));
    finds(&shop, is("sold", "3"), |p| p.sold == Some(3));
    finds(&shop, is("live", "true"), |p| p.live == Some(true));
    finds(&shop, is("price", "9.5"), |p| p.price == Some(9.5));
    finds(&shop, is("attrs.colour", "red"), |p| p.colour == Some("red"));
    let several = Clause::Values { field: "tags".into(), values: vec!["new".into(), "old".into()], scored: false };
    finds(&shop, several, |p| p.tags.contains(&"new") || p.tags.contains(&"old"));
    let whole = Clause::Exact { field: "name".into(), values: vec!["Red pan".into()] };
    finds(&shop, whole, |p| p.title == "Red pan");
    finds(&shop, Clause::Has { field: "brand".into() }, |p| p.brand.is_some());
    finds(&shop, Clause::Prefix { field: "brand".into(), text: "New Y".into() }, |p| p.brand == Some("New York Tools"));
    finds(&shop, pattern("brand", of_wildcard("?c*", true).expect("a pattern")), |p| {
        p.brand.is_some_and(|b| b.eq_ignore_ascii_case("acme"))
    });
    finds(&shop, pattern("brand", of_lucene("(Ac|Bo).*", false).expect("a pattern")), |p| {
        matches!(p.brand, Some("Acme" | "Bolt"))
    });
    finds(&shop, pattern("title", of_wildcard("ket*s", false).expect("a pattern")), |p| p.has("kettles"));
    finds(&shop, Clause::Fuzzy { field: "brand".into(), text: "Bold".into(), distance: 1 }, |p| {
        p.brand == Some("Bolt")
    });
    let text = |text: &str, all| Clause::Text(Text { text: text.into(), all, ..Text::default() });
    finds(&shop, text("red pan", false), |p| p.has("red") || p.has("pan"));
    finds(&shop, text("red pan", true), |p| p.has("red") && p.has("pan"));
    finds(&shop, text("brand.keyword:Acme AND title:k*t?e", false), |p| p.brand == Some("Acme") && p.has("kettle"));
    finds(&shop, text("nothing_such:x", false), |_| false);
    finds(&shop, Clause::All, |_| true);
    finds(&shop, Clause::Nothing, |_| false);
}

#[test]
fn clauses_of_bool_hold_as_many_as_must() {
    let shop = shop(products());
    let red = || Clause::Words(words("title", "red"));
    let (acme, live) = (|| is("brand", "Acme"), || is("live", "true"));
    let all = |all: Bool| Clause::Bool(all);
    let holds = |p: &Product| (p.has("red"), p.brand == Some("Acme"), p.live == Some(true));
    let should = || vec![red(), acme(), live()];
    finds(&shop, all(Bool { should: should(), ..Bool::default() }), |p| holds(p).0 || holds(p).1 || holds(p).2);
    let two = Bool { should: should(), least: Some(Least::count(2)), ..Bool::default() };
    finds(&shop, all(two), |p| u8::from(holds(p).0) + u8::from(holds(p).1) + u8::from(holds(p).2) >= 2);
    let optional = Bool { filter: vec![red()], should: vec![acme()], ..Bool::default() };
    finds(&shop, all(optional), |p| holds(p).0);
    // Where nothing else decides one must hold, though none is asked for.
    for least in [Least::count(0), Least::count(-3), Least::count(-9)] {
        let none = Bool { should: should(), must_not: vec![acme()], least: Some(least), ..Bool::default() };
        finds(&shop, all(none), |p| (holds(p).0 || holds(p).2) && !holds(p).1);
    }
    let decided = Bool { must: vec![red()], should: should(), least: Some(Least::count(0)), ..Bool::default() };
    finds(&shop, all(decided), |p| holds(p).0);
    // The library would make `should` optional beside `must_not` alone.
    let either = Bool { should: vec![red(), acme()], must_not: vec![live()], ..Bool::default() };
    finds(&shop, all(either), |p| (holds(p).0 || holds(p).1) && !holds(p).2);
    finds(&shop, red().negated(), |p| !p.has("red"));
    let best = Clause::Best { of: vec![red(), acme()], tie_breaker: 0.5 };
    finds(&shop, best, |p| holds(p).0 || holds(p).1);
}

#[test]
fn many_small_parts_are_refused_as_many_words_are() {
    let shop = shop(products());
    let fuzzy = Words { fuzziness: Some(Fuzziness::AUTO), ..words("title", &"ab ".repeat(1_025)) };
    let lenient = Words { lenient: true, ..words("title", &"kettle ".repeat(1_025)) };
    let everything = |clause: Clause, n| Clause::Bool(Bool { should: vec![clause; n], ..Bool::default() });
    let cases = [
        Clause::Words(fuzzy),
        Clause::Words(words("attrs.size", &"1 ".repeat(1_025))),
        // Nothing, without a word of why, would be taken for the answer.
        Clause::Words(lenient),
        everything(Clause::All, 1_025),
        everything(Clause::Nothing, 1_025),
    ];
    for clause in cases {
        let error = shop.ask(&asked(clause.clone())).map(|a| a.hits.len()).expect_err("too many");
        assert!(error.kind() == crate::Kind::BadRequest && error.message().contains("at most 1024"), "{error}");
    }
    finds(&shop, everything(Clause::All, 500), |_| true);
    let set = |n: usize| filter(&format!("price: IN [{}]", vec!["1"; n].join(" ")));
    shop.ask(&set(1_000)).expect("an answer");
    let error = shop.ask(&set(1_100)).expect_err("too many");
    assert!(error.message().contains("at most 1024"), "{error}");
}

#[test]
fn scores_are_those_that_were_asked_for() {
    let shop = shop(products());
    let scores = |clause: Clause| -> Vec<f32> {
        let answer = shop.ask(&asked(clause)).expect("an answer");
        let mut scores: Vec<f32> = answer.hits.iter().filter_map(|h| h.score).collect();
        scores.dedup();
        scores
    };
    let constant = |score| Clause::Constant { of: Box::new(is("brand", "Acme")), score };
    assert_eq!(scores(constant(2.5)), [2.5]);
    assert_eq!(scores(Clause::All.boosted(3.0)), [3.0]);
    let must = |must: Vec<Clause>, filter: Vec<Clause>| Clause::Bool(Bool { must, filter, ..Bool::default() });
    assert_eq!(scores(must(vec![Clause::All], vec![is("brand", "Acme")])), [1.0]);
    assert_eq!(scores(must(Vec::new(), vec![is("brand", "Acme")])), [0.0]);
    assert_eq!(scores(must(vec![constant(1.0), constant(2.0)], Vec::new())), [3.0]);
    assert_eq!(scores(Clause::Best { of: vec![constant(1.0), constant(2.0)], tie_breaker: 0.5 }), [2.5]);
}

#[test]
fn what_goes_beyond_the_limits_is_refused() {
    let shop = shop(products());
    let deep = (0..40).fold(Clause::All, |inner, _| inner.negated());
    let many = Clause::any_of((0..1_100).map(|n| is("sold", &n.to_string())).collect());
    let patterns =
        Clause::any_of((0..200).map(|_| pattern("brand", of_wildcard("a?c", false).expect("one"))).collect());
    for (clause, what) in [(deep, "deep"), (many, "1024"), (patterns, "128")] {
        let error = shop.ask(&asked(clause)).expect_err(what);
        assert!(error.message().contains(what), "{error}");
    }
    for (clause, what) in [
        (is("sold", "many"), "integer"),
        (Clause::Prefix { field: "sold".into(), text: "1".into() }, "keyword"),
        (Clause::Exact { field: "title".into(), values: vec!["x".into()] }, "sort"),
        // A bracket must not reach the terms of other fields.
        (pattern("brand", ("x)|(.*".to_owned(), String::new())), "pattern"),
    ] {
        let error = shop.ask(&asked(clause.clone())).expect_err(what);
        assert!(error.message().contains(what), "{clause:?}: {error}");
    }
}

#[test]
fn missing_values_come_first_where_they_are_asked_to_over_all_pages() {
    let shop = shop(products());
    for (field, descending) in [("sold", false), ("price", true), ("brand", false), ("brand", true), ("live", false)] {
        let sort = vec![SortKey { missing_first: true, ..by(&[(field, descending)]).remove(0) }];
        let last = shop.ask(&SearchRequest { sort: by(&[(field, descending)]), ..q("") }).expect("an answer");
        let (missing, has): (Vec<&Hit>, Vec<&Hit>) = last.hits.iter().partition(|h| h.record.get(field).is_none());
        let wanted: Vec<String> =
            missing.into_iter().chain(has).map(|h| String::from_utf8(h.place.key.clone()).expect("text")).collect();
        let request = SearchRequest { sort, limit: 7, ..q("") };
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = shop.ask(&SearchRequest { after, ..request.clone() }).expect("a page");
            found.extend(keys(&page));
            // Through the text that clients hand back.
            let of = cursor::of_search("t", &request);
            let Some(last) = page.hits.last().filter(|_| page.hits.len() == 7) else { break };
            after = Some(cursor::read(&cursor::write(of, &last.place), of).expect("a cursor"));
        }
        assert_eq!(found, wanted, "{field}");
        assert_ne!(found, keys(&last), "{field}");
    }
}

/// What stands in queries, in sense and nonsense.
const KINDS: [&str; 24] = [
    "bool",
    "constant_score",
    "dis_max",
    "boosting",
    "match",
    "match_phrase",
    "match_phrase_prefix",
    "match_bool_prefix",
    "multi_match",
    "query_string",
    "simple_query_string",
    "term",
    "terms",
    "range",
    "exists",
    "prefix",
    "wildcard",
    "regexp",
    "fuzzy",
    "ids",
    "match_all",
    "match_none",
    "filter",
    "queries",
];
const MEMBERS: [&str; 34] = [
    "title",
    "brand",
    "brand.keyword",
    "price",
    "sold",
    "at",
    "live",
    "tags",
    "attrs",
    "attrs.colour",
    "name.keyword",
    "_id",
    "nothing",
    "must",
    "should",
    "must_not",
    "minimum_should_match",
    "query",
    "queries",
    "fields",
    "type",
    "value",
    "values",
    "operator",
    "fuzziness",
    "slop",
    "boost",
    "gte",
    "lt",
    "format",
    "time_zone",
    "field",
    "positive",
    "negative",
];
const TEXTS: [&str; 26] = [
    "red",
    "Acme",
    "*",
    "?",
    "k*l?",
    "a~b",
    "[a-",
    "(",
    "((()",
    "\\",
    "\"",
    "now-1d/d",
    "2026-01||+1M/y",
    "99999-99",
    "AUTO:3,6",
    "2<75% 9<-3",
    "-25%",
    "title^2",
    "é~",
    "red AND (pan OR \"x y\"~2)",
    "at:[now TO *]",
    "yyyy-MM-dd",
    "epoch_millis",
    "+01:00",
    "and",
    "",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-10_i64..10).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(&TEXTS[..]).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 4, |inner| {
        let member = prop_oneof![prop::sample::select(&KINDS[..]), prop::sample::select(&MEMBERS[..])];
        let kind = (prop::sample::select(&KINDS[..]), inner.clone());
        let object = prop::collection::vec((member, inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            object.prop_map(|all| Value::Object(all.into_iter().map(|(n, v)| (n.to_owned(), v)).collect())),
            kind.prop_map(|(name, body)| Value::Object(Map::from_iter([(name.to_owned(), body)]))),
        ]
    })
}

#[test]
fn no_query_whatever_ends_in_anything_but_an_answer_or_a_refusal() {
    let shop = shop(products());
    let view = shop.view();
    let answered = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(4_000));
    runner
        .run(&any_json(), |query| {
            let mut translator = Translator::new(&view.fields, 1_770_000_000_000);
            match translator.query(&query).and_then(|clause| shop.ask(&asked(clause))) {
                Ok(_) => answered.set(answered.get() + 1),
                Err(e) => prop_assert_eq!(e.kind(), crate::Kind::BadRequest, "{}: {}", query, e),
            }
            Ok(())
        })
        .expect("every query");
    assert!(answered.get() > 100, "only {} queries were answered", answered.get());
}
