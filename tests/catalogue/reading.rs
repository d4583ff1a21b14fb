//! Rows about reading while a record changes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keld::record::Partitioner;
use serde_json::{Value, json};

use crate::bench::{Bench, TABLE, a, b};
use crate::common::client::Client;
use crate::common::lab::{On, PARTITIONS};
use crate::common::workload::Delivery;
use crate::common::{report, scaled};

/// Records that nobody touches meanwhile.
const COLD: usize = 50;
/// Threads that search.
const SEARCHERS: usize = 2;

/// Update number `n` of the one key: even and odd ones differ in colour, and `size` is the offset of the event.
fn update(n: u64) -> Delivery {
    let colour = if n.is_multiple_of(2) { "even" } else { "odd" };
    a(&json!({"id": "hot", "v": n, "e": n, "size": n, "colour": colour, "sold": 1}))
}

/// Raises a flag when it goes.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An answer about the one key.
struct Seen<'a> {
    answer: &'a Value,
    /// The record found.
    record: Option<&'a Value>,
    /// Last update that the index covered.
    index: u64,
}

/// Updates one key a thousand times a second while `judge` looks at what searches answer; then the whole path.
fn hammer(on: On, queries: &[&str], judge: impl Fn(&Seen<'_>) + Sync) {
    let updates = scaled(30_000) as u64;
    let mut bench = Bench::new(on);
    let cold = |n| json!({"id": format!("cold-{n}"), "size": n});
    let event = |n| b(&json!({"id": format!("cold-{n}"), "v": 1, "e": n, "size": n}));
    bench.load(&(0..COLD).map(event).collect::<Vec<_>>());
    let instance = bench.start();
    let client = instance.client();
    bench.send(&client, &[update(0)]);
    let topic = bench.lab.topic("a");
    let partition = Partitioner::Murmur2.partition(b"hot", PARTITIONS).unwrap();
    let (over, searches) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut took = Duration::ZERO;
    std::thread::scope(|scope| {
        for _ in 0..SEARCHERS {
            scope.spawn(|| {
                let mut last = 0;
                for query in queries.iter().cycle() {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    last = look(&client, query, &topic, partition, last, &judge);
                    searches.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Also when a check fails, or the searchers would go on for ever.
        let _over = Raise(&over);
        let (since, mut next) = (Instant::now(), 1);
        while next < updates {
            // One a millisecond: what is due goes in one request, however long the one before took.
            let due = (since.elapsed().as_millis() as u64).min(updates);
            let batch: Vec<u64> = (next..due).collect();
            if batch.is_empty() {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            let answer = client.ingest(&topic, &batch.iter().map(|n| update(*n).body).collect::<Vec<_>>().join("\n"));
            let positions: Vec<String> = batch.iter().map(|n| format!("{topic}:{partition}:{n}")).collect();
            assert_eq!(answer["positions"], json!(positions));
            next = due;
        }
        took = since.elapsed();
    });
    instance.stop();
    let searches = searches.load(Ordering::Relaxed);
    assert!(searches >= 20, "only {searches} searches: this checked next to nothing");
    report(&format!(
        "{on:?}: {searches} searches such as {} while one key took {updates} updates in {took:?}",
        queries[0]
    ));
    bench.workload.deliveries.extend((1..updates).map(update));
    let colour = if updates.is_multiple_of(2) { "odd" } else { "even" };
    let mut expected: Vec<Value> = (0..COLD).map(cold).collect();
    expected.push(json!({"id": "hot", "size": updates - 1, "colour": colour, "sold": updates}));
    bench.expect(&expected);
    bench.whole_path(&[("a", [updates, 0, 0, 0]), ("b", [COLD as u64, 0, 0, 0])]);
}

/// Searches once. The index never shows more than the store, the record is never older than the store said, and nothing ever
/// goes back. Returns the update that the index covered.
fn look(client: &Client, query: &str, topic: &str, partition: u32, last: u64, judge: &impl Fn(&Seen<'_>)) -> u64 {
    let answer = client.get(&format!("/v1/tables/{TABLE}/search?{query}"));
    let covered = |which: &str| -> u64 {
        let position = answer[which][partition.to_string()][topic].as_str();
        let position = position.unwrap_or_else(|| panic!("no {which} of {topic}:{partition}: {answer}"));
        position.strip_prefix(&format!("{topic}:{partition}:")).unwrap().parse().unwrap()
    };
    let (index, store) = (covered("position"), covered("store_position"));
    assert!(last <= index, "the index went back from update {last}: {answer}");
    assert!(index <= store, "the index is ahead of the store: {answer}");
    let hot = answer["hits"].as_array().unwrap().iter().find(|h| h["key"] == "hot");
    let record = hot.map(|h| &h["record"]);
    if let Some(record) = record {
        assert!(record["size"].as_u64().unwrap() >= store, "the record is older than the store's position: {answer}");
    }
    judge(&Seen { answer: &answer, record, index });
    index
}

/// Row 10: never no hit, never two.
pub(crate) fn bug_10_a_key_is_found_once_at_any_time_while_it_is_updated(on: On) {
    // By a word, its beginning, nearly, through a column, with everything that is summed up or sorted beside it.
    let queries = [
        "filter=id:hot&limit=5",
        "q=hot",
        "q=ho*&sort=-_key",
        "q=hit~1%20OR%20hot",
        "filter=size:[0%20TO%20*]%20AND%20NOT%20id:cold*",
        "filter=colour:odd%20OR%20colour:even&highlight=name",
        "filter=id:hot&aggs=%7B%22x%22:%7B%22top_hits%22:%7B%7D%7D%7D",
    ];
    hammer(on, &queries, |seen| {
        assert_eq!(seen.answer["total"], 1, "{}", seen.answer);
        assert_eq!(seen.answer["hits"].as_array().unwrap().len(), 1, "{}", seen.answer);
        assert!(seen.record.is_some(), "{}", seen.answer);
    });
}

/// Row 11: a hit comes with the current record, which need not match any more. The positions tell: it is newer than what the
/// index covered, and what the index covered did match.
pub(crate) fn bug_11_a_hit_that_no_longer_matches_is_newer_than_the_position_of_the_index(on: On) {
    hammer(on, &["filter=colour:even&limit=5"], |seen| {
        if let Some(record) = seen.record {
            let update = record["size"].as_u64().unwrap();
            let matches = update.is_multiple_of(2);
            assert_eq!(record["colour"] == "even", matches, "one record, one state: {}", seen.answer);
            assert!(matches || update > seen.index, "found, though it matches neither then nor now: {}", seen.answer);
        }
    });
}
