use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::orders::{MISSED, Orders};
use super::super::testing::{batch, change, def, options, record, text};
use super::super::{Matches, Ordering, Place, Stop, TableIndex, View};
use super::*;
use crate::query::parse;
use crate::record::{FieldType, Record, Value};

/// Documents of one segment.
const BATCH: usize = 9_000;
const DOCUMENTS: usize = 2 * BATCH;
const PATIENCE: Duration = Duration::from_secs(60);

/// Words by which documents have them: `w2` every second, `w3` every third; the last one too few for a set.
const WORDS: [usize; 3] = [2, 3, 1_000];

fn key(n: usize) -> String {
    format!("k{:05}", n * 7_919 % 20_000)
}

/// Many documents share a price, and some have none.
fn price(n: usize) -> Option<usize> {
    (n % 7 != 3).then_some(n * 613 % 400)
}

fn name(n: usize) -> Option<String> {
    (n % 5 != 1).then(|| format!("n{:03}", n * 331 % 700))
}

fn product(n: usize) -> Record {
    let title: String = WORDS.iter().filter(|word| n.is_multiple_of(**word)).map(|word| format!("w{word} ")).collect();
    let mut declared = BTreeMap::from([("title", text(&format!("{title}all")))]);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    declared.extend(price(n).map(|price| ("price", Value::Float(price as f64))));
    declared.extend(name(n).map(|name| ("name", text(&name))));
    record(&def(), &key(n), &(declared, BTreeMap::new()))
}

fn is_gone(n: usize) -> bool {
    n % 11 == 4
}

/// Two segments, the first with a mask.
fn filled(dir: &std::path::Path) -> Arc<TableIndex> {
    let mut slow = options(dir);
    (slow.interval, slow.catch_up_interval) = (Duration::from_secs(3600), Duration::from_secs(3600));
    (slow.commit_interval, slow.queue_memory) = (slow.interval, 8 << 20);
    let (index, _) = TableIndex::open_at(Arc::new(def()), slow, None).expect("the index opens");
    let put = |n: usize| change(&key(n), Some(product(n)), false);
    index.submit(batch(0, 1, (0..BATCH).map(put).collect())).expect("submitted");
    index.flush().expect("flushed");
    let gone = (0..BATCH).filter(|n| is_gone(*n)).map(|n| change(&key(n), None, true));
    index.submit(batch(0, 2, gone.chain((BATCH..DOCUMENTS).map(put)).collect())).expect("submitted");
    index.flush().expect("flushed");
    index
}

fn lives(n: usize) -> bool {
    n >= BATCH || !is_gone(n)
}

/// What is sorted by: the column, whether the largest comes first.
type Asked = (&'static str, FieldType, bool);

const ORDERS: [Asked; 6] = [
    ("price", FieldType::Float, false),
    ("price", FieldType::Float, true),
    ("name", FieldType::Text, false),
    ("name", FieldType::Text, true),
    ("_key", FieldType::Keyword, false),
    ("_key", FieldType::Keyword, true),
];

fn sort((column, kind, descending): Asked) -> Sort {
    Sort { by: SortBy::Column(column.to_owned(), kind), descending, missing_first: false }
}

/// Keys of what lives and has these words, in order.
fn expected(words: &[usize], (column, _, descending): Asked, lives: impl Fn(usize) -> bool) -> Vec<String> {
    let value = |n: usize| match column {
        "price" => price(n).map(|price| format!("{price:05}")),
        "name" => name(n),
        _ => Some(key(n)),
    };
    let has = |n: &usize| lives(*n) && words.iter().all(|word| n.is_multiple_of(*word));
    let mut all: Vec<(Option<String>, String)> = (0..DOCUMENTS).filter(has).map(|n| (value(n), key(n))).collect();
    all.sort_by(|(a, a_key), (b, b_key)| {
        let values = match (a, b) {
            (Some(a), Some(b)) if descending => b.cmp(a),
            (Some(a), Some(b)) => a.cmp(b),
            _ => a.is_none().cmp(&b.is_none()),
        };
        values.then_with(|| a_key.cmp(b_key))
    });
    all.into_iter().map(|(_, key)| key).collect()
}

fn query(view: &View, words: &[usize]) -> Box<dyn tantivy::query::Query> {
    let words: Vec<String> = words.iter().map(|word| format!("title:w{word}")).collect();
    parse::lenient(view, &words.join(" AND "), &mut parse::Spent::default()).expect("a query").query
}

fn search(view: &View, words: &[usize], order: &[Sort], after: Option<Place>, limit: usize, count: bool) -> Matches {
    let query = query(view, words);
    view.search(&*query, Ordering(order.to_vec()), after, limit, count, &Stop::default()).expect("an answer")
}

fn keys(found: &Matches) -> Vec<String> {
    found.hits.iter().map(|hit| String::from_utf8(hit.place.key.clone()).expect("a text")).collect()
}

/// Sorts until the order of each segment is kept.
fn learn(view: &View, asked: Asked) {
    let started = Instant::now();
    let is_known = |segment: &Masked| view.kept().orders.knows(segment, asked.0);
    while !view.readers().iter().filter(|segment| segment.max_doc() >= LEAST).all(is_known) {
        search(view, &[2], &[sort(asked)], None, 1, false);
        assert!(started.elapsed() < PATIENCE, "the order of {asked:?} is not made");
    }
}

/// Searches find what they should, however many are asked for, and page by page.
fn finds(view: &View, words: &[usize], asked: Asked, lives: &dyn Fn(usize) -> bool) {
    let expected = expected(words, asked, lives);
    let order = [sort(asked)];
    for (limit, count) in [(1, true), (10, false), (300, true), (DOCUMENTS, true)] {
        let found = search(view, words, &order, None, limit, count);
        assert!(keys(&found).iter().eq(expected.iter().take(limit)), "{words:?} {asked:?} {limit}");
        assert_eq!(found.total, count.then_some(expected.len() as u64), "{words:?} {asked:?} {limit}");
    }
    let (mut all, mut after) = (Vec::new(), None);
    let page = expected.len() / 5 + 1;
    loop {
        let found = search(view, words, &order, after, page, true);
        assert_eq!(found.total, Some(expected.len() as u64), "{words:?} {asked:?} behind {}", all.len());
        all.extend(keys(&found));
        after = found.hits.last().map(|hit| hit.place.clone());
        if found.hits.len() < page {
            break;
        }
    }
    assert_eq!(all, expected, "{words:?} {asked:?} page by page");
}

#[test]
fn what_is_found_by_walking_is_what_is_found_by_looking_at_all() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    let view = index.view();
    assert!(view.readers().iter().filter(|segment| segment.max_doc() >= LEAST).count() > 1, "no two large segments");
    for asked in ORDERS {
        let all = |view: &View, lives: &dyn Fn(usize) -> bool| {
            for words in [&[][..], &[2], &[2, 3], &[3, 1_000]] {
                finds(view, words, asked, lives);
            }
        };
        all(&view, &lives);
        learn(&view, asked);
        all(&view, &lives);
    }
    // The orders stay those of the segments when more is gone.
    let gone = |n: usize| n.is_multiple_of(13) && lives(n);
    let changes = (0..DOCUMENTS).filter(|n| gone(*n)).map(|n| change(&key(n), None, true)).collect();
    index.submit(batch(0, 3, changes)).expect("submitted");
    index.flush().expect("flushed");
    let view = index.view();
    for asked in ORDERS {
        assert!(view.readers().iter().any(|segment| view.kept().orders.knows(segment, asked.0)), "{asked:?}");
        finds(&view, &[2, 3], asked, &|n| lives(n) && !gone(n));
    }
}

#[test]
fn a_second_sort_key_decides_between_equals() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    let view = index.view();
    let order = [sort(ORDERS[1]), sort(ORDERS[2])];
    let before = search(&view, &[2], &order, None, 500, true);
    learn(&view, ORDERS[1]);
    assert_eq!(search(&view, &[2], &order, None, 500, true), before);
    let next = before.hits.last().map(|hit| hit.place.clone());
    let all = search(&view, &[2], &order, None, 1_000, false);
    assert_eq!(search(&view, &[2], &order, next, 500, false).hits, all.hits[500..]);
}

#[test]
fn walking_is_for_frequent_words_and_where_missing_values_come_last() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    let view = index.view();
    learn(&view, ORDERS[0]);
    // A wrong order shows who goes by it: nothing has a price, and nothing has none.
    for segment in view.readers() {
        view.kept().orders.keep(segment, "price", InOrder::nothing());
    }
    let count = |words: &[usize], order: Sort, limit| search(&view, words, &[order], None, limit, true).hits.len();
    let missing_first = Sort { missing_first: true, ..sort(ORDERS[0]) };
    assert_eq!(count(&[2], sort(ORDERS[0]), 10), 0, "by price");
    assert_eq!(count(&[2], missing_first, 10), 10, "missing values first");
    assert_eq!(count(&[1_000], sort(ORDERS[0]), 10), 10, "a rare word");
    assert_eq!(count(&[2], sort(ORDERS[0]), DOCUMENTS), expected(&[2], ORDERS[0], lives).len(), "nearly all");
    let query = parse::lenient(&view, "title:w2 OR title:w3", &mut parse::Spent::default()).expect("a query").query;
    let found = view.search(&*query, Ordering(vec![sort(ORDERS[0])]), None, 10, true, &Stop::default());
    assert_eq!(found.expect("an answer").hits.len(), 10, "another kind of query");
}

#[test]
fn an_order_is_made_when_it_was_missed_often_and_has_room() {
    let dir = tempfile::tempdir().expect("a folder");
    let index = filled(dir.path());
    let view = index.view();
    let segment = &view.readers()[0];
    let Source::Numbers(column) = Source::open(segment, &sort(ORDERS[0]).by).expect("a column") else {
        panic!("a price is a number")
    };
    let ask = |orders: &Orders| orders.of(segment, "price", &column);
    let bytes = u64::from(segment.max_doc()) * 4;
    let (small, large) = (Orders::new(2 * bytes - 2), Orders::new(2 * bytes + 1_000));
    for _ in 0..2 * MISSED {
        assert!(ask(&small).is_none());
    }
    assert_eq!(small.missed(), 0, "more than half of the room");
    for n in 1..MISSED {
        assert!(ask(&large).is_none());
        assert_eq!(large.missed(), n);
    }
    let started = Instant::now();
    let order = loop {
        assert!(started.elapsed() < PATIENCE, "no order is made");
        match ask(&large) {
            Some(order) => break order,
            None => std::thread::yield_now(),
        }
    };
    let mut all: Vec<DocId> = order.valued().iter().chain(order.missing()).copied().collect();
    let values: Vec<Option<u64>> = order.valued().iter().map(|doc| column.first(*doc)).collect();
    assert!(values.is_sorted() && values.iter().all(Option::is_some), "out of order");
    assert!(order.missing().iter().all(|doc| column.first(*doc).is_none()), "missing, with a value");
    all.sort_unstable();
    assert!(all.into_iter().eq(0..segment.max_doc()), "each document once");
}
