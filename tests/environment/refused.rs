//! What a person has to decide first: an instance that is refused says what, where and what to do, and changes nothing.

use std::collections::BTreeMap;
use std::net::TcpListener;

use keld::broker::{Broker, TopicSpec};

use crate::common::lab::{Lab, On, PARTITIONS, loaded};
use crate::setting::{CONFIG, available, exact, failed, workload};

#[test]
fn a_port_in_use_is_refused_with_its_address() {
    let lab = Lab::with_config(On::Local, CONFIG);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listen = format!("instance.listen={address}");
    failed(lab.spawn(&["--set", &listen], &[]), &[&address, "another process", "instance.listen"]);
    drop(taken);
    let mut instance = lab.spawn(&["--set", &listen], &[]);
    instance.wait_listening();
    assert_eq!(instance.address.as_deref(), Some(&*format!("http://{address}")));
    instance.stop();
}

#[test]
fn every_mistake_of_a_configuration_is_printed() {
    let text = "application = \"a b\"\nsurprise = 1\n[instance]\nworkers = 0\n[index]\ninterval = \"fast\"\n[tables.t]\nkey = \"\"\n";
    let lab = Lab::with_config(On::Local, text);
    std::fs::write(&lab.config, text).unwrap();
    let (status, err) = lab.spawn(&[], &[]).wait_end();
    assert_eq!(status.code(), Some(1), "{err}");
    for place in [
        ":1:15: application: ",
        ":2:1: surprise: ",
        ":4:11: instance.workers: ",
        ":6:12: index.interval: ",
        ":8:7: tables.t.key: ",
    ] {
        assert!(err.contains(place), "{place:?} in\n{err}");
    }
    let last = err.lines().last().unwrap();
    assert!(last.starts_with("keld: error: ") && last.contains("mistakes in"), "{last}");
}

#[test]
fn an_unknown_fault_point_is_refused() {
    let lab = Lab::with_config(On::Local, CONFIG);
    let instance = lab.spawn(&[], &[("KELD_FAULT", "commit.9_nowhere")]);
    failed(instance, &["KELD_FAULT", "commit.9_nowhere", "commit.5_committed"]);
}

fn spec(name: String, partitions: u32, compacted: bool) -> TopicSpec {
    TopicSpec { name, partitions, replication: -1, compacted, settings: BTreeMap::new() }
}

#[test]
fn a_source_that_is_missing_is_refused_with_the_remedy() {
    if !available(On::Kafka) {
        return;
    }
    let lab = Lab::with_config(On::Kafka, CONFIG);
    let topic = lab.topic("extra");
    failed(lab.spawn(&[], &[]), &[&topic, "does not exist", "4 partitions", "topics.create_sources = true"]);
    assert_eq!(lab.broker().topic(&topic).unwrap(), None, "nothing was made");
    // The remedy works.
    let mut instance = lab.spawn(&["--set", "topics.create_sources=true"], &[]);
    instance.wait_listening();
    instance.stop();
    lab.verify();
}

#[test]
fn a_changelog_that_may_not_be_made_is_refused_with_what_it_needs() {
    let lab = Lab::with_config(On::Local, CONFIG);
    let instance = lab.spawn(&["--set", "topics.create=false"], &[]);
    let topic = format!("{}-things-changelog", lab.name);
    failed(instance, &[&topic, "does not exist", "cleanup.policy=compact", "topics.create = true"]);
}

fn differing_partitions(on: On) {
    if !available(on) {
        return;
    }
    let lab = Lab::with_config(on, CONFIG);
    let broker = lab.broker();
    broker.create_topic(&spec(lab.topic("feed"), 4, false)).unwrap();
    broker.create_topic(&spec(lab.topic("extra"), 3, false)).unwrap();
    drop(broker);
    let counts = [format!("{}: 4", lab.topic("feed")), format!("{}: 3", lab.topic("extra"))];
    failed(lab.spawn(&[], &[]), &["things", &counts[0], &counts[1], "same number of partitions"]);
}

#[test]
fn on_the_embedded_log_sources_with_different_partitions_are_refused_with_the_counts() {
    differing_partitions(On::Local);
}

#[test]
fn on_kafka_sources_with_different_partitions_are_refused_with_the_counts() {
    differing_partitions(On::Kafka);
}

fn uncompacted_changelog(on: On) {
    if !available(on) {
        return;
    }
    let lab = Lab::with_config(on, CONFIG);
    let (broker, changelog) = (lab.broker(), format!("{}-things-changelog", lab.name));
    lab.create_sources(&*broker);
    broker.create_topic(&spec(changelog.clone(), PARTITIONS, false)).unwrap();
    drop(broker);
    failed(lab.spawn(&[], &[]), &[&changelog, "not compacted", "cleanup.policy=compact"]);
}

#[test]
fn on_the_embedded_log_a_changelog_that_is_not_compacted_is_refused() {
    uncompacted_changelog(On::Local);
}

#[test]
fn on_kafka_a_changelog_that_is_not_compacted_is_refused() {
    uncompacted_changelog(On::Kafka);
}

#[test]
fn a_changed_definition_is_refused_with_every_difference() {
    let lab = Lab::with_config(On::Local, CONFIG);
    let workload = workload(2_000, 0);
    let ends = loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    instance.stop();
    let before = std::fs::read_to_string(&lab.config).unwrap();
    let changed = before
        .replace("key = \"id\"", "key = \"event_id\"")
        .replace("last = { type = \"integer\" }", "last = { type = \"keyword\" }");
    assert_ne!(before, changed);
    std::fs::write(&lab.config, changed).unwrap();
    failed(
        lab.spawn(&[], &[]),
        &[
            "things",
            "key was \"id\" and is now \"event_id\"",
            "fields.last.type was \"integer\" and is now \"keyword\"",
            "change it back",
            "--rebuild",
        ],
    );
    // What records survive: a new field, another way to search.
    let harmless = before
        .replace("name = { type = \"text\" }", "name = { type = \"text\", sort = true }\nnew = { type = \"boolean\" }");
    assert_ne!(before, harmless);
    std::fs::write(&lab.config, harmless).unwrap();
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    let sorted = instance.client().get("/v1/tables/things/search?sort=-name&limit=1");
    let highest = workload.expected.values().map(|r| r["name"].as_str().unwrap()).max().unwrap();
    assert_eq!(sorted["hits"][0]["record"]["name"], highest);
    assert_eq!(sorted["total"], workload.expected.len());
    instance.stop();
    std::fs::write(&lab.config, before).unwrap();
    exact(&lab, lab.start(), &workload, &ends);
}
