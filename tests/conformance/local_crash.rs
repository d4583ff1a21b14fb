//! The embedded broker after SIGKILL: what was acknowledged is there, and transactions are whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use keld::Kind;
use keld::broker::local::{LocalBroker, LocalOptions};
use keld::broker::{Broker, MemberConfig, MemberEvent, Offset, TopicPartition};

use crate::harness::{Read, read_to_end, record, spec};

const DIR: &str = "KELD_TEST_CHILD_DIR";
const PARTITIONS: u32 = 3;
const ACKNOWLEDGED: usize = 400;

fn open(dir: &Path) -> Arc<LocalBroker> {
    // Little memory, so that the kill meets flushes as well as the write-ahead log.
    LocalBroker::open(dir, LocalOptions { memory: 8 << 20, ..LocalOptions::default() }).unwrap()
}

fn member() -> MemberConfig {
    MemberConfig {
        group: "g".into(),
        topics: vec!["events".into()],
        static_id: None,
        advertise: "http://here".into(),
        session_timeout: std::time::Duration::from_secs(6),
        protocol: keld::config::GroupProtocol::Classic,
    }
}

/// The child: appends from two threads and commits transactions, saying what was acknowledged, until it is killed.
#[test]
#[ignore = "started by what_was_acknowledged_survives_a_kill, which kills it"]
fn child_appends_until_it_is_killed() {
    let dir = std::env::var_os(DIR).expect("only for the parent test");
    let broker = open(Path::new(&dir));
    broker.create_topic(&spec("events", PARTITIONS, false)).unwrap();
    broker.create_topic(&spec("changes", PARTITIONS, true)).unwrap();
    thread::scope(|scope| {
        for t in 0..2 {
            let appender = broker.appender().unwrap();
            scope.spawn(move || {
                for i in 0u32.. {
                    let tp = TopicPartition::new("events", i % PARTITIONS);
                    let value = format!("{t}-{i}-{}", "x".repeat(2000));
                    let offset = appender.append(vec![record(&tp, &value)]).unwrap()[0];
                    println!("\nappended {} {offset} {t}-{i} .", tp.partition);
                }
            });
        }
        commit_forever(&broker);
    });
}

/// Transaction `i` writes `i` to every partition and the position `i + 1`.
fn commit_forever(broker: &LocalBroker) {
    let mut membership = broker.join(&member()).unwrap();
    let Some(MemberEvent::Assigned { token, .. }) = membership.poll(Default::default()).unwrap() else {
        panic!("no assignment")
    };
    let mut producer = broker.transactional("id").unwrap();
    for i in 0i64.. {
        producer.begin().unwrap();
        for p in 0..PARTITIONS {
            producer.send(&record(&TopicPartition::new("changes", p), &i.to_string())).unwrap();
        }
        producer.drain().unwrap();
        producer.send_offsets(&[(TopicPartition::new("events", 0), i + 1)], &token).unwrap();
        producer.commit().unwrap();
        println!("\ncommitted {i} .");
    }
}

#[derive(Default)]
struct Acknowledged {
    appended: BTreeMap<(u32, Offset), String>,
    committed: i64,
}

fn run_and_kill(dir: &Path) -> Acknowledged {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "local_crash::child_appends_until_it_is_killed", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = Acknowledged::default();
    let mut killed = false;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The last word proves that the line is whole.
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["appended", p, offset, value, "."] => {
                let at = (p.parse().unwrap(), offset.parse().unwrap());
                assert_eq!(acknowledged.appended.insert(at, value.into()), None, "an offset was given twice");
            }
            ["committed", i, "."] => acknowledged.committed = i.parse::<i64>().unwrap() + 1,
            _ => {}
        }
        if !killed && acknowledged.appended.len() >= ACKNOWLEDGED && acknowledged.committed > 50 {
            // While it lives, the directory is its own.
            let error = LocalBroker::open(dir, LocalOptions::default()).unwrap_err();
            assert_eq!(error.kind(), Kind::Refused);
            child.kill().unwrap();
            killed = true;
        }
    }
    assert!(killed, "the child ended by itself: {}", child.wait().unwrap());
    child.wait().unwrap();
    acknowledged
}

fn values(broker: &LocalBroker, topic: &str, partition: u32) -> Vec<Read> {
    read_to_end(&mut *broker.reader(&TopicPartition::new(topic, partition), 0).unwrap()).0
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let acknowledged = run_and_kill(dir.path());
    let broker = open(dir.path());

    let mut found = 0;
    let mut seen = BTreeSet::new();
    for p in 0..PARTITIONS {
        for (i, r) in values(&broker, "events", p).iter().enumerate() {
            let text = r.text();
            let name = text.trim_end_matches('x').trim_end_matches('-').to_owned();
            assert_eq!(r.offset, i64::try_from(i).unwrap(), "a hole in partition {p}");
            match acknowledged.appended.get(&(p, r.offset)) {
                Some(expected) => {
                    assert_eq!(&name, expected);
                    found += 1;
                }
                // Written, but its acknowledgement was not printed any more.
                None => assert!(text.len() > 2000),
            }
            assert!(seen.insert(name), "a record is there twice");
        }
    }
    assert_eq!(found, acknowledged.appended.len(), "acknowledged records are missing");
    assert!(seen.len() - found <= 2, "each thread had at most one append under way");

    let committed = broker.committed("g", &[TopicPartition::new("events", 0)]).unwrap()[0].1;
    assert!((acknowledged.committed..=acknowledged.committed + 1).contains(&committed));
    for p in 0..PARTITIONS {
        let own: Vec<_> = values(&broker, "changes", p).iter().map(Read::text).collect();
        let expected: Vec<_> = (0..committed).map(|i| i.to_string()).collect();
        assert_eq!(own, expected, "partition {p}: records and positions are one");
    }
    // And it goes on from there.
    let end = broker.watermarks(&TopicPartition::new("events", 1)).unwrap().high;
    let next = broker.appender().unwrap().append(vec![record(&TopicPartition::new("events", 1), "next")]).unwrap();
    assert_eq!(next, [end]);
}
