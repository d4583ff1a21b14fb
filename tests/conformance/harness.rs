//! A broker under test and the small steps that checks are made of.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keld::broker::kafka::{KafkaBroker, KafkaOptions};
use keld::broker::local::{LocalBroker, LocalOptions};
use keld::broker::{
    Broker, Consumer, GroupToken, LogReader, MemberConfig, MemberEvent, Membership, Message, NewRecord, Offset,
    Progress, TopicPartition, TopicSpec,
};
use keld::config::GroupProtocol;
use keld::{Error, Kind};

/// How long anything may take before a check gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long a check looks for something that must not come.
pub(crate) const GLANCE: Duration = Duration::from_millis(300);

/// A broker under test.
pub(crate) struct Harness {
    pub(crate) broker: Arc<dyn Broker>,
    /// Put before every name, so that checks on one cluster do not meet.
    pub(crate) check: String,
    /// Whether members of a group share the partitions; else the last one has all.
    pub(crate) shares: bool,
    /// Holds the directory of the broker, if it has one.
    _dir: Option<tempfile::TempDir>,
}

/// A fresh embedded broker.
pub(crate) fn local(check: &str) -> Harness {
    let dir = tempfile::tempdir().unwrap();
    let broker = LocalBroker::open(dir.path(), LocalOptions::default()).unwrap();
    Harness { broker, check: check.into(), shares: false, _dir: Some(dir) }
}

/// The test process's Kafka; one cluster for all checks, so the name of the check keeps them apart.
pub(crate) fn kafka(check: &str) -> Option<Harness> {
    let kafka = crate::kafka::start_kafka()?;
    let options = KafkaOptions {
        bootstrap: kafka.bootstrap.clone(),
        client: std::collections::BTreeMap::new(),
        application: check.into(),
        advertise: format!("http://{check}"),
        consumer_bytes: 16 << 20,
        producer_bytes: 16 << 20,
        transaction_timeout: Duration::from_secs(60),
        session_timeout: Duration::from_secs(6),
    };
    let broker = KafkaBroker::connect(options).unwrap();
    Some(Harness { broker, check: check.into(), shares: true, _dir: None })
}

impl Harness {
    /// A name that only this check uses; short enough for any broker.
    pub(crate) fn name(&self, what: &str) -> String {
        format!("{}.{what}", self.check)
    }

    /// Makes a topic and returns its partitions.
    pub(crate) fn topic(&self, what: &str, partitions: u32) -> Vec<TopicPartition> {
        let name = self.name(what);
        self.broker.create_topic(&spec(&name, partitions, false)).unwrap();
        (0..partitions).map(|p| TopicPartition::new(name.as_str(), p)).collect()
    }

    /// Makes a topic of one partition.
    pub(crate) fn partition(&self, what: &str) -> TopicPartition {
        self.topic(what, 1).remove(0)
    }

    /// Appends values; returns their offsets.
    pub(crate) fn append(&self, tp: &TopicPartition, values: &[&str]) -> Vec<Offset> {
        let records = values.iter().map(|v| record(tp, v)).collect();
        self.broker.appender().unwrap().append(records).unwrap()
    }

    /// Waits until every transaction on a partition is decided: Kafka writes the markers after it has answered a commit.
    pub(crate) fn decided(&self, tp: &TopicPartition) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let marks = self.broker.watermarks(tp).unwrap();
            if marks.stable == marks.high {
                return;
            }
            assert!(Instant::now() < deadline, "a transaction on {tp} stays open: {marks:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Everything committed in a partition from `from` on, once every transaction is decided, and the end that the reader
    /// found.
    pub(crate) fn read_from(&self, tp: &TopicPartition, from: Offset) -> (Vec<Read>, Offset) {
        self.decided(tp);
        self.read_now(tp, from)
    }

    /// As [`Harness::read_from`], while a transaction may be open.
    pub(crate) fn read_now(&self, tp: &TopicPartition, from: Offset) -> (Vec<Read>, Offset) {
        let mut reader = self.broker.reader(tp, from).unwrap();
        read_to_end(&mut *reader)
    }

    /// The values committed in a partition.
    pub(crate) fn values(&self, tp: &TopicPartition) -> Vec<String> {
        self.read_from(tp, 0).0.iter().map(Read::text).collect()
    }

    /// A consumer of these positions.
    pub(crate) fn consumer(&self, positions: &[(TopicPartition, Offset)]) -> Box<dyn Consumer> {
        let mut consumer = self.broker.consumer(&self.name("consumer")).unwrap();
        consumer.assign(positions).unwrap();
        consumer
    }

    /// Joins the group of this check.
    pub(crate) fn join(&self, topics: &[&TopicPartition], member: &str) -> Box<dyn Membership> {
        let config = MemberConfig {
            group: self.name("group"),
            topics: topics.iter().map(|tp| tp.topic.to_string()).collect(),
            static_id: None,
            advertise: format!("http://{member}"),
            session_timeout: Duration::from_secs(6),
            protocol: GroupProtocol::Classic,
        };
        self.broker.join(&config).unwrap()
    }

    /// Position of this check's group.
    pub(crate) fn committed(&self, tp: &TopicPartition) -> Option<Offset> {
        let found = self.broker.committed(&self.name("group"), std::slice::from_ref(tp)).unwrap();
        assert!(found.len() <= 1, "{found:?}");
        found.into_iter().next().map(|(at, offset)| {
            assert_eq!(&at, tp);
            offset
        })
    }
}

/// Specification of a topic.
pub(crate) fn spec(name: &str, partitions: u32, compacted: bool) -> TopicSpec {
    TopicSpec { name: name.into(), partitions, replication: 1, compacted, settings: Default::default() }
}

/// A record with a value and the key `k`.
pub(crate) fn record(tp: &TopicPartition, value: &str) -> NewRecord {
    NewRecord {
        topic: tp.topic.clone(),
        partition: tp.partition,
        key: Some(b"k".to_vec()),
        payload: Some(value.as_bytes().to_vec()),
        ..NewRecord::default()
    }
}

/// A record that was read, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) tp: TopicPartition,
    pub(crate) offset: Offset,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Read {
    pub(crate) fn of(m: Message<'_>) -> Self {
        let mut headers = Vec::new();
        m.headers.visit(&mut |name, value| headers.push((name.to_owned(), value.unwrap_or_default().to_vec())));
        Self {
            tp: TopicPartition::new(m.topic, m.partition),
            offset: m.offset,
            timestamp_ms: m.timestamp_ms,
            key: m.key.map(<[u8]>::to_vec),
            payload: m.payload.map(<[u8]>::to_vec),
            headers: m.owned_headers(),
        }
    }

    /// The value as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.payload.clone().unwrap()).unwrap()
    }
}

/// Reads until the reader says that it is at the end.
pub(crate) fn read_to_end(reader: &mut dyn LogReader) -> (Vec<Read>, Offset) {
    let deadline = Instant::now() + PATIENCE;
    let mut out = Vec::new();
    while Instant::now() < deadline {
        let progress = reader.read(100, Duration::from_millis(500), &mut |m| out.push(Read::of(m))).unwrap();
        if let Progress::End { to } = progress {
            return (out, to);
        }
    }
    panic!("no end within {PATIENCE:?}; read {} records", out.len());
}

/// Polls until `count` records came.
pub(crate) fn poll_until(consumer: &mut dyn Consumer, count: usize) -> Vec<Read> {
    let deadline = Instant::now() + PATIENCE;
    let mut out = Vec::new();
    while out.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} records within {PATIENCE:?}", out.len());
        consumer.poll(1000, Duration::from_millis(500), &mut |m| out.push(Read::of(m))).unwrap();
    }
    out
}

/// Polls until an error comes.
pub(crate) fn poll_error(consumer: &mut dyn Consumer) -> Error {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let polled = consumer.poll(10, Duration::from_millis(500), &mut |m| panic!("unexpected {m:?}"));
        if let Err(e) = polled {
            return e;
        }
    }
    panic!("no error within {PATIENCE:?}");
}

/// Polls members in turn, releasing what they are asked for, until `done` says that the last of them has enough.
/// Returns what each was given, with the newest token, and whether it lost something.
pub(crate) fn settle(members: &mut [&mut Box<dyn Membership>], done: impl Fn(&[Standing]) -> bool) -> Vec<Standing> {
    let deadline = Instant::now() + PATIENCE;
    let mut standings: Vec<Standing> = members.iter().map(|_| Standing::default()).collect();
    while !done(&standings) {
        assert!(Instant::now() < deadline, "the group did not settle: {standings:?}");
        for (member, standing) in members.iter_mut().zip(&mut standings) {
            match member.poll(Duration::from_millis(100)).unwrap() {
                Some(MemberEvent::Assigned { partitions, token }) => {
                    standing.partitions.extend(partitions);
                    standing.token = Some(token);
                }
                Some(MemberEvent::Renewed { token }) => standing.token = Some(token),
                Some(MemberEvent::Revoked { partitions, lost }) => {
                    standing.lost |= lost;
                    standing.revoked += partitions.len();
                    standing.partitions.retain(|p| !partitions.contains(p));
                    member.release(&partitions).unwrap();
                }
                Some(MemberEvent::Left) => standing.left = true,
                None => {}
            }
        }
    }
    standings
}

/// What a member has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) partitions: Vec<TopicPartition>,
    pub(crate) token: Option<GroupToken>,
    pub(crate) lost: bool,
    pub(crate) revoked: usize,
    pub(crate) left: bool,
}

/// The kind of error that came instead of a value.
pub(crate) fn kind<T>(result: Result<T, Error>) -> Kind {
    match result {
        Ok(_) => panic!("this should have failed"),
        Err(e) => e.kind(),
    }
}
