use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tantivy::TERMINATED;

use super::super::masked::Masked;
use super::super::testing::{batch, change, def, options, titled};
use super::super::{Ordering, Sort, SortBy, Stop, TableIndex, View};
use super::*;
use crate::query::parse;

const DOCUMENTS: usize = 6_000;

/// The words of a document: `w2` in every second, `w3` in every third, and so on. Of the first segment alone is the document of `w0`.
const WORDS: [usize; 7] = [2, 3, 5, 7, 400, 5_000, 0];

fn has(n: usize, word: usize) -> bool {
    if word == 0 { n == 17 } else { n.is_multiple_of(word) }
}

fn is_gone(n: usize) -> bool {
    n % 11 == 4
}

fn key(n: usize) -> String {
    format!("k{n:05}")
}

fn title(n: usize) -> String {
    WORDS.iter().filter(|word| has(n, **word)).map(|word| format!("w{word} ")).collect()
}

/// Two segments, the first with a mask.
fn filled(dir: &std::path::Path) -> Arc<TableIndex> {
    let mut slow = options(dir);
    (slow.interval, slow.catch_up_interval) = (Duration::from_secs(3600), Duration::from_secs(3600));
    slow.commit_interval = slow.interval;
    let (index, _) = TableIndex::open_at(Arc::new(def()), slow, None).expect("the index opens");
    let put = |n: usize| change(&key(n), Some(titled(&def(), &key(n), &title(n))), false);
    let half = DOCUMENTS / 2;
    index.submit(batch(0, 1, (0..half).map(put).collect())).expect("submitted");
    index.flush().expect("flushed");
    let gone = (0..half).filter(|n| is_gone(*n)).map(|n| change(&key(n), None, true));
    index.submit(batch(0, 2, gone.chain((half..DOCUMENTS).map(put)).collect())).expect("submitted");
    index.flush().expect("flushed");
    index
}

fn parsed(view: &View, text: &str) -> Box<dyn Query> {
    parse::lenient(view, text, &mut parse::Spent::default()).expect("a query").query
}

/// The living documents of a segment that a query finds, whatever they score and whether sets are known or not.
fn found(view: &View, segment: &Masked, query: &dyn Query) -> Vec<DocId> {
    let scoring = || EnableScoring::disabled_from_searcher(view.blank());
    let sets = Sets::new(1 << 20);
    let unknown = taken(segment, &*query.weight(scoring()).expect("a weight"));
    for times in 1..3 {
        let weight = unscored(query, scoring(), &sets).expect("a weight");
        assert_eq!(taken(segment, &*weight), unknown, "{query:?} for the {times}. time");
    }
    unknown
}

/// What a weight hands over of living documents; none comes twice, and no block is too long.
fn taken(segment: &Masked, weight: &dyn Weight) -> Vec<DocId> {
    let mut all = Vec::new();
    let mut take = |docs: &[DocId]| {
        assert!(docs.len() <= BLOCK, "a block of {}", docs.len());
        all.extend_from_slice(docs);
    };
    weight.for_each_no_score(segment, &mut take).expect("an answer");
    assert!(all.is_sorted_by(|a, b| a < b), "out of order: {all:?}");
    let alive = segment.alive_bitset();
    all.retain(|doc| alive.is_none_or(|a| a.is_alive(*doc)));
    all
}

/// The same as the library has them.
fn by_library(view: &View, segment: &Masked, query: &Conjunction) -> Vec<DocId> {
    let weight = query.as_boolean().weight(EnableScoring::disabled_from_searcher(view.blank())).expect("a weight");
    let mut scorer = weight.scorer(segment, 1.0).expect("a scorer");
    let mut all = Vec::new();
    while scorer.doc() != TERMINATED {
        all.push(scorer.doc());
        scorer.advance();
    }
    let alive = segment.alive_bitset();
    all.retain(|doc| alive.is_none_or(|a| a.is_alive(*doc)));
    all
}

/// The keys that a search sorted by key finds, and how many it counts.
fn keys(view: &View, query: &dyn Query) -> (Vec<String>, Option<u64>) {
    let by_key = Ordering(vec![Sort {
        by: SortBy::Column("_key".to_owned(), crate::record::FieldType::Keyword),
        descending: false,
        missing_first: false,
    }]);
    let matches = view.search(query, by_key, None, DOCUMENTS, true, &Stop::default()).expect("an answer");
    let keys = matches.hits.iter().map(|hit| String::from_utf8_lossy(&hit.place.key).into_owned()).collect();
    (keys, matches.total)
}

#[test]
fn finds_what_matches_all_parts() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    let view = index.view();
    assert!(view.readers().len() > 1, "all in one segment");
    assert!(view.readers().iter().any(|r| r.alive_bitset().is_some()), "nothing is masked");
    let subsets = 1..1_usize << WORDS.len();
    for subset in subsets {
        let words: Vec<usize> = (0..WORDS.len()).filter(|i| subset >> i & 1 == 1).map(|i| WORDS[i]).collect();
        let query = |word: &usize| parsed(&view, &format!("title:w{word}"));
        let all = Conjunction::new(query(&words[0]), words[1..].iter().map(query).collect());
        let expected: Vec<String> = (0..DOCUMENTS)
            .filter(|n| !(is_gone(*n) && *n < DOCUMENTS / 2) && words.iter().all(|word| has(*n, *word)))
            .map(key)
            .collect();
        assert_eq!(keys(&view, &all), (expected.clone(), Some(expected.len() as u64)), "{words:?}");
        for segment in view.readers() {
            assert_eq!(found(&view, segment, &all), by_library(&view, segment, &all), "{words:?}");
        }
    }
}

#[test]
fn parts_may_be_of_any_kind() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    let view = index.view();
    let living = |n: &usize| !(is_gone(*n) && *n < DOCUMENTS / 2);
    let expect = |scored: &str, filters: &[&str], which: &dyn Fn(usize) -> bool| {
        let filters = filters.iter().map(|filter| parsed(&view, filter)).collect();
        let all = Conjunction::new(parsed(&view, scored), filters);
        let expected: Vec<String> = (0..DOCUMENTS).filter(living).filter(|n| which(*n)).map(key).collect();
        assert!(!expected.is_empty(), "{all:?} is to find something");
        assert_eq!(keys(&view, &all).0, expected, "{all:?}");
        let within = Conjunction::new(Box::new(all), vec![parsed(&view, "title:w5")]);
        let expected: Vec<String> =
            (0..DOCUMENTS).filter(living).filter(|n| which(*n) && has(*n, 5)).map(key).collect();
        assert!(!expected.is_empty(), "{within:?} is to find something");
        assert_eq!(keys(&view, &within).0, expected, "{within:?}");
    };
    expect("title:w2", &["title:w3 OR title:w7"], &|n| has(n, 2) && (has(n, 3) || has(n, 7)));
    expect("title:w2 title:w3", &["title:w7"], &|n| has(n, 42));
    expect("title:w2", &["NOT title:w3"], &|n| has(n, 2) && !has(n, 3));
    expect("title:w4*", &["title:w3"], &|n| has(n, 400) && has(n, 3));
    expect("title:w3", &["title:w*"], &|n| has(n, 3));
    expect("*", &["title:w3"], &|n| has(n, 3));
    expect("*", &["*"], &|_| true);
    expect("title:\"w2 w3\"", &["title:w7"], &|n| has(n, 42));
    let none = Conjunction::new(parsed(&view, "title:w2"), vec![parsed(&view, "title:w9999")]);
    assert_eq!(keys(&view, &none), (Vec::new(), Some(0)));
    expect("title:w2", &["_key:[k00100 TO k00200]"], &|n| has(n, 2) && (100..=200).contains(&n));
}

#[test]
fn scores_are_those_of_what_is_scored() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    let view = index.view();
    let scores = |query: &dyn Query| {
        let best = Ordering(vec![Sort { by: SortBy::Score, descending: true, missing_first: false }]);
        let matches = view.search(query, best, None, DOCUMENTS, true, &Stop::default()).expect("an answer");
        matches.hits.into_iter().map(|hit| (hit.place.key, hit.score)).collect::<Vec<_>>()
    };
    let alone = scores(&*parsed(&view, "title:w2"));
    let filtered = scores(&Conjunction::new(parsed(&view, "title:w2"), vec![parsed(&view, "title:w3")]));
    let threes: BTreeSet<Vec<u8>> = (0..DOCUMENTS).filter(|n| has(*n, 3)).map(|n| key(n).into_bytes()).collect();
    let expected: Vec<_> = alone.into_iter().filter(|(key, _)| threes.contains(key.as_slice())).collect();
    assert!(expected.len() > 100 && expected.iter().all(|(_, score)| score.is_some_and(|s| s > 0.0)));
    assert_eq!(filtered, expected);
}

#[test]
fn lists_of_similar_length_are_marked_and_others_looked_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    let view = index.view();
    let segment = view.readers().first().expect("a segment");
    let similar = |words: &[usize]| {
        let part = |word: &usize| {
            let query = parsed(&view, &format!("title:w{word}"));
            let weight = query.weight(EnableScoring::disabled_from_searcher(view.blank())).expect("a weight");
            Part { word: query.downcast_ref::<TermQuery>().map(|word| word.term().clone()), weight }
        };
        let parts: Vec<_> = words.iter().map(part).collect();
        let mut lists: Vec<_> = parts.iter().filter_map(|part| part.open(segment).expect("a list")).collect();
        assert_eq!(lists.len(), words.len(), "{words:?}");
        lists.sort_by_key(List::cost);
        are_similar(&lists, segment.max_doc())
    };
    assert!(similar(&[2, 3]) && similar(&[2, 3, 5]));
    assert!(!similar(&[2, 400]) && !similar(&[2, 3, 400]));
    assert!(!similar(&[5_000, 5_000]), "a set of bits for two documents");
    let none = Part {
        word: Some(Term::from_field_text(view.fields.of_words()[0].field, "w9999")),
        weight: Box::new(tantivy::query::EmptyWeight),
    };
    assert!(none.open(segment).expect("an answer").is_none(), "nothing is not a list");
    // What is seldom begun soon is left to the library.
    assert!(is_soon_begun(&*parsed(&view, "title:w2 OR title:w3")));
    assert!(!is_soon_begun(&*parsed(&view, "title:\"w2 w3\"")));
    assert!(!is_soon_begun(&AllQuery));
    let filtered = Conjunction::new(Box::new(AllQuery), vec![parsed(&view, "title:w2")]);
    assert_eq!(demanded(&filtered).len(), 1, "everything demands nothing");
}

#[test]
fn sets_of_longer_lists_are_kept_and_used() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    let view = index.view();
    let segment = view.readers().iter().find(|r| r.alive_bitset().is_some()).expect("a masked segment");
    let sets = Sets::new(1 << 20);
    let found = |words: &[usize]| {
        let mut words = words.iter().map(|word| parsed(&view, &format!("title:w{word}")));
        let all = Conjunction::new(words.next().expect("a word"), words.collect());
        let scoring = EnableScoring::disabled_from_searcher(view.blank());
        taken(segment, &*unscored(&all, scoring, &sets).expect("a weight")).len()
    };
    let term = |word: usize| {
        let query = parsed(&view, &format!("title:w{word}"));
        query.downcast_ref::<TermQuery>().expect("a word").term().clone()
    };
    let is_kept = |word: usize| sets.of(segment, Has::Whole, &term(word)).is_some();
    let both = found(&[2, 3]);
    assert!(both > 100, "{both} documents");
    assert!(is_kept(2) && !is_kept(3), "the longer one of both");
    assert_eq!(found(&[2, 5_000]), 1, "the very first has them all");
    assert!(!is_kept(5_000), "walked along, not marked");
    // A wrong set shows who goes by it, also where the other list is far shorter or longer.
    assert_eq!(found(&[2, 0]), 0, "17 is odd");
    sets.keep(segment, Has::Whole, &term(2), &Arc::new(Set::new(BitSet::with_max_value_and_full(segment.max_doc()))));
    let threes = found(&[3]);
    assert_eq!([found(&[2, 3]), found(&[3, 2]), found(&[2, 0])], [threes, threes, 1]);
}

#[test]
fn where_one_of_none_must_match_nothing_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    let view = index.view();
    let words = vec![(Occur::Must, parsed(&view, "title:w2")), (Occur::Must, parsed(&view, "title:w5"))];
    let one_of_none = BooleanQuery::with_minimum_required_clauses(words, 1);
    let all = Conjunction::new(Box::new(one_of_none), vec![parsed(&view, "title:w3")]);
    assert_eq!(keys(&view, &all), (Vec::new(), Some(0)));
}

#[test]
fn what_begins_so_explains_what_it_finds() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    let view = index.view();
    let query = parsed(&view, "title:w4*");
    assert!(query.is::<Beginning>(), "{query:?}");
    let explainer = view.explainer(&*query).expect("an explainer");
    let explains = |n: usize| explainer.explain(key(n).as_bytes()).expect("an answer").is_some();
    // The last has the word, and is gone.
    assert_eq!([800, 5_600, 0, 399, 401, 5_999, 400].map(explains), [true, true, true, false, false, false, false]);
}
