//! Appends of clients: idempotent, acknowledged by all replicas in sync.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{Producer as _, ProducerContext, ThreadedProducer};

use super::errors::{code_of, error};
use super::producer::enqueue;
use super::watch::{Listener, listens};
use super::{PATIENCE, Shared, settings};
use crate::broker::{Appender, NewRecord, Offset};
use crate::{Error, Kind, Result};

/// An appender shared by all threads.
pub(super) struct KafkaAppender {
    shared: Arc<Shared>,
    client: Mutex<Arc<ThreadedProducer<Acknowledgements>>>,
}

/// Hears of deliveries, on librdkafka's polling thread.
struct Acknowledgements {
    watch: Listener,
}

listens!(Acknowledgements);

/// One call of `append`.
struct Batch {
    state: Mutex<BatchState>,
    changed: Condvar,
}

struct BatchState {
    /// Records whose fate is not known yet.
    open: usize,
    offsets: Vec<Offset>,
    failure: Option<KafkaError>,
    failed: usize,
}

/// The place of a record in its batch.
struct Ticket {
    batch: Arc<Batch>,
    index: usize,
}

impl Batch {
    fn done(&self, index: usize, result: Result<Offset, KafkaError>) {
        let mut state = self.state.lock();
        state.open -= 1;
        match result {
            Ok(offset) => state.offsets[index] = offset,
            Err(cause) => {
                state.failed += 1;
                state.failure.get_or_insert(cause);
            }
        }
        if state.open == 0 {
            self.changed.notify_all();
        }
    }
}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let result = result.as_ref().map(|m| m.offset()).map_err(|(cause, _)| cause.clone());
        ticket.batch.done(ticket.index, result);
    }
}

impl KafkaAppender {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self> {
        let client = Mutex::new(Arc::new(open(&shared)?));
        Ok(Self { shared, client })
    }

    /// The producer; a new one if the last one died.
    fn client(&self) -> Result<Arc<ThreadedProducer<Acknowledgements>>> {
        let mut slot = self.client.lock();
        if let Some((code, words)) = slot.client().fatal_error() {
            tracing::warn!(target: "kafka", ?code, words, "the appending producer died; making another one");
            *slot = Arc::new(open(&self.shared)?);
        }
        Ok(Arc::clone(&slot))
    }
}

/// How long a record may take: whoever gives transactions longer has brokers that take longer to choose leaders.
fn patience(shared: &Shared) -> Duration {
    PATIENCE.max(shared.options.transaction_timeout)
}

fn open(shared: &Shared) -> Result<ThreadedProducer<Acknowledgements>> {
    let watch = Listener(shared.watches.open("appender"));
    settings::appender(&shared.options, patience(shared))
        .create_with_context(Acknowledgements { watch })
        .map_err(|e| error("making the appending producer", e))
}

impl Appender for KafkaAppender {
    fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Offset>> {
        let count = records.len();
        let Some(topic) = records.first().map(|r| Arc::clone(&r.topic)) else { return Ok(Vec::new()) };
        let (client, patience) = (self.client()?, patience(&self.shared));
        let state = BatchState { open: count, offsets: vec![-1; count], failure: None, failed: 0 };
        let batch = Arc::new(Batch { state: Mutex::new(state), changed: Condvar::new() });
        for (index, record) in records.iter().enumerate() {
            let ticket = Box::new(Ticket { batch: Arc::clone(&batch), index });
            if let Err((cause, ticket)) = enqueue(&client, record, ticket, patience) {
                ticket.batch.done(index, Err(cause));
            }
        }
        let mut state = batch.state.lock();
        while state.open > 0 {
            // Each record ends within librdkafka's message timeout: no limit is needed here but against a defect.
            if batch.changed.wait_for(&mut state, patience * 2 + Duration::from_secs(5)).timed_out() && state.open > 0 {
                return Err(Error::internal(format!("{} of {count} records for {topic} were forgotten", state.open)));
            }
        }
        match state.failure.take() {
            None => Ok(std::mem::take(&mut state.offsets)),
            Some(cause) => Err(failed(&topic, state.failed, count, cause)),
        }
    }
}

fn failed(topic: &str, failed: usize, count: usize, cause: KafkaError) -> Error {
    let text = format!("{failed} of {count} records for {topic} and others were not appended");
    match code_of(&cause) {
        // The producer died; the next call makes another one, and repeated events do no harm.
        Some(Code::Fatal | Code::PurgeQueue | Code::PurgeInflight) => {
            Error::new(Kind::BrokerAway, text).because(cause).advise("send them again")
        }
        _ => error(text, cause),
    }
}
