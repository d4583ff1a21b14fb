//! Several instances: a stream at one shows the changes of all, and goes on when tasks move.

use std::collections::BTreeMap;

use crate::common::kafka::start_kafka;
use crate::common::lab::{Instance, Lab, On, PARTITIONS};
use crate::resuming::{changelog, each_once};
use crate::scene::{Maker, QUERIES, Reader, shop};

fn start(lab: &Lab, name: &str) -> Instance {
    let dir = format!("instance.data_dir={}", lab.dir.path().join(name).display());
    let id = format!("instance.id={name}");
    let mut instance =
        lab.spawn(&["--set", &dir, "--set", &id, "--set", "broker.session_timeout=6s", "--on-stop", "leave"], &[]);
    instance.wait_listening();
    instance
}

/// Tasks that each instance works on, once every partition has one owner and every instance `least`.
fn settled(instance: &mut Instance, least: &[&str]) -> BTreeMap<String, Vec<u64>> {
    instance.wait_for("the instances to settle", |client| {
        let seen = client.get("/v1/cluster");
        let mut owners: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (name, of) in seen["instances"].as_object()? {
            for task in of["tasks"].as_array()? {
                if of["alive"] == true && task["role"] == "active" && task["phase"]["name"] == "running" {
                    owners.entry(name.clone()).or_default().push(task["partition"].as_u64()?);
                }
            }
        }
        let all: usize = owners.values().map(Vec::len).sum();
        let whole = all == PARTITIONS as usize && least.iter().all(|name| owners.contains_key(*name));
        whole.then_some(owners)
    })
}

#[test]
fn a_stream_shows_the_changes_of_other_instances_and_goes_on_when_they_stop() {
    if start_kafka().is_none() {
        return;
    }
    let lab = shop(On::Kafka);
    let (a, mut b) = (start(&lab, "keld-a"), start(&lab, "keld-b"));
    let owners = settled(&mut b, &["keld-a", "keld-b"]);
    let client = b.client();
    let mut maker = Maker::new("changes of several instances", 40);
    let mut readers: Vec<Reader> =
        QUERIES.iter().map(|(query, _)| Reader::begin(b.address.as_deref().unwrap(), query)).collect();
    for _ in 0..10 {
        maker.send(&lab, &client, 40);
    }
    let of_a = &owners["keld-a"];
    while !readers[0].seen.iter().any(|(p, _)| of_a.contains(p)) {
        let event = readers[0].events.next().unwrap();
        readers[0].apply(&event);
    }
    a.stop();
    for _ in 0..10 {
        maker.send(&lab, &client, 40);
    }
    settled(&mut b, &["keld-b"]);
    // One more comes, and one dies.
    let c = start(&lab, "keld-c");
    settled(&mut b, &["keld-b", "keld-c"]);
    maker.send(&lab, &client, 400);
    c.kill();
    maker.send(&lab, &client, 400);
    let ends = maker.send_ends(&lab, &client);
    for (reader, (query, keep)) in readers.iter_mut().zip(QUERIES) {
        reader.read_to(&ends);
        assert_eq!(reader.records, maker.selected(*keep), "{query}");
    }
    b.stop();
    each_once(&readers[0].seen, &changelog(&lab, &*lab.broker()));
}
