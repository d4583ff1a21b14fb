use std::collections::BTreeMap;
use std::time::Instant;

use keld::record::Partitioner;
use serde_json::{Map, Value, json};

use crate::common::client::escape;
use crate::common::dice::Dice;
use crate::common::kafka::start_kafka;
use crate::common::lab::{Lab, On, PARTITIONS};
use crate::common::workload::{Delivery, Workload};
use crate::common::{report, scaled};
use crate::scene::{at_once, caught_up, cluster, settled, start_all, start_as, wait_for, without_copies};

const TABLE: &str = "products";
/// Records. Each is written once: superseded documents count in scores until they are merged away, which is not the same
/// moment on any two instances.
const RECORDS: u64 = 3_000;
const WORDS: [&str; 16] = [
    "oak", "walnut", "desk", "chair", "lamp", "red", "blue", "large", "small", "steel", "glass", "shelf", "table",
    "soft", "garden", "kettle",
];
const BRANDS: [&str; 5] = ["acme", "bolt", "corvid", "delta", "ember"];

/// Small places are frequent, large ones rare.
fn word(dice: &mut Dice) -> &'static str {
    let most = 1 + dice.place(WORDS.len());
    WORDS[dice.place(most)]
}

fn words(dice: &mut Dice, most: usize) -> String {
    let n = 1 + dice.place(most);
    (0..n).map(|_| word(dice)).collect::<Vec<_>>().join(" ")
}

fn workload() -> Workload {
    let mut dice = Dice(7);
    let event = |n: u64| {
        let key = format!("sku-{n:05}");
        let mut event = json!({"event_id": format!("e{n}"), "sku": key, "ts": 1_700_000_000_000_u64 + n});
        event["title"] = words(&mut dice, 6).into();
        event["description"] = words(&mut dice, 25).into();
        event["brand"] = BRANDS[dice.place(BRANDS.len())].into();
        if dice.place(5) > 0 {
            event["price"] = (f64::from(u32::try_from(dice.place(40)).unwrap()) / 4.0).into();
        }
        event["qty"] = dice.place(12).into();
        Delivery { topic: "catalog".to_owned(), key, body: event.to_string() }
    };
    Workload { deliveries: (0..RECORDS).map(event).collect(), expected: BTreeMap::new() }
}

/// A search as parameters of the URL.
fn random_search(dice: &mut Dice) -> String {
    let q = match dice.place(8) {
        0 => String::new(),
        1 => format!("\"{} {}\"", word(dice), word(dice)),
        2 => format!("title:{} OR description:{}", word(dice), word(dice)),
        3 => format!("{} NOT {}", word(dice), word(dice)),
        4 => format!("{}* {}", &word(dice)[..3], word(dice)),
        5 => format!("brand:{} OR {}", BRANDS[dice.place(5)], word(dice)),
        6 => format!("{}^3 OR {}", word(dice), word(dice)),
        _ => words(dice, 3),
    };
    let sort =
        ["", "", "", "price", "-price,brand", "brand,-qty", "-_key", "_score,-price", "-qty,-_score"][dice.place(9)];
    let mut path = format!("q={}&limit={}", escape(&q), 1 + dice.place(60));
    if !sort.is_empty() {
        path.push_str(&format!("&sort={}", escape(sort)));
    }
    if dice.place(3) == 0 {
        path.push_str(&format!("&filter={}", escape(&format!("qty:[{} TO *]", dice.place(12)))));
    }
    if dice.place(4) == 0 {
        let aggs = json!({"brands": {"terms": {"field": "brand"}, "aggs": {"price": {"avg": {"field": "price"}}}},
                          "qty": {"histogram": {"field": "qty", "interval": 3}},
                          "best": {"terms": {"field": "brand", "size": 2}, "aggs": {"two": {"top_hits": {"size": 2}}}}});
        path.push_str(&format!("&facets=brand:3&aggs={}", escape(&aggs.to_string())));
    }
    path
}

/// What must be equal, whoever answers.
fn essence(answer: &Value) -> Value {
    let mut all = Map::new();
    for member in ["hits", "total", "cursor", "facets", "aggs", "warnings", "missing_partitions"] {
        all.insert(member.to_owned(), answer[member].clone());
    }
    all.into()
}

#[test]
fn three_instances_answer_a_thousand_searches_as_one_does_and_name_what_a_dead_one_had() {
    if start_kafka().is_none() {
        return;
    }
    let mut lab = Lab::new(On::Kafka, "catalog.toml");
    lab.sets.push("cluster.standbys=0".to_owned());
    let workload = workload();
    lab.load(&workload.deliveries);
    let ends = lab.ends(&*lab.broker());
    let one = start_as(&lab, "alone", &format!("{}-alone", lab.name));
    let mut instances = start_all(&lab, 3);
    let owners = settled(&instances, TABLE, PARTITIONS);
    caught_up(&one, &ends);
    instances.values().for_each(|i| caught_up(i, &ends));

    let (alone, clients) = (one.client(), instances.values().map(|i| i.client()).collect::<Vec<_>>());
    let mut dice = Dice(11);
    let (searches, mut scored, mut found) = (scaled(10_000), 0, 0);
    for n in 0..searches {
        let path = format!("/v1/tables/{TABLE}/search?{}", random_search(&mut dice));
        let (expected, got) = (alone.get(&path), clients[n % 3].get(&path));
        let (got_essence, expected) = (essence(&got), essence(&expected));
        assert!(got_essence == expected, "search {n}: {path}\n{got_essence:.2000}\n{expected:.2000}");
        let hits = got["hits"].as_array().unwrap();
        scored += usize::from(hits.iter().any(|h| h["score"].as_f64().is_some_and(|s| s != 1.0)));
        found += hits.len();
        if let Some(cursor) = got["cursor"].as_str() {
            let next = format!("{path}&cursor={cursor}");
            assert_eq!(essence(&clients[(n + 1) % 3].get(&next)), essence(&alone.get(&next)), "page 2 of {next}");
        }
    }
    report(&format!("search: {searches} searches of 3 instances equal those of one; {scored} scored, {found} hits"));
    assert!(scored > searches / 4 && found > searches, "{scored} of {searches} scored, {found} hits");
    let answer = clients[0].get(&format!("/v1/tables/{TABLE}/search?q=oak"));
    assert_eq!((&answer["role"], &answer["served_by"]), (&json!("active"), &json!("keld-0")), "{answer}");
    assert_eq!(answer["position"].as_object().unwrap().len() as u64, u64::from(PARTITIONS), "{answer}");

    crate::es::answers_are_the_same(&alone, &clients);

    // Scans: the same pages, whoever is asked.
    for prefix in ["", "sku-000", "sku-0012", "none"] {
        let (mut path, mut pages) = (format!("/v1/tables/{TABLE}/records?limit=170&prefix={prefix}"), 0);
        loop {
            let (expected, got) = (alone.get(&path), clients[pages % 3].get(&path));
            assert_eq!((&got["records"], &got["cursor"]), (&expected["records"], &expected["cursor"]), "{path}");
            pages += 1;
            let Some(cursor) = got["cursor"].as_str() else { break };
            path = format!("/v1/tables/{TABLE}/records?limit=170&prefix={prefix}&cursor={cursor}");
        }
        assert_eq!(pages, if prefix.is_empty() { 18 } else { 1 }, "{prefix:?}");
    }

    // What was written through one instance is found through another as soon as it is demanded.
    for n in 0..12 {
        let (writer, reader) = (&clients[n % 3], &clients[n / 3 % 3]);
        let event =
            json!({"event_id": format!("w{n}"), "sku": format!("w-{n}"), "ts": 1, "title": format!("fresh{n}")});
        let written = writer.ingest(&lab.topic("catalog"), &event.to_string());
        let demand = escape(written["at_least"].as_str().unwrap());
        let answer = reader.get(&format!("/v1/tables/{TABLE}/search?q=title:fresh{n}&at_least={demand}&timeout=9s"));
        assert_eq!(answer["total"], 1, "{answer}");
    }

    // Kill one: the others answer for what they have, and name what is missing.
    without_copies(&instances);
    instances.remove("keld-2").unwrap().kill();
    let killed = Instant::now();
    let lost: Vec<u64> = owners.iter().filter(|(_, names)| names[0] == "keld-2").map(|(p, _)| *p).collect();
    let path = format!("/v1/tables/{TABLE}/search?q=kettle%20OR%20garden&sort=_key&limit=1000");
    let (all, part) = (alone.get(&path), clients[0].get(&path));
    assert!((1..1000).contains(&all["total"].as_u64().unwrap()), "the page holds all of them: {}", all["total"]);
    assert!(killed.elapsed() < at_once(3), "answered after {:?}", killed.elapsed());
    assert_eq!(part["missing_partitions"], json!(lost), "{}", part["missing_partitions"]);
    let key = |hit: &Value| hit["key"].as_str().unwrap().to_owned();
    let place = |key: &str| u64::from(Partitioner::Murmur2.partition(key.as_bytes(), PARTITIONS).unwrap());
    let keys: Vec<String> =
        all["hits"].as_array().unwrap().iter().map(key).filter(|k| !lost.contains(&place(k))).collect();
    let got: Vec<String> = part["hits"].as_array().unwrap().iter().map(key).collect();
    assert_eq!(got, keys);
    assert_eq!(part["total"].as_u64().unwrap() as usize, keys.len());
    let (status, problem) = clients[1].get_any(&format!("{path}&partial=refuse"));
    assert_eq!((status, &problem["reason"]), (503, &json!("no_owner")), "{problem}");
    assert_eq!(problem["missing_partitions"], json!(lost), "{problem}");
    // Until the group has given its tasks to the others: then everything is found again.
    wait_for("the tasks of the dead one to be taken over", || {
        let whole = cluster(&instances["keld-0"])["tables"][TABLE]["missing_partitions"] == json!([]);
        let (status, answer) = clients[0].get_any(&path);
        (whole && status == 200 && answer["missing_partitions"] == json!([])).then_some(())
    });
    assert_eq!(clients[1].get(&path)["hits"], all["hits"]);
    instances.into_values().for_each(|i| i.stop());
    one.stop();
}
