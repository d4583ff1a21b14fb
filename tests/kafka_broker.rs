//! What only a real Kafka can show: open transactions of others, retention, cooperative groups, static members.
//!
//! The promises that every broker makes are checked by the conformance suite.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a check that cannot go on fails, and a skipped one says so")]

#[expect(dead_code, reason = "other test binaries need more of it")]
#[path = "common/kafka.rs"]
mod kafka;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keld::Kind;
use keld::broker::kafka::{KafkaBroker, KafkaOptions};
use keld::broker::{
    Broker, GroupToken, LogReader, MemberConfig, MemberEvent, Membership, NewRecord, Progress, TopicPartition,
    TopicSpec, TransactionalProducer, Watermarks,
};
use keld::config::GroupProtocol;

const PATIENCE: Duration = Duration::from_secs(60);

fn options(bootstrap: &str) -> KafkaOptions {
    KafkaOptions { advertise: "http://127.0.0.1:1".into(), ..KafkaOptions::new(bootstrap, "test") }
}

/// `None`, told loudly, where no Kafka can run.
fn broker() -> Option<Arc<KafkaBroker>> {
    Some(KafkaBroker::connect(options(&kafka::start_kafka()?.bootstrap)).unwrap())
}

fn topic(broker: &KafkaBroker, name: &str, partitions: u32, settings: &[(&str, &str)]) -> Vec<TopicPartition> {
    let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let spec = TopicSpec { name: name.into(), partitions, replication: 1, compacted: false, settings };
    broker.create_topic(&spec).unwrap();
    (0..partitions).map(|p| TopicPartition::new(name, p)).collect()
}

fn record(tp: &TopicPartition, value: &str) -> NewRecord {
    let payload = Some(value.as_bytes().to_vec());
    NewRecord { topic: tp.topic.clone(), partition: tp.partition, payload, ..NewRecord::default() }
}

fn transact(producer: &mut dyn TransactionalProducer, tp: &TopicPartition, values: &[&str]) {
    producer.begin().unwrap();
    write(producer, tp, values);
    producer.commit().unwrap();
}

fn write(producer: &mut dyn TransactionalProducer, tp: &TopicPartition, values: &[&str]) {
    for value in values {
        producer.send(&record(tp, value)).unwrap();
    }
    producer.drain().unwrap();
}

/// Reads until the reader says that it is at the end.
fn to_end(reader: &mut dyn LogReader) -> (Vec<String>, i64) {
    let deadline = Instant::now() + PATIENCE;
    let mut out = Vec::new();
    while Instant::now() < deadline {
        let mut sink = |m: keld::broker::Message<'_>| out.push(String::from_utf8(m.payload.unwrap().into()).unwrap());
        if let Progress::End { to } = reader.read(2, Duration::from_millis(200), &mut sink).unwrap() {
            return (out, to);
        }
    }
    panic!("no end within {PATIENCE:?}");
}

#[test]
fn settings_that_keld_owns_and_unknown_ones_are_refused_by_name() {
    let with = |key: &str, value: &str| {
        let client = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        KafkaBroker::connect(KafkaOptions { client, ..KafkaOptions::new("127.0.0.1:1", "test") }).unwrap_err()
    };
    for (key, value) in [("isolation.level", "read_uncommitted"), ("no.such.setting", "1"), ("socket.timeout.ms", "x")]
    {
        let e = with(key, value);
        assert_eq!(e.kind(), Kind::Refused, "{e}");
        assert!(e.to_string().contains(key), "{e}");
    }
}

#[test]
fn a_broker_that_is_away_is_said_to_be_away() {
    // Nobody listens on port 1; making the clients must not need anybody.
    let broker = KafkaBroker::connect(KafkaOptions::new("127.0.0.1:1", "test")).unwrap();
    let e = broker.ping(Duration::from_millis(500)).unwrap_err();
    assert_eq!(e.kind(), Kind::BrokerAway, "{e}");
    assert!(e.to_string().contains("bootstrap_servers"), "no way out is named: {e}");
}

/// The watermarks once they are so: Kafka writes the marker of a transaction some time after it has answered its end.
fn marks_when(broker: &KafkaBroker, tp: &TopicPartition, holds: impl Fn(&Watermarks) -> bool) -> Watermarks {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let marks = broker.watermarks(tp).unwrap();
        if holds(&marks) {
            return marks;
        }
        assert!(Instant::now() < deadline, "{tp}: {marks:?}");
    }
}

#[test]
fn a_reader_ends_before_an_open_transaction_and_behind_markers() {
    let Some(broker) = broker() else { return };
    let tp = topic(&broker, "ends", 1, &[]).remove(0);
    let (mut one, mut two) = (broker.transactional("ends-1").unwrap(), broker.transactional("ends-2").unwrap());
    // Offsets: a b (marker) x (marker) | c d open | e
    transact(&mut *one, &tp, &["a", "b"]);
    one.begin().unwrap();
    write(&mut *one, &tp, &["x"]);
    one.abort().unwrap();
    marks_when(&broker, &tp, |marks| marks.high >= 5);
    two.begin().unwrap();
    write(&mut *two, &tp, &["c", "d"]);
    transact(&mut *one, &tp, &["e"]);
    let marks = marks_when(&broker, &tp, |marks| marks.high >= 9);
    assert_eq!((marks.low, marks.stable, marks.high), (0, 5, 9), "the open transaction begins at offset 5");
    let mut reader = broker.reader(&tp, 0).unwrap();
    assert_eq!(to_end(&mut *reader), (vec!["a".into(), "b".into()], 5));
    assert_eq!(to_end(&mut *reader), (vec![], 5), "nothing has changed");
    // From the middle of what is not decided: nothing can be told yet, and nothing is skipped later.
    let mut late = broker.reader(&tp, 6).unwrap();
    assert_eq!(to_end(&mut *late), (vec![], 5));
    two.commit().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while broker.watermarks(&tp).unwrap().stable < 10 {
        assert!(Instant::now() < deadline, "the commit never becomes visible");
    }
    assert_eq!(to_end(&mut *reader), (vec!["c".into(), "d".into(), "e".into()], 10));
    assert_eq!(to_end(&mut *late), (vec!["d".into(), "e".into()], 10));
}

#[test]
fn a_position_outside_of_the_log_is_refused_with_its_borders() {
    let Some(broker) = broker() else { return };
    let tp = topic(&broker, "bordered", 1, &[]).remove(0);
    broker.appender().unwrap().append((0..3).map(|i| record(&tp, &i.to_string())).collect()).unwrap();
    let mut consumer = broker.consumer("late").unwrap();
    consumer.assign(&[(tp.clone(), 400)]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let e = loop {
        assert!(Instant::now() < deadline, "never refused");
        if let Err(e) = consumer.poll(10, Duration::from_millis(200), &mut |m| panic!("{m:?}")) {
            break e;
        }
    };
    assert_eq!(e.kind(), Kind::Refused, "{e}");
    for part in ["bordered[0]", "offset 400", "first offset is 0", "end is 3"] {
        assert!(e.to_string().contains(part), "{part:?} is missing: {e}");
    }
    assert_eq!(broker.reader(&tp, 400).unwrap_err_kind(), Kind::Refused);
}

trait UnwrapErrKind {
    fn unwrap_err_kind(self) -> Kind;
}

impl<T> UnwrapErrKind for keld::Result<T> {
    fn unwrap_err_kind(self) -> Kind {
        match self {
            Ok(_) => panic!("this should have failed"),
            Err(e) => e.kind(),
        }
    }
}

/// librdkafka (2.12 to 2.15, issue 5573) aborts the whole process where a partition is taken away a second time before
/// its first removal is done.
#[test]
fn assignments_may_follow_one_another_at_any_speed() {
    let Some(broker) = broker() else { return };
    let tps = topic(&broker, "hasty", 4, &[]);
    let records: Vec<_> = (0..400).map(|i| record(&tps[i % 4], &i.to_string())).collect();
    broker.appender().unwrap().append(records).unwrap();
    let from = |offset| tps.iter().map(|tp| (tp.clone(), offset)).collect::<Vec<_>>();
    for round in 0..5 {
        let mut consumer = broker.consumer("hasty").unwrap();
        for i in 0..200 {
            consumer.assign(&from(i % 100)).unwrap();
            if i % 10 == round {
                consumer.poll(1, Duration::from_millis(20), &mut |_| {}).unwrap();
            }
        }
        consumer.assign(&from(98)).unwrap();
        let (mut offsets, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        while offsets.len() < 8 {
            assert!(Instant::now() < deadline, "read {offsets:?}");
            consumer.poll(100, Duration::from_millis(100), &mut |m| offsets.push(m.offset)).unwrap();
        }
        offsets.sort_unstable();
        assert_eq!(offsets, [98, 98, 98, 98, 99, 99, 99, 99], "nothing of the earlier assignments");
        consumer.assign(&from(0)).unwrap();
    }
}

#[test]
fn a_record_that_is_too_large_is_refused_with_topic_and_size_and_the_producer_lives_on() {
    let Some(broker) = broker() else { return };
    let tp = topic(&broker, "narrow", 1, &[("max.message.bytes", "2000")]).remove(0);
    assert_eq!(broker.topic("narrow").unwrap().unwrap().max_message_bytes, Some(2000));
    let mut producer = broker.transactional("narrow-1").unwrap();
    producer.begin().unwrap();
    // Bytes that do not compress.
    let noise = (0..6000u32).map(|i| i.wrapping_mul(2_654_435_761).rotate_left(i % 31) as u8).collect();
    producer.send(&NewRecord { payload: Some(noise), ..record(&tp, "") }).unwrap();
    let e = producer.drain().unwrap_err();
    assert_eq!(e.kind(), Kind::Refused, "{e}");
    assert!(e.to_string().contains("narrow[0]") && e.to_string().contains("6000"), "{e}");
    // Whoever sends on, once it is refused, hears of it too.
    let e = producer.send(&record(&tp, "behind it")).unwrap_err();
    assert_eq!(e.kind(), Kind::Refused, "{e}");
    assert!(e.to_string().contains("6000"), "{e}");
    producer.abort().unwrap();
    // The rejected record leaves a gap in librdkafka's numbering, which costs the next transaction, once.
    producer.begin().unwrap();
    producer.send(&record(&tp, "after the gap")).unwrap();
    if let Err(e) = producer.drain() {
        assert_eq!(e.kind(), Kind::AbortRequired, "{e}");
    }
    producer.abort().unwrap();
    transact(&mut *producer, &tp, &["fits"]);
    marks_when(&broker, &tp, |marks| marks.stable == marks.high);
    let mut reader = broker.reader(&tp, 0).unwrap();
    assert_eq!(to_end(&mut *reader).0, ["fits"]);
}

/// No test waits for its end; one that did would take longer than it may.
const SESSION: Duration = Duration::from_secs(45);

/// A member and what it holds.
struct Seat {
    member: Box<dyn Membership>,
    held: BTreeSet<TopicPartition>,
    token: Option<GroupToken>,
    events: Vec<&'static str>,
}

impl Seat {
    fn join(broker: &KafkaBroker, group: &str, topics: &[&str], id: Option<&str>) -> Self {
        Self::join_as(broker, group, topics, id, GroupProtocol::Classic)
    }

    fn join_as(broker: &KafkaBroker, group: &str, topics: &[&str], id: Option<&str>, protocol: GroupProtocol) -> Self {
        let config = MemberConfig {
            group: group.into(),
            topics: topics.iter().map(|t| (*t).to_owned()).collect(),
            static_id: id.map(str::to_owned),
            advertise: "http://127.0.0.1:7".into(),
            session_timeout: SESSION,
            protocol,
        };
        Self { member: broker.join(&config).unwrap(), held: BTreeSet::new(), token: None, events: Vec::new() }
    }

    fn step(&mut self) {
        match self.member.poll(Duration::from_millis(20)).unwrap() {
            None => {}
            Some(MemberEvent::Assigned { partitions, token }) => {
                self.events.push("assigned");
                self.held.extend(partitions);
                self.token = Some(token);
            }
            Some(MemberEvent::Renewed { token }) => {
                self.events.push("renewed");
                self.token = Some(token);
            }
            Some(MemberEvent::Revoked { partitions, lost }) => {
                self.events.push(if lost { "lost" } else { "revoked" });
                self.held.retain(|tp| !partitions.contains(tp));
                self.member.release(&partitions).unwrap();
            }
            Some(MemberEvent::Left) => self.events.push("left"),
        }
    }
}

fn until(seats: &mut [&mut Seat], done: impl Fn(&[&mut Seat]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(seats) {
        let held: Vec<_> = seats.iter().map(|s| (s.held.len(), &s.events)).collect();
        assert!(Instant::now() < deadline, "the group did not settle: {held:?}");
        seats.iter_mut().for_each(|s| s.step());
    }
}

/// Commits a position with the token of the first seat. The newest token may still be on its way: then the transaction is
/// aborted, and goes through under the next one.
fn commit_in_group(producer: &mut dyn TransactionalProducer, at: (&TopicPartition, i64), seats: &mut [&mut Seat]) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(e) = try_commit(producer, at, &seats[0].token.clone().unwrap()) {
        assert!(e.kind() == Kind::AbortRequired && Instant::now() < deadline, "{e}: {:?}", seats[0].events);
        producer.abort().unwrap();
        seats.iter_mut().for_each(|s| s.step());
    }
}

fn try_commit(
    producer: &mut dyn TransactionalProducer,
    (tp, position): (&TopicPartition, i64),
    token: &GroupToken,
) -> keld::Result<()> {
    producer.begin()?;
    producer.send(&record(tp, "committed"))?;
    producer.drain()?;
    producer.send_offsets(&[(tp.clone(), position)], token)?;
    producer.commit().map(drop)
}

#[test]
fn a_second_member_takes_a_share_and_the_first_keeps_the_rest_under_a_new_token() {
    let Some(broker) = broker() else { return };
    let tps = topic(&broker, "shared", 4, &[]);
    let mut one = Seat::join(&broker, "shares", &["shared"], None);
    until(&mut [&mut one], |s| s[0].held.len() == 4);
    let stale = one.token.clone().unwrap();
    let mut two = Seat::join(&broker, "shares", &["shared"], None);
    until(&mut [&mut one, &mut two], |s| {
        s[0].held.len() == 2 && s[1].held.len() == 2 && s[0].events.last() == Some(&"renewed")
    });
    assert_eq!(one.held.union(&two.held).cloned().collect::<Vec<_>>(), tps);
    assert!(!one.events.contains(&"lost"), "{:?}", one.events);

    let mut producer = broker.transactional("shares-1").unwrap();
    let mine = one.held.first().cloned().unwrap();
    producer.begin().unwrap();
    write(&mut *producer, &tps[0], &["stale"]);
    assert_eq!(producer.send_offsets(&[(mine.clone(), 3)], &stale).unwrap_err_kind(), Kind::AbortRequired);
    producer.abort().unwrap();
    commit_in_group(&mut *producer, (&mine, 4), &mut [&mut one, &mut two]);
    assert_eq!(broker.committed("shares", std::slice::from_ref(&mine)).unwrap(), [(mine, 4)]);

    two.member.close().unwrap();
    until(&mut [&mut one], |s| s[0].held.len() == 4);
    one.member.close().unwrap();
}

#[test]
fn a_static_member_comes_back_without_anyone_noticing() {
    let Some(broker) = broker() else { return };
    topic(&broker, "steady", 4, &[]);
    let mut one = Seat::join(&broker, "steady", &["steady"], Some("one"));
    let mut two = Seat::join(&broker, "steady", &["steady"], Some("two"));
    until(&mut [&mut one, &mut two], |s| s[0].held.len() == 2 && s[1].held.len() == 2);
    let mut producer = broker.transactional("steady-1").unwrap();
    let mine = one.held.first().cloned().unwrap();
    commit_in_group(&mut *producer, (&mine, 1), &mut [&mut one, &mut two]);
    let (held, token) = (two.held.clone(), one.token.clone().unwrap());
    two.member.close().unwrap();
    let started = Instant::now();
    let mut again = Seat::join(&broker, "steady", &["steady"], Some("two"));
    until(&mut [&mut one, &mut again], |s| s[1].held.len() == 2);
    assert!(started.elapsed() < SESSION / 2, "it waited for its old session: {:?}", started.elapsed());
    assert_eq!(again.held, held, "it gets back what it had");
    try_commit(&mut *producer, (&mine, 2), &token).expect("the group has not moved on: no rebalance");
    again.member.close().unwrap();
    one.member.close().unwrap();
}

#[test]
fn a_static_member_that_leaves_is_not_waited_for() {
    let Some(broker) = broker() else { return };
    let tps = topic(&broker, "leaving", 4, &[]);
    let mut one = Seat::join(&broker, "leaving", &["leaving"], Some("one"));
    let mut two = Seat::join(&broker, "leaving", &["leaving"], Some("two"));
    until(&mut [&mut one, &mut two], |s| s[0].held.len() == 2 && s[1].held.len() == 2);
    let started = Instant::now();
    two.member.leave().unwrap();
    until(&mut [&mut one, &mut two], |s| s[0].held.len() == 4 && s[1].events.last() == Some(&"left"));
    assert!(started.elapsed() < SESSION / 2, "it was waited for: {:?}", started.elapsed());
    assert!(two.held.is_empty() && !two.events.contains(&"lost"), "{:?}", two.events);
    two.member.rejoin().unwrap();
    until(&mut [&mut one, &mut two], |s| s[0].held.len() == 2 && s[1].held.len() == 2);
    assert_eq!(one.held.union(&two.held).cloned().collect::<Vec<_>>(), tps);
    two.member.close().unwrap();
    one.member.close().unwrap();
}

#[test]
fn the_broker_can_share_partitions_out_and_the_proof_follows_its_epochs() {
    let Some(broker) = broker() else { return };
    topic(&broker, "epochs", 4, &[]);
    let join = || Seat::join_as(&broker, "epochs", &["epochs"], None, GroupProtocol::Consumer);
    let mut one = join();
    until(&mut [&mut one], |s| s[0].held.len() == 4);
    let mut two = join();
    until(&mut [&mut one, &mut two], |s| s[0].held.len() == 2 && s[1].held.len() == 2);
    let mut producer = broker.transactional("epochs-1").unwrap();
    let mine = one.held.first().cloned().unwrap();
    commit_in_group(&mut *producer, (&mine, 4), &mut [&mut one, &mut two]);
    // A third gets nothing that the first has: who keeps everything is moved on without being asked for anything.
    let kept = one.held.clone();
    let mut third = join();
    until(&mut [&mut one, &mut two, &mut third], |s| s.iter().all(|seat| !seat.held.is_empty()));
    commit_in_group(&mut *producer, (&mine, 5), &mut [&mut one, &mut two, &mut third]);
    assert_eq!(broker.committed("epochs", std::slice::from_ref(&mine)).unwrap(), [(mine, 5)], "{kept:?}");
    for seat in [third, two, one] {
        seat.member.close().unwrap();
    }
}

#[test]
fn a_second_process_with_the_same_static_id_is_told_apart() {
    let Some(broker) = broker() else { return };
    topic(&broker, "twins", 1, &[]);
    let mut old = Seat::join(&broker, "twins", &["twins"], Some("same"));
    until(&mut [&mut old], |s| s[0].held.len() == 1);
    let mut new = Seat::join(&broker, "twins", &["twins"], Some("same"));
    until(&mut [&mut new], |s| s[0].held.len() == 1);
    let deadline = Instant::now() + PATIENCE;
    let e = loop {
        assert!(Instant::now() < deadline, "the older one never hears of it");
        if let Err(e) = old.member.poll(Duration::from_millis(100)) {
            break e;
        }
    };
    assert_eq!(e.kind(), Kind::Fenced, "{e}");
    assert!(e.to_string().contains("its own"), "no way out is named: {e}");
    new.member.close().unwrap();
}

#[test]
fn a_consumer_knows_its_lag_behind_transaction_markers() {
    let Some(broker) = broker() else { return };
    let tp = topic(&broker, "lagging", 1, &[]).remove(0);
    let mut producer = broker.transactional("lagging-1").unwrap();
    transact(&mut *producer, &tp, &["a", "b"]);
    let mut consumer = broker.consumer("lagging").unwrap();
    consumer.assign(&[(tp.clone(), 0)]).unwrap();
    let (mut read, deadline) = (0, Instant::now() + PATIENCE);
    while read < 2 || consumer.lag(&tp) != Some(0) {
        assert!(Instant::now() < deadline, "read {read}, lag {:?}", consumer.lag(&tp));
        read += consumer.poll(10, Duration::from_millis(100), &mut |_| {}).unwrap();
    }
    assert_eq!(read, 2, "the marker is not a record, and no lag either");
    let stats: BTreeMap<_, _> = broker.stats().into_iter().collect();
    assert!(stats["kafka_connections_up"] >= 1.0, "{stats:?}");
}

#[test]
fn a_member_whose_topic_does_not_exist_is_told_so() {
    let Some(broker) = broker() else { return };
    let mut seat = Seat::join(&broker, "nowhere", &["no-such-topic"], None);
    let deadline = Instant::now() + PATIENCE;
    let e = loop {
        assert!(Instant::now() < deadline, "nothing is told");
        if let Err(e) = seat.member.poll(Duration::from_millis(100)) {
            break e;
        }
    };
    assert_eq!(e.kind(), Kind::Refused, "{e}");
    assert!(e.to_string().contains("no-such-topic"), "{e}");
    assert_eq!(broker.topic("no-such-topic").unwrap(), None, "joining created it");
    seat.member.close().unwrap();
}

/// A cluster of its own, for a test that stops it.
struct Cluster(tempfile::TempDir);

impl Cluster {
    fn run(&self, command: &str) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kafka");
        let done = Command::new(script).arg(command).arg(self.0.path()).stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.run("stop");
    }
}

#[test]
fn a_broker_that_crashes_and_comes_back_costs_no_record_and_shows_none_twice() {
    if std::env::var("KELD_TEST_KAFKA").as_deref() == Ok("skip") {
        println!("SKIPPED: KELD_TEST_KAFKA=skip; this test checked NOTHING");
        return;
    }
    let cluster = Cluster(tempfile::tempdir().unwrap());
    let told = cluster.run("start");
    let bootstrap = told.lines().find_map(|l| l.strip_prefix("bootstrap=")).unwrap();
    // Longer than the restart takes: the coordinator must not abort the transaction meanwhile.
    let patient = KafkaOptions { transaction_timeout: Duration::from_secs(120), ..options(bootstrap) };
    let broker = KafkaBroker::connect(patient).unwrap();
    let tp = topic(&broker, "crashing", 1, &[]).remove(0);
    let mut producer = broker.transactional("crashing-1").unwrap();
    let mut consumer = broker.consumer("crashing").unwrap();
    consumer.assign(&[(tp.clone(), 0)]).unwrap();
    transact(&mut *producer, &tp, &["before"]);
    producer.begin().unwrap();
    write(&mut *producer, &tp, &["in doubt"]);

    cluster.run("kill");
    assert_eq!(broker.ping(Duration::from_millis(300)).unwrap_err_kind(), Kind::BrokerAway);
    let mut seen = Vec::new();
    let mut poll = |seen: &mut Vec<String>| {
        let mut sink = |m: keld::broker::Message<'_>| seen.push(String::from_utf8(m.payload.unwrap().into()).unwrap());
        if let Err(e) = consumer.poll(10, Duration::from_millis(100), &mut sink) {
            assert_eq!(e.kind(), Kind::BrokerAway, "{e}");
        }
    };
    poll(&mut seen);
    // The outcome is open, and the next call takes the same commit up again.
    assert_eq!(producer.commit().unwrap_err_kind(), Kind::BrokerAway);
    cluster.run("restart");

    let deadline = Instant::now() + PATIENCE;
    while let Err(e) = producer.commit() {
        assert!(e.kind() == Kind::BrokerAway && Instant::now() < deadline, "{e}");
    }
    while seen.len() < 2 {
        assert!(Instant::now() < deadline, "{seen:?}");
        poll(&mut seen);
    }
    transact(&mut *producer, &tp, &["after"]);
    while seen.len() < 3 {
        assert!(Instant::now() < deadline, "{seen:?}");
        poll(&mut seen);
    }
    assert_eq!(seen, ["before", "in doubt", "after"]);
}
