//! Fields that are analysed in their own ways, highlights, explanations, and the limits of queries.

use std::collections::BTreeMap;

use super::super::SearchRequest;
use super::tests::{by, filter, keys, products, q, shop};
use super::*;
use crate::index::testing::{batch, change, def, options, record, text};
use crate::index::{Found, TableIndex};
use crate::record::{Analysis, Grams, Language, StopWords, TableDef};

const TITLES: [(&str, &str); 5] = [
    ("a", "The boiling Kettles of the crème"),
    ("b", "A boiler, old"),
    ("c", "Creme of kettledrums"),
    ("d", "Of the"),
    ("e", "Porcelain"),
];

fn analysed(synonyms: &std::path::Path) -> TableDef {
    let mut def = def();
    let title = def.fields.iter_mut().find(|f| f.name == "title").expect("a title");
    title.analysis = Analysis {
        language: Some(Language::English),
        stop_words: StopWords::OfLanguage,
        folding: true,
        synonyms: Some(synonyms.to_owned()),
        grams: None,
    };
    let grams = |min, max, inside| Analysis { grams: Some(Grams { min, max, inside }), ..Analysis::default() };
    title.variants = vec![
        ("exact".to_owned(), Analysis::default()),
        ("part".to_owned(), grams(3, 3, true)),
        ("start".to_owned(), grams(1, 5, false)),
    ];
    // Words without a field name are looked for in one field here.
    def.fields.retain(|f| f.name != "name");
    def
}

#[test]
fn a_field_is_found_in_every_way_that_it_is_indexed() {
    let dir = tempfile::tempdir().expect("a folder");
    let synonyms = dir.path().join("synonyms.txt");
    std::fs::write(&synonyms, "kettle, boiler\n").expect("written");
    let def = analysed(&synonyms);
    let (index, _) = TableIndex::open(Arc::new(def.clone()), options(&dir.path().join("index"))).expect("it opens");
    let mut stored = BTreeMap::new();
    for (key, title) in TITLES {
        let record = record(&def, key, &(BTreeMap::from([("title", text(title))]), BTreeMap::new()));
        let mut bytes = Vec::new();
        codec::encode(&record, &mut bytes);
        stored.insert(key.as_bytes().to_vec(), bytes);
        index.submit(batch(0, 1, vec![change(key, Some(record), false)])).expect("submitted");
        index.flush().expect("flushed");
    }
    let ask = |text: &str| {
        let fetch = |_: u32, keys: &[&[u8]]| Ok(keys.iter().map(|k| stored.get(*k).cloned()).collect());
        let request = SearchRequest { sort: by(&[("_key", false)]), highlight: vec!["title".to_owned()], ..q(text) };
        find(&index.view(), &request, read(&index.view(), &BTreeSet::from([0]), &request).expect("words"), &fetch)
            .expect("an answer")
    };
    let mut wrong = Vec::new();
    for (text, wanted) in [
        ("kettle", "a b"),
        ("boilers", "a b"),
        ("boil", "a"),
        ("CREME", "a c"),
        ("crème kettle", "a"),
        ("\"kettle of creme\"", ""),
        ("\"kettles of the creme\"", "a"),
        ("title:kettl*", "a b c"),
        ("title:boil*", "a b"),
        ("the kettle", "a b"),
        ("title.exact:kettle", ""),
        ("title.exact:kettles", "a"),
        ("title.exact:the", "a d"),
        ("title.exact:\"of the\"", "a d"),
        ("title.start:kettl", "a c"),
        ("title.start:kettled", "a c"),
        ("title.start:po", "e"),
        ("title.start:orc", ""),
        ("title.part:cel", "e"),
        ("title.part:rcela", "e"),
        ("title.part:celx", ""),
    ] {
        let answer = ask(text);
        let found = keys(&answer).join(" ");
        if found != wanted {
            wrong.push(format!("{text} found {found:?}, expected {wanted:?}: {:?}", answer.warnings));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let piece = |text: &str| ask(text).hits[0].highlight.get("title").cloned().unwrap_or_default();
    assert_eq!(piece("boiler creme"), ["The boiling <em>Kettles</em> of the <em>crème</em>"]);
    assert_eq!(piece("title:kettledr*"), ["Creme of <em>kettledrums</em>"]);
    index.close().expect("closed");
    // Other words that mean the same are another index.
    let again = |def: TableDef| TableIndex::open(Arc::new(def), options(&dir.path().join("index"))).expect("it opens");
    let (index, found) = again(analysed(&synonyms));
    assert!(matches!(found, Found::Usable(_)), "{found:?}");
    index.close().expect("closed");
    drop(index);
    std::fs::write(&synonyms, "kettle, boiler, jug\n").expect("written");
    let (_, found) = again(analysed(&synonyms));
    assert!(matches!(&found, Found::Empty(why) if why.contains("search options")), "{found:?}");
}

#[test]
fn highlights_are_pieces_of_the_record_as_it_is_now_escaped_for_html() {
    let mut shop = shop(products());
    let request = |text: &str, highlight: &[&str]| SearchRequest {
        highlight: highlight.iter().map(|h| (*h).to_owned()).collect(),
        fields: Some(vec!["price".to_owned()]),
        sort: by(&[("_key", false)]),
        ..q(text)
    };
    let answer = shop.ask(&request("kettle", &["title", "name"])).expect("an answer");
    let shown = &answer.hits[0].highlight;
    assert_eq!(shown["title"], ["Red <em>kettle</em>"]);
    assert_eq!(shown["name"], ["Red <em>kettle</em>"]);
    let answer = shop.ask(&request("title:ket* lid", &["title", "name"])).expect("an answer");
    assert!(answer.hits.is_empty());
    let answer = shop.ask(&request("title:pa* lid", &["title"])).expect("an answer");
    assert_eq!(answer.hits[0].highlight["title"], ["Green <em>pan</em> &amp; <em>lid</em>"]);
    // A filter is no word that a person typed.
    let both = SearchRequest { filter: vec!["title:red".to_owned()], ..request("kettle", &["title"]) };
    assert_eq!(shop.ask(&both).expect("an answer").hits[0].highlight["title"], ["Red <em>kettle</em>"]);
    let mut newer = Vec::new();
    let changed = record(&def(), "p00", &(BTreeMap::from([("title", text("A <b>kettle</b>"))]), BTreeMap::new()));
    codec::encode(&changed, &mut newer);
    shop.stored.insert(b"p00".to_vec(), newer);
    let answer = shop.ask(&request("kettle", &["title"])).expect("an answer");
    assert_eq!(answer.hits[0].highlight["title"], ["A &lt;b&gt;<em>kettle</em>&lt;/b"]);
    for field in ["price", "brand", "nothing", "attrs.colour"] {
        let error = shop.ask(&request("kettle", &[field])).expect_err(field);
        assert!(error.kind() == crate::Kind::BadRequest && error.message().contains(field), "{error}");
    }
}

#[test]
fn a_score_is_explained_by_what_adds_up_to_it() {
    let shop = shop(products());
    let request = SearchRequest { explain: true, filter: vec!["live:true".to_owned()], limit: 5, ..q("red kettle^2") };
    let answer = shop.ask(&request).expect("an answer");
    assert!(!answer.hits.is_empty());
    for hit in &answer.hits {
        let told = hit.explain.as_ref().expect("an explanation");
        let value = told["value"].as_f64().expect("a value");
        assert!((value - f64::from(hit.score.expect("a score"))).abs() < 1e-4, "{told}");
        assert!(told["details"].as_array().is_some_and(|d| !d.is_empty()), "{told}");
    }
    assert!(shop.ask(&q("kettle")).expect("an answer").hits.iter().all(|h| h.explain.is_none()));
}

#[test]
fn only_the_first_hits_are_explained_and_none_for_nobody() {
    let shop = shop(products());
    let request = SearchRequest { explain: true, ..q("kettle OR red OR green") };
    let answer = shop.ask(&request).expect("an answer");
    let explained: Vec<bool> = answer.hits.iter().map(|hit| hit.explain.is_some()).collect();
    assert!(explained.len() > MOST_EXPLAINED);
    assert!(explained.iter().enumerate().all(|(at, explained)| *explained == (at < MOST_EXPLAINED)));
    // Stopped while the records are read.
    let fetch = |_: u32, keys: &[&[u8]]| {
        request.stop.raise();
        Ok(keys.iter().map(|k| shop.stored.get(*k).cloned()).collect())
    };
    let view = shop.view();
    let found =
        read(&view, &BTreeSet::from([0, 1, 2]), &request).and_then(|asked| find(&view, &request, asked, &fetch));
    assert_eq!(found.expect_err("stopped").kind(), crate::Kind::TimedOut);
}

#[test]
fn queries_beyond_the_limits_are_refused_with_the_limit() {
    let shop = shop(products());
    let words = (0..1_025).map(|i| format!("name:{i}")).collect::<Vec<_>>().join(" OR ");
    let patterns = (0..129).map(|i| format!("title:a{i}*")).collect::<Vec<_>>().join(" OR ");
    for (text, what) in [(words, "at most 1024"), (patterns, "at most 128")] {
        let error = shop.ask(&filter(&text)).expect_err(what);
        assert!(error.kind() == crate::Kind::BadRequest && error.message().contains(what), "{error}");
        let answer = shop.ask(&q(&text)).expect("an answer");
        assert!(answer.warnings.iter().any(|w| w.contains(what)), "{:?}", answer.warnings);
    }
    let half = |n: usize, of: &str| (0..n).map(|i| format!("{of}{i}")).collect::<Vec<_>>().join(" OR ");
    let cases = [
        (vec!["brand:a".to_owned(); 33], None, "at most 32"),
        (vec![half(600, "name:"), half(600, "name:")], None, "at most 1024"),
        (vec![half(600, "name:")], Some(serde_json::json!({"x": {"filter": half(600, "name:")}})), "at most 1024"),
    ];
    for (filter, aggs, what) in cases {
        let request = SearchRequest { filter, aggs, max_buckets: 9, ..SearchRequest::default() };
        let error = shop.ask(&request).expect_err(what);
        assert!(error.kind() == crate::Kind::BadRequest && error.message().contains(what), "{error}");
    }
    let view = shop.view();
    let target = view.fields.resolve("title").expect("a title");
    let term = crate::index::syntax::Term::from_field_text(target.field, "k");
    assert!(!view.has_more_terms(&term, 2).expect("an answer") && view.has_more_terms(&term, 0).expect("an answer"));
}
