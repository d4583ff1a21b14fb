//! Reaching the broker.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::broker::kafka::{KafkaBroker, KafkaOptions};
use crate::broker::local::{LocalBroker, LocalOptions};
use crate::config::{BrokerKind, MemoryPlan, Settings};
use crate::runtime::Health;
use crate::{Reaction, Result};

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Pause between attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Connects to the broker that the settings name, and waits until it answers; says so while it does not.
pub(super) fn connect(settings: &Settings, memory: &MemoryPlan, health: &Health) -> Result<Arc<dyn Broker>> {
    let broker: Arc<dyn Broker> = match settings.broker.kind {
        BrokerKind::Local => {
            let dir = settings.instance.data_dir.join(&settings.application).join("log");
            LocalBroker::open(&dir, local_options(settings, memory))?
        }
        BrokerKind::Kafka => KafkaBroker::connect(kafka_options(settings, memory))?,
    };
    loop {
        match broker.ping(ATTEMPT) {
            Ok(()) => break,
            Err(e) if e.reaction() == Reaction::Retry && !health.is_stopping() => {
                health.set_trouble(Some(e.to_string()));
                tracing::warn!(error = %e, "the broker does not answer; waiting for it");
                std::thread::sleep(PAUSE);
            }
            Err(e) => return Err(e),
        }
    }
    health.set_trouble(None);
    Ok(broker)
}

fn local_options(settings: &Settings, memory: &MemoryPlan) -> LocalOptions {
    LocalOptions {
        default_partitions: settings.broker.default_partitions,
        retention_ms: Some(u64::try_from(settings.broker.retention_time.as_millis()).unwrap_or(u64::MAX)),
        retention_bytes: Some(settings.broker.retention_bytes),
        segment_bytes: settings.topics.segment_bytes,
        memory: (memory.consumer + memory.producer).max(16 << 20),
        ..LocalOptions::default()
    }
}

fn kafka_options(settings: &Settings, memory: &MemoryPlan) -> KafkaOptions {
    KafkaOptions {
        bootstrap: settings.broker.bootstrap_servers.clone(),
        client: settings.broker.client.clone(),
        application: settings.application.clone(),
        advertise: settings.instance.advertise.clone(),
        consumer_bytes: memory.consumer,
        producer_bytes: memory.producer,
        transaction_timeout: settings.processing.transaction_timeout,
        session_timeout: settings.broker.session_timeout,
    }
}
