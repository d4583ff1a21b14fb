//! What somebody with rights does to topics and groups behind an instance's back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use keld::broker::{Broker, Offset, TopicPartition, TopicSpec};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::kafka::start_kafka;
use super::lab::{PARTITIONS, PATIENCE};

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &start_kafka().unwrap().bootstrap).create().unwrap()
}

fn done<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Polls `is` until it holds.
fn wait(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < until, "waiting for {what}: patience is at its end");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Deletes a topic and makes it again, empty.
pub(crate) fn recreate(broker: &dyn Broker, name: &str) {
    let deleted = done(admin().delete_topics(&[name], &AdminOptions::new())).unwrap();
    assert_eq!(deleted, [Ok(name.to_owned())]);
    wait("a topic to be deleted", || broker.topic(name).unwrap().is_none());
    broker
        .create_topic(&TopicSpec {
            name: name.to_owned(),
            partitions: PARTITIONS,
            replication: -1,
            compacted: true,
            settings: BTreeMap::new(),
        })
        .unwrap();
}

/// Gives a topic more partitions, so many in all.
pub(crate) fn grow(broker: &dyn Broker, name: &str, partitions: u32) {
    let more = NewPartitions::new(name, partitions as usize);
    let grown = done(admin().create_partitions([&more], &AdminOptions::new())).unwrap();
    assert_eq!(grown, [Ok(name.to_owned())]);
    wait("a topic to grow", || broker.topic(name).unwrap().is_some_and(|topic| topic.partitions == partitions));
}

/// Removes what stands below `offset` of a compacted topic, which takes another policy for a moment.
pub(crate) fn cut_front(broker: &dyn Broker, tp: &TopicPartition, offset: Offset) {
    let admin = admin();
    let policy = |policy| {
        let change = AlterConfig::new(ResourceSpecifier::Topic(&tp.topic)).set("cleanup.policy", policy);
        let changed = done(admin.alter_configs([&change], &AdminOptions::new())).unwrap();
        assert!(changed.iter().all(Result::is_ok), "{changed:?}");
    };
    let mut list = TopicPartitionList::new();
    let partition = i32::try_from(tp.partition).unwrap();
    list.add_partition_offset(&tp.topic, partition, rdkafka::Offset::Offset(offset)).unwrap();
    policy("compact,delete");
    // The broker may not have heard of the policy yet.
    wait("the front of a topic to be removed", || {
        let removed = done(admin.delete_records(&list, &AdminOptions::new())).unwrap();
        removed.elements().iter().all(|e| e.error().is_ok())
    });
    policy("compact");
    wait("the topic to begin there", || broker.watermarks(tp).unwrap().low == offset);
}

/// Makes the broker forget a group with its offsets, as soon as it has no member.
pub(crate) fn forget_group(broker: &dyn Broker, group: &str, of: &TopicPartition) {
    let known = || !broker.committed(group, std::slice::from_ref(of)).unwrap().is_empty();
    assert!(known(), "the group has no offsets to forget");
    let admin = admin();
    wait("the group to be forgotten", || {
        let answers = done(admin.delete_groups(&[group], &AdminOptions::new())).unwrap();
        answers.iter().all(Result::is_ok)
    });
    assert!(!known(), "the group was not forgotten");
}
