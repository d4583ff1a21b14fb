//! Reads a quarantine topic whole, with its headers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use keld::broker::local::{LocalBroker, LocalOptions};
use keld::broker::{Broker, TopicPartition};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::common::kafka::start_kafka;
use crate::common::lab::{Lab, On, PATIENCE};

/// A record of the quarantine topic.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Entry {
    /// The text of a header `keld.<name>`.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(&format!("keld.{name}")).map_or("", String::as_str)
    }

    /// Where the event came from.
    pub(crate) fn origin(&self) -> (String, u32, i64) {
        let number = |name| self.header(name).parse::<i64>().unwrap();
        (self.header("topic").to_owned(), u32::try_from(number("partition")).unwrap(), number("offset"))
    }
}

fn distinct(headers: impl IntoIterator<Item = (String, Vec<u8>)>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (name, value) in headers {
        let twice = out.insert(name.clone(), String::from_utf8(value).unwrap());
        assert!(twice.is_none(), "the header {name} is there twice");
    }
    out
}

/// Every entry of the laboratory's quarantine topic. On the embedded log no instance may run.
pub(crate) fn read(lab: &Lab) -> Vec<Entry> {
    let topic = format!("{}-quarantine", lab.name);
    match lab.on {
        On::Local => read_local(lab, &topic),
        On::Kafka => read_kafka(&topic),
    }
}

fn read_local(lab: &Lab, topic: &str) -> Vec<Entry> {
    let log = lab.data_dir().join(&lab.name).join("log");
    let broker = LocalBroker::open(&log, LocalOptions::default()).unwrap();
    let partitions = broker.topic(topic).unwrap().unwrap().partitions;
    let mut all = Vec::new();
    for tp in (0..partitions).map(|p| TopicPartition::new(topic, p)) {
        for offset in 0..broker.watermarks(&tp).unwrap().high {
            let record = broker.record_at(&tp, offset).unwrap().unwrap();
            all.push(Entry { key: record.key, payload: record.payload, headers: distinct(record.headers) });
        }
    }
    all
}

fn read_kafka(topic: &str) -> Vec<Entry> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &start_kafka().unwrap().bootstrap)
        .set("group.id", "reads-quarantine")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let partitions = metadata.topics()[0].partitions().len();
    let mut list = TopicPartitionList::new();
    for p in 0..partitions {
        list.add_partition_offset(topic, i32::try_from(p).unwrap(), Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut all, mut ended, until) = (Vec::new(), 0, Instant::now() + PATIENCE);
    while ended < partitions {
        assert!(Instant::now() < until, "the quarantine topic could not be read to its end");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(m)) => {
                let headers = m.headers().unwrap();
                let owned = headers.iter().map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec()));
                all.push(Entry {
                    key: m.key().map(<[u8]>::to_vec),
                    payload: m.payload().map(<[u8]>::to_vec),
                    headers: distinct(owned),
                });
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(e)) => panic!("reading {topic}: {e}"),
            None => {}
        }
    }
    all
}
