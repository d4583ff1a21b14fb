//! What crash tests look at: what is committed, what a process said before it ended, and the whole comparison at the end.

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keld::broker::local::{LocalBroker, LocalOptions};
use keld::broker::{Broker, Offset, Progress, TopicPartition};
use keld::config::{self, Settings};
use keld::record::POSITION_KEY;
use keld::store::Position;
use tempfile::TempDir;

use crate::common::client::Client;
use crate::common::kafka::start_kafka;
use crate::common::lab::{Instance, Lab, On, PARTITIONS};
use crate::common::truth;
use crate::common::workload::Workload;

/// The table of `config/catalog.toml`.
pub(crate) const TABLE: &str = "products";

/// By topic and partition, the end of a source's log.
pub(crate) type Ends = BTreeMap<(String, u32), i64>;

/// Follows from outside what is committed: the position records of the changelog. Reads on where it stopped.
#[derive(Default)]
pub(crate) struct Witness {
    next: BTreeMap<u32, Offset>,
    consumed: BTreeMap<u32, u64>,
    /// The sources' ends at the last look.
    pub(crate) ends: Ends,
}

/// What a witness saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Events whose effect is committed.
    pub(crate) committed: u64,
    /// Events that wait in the sources.
    pub(crate) unread: u64,
}

impl Witness {
    /// Looks while no instance runs. The embedded log is looked at in a copy: its recovery is left to the instance.
    pub(crate) fn look(&mut self, lab: &Lab) -> Seen {
        let (_copy, broker) = beside(lab);
        let changelog = settings(lab).changelog_topic(TABLE);
        if broker.topic(&changelog).unwrap().is_some() {
            let partitions: Vec<_> = (0..PARTITIONS).map(|p| TopicPartition::new(changelog.as_str(), p)).collect();
            if lab.on == On::Kafka {
                wait_marked(&*broker, &partitions);
            }
            partitions.iter().for_each(|tp| self.read(&*broker, tp));
        }
        let committed = self.consumed.values().sum();
        self.ends = lab.ends(&*broker);
        let there: u64 = self.ends.values().map(|end| u64::try_from(*end).unwrap()).sum();
        let unread =
            there.checked_sub(committed).unwrap_or_else(|| panic!("{committed} of {there} events are consumed"));
        Seen { committed, unread }
    }

    fn read(&mut self, broker: &dyn Broker, tp: &TopicPartition) {
        let low = broker.watermarks(tp).unwrap().low;
        let next = self.next.entry(tp.partition).or_default();
        let mut reader = broker.reader(tp, low.max(*next)).unwrap();
        loop {
            let progress = reader.read(10_000, Duration::from_millis(200), &mut |m| {
                *next = m.offset + 1;
                if let (Some(POSITION_KEY), Some(position)) = (m.key, m.payload) {
                    let position = Position::decode(position).unwrap();
                    let sum = position.sources.values().map(|s| s.accounting.consumed()).sum();
                    let before = self.consumed.insert(tp.partition, sum).unwrap_or(0);
                    assert!(before <= sum, "{tp}: the position went back from {before} to {sum} events");
                }
            });
            if matches!(progress.unwrap(), Progress::End { .. }) {
                return;
            }
        }
    }
}

/// Kafka answers the commit of a transaction some time before it writes that into the log. Transactions that nobody will end stay
/// open for longer than this waits.
fn wait_marked(broker: &dyn Broker, partitions: &[TopicPartition]) {
    let until = Instant::now() + Duration::from_secs(1);
    let is_open = |tp: &TopicPartition| broker.watermarks(tp).is_ok_and(|marks| marks.stable < marks.high);
    while partitions.iter().any(is_open) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A connection that changes nothing of what a dead process left.
fn beside(lab: &Lab) -> (Option<TempDir>, Arc<dyn Broker>) {
    if lab.on == On::Kafka {
        return (None, lab.broker());
    }
    let copy = tempfile::tempdir().unwrap();
    let from = lab.data_dir().join(&lab.name).join("log");
    let done = Command::new("cp").arg("-r").arg(&from).arg(copy.path()).status().unwrap();
    assert!(done.success(), "cp -r {}", from.display());
    let broker = LocalBroker::open(&copy.path().join("log"), LocalOptions::default()).unwrap();
    (Some(copy), broker)
}

/// The settings that the laboratory's instance has.
pub(crate) fn settings(lab: &Lab) -> Settings {
    config::load(&lab.config, &[], &sets(lab)).unwrap()
}

fn sets(lab: &Lab) -> Vec<String> {
    let mut sets = lab.sets.clone();
    sets.push(format!("instance.data_dir={}", lab.data_dir().display()));
    sets.push("instance.listen=127.0.0.1:0".into());
    if lab.on == On::Kafka {
        let bootstrap = &start_kafka().expect("the laboratory has one").bootstrap;
        sets.push("broker.kind=kafka".into());
        sets.push(format!("broker.bootstrap_servers={bootstrap}"));
    }
    sets
}

/// Runs `keld verify`, whatever it finds.
pub(crate) fn verify(lab: &Lab) -> Output {
    verify_with(lab, &[])
}

/// As [`verify`], with more arguments. Nobody is there to answer questions.
pub(crate) fn verify_with(lab: &Lab, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keld"));
    command.arg("verify").arg("--config").arg(&lab.config).env_clear().env("KELD_LOG", "warn");
    for set in sets(lab) {
        command.args(["--set", &set]);
    }
    command.args(arguments).output().unwrap()
}

/// How a task was opened, by the log line that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Records read from the changelog.
    pub(crate) restored: u64,
    /// Documents renewed.
    pub(crate) reindexed: u64,
    /// Whether the index was fed whole.
    pub(crate) whole_index: bool,
}

/// The tasks that a process opened.
pub(crate) fn openings(stderr: &str) -> Vec<Opening> {
    stderr.lines().filter(|line| line.contains("task is open")).map(opening).collect()
}

fn opening(line: &str) -> Opening {
    let word = |name: &str| {
        let found = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("no {name}= in {line:?}"))
    };
    Opening {
        restored: word("restored").parse().unwrap(),
        reindexed: word("reindexed").parse().unwrap(),
        whole_index: word("whole_index").parse().unwrap(),
    }
}

/// Events that this process has counted since it started; 0 if it does not answer.
pub(crate) fn counted(client: &Client) -> u64 {
    let Ok((200, text)) = client.try_get("/metrics") else { return 0 };
    let of = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap();
    let lines = text.lines().filter(|line| line.starts_with("keld_events_total{"));
    let counts: Vec<u64> = lines.map(of).collect();
    assert!(!counts.is_empty(), "no keld_events_total in /metrics");
    counts.iter().sum()
}

/// The last run of a story: goes on from what is committed, to the end, and everything is compared. Returns what it wrote
/// to stderr.
pub(crate) fn finish(lab: &Lab, workload: &Workload, ends: &Ends, before: Seen, mut instance: Instance) -> String {
    let status = instance.wait_caught_up(ends);
    let client = instance.client();
    assert_eq!(counted(&client), before.unread, "events consumed by the last process; it began at {before:?}");
    truth::accounts(&status, TABLE, &delivered(lab, ends));
    truth::by_key(&client, TABLE, workload);
    truth::by_search(&client, TABLE, "sku", workload);
    instance.signal("TERM");
    let (status, stderr) = instance.wait_end();
    assert!(status.success(), "keld did not stop cleanly: {status}\n{stderr}");
    truth::by_changelog(lab, TABLE, workload);
    lab.verify();
    stderr
}

/// Events by source, which has the name of its topic here.
fn delivered(lab: &Lab, ends: &Ends) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for ((topic, _), end) in ends {
        let source = topic.strip_prefix(&format!("{}.", lab.name)).unwrap().to_owned();
        *sums.entry(source).or_default() += u64::try_from(*end).unwrap();
    }
    sums
}
