//! What the rest of Keld may rely on from a broker: a partitioned, ordered log with `read_committed` reads, atomic
//! {records + offsets} commits, fencing, and membership of a consumer group.
//!
//! Two implementations: [`local`] (embedded, one RocksDB) and [`kafka`] (the only file that knows rdkafka). The
//! conformance suite in `tests/conformance.rs` runs the same checks over both.
//!
//! Threading: every call may block and none may run on a tokio worker.

pub mod kafka;
pub mod local;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Result;
use crate::config::GroupProtocol;
use crate::record::decode::Headers;

/// Offset of a record in a partition; the first is 0. Positions are the offset of the *next* record.
pub type Offset = i64;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition, from 0.
    pub partition: u32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: u32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// A record as it is read; borrowed from the broker's buffer for the time of the call.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: Offset,
    /// Timestamp stored by the broker, milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Headers. Nothing is read of them until somebody asks: a table without paths to headers does not pay for them.
    pub headers: &'a dyn Headers,
}

impl Message<'_> {
    /// The headers, copied, in order; one without a value has an empty one.
    pub fn owned_headers(&self) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        self.headers.visit(&mut |name, value| all.push((name.to_owned(), value.unwrap_or_default().to_vec())));
        all
    }
}

/// A record to be written.
#[derive(Clone, Debug, Default)]
pub struct NewRecord {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition; the caller chooses it.
    pub partition: u32,
    /// Key.
    pub key: Option<Vec<u8>>,
    /// Value; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Timestamp, milliseconds since the epoch; `None`: now.
    pub timestamp_ms: Option<i64>,
}

impl Default for TopicPartition {
    fn default() -> Self {
        Self::new("", 0)
    }
}

/// How a topic that Keld needs must be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name.
    pub name: String,
    /// Partitions.
    pub partitions: u32,
    /// Replication factor; -1: the broker's default. Ignored by the local broker.
    pub replication: i32,
    /// Keep the last record of every key instead of a span of time.
    pub compacted: bool,
    /// Further settings by their Kafka names (`segment.bytes`, `retention.ms`, …).
    pub settings: BTreeMap<String, String>,
}

/// What is known of a topic that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Partitions.
    pub partitions: u32,
    /// Whether `cleanup.policy` includes `compact`; `None` where the broker does not tell.
    pub compacted: Option<bool>,
    /// `max.message.bytes` of the topic, where the broker tells.
    pub max_message_bytes: Option<u64>,
}

/// Offsets of a partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// First offset that can still be read.
    pub low: Offset,
    /// High watermark: one past the last record, committed or not.
    pub high: Offset,
    /// Last stable offset: one past the last record that a `read_committed` reader can see now.
    pub stable: Offset,
}

/// A broker, connected.
pub trait Broker: Send + Sync + fmt::Debug {
    /// What is known of a topic; `None` if it does not exist. Never creates it.
    fn topic(&self, name: &str) -> Result<Option<TopicInfo>>;

    /// Creates a topic and waits until it can be used. A topic that exists already is not an error.
    fn create_topic(&self, spec: &TopicSpec) -> Result<()>;

    /// Watermarks of a partition, asked of its leader now.
    fn watermarks(&self, tp: &TopicPartition) -> Result<Watermarks>;

    /// Offsets committed by a group (positions), for those partitions that have one.
    fn committed(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Offset)>>;

    /// A consumer of assigned partitions, without group membership, reading committed records only.
    fn consumer(&self, name: &str) -> Result<Box<dyn Consumer>>;

    /// A reader of one partition from `from`, reading committed records only, that knows when it has reached the end.
    fn reader(&self, tp: &TopicPartition, from: Offset) -> Result<Box<dyn LogReader>>;

    /// A transactional producer. Initialising it aborts what an earlier producer of this id left open, and fences that
    /// producer: whatever it does from now on fails with [`crate::Kind::Fenced`].
    fn transactional(&self, transactional_id: &str) -> Result<Box<dyn TransactionalProducer>>;

    /// A plain, idempotent producer, for events that clients send.
    fn appender(&self) -> Result<Arc<dyn Appender>>;

    /// Joins a consumer group on `topics`.
    fn join(&self, member: &MemberConfig) -> Result<Box<dyn Membership>>;

    /// Addresses that the members of a group gave when they joined ([`MemberConfig::advertise`]), as the group knows them now; in
    /// no order. A member that died is among them until its session ends.
    fn members(&self, group: &str, timeout: Duration) -> Result<Vec<String>>;

    /// Sizes, counters and states worth showing, as (name, value); cheap.
    fn stats(&self) -> Vec<(String, f64)> {
        Vec::new()
    }

    /// Cheap check whether the broker answers now; the error says what is wrong.
    fn ping(&self, timeout: Duration) -> Result<()>;
}

/// Reads assigned partitions. One thread uses it.
pub trait Consumer: Send {
    /// Replaces the assignment: reads each partition from its position on. Whatever was prefetched is dropped.
    fn assign(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()>;

    /// Hands at most `max` records to `sink`, waiting at most `timeout` for the first and not at all for the rest;
    /// returns how many. Order within a partition is the log's. An offset that is no longer in the log is an error of
    /// kind [`crate::Kind::Refused`] that names the partition, the offset asked for and the first one there is.
    fn poll(&mut self, max: usize, timeout: Duration, sink: &mut dyn FnMut(Message<'_>)) -> Result<usize>;

    /// Records not yet read of an assigned partition, as of the last fetch; `None` if not known yet.
    fn lag(&self, tp: &TopicPartition) -> Option<i64>;
}

/// What a [`LogReader`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// This many records were handed out, and there may be more.
    Records(usize),
    /// Every record below `to` that is committed has been handed out.
    End {
        /// Last stable offset that the reader has passed.
        to: Offset,
    },
}

/// Reads one partition to its end: restores, standbys, audits.
pub trait LogReader: Send {
    /// Hands at most `max` records to `sink`, waiting at most `timeout`.
    fn read(&mut self, max: usize, timeout: Duration, sink: &mut dyn FnMut(Message<'_>)) -> Result<Progress>;
}

/// Proof of the group membership under which something was consumed; opaque.
#[derive(Clone)]
pub struct GroupToken(pub(crate) Arc<dyn Any + Send + Sync>);

impl fmt::Debug for GroupToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupToken")
    }
}

/// Writes records and consumer offsets atomically. One thread uses it.
///
/// Calls in order: `begin`, `send`…, `drain`, `send_offsets`, `commit`; `abort` at any time after `begin`.
pub trait TransactionalProducer: Send {
    /// Begins a transaction.
    fn begin(&mut self) -> Result<()>;
    /// Queues a record. Blocks while the producer's queue is full.
    fn send(&mut self, record: &NewRecord) -> Result<()>;
    /// Whether what is queued is written while more is still to come, so that sending early leaves less to wait for.
    fn writes_ahead(&self) -> bool {
        false
    }
    /// Waits until every queued record is acknowledged.
    fn drain(&mut self) -> Result<()>;
    /// Adds consumed positions of `group` to the transaction. Fails with [`crate::Kind::AbortRequired`] if the group has
    /// moved on since `token`. `positions` must not be empty: only this request is checked against the group.
    fn send_offsets(&mut self, positions: &[(TopicPartition, Offset)], token: &GroupToken) -> Result<()>;
    /// Commits. When it returns, the records will be visible to `read_committed` readers whatever happens (at once on the
    /// embedded log; Kafka writes its markers after it has answered: a few milliseconds) and survive a crash of the broker
    /// as far as the broker promises. Returns the highest offset written per touched partition.
    fn commit(&mut self) -> Result<Vec<(TopicPartition, Offset)>>;
    /// Aborts; nothing of the transaction will ever be visible.
    fn abort(&mut self) -> Result<()>;
}

/// Appends records of clients.
pub trait Appender: Send + Sync {
    /// Appends all and waits until they are acknowledged as durable; returns their offsets in the order given.
    fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Offset>>;
}

/// How an instance joins its group.
#[derive(Clone, Debug)]
pub struct MemberConfig {
    /// Group id.
    pub group: String,
    /// Topics whose partitions the group shares out.
    pub topics: Vec<String>,
    /// Static member id; `None`: dynamic member.
    pub static_id: Option<String>,
    /// Address of this instance, published through the group (`client.id`).
    pub advertise: String,
    /// How long the group waits for a member that is silent. The broker's own setting counts with [`GroupProtocol::Consumer`].
    pub session_timeout: Duration,
    /// Who shares the partitions out.
    pub protocol: GroupProtocol,
}

/// Something that happened to the membership.
#[derive(Debug)]
pub enum MemberEvent {
    /// These partitions are ours from now on, under `token`.
    Assigned {
        /// What was added.
        partitions: Vec<TopicPartition>,
        /// Proof for commits of what is consumed from now on.
        token: GroupToken,
    },
    /// These partitions will be taken away; finish or abort, then [`Membership::release`].
    Revoked {
        /// What goes.
        partitions: Vec<TopicPartition>,
        /// Whether they are gone already, so that nothing may be committed any more.
        lost: bool,
    },
    /// The group has settled, and everything that is ours in it was told before: what we do not hold now is somebody else's.
    /// Use this token from now on.
    Renewed {
        /// New proof.
        token: GroupToken,
    },
    /// [`Membership::leave`] is done: whatever was held was released, and the group knows.
    Left,
}

/// Membership of a group. Some thread must call `poll` often (at least each second).
pub trait Membership: Send {
    /// Waits at most `timeout` for the next event.
    fn poll(&mut self, timeout: Duration) -> Result<Option<MemberEvent>>;
    /// Says that revoked partitions are released; the group may give them away.
    fn release(&mut self, partitions: &[TopicPartition]) -> Result<()>;
    /// Begins to leave the group, also as a static member: what is held is asked back through `poll`, and must be released; then
    /// the others get it without waiting for the session to end, and [`MemberEvent::Left`] is told.
    fn leave(&mut self) -> Result<()>;
    /// Takes part again after [`Membership::leave`].
    fn rejoin(&mut self) -> Result<()>;
    /// Ends. Who has not left before: a dynamic member leaves, a static one goes silent, so that it can come back without a
    /// rebalance.
    fn close(self: Box<Self>) -> Result<()>;
}
