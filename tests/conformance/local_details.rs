//! What only the embedded broker promises: limits, strictness, counters.

use std::collections::BTreeMap;
use std::time::Duration;

use keld::Kind;
use keld::broker::local::{LocalBroker, LocalOptions};
use keld::broker::{Broker, NewRecord, TopicPartition, TopicSpec};

use crate::harness::{Harness, kind, local, read_to_end, record, settle, spec};

fn open(options: LocalOptions) -> (tempfile::TempDir, std::sync::Arc<LocalBroker>) {
    let dir = tempfile::tempdir().unwrap();
    let broker = LocalBroker::open(dir.path(), options).unwrap();
    (dir, broker)
}

#[test]
fn headers_are_kept_in_order() {
    let (_dir, broker) = open(LocalOptions::default());
    broker.create_topic(&spec("t", 1, false)).unwrap();
    let tp = TopicPartition::new("t", 0);
    let headers = vec![("b".to_owned(), vec![0, 255]), ("a".to_owned(), vec![]), ("b".to_owned(), vec![1])];
    let sent = NewRecord { headers: headers.clone(), ..record(&tp, "v") };
    broker.appender().unwrap().append(vec![record(&tp, "plain"), sent]).unwrap();
    let found = broker.record_at(&tp, 1).unwrap().unwrap();
    assert_eq!((found.headers, found.payload), (headers, Some(b"v".to_vec())));
    assert_eq!(broker.record_at(&tp, 0).unwrap().unwrap().headers, vec![]);
    assert!(broker.record_at(&tp, 2).unwrap().is_none());
}

#[test]
fn a_record_above_the_limit_is_refused_and_the_rest_of_its_append_with_it() {
    let (_dir, broker) = open(LocalOptions::default());
    let settings = BTreeMap::from([("max.message.bytes".to_owned(), "100".to_owned())]);
    broker.create_topic(&TopicSpec { settings, ..spec("t", 1, false) }).unwrap();
    assert_eq!(broker.topic("t").unwrap().unwrap().max_message_bytes, Some(100));
    let tp = TopicPartition::new("t", 0);
    let appender = broker.appender().unwrap();
    // The key is one byte.
    assert_eq!(appender.append(vec![record(&tp, &"x".repeat(99))]).unwrap(), [0]);
    let too_large = appender.append(vec![record(&tp, "fits"), record(&tp, &"x".repeat(100))]);
    assert_eq!(kind(too_large), Kind::BadRequest);
    assert_eq!(broker.watermarks(&tp).unwrap().high, 1);
}

#[test]
fn a_setting_that_is_no_number_is_refused() {
    let (_dir, broker) = open(LocalOptions::default());
    let settings = BTreeMap::from([("retention.ms".to_owned(), "a week".to_owned())]);
    let error = broker.create_topic(&TopicSpec { settings, ..spec("t", 1, false) }).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.to_string().contains("retention.ms") && error.to_string().contains("a week"), "{error}");
    assert_eq!(broker.topic("t").unwrap(), None);
}

#[test]
fn a_compacted_topic_takes_no_record_without_a_key() {
    let (_dir, broker) = open(LocalOptions::default());
    broker.create_topic(&spec("t", 1, true)).unwrap();
    let keyless = NewRecord { key: None, ..record(&TopicPartition::new("t", 0), "v") };
    assert_eq!(kind(broker.appender().unwrap().append(vec![keyless])), Kind::BadRequest);
}

#[test]
fn names_that_kafka_would_not_take_are_refused_here_too() {
    let (_dir, broker) = open(LocalOptions::default());
    for name in ["", "..", "a b", "a/b", &"x".repeat(250)] {
        assert_eq!(kind(broker.create_topic(&spec(name, 1, false))), Kind::BadRequest, "{name:?}");
    }
}

#[test]
fn writing_to_what_does_not_exist_is_told() {
    let (_dir, broker) = open(LocalOptions::default());
    broker.create_topic(&spec("t", 2, false)).unwrap();
    let appender = broker.appender().unwrap();
    assert_eq!(kind(appender.append(vec![record(&TopicPartition::new("t", 2), "v")])), Kind::NotFound);
    assert_eq!(kind(appender.append(vec![record(&TopicPartition::new("u", 0), "v")])), Kind::NotFound);
}

/// A new owner takes the end of the log as what it has to wait for; nothing of the old one may come after that.
#[test]
fn a_commit_after_another_member_joined_demands_an_abort_though_its_offsets_were_taken() {
    let h: Harness = local("takeover");
    let (source, target) = (h.partition("source"), h.partition("target"));
    let mut one = h.join(&[&source], "one");
    let token = settle(&mut [&mut one], |s| s[0].token.is_some())[0].token.clone().unwrap();
    let mut producer = h.broker.transactional("id").unwrap();
    producer.begin().unwrap();
    producer.send(&record(&target, "late")).unwrap();
    producer.send_offsets(&[(source.clone(), 1)], &token).unwrap();
    let _two = h.join(&[&source], "two");
    assert_eq!(kind(producer.commit()), Kind::AbortRequired);
    producer.abort().unwrap();
    assert_eq!(h.broker.watermarks(&target).unwrap().high, 0);
    assert_eq!(h.committed(&source), None);
}

#[test]
fn a_busy_partition_does_not_keep_the_others_waiting() {
    let h: Harness = local("fair");
    let tps = h.topic("t", 3);
    h.append(&tps[0], &["busy"; 1000]);
    h.append(&tps[1], &["calm"; 2]);
    h.append(&tps[2], &["busy"; 1000]);
    let mut consumer = h.consumer(&tps.iter().map(|tp| (tp.clone(), 0)).collect::<Vec<_>>());
    let mut counts = [0; 3];
    let given = consumer.poll(30, Duration::ZERO, &mut |m| counts[m.partition as usize] += 1).unwrap();
    assert_eq!((given, counts[1]), (30, 2), "{counts:?}");
    assert!(counts[0] >= 10 && counts[2] >= 10, "{counts:?}");
    // Even one at a time, each has its turn.
    let mut turns = [0; 3];
    for _ in 0..10 {
        consumer.poll(1, Duration::ZERO, &mut |m| turns[m.partition as usize] += 1).unwrap();
    }
    assert!(turns[0] >= 3 && turns[2] >= 3, "{turns:?}");
}

#[test]
fn what_outlives_the_broker_can_read_but_not_write() {
    let (_dir, broker) = open(LocalOptions::default());
    broker.create_topic(&spec("t", 1, false)).unwrap();
    let tp = TopicPartition::new("t", 0);
    let appender = broker.appender().unwrap();
    appender.append(vec![record(&tp, "v")]).unwrap();
    let mut reader = broker.reader(&tp, 0).unwrap();
    drop(broker);
    let error = appender.append(vec![record(&tp, "late")]).unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
    assert_eq!(read_to_end(&mut *reader).0.len(), 1);
}

#[test]
fn misuse_of_a_transaction_is_told_and_does_no_harm() {
    let h: Harness = local("misuse");
    let tp = h.partition("t");
    let mut producer = h.broker.transactional("id").unwrap();
    assert!(producer.send(&record(&tp, "early")).is_err(), "send before begin");
    assert!(producer.commit().is_err(), "commit before begin");
    producer.begin().unwrap();
    assert!(producer.begin().is_err(), "begin twice");
    producer.send(&record(&tp, "v")).unwrap();
    producer.commit().unwrap();
    assert_eq!(h.values(&tp), ["v"]);
}

#[test]
fn counters_say_what_was_done() {
    let h: Harness = local("stats");
    let tp = h.topic("t", 3).remove(0);
    h.append(&tp, &["a", "b"]);
    h.append(&tp, &["c"]);
    h.broker.ping(Duration::from_secs(1)).unwrap();
    let stats: BTreeMap<_, _> = h.broker.stats().into_iter().collect();
    assert_eq!((stats["partitions"], stats["records_appended"]), (3.0, 3.0));
    // One for the topic, one for each append: nobody waited together.
    assert_eq!(stats["fsyncs"], 3.0);
    assert!(stats["log_bytes"] > 0.0 && stats["log_bytes"] == stats["bytes_appended"], "{stats:?}");
}
