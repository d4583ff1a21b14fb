//! Transactions.
//!
//! Owns one transactional producer of librdkafka and the tally of what the current transaction has written.
//!
//! Three pauses of librdkafka are avoided here (all measured): a commit with records in flight takes at least 100 ms, and
//! so do offsets that are sent before the records are. So everything is drained first. A transaction that begins while the broker
//! still writes the markers of the one before is refused and tried again after 20 ms. So that is waited for.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rdkafka::Offset as At;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::util::{IntoOpaque, Timeout};

use super::errors::{advised, code_of, error, placed, transaction_kind};
use super::watch::{Listener, listens};
use super::{PATIENCE, Shared, partition_id, settings};
use crate::broker::{GroupToken, NewRecord, Offset, TopicPartition, TransactionalProducer};
use crate::{Error, Kind, Result};

/// Pause while librdkafka's queue is full, or while it counts down to nothing in flight.
const BREATH: Duration = Duration::from_micros(200);
/// How long the markers of a transaction that is committed may take: of those that registered their partitions less than 2 ms after
/// the commit before was answered 30 % were refused, after 2 to 4 ms 6 %, later 0.2 % (`benches/RESULTS.md`, 2026-11-28). To register
/// takes a millisecond of librdkafka's timer.
const MARKERS: Duration = Duration::from_millis(3);
/// How long one call waits for a broker that is away. The transaction itself may live longer: calls can be repeated.
const CALL: Duration = Duration::from_secs(10);
/// Pause before a broker that is away is asked again.
const LATER: Duration = Duration::from_millis(100);

/// A transactional producer.
pub(super) struct KafkaProducer {
    id: String,
    /// Addresses it was given.
    bootstrap: String,
    client: ThreadedProducer<Deliveries>,
    tally: Arc<Tally>,
    /// Records queued in this transaction.
    sent: u64,
    timeout: Duration,
    /// When the last transaction was ended.
    ended: Option<Instant>,
}

/// What became of the records of the current transaction.
#[derive(Default)]
struct Tally {
    counts: Mutex<Counts>,
    changed: Condvar,
}

#[derive(Default)]
struct Counts {
    /// Records whose fate is known.
    done: u64,
    /// How many somebody waits for: a wake-up for every record would cost more than the record.
    awaited: Option<u64>,
    /// Highest offset written per partition; few, and in runs, so the last one is looked at first.
    highest: Vec<(TopicPartition, Offset)>,
    last: usize,
    failure: Option<Failure>,
}

/// The first record that could not be written; one that was only put away gives way to others.
struct Failure {
    tp: TopicPartition,
    bytes: usize,
    cause: KafkaError,
}

impl Failure {
    /// Whether the record was only put away because something else had gone wrong.
    fn is_of_others(&self) -> bool {
        code_of(&self.cause) == Some(Code::PurgeQueue)
    }
}

impl Counts {
    fn failed(&mut self, failure: impl FnOnce() -> Failure) {
        if self.failure.as_ref().is_none_or(Failure::is_of_others) {
            self.failure = Some(failure());
        }
    }

    fn wrote(&mut self, topic: &str, partition: u32, offset: Offset) {
        let is_it = |(tp, _): &(TopicPartition, Offset)| tp.partition == partition && *tp.topic == *topic;
        if !self.highest.get(self.last).is_some_and(is_it) {
            self.last = self.highest.iter().position(is_it).unwrap_or(self.highest.len());
        }
        match self.highest.get_mut(self.last) {
            Some((_, highest)) => *highest = offset.max(*highest),
            None => self.highest.push((TopicPartition::new(topic, partition), offset)),
        }
    }
}

/// Hears of deliveries, on librdkafka's polling thread.
struct Deliveries {
    watch: Listener,
    tally: Arc<Tally>,
}

listens!(Deliveries);

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut counts = self.tally.counts.lock();
        counts.done += 1;
        match result {
            Ok(m) => counts.wrote(m.topic(), u32::try_from(m.partition()).unwrap_or(u32::MAX), m.offset()),
            Err((cause, m)) => counts.failed(|| {
                let tp = TopicPartition::new(m.topic(), u32::try_from(m.partition()).unwrap_or(u32::MAX));
                Failure { tp, bytes: m.key_len() + m.payload_len(), cause: cause.clone() }
            }),
        }
        let enough = counts.awaited.is_some_and(|n| counts.done >= n);
        drop(counts);
        if enough {
            self.tally.changed.notify_all();
        }
    }
}

/// Queues a record, waiting while the queue is full; `Err` gives back librdkafka's reason.
pub(super) fn enqueue<C: ProducerContext + 'static>(
    client: &ThreadedProducer<C>,
    record: &NewRecord,
    opaque: C::DeliveryOpaque,
    patience: Duration,
) -> Result<(), (KafkaError, C::DeliveryOpaque)>
where
    C::DeliveryOpaque: IntoOpaque,
{
    let mut next: BaseRecord<'_, [u8], [u8], C::DeliveryOpaque> =
        BaseRecord::with_opaque_to(&record.topic, opaque).partition(partition_id(record.partition));
    next.key = record.key.as_deref();
    next.payload = record.payload.as_deref();
    next.timestamp = record.timestamp_ms;
    next.headers = headers(&record.headers);
    let deadline = Instant::now() + patience;
    loop {
        match client.send(next) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(Code::QueueFull), back)) if Instant::now() < deadline => {
                next = back;
                thread::sleep(BREATH);
            }
            Err((cause, back)) => return Err((cause, back.delivery_opaque)),
        }
    }
}

fn headers(list: &[(String, Vec<u8>)]) -> Option<OwnedHeaders> {
    if list.is_empty() {
        return None;
    }
    let add = |all: OwnedHeaders, (key, value): &(String, Vec<u8>)| all.insert(Header { key, value: Some(value) });
    Some(list.iter().fold(OwnedHeaders::new_with_capacity(list.len()), add))
}

impl KafkaProducer {
    pub(super) fn new(shared: &Shared, id: &str) -> Result<Self> {
        let tally = Arc::new(Tally::default());
        let watch = Listener(shared.watches.open(format!("transactions of {id}")));
        let client = settings::transactional(&shared.options, id)
            .create_with_context(Deliveries { watch, tally: Arc::clone(&tally) })
            .map_err(|e| error(format!("making transactional producer {id}"), e))?;
        let timeout = shared.options.transaction_timeout;
        let bootstrap = shared.options.bootstrap.clone();
        let producer = Self { id: id.to_owned(), bootstrap, client, tally, sent: 0, timeout, ended: None };
        producer.persist("taking over", PATIENCE, |p, left| p.init_transactions(left))?;
        Ok(producer)
    }

    /// Repeats a call while librdkafka says that it may be repeated, for at most `patience`.
    fn persist(
        &self,
        doing: &str,
        patience: Duration,
        call: impl Fn(&ThreadedProducer<Deliveries>, Timeout) -> KafkaResult<()>,
    ) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match call(&self.client, Timeout::After(left)) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(e)) if e.is_retriable() && !left.is_zero() => {
                    tracing::debug!(target: "kafka", id = self.id, doing, error = %e, "trying again");
                    thread::sleep(LATER.min(left));
                }
                Err(cause) => return Err(self.error(doing, cause)),
            }
        }
    }

    fn error(&self, doing: &str, cause: KafkaError) -> Error {
        let fatal = self.client.client().fatal_error();
        let code = fatal.as_ref().map(|(code, _)| *code).or_else(|| code_of(&cause)).unwrap_or(Code::Unknown);
        let kind = match &cause {
            KafkaError::Transaction(e) => {
                transaction_kind(code, fatal.is_some() || e.is_fatal(), e.txn_requires_abort())
            }
            // A record that cannot be queued or written takes its transaction with it.
            KafkaError::MessageProduction(_) => transaction_kind(code, fatal.is_some(), true),
            _ => transaction_kind(code, fatal.is_some(), false),
        };
        let words = fatal.map_or_else(String::new, |(_, words)| format!(" ({words})"));
        let text = format!("transactional id {}: {doing}{words}", self.id);
        let text = if kind == Kind::BrokerAway { placed(&self.bootstrap, &text) } else { text };
        advised(Error::new(kind, text).because(cause), Some(code))
    }

    /// Waits until the fate of every record is known.
    fn settle(&self) -> Result<()> {
        // Undelivered records are given up by librdkafka after the transaction's timeout; the rest is for its slowness.
        let deadline = Instant::now() + self.timeout + Duration::from_secs(5);
        let mut counts = self.tally.counts.lock();
        counts.awaited = Some(self.sent);
        while counts.done < self.sent {
            if self.tally.changed.wait_until(&mut counts, deadline).timed_out() && counts.done < self.sent {
                let left = self.sent - counts.done;
                let text = format!("transactional id {}: {left} records are neither written nor given up", self.id);
                return Err(
                    Error::new(Kind::BrokerAway, placed(&self.bootstrap, &text)).advise("abort, then try again")
                );
            }
        }
        counts.awaited = None;
        drop(counts);
        // librdkafka counts a record until its report is put away, a moment later.
        while self.client.in_flight_count() > 0 && Instant::now() < deadline {
            thread::sleep(BREATH / 4);
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.sent = 0;
        *self.tally.counts.lock() = Counts::default();
    }
}

impl TransactionalProducer for KafkaProducer {
    fn begin(&mut self) -> Result<()> {
        if let Some(left) = self.ended.and_then(|at| MARKERS.checked_sub(at.elapsed())) {
            thread::sleep(left);
        }
        self.client.begin_transaction().map_err(|e| self.error("beginning a transaction", e))?;
        self.forget();
        Ok(())
    }

    fn send(&mut self, record: &NewRecord) -> Result<()> {
        match enqueue(&self.client, record, (), self.timeout + Duration::from_secs(5)) {
            Ok(()) => {
                self.sent += 1;
                Ok(())
            }
            Err((cause, ())) => {
                // A record that was refused has ended the transaction while more was sent: that says what is wrong.
                if code_of(&cause) == Some(Code::State) {
                    self.drain()?;
                }
                let bytes = record.key.as_ref().map_or(0, Vec::len) + record.payload.as_ref().map_or(0, Vec::len);
                let doing = format!("queueing a record of {bytes} bytes for {}[{}]", record.topic, record.partition);
                Err(self.error(&doing, cause))
            }
        }
    }

    fn writes_ahead(&self) -> bool {
        true
    }

    fn drain(&mut self) -> Result<()> {
        self.settle()?;
        let counts = self.tally.counts.lock();
        let Some(failure) = &counts.failure else { return Ok(()) };
        let doing = format!("writing a record of {} bytes to {}", failure.bytes, failure.tp);
        Err(self.error(&doing, KafkaError::MessageProduction(code_of(&failure.cause).unwrap_or(Code::Unknown))))
    }

    fn send_offsets(&mut self, positions: &[(TopicPartition, Offset)], token: &GroupToken) -> Result<()> {
        if positions.is_empty() {
            return Err(Error::bad_request("a transaction without offsets is not checked against the group"));
        }
        let Some(group) = token.0.downcast_ref::<ConsumerGroupMetadata>() else {
            return Err(Error::internal("the group token is of another broker"));
        };
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (tp, offset) in positions {
            list.add_partition_offset(&tp.topic, partition_id(tp.partition), At::Offset(*offset))
                .map_err(|e| error(format!("{tp}: offset {offset} cannot be a position"), e))?;
        }
        self.persist("sending offsets", self.timeout.min(CALL), |p, left| {
            p.send_offsets_to_transaction(&list, group, left)
        })
    }

    fn commit(&mut self) -> Result<Vec<(TopicPartition, Offset)>> {
        self.drain()?;
        // Not without a limit: librdkafka would wait for the broker for ever. What took too long goes on in the background,
        // and the next call of `commit` takes it up again.
        self.persist("committing", self.timeout.min(CALL), |p, left| p.commit_transaction(left))?;
        self.ended = Some(Instant::now());
        Ok(std::mem::take(&mut self.tally.counts.lock().highest))
    }

    fn abort(&mut self) -> Result<()> {
        self.persist("aborting", self.timeout.min(CALL), |p, left| p.abort_transaction(left))?;
        self.ended = Some(Instant::now());
        self.forget();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tally_keeps_the_highest_offset_of_each_partition() {
        let mut counts = Counts::default();
        for (topic, partition, offset) in [("a", 0, 5), ("a", 1, 9), ("b", 0, 1), ("a", 0, 7), ("a", 0, 6)] {
            counts.wrote(topic, partition, offset);
        }
        let tp = TopicPartition::new;
        assert_eq!(counts.highest, [(tp("a", 0), 7), (tp("a", 1), 9), (tp("b", 0), 1)]);
    }

    #[test]
    fn the_record_that_was_refused_is_told_whatever_was_put_away_before_or_failed_behind_it() {
        let mut counts = Counts::default();
        for (partition, code) in
            [(0, Code::PurgeQueue), (1, Code::MessageSizeTooLarge), (2, Code::PurgeQueue), (3, Code::NotEnoughReplicas)]
        {
            let tp = TopicPartition::new("a", partition);
            counts.failed(|| Failure { tp, bytes: 1, cause: KafkaError::MessageProduction(code) });
        }
        assert_eq!(counts.failure.map(|f| f.tp.partition), Some(1));
    }
}
