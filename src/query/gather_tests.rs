//! Several leaves together answer as one leaf that has everything.

use proptest::prelude::*;
use serde_json::Value as Json;
use tempfile::TempDir;

use super::super::gather::gather;
use super::super::{AggPartial, SortKey};
use super::tests::{Product, by, products, q};
use super::*;
use crate::index::testing::{batch, change, def, options, record};
use crate::index::{Place, TableIndex};

/// Partitions of the table.
const PARTITIONS: u32 = 6;

struct Leaf {
    index: Arc<TableIndex>,
    stored: BTreeMap<Vec<u8>, Vec<u8>>,
    _dir: TempDir,
}

/// The partition of the product at a place in the list.
fn partition(i: usize) -> u32 {
    u32::try_from(i * 7 % 11).expect("small") % PARTITIONS
}

impl Leaf {
    /// An index of the products in some partitions, in segments of so many.
    fn of(products: &[Product], held: &BTreeSet<u32>, segment: usize) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (index, _) = TableIndex::open(Arc::new(def()), options(dir.path())).expect("the index opens");
        let mut stored = BTreeMap::new();
        let mine = products.iter().enumerate().filter(|(i, _)| held.contains(&partition(*i)));
        for (n, (i, p)) in mine.enumerate() {
            let made = record(&def(), &p.key, &p.members());
            let mut bytes = Vec::new();
            codec::encode(&made, &mut bytes);
            stored.insert(p.key.clone().into_bytes(), bytes);
            index.submit(batch(partition(i), 1, vec![change(&p.key, Some(made), false)])).expect("submitted");
            if (n + 1) % segment == 0 {
                index.flush().expect("flushed");
            }
        }
        index.flush().expect("flushed");
        Self { index, stored, _dir: dir }
    }

    fn statistics(&self, partitions: &BTreeSet<u32>, request: &SearchRequest) -> Statistics {
        count(&self.index.view(), partitions, request).expect("statistics")
    }

    fn ask(&self, partitions: &BTreeSet<u32>, request: &SearchRequest) -> SearchAnswer {
        let fetch = |_: u32, keys: &[&[u8]]| Ok(keys.iter().map(|k| self.stored.get(*k).cloned()).collect());
        let view = scored(self.index.view(), request);
        find(&view, request, read(&view, partitions, request).expect("words"), &fetch).expect("an answer")
    }
}

/// What the leaves answer together, each for its partitions.
fn together(leaves: &[(Leaf, BTreeSet<u32>)], request: &SearchRequest) -> SearchAnswer<Json> {
    let mut request = request.clone();
    if request.is_scored() {
        let mut sum = Statistics::default();
        leaves.iter().for_each(|(leaf, partitions)| sum.add(&leaf.statistics(partitions, &request)));
        request.statistics = Some(Arc::new(sum));
    }
    // As they travel.
    let travel = |answer: SearchAnswer| {
        let json = serde_json::to_vec(&answer.map(|record| serde_json::to_value(record).expect("JSON"))).expect("JSON");
        serde_json::from_slice(&json).expect("an answer")
    };
    let answers = leaves.iter().map(|(leaf, partitions)| travel(leaf.ask(partitions, &request))).collect();
    gather(answers, request.limit).expect("they fit")
}

/// Keys, scores and places of the hits, and the total.
fn seen<R>(answer: &SearchAnswer<R>) -> (Vec<(String, Option<u32>, Place)>, Option<u64>) {
    let hit = |h: &Hit<R>| {
        let key = String::from_utf8_lossy(&h.place.key).into_owned();
        (key, h.score.map(f32::to_bits), h.place.clone())
    };
    (answer.hits.iter().map(hit).collect(), answer.total)
}

fn orders() -> impl Strategy<Value = Vec<SortKey>> {
    prop::sample::select(vec![
        by(&[]),
        by(&[("_key", true)]),
        by(&[("sold", true), ("name", false)]),
        by(&[("brand", false), ("price", true)]),
        by(&[("tags", true), ("_score", true)]),
        by(&[("_score", false), ("at", true)]),
    ])
}

fn texts() -> impl Strategy<Value = String> {
    let words = ["red", "kettle", "pan", "title:green", "brand:acme", "\"red kettle\"", "ket*", "kettel~1", "lamp^3"];
    let some = prop::collection::vec(prop::sample::select(words.to_vec()), 0..4);
    (some, prop::sample::select(vec![" ", " OR ", " AND "])).prop_map(|(words, glue)| words.join(glue))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn leaves_together_answer_as_one_leaf_with_everything(
        n in 1_usize..60,
        split in prop::collection::vec(0_usize..3, PARTITIONS as usize),
        standbys in prop::collection::vec(0_usize..3, PARTITIONS as usize),
        segment in 3_usize..20,
        searches in prop::collection::vec((texts(), orders(), 1_usize..40), 12),
    ) {
        let products = &products()[..n];
        let all: BTreeSet<u32> = (0..PARTITIONS).collect();
        let one = Leaf::of(products, &all, 9);
        let leaf = |k: usize| {
            let of = |split: &[usize]| -> BTreeSet<u32> { all.iter().copied().filter(|p| split[*p as usize] == k).collect() };
            let (asked, mut held) = (of(&split), of(&standbys));
            held.extend(&asked);
            (Leaf::of(products, &held, segment), asked)
        };
        // A leaf without partitions is not asked.
        let leaves: Vec<_> = (0..3).map(leaf).filter(|(_, asked)| !asked.is_empty()).collect();
        for (text, sort, limit) in searches {
            let asked = serde_json::json!({
                "brands": {"terms": {"field": "brand", "size": 50}, "aggs": {"price": {"avg": {"field": "price"}}}},
                "sold": {"stats": {"field": "sold"}},
                "red": {"filter": "title:red", "aggs": {"at": {"max": {"field": "at"}}}},
            });
            let request = SearchRequest { sort, limit, aggs: Some(asked.clone()), max_buckets: 1_000, ..q(&text) };
            let alone = one.ask(&all, &request);
            let parts = together(&leaves, &request);
            prop_assert_eq!(seen(&parts), seen(&alone), "{:?}", request);
            let records: Vec<Json> = alone.hits.iter().map(|h| serde_json::to_value(&h.record).expect("JSON")).collect();
            prop_assert_eq!(parts.hits.iter().map(|h| h.record.clone()).collect::<Vec<_>>(), records);
            let fields = Arc::clone(&one.index.view().fields);
            let finish = |partial: Option<AggPartial>| aggs::finish(&fields, &asked, partial.expect("some"), 1_000).expect("a result");
            prop_assert_eq!(finish(parts.aggs.clone()), finish(alone.aggs.clone()), "{:?}", request);
            // And page by page.
            if let Some(after) = alone.hits.last().map(|h| h.place.clone()) {
                let next = SearchRequest { after: Some(after), ..request };
                prop_assert_eq!(seen(&together(&leaves, &next)), seen(&one.ask(&all, &next)), "{:?}", next);
            }
        }
    }
}

#[test]
fn statistics_without_those_of_the_others_would_give_other_scores() {
    // Words are rare in one leaf and frequent in the other: the test above is about something.
    let mut products = products();
    for (i, p) in products.iter_mut().enumerate() {
        p.title = if partition(i) < 3 { "Red kettle" } else { "Green pan & lid" };
    }
    products.iter_mut().step_by(20).for_each(|p| p.title = "Red pan");
    let leaf = |of: std::ops::Range<u32>| (Leaf::of(&products, &of.clone().collect(), 9), of.collect());
    let leaves: Vec<(Leaf, BTreeSet<u32>)> = vec![leaf(0..3), leaf(3..PARTITIONS)];
    let request = SearchRequest { limit: 60, ..q("red OR pan") };
    let apart = gather(leaves.iter().map(|(leaf, p)| leaf.ask(p, &request)).collect(), 60).expect("they fit");
    assert_ne!(seen(&apart), seen(&together(&leaves, &request)));
}
