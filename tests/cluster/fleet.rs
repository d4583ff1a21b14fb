//! Several instances of one application, and what is compared after each fault.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use keld::record::Partitioner;
use serde_json::{Value, json};

use crate::common::client::{Client, escape};
use crate::common::full_scale;
use crate::common::kafka::start_kafka;
use crate::common::lab::{Instance, Lab, PATIENCE, configuration, lasting_port};
use crate::common::truth;
use crate::common::workload::{Delivery, Workload};

/// The table of `config/catalog.toml`.
pub(crate) const TABLE: &str = "products";
/// Partitions of every topic here.
pub(crate) const PARTITIONS: u32 = 12;
/// Session timeout of every instance here.
pub(crate) const SESSION: Duration = Duration::from_secs(6);
const SIGABRT: i32 = 6;
/// Keys asked for at a time.
const MANY: usize = 500;

/// By topic and partition, the end of a source's log.
pub(crate) type Ends = BTreeMap<(String, u32), i64>;

/// Some instances, by their number.
pub(crate) struct Fleet {
    pub(crate) lab: Lab,
    pub(crate) running: BTreeMap<usize, Instance>,
    stalled: BTreeSet<usize>,
    ports: BTreeMap<usize, u16>,
}

impl Fleet {
    /// Nobody runs yet; the topics are there. `None` where no Kafka can run.
    pub(crate) fn new(sets: &[&str]) -> Option<Self> {
        Some(Self::over(start_kafka()?.bootstrap.clone(), sets))
    }

    /// As [`Fleet::new`], over the Kafka at this address.
    pub(crate) fn over(bootstrap: String, sets: &[&str]) -> Self {
        let mut lab = Lab::over(Some(bootstrap), &configuration("catalog.toml"));
        lab.partitions = PARTITIONS;
        lab.sets.push(format!("broker.session_timeout={}s", SESSION.as_secs()));
        if !full_scale() {
            // Beside the other tests one may be off the processor for a moment, and is not dead. Who is dead refuses connections.
            lab.sets.push("cluster.misses=10".to_owned());
        }
        lab.sets.extend(sets.iter().map(|s| (*s).to_owned()));
        lab.load(&[]);
        Self { lab, running: BTreeMap::new(), stalled: BTreeSet::new(), ports: BTreeMap::new() }
    }

    /// Starts instances and waits until they listen.
    pub(crate) fn start(&mut self, numbers: Range<usize>) {
        self.start_with(numbers, &[], &[]);
    }

    pub(crate) fn start_with(&mut self, numbers: Range<usize>, arguments: &[&str], variables: &[(&str, &str)]) {
        let mut new = Vec::new();
        for n in numbers {
            new.push((n, self.spawn(n, arguments, variables)));
        }
        new.iter_mut().for_each(|(_, instance)| instance.wait_listening());
        self.running.extend(new);
    }

    /// Starts an instance and waits for nothing; it is not among those that run.
    pub(crate) fn spawn(&mut self, number: usize, arguments: &[&str], variables: &[(&str, &str)]) -> Instance {
        // The same at every start, as it is where instances have names.
        let port = *self.ports.entry(number).or_insert_with(lasting_port);
        self.lab.spawn_member(number, port, arguments, variables)
    }

    pub(crate) fn kill(&mut self, number: usize) {
        self.running.remove(&number).unwrap().kill();
    }

    /// Waits until an instance has died at a fault point.
    pub(crate) fn wait_aborted(&mut self, number: usize, point: &str) {
        let (status, stderr) = self.running.remove(&number).unwrap().wait_end();
        assert_eq!(status.signal(), Some(SIGABRT), "{point}: {status}\n{stderr}");
        assert!(stderr.contains(&format!("fault point {point} fired")), "{point}: {stderr}");
    }

    /// SIGTERM; it must finish cleanly. What it wrote to stderr.
    pub(crate) fn stop(&mut self, number: usize) -> String {
        let instance = self.running.remove(&number).unwrap();
        instance.signal("TERM");
        let (status, stderr) = instance.wait_end();
        assert!(status.success(), "keld-{number} did not stop cleanly: {status}\n{stderr}");
        stderr
    }

    /// SIGSTOP: it is there, and does nothing.
    pub(crate) fn stall(&mut self, number: usize) {
        self.running[&number].signal("STOP");
        self.stalled.insert(number);
    }

    /// SIGCONT.
    pub(crate) fn wake(&mut self, number: usize) {
        self.running[&number].signal("CONT");
        self.stalled.remove(&number);
    }

    pub(crate) fn client(&self, number: usize) -> Client {
        self.running[&number].client()
    }

    /// Where some of them are.
    pub(crate) fn addresses(&self, of: impl Fn(usize) -> bool) -> Vec<String> {
        let wanted = self.running.iter().filter(|(n, _)| of(**n));
        wanted.map(|(_, instance)| instance.address.clone().expect("it listens")).collect()
    }

    /// What was written to stderr by an instance so far.
    pub(crate) fn stderr(&self, number: usize) -> String {
        self.running[&number].stderr()
    }

    /// What every instance says of itself, but for those that are stalled.
    pub(crate) fn statuses(&self) -> BTreeMap<usize, Value> {
        let awake = self.running.iter().filter(|(n, _)| !self.stalled.contains(n));
        awake.map(|(n, instance)| (*n, instance.client().get("/v1/status"))).collect()
    }

    /// Appends to the sources while instances run, and gives their ends.
    pub(crate) fn append(&self, deliveries: &[Delivery]) -> Ends {
        self.lab.load(deliveries);
        self.lab.ends(&*self.lab.broker())
    }

    /// Polls `check` with what every instance says; fails when patience ends or an instance does.
    pub(crate) fn wait_for<T>(&mut self, what: &str, mut check: impl FnMut(&BTreeMap<usize, Value>) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            let statuses = self.statuses();
            if let Some(found) = check(&statuses) {
                return found;
            }
            for (n, instance) in &mut self.running {
                if let Some(status) = instance.child.try_wait().unwrap() {
                    panic!("keld-{n} ended while waiting for {what}: {status}\n{}", instance.stderr());
                }
            }
            if Instant::now() > until {
                let words: Vec<String> =
                    self.running.iter().map(|(n, i)| format!("keld-{n}:\n{}", i.stderr())).collect();
                panic!("waiting for {what}: patience is at its end\n{}\n{}", summary(&statuses), words.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until every task has one owner, who shows everything up to `ends`, and `enough` is content with who owns what.
    pub(crate) fn wait_done(&mut self, ends: &Ends, enough: impl Fn(&Owners) -> bool) -> Owners {
        self.wait_for("every task to be done by one owner", |statuses| {
            let owners = owners(statuses)?;
            (enough(&owners) && is_done(statuses, &owners, ends)).then_some(owners)
        })
    }

    /// Every key, asked of its owner, by key and by search; the accounts of all instances together.
    pub(crate) fn compare(&self, owners: &Owners, workload: &Workload) {
        let mut by_owner: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for key in workload.keys() {
            by_owner.entry(owners[&partition_of(key)]).or_default().push(key);
        }
        std::thread::scope(|scope| {
            for (owner, keys) in by_owner {
                let client = self.client(owner);
                scope.spawn(move || compare_keys(&client, &keys, workload));
            }
        });
        self.accounts(&workload.by_topic());
    }

    /// Of all instances together, every event of every source is accounted for once.
    fn accounts(&self, delivered: &BTreeMap<String, u64>) {
        for (source, expected) in delivered {
            let of = |status: &Value| status["tables"][0]["accounting"][source].clone();
            let accounts: Vec<Value> = self.statuses().values().map(of).collect();
            let sum = |name: &str| accounts.iter().map(|a| a[name].as_u64().unwrap()).sum::<u64>();
            assert_eq!(sum("consumed"), *expected, "source {source}: {accounts:?}");
            let outcomes = ["applied", "duplicate", "stale", "quarantined"].map(sum);
            assert_eq!(outcomes.iter().sum::<u64>(), *expected, "source {source}: {accounts:?}");
        }
    }

    /// Rebalances of the group that an instance has taken part in so far.
    pub(crate) fn rebalances(&self, number: usize) -> usize {
        self.stderr(number).matches("the group has settled").count()
    }

    /// Stops everybody, and compares the changelog and what each of the instances `of` has on disk. Returns, by instance and
    /// partition, the records and documents that were missing there and had to be brought up first.
    pub(crate) fn end(mut self, workload: &Workload, of: Range<usize>) -> BTreeMap<usize, BTreeMap<u32, (u64, u64)>> {
        for number in self.running.keys().copied().collect::<Vec<_>>() {
            self.stop(number);
        }
        truth::by_changelog(&self.lab, TABLE, workload);
        let verify = |number: usize| {
            let dir = self.lab.dir.path().join(format!("data-{number}"));
            self.lab.sets.push(format!("instance.data_dir={}", dir.display()));
            (number, self.lab.verify().lines().map(brought_up).collect())
        };
        of.map(verify).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (number, instance) in &self.running {
                let said = instance.stderr();
                let tail: Vec<&str> = said.lines().rev().take(60).collect();
                println!("the last words of keld-{number}:");
                tail.iter().rev().for_each(|line| println!("{line}"));
            }
        }
    }
}

fn brought_up(line: &str) -> (u32, (u64, u64)) {
    let audit: Value = serde_json::from_str(line).unwrap();
    let n = |name: &str| audit[name].as_u64().unwrap();
    (u32::try_from(n("partition")).unwrap(), (n("restored"), n("reindexed")))
}

/// The number of the instance that owns each partition.
pub(crate) type Owners = BTreeMap<u32, usize>;

/// Partitions that each instance owns.
pub(crate) fn shares(owners: &Owners) -> BTreeMap<usize, usize> {
    let mut shares = BTreeMap::new();
    owners.values().for_each(|n| *shares.entry(*n).or_default() += 1);
    shares
}

/// Tasks of an instance in this role and phase.
pub(crate) fn tasks_in<'a>(status: &'a Value, role: &'a str, phase: &'a str) -> impl Iterator<Item = &'a Value> {
    status["tasks"].as_array().unwrap().iter().filter(move |t| t["role"] == role && t["phase"]["name"] == phase)
}

/// `None` while a partition has no owner that runs it, or several.
pub(crate) fn owners(statuses: &BTreeMap<usize, Value>) -> Option<Owners> {
    let mut owners = Owners::new();
    for (number, status) in statuses {
        for task in tasks_in(status, "active", "running") {
            let partition = u32::try_from(task["partition"].as_u64()?).ok()?;
            if owners.insert(partition, *number).is_some() {
                return None;
            }
        }
    }
    (owners.len() == PARTITIONS as usize).then_some(owners)
}

fn is_done(statuses: &BTreeMap<usize, Value>, owners: &Owners, ends: &Ends) -> bool {
    owners.iter().all(|(partition, owner)| {
        let task = tasks_in(&statuses[owner], "active", "running").find(|t| t["partition"] == *partition);
        is_shown(task.unwrap(), ends)
    })
}

/// Whether a task shows everything up to `ends`.
pub(crate) fn is_shown(task: &Value, ends: &Ends) -> bool {
    let own = ends.iter().filter(|((_, partition), _)| task["partition"] == *partition);
    own.into_iter().all(|((topic, _), end)| ["applied", "visible"].iter().all(|which| next(task, which, topic) >= *end))
}

/// The next offset of a topic; a position names the last event that is covered.
fn next(task: &Value, which: &str, topic: &str) -> i64 {
    task[which][topic].as_str().map_or(0, |s| s.rsplit(':').next().unwrap().parse::<i64>().unwrap() + 1)
}

pub(crate) fn partition_of(key: &str) -> u32 {
    Partitioner::Murmur2.partition(key.as_bytes(), PARTITIONS).unwrap()
}

fn compare_keys(client: &Client, keys: &[&str], workload: &Workload) {
    for chunk in keys.chunks(MANY) {
        let answer = client.post(&format!("/v1/tables/{TABLE}/records/get"), &json!({ "keys": chunk }));
        let records = answer["records"].as_array().unwrap().iter().filter(|r| r["record"].is_object());
        let got: HashMap<&str, &Value> = records.map(|r| (r["key"].as_str().unwrap(), &r["record"])).collect();
        for key in chunk {
            let found = got.get(key).map(|r| r.as_object().unwrap());
            assert_eq!(found, workload.expected.get(*key), "GET {key}");
        }
    }
    for key in keys.iter().filter(|key| workload.expected.contains_key(**key)) {
        let filter = escape(&format!("sku:\"{key}\""));
        let answer = search(client, &format!("/v1/tables/{TABLE}/search?filter={filter}&limit=2"));
        assert_eq!(answer["total"], 1, "search for {key}: {answer}");
        assert_eq!(answer["hits"][0]["record"].as_object(), workload.expected.get(*key), "search for {key}");
    }
}

/// A search, again while a copy that has begun meanwhile is on its way.
fn search(client: &Client, path: &str) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        match client.get_any(path) {
            (200, answer) => return answer,
            (503, answer) if answer["reason"] == "restoring" && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            (status, answer) => panic!("GET {path}: {status} {answer}"),
        }
    }
}

/// Each instance's tasks in short.
pub(crate) fn summary(statuses: &BTreeMap<usize, Value>) -> String {
    let task = |t: &Value| {
        format!("{}{}:{}", t["role"].as_str().unwrap().get(..1).unwrap(), t["partition"], t["phase"]["name"])
    };
    let line = |(n, status): (&usize, &Value)| {
        let tasks: Vec<String> = status["tasks"].as_array().unwrap().iter().map(task).collect();
        format!("keld-{n}: {}; {}", tasks.join(" "), status["broker"]["trouble"])
    };
    statuses.iter().map(line).collect::<Vec<_>>().join("\n")
}
