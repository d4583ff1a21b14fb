//! A Kafka of a test's own, to be stopped, killed, and reached on other ways.

use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use keld::broker::kafka::{KafkaBroker, KafkaOptions};

use super::kafka::stop_at_exit;

/// The newest Kafka that can be restarted under load. Since 4.3 (seen with 4.3.1, still so in 4.4.0) a coordinator that comes
/// back with a transaction to commit takes partitions without a leader for deleted, and writes no end of the transaction to
/// them (KAFKA-20734): what was committed stays hidden until somebody ends it by hand.
const VERSION: (&str, &str) = ("KELD_KAFKA_VERSION", "4.2.1");

/// A Kafka of this test's own, on a port chosen before it is started.
pub(crate) struct Kafka {
    script: PathBuf,
    dir: PathBuf,
    port: u16,
    /// Stops it when the test process ends, however it ends.
    _alive: ChildStdin,
}

impl Kafka {
    pub(crate) fn plan(at: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka");
        let dir = at.join("kafka");
        std::fs::create_dir_all(&dir).unwrap();
        // Not one that the system hands out for outgoing connections: a client that finds nobody there could take it.
        let first = 32_000 + u16::try_from(std::process::id() % 700).unwrap();
        let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let port = (0..60).map(|_| first + NEXT.fetch_add(1, Ordering::Relaxed)).find(free).unwrap();
        let alive = stop_at_exit(&script, &dir).unwrap();
        Self { script, dir, port, _alive: alive }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn run(&self, command: &str, more: &[&str]) -> String {
        self.run_with(command, more, &[])
    }

    fn run_with(&self, command: &str, more: &[&str], variables: &[(&str, &str)]) -> String {
        let mut script = Command::new(&self.script);
        script.env(VERSION.0, VERSION.1).envs(variables.iter().copied());
        script.arg(command).arg(&self.dir).args(more).stdin(Stdio::null());
        let done = script.output().unwrap();
        assert!(done.status.success(), "scripts/kafka {command}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    /// Starts three brokers: three replicas of everything, of which two must have what is acknowledged. Their address.
    pub(crate) fn start_three(&self) -> String {
        let told = self.run("start", &["--brokers", "3"]);
        told.lines().find_map(|l| l.strip_prefix("bootstrap=")).unwrap_or_else(|| panic!("{told}")).to_owned()
    }

    pub(crate) fn start(&self) {
        self.run("start", &["--port", &self.port.to_string()]);
    }

    /// Starts it so that it tells in its log what becomes of groups.
    pub(crate) fn start_telling_of_groups(&self) {
        let told = "-Xmx512m -Dorg.slf4j.simpleLogger.log.org.apache.kafka.coordinator.group=info";
        self.run_with("start", &["--port", &self.port.to_string()], &[("KELD_KAFKA_JAVA_OPTS", told)]);
    }

    /// What the first node has written to its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("node-1/kafka.log")).unwrap()
    }

    /// Starts it with a second listener, which sends clients to `proxy`; where that listener is.
    pub(crate) fn start_behind(&self, proxy: u16) -> String {
        let told = self.run("start", &["--port", &self.port.to_string(), "--proxy", &proxy.to_string()]);
        told.lines().find_map(|l| l.strip_prefix("behind=")).unwrap_or_else(|| panic!("{told}")).to_owned()
    }

    pub(crate) fn connect(&self) -> Arc<KafkaBroker> {
        KafkaBroker::connect(KafkaOptions::new(self.address(), "test")).unwrap()
    }
}

impl Drop for Kafka {
    #[expect(clippy::print_stdout, reason = "whoever looks at a failure needs the broker's words")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.join("node-1/kafka.log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            println!("the end of Kafka's log:");
            tail.iter().rev().for_each(|line| println!("{line}"));
        }
        // Before its directory goes.
        let _ = Command::new(&self.script).arg("stop").arg(&self.dir).output();
    }
}
