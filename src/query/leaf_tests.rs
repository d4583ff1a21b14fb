//! Searches against naive filtering over the same records.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::{MOST_SORT_KEYS, SortKey};
use super::*;
use crate::index::TableIndex;
use crate::index::testing::{Members, batch, change, def, options, record, text};
use crate::record::Value;

#[derive(Clone, Debug, Default)]
pub(super) struct Product {
    pub(super) key: String,
    pub(super) title: &'static str,
    pub(super) brand: Option<&'static str>,
    pub(super) price: Option<f64>,
    pub(super) sold: Option<i64>,
    pub(super) at: Option<i64>,
    pub(super) live: Option<bool>,
    pub(super) tags: Vec<&'static str>,
    pub(super) colour: Option<&'static str>,
    pub(super) size: Option<i64>,
}

impl Product {
    pub(super) fn members(&self) -> Members {
        let mut declared = BTreeMap::from([("title", text(self.title)), ("name", text(self.title))]);
        declared.extend(self.brand.map(|b| ("brand", text(b))));
        declared.extend(self.price.map(|p| ("price", Value::Float(p))));
        declared.extend(self.sold.map(|n| ("sold", Value::Int(n))));
        declared.extend(self.at.map(|ms| ("at", Value::Int(ms))));
        declared.extend(self.live.map(|b| ("live", Value::Bool(b))));
        if !self.tags.is_empty() {
            declared.insert("tags", Value::Array(self.tags.iter().map(|t| text(t)).collect()));
        }
        declared.extend(self.colour.map(|c| ("attrs", Value::Object(vec![("colour".to_owned(), text(c))]))));
        let dynamic = self.size.map(|n| ("size", Value::Int(n))).into_iter().collect();
        (declared, dynamic)
    }
    pub(super) fn has(&self, word: &str) -> bool {
        self.title.to_lowercase().split(|c: char| !c.is_alphanumeric()).any(|w| w == word)
    }
}

/// Day `n` of 2026, at noon, milliseconds.
const fn day(n: i64) -> i64 {
    1_767_225_600_000 + (n - 1) * 86_400_000 + 43_200_000
}

pub(super) fn products() -> Vec<Product> {
    let titles = ["Red kettle", "Blue kettle, large", "Red pan", "Green pan & lid", "Kettles and pans", "Wi-Fi lamp"];
    let brands = [Some("Acme"), Some("New York Tools"), None, Some("acme"), Some("Bolt")];
    (0..60_i64)
        .map(|i| {
            let n = usize::try_from(i).expect("small");
            Product {
                key: format!("p{i:02}"),
                title: titles[n % titles.len()],
                brand: brands[n % brands.len()],
                price: (i % 7 != 0).then_some([9.5, 20.0, -3.25, 100.0][n % 4]),
                sold: (i % 3 != 0).then_some(i % 11 - 5),
                at: (i % 4 != 0).then_some(day(i % 9 + 1)),
                live: (i % 5 != 1).then_some(i % 2 == 0),
                tags: ["new", "sale", "old"][..n % 4 % 3].to_vec(),
                colour: (i % 2 == 0).then_some(["red", "dark blue"][n / 2 % 2]),
                size: (i % 3 == 0).then_some(i % 6),
            }
        })
        .collect()
}

pub(super) struct Shop {
    pub(super) index: Arc<TableIndex>,
    /// What is asked, if not whatever is shown at the time: scores change when segments are merged.
    pub(super) held: Option<Arc<View>>,
    pub(super) stored: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) products: Vec<Product>,
    _dir: TempDir,
}

pub(super) fn partition(i: usize) -> u32 {
    u32::try_from(i % 3).expect("small")
}

/// Products over three partitions and several segments, with deleted copies behind them.
pub(super) fn shop(products: Vec<Product>) -> Shop {
    let dir = tempfile::tempdir().expect("a folder");
    let (index, _) = TableIndex::open(Arc::new(def()), options(dir.path())).expect("the index opens");
    let mut stored = BTreeMap::new();
    for (round, part) in products.chunks(products.len() / 4 + 1).enumerate() {
        for (i, p) in part.iter().enumerate() {
            let all = i + round * (products.len() / 4 + 1);
            let old = Product { title: "stale red kettle", ..Product::default() };
            let new = record(&def(), &p.key, &p.members());
            let mut bytes = Vec::new();
            codec::encode(&new, &mut bytes);
            stored.insert(p.key.clone().into_bytes(), bytes);
            if i % 2 == 0 {
                let old = record(&def(), &p.key, &old.members());
                index.submit(batch(partition(all), 1, vec![change(&p.key, Some(old), false)])).expect("submitted");
            }
            if i % 8 == 0 {
                index.flush().expect("flushed");
            }
            index.submit(batch(partition(all), 2, vec![change(&p.key, Some(new), i % 2 == 0)])).expect("submitted");
        }
        index.flush().expect("flushed");
    }
    Shop { held: Some(index.view()), index, stored, products, _dir: dir }
}

impl Shop {
    pub(super) fn view(&self) -> Arc<View> {
        self.held.clone().unwrap_or_else(|| self.index.view())
    }
    pub(super) fn ask_of(&self, partitions: &[u32], request: &SearchRequest) -> Result<SearchAnswer> {
        let fetch = |_: u32, keys: &[&[u8]]| Ok(keys.iter().map(|k| self.stored.get(*k).cloned()).collect());
        let view = self.view();
        let partitions = partitions.iter().copied().collect();
        read(&view, &partitions, request).and_then(|asked| find(&view, request, asked, &fetch))
    }
    pub(super) fn ask(&self, request: &SearchRequest) -> Result<SearchAnswer> {
        self.ask_of(&[0, 1, 2], request)
    }
    pub(super) fn wanted(&self, keep: impl Fn(&Product) -> bool) -> Vec<String> {
        self.products.iter().filter(|p| keep(p)).map(|p| p.key.clone()).collect()
    }
}

pub(super) fn keys(answer: &SearchAnswer) -> Vec<String> {
    answer.hits.iter().map(|h| String::from_utf8(h.place.key.clone()).expect("a key")).collect()
}

pub(super) fn sorted(answer: &SearchAnswer) -> Vec<String> {
    let mut keys = keys(answer);
    keys.sort();
    keys
}

pub(super) fn q(text: &str) -> SearchRequest {
    SearchRequest { q: Some(text.to_owned()), limit: 1000, ..SearchRequest::default() }
}

pub(super) fn filter(text: &str) -> SearchRequest {
    SearchRequest { filter: vec![text.to_owned()], limit: 1000, ..SearchRequest::default() }
}

pub(super) type Keep = fn(&Product) -> bool;

/// Queries, and what each selects.
pub(super) fn cases() -> Vec<(&'static str, Keep)> {
    vec![
        ("kettle", |p| p.has("kettle")),
        ("KETTLE red", |p| p.has("kettle") && p.has("red")),
        ("red OR green", |p| p.has("red") || p.has("green")),
        ("red OR green pan", |p| (p.has("red") || p.has("green")) && p.has("pan")),
        ("large blue AND kettle", |p| p.has("large") && p.has("blue") && p.has("kettle")),
        ("red -kettle", |p| p.has("red") && !p.has("kettle")),
        ("-kettle", |p| !p.has("kettle")),
        ("NOT (red OR blue)", |p| !p.has("red") && !p.has("blue")),
        ("\"blue kettle\"", |p| p.title.starts_with("Blue kettle")),
        ("\"kettle blue\"", |_| false),
        ("wi-fi", |p| p.has("wi")),
        ("ket*", |p| p.has("kettle") || p.has("kettles")),
        ("kettel~1", |p| p.has("kettle")),
        ("title:pan", |p| p.has("pan")),
        ("brand:Acme", |p| p.brand == Some("Acme")),
        ("Acme", |p| p.brand == Some("Acme")),
        ("brand:acme OR brand:Bolt", |p| matches!(p.brand, Some("acme" | "Bolt"))),
        ("brand:\"New York Tools\"", |p| p.brand == Some("New York Tools")),
        ("brand:New*", |p| p.brand == Some("New York Tools")),
        ("brand: IN [Acme Bolt]", |p| matches!(p.brand, Some("Acme" | "Bolt"))),
        ("brand:[Acme TO Bolt]", |p| p.brand.is_some_and(|b| ("Acme"..="Bolt").contains(&b))),
        ("brand:{Acme TO *}", |p| p.brand.is_some_and(|b| b > "Acme")),
        // Values of another field, whole, by their beginning and nearly.
        ("brand:sale", |_| false),
        ("brand:sal*", |_| false),
        ("brand:salt~1", |_| false),
        ("tags:salt~1", |p| p.tags.contains(&"sale")),
        ("brand:*", |p| p.brand.is_some()),
        ("NOT brand:*", |p| p.brand.is_none()),
        ("price:[9.5 TO 20]", |p| p.price.is_some_and(|n| (9.5..=20.0).contains(&n))),
        ("price:{9.5 TO 100}", |p| p.price.is_some_and(|n| n > 9.5 && n < 100.0)),
        ("price:<0", |p| p.price.is_some_and(|n| n < 0.0)),
        ("sold:[-2 TO *]", |p| p.sold.is_some_and(|n| n >= -2)),
        ("sold:>=3", |p| p.sold.is_some_and(|n| n >= 3)),
        ("sold:-2", |p| p.sold == Some(-2)),
        ("sold: IN [1 2]", |p| matches!(p.sold, Some(1 | 2))),
        ("sold:[5 TO 1]", |_| false),
        ("live:true", |p| p.live == Some(true)),
        ("live:false", |p| p.live == Some(false)),
        ("at:2026-01-03", |p| p.at == Some(day(3))),
        ("at:\"2026-01-03T12:00:00Z\"", |p| p.at == Some(day(3))),
        ("at:\"2026-01-03T12:00:00.001Z\"", |_| false),
        ("at:[2026-01-02 TO 2026-01-04]", |p| p.at.is_some_and(|t| (day(2)..=day(4)).contains(&t))),
        ("at:{2026-01-02 TO 2026-01-04}", |p| p.at == Some(day(3))),
        ("at:>2026-01-08", |p| p.at.is_some_and(|t| t >= day(9))),
        ("at:[2026-01-03T12:00:00Z TO 2026-01-03T12:00:00Z]", |p| p.at == Some(day(3))),
        ("tags:sale", |p| p.tags.contains(&"sale")),
        ("tags:new tags:sale", |p| p.tags.contains(&"new") && p.tags.contains(&"sale")),
        ("attrs.colour:blue", |p| p.colour == Some("dark blue")),
        ("attrs.colour:da*", |p| p.colour == Some("dark blue")),
        ("attrs.colour:*", |p| p.colour.is_some()),
        ("size:3", |p| p.size == Some(3)),
        ("size:[0 TO 2]", |p| p.size.is_some_and(|n| n <= 2)),
        // Ends that are written in different ways.
        ("size:[0 TO 2.5]", |p| p.size.is_some_and(|n| n <= 2)),
        ("size:[0.5 TO 3]", |p| p.size == Some(3)),
        ("size:{0 TO 3.0}", |p| p.size.is_some_and(|n| n > 0 && n < 3)),
        ("size:[0 TO 3.5}", |p| p.size.is_some_and(|n| n <= 3)),
        ("size:[1 TO 18446744073709551615]", |p| p.size.is_some_and(|n| n >= 1)),
        ("size:*", |p| p.size.is_some()),
        ("sku:p07", |p| p.key == "p07"),
        ("_key:p07 OR p08", |p| p.key == "p07" || p.key == "p08"),
        ("sku:p0*", |p| p.key.starts_with("p0")),
        ("(red AND kettle) OR (green AND lid)", |p| {
            (p.has("red") && p.has("kettle")) || (p.has("green") && p.has("lid"))
        }),
        ("title:(red kettle)", |p| p.has("red") && p.has("kettle")),
        ("kettle^3 red", |p| p.has("kettle") && p.has("red")),
        ("*", |_| true),
    ]
}

#[test]
fn words_and_filters_find_what_naive_filtering_finds() {
    let shop = shop(products());
    for (text, keep) in cases() {
        let expected = shop.wanted(keep);
        for request in [q(text), filter(text)] {
            let answer = shop.ask(&request).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(sorted(&answer), expected, "{text}");
            assert_eq!(answer.total, Some(expected.len() as u64), "{text}");
            assert!(answer.warnings.is_empty(), "{text}: {:?}", answer.warnings);
        }
    }
}

#[test]
fn people_get_answers_and_warnings_where_filters_give_errors() {
    let shop = shop(products());
    let cases: Vec<(&str, Keep)> = vec![
        ("red AND (kettle", |p| p.has("red") && p.has("kettle")),
        ("red price:cheap", |p| p.has("red")),
        ("red sold:[a TO b]", |p| p.has("red")),
        ("red at:soon", |p| p.has("red")),
        ("red /ke.*/", |p| p.has("red")),
        ("red kettle~9", |p| p.has("red")),
        ("red [1 TO 2]", |p| p.has("red")),
    ];
    for (text, keep) in cases {
        let answer = shop.ask(&q(text)).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(sorted(&answer), shop.wanted(keep), "{text}");
        assert!(!answer.warnings.is_empty(), "{text}");
        let error = shop.ask(&filter(text)).expect_err(text);
        assert_eq!(error.kind(), crate::Kind::BadRequest, "{text}: {error}");
        assert!(error.message().starts_with("filter[0]: "), "{error}");
    }
    let stray = shop.ask(&q("red kettle\"")).expect("an answer");
    assert_eq!(sorted(&stray), shop.wanted(|p| p.has("red") && p.has("kettle")));
    let error = shop.ask(&filter("red kettle\"")).expect_err("a stray quote");
    assert!(error.message().contains("quote at position 10"), "{error}");
    let signs = shop.ask(&q("pan & lid")).expect("an answer");
    assert_eq!(sorted(&signs), shop.wanted(|p| p.has("pan") && p.has("lid")));
    let nothing = shop.ask(&q("price:cheap")).expect("an answer");
    assert_eq!((nothing.total, nothing.warnings.len()), (Some(0), 1));
    let blank = shop.ask(&q("  ")).expect("an answer");
    assert_eq!(blank.total, Some(60));
}

#[test]
fn filter_errors_name_the_text_the_place_and_what_was_expected() {
    let shop = shop(products());
    let message = |text: &str| shop.ask(&filter(text)).expect_err(text).message().to_owned();
    for (text, parts) in [
        ("price:cheap", ["price", "a number", "cheap"]),
        ("sold:1.5", ["sold", "an integer", "1.5"]),
        ("live:maybe", ["live", "true or false", "maybe"]),
        ("at:soon", ["at", "2026-01-31", "soon"]),
        ("title:(a", ["title", "position 8", "expected ')'"]),
        ("price:[1 TO 2", ["price", "position 13", "range"]),
        ("title:\"&\"", ["title", "no word", "&"]),
        ("_partition:x", ["_partition", "an integer", "x"]),
        ("live:[false TO *]", ["live", "begin or end", "false"]),
        ("size:[1 TO soon]", ["size", "of different types", "soon"]),
        ("size:[2026-01-31T12:00:00Z TO 7]", ["size", "of different types", "7"]),
        ("attrs.colour:[true TO x]", ["attrs.colour", "begin or end", "true"]),
    ] {
        let found = message(text);
        assert!(parts.iter().all(|p| found.contains(p)), "{text}: {found}");
    }
    let mut closed = def();
    closed.dynamic = crate::record::Dynamic::Store;
    closed.fields[2].index = false;
    let dir = tempfile::tempdir().expect("a folder");
    let (index, _) = TableIndex::open(Arc::new(closed), options(dir.path())).expect("the index opens");
    let message = |text| {
        parse::strict(&index.view(), "filter[1]", text, &mut Spent::default()).expect_err(text).message().to_owned()
    };
    let unknown = message("colour:red");
    assert!(unknown.contains("\"colour\"") && unknown.contains("price") && unknown.contains("sku"), "{unknown}");
    assert!(message("brand:Acme").contains("index = false"));
    let words = parse::lenient(&index.view(), "12:30 colour:red", &mut Spent::default()).expect("a query");
    assert_eq!(words.warnings.len(), 2, "{:?}", words.warnings);
}

pub(super) fn by(keys: &[(&str, bool)]) -> Vec<SortKey> {
    keys.iter().map(|(f, d)| SortKey { field: (*f).to_owned(), descending: *d, missing_first: false }).collect()
}

#[test]
fn sorting_puts_missing_values_last_and_ends_with_the_key() {
    let shop = shop(products());
    let wanted = |compare: &dyn Fn(&Product, &Product) -> std::cmp::Ordering| {
        let mut all = shop.products.clone();
        all.sort_by(|a, b| compare(a, b).then(a.key.cmp(&b.key)));
        all.into_iter().map(|p| p.key).collect::<Vec<_>>()
    };
    let asc = |o: Option<i64>| (o.is_none(), o);
    let desc = |o: Option<i64>| (o.is_none(), Reverse(o));
    let cents = |p: &Product| p.price.map(|n| (n * 100.0) as i64);
    let low = |p: &Product| (p.tags.is_empty(), p.tags.iter().min().copied());
    let high = |p: &Product| (p.tags.is_empty(), Reverse(p.tags.iter().max().copied()));
    type Compare<'a> = Box<dyn Fn(&Product, &Product) -> std::cmp::Ordering + 'a>;
    let cases: Vec<(Vec<SortKey>, Compare<'_>)> = vec![
        (by(&[("sold", false)]), Box::new(|a, b| asc(a.sold).cmp(&asc(b.sold)))),
        (by(&[("sold", true)]), Box::new(|a, b| desc(a.sold).cmp(&desc(b.sold)))),
        (by(&[("price", true)]), Box::new(|a, b| desc(cents(a)).cmp(&desc(cents(b))))),
        (by(&[("price", false)]), Box::new(|a, b| asc(cents(a)).cmp(&asc(cents(b))))),
        (
            by(&[("at", true), ("sold", false)]),
            Box::new(|a, b| desc(a.at).cmp(&desc(b.at)).then(asc(a.sold).cmp(&asc(b.sold)))),
        ),
        (by(&[("brand", false)]), Box::new(|a, b| (a.brand.is_none(), a.brand).cmp(&(b.brand.is_none(), b.brand)))),
        (
            by(&[("brand", true)]),
            Box::new(|a, b| (a.brand.is_none(), Reverse(a.brand)).cmp(&(b.brand.is_none(), Reverse(b.brand)))),
        ),
        (
            by(&[("live", true), ("name", false), ("price", true)]),
            Box::new(|a, b| {
                (a.live.is_none(), Reverse(a.live), a.title, desc(cents(a))).cmp(&(
                    b.live.is_none(),
                    Reverse(b.live),
                    b.title,
                    desc(cents(b)),
                ))
            }),
        ),
        (by(&[("tags", false)]), Box::new(move |a, b| low(a).cmp(&low(b)))),
        (by(&[("tags", true)]), Box::new(move |a, b| high(a).cmp(&high(b)))),
        (by(&[("_key", true)]), Box::new(|a, b| b.key.cmp(&a.key))),
        (by(&[("sku", false)]), Box::new(|a, b| a.key.cmp(&b.key))),
        (Vec::new(), Box::new(|a, b| a.key.cmp(&b.key))),
    ];
    for (sort, compare) in cases {
        let expected = wanted(&compare);
        for (limit, count) in [(1000, Count::Exact), (17, Count::Exact), (17, Count::None), (1, Count::None)] {
            let request = SearchRequest { sort: sort.clone(), limit, count, ..SearchRequest::default() };
            let found = keys(&shop.ask(&request).expect("an answer"));
            assert_eq!(found, expected[..limit.min(60)], "{sort:?} {limit}");
        }
    }
}

#[test]
fn answers_of_several_leaves_are_put_in_order_by_the_places_of_hits() {
    let shop = shop(products());
    let orders = [
        by(&[]),
        by(&[("sold", true), ("name", false)]),
        by(&[("brand", true), ("live", false)]),
        by(&[("tags", false), ("price", true)]),
        by(&[("_key", true)]),
        by(&[("at", false), ("_score", true)]),
    ];
    for sort in orders {
        let request = SearchRequest { sort, ..q("red OR kettle OR pan") };
        let whole = shop.ask(&request).expect("an answer");
        let leaves = [&[0][..], &[1], &[2]].map(|p| shop.ask_of(p, &request).expect("an answer").hits);
        let mut merged: Vec<Hit> = leaves.into_iter().flatten().collect();
        merged.sort_by(|a, b| a.place.cmp(&b.place));
        let places = |hits: &[Hit]| hits.iter().map(|h| h.place.clone()).collect::<Vec<_>>();
        assert_eq!(places(&merged), places(&whole.hits), "{:?}", request.sort);
        assert!(merged.len() == 40 && merged.windows(2).all(|w| w[0].place < w[1].place));
    }
}

#[test]
fn pruning_by_score_finds_what_counting_finds() {
    let shop = shop(products());
    for text in ["kettle", "red OR kettle", "pan OR lamp OR kettle", "title:red kettle"] {
        for limit in [1, 3, 10, 25] {
            let request = |count| SearchRequest { limit, count, ..q(text) };
            let (all, some) = (shop.ask(&request(Count::Exact)), shop.ask(&request(Count::None)));
            let (all, some) = (all.expect("an answer"), some.expect("an answer"));
            assert_eq!((keys(&all), some.total), (keys(&some), None), "{text} {limit}");
            let scores: Vec<f32> = all.hits.iter().filter_map(|h| h.score).collect();
            assert!(scores.len() == all.hits.len() && scores.windows(2).all(|w| w[0] >= w[1]), "{text}: {scores:?}");
            let tied = all.hits.windows(2).filter(|w| w[0].score == w[1].score);
            assert!(tied.clone().all(|w| w[0].place.key < w[1].place.key), "{text}");
        }
    }
}

#[test]
fn filters_do_not_change_scores() {
    let shop = shop(products());
    let plain = shop.ask(&q("kettle")).expect("an answer");
    let filtered = SearchRequest { filter: vec!["live:true".to_owned(), "title:kettle".to_owned()], ..q("kettle") };
    let filtered = shop.ask(&filtered).expect("an answer");
    assert_eq!(sorted(&filtered), shop.wanted(|p| p.has("kettle") && p.live == Some(true)));
    let score = |key: &[u8]| plain.hits.iter().find(|h| h.place.key == key).and_then(|h| h.score);
    for hit in &filtered.hits {
        assert_eq!(hit.score, score(&hit.place.key));
    }
}

#[test]
fn sort_errors_name_the_fields_that_can_be_sorted_by() {
    let shop = shop(products());
    let message = |field: &str| {
        let request = SearchRequest { sort: by(&[(field, false)]), limit: 1, ..SearchRequest::default() };
        let error = shop.ask(&request).expect_err(field);
        assert_eq!(error.kind(), crate::Kind::BadRequest);
        error.message().to_owned()
    };
    for field in ["title", "nothing", "attrs", "attrs.colour"] {
        let message = message(field);
        assert!(message.contains(&format!("{field:?}")) && message.contains("price"), "{message}");
        assert!(!message.contains("title,") && !message.contains("attrs,"), "{message}");
    }
    let many = by(&[("price", true); MOST_SORT_KEYS + 1]);
    assert!(shop.ask(&SearchRequest { sort: many, limit: 1, ..SearchRequest::default() }).is_err());
}

#[test]
fn only_partitions_that_are_addressed_answer() {
    let shop = shop(products());
    for partitions in [vec![0], vec![1, 2], vec![]] {
        let answer = shop.ask_of(&partitions, &q("kettle")).expect("an answer");
        let ours = |i: usize| partitions.contains(&partition(i));
        let all = shop.products.iter().enumerate().filter(|(i, p)| ours(*i) && p.has("kettle"));
        let expected: Vec<String> = all.map(|(_, p)| p.key.clone()).collect();
        assert_eq!((sorted(&answer), answer.total), (expected.clone(), Some(expected.len() as u64)));
    }
}

#[test]
fn hits_carry_what_the_store_holds_now_and_what_is_gone_is_not_counted() {
    let mut shop = shop(products());
    let mut newer = Vec::new();
    let record = record(&def(), "p00", &(BTreeMap::from([("title", text("Something else"))]), BTreeMap::new()));
    codec::encode(&record, &mut newer);
    shop.stored.insert(b"p00".to_vec(), newer);
    shop.stored.remove(b"p06".as_slice());
    let request = SearchRequest { fields: Some(vec!["title".to_owned()]), ..q("title:\"red kettle\"") };
    let answer = shop.ask(&request).expect("an answer");
    let expected = shop.wanted(|p| p.title == "Red kettle" && p.key != "p06");
    assert_eq!((sorted(&answer), answer.total), (expected.clone(), Some(expected.len() as u64)));
    let first = answer.hits.iter().find(|h| h.place.key == b"p00").expect("p00");
    assert_eq!(serde_json::to_value(&first.record).unwrap(), serde_json::json!({"title": "Something else"}));
}

#[test]
fn all_matches_are_counted_where_only_the_first_are_looked_for() {
    let shop = shop(products());
    let kettles = shop.wanted(|p| p.has("kettle")).len();
    for limit in [1, 2, 7] {
        let answer = shop.ask(&SearchRequest { limit, ..q("title:kettle") }).expect("an answer");
        assert_eq!((answer.hits.len(), answer.total), (limit, Some(kettles as u64)));
    }
}

#[test]
fn a_limit_of_nothing_counts_only() {
    let shop = shop(products());
    let answer = shop.ask(&SearchRequest { limit: 0, ..q("kettle") }).expect("an answer");
    assert_eq!(answer.total, Some(shop.wanted(|p| p.has("kettle")).len() as u64));
    assert!(answer.hits.is_empty());
}

#[test]
fn an_answer_says_what_index_and_store_cover() {
    let shop = shop(products());
    let topics = |at: &[(&str, i64)]| at.iter().map(|(t, o)| (Arc::from(*t), *o)).collect::<BTreeMap<Arc<str>, i64>>();
    let progress = Progress {
        applied: topics(&[("events", 25), ("prices", 7)]),
        visible: topics(&[("events", 10), ("prices", 4)]),
        ..Progress::default()
    };
    let tasks = Tasks {
        addressed: BTreeSet::from([1]),
        stores: BTreeMap::new(),
        progress: BTreeMap::from([(1, (progress, 100))]),
        missing: vec![0, 2],
    };
    let mut answer = SearchAnswer::default();
    tasks.describe(&shop.view(), &mut answer);
    // The view itself covers events up to 20: see `batch`, whose positions are ten times those of the changelog.
    assert_eq!(answer.index[&1].sources, topics(&[("events", 20), ("prices", 4)]));
    assert_eq!(answer.index[&1].lag, 100 + 5 + 3);
    assert_eq!(
        (answer.store[&1].sources.clone(), answer.store[&1].lag),
        (topics(&[("events", 25), ("prices", 7)]), 100)
    );
    assert_eq!(answer.missing_partitions, [0, 2]);
}

fn garbage() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("title:".to_owned()),
        Just("price:[".to_owned()),
        Just("at:>".to_owned()),
        Just(" TO ".to_owned()),
        Just(" AND ".to_owned()),
        Just(" OR ".to_owned()),
        Just("NOT ".to_owned()),
        Just("IN [".to_owned()),
        Just("]".to_owned()),
        Just("\"".to_owned()),
        Just("(".to_owned()),
        Just(")".to_owned()),
        Just("^9".to_owned()),
        Just("~2".to_owned()),
        Just("*".to_owned()),
        Just("\\".to_owned()),
        Just("/".to_owned()),
        Just("-".to_owned()),
        Just("attrs.".to_owned()),
        Just("{* ".to_owned()),
        Just("<".to_owned()),
        Just("size".to_owned()),
        "[a-z]{1,5}",
        "[0-9.e-]{1,6}",
        "\\PC{1,4}",
    ];
    prop_oneof![proptest::collection::vec(piece, 0..14).prop_map(|p| p.concat()), "\\PC{0,40}"]
}

#[test]
fn no_text_whatever_makes_a_search_fail() {
    let shop = shop(products());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(3000));
    let ended = runner.run(&garbage(), |text| {
        let answer = shop.ask(&q(&text)).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert!(answer.total.is_some_and(|n| n <= 60));
        // A filter may be wrong, but then the request is to blame.
        match shop.ask(&filter(&text)) {
            Ok(_) => {}
            Err(e) => prop_assert_eq!(e.kind(), crate::Kind::BadRequest, "{}", e),
        }
        Ok(())
    });
    ended.unwrap_or_else(|e| panic!("{e}"));
    for text in ["(".repeat(50_000), "NOT ".repeat(5_000), "a:(".repeat(9_000), "a ".repeat(20_000), "-".repeat(9_000)]
    {
        shop.ask(&q(&text)).unwrap_or_else(|e| panic!("{} {e}", &text[..10]));
        let error = shop.ask(&filter(&text)).expect_err("too long or too deep");
        assert_eq!(error.kind(), crate::Kind::BadRequest);
    }
    for text in ["(+", "a:(", "(a OR ", "(a ", "-(", "NOT ("] {
        let closed = format!("{}a{}", text.repeat(20), ")".repeat(20));
        shop.ask(&filter(&closed)).unwrap_or_else(|e| panic!("{closed}: {e}"));
        shop.ask(&filter(&text.repeat(20))).expect_err(text);
    }
}
