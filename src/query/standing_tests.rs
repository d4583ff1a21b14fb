//! What a standing query selects, of all documents and of a few changes, is what a search finds.

use super::super::standing::{Matching, Standing, hash};
use super::tests::{Product, cases, partition, products, shop};
use super::*;
use crate::index::Stop;
use crate::index::testing::{def, record};

/// A query as words, and as a filter.
fn both(view: &View, text: &str) -> [Standing; 2] {
    let filter = [text.to_owned()];
    let words = Standing::new(view, Some(text), &[]).unwrap_or_else(|e| panic!("{text}: {e}"));
    [words, Standing::new(view, None, &filter).unwrap_or_else(|e| panic!("{text}: {e}"))]
}

#[test]
fn changes_match_as_a_search_finds_their_records() {
    let shop = shop(products());
    let view = shop.view();
    // Every product twice: once as it never was, so that two changes of one key in a row are told apart.
    let old = Product { title: "Red kettle", brand: Some("Acme"), sold: Some(3), ..Product::default() };
    let mut changes: Vec<(Product, Vec<u8>)> = Vec::new();
    for product in products() {
        for state in [Product { key: product.key.clone(), ..old.clone() }, product] {
            let mut stored = Vec::new();
            codec::encode(&record(&def(), &state.key, &state.members()), &mut stored);
            changes.push((state, stored));
        }
    }
    let probed = changes.iter().enumerate().map(|(i, (p, s))| Some((partition(i), p.key.as_bytes(), s.as_slice())));
    // One in three has nothing that is kept any more.
    let probed: Vec<_> = probed.enumerate().map(|(i, change)| change.filter(|_| i % 3 != 2)).collect();
    let probe = view.probe(probed.iter().copied()).expect("a probe");
    for (text, keep) in cases() {
        let kept = |(i, (p, _)): (usize, &(Product, Vec<u8>))| (i % 3 != 2 && keep(p)).then_some(i);
        let expected: Vec<usize> = changes.iter().enumerate().filter_map(kept).collect();
        for standing in both(&view, text) {
            assert_eq!(standing.of(&probe).expect("matches"), expected, "{text}");
        }
    }
}

#[test]
fn what_matches_now_is_what_a_search_finds() {
    let shop = shop(products());
    let view = shop.view();
    for (text, keep) in cases() {
        let mut expected: Vec<_> = shop.wanted(keep).iter().map(|key| hash(key.as_bytes())).collect();
        let query = parse::strict(&view, "filter[0]", text, &mut Spent::default()).expect("a query");
        let mut found = Vec::new();
        let all = view.matching_keys(&*query, expected.len(), &Stop::default(), &mut |key| found.push(hash(key)));
        assert!(all.expect("keys"), "{text}");
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn looking_for_what_matches_ends_at_the_limit_and_when_nobody_waits() {
    let shop = shop(products());
    let view = shop.view();
    let (all, stop) = (shop.wanted(|_| true).len(), Stop::default());
    let count = |most: usize, stop: &Stop, raise: bool| {
        let mut seen = 0;
        let found = view.matching_keys(&AllQuery, most, stop, &mut |_| {
            seen += 1;
            if raise {
                stop.raise();
            }
        });
        (found, seen)
    };
    let (found, seen) = count(all, &stop, false);
    assert!(found.expect("keys") && seen == all);
    let (found, seen) = count(all - 1, &stop, false);
    assert!(!found.expect("too many") && seen < all);
    // Stopped at the first key: an answer that lacks some would be taken for the whole.
    let (found, seen) = count(all, &stop, true);
    assert_eq!(found.expect_err("stopped").kind(), crate::Kind::TimedOut);
    assert!(seen > 0);
    let (found, seen) = count(all, &stop, false);
    assert_eq!((found.expect_err("stopped before").kind(), seen), (crate::Kind::TimedOut, 0));
}

#[test]
fn nothing_matches_where_nothing_is_shown() {
    let shop = shop(products());
    let view = shop.view();
    let mut stored = Vec::new();
    codec::encode(&crate::record::Record::default(), &mut stored);
    let all = Standing::new(&view, None, &[]).expect("everything");
    let empty = view.probe([Some((0, b"k".as_slice(), stored.as_slice())), None].into_iter()).expect("a probe");
    assert_eq!(all.of(&empty).expect("matches"), [0_usize; 0]);
}

#[test]
fn what_cannot_be_read_is_told_as_a_search_tells_it() {
    let shop = shop(products());
    let view = shop.view();
    let error = Standing::new(&view, None, &["price:cheap".to_owned()]).expect_err("no number");
    assert!(error.message().starts_with("filter[0]: "), "{error}");
    assert_eq!(Standing::new(&view, Some("red /ke.*/"), &[]).expect("lenient").warnings.len(), 1);
}

#[test]
fn keys_travel_between_instances() {
    let keys = [b"a".as_slice(), b"b", b""].iter().map(|key| hash(key)).collect();
    let matching = Matching { keys, at: BTreeMap::from([(3, 17)]) };
    let read: Matching = serde_json::from_str(&serde_json::to_string(&matching).expect("JSON")).expect("read");
    assert_eq!((read.keys, read.at), (matching.keys, matching.at));
    assert!(serde_json::from_str::<Matching>(r#"{"keys":"AAAA","at":{}}"#).is_err());
}
