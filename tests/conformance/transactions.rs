//! Transactions: all or nothing, seen when committed, fenced when taken over.

use keld::Kind;
use keld::broker::{TopicPartition, TransactionalProducer};

use crate::harness::{GLANCE, Harness, Read, kind, poll_until, record};

fn send(producer: &mut dyn TransactionalProducer, tp: &TopicPartition, values: &[&str]) {
    for value in values {
        producer.send(&record(tp, value)).unwrap();
    }
    producer.drain().unwrap();
}

fn transact(producer: &mut dyn TransactionalProducer, tp: &TopicPartition, values: &[&str]) {
    producer.begin().unwrap();
    send(producer, tp, values);
    producer.commit().unwrap();
}

pub(crate) fn a_transaction_is_seen_after_its_commit_only(h: &Harness) {
    let tps = h.topic("t", 2);
    let mut consumer = h.consumer(&[(tps[0].clone(), 0), (tps[1].clone(), 0)]);
    let mut producer = h.broker.transactional(&h.name("id")).unwrap();
    producer.begin().unwrap();
    send(&mut *producer, &tps[0], &["a"]);
    send(&mut *producer, &tps[1], &["b"]);
    let early = consumer.poll(10, GLANCE, &mut |m| panic!("seen before the commit: {m:?}")).unwrap();
    assert_eq!(early, 0);
    for tp in &tps {
        let (read, end) = h.read_now(tp, 0);
        assert_eq!((read.len(), end), (0, 0), "{tp}: an open transaction is not part of the stable log");
        assert_eq!(h.broker.watermarks(tp).unwrap().stable, 0);
    }
    producer.commit().unwrap();
    let mut texts: Vec<_> = poll_until(&mut *consumer, 2).iter().map(Read::text).collect();
    texts.sort();
    assert_eq!(texts, ["a", "b"]);
    assert_eq!((h.values(&tps[0]), h.values(&tps[1])), (vec!["a".into()], vec!["b".into()]));
}

pub(crate) fn an_aborted_transaction_is_never_seen(h: &Harness) {
    let tp = h.partition("t");
    let mut producer = h.broker.transactional(&h.name("id")).unwrap();
    transact(&mut *producer, &tp, &["before"]);
    producer.begin().unwrap();
    send(&mut *producer, &tp, &["never", "ever"]);
    producer.abort().unwrap();
    transact(&mut *producer, &tp, &["after"]);
    assert_eq!(h.values(&tp), ["before", "after"]);
    let mut consumer = h.consumer(&[(tp, 0)]);
    assert_eq!(poll_until(&mut *consumer, 2).iter().map(Read::text).collect::<Vec<_>>(), ["before", "after"]);
}

pub(crate) fn commit_tells_the_highest_offset_of_each_partition(h: &Harness) {
    let tps = h.topic("t", 3);
    let mut producer = h.broker.transactional(&h.name("id")).unwrap();
    for round in 0..2 {
        producer.begin().unwrap();
        send(&mut *producer, &tps[0], &["a", "b", "c"]);
        send(&mut *producer, &tps[2], &["d"]);
        let mut told = producer.commit().unwrap();
        told.sort();
        let last = |tp: &TopicPartition| (tp.clone(), h.read_from(tp, 0).0.last().unwrap().offset);
        assert_eq!(told, [last(&tps[0]), last(&tps[2])], "round {round}");
    }
}

pub(crate) fn a_reader_finds_the_end_behind_aborted_transactions(h: &Harness) {
    let tp = h.partition("t");
    let mut producer = h.broker.transactional(&h.name("id")).unwrap();
    transact(&mut *producer, &tp, &["a"]);
    for _ in 0..3 {
        producer.begin().unwrap();
        send(&mut *producer, &tp, &["x", "y"]);
        producer.abort().unwrap();
    }
    let (read, end) = h.read_from(&tp, 0);
    assert_eq!(read.iter().map(Read::text).collect::<Vec<_>>(), ["a"]);
    let marks = h.broker.watermarks(&tp).unwrap();
    assert_eq!((end, marks.stable), (marks.high, marks.high), "nothing is open: the end is the end of the log");
}

pub(crate) fn a_newer_producer_of_the_same_id_fences_the_older(h: &Harness) {
    let tp = h.partition("t");
    let mut old = h.broker.transactional(&h.name("id")).unwrap();
    let mut other = h.broker.transactional(&h.name("other-id")).unwrap();
    transact(&mut *old, &tp, &["old"]);
    let mut new = h.broker.transactional(&h.name("id")).unwrap();
    // What fails first depends on when the broker is asked; nothing may be committed, and it stays fenced.
    let attempt = |p: &mut dyn TransactionalProducer| {
        p.begin()?;
        p.send(&record(&tp, "late"))?;
        p.drain()?;
        p.commit()
    };
    assert_eq!(kind(attempt(&mut *old)), Kind::Fenced);
    assert_eq!(kind(old.begin()), Kind::Fenced, "it stays so");
    transact(&mut *new, &tp, &["new"]);
    transact(&mut *other, &tp, &["other"]);
    assert_eq!(h.values(&tp), ["old", "new", "other"]);
}

pub(crate) fn a_takeover_aborts_what_was_open(h: &Harness) {
    let tp = h.partition("t");
    let mut old = h.broker.transactional(&h.name("id")).unwrap();
    old.begin().unwrap();
    send(&mut *old, &tp, &["open"]);
    let mut new = h.broker.transactional(&h.name("id")).unwrap();
    assert_eq!(kind(old.commit()), Kind::Fenced);
    assert_eq!(kind(old.abort()), Kind::Fenced);
    // Nothing holds the end back any more, without waiting for a timeout.
    let marks = h.broker.watermarks(&tp).unwrap();
    assert_eq!(marks.stable, marks.high);
    transact(&mut *new, &tp, &["new"]);
    assert_eq!(h.values(&tp), ["new"]);
}

pub(crate) fn one_producer_commits_again_and_again(h: &Harness) {
    let tp = h.partition("t");
    let mut producer = h.broker.transactional(&h.name("id")).unwrap();
    let values: Vec<String> = (0..20).map(|i| format!("v{i}")).collect();
    for pair in values.chunks(2) {
        transact(&mut *producer, &tp, &pair.iter().map(String::as_str).collect::<Vec<_>>());
    }
    assert_eq!(h.values(&tp), values);
    let (read, _) = h.read_from(&tp, 0);
    assert!(read.is_sorted_by(|a, b| a.offset < b.offset));
}
