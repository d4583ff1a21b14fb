//! Pages of a search are the whole search, whatever changes between them.

use super::tests::{Product, Shop, by, keys, partition, products, q, shop};
use super::*;
use crate::index::testing::{batch, change, def, record};

fn orders() -> Vec<Vec<crate::query::SortKey>> {
    vec![
        by(&[]),
        by(&[("_key", true)]),
        by(&[("sold", false)]),
        by(&[("sold", true), ("name", false)]),
        by(&[("brand", true), ("live", false)]),
        by(&[("brand", false), ("price", true), ("at", false)]),
        by(&[("tags", true)]),
        by(&[("at", false), ("_score", true)]),
        by(&[("name", true), ("_key", true)]),
    ]
}

fn pages(shop: &Shop, mut request: SearchRequest, mut between: impl FnMut(usize)) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for page in 0.. {
        let answer = shop.ask(&request).expect("a page");
        all.extend(answer.hits.iter().map(|h| h.place.key.clone()));
        if answer.hits.len() < request.limit {
            break;
        }
        request.after = answer.hits.last().map(|h| h.place.clone());
        between(page);
    }
    all
}

#[test]
fn pages_put_together_are_the_whole_search() {
    let shop = shop(products());
    for sort in orders() {
        for text in ["red OR kettle OR pan", "", "title:kettle"] {
            for (limit, count) in [(1, Count::Exact), (7, Count::Exact), (7, Count::None), (60, Count::Exact)] {
                let request = SearchRequest { sort: sort.clone(), limit, count, ..q(text) };
                let whole = shop.ask(&SearchRequest { limit: 1000, ..request.clone() }).expect("an answer");
                let whole: Vec<Vec<u8>> = whole.hits.into_iter().map(|h| h.place.key).collect();
                assert_eq!(pages(&shop, request, |_| {}), whole, "{sort:?} {text:?} {limit}");
            }
        }
    }
}

#[test]
fn every_page_counts_all_matches() {
    let shop = shop(products());
    let first = shop.ask(&SearchRequest { limit: 5, ..q("kettle") }).expect("a page");
    let after = first.hits.last().map(|h| h.place.clone());
    let second = shop.ask(&SearchRequest { limit: 5, after, ..q("kettle") }).expect("a page");
    assert!(first.total > Some(5) && second.total == first.total);
}

#[test]
fn records_that_live_throughout_are_neither_missed_nor_repeated() {
    let mut shop = shop(products());
    shop.held = None;
    let all: BTreeSet<Vec<u8>> = shop.products.iter().map(|p| p.key.clone().into_bytes()).collect();
    for sort in orders().into_iter().filter(|o| !o.is_empty() && o.iter().all(|k| k.field != "_score")) {
        let touch = |page: usize| {
            // Everything is written anew with the same sort values, to other segments; some come and go.
            for (i, p) in shop.products.iter().enumerate().filter(|(i, _)| i % 4 == page % 4) {
                let new = record(&def(), &p.key, &p.members());
                shop.index.submit(batch(partition(i), 3, vec![change(&p.key, Some(new), true)])).expect("submitted");
            }
            let guest = Product { key: format!("guest{page}"), sold: Some(1), ..Product::default() };
            let new = record(&def(), &guest.key, &guest.members());
            shop.index.submit(batch(0, 3, vec![change(&guest.key, Some(new), false)])).expect("submitted");
            let gone = format!("guest{}", page / 2);
            shop.index.submit(batch(0, 3, vec![change(&gone, None, true)])).expect("submitted");
            shop.index.flush().expect("flushed");
        };
        let request = SearchRequest { sort: sort.clone(), limit: 6, ..q("") };
        let found = pages(&shop, request, touch);
        let distinct: BTreeSet<Vec<u8>> = found.iter().cloned().collect();
        assert_eq!(distinct.len(), found.len(), "{sort:?}: a record came twice");
        assert!(all.is_subset(&distinct), "{sort:?}: a record was missed");
    }
}

#[test]
fn hits_whose_records_are_gone_make_room_for_others() {
    let mut shop = shop(products());
    for n in 0..12 {
        shop.stored.remove(format!("p{n:02}").as_bytes());
    }
    let request = SearchRequest { sort: by(&[("_key", false)]), limit: 10, ..q("") };
    let answer = shop.ask(&request).expect("an answer");
    assert_eq!((keys(&answer).first().map(String::as_str), answer.hits.len()), (Some("p12"), 10));
    assert_eq!(pages(&shop, request, |_| {}).len(), 48);
}

#[test]
fn a_cursor_of_another_order_is_refused() {
    let shop = shop(products());
    let place = |sort| shop.ask(&SearchRequest { sort, limit: 1, ..q("") }).expect("an answer").hits.remove(0).place;
    let cases = [
        (by(&[("sold", true)]), by(&[("brand", true)])),
        (by(&[("brand", true)]), by(&[("brand", false)])),
        (by(&[("brand", true)]), by(&[("brand", true), ("sold", true)])),
    ];
    for (of, used) in cases {
        let request = SearchRequest { sort: used, limit: 1, after: Some(place(of)), ..q("") };
        assert_eq!(shop.ask(&request).expect_err("refused").kind(), crate::Kind::BadRequest);
    }
}
