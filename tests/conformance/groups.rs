//! Groups: membership, and offsets that are committed with the records.

use std::collections::BTreeSet;

use keld::Kind;
use keld::broker::{GroupToken, Membership, TopicPartition};

use crate::harness::{Harness, PATIENCE, kind, record, settle};

/// Joins alone and waits for `count` partitions.
fn join_alone(h: &Harness, tps: &[TopicPartition]) -> (Box<dyn Membership>, GroupToken) {
    let mut member = h.join(&[&tps[0]], "one");
    let mut standings = settle(&mut [&mut member], |s| s[0].partitions.len() == tps.len());
    (member, standings.remove(0).token.unwrap())
}

pub(crate) fn a_member_gets_every_partition(h: &Harness) {
    let (a, b) = (h.topic("a", 3), h.topic("b", 2));
    let mut member = h.join(&[&a[0], &b[0]], "one");
    let standings = settle(&mut [&mut member], |s| s[0].partitions.len() >= 5);
    let given: BTreeSet<_> = standings[0].partitions.iter().cloned().collect();
    assert_eq!(given, a.into_iter().chain(b).collect());
    assert_eq!(standings[0].partitions.len(), 5, "each once");
    member.close().unwrap();
}

pub(crate) fn a_second_member_takes_over_or_shares(h: &Harness) {
    let tps = h.topic("t", 4);
    let (mut one, _) = join_alone(h, &tps);
    let mut two = h.join(&[&tps[0]], "two");
    let share = if h.shares { 2 } else { 4 };
    let standings = settle(&mut [&mut one, &mut two], |s| s[1].partitions.len() == share && s[0].revoked == share);
    assert_eq!(standings[0].lost, !h.shares, "shared partitions are asked back, others are gone at once");
    let second: BTreeSet<_> = standings[1].partitions.iter().collect();
    assert_eq!(second.len(), share, "each once");
    two.close().unwrap();
    one.close().unwrap();
}

pub(crate) fn a_group_tells_the_addresses_of_its_members(h: &Harness) {
    let ask = |group: &str| h.broker.members(&h.name(group), PATIENCE).unwrap();
    assert_eq!(ask("nobody"), Vec::<String>::new());
    let tps = h.topic("t", 4);
    let (mut one, _) = join_alone(h, &tps);
    assert_eq!(ask("group"), ["http://one"]);
    let mut two = h.join(&[&tps[0]], "two");
    settle(&mut [&mut one, &mut two], |s| !s[1].partitions.is_empty());
    let told = BTreeSet::from_iter(ask("group"));
    let both = ["http://one", "http://two"].map(str::to_owned);
    assert_eq!(told, if h.shares { both.into() } else { BTreeSet::from([both[1].clone()]) });
    one.close().unwrap();
    two.close().unwrap();
    assert_eq!(ask("group"), Vec::<String>::new());
}

pub(crate) fn a_member_that_leaves_gives_everything_back_and_may_come_again(h: &Harness) {
    let tps = h.topic("t", 4);
    let (mut member, stale) = join_alone(h, &tps);
    member.leave().unwrap();
    let standings = settle(&mut [&mut member], |s| s[0].left);
    assert_eq!((standings[0].revoked, standings[0].lost), (4, false), "asked back, not lost");
    member.rejoin().unwrap();
    let standings = settle(&mut [&mut member], |s| s[0].partitions.len() == 4);
    let mut producer = h.broker.transactional(&h.name("id")).unwrap();
    producer.begin().unwrap();
    assert_eq!(kind(producer.send_offsets(&[(tps[0].clone(), 1)], &stale)), Kind::AbortRequired);
    producer.abort().unwrap();
    producer.begin().unwrap();
    producer.send_offsets(&[(tps[0].clone(), 2)], &standings[0].token.clone().unwrap()).unwrap();
    producer.commit().unwrap();
    assert_eq!(h.committed(&tps[0]), Some(2));
    member.close().unwrap();
}

pub(crate) fn records_and_offsets_are_committed_together(h: &Harness) {
    let (source, target) = (h.topic("source", 2), h.partition("target"));
    let (member, token) = join_alone(h, &source);
    h.append(&source[0], &["1", "2", "3"]);
    let mut producer = h.broker.transactional(&h.name("id")).unwrap();
    producer.begin().unwrap();
    producer.send(&record(&target, "sum")).unwrap();
    producer.drain().unwrap();
    producer.send_offsets(&[(source[0].clone(), 3), (source[1].clone(), 0)], &token).unwrap();
    assert_eq!(h.read_now(&target, 0).0, Vec::new(), "seen before its commit");
    producer.commit().unwrap();
    assert_eq!(h.values(&target), ["sum"]);
    assert_eq!((h.committed(&source[0]), h.committed(&source[1])), (Some(3), Some(0)));
    // The same partition again: the later position counts.
    producer.begin().unwrap();
    producer.send_offsets(&[(source[1].clone(), 7)], &token).unwrap();
    producer.commit().unwrap();
    assert_eq!((h.committed(&source[0]), h.committed(&source[1])), (Some(3), Some(7)));
    member.close().unwrap();
}

pub(crate) fn offsets_of_an_aborted_transaction_are_not_committed(h: &Harness) {
    let (source, target) = (h.topic("source", 1), h.partition("target"));
    let (member, token) = join_alone(h, &source);
    let mut producer = h.broker.transactional(&h.name("id")).unwrap();
    producer.begin().unwrap();
    producer.send(&record(&target, "never")).unwrap();
    producer.drain().unwrap();
    producer.send_offsets(&[(source[0].clone(), 9)], &token).unwrap();
    producer.abort().unwrap();
    assert_eq!(h.values(&target), Vec::<String>::new());
    assert_eq!(h.committed(&source[0]), None);
    member.close().unwrap();
}

pub(crate) fn offsets_with_a_stale_token_demand_an_abort(h: &Harness) {
    let (source, target) = (h.topic("source", 4), h.partition("target"));
    let (mut one, stale) = join_alone(h, &source);
    let mut producer = h.broker.transactional(&h.name("id")).unwrap();
    producer.begin().unwrap();
    producer.send(&record(&target, "of a zombie")).unwrap();
    producer.drain().unwrap();
    let mut two = h.join(&[&source[0]], "two");
    let standings = settle(&mut [&mut one, &mut two], |s| !s[1].partitions.is_empty());
    assert_eq!(kind(producer.send_offsets(&[(source[0].clone(), 5)], &stale)), Kind::AbortRequired);
    assert!(producer.commit().is_err(), "after that only an abort helps");
    producer.abort().unwrap();
    assert_eq!(h.values(&target), Vec::<String>::new());
    assert_eq!(h.committed(&source[0]), None);
    // The same producer is of use again, under the new token.
    let (owned, token) = (standings[1].partitions[0].clone(), standings[1].token.clone().unwrap());
    producer.begin().unwrap();
    producer.send(&record(&target, "of the owner")).unwrap();
    producer.drain().unwrap();
    producer.send_offsets(&[(owned.clone(), 5)], &token).unwrap();
    producer.commit().unwrap();
    assert_eq!(h.values(&target), ["of the owner"]);
    assert_eq!(h.committed(&owned), Some(5));
    two.close().unwrap();
    one.close().unwrap();
}

pub(crate) fn an_empty_list_of_offsets_is_refused(h: &Harness) {
    let source = h.topic("source", 1);
    let (member, token) = join_alone(h, &source);
    let mut producer = h.broker.transactional(&h.name("id")).unwrap();
    producer.begin().unwrap();
    assert_eq!(kind(producer.send_offsets(&[], &token)), Kind::BadRequest);
    producer.abort().unwrap();
    member.close().unwrap();
}

pub(crate) fn a_group_without_offsets_has_none(h: &Harness) {
    let tp = h.partition("t");
    h.append(&tp, &["a"]);
    assert_eq!(h.committed(&tp), None);
}
