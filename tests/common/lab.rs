//! A laboratory: a data directory, a broker, a configuration, and the built binary to run in it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keld::broker::kafka::{KafkaBroker, KafkaOptions};
use keld::broker::local::{LocalBroker, LocalOptions};
use keld::broker::{Appender, Broker, NewRecord, TopicPartition, TopicSpec};
use keld::record::Partitioner;
use serde_json::Value;
use tempfile::TempDir;

use super::client::Client;
use super::kafka::start_kafka;
use super::workload::{Delivery, Workload};

/// Partitions of every source topic, unless the laboratory says otherwise.
pub(crate) const PARTITIONS: u32 = 4;
/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
/// Records appended at a time.
const CHUNK: usize = 5_000;

/// Which broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Local,
    Kafka,
}

/// A laboratory. Topics are named `<name>.<topic>`, so that tests can share a Kafka.
pub(crate) struct Lab {
    pub(crate) dir: TempDir,
    pub(crate) on: On,
    pub(crate) name: String,
    pub(crate) config: PathBuf,
    pub(crate) sets: Vec<String>,
    /// Partitions of every source topic.
    pub(crate) partitions: u32,
    topics: Vec<String>,
    bootstrap: Option<String>,
}

impl Lab {
    /// With the configuration `config` of the repository (`catalog.toml`, `flights.toml`).
    pub(crate) fn new(on: On, config: &str) -> Self {
        Self::with_config(on, &configuration(config))
    }

    /// With a configuration given as text.
    pub(crate) fn with_config(on: On, text: &str) -> Self {
        let kafka = || start_kafka().unwrap_or_else(|| panic!("there is no Kafka"));
        Self::over((on == On::Kafka).then(|| kafka().bootstrap.clone()), text)
    }

    /// Over the Kafka at this address, or else the embedded log.
    pub(crate) fn over(bootstrap: Option<String>, text: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("keld.toml");
        let mut topics = Vec::new();
        let line = |line: &str| {
            if let Some(topic) = line.strip_prefix("topic = \"").and_then(|r| r.strip_suffix('"')) {
                topics.push(topic.to_owned());
                return format!("topic = \"{name}.{topic}\"\n");
            }
            if line.starts_with("application =") { format!("application = \"{name}\"\n") } else { format!("{line}\n") }
        };
        let text: String = text.lines().map(line).collect();
        std::fs::write(&config, text).unwrap();
        let on = if bootstrap.is_some() { On::Kafka } else { On::Local };
        topics.sort();
        topics.dedup();
        // Whether everything is there is told by positions. Events of a slow test must not be refused for their age.
        let sets = vec!["api.max_lag=1h".to_owned()];
        Self { dir, on, name, config, sets, partitions: PARTITIONS, topics, bootstrap }
    }

    /// The real name of a source topic.
    pub(crate) fn topic(&self, topic: &str) -> String {
        format!("{}.{topic}", self.name)
    }

    /// Where Kafka is; `None` on the embedded log.
    pub(crate) fn bootstrap(&self) -> Option<&str> {
        self.bootstrap.as_deref()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A connection of the test's own. The embedded log has one user at a time: not while an instance runs.
    pub(crate) fn broker(&self) -> Arc<dyn Broker> {
        match &self.bootstrap {
            None => {
                let dir = self.data_dir().join(&self.name).join("log");
                std::fs::create_dir_all(&dir).unwrap();
                LocalBroker::open(&dir, LocalOptions::default()).unwrap()
            }
            Some(bootstrap) => KafkaBroker::connect(KafkaOptions {
                bootstrap: bootstrap.clone(),
                client: BTreeMap::new(),
                application: "test".into(),
                advertise: "test".into(),
                consumer_bytes: 32 << 20,
                producer_bytes: 32 << 20,
                transaction_timeout: Duration::from_secs(10),
                session_timeout: Duration::from_secs(10),
            })
            .unwrap(),
        }
    }

    /// Creates the source topics and appends deliveries to them, while no instance runs (on the embedded log).
    pub(crate) fn load(&self, deliveries: &[Delivery]) {
        let broker = self.broker();
        self.create_sources(&*broker);
        self.append(&*broker.appender().unwrap(), deliveries);
    }

    /// Appends deliveries to the source topics, which are there.
    pub(crate) fn append(&self, appender: &dyn Appender, deliveries: &[Delivery]) {
        for chunk in deliveries.chunks(CHUNK) {
            appender.append(chunk.iter().map(|d| self.record(d)).collect()).unwrap();
        }
    }

    pub(crate) fn create_sources(&self, broker: &dyn Broker) {
        for topic in &self.topics {
            let spec = TopicSpec {
                name: self.topic(topic),
                partitions: self.partitions,
                replication: -1,
                compacted: false,
                settings: BTreeMap::new(),
            };
            broker.create_topic(&spec).unwrap();
        }
    }

    /// A delivery as a producer with Java's partitioner writes it.
    pub(crate) fn record(&self, d: &Delivery) -> NewRecord {
        NewRecord {
            topic: self.topic(&d.topic).into(),
            partition: Partitioner::Murmur2.partition(d.key.as_bytes(), self.partitions).unwrap(),
            key: Some(d.key.clone().into_bytes()),
            payload: Some(d.body.clone().into_bytes()),
            ..NewRecord::default()
        }
    }

    /// Ends of the source topics' partitions.
    pub(crate) fn ends(&self, broker: &dyn Broker) -> BTreeMap<(String, u32), i64> {
        let each = |t: &String| (0..self.partitions).map(|p| (self.topic(t), p)).collect::<Vec<_>>();
        let end = |(t, p): (String, u32)| {
            let high = broker.watermarks(&TopicPartition::new(t.as_str(), p)).unwrap().high;
            ((t, p), high)
        };
        self.topics.iter().flat_map(each).map(end).collect()
    }

    /// A command of the built binary with this configuration.
    pub(crate) fn command(&self, what: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keld"));
        command.arg(what).arg("--config").arg(&self.config).env_clear().env("RUST_BACKTRACE", "1");
        command.args(["--set", &format!("instance.data_dir={}", self.data_dir().display())]);
        if let Some(bootstrap) = &self.bootstrap {
            command.args(["--set", "broker.kind=kafka", "--set", &format!("broker.bootstrap_servers={bootstrap}")]);
        }
        for set in &self.sets {
            command.args(["--set", set]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts `keld run` with further arguments and variables, without waiting for anything.
    pub(crate) fn spawn(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Instance {
        let mut command = self.command("run");
        command.args(["--set", "instance.listen=127.0.0.1:0"]).args(arguments).envs(variables.iter().copied());
        Instance::new(command.spawn().unwrap())
    }

    /// Starts one instance of several: `keld-<number>`, with a data directory and an address of its own.
    pub(crate) fn spawn_member(
        &self,
        number: usize,
        port: u16,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Instance {
        let id = format!("instance.id=keld-{number}");
        let dir = format!("instance.data_dir={}", self.dir.path().join(format!("data-{number}")).display());
        let listen = format!("instance.listen=127.0.0.1:{port}");
        let mut all = vec!["--set", id.as_str(), "--set", dir.as_str(), "--set", listen.as_str()];
        all.extend(arguments);
        self.spawn(&all, variables)
    }

    /// Starts `keld run` and waits until it listens.
    pub(crate) fn start(&self) -> Instance {
        let mut instance = self.spawn(&[], &[]);
        instance.wait_listening();
        instance
    }

    /// Runs `keld verify`, which must find nothing; its output.
    pub(crate) fn verify(&self) -> String {
        let done = self.command("verify").arg("--json").env("KELD_LOG", "warn").output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "keld verify: {}\n{out}\n{err}", done.status);
        assert!(!out.is_empty(), "keld verify audited nothing");
        out.into_owned()
    }
}

/// The text of a configuration of the repository.
pub(crate) fn configuration(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap()
}

/// A child process running the built binary.
pub(crate) struct Instance {
    pub(crate) child: Child,
    pub(crate) address: Option<String>,
    out: Option<BufReader<std::process::ChildStdout>>,
    err: Arc<Mutex<String>>,
    err_reader: Option<std::thread::JoinHandle<()>>,
}

impl Instance {
    pub(crate) fn new(mut child: Child) -> Self {
        let out = child.stdout.take().map(BufReader::new);
        let err = Arc::new(Mutex::new(String::new()));
        let (into, mut from) = (err.clone(), child.stderr.take().unwrap());
        let err_reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut chunk) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..n]));
            }
        });
        Self { child, address: None, out, err, err_reader: Some(err_reader) }
    }

    /// Waits until it says where it listens; fails with its last words if it ends instead.
    pub(crate) fn wait_listening(&mut self) {
        let mut line = String::new();
        while let Some(out) = &mut self.out {
            line.clear();
            if out.read_line(&mut line).unwrap() == 0 {
                let status = self.child.wait().unwrap();
                panic!("keld ended before it listened: {status}\n{}", self.stderr());
            }
            if let Some(address) = line.trim().strip_prefix("keld listens on ") {
                self.address = Some(address.to_owned());
                return;
            }
        }
    }

    pub(crate) fn stderr(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    /// What it has written once the words are in it so often: they come through a pipe, some time after what they tell of.
    pub(crate) fn wait_words(&self, words: &str, times: usize) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let said = self.stderr();
            if said.matches(words).count() >= times {
                return said;
            }
            assert!(Instant::now() < until, "waiting for {words:?}, {times} times, in\n{said}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address.as_deref().expect("it listens"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Polls `check` until it gives something; fails with `what` when patience ends or the process does.
    pub(crate) fn wait_for<T>(&mut self, what: &str, mut check: impl FnMut(&Client) -> Option<T>) -> T {
        let (client, until) = (self.client(), Instant::now() + PATIENCE);
        loop {
            if let Some(found) = check(&client) {
                return found;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("keld ended while waiting for {what}: {status}\n{}", self.stderr());
            }
            assert!(
                Instant::now() < until,
                "waiting for {what}: patience is at its end\n{}\n{}",
                client.get("/v1/status"),
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until every task runs and shows everything up to `ends`.
    pub(crate) fn wait_caught_up(&mut self, ends: &BTreeMap<(String, u32), i64>) -> Value {
        self.wait_for("catching up", |client| {
            let (status, body) = client.try_get("/v1/status").ok()?;
            let status: Value = if status == 200 { serde_json::from_str(&body).ok()? } else { return None };
            is_caught_up(&status, ends).then_some(status)
        })
    }

    /// SIGKILL; nothing is finished.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        let done = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits for the end of the process; status and everything it wrote to stderr.
    pub(crate) fn wait_end(mut self) -> (ExitStatus, String) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "the process does not end\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(10));
        };
        if let Some(reader) = self.err_reader.take() {
            reader.join().unwrap();
        }
        (status, self.stderr())
    }

    /// SIGTERM; it must finish cleanly.
    pub(crate) fn stop(self) {
        self.signal("TERM");
        let (status, err) = self.wait_end();
        assert!(status.success(), "keld did not stop cleanly: {status}\n{err}");
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // A test that failed leaves it running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_caught_up(status: &Value, ends: &BTreeMap<(String, u32), i64>) -> bool {
    let tasks = status["tasks"].as_array().unwrap();
    // A position names the last event that is covered; a topic of which nothing is covered is left out.
    let next = |task: &Value, which: &str, topic: &str| {
        task[which][topic].as_str().map_or(0, |s| s.rsplit(':').next().unwrap().parse::<i64>().unwrap() + 1)
    };
    // A topic may feed one table of several: some task of the partition must have come so far, and all must run.
    let running = tasks.iter().all(|t| t["phase"]["name"] == "running");
    let reached =
        |t: &Value, topic: &str, end: i64| next(t, "applied", topic) >= end && next(t, "visible", topic) >= end;
    running
        && ends.iter().all(|((topic, partition), end)| {
            tasks.iter().any(|t| t["partition"] == *partition && reached(t, topic, *end))
        })
}

/// A port that is free now, and that the system does not hand out for outgoing connections: whoever listens there can be stopped
/// and started again.
pub(crate) fn lasting_port() -> u16 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let first = u64::from(std::process::id() % 100) * 19;
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = (0..1_900).map(|_| 30_000 + ((first + NEXT.fetch_add(1, Ordering::Relaxed)) % 1_900) as u16);
    ports.find(free).expect("a port is free")
}

/// Loads a workload and gives the ends of its topics.
pub(crate) fn loaded(lab: &Lab, workload: &Workload) -> BTreeMap<(String, u32), i64> {
    lab.load(&workload.deliveries);
    lab.ends(&*lab.broker())
}
