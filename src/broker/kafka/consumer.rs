//! Reads assigned partitions, without membership of a group.
//!
//! Owns the positions that were handed out. Messages are lent to the caller straight out of librdkafka's buffers.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::Offset as At;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::errors::{advised, code_of, error, placed};
use super::watch::{Listener, Watch};
use super::{Shared, partition_id, settings};
use crate::broker::{Consumer, Message, Offset, TopicPartition};
use crate::record::decode::Headers;
use crate::{Error, Kind, Result};

/// How long the first question for a partition's end may take.
const GLANCE: Duration = Duration::from_secs(1);

/// A consumer of assigned partitions.
pub(super) struct KafkaConsumer {
    shared: Arc<Shared>,
    client: BaseConsumer<Listener>,
    watch: Arc<Watch>,
    slots: Slots,
    /// An error that came after records of the same poll; told by the next poll.
    pending: Option<Error>,
}

/// The assigned partitions.
#[derive(Default)]
struct Slots {
    all: Vec<Slot>,
    /// Slot of the last message: messages come in runs of one partition.
    last: usize,
}

/// An assigned partition.
struct Slot {
    tp: TopicPartition,
    /// Offset after the last record handed out.
    next: Offset,
    /// Last stable offset, asked for where the statistics do not tell yet.
    end: Cell<Option<Offset>>,
}

impl Slots {
    /// Hands out a message and moves its partition's position; `false`: it is of no partition assigned now.
    fn hand_out(&mut self, message: &BorrowedMessage<'_>, sink: &mut dyn FnMut(Message<'_>)) -> bool {
        let (topic, partition) = (message.topic(), u32::try_from(message.partition()).unwrap_or(u32::MAX));
        let is_it = |s: &Slot| s.tp.partition == partition && *s.tp.topic == *topic;
        if !self.all.get(self.last).is_some_and(is_it) {
            let Some(at) = self.all.iter().position(is_it) else { return false };
            self.last = at;
        }
        self.all[self.last].next = message.offset() + 1;
        sink(lend(message, topic, partition));
        true
    }
}

impl KafkaConsumer {
    pub(super) fn new(shared: Arc<Shared>, name: &str) -> Result<Self> {
        let watch = shared.watches.open(name);
        let config = settings::data(&shared.options, shared.options.consumer_bytes, true, false);
        let client = config
            .create_with_context(Listener(Arc::clone(&watch)))
            .map_err(|e| error(format!("making consumer {name}"), e))?;
        Ok(Self { shared, client, watch, slots: Slots::default(), pending: None })
    }

    /// What an error from polling means; `None`: nothing that the caller has to know.
    fn judge(&self, cause: KafkaError) -> Option<Error> {
        match code_of(&cause) {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => Some(self.out_of_range(cause)),
            _ => trouble(&self.shared.options.bootstrap, &self.watch, cause),
        }
    }

    /// librdkafka does not say which partition it was, so every one is compared with its log.
    fn out_of_range(&self, cause: KafkaError) -> Error {
        for slot in &self.slots.all {
            match self.shared.admin.watermarks(&slot.tp) {
                Ok(marks) if slot.next < marks.low || slot.next > marks.high => {
                    return outside(&slot.tp, slot.next, marks.low, marks.high).because(cause);
                }
                Ok(_) => {}
                Err(e) => return e.within("an offset is out of range, and it cannot be told which"),
            }
        }
        // The log changed again in between: it is in range now, but the fetching has stopped.
        let text = format!("an offset was out of range and is not any more: {}", self.watch.words());
        Error::new(Kind::BrokerAway, text).because(cause).advise("assign the partitions again")
    }
}

/// What an error from polling the cluster at these addresses means, apart from positions; `None`: nothing that the caller has to know.
pub(super) fn trouble(at: &str, watch: &Watch, cause: KafkaError) -> Option<Error> {
    let (code, doing) = (code_of(&cause), placed(at, &format!("reading: {}", watch.words())));
    match code {
        // One connection of several; when all are gone, that is told apart.
        Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut) => None,
        // Not a question that somebody asked: a topic that was there is gone.
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
            Some(advised(Error::refused(doing).because(cause), code))
        }
        _ => Some(error(doing, cause)),
    }
}

/// The error for a position outside of the log.
pub(super) fn outside(tp: &TopicPartition, asked: Offset, low: Offset, high: Offset) -> Error {
    let text = format!("{tp}: offset {asked} is not in the log, whose first offset is {low} and whose end is {high}");
    let advice = if asked < low {
        "the topic's retention removed records before they were read: raise it, and decide whether to go on without them"
    } else {
        "the topic was made anew or lost its tail: start over under a new application name, or rebuild"
    };
    Error::refused(text).advise(advice)
}

/// Lends a message to the rest of Keld, without a copy.
pub(super) fn lend<'a>(message: &'a BorrowedMessage<'_>, topic: &'a str, partition: u32) -> Message<'a> {
    Message {
        topic,
        partition,
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key(),
        payload: message.payload(),
        headers: message,
    }
}

impl Headers for BorrowedMessage<'_> {
    fn visit(&self, sink: &mut dyn FnMut(&str, Option<&[u8]>)) {
        let Some(headers) = self.headers() else { return };
        for at in 0..headers.count() {
            // rdkafka panics over a name that is not UTF-8; nobody can have asked for that one.
            if let Ok(Some(header)) = catch_unwind(AssertUnwindSafe(|| headers.try_get(at))) {
                sink(header.key, header.value);
            }
        }
    }
}

/// The list of librdkafka that means these positions.
pub(super) fn positions(list: &[(TopicPartition, Offset)]) -> Result<TopicPartitionList> {
    let mut out = TopicPartitionList::with_capacity(list.len());
    for (tp, offset) in list {
        out.add_partition_offset(&tp.topic, partition_id(tp.partition), At::Offset(*offset))
            .map_err(|e| error(format!("{tp}: offset {offset} cannot be a position"), e))?;
    }
    Ok(out)
}

/// Replaces the assignment of a client, and waits until what it read before has stopped.
pub(super) fn reassign<C: ConsumerContext>(client: &BaseConsumer<C>, list: &TopicPartitionList) -> KafkaResult<()> {
    client.assign(list)?;
    settle(client)
}

/// Waits until librdkafka has stopped the partitions that were taken away.
///
/// Taking a partition away a second time while it is still stopping makes librdkafka abort the process (2.12 to 2.15,
/// issue 5573), and closing the client takes everything away. Its main thread serves one queue in order: when the first
/// question is answered, every stop that was asked for is carried out and its completion queued; when the second one is
/// answered, the completion is, too.
pub(super) fn settle<C: ConsumerContext>(client: &BaseConsumer<C>) -> KafkaResult<()> {
    client.assignment()?;
    client.assignment().map(drop)
}

impl Consumer for KafkaConsumer {
    fn assign(&mut self, list: &[(TopicPartition, Offset)]) -> Result<()> {
        reassign(&self.client, &positions(list)?).map_err(|e| error("assigning partitions", e))?;
        let slot = |(tp, next): &(TopicPartition, Offset)| Slot { tp: tp.clone(), next: *next, end: Cell::new(None) };
        self.slots = Slots { all: list.iter().map(slot).collect(), last: 0 };
        self.pending = None;
        self.watch.forget_tails();
        Ok(())
    }

    fn poll(&mut self, max: usize, timeout: Duration, sink: &mut dyn FnMut(Message<'_>)) -> Result<usize> {
        if let Some(e) = self.pending.take() {
            return Err(e);
        }
        let deadline = Instant::now() + timeout;
        let mut given = 0;
        while given < max {
            let wait = if given == 0 { deadline.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            match self.client.poll(wait) {
                None if given > 0 || wait.is_zero() => break,
                None => {}
                Some(Ok(message)) => given += usize::from(self.slots.hand_out(&message, sink)),
                Some(Err(cause)) => match self.judge(cause) {
                    Some(e) if given == 0 => return Err(e),
                    Some(e) => {
                        self.pending = Some(e);
                        break;
                    }
                    None => {}
                },
            }
        }
        Ok(given)
    }

    fn lag(&self, tp: &TopicPartition) -> Option<i64> {
        let slot = self.slots.all.iter().find(|s| s.tp == *tp)?;
        if let Some(lag) = self.watch.tail(&tp.topic, tp.partition).and_then(|tail| tail.lag(slot.next)) {
            return Some(lag);
        }
        if slot.end.get().is_none() {
            slot.end.set(self.shared.admin.stable(tp, GLANCE).ok());
        }
        slot.end.get().map(|end| (end - slot.next).max(0))
    }
}
