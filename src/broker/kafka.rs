//! A Kafka cluster, through rdkafka.
use std::{collections::BTreeMap, sync::Arc, time::Duration};
/// Options.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// x
    pub bootstrap: String,
    /// x
    pub client: BTreeMap<String, String>,
    /// x
    pub application: String,
    /// x
    pub advertise: String,
    /// x
    pub consumer_bytes: u64,
    /// x
    pub producer_bytes: u64,
    /// x
    pub transaction_timeout: Duration,
    /// x
    pub session_timeout: Duration,
}
/// x
#[derive(Debug)]
pub struct KafkaBroker {}
impl KafkaBroker {
    /// x
    pub fn connect(_o: KafkaOptions) -> crate::Result<Arc<dyn super::Broker>> {
        Err(crate::Error::internal("stub"))
    }
}
