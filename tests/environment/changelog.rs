//! A changelog that is gone: never "restored, empty".

use keld::broker::Broker;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

use crate::common::kafka::start_kafka;
use crate::common::lab::{Lab, On, PARTITIONS, PATIENCE, loaded};
use crate::setting::{CONFIG, available, exact, failed, workload};

/// Deletes a topic and makes it again, empty.
fn recreate(broker: &dyn Broker, name: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &start_kafka().unwrap().bootstrap).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let deleted = runtime.block_on(admin.delete_topics(&[name], &AdminOptions::new())).unwrap();
    assert_eq!(deleted, [Ok(name.to_owned())]);
    let until = std::time::Instant::now() + PATIENCE;
    while broker.topic(name).unwrap().is_some() {
        assert!(std::time::Instant::now() < until, "topic {name} is not deleted");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    broker
        .create_topic(&keld::broker::TopicSpec {
            name: name.to_owned(),
            partitions: PARTITIONS,
            replication: -1,
            compacted: true,
            settings: std::collections::BTreeMap::new(),
        })
        .unwrap();
}

#[test]
fn a_changelog_made_anew_is_refused_and_rebuilding_works() {
    if !available(On::Kafka) {
        return;
    }
    let lab = Lab::with_config(On::Kafka, CONFIG);
    let workload = workload(3_000, 0);
    let ends = loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    instance.stop();
    let (broker, changelog) = (lab.broker(), format!("{}-things-changelog", lab.name));
    recreate(&*broker, &changelog);
    failed(lab.spawn(&[], &[]), &["things/", "ends at 0", "made anew", "bring the changelog back", "--rebuild"]);
    // The store gone as well: the group's offsets still tell that there was something.
    std::fs::remove_dir_all(lab.data_dir()).unwrap();
    failed(lab.spawn(&[], &[]), &["things/", &lab.name, "changelog and store are empty", "--rebuild"]);
    let mut instance = lab.spawn(&["--rebuild"], &[]);
    instance.wait_listening();
    exact(&lab, instance, &workload, &ends);
}

#[test]
fn a_store_ahead_of_a_changelog_made_anew_is_rebuilt_when_told_so() {
    if !available(On::Kafka) {
        return;
    }
    let lab = Lab::with_config(On::Kafka, CONFIG);
    let workload = workload(3_000, 0);
    let ends = loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    instance.stop();
    recreate(&*lab.broker(), &format!("{}-things-changelog", lab.name));
    let mut instance = lab.spawn(&["--rebuild"], &[]);
    instance.wait_listening();
    exact(&lab, instance, &workload, &ends);
}

#[test]
fn an_embedded_log_that_is_gone_is_refused_and_goes_on_when_it_is_back() {
    let lab = Lab::with_config(On::Local, CONFIG);
    let workload = workload(3_000, 0);
    let ends = loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    instance.stop();
    let log = lab.data_dir().join(&lab.name).join("log");
    let aside = lab.dir.path().join("aside");
    std::fs::rename(&log, &aside).unwrap();
    failed(lab.spawn(&[], &[]), &["things/", "ends at 0", "made anew", "--rebuild"]);
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::rename(&aside, &log).unwrap();
    exact(&lab, lab.start(), &workload, &ends);
}

#[test]
fn a_rebuild_takes_the_changelog_as_the_truth() {
    let lab = Lab::with_config(On::Local, CONFIG);
    let workload = workload(3_000, 0);
    let ends = loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    instance.stop();
    let mut instance = lab.spawn(&["--rebuild"], &[]);
    instance.wait_listening();
    instance.wait_caught_up(&ends);
    assert!(instance.stderr().contains("restored="), "{}", instance.stderr());
    exact(&lab, instance, &workload, &ends);
}
