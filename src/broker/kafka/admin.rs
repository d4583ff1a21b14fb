//! Questions to the cluster that need no assignment: topics, watermarks, committed offsets.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::Offset as At;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::errors::{advised, code_of, error, error_at, is_moving, kind_of, placed};
use super::watch::{Listener, Watch};
use super::{KafkaOptions, PATIENCE, Watches, partition_id, settings};
use crate::broker::{Offset, TopicInfo, TopicPartition, TopicSpec, Watermarks};
use crate::{Error, Kind, Result};

/// How long a coordinator may keep silent before another client asks.
const SILENCE: Duration = Duration::from_secs(5);
/// How long too few brokers for a topic's replicas may be a passing matter.
const BROKERS_RETURN: Duration = Duration::from_secs(10);
/// Pause between two looks at something that is about to change.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What to look at when a group's offsets are not told for long.
const NO_OFFSETS: &str = "is the broker running? if it is, a transaction without an end may hold the offsets back: \
     `kafka-transactions.sh find-hanging` names it (Kafka 4.3 and 4.4 can lose an end when a broker restarts, KAFKA-20734)";
/// A topic that exists in any cluster that has a group; only asked for, never written.
const SOME_TOPIC: &str = "__consumer_offsets";

/// Clients that ask. Shared by all threads.
pub(super) struct Admin {
    admin: AdminClient<Listener>,
    /// Sees every record's offset.
    all: Inquirer,
    /// Sees committed records only: its high watermark is the last stable offset.
    stable: Inquirer,
    group: Mutex<Option<(String, Inquirer)>>,
    watches: Arc<Watches>,
}

struct Inquirer {
    /// The addresses that it was given.
    at: String,
    client: BaseConsumer<Listener>,
    watch: Arc<Watch>,
}

impl Inquirer {
    fn new(config: &rdkafka::ClientConfig, watches: &Watches, name: &str) -> Result<Self> {
        let watch = watches.open(name);
        let client = config
            .create_with_context(Listener(Arc::clone(&watch)))
            .map_err(|e| error("making a client of Kafka", e))?;
        let at = config.get("bootstrap.servers").unwrap_or_default().to_owned();
        Ok(Self { at, client, watch })
    }

    /// Hands out the log lines and errors that wait in the client's queue.
    fn listen(&self) {
        for _ in 0..100 {
            if self.client.poll(Duration::ZERO).is_none() {
                break;
            }
        }
    }

    /// Whether the cluster has this partition, led or not.
    fn has(&self, tp: &TopicPartition, timeout: Duration) -> KafkaResult<bool> {
        let told = self.client.fetch_metadata(Some(&tp.topic), timeout)?;
        let partitions = told.topics().iter().filter(|t| t.name() == &*tp.topic).flat_map(|t| t.partitions());
        Ok(partitions.map(|p| p.id()).any(|id| id == partition_id(tp.partition)))
    }

    /// The error for `cause`, with what the client said last.
    fn error(&self, doing: String, cause: KafkaError) -> Error {
        self.listen();
        let words = self.watch.words();
        let doing = if words.is_empty() { doing } else { format!("{doing} (last trouble: {words})") };
        let e = error_at(&self.at, doing, cause);
        self.watch.clear_words();
        e
    }
}

impl Admin {
    pub(super) fn new(options: &KafkaOptions, watches: &Arc<Watches>) -> Result<Self> {
        let admin = settings::admin(options)
            .create_with_context(Listener(watches.open("admin")))
            .map_err(|e| error("making a client of Kafka", e))?;
        Ok(Self {
            admin,
            all: Inquirer::new(&settings::inquirer(options, false), watches, "watermarks")?,
            stable: Inquirer::new(&settings::inquirer(options, true), watches, "stable")?,
            group: Mutex::new(None),
            watches: Arc::clone(watches),
        })
    }

    pub(super) fn ping(&self, timeout: Duration) -> Result<()> {
        let asked = self.all.client.fetch_metadata(Some(SOME_TOPIC), timeout);
        asked.map_err(|e| self.all.error(format!("no answer from Kafka within {timeout:?}"), e))?;
        self.all.listen();
        Ok(())
    }

    /// Partitions of a topic: all, and those that have a leader. `None`: there is no such topic.
    fn partitions(&self, name: &str) -> Result<Option<(usize, usize)>> {
        let asked = self.all.client.fetch_metadata(Some(name), PATIENCE);
        let metadata = asked.map_err(|e| self.all.error(format!("asking for topic {name}"), e))?;
        self.all.listen();
        let Some(topic) = metadata.topics().iter().find(|t| t.name() == name) else { return Ok(None) };
        match topic.error().map(Code::from) {
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
            Some(Code::LeaderNotAvailable) | None => {
                let led = topic.partitions().iter().filter(|p| p.leader() >= 0).count();
                Ok(Some((topic.partitions().len(), led)))
            }
            Some(code) => Err(topic_error("asking for topic", name, code)),
        }
    }

    pub(super) fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        let Some((count, _)) = self.partitions(name)? else { return Ok(None) };
        let settings = self.describe(name);
        let setting = |key: &str| settings.as_ref().and_then(|s| s.get(key)).and_then(|e| e.value.clone());
        Ok(Some(TopicInfo {
            partitions: u32::try_from(count).unwrap_or(u32::MAX),
            compacted: setting("cleanup.policy").map(|policy| policy.split(',').any(|p| p.trim() == "compact")),
            max_message_bytes: setting("max.message.bytes").and_then(|bytes| bytes.parse().ok()),
        }))
    }

    /// Settings of a topic; `None` where the broker does not tell (an old broker, or no permission).
    fn describe(&self, name: &str) -> Option<ConfigResource> {
        let what = [ResourceSpecifier::Topic(name)];
        let asked = wait(self.admin.describe_configs(&what, &patient()));
        let told = asked.map(|mut all| if all.is_empty() { Err(Code::Unknown) } else { all.swap_remove(0) });
        match told {
            Ok(Ok(settings)) => Some(settings),
            Ok(Err(code)) => {
                tracing::debug!(topic = name, ?code, "the broker does not describe the topic");
                None
            }
            Err(e) => {
                tracing::debug!(topic = name, error = %e, "the topic could not be described");
                None
            }
        }
    }

    pub(super) fn create_topic(&self, spec: &TopicSpec) -> Result<()> {
        let name = spec.name.as_str();
        let mut topic = NewTopic::new(name, partition_id(spec.partitions), TopicReplication::Fixed(spec.replication));
        if spec.compacted && !spec.settings.contains_key("cleanup.policy") {
            topic = topic.set("cleanup.policy", "compact");
        }
        for (key, value) in &spec.settings {
            topic = topic.set(key, value);
        }
        let deadline = Instant::now() + BROKERS_RETURN;
        loop {
            let results = wait(self.admin.create_topics([&topic], &patient()));
            let result = results.map_err(|e| error(format!("creating topic {name}"), e))?.pop();
            match result {
                None | Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => return self.await_leaders(name),
                // Only brokers count whose heartbeats the controller has heard lately: in a cluster that starts, or is very
                // busy, that may be none for a moment.
                Some(Err((_, Code::InvalidReplicationFactor))) if Instant::now() < deadline => {
                    thread::sleep(LOOK_AGAIN * 10)
                }
                Some(Err((_, code))) => return Err(topic_error("creating topic", name, code)),
            }
        }
    }

    fn await_leaders(&self, name: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((count, led)) = self.partitions(name)?
                && count > 0
                && led == count
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let text = format!("topic {name} was created, but has partitions without a leader after {PATIENCE:?}");
                return Err(
                    Error::new(Kind::BrokerAway, placed(&self.all.at, &text)).advise("are enough brokers running?")
                );
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    pub(super) fn watermarks(&self, tp: &TopicPartition) -> Result<Watermarks> {
        // In this order: what is stable first, so that it can never lie above the high watermark that is told with it.
        let stable = self.stable(tp, PATIENCE)?;
        let (low, high) = ask_watermarks(&self.all, tp, PATIENCE)?;
        Ok(Watermarks { low, high, stable: stable.max(low) })
    }

    /// Client ids of a group's members, which are their addresses. Only groups of the classic protocol are described so.
    pub(super) fn members(&self, group: &str, timeout: Duration) -> Result<Vec<String>> {
        let deadline = Instant::now() + timeout;
        let list = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.all.client.fetch_group_list(Some(group), left) {
                Ok(list) => break list,
                // The first question to a new cluster meets one that reads its groups; soon there is an answer.
                Err(e) if code_of(&e).is_some_and(is_moving) && left > LOOK_AGAIN => thread::sleep(LOOK_AGAIN),
                Err(e) => return Err(self.all.error(format!("asking who is in group {group}"), e)),
            }
        };
        self.all.listen();
        let group = list.groups().iter().find(|g| g.name() == group);
        Ok(group.map_or_else(Vec::new, |g| g.members().iter().map(|m| m.client_id().to_owned()).collect()))
    }

    /// Last stable offset of a partition, asked of its leader now.
    pub(super) fn stable(&self, tp: &TopicPartition, timeout: Duration) -> Result<Offset> {
        Ok(ask_watermarks(&self.stable, tp, timeout)?.1)
    }

    pub(super) fn committed(
        &self,
        options: &KafkaOptions,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Offset)>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let mut slot = self.group.lock();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if slot.as_ref().is_none_or(|(name, _)| name != group) {
                let inquirer = Inquirer::new(&settings::group_reader(options, group), &self.watches, "committed")?;
                *slot = Some((group.to_owned(), inquirer));
            }
            let Some((_, inquirer)) = &*slot else { return Err(Error::internal("no client for committed offsets")) };
            let asked = Instant::now();
            match ask_committed(inquirer, group, partitions) {
                Err(e) if e.kind() == Kind::BrokerAway => {
                    // A client that lost its coordinator may wait for news of it that never come (seen after a restart of
                    // the broker): a new one looks for it anew.
                    if asked.elapsed() >= SILENCE {
                        *slot = None;
                    }
                    // Else a transaction is about to be decided, or the coordinator moves: soon there is an answer.
                    if Instant::now() >= deadline {
                        return Err(e.advise(NO_OFFSETS));
                    }
                    thread::sleep(LOOK_AGAIN);
                }
                answer => return answer,
            }
        }
    }
}

fn ask_watermarks(inquirer: &Inquirer, tp: &TopicPartition, timeout: Duration) -> Result<(Offset, Offset)> {
    let asked = inquirer.client.fetch_watermarks(&tp.topic, partition_id(tp.partition), timeout);
    inquirer.listen();
    asked.map_err(|cause| {
        let doing = format!("asking for the watermarks of {tp}");
        // While leaders change, librdkafka may not know a partition that is there (seen while three brokers were rolled).
        let unknown = code_of(&cause).is_some_and(|code| kind_of(code) == Kind::NotFound);
        match unknown.then(|| inquirer.has(tp, timeout)) {
            Some(Ok(true)) => {
                let text = placed(&inquirer.at, &format!("{doing}: it has no leader now"));
                Error::new(Kind::BrokerAway, text).because(cause)
            }
            Some(Err(e)) => inquirer.error(doing, e),
            Some(Ok(false)) | None => inquirer.error(doing, cause),
        }
    })
}

fn ask_committed(
    inquirer: &Inquirer,
    group: &str,
    partitions: &[TopicPartition],
) -> Result<Vec<(TopicPartition, Offset)>> {
    let doing = || format!("asking for the committed offsets of group {group}");
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for tp in partitions {
        list.add_partition(&tp.topic, partition_id(tp.partition));
    }
    let asked = inquirer.client.committed_offsets(list, SILENCE);
    let list = asked.map_err(|e| inquirer.error(doing(), e))?;
    inquirer.listen();
    let mut out = Vec::new();
    for tp in partitions {
        let Some(found) = list.find_partition(&tp.topic, partition_id(tp.partition)) else { continue };
        found.error().map_err(|e| error(format!("{}: {tp}", doing()), e))?;
        if let At::Offset(offset) = found.offset() {
            out.push((tp.clone(), offset));
        }
    }
    Ok(out)
}

fn topic_error(doing: &str, name: &str, code: Code) -> Error {
    advised(Error::new(kind_of(code), format!("{doing} {name}")).because(KafkaError::AdminOp(code)), Some(code))
}

fn patient() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread. The admin client has its own thread that completes it.
fn wait<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park_timeout(PATIENCE),
        }
    }
}
