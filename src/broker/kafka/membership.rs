//! Membership of the group.
//!
//! Owns a thread that does nothing but poll librdkafka, so that rebalances go on while the worker is busy. What happens
//! to the membership goes to the worker through a bounded queue. Before partitions are given away, the thread waits
//! until the worker has released them: at most [`RELEASE`], since the whole group waits with it.
//!
//! Nothing is fetched: assigned partitions are paused at once, and begin at offset 0, which needs no question to anyone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use parking_lot::{Condvar, Mutex};
use rdkafka::Offset as At;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::consumer::settle;
use super::errors::{advised, code_of, error, kind_of};
use super::watch::{Listener, listens};
use super::{Shared, settings};
use crate::broker::{GroupToken, MemberConfig, MemberEvent, Membership, TopicPartition};
use crate::config::GroupProtocol;
use crate::{Error, Kind, Result};

/// How long the group may wait for the worker to release what was revoked.
const RELEASE: Duration = Duration::from_secs(30);
/// How long one look at librdkafka takes at most; closing waits for it.
const LOOK: Duration = Duration::from_millis(50);
/// How often the proof of membership is taken again where the broker does not tell that it is another one.
const RENEW_EVERY: Duration = Duration::from_millis(500);
/// Events that may wait for the worker. Each rebalance makes three at most.
const EVENTS: usize = 256;

/// A membership of a group.
pub(super) struct KafkaMembership {
    events: Receiver<Result<MemberEvent>>,
    gate: Arc<Gate>,
    thread: Option<JoinHandle<()>>,
}

/// Where the membership's thread and the worker meet.
#[derive(Default)]
struct Gate {
    closing: AtomicBool,
    /// Whether to stay out of the group.
    out: AtomicBool,
    released: Mutex<BTreeSet<TopicPartition>>,
    changed: Condvar,
}

impl Gate {
    /// Waits until all are released. `false`: time was up.
    fn wait(&self, partitions: &[TopicPartition]) -> bool {
        let deadline = Instant::now() + RELEASE;
        let mut released = self.released.lock();
        while !self.closing.load(Ordering::Acquire) && !partitions.iter().all(|tp| released.contains(tp)) {
            if self.changed.wait_until(&mut released, deadline).timed_out() {
                return partitions.iter().all(|tp| released.contains(tp));
            }
        }
        true
    }

    fn close(&self) {
        self.closing.store(true, Ordering::Release);
        // Under the lock, so that a thread which is about to wait cannot miss it.
        let _released = self.released.lock();
        self.changed.notify_all();
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

/// Hears of rebalances, on the membership's thread.
struct Rebalances {
    watch: Listener,
    events: Sender<Result<MemberEvent>>,
    gate: Arc<Gate>,
    held: Mutex<BTreeSet<TopicPartition>>,
}

listens!(Rebalances);

impl ConsumerContext for Rebalances {
    fn rebalance(&self, client: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(client, list),
            _ => self.revoke(client, list),
        };
        if let Err(cause) = done {
            self.tell(Err(error("taking part in a rebalance", cause)));
        }
    }
}

impl Rebalances {
    fn assign(&self, client: &BaseConsumer<Self>, list: &mut TopicPartitionList) -> KafkaResult<()> {
        list.set_all_offsets(At::Offset(0))?;
        match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_assign(list)?,
            _ => client.assign(list)?,
        }
        if list.count() > 0 {
            client.pause(list)?;
        }
        // Read now: after this callback the group may move on.
        let Some(metadata) = client.group_metadata() else { return Ok(()) };
        let token = GroupToken(Arc::new(metadata));
        let partitions = names(list);
        let held = {
            let mut held = self.held.lock();
            held.extend(partitions.iter().cloned());
            held.len()
        };
        tracing::info!(target: "kafka", gained = partitions.len(), held, "the group has settled");
        if !partitions.is_empty() {
            self.tell(Ok(MemberEvent::Assigned { partitions, token: token.clone() }));
        }
        // A round that gives us nothing new has still moved the group on, and says that the rest is not ours.
        self.tell(Ok(MemberEvent::Renewed { token }));
        Ok(())
    }

    /// The broker moves its members on without a round that anybody here would hear of: the proof is taken again now and then.
    /// While something is held, it is one under which we hold it: what is taken away passes through this thread first.
    fn renew(&self, client: &BaseConsumer<Self>) {
        if self.held.lock().is_empty() {
            return;
        }
        if let Some(metadata) = client.group_metadata() {
            self.tell(Ok(MemberEvent::Renewed { token: GroupToken(Arc::new(metadata)) }));
        }
    }

    fn revoke(&self, client: &BaseConsumer<Self>, list: &TopicPartitionList) -> KafkaResult<()> {
        let partitions = names(list);
        if !partitions.is_empty() && !self.gate.is_closing() {
            let lost = client.assignment_lost() || client.client().fatal_error().is_some();
            // What was released by now belongs to earlier rounds.
            self.gate.released.lock().clear();
            self.tell(Ok(MemberEvent::Revoked { partitions: partitions.clone(), lost }));
            if !lost && !self.gate.wait(&partitions) {
                tracing::warn!(target: "kafka", ?partitions, "not released within {RELEASE:?}; the group gives them away");
            }
        }
        self.held.lock().retain(|tp| !partitions.contains(tp));
        match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_unassign(list)?,
            _ => client.unassign()?,
        }
        // A client that is closing takes nothing away after this, and may not answer any more.
        if self.gate.is_closing() { Ok(()) } else { settle(client) }
    }

    /// Tells the worker, waiting while it has not taken the events before.
    fn tell(&self, mut event: Result<MemberEvent>) {
        while !self.gate.is_closing() {
            match self.events.send_timeout(event, LOOK) {
                Ok(()) | Err(SendTimeoutError::Disconnected(_)) => return,
                Err(SendTimeoutError::Timeout(back)) => event = back,
            }
        }
    }
}

fn names(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let name = |e: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        u32::try_from(e.partition()).ok().map(|partition| TopicPartition::new(e.topic(), partition))
    };
    list.elements().iter().filter_map(name).collect()
}

impl KafkaMembership {
    pub(super) fn join(shared: &Shared, member: &MemberConfig) -> Result<Self> {
        let (sender, events) = bounded(EVENTS);
        let gate = Arc::new(Gate::default());
        let context = Rebalances {
            watch: Listener(shared.watches.open(format!("member of {}", member.group))),
            events: sender,
            gate: Arc::clone(&gate),
            held: Mutex::default(),
        };
        let doing = format!("joining group {}", member.group);
        let client: BaseConsumer<Rebalances> = settings::member(&shared.options, member)
            .create_with_context(context)
            .map_err(|e| error(doing.as_str(), e))?;
        let topics: Vec<&str> = member.topics.iter().map(String::as_str).collect();
        client.subscribe(&topics).map_err(|e| error(doing.as_str(), e))?;
        let thread = thread::Builder::new()
            .name("membership".into())
            .spawn({
                let (topics, protocol) = (member.topics.clone(), member.protocol);
                move || attend(&client, &topics, protocol)
            })
            .map_err(|e| Error::from(e).within(doing))?;
        Ok(Self { events, gate, thread: Some(thread) })
    }

    fn end(&mut self) -> Result<()> {
        self.gate.close();
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(Error::internal("the membership's thread panicked")),
            _ => Ok(()),
        }
    }
}

/// Polls until the membership is closed or dead. Dropping the client then leaves the group; a static member only goes
/// silent.
fn attend(client: &BaseConsumer<Rebalances>, topics: &[String], protocol: GroupProtocol) {
    let context = client.client().context();
    let (mut subscribed, mut renewed) = (true, Instant::now());
    while !context.gate.is_closing() {
        if protocol == GroupProtocol::Consumer && renewed.elapsed() > RENEW_EVERY {
            renewed = Instant::now();
            context.renew(client);
        }
        if subscribed == context.gate.out.load(Ordering::Acquire) {
            if let Err(cause) = follow_wish(client, topics, subscribed) {
                context.tell(Err(error("leaving or joining the group", cause)));
            }
            subscribed = !subscribed;
        }
        let Some(Err(cause)) = client.poll(LOOK) else { continue };
        let dead = client.client().fatal_error();
        if let Some(e) = judge(cause, dead.as_ref()) {
            context.tell(Err(e.within(format!("membership: {}", context.watch.0.words()))));
        }
        if dead.is_some() {
            return;
        }
    }
}

/// Leaves or joins. To end a subscription is the one way for a static member to tell the group that it goes.
fn follow_wish(client: &BaseConsumer<Rebalances>, topics: &[String], leave: bool) -> KafkaResult<()> {
    let context = client.client().context();
    if !leave {
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        return client.subscribe(&topics);
    }
    client.unsubscribe();
    let until = Instant::now() + RELEASE;
    while !context.gate.is_closing() && !context.held.lock().is_empty() && Instant::now() < until {
        // Its errors are those of a group that is being left.
        let _ = client.poll(LOOK);
    }
    // The request to leave follows what was taken away, on librdkafka's main thread.
    for _ in 0..2 {
        let _ = client.poll(LOOK);
        settle(client)?;
    }
    context.tell(Ok(MemberEvent::Left));
    Ok(())
}

/// What an error from polling means; `None`: librdkafka gets over it by itself, and has logged it.
fn judge(cause: KafkaError, dead: Option<&(Code, String)>) -> Option<Error> {
    if let Some((code, words)) = dead {
        return Some(advised(Error::new(Kind::Fenced, words.clone()).because(cause), Some(*code)));
    }
    let code = code_of(&cause)?;
    match kind_of(code) {
        kind @ (Kind::Refused | Kind::Fenced) => Some(advised(Error::new(kind, "refused").because(cause), Some(code))),
        Kind::NotFound => Some(advised(Error::refused("a topic of the group is missing").because(cause), Some(code))),
        _ => None,
    }
}

impl Membership for KafkaMembership {
    fn poll(&mut self, timeout: Duration) -> Result<Option<MemberEvent>> {
        match self.events.recv_timeout(timeout) {
            Ok(event) => event.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Error::internal("the membership has ended")),
        }
    }

    fn release(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.gate.released.lock().extend(partitions.iter().cloned());
        self.gate.changed.notify_all();
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        self.gate.out.store(true, Ordering::Release);
        Ok(())
    }

    fn rejoin(&mut self) -> Result<()> {
        self.gate.out.store(false, Ordering::Release);
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.end()
    }
}

impl Drop for KafkaMembership {
    fn drop(&mut self) {
        if self.end().is_err() {
            tracing::error!(target: "kafka", "the membership's thread panicked");
        }
    }
}
