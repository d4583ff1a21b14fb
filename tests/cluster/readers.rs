//! Clients that read records by key at a constant pace, and remember what became of each read.
//!
//! A wrong answer ends the test. So does an answer that covers less than one that was given before it was asked for, unless it
//! says that it may: that it is a standby's, or not caught up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::common::client::Client;
use crate::common::lab::PATIENCE;
use crate::common::workload::{Delivery, Workload};
use crate::fleet::{TABLE, partition_of};

/// Reads a second of one thread.
const PACE: u32 = 25;
/// A read without an answer for so long has failed.
const TIMEOUT: Duration = Duration::from_secs(5);
/// An owner has in its store what its copies could read so long ago.
const APPLIED: Duration = Duration::from_secs(2);

/// What is read, and how.
#[derive(Clone)]
pub(crate) struct Reading {
    /// Keys and the records that they must have.
    records: Arc<Vec<(String, Map<String, Value>)>>,
    /// Reads a second, of all threads together.
    pub(crate) rate: u32,
    /// Instances that are asked for a read at most, one after the other.
    pub(crate) attempts: usize,
    /// What stands in the URL behind `?`.
    pub(crate) query: &'static str,
}

impl Reading {
    /// Of the records that `later` events leave as they are.
    pub(crate) fn of(workload: &Workload, later: &[Delivery], rate: u32) -> Self {
        let changing: BTreeSet<&str> = later.iter().map(|d| d.key.as_str()).collect();
        let still = workload.expected.iter().filter(|(key, _)| !changing.contains(key.as_str()));
        let records: Vec<_> = still.map(|(key, record)| (key.clone(), record.clone())).collect();
        let places: BTreeSet<u32> = records.iter().map(|(key, _)| partition_of(key)).collect();
        assert_eq!(places.len() as u32, crate::fleet::PARTITIONS, "records to read in every partition");
        Self { records: Arc::new(records), rate, attempts: 1, query: "" }
    }
}

/// One read.
pub(crate) struct Read {
    pub(crate) partition: u32,
    pub(crate) done: Instant,
    pub(crate) outcome: Outcome,
}

/// What became of it.
pub(crate) enum Outcome {
    /// The right record. `labelled`: the answer says that it is a standby's, or not caught up; `older`: it covers less than an answer before.
    Right { labelled: bool, older: bool },
    /// What the last instance that was asked said instead.
    Failed(String),
}

impl Read {
    pub(crate) fn is_right(&self) -> bool {
        matches!(self.outcome, Outcome::Right { .. })
    }

    /// Whether the answer says that it may be older than one before it.
    pub(crate) fn is_labelled(&self) -> bool {
        matches!(self.outcome, Outcome::Right { labelled: true, .. })
    }

    pub(crate) fn failure(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Failed(why) => Some(why),
            Outcome::Right { .. } => None,
        }
    }
}

/// By partition and topic, the last event that an answer covered.
type Seen = BTreeMap<u32, Covered>;

/// The last event of each topic.
type Lasts = BTreeMap<String, i64>;

/// What answers before have covered of a partition. A copy may be ahead of its owner: it reads what is committed while the owner, who
/// was told so at the same time, still writes it to its store. So what copies covered binds an owner only after [`APPLIED`].
#[derive(Clone, Debug, Default)]
struct Covered {
    by_anybody: Lasts,
    binding: Lasts,
    by_copies: Vec<(Instant, Lasts)>,
}

impl Covered {
    fn note(&mut self, lasts: Lasts, labelled: bool) {
        raise(&mut self.by_anybody, &lasts);
        if labelled {
            self.by_copies.push((Instant::now(), lasts));
        } else {
            raise(&mut self.binding, &lasts);
        }
    }

    fn bind(&mut self) {
        let due = self.by_copies.partition_point(|(at, _)| at.elapsed() > APPLIED);
        self.by_copies.drain(..due).for_each(|(_, lasts)| raise(&mut self.binding, &lasts));
    }
}

fn raise(known: &mut Lasts, lasts: &Lasts) {
    for (topic, last) in lasts {
        let known = known.entry(topic.clone()).or_insert(-1);
        *known = (*known).max(*last);
    }
}

struct Shared {
    reading: Reading,
    addresses: Vec<String>,
    stop: AtomicBool,
    /// Reads that are over.
    over: AtomicUsize,
    seen: Mutex<Seen>,
}

/// Threads that read.
pub(crate) struct Readers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<Read>>>,
}

impl Readers {
    /// Begins to read through the instances at `addresses`, in turn, and waits until some reads are over.
    pub(crate) fn start(reading: &Reading, addresses: Vec<String>) -> Self {
        let shared = Arc::new(Shared {
            reading: reading.clone(),
            addresses,
            stop: AtomicBool::new(false),
            over: AtomicUsize::new(0),
            seen: Mutex::default(),
        });
        let began = Instant::now();
        let thread = |number| {
            let shared = shared.clone();
            std::thread::spawn(move || shared.read(number, began))
        };
        let readers = Self { threads: (0..reading.rate.div_ceil(PACE)).map(thread).collect(), shared };
        let some = reading.rate as usize / 2;
        while readers.shared.over.load(Ordering::Relaxed) < some {
            assert!(began.elapsed() < PATIENCE, "reads do not come to an end");
            assert!(readers.threads.iter().all(|t| !t.is_finished()), "a reader has ended (see above)");
            std::thread::sleep(Duration::from_millis(10));
        }
        readers
    }

    /// Ends it; all reads, in the order in which they were done.
    pub(crate) fn stop(self) -> Vec<Read> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let done = self.threads.into_iter().flat_map(|t| t.join().expect("a reader has ended (see above)"));
        let mut all: Vec<Read> = done.collect();
        all.sort_by_key(|read| read.done);
        all
    }
}

impl Shared {
    /// Reads when it is time to, whether or not the read before was late, until it is told to stop.
    fn read(&self, number: u32, began: Instant) -> Vec<Read> {
        let clients: Vec<Client> = self.addresses.iter().map(|a| Client::with_timeout(a, TIMEOUT)).collect();
        let pace = Duration::from_secs(1) / PACE;
        let (mut reads, mut turn) = (Vec::new(), number as usize * 97);
        let mut due = began + pace * number / self.reading.rate.div_ceil(PACE);
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            reads.push(self.one(&clients, turn));
            self.over.fetch_add(1, Ordering::Relaxed);
            (turn, due) = (turn + 1, due + pace);
        }
        reads
    }

    fn one(&self, clients: &[Client], turn: usize) -> Read {
        let records = &self.reading.records;
        let (key, record) = &records[turn % records.len()];
        let (partition, path) = (partition_of(key), format!("/v1/tables/{TABLE}/records/{key}?{}", self.reading.query));
        let before = {
            let mut seen = self.seen.lock().unwrap();
            let covered = seen.entry(partition).or_default();
            covered.bind();
            covered.clone()
        };
        let mut outcome = Outcome::Failed(String::new());
        for attempt in 0..self.reading.attempts {
            outcome = match clients[(turn + attempt) % clients.len()].try_get(&path) {
                Ok((200, body)) => self.right(partition, &before, record, &body),
                Ok((404, body)) => panic!("GET {path}: it is there, but the answer is {body}"),
                Ok((status, body)) => Outcome::Failed(reason(status, &body)),
                Err(e) => Outcome::Failed(e.to_string()),
            };
            if let Outcome::Right { .. } = outcome {
                break;
            }
        }
        Read { partition, done: Instant::now(), outcome }
    }

    fn right(&self, partition: u32, before: &Covered, record: &Map<String, Value>, body: &str) -> Outcome {
        let answer: Value = serde_json::from_str(body).unwrap();
        assert_eq!(answer["record"].as_object(), Some(record), "{answer}");
        let labelled = answer["role"] == "standby" || answer["caught_up"] == false;
        let position = answer["position"][partition.to_string()].as_object().unwrap();
        let lasts: Lasts = position.iter().map(|(topic, text)| (topic.clone(), last(text.as_str().unwrap()))).collect();
        let is_less = |than: &Lasts| than.iter().any(|(topic, last)| lasts.get(topic).copied().unwrap_or(-1) < *last);
        let older = is_less(&before.by_anybody);
        assert!(
            labelled || !is_less(&before.binding),
            "covers less than an answer before, {before:?}, and does not say so: {answer}"
        );
        self.seen.lock().unwrap().entry(partition).or_default().note(lasts, labelled);
        Outcome::Right { labelled, older }
    }
}

/// The offset of `topic:partition:offset`.
fn last(position: &str) -> i64 {
    position.rsplit(':').next().unwrap().parse().unwrap()
}

/// Why an instance refused, in a word.
fn reason(status: u16, body: &str) -> String {
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    format!("{status} {}", problem["reason"].as_str().unwrap_or(body))
}

/// How often each failure happened.
pub(crate) fn failures(reads: &[Read]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    reads.iter().filter_map(Read::failure).for_each(|why| *counts.entry(why).or_default() += 1);
    counts
}
