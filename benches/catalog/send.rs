//! Events into Kafka.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::Result;

/// Creates topics that must not exist yet.
pub(crate) fn create_topics(bootstrap: &str, names: &[&str], partitions: i32) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let topics: Vec<NewTopic<'_>> =
        names.iter().map(|n| NewTopic::new(n, partitions, TopicReplication::Fixed(1))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    for answer in runtime.block_on(admin.create_topics(&topics, &options))? {
        answer.map_err(|(name, code)| format!("topic {name}: {code}"))?;
    }
    Ok(())
}

/// Counts what the broker acknowledged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acknowledged {
    good: Arc<AtomicU64>,
    bad: Arc<AtomicU64>,
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.good } else { &self.bad };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A producer that chooses partitions as Java clients do.
pub(crate) struct Sender {
    producer: ThreadedProducer<Acknowledged>,
    acknowledged: Acknowledged,
    prefix: String,
}

impl Sender {
    /// Connects; `linger` in milliseconds.
    pub(crate) fn new(bootstrap: &str, linger: u32) -> Result<Self> {
        let acknowledged = Acknowledged::default();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("partitioner", "murmur2_random")
            .set("compression.type", "lz4")
            .set("enable.idempotence", "true")
            .set("linger.ms", linger.to_string())
            .set("queue.buffering.max.messages", "500000")
            .create_with_context(acknowledged.clone())?;
        Ok(Self { producer, acknowledged, prefix: String::new() })
    }

    /// The names of all topics begin with this.
    pub(crate) fn into_topics_of(self, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..self }
    }

    /// Queues one event, waiting while the queue is full.
    pub(crate) fn send(&self, topic: &str, key: &str, value: &str) -> Result<()> {
        let topic = format!("{}{topic}", self.prefix);
        let mut record = BaseRecord::to(&topic).key(key).payload(value);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    std::thread::sleep(Duration::from_millis(2));
                    record = again;
                }
                Err((e, _)) => return Err(e.into()),
            }
        }
    }

    /// Waits until everything is acknowledged; the number of events, or an error if any was not.
    pub(crate) fn finish(&self) -> Result<u64> {
        self.producer.flush(Duration::from_secs(120))?;
        match self.acknowledged.bad.load(Ordering::Relaxed) {
            0 => Ok(self.acknowledged.good.load(Ordering::Relaxed)),
            bad => Err(format!("the broker refused {bad} events").into()),
        }
    }
}
