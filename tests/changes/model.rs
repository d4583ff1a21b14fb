//! The naive model: a map that applies what a stream says is, in the end, what is there.

use crate::common::client::escape;
use crate::common::kafka::start_kafka;
use crate::common::lab::On;
use crate::scene::{Maker, QUERIES, Reader, ends, path, shop};

fn streams_give_what_is_there(on: On) {
    let lab = shop(on);
    let mut instance = lab.start();
    let mut maker = Maker::new("streams of changes", 60);

    instance.wait_for("the tasks", |c| {
        let status = c.get("/v1/status");
        let tasks = status["tasks"].as_array().unwrap();
        let all =
            tasks.len() as u64 == u64::from(lab.partitions) && tasks.iter().all(|t| t["phase"]["name"] == "running");
        all.then_some(())
    });
    let (client, address) = (instance.client(), instance.address.clone().unwrap());
    maker.send(&lab, &client, 200);
    maker.settle(&client);
    let mut readers: Vec<Reader> = QUERIES.iter().map(|(query, _)| Reader::begin(&address, query)).collect();
    // Only some keys, and only a part of each record.
    let mut keys: Vec<String> = ends();
    keys.extend(["k1".to_owned(), "k7".to_owned()]);
    let only = keys.iter().map(|k| format!("key={k}")).collect::<Vec<_>>().join("&");
    let mut some = Reader::begin(&address, &format!("{only}&fields=price"));
    some.records.clear();
    for _ in 0..40 {
        maker.send(&lab, &client, 50);
    }
    let ends = maker.send_ends(&lab, &client);
    for (reader, (query, keep)) in readers.iter_mut().zip(QUERIES) {
        reader.read_to(&ends);
        assert_eq!(reader.records, maker.selected(*keep), "{query}");
        let searched = path(query).replacen("/changes?", "/search?limit=1000&", 1);
        let found = instance.wait_for("the same by search", |c| {
            let found = c.get(&searched);
            (found["total"] == reader.records.len()).then_some(found)
        });
        for hit in found["hits"].as_array().unwrap() {
            assert_eq!(reader.records.get(hit["key"].as_str().unwrap()), hit["record"].as_object(), "{query}");
        }
    }
    some.read_to(&ends);
    assert!(some.records.values().all(|r| r.len() == 1 && r.contains_key("price")), "{:?}", some.records);
    for key in some.records.keys() {
        assert!(keys.contains(key), "{key} was not asked for");
        let answer = client.get(&format!("/v1/tables/products/records/{}", escape(key)));
        assert_eq!(some.records[key]["price"], answer["record"]["price"]);
    }
    // Everything from the beginning, though nothing is held.
    for (query, keep) in QUERIES {
        let mut whole = Reader::begin(&address, &format!("{query}&from=beginning"));
        whole.read_to(&ends);
        assert_eq!(whole.records, maker.selected(*keep), "{query} from the beginning");
    }
    instance.stop();
}

#[test]
fn streams_give_what_is_there_on_the_embedded_log() {
    streams_give_what_is_there(On::Local);
}

#[test]
fn streams_give_what_is_there_on_kafka() {
    if start_kafka().is_some() {
        streams_give_what_is_there(On::Kafka);
    }
}
