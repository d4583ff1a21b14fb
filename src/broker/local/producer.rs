//! Producers: transactions, and appends of clients.

use std::sync::Arc;

use super::group::LocalToken;
use super::log::{Append, Appended, Fence, Positions, Request};
use super::shared::Shared;
use super::stored::RecordBuffer;
use super::topics::Partition;
use crate::broker::{Appender, GroupToken, NewRecord, Offset, TopicPartition, TransactionalProducer};
use crate::{Error, Kind, Result};

/// Encodes a record into a buffer, if its partition takes it.
fn queue(shared: &Shared, partition: Arc<Partition>, buffer: &mut RecordBuffer, record: &NewRecord) -> Result<()> {
    if partition.compacted && record.key.is_none() {
        return Err(Error::bad_request(format!("{partition} is compacted: a record without a key cannot be kept")));
    }
    let size = record.key.as_ref().map_or(0, Vec::len)
        + record.payload.as_ref().map_or(0, Vec::len)
        + record.headers.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>();
    let most = partition.limits.max_message_bytes;
    if size as u64 > most {
        return Err(Error::bad_request(format!("{partition}: a record of {size} bytes is larger than {most}"))
            .advise("raise max.message.bytes of the topic or send smaller records"));
    }
    if let Some(error) = shared.failed() {
        return Err(error);
    }
    buffer.push(partition, record);
    Ok(())
}

/// The partition of a record. Records of one partition tend to come together, so the last one is asked first.
fn place(shared: &Shared, last: &mut Option<Arc<Partition>>, record: &NewRecord) -> Result<Arc<Partition>> {
    if let Some(p) = last
        && p.index == record.partition
        && p.topic == record.topic
    {
        return Ok(p.clone());
    }
    let found = shared.topics.partition(&record.topic, record.partition)?;
    *last = Some(found.clone());
    Ok(found)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No transaction.
    Idle,
    /// Between `begin` and `commit`.
    Open,
    /// Only `abort` helps.
    MustAbort,
}

/// A transactional producer: the transaction lives in its memory until it is committed, so the log never holds
/// anything of an open one. Its size is bounded by the caller, who decides when to commit.
pub(super) struct LocalProducer {
    shared: Arc<Shared>,
    fence: Fence,
    phase: Phase,
    records: RecordBuffer,
    positions: Option<Positions>,
    last: Option<Arc<Partition>>,
}

impl LocalProducer {
    pub(super) fn new(shared: Arc<Shared>, fence: Fence) -> Self {
        Self { shared, fence, phase: Phase::Idle, records: RecordBuffer::default(), positions: None, last: None }
    }

    /// Refuses what cannot be done now.
    fn expect_open(&self, call: &str) -> Result<()> {
        self.fence.check()?;
        match self.phase {
            Phase::Open => Ok(()),
            Phase::Idle => Err(self.misuse(call, "no transaction is open")),
            Phase::MustAbort => Err(Error::new(
                Kind::AbortRequired,
                format!("transactional id {}: {call}: the transaction must be aborted", self.fence.id),
            )),
        }
    }

    fn misuse(&self, call: &str, why: &str) -> Error {
        Error::internal(format!("transactional id {}: {call}: {why}", self.fence.id))
    }

    /// Notes that an error of this kind leaves nothing but an abort.
    fn note<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(e) = &result
            && e.kind() == Kind::AbortRequired
        {
            self.phase = Phase::MustAbort;
        }
        result
    }

    fn reset(&mut self) {
        self.records.clear();
        self.positions = None;
        self.phase = Phase::Idle;
    }

    fn positions(&self, positions: &[(TopicPartition, Offset)], token: &GroupToken) -> Result<Positions> {
        if positions.is_empty() {
            return Err(Error::bad_request(format!(
                "transactional id {}: an empty list of positions would not be checked against the group",
                self.fence.id
            )));
        }
        let token = token.0.downcast_ref::<LocalToken>().ok_or_else(|| {
            Error::bad_request(format!("transactional id {}: the token is of another broker", self.fence.id))
        })?;
        let place =
            |(tp, at): &(TopicPartition, Offset)| Ok((self.shared.topics.partition(&tp.topic, tp.partition)?, *at));
        let list = positions.iter().map(place).collect::<Result<_>>()?;
        let own = Positions { group: token.group.clone(), generation: token.generation, list };
        own.check()?;
        Ok(own)
    }
}

impl TransactionalProducer for LocalProducer {
    fn begin(&mut self) -> Result<()> {
        self.fence.check()?;
        if self.phase != Phase::Idle {
            return Err(self.misuse("begin", "a transaction is open already"));
        }
        self.phase = Phase::Open;
        Ok(())
    }

    fn send(&mut self, record: &NewRecord) -> Result<()> {
        self.expect_open("send")?;
        let partition = place(&self.shared, &mut self.last, record)?;
        queue(&self.shared, partition, &mut self.records, record)
    }

    fn drain(&mut self) -> Result<()> {
        self.expect_open("drain")
    }

    fn send_offsets(&mut self, positions: &[(TopicPartition, Offset)], token: &GroupToken) -> Result<()> {
        self.expect_open("send_offsets")?;
        let own = self.positions(positions, token);
        let own = self.note(own)?;
        match &mut self.positions {
            Some(before) if before.group.name == own.group.name => before.list.extend(own.list),
            Some(_) => return Err(self.misuse("send_offsets", "the transaction has positions of another group")),
            None => self.positions = Some(own),
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<Vec<(TopicPartition, Offset)>> {
        self.expect_open("commit")?;
        let append = Append {
            records: std::mem::take(&mut self.records),
            positions: self.positions.take(),
            fence: Some(self.fence.clone()),
        };
        let done = self.shared.ask(|reply| Request::Append(append, reply));
        // Whatever went wrong: the records have left, so only an abort may follow.
        self.phase = if done.is_ok() { Phase::Idle } else { Phase::MustAbort };
        let done = done?;
        let highest = highest(&done);
        self.records = done.records;
        self.records.clear();
        Ok(highest)
    }

    fn abort(&mut self) -> Result<()> {
        self.fence.check()?;
        if self.phase == Phase::Idle {
            return Err(self.misuse("abort", "no transaction is open"));
        }
        self.reset();
        Ok(())
    }
}

/// The highest offset written per partition, by topic and partition.
fn highest(done: &Appended) -> Vec<(TopicPartition, Offset)> {
    let mut out = std::collections::BTreeMap::new();
    for (record, offset) in done.records.iter().zip(&done.offsets) {
        out.insert((record.partition.topic_id, record.partition.index), (record.partition, *offset));
    }
    let mut list: Vec<_> = out.into_values().map(|(p, at)| (p.tp(), at)).collect();
    list.sort_unstable();
    list
}

/// Appends of clients: each call is one batch, all or nothing.
pub(super) struct LocalAppender {
    shared: Arc<Shared>,
}

impl LocalAppender {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Appender for LocalAppender {
    fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Offset>> {
        let mut buffer = RecordBuffer::default();
        let mut last = None;
        for record in &records {
            let partition = place(&self.shared, &mut last, record)?;
            queue(&self.shared, partition, &mut buffer, record)?;
        }
        drop(records);
        let append = Append { records: buffer, ..Append::default() };
        Ok(self.shared.ask(|reply| Request::Append(append, reply))?.offsets)
    }
}
