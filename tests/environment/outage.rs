//! Kafka that is not there yet, and Kafka that is gone when the instance is to stop.

use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keld::broker::kafka::{KafkaBroker, KafkaOptions};
use keld::broker::{Appender, Broker};

use crate::common::kafka::{start_kafka, stop_at_exit};
use crate::common::lab::{Instance, Lab, On, PATIENCE};
use crate::common::workload::{Delivery, Workload};
use crate::setting::{CONFIG, exact, workload};

/// A Kafka of this test's own, on a port chosen before it is started.
struct Kafka {
    script: PathBuf,
    dir: PathBuf,
    port: u16,
    /// Stops it when the test process ends, however it ends.
    _alive: ChildStdin,
}

impl Kafka {
    fn plan(at: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka");
        let dir = at.join("kafka");
        std::fs::create_dir_all(&dir).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let alive = stop_at_exit(&script, &dir).unwrap();
        Self { script, dir, port, _alive: alive }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn run(&self, command: &str, more: &[&str]) {
        let done =
            Command::new(&self.script).arg(command).arg(&self.dir).args(more).stdin(Stdio::null()).output().unwrap();
        assert!(done.status.success(), "scripts/kafka {command}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn start(&self) {
        self.run("start", &["--port", &self.port.to_string()]);
    }

    fn connect(&self) -> Arc<KafkaBroker> {
        KafkaBroker::connect(KafkaOptions::new(self.address(), "test")).unwrap()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // Before its directory goes.
        let _ = Command::new(&self.script).arg("stop").arg(&self.dir).output();
    }
}

/// A laboratory whose instance talks to `kafka`; what the laboratory itself would use is not used.
fn lab(kafka: &Kafka) -> Lab {
    let mut lab = Lab::with_config(On::Local, CONFIG);
    lab.sets.push("broker.kind=kafka".into());
    lab.sets.push(format!("broker.bootstrap_servers={}", kafka.address()));
    lab.sets.push("topics.create_sources=true".into());
    lab
}

fn append(lab: &Lab, appender: &dyn Appender, deliveries: &[Delivery]) {
    for chunk in deliveries.chunks(2_000) {
        appender.append(chunk.iter().map(|d| lab.record(d)).collect()).unwrap();
    }
}

fn wait_words(instance: &mut Instance, words: &[&str]) {
    let until = Instant::now() + PATIENCE;
    while !words.iter().all(|w| instance.stderr().contains(w)) {
        assert_eq!(instance.child.try_wait().unwrap(), None, "{}", instance.stderr());
        assert!(Instant::now() < until, "{words:?} in\n{}", instance.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn no_trouble(instance: &mut Instance) {
    instance.wait_for("the trouble to be over", |client| {
        client.get("/v1/status")["broker"]["trouble"].is_null().then_some(())
    });
}

fn part(all: &Workload, count: usize) -> Workload {
    let part = workload(count, 0);
    assert_eq!(part.deliveries.last().unwrap().body, all.deliveries[count - 1].body);
    part
}

/// The instance is there before Kafka is: it says so, waits, and goes on.
#[test]
fn kafka_may_come_late() {
    if start_kafka().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let kafka = Kafka::plan(home.path());
    let lab = lab(&kafka);
    let mut instance = lab.spawn(&[], &[]);
    wait_words(&mut instance, &["the broker does not answer; waiting for it", &kafka.address()]);
    kafka.start();
    instance.wait_listening();

    let all = workload(60_000, 0);
    let broker = kafka.connect();
    let appender = broker.appender().unwrap();
    append(&lab, &*appender, &all.deliveries[..10_000]);
    instance.wait_caught_up(&lab.ends(&*broker));
    no_trouble(&mut instance);

    exact(&lab, instance, &part(&all, 10_000), &lab.ends(&*broker));
}

/// Told to stop while Kafka is away, it ends soon, and the next one goes on.
#[test]
fn an_instance_can_be_stopped_while_kafka_is_away() {
    if start_kafka().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let kafka = Kafka::plan(home.path());
    let lab = lab(&kafka);
    let mut early = lab.spawn(&[], &[]);
    wait_words(&mut early, &["the broker does not answer"]);
    early.signal("INT");
    let (status, err) = early.wait_end();
    assert_eq!(status.code(), Some(130), "there was nothing to finish yet\n{err}");
    assert!(err.lines().last().unwrap().starts_with("keld: error: stopped at once"), "{err}");

    kafka.start();
    let mut instance = lab.start();
    let all = workload(5_000, 0);
    let broker = kafka.connect();
    append(&lab, &*broker.appender().unwrap(), &all.deliveries);
    let ends = lab.ends(&*broker);
    instance.wait_caught_up(&ends);
    kafka.run("kill", &[]);
    let since = Instant::now();
    instance.signal("TERM");
    let (status, err) = instance.wait_end();
    assert_eq!(status.code(), Some(0), "everything was committed\n{err}");
    assert!(since.elapsed() < Duration::from_secs(40), "it took {:?}\n{err}", since.elapsed());
    kafka.run("restart", &[]);
    exact(&lab, lab.start(), &all, &ends);
}
