//! Kafka that is not there yet, and Kafka that goes away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keld::broker::Broker;

use crate::common::kafka::start_kafka;
use crate::common::lab::{Instance, Lab, On, PATIENCE};
use crate::common::own_kafka::Kafka;
use crate::common::truth;
use crate::common::workload::Workload;
use crate::setting::{CONFIG, exact, workload};

/// A laboratory whose instance talks to `kafka`; what the laboratory itself would use is not used.
fn lab(kafka: &Kafka) -> Lab {
    let mut lab = Lab::with_config(On::Local, CONFIG);
    lab.sets.push("broker.kind=kafka".into());
    lab.sets.push(format!("broker.bootstrap_servers={}", kafka.address()));
    lab.sets.push("topics.create_sources=true".into());
    // Both outages last longer: the instance loses its place in the group as well.
    lab.sets.push("broker.session_timeout=2s".into());
    lab
}

fn wait_words(instance: &mut Instance, words: &[&str]) {
    let until = Instant::now() + PATIENCE;
    while !words.iter().all(|w| instance.stderr().contains(w)) {
        assert_eq!(instance.child.try_wait().unwrap(), None, "{}", instance.stderr());
        assert!(Instant::now() < until, "{words:?} in\n{}", instance.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn told(instance: &mut Instance, kafka: &Kafka) {
    let trouble = instance.wait_for("the trouble to be told", |client| {
        client.get("/v1/status")["broker"]["trouble"].as_str().map(str::to_owned)
    });
    assert!(trouble.contains(&kafka.address()), "{trouble}");
}

/// Reads go on, and whoever asks is told what is wrong.
fn answers_without_kafka(instance: &mut Instance, kafka: &Kafka, known: &Workload) {
    told(instance, kafka);
    let client = instance.client();
    truth::by_key(&client, "things", known);
    let found = client.get("/v1/tables/things/search?filter=last:[0%20TO%20100000]&limit=1");
    assert_eq!(found["total"], known.expected.len());
    assert_eq!(client.get_any("/health/live").0, 200);
    assert_eq!(client.get_any("/health/ready").0, 200, "reads go on");
}

/// Reads a record again and again, and searches for it: not one may be refused.
struct Reader {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<usize>,
}

impl Reader {
    fn start(instance: &Instance) -> Self {
        let (stop, client) = (Arc::new(AtomicBool::new(false)), instance.client());
        let told = stop.clone();
        let read = move || {
            let mut answers = 0;
            while !told.load(Ordering::Relaxed) {
                // Under load what waits unread makes answers stale, and that is no refusal for want of a broker.
                let one = client.get("/v1/tables/things/records/thing-7?stale=allow");
                assert_eq!(one["record"]["id"], "thing-7", "{one}");
                let found = client.get("/v1/tables/things/search?filter=id:thing-7&stale=allow");
                assert_eq!(found["total"], 1, "{found}");
                answers += 2;
                std::thread::sleep(Duration::from_millis(5));
            }
            answers
        };
        Self { stop, thread: std::thread::spawn(read) }
    }

    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
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

/// The instance is there before Kafka is; Kafka goes away while it is idle, and while it works.
#[test]
fn kafka_may_come_late_and_go_away() {
    if start_kafka().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let kafka = Kafka::plan(home.path());
    let lab = lab(&kafka);
    let since = Instant::now();
    let mut instance = lab.spawn(&[], &[]);
    wait_words(&mut instance, &["the broker does not answer; waiting for it", &kafka.address()]);
    kafka.start();
    instance.wait_listening();

    let all = workload(60_000, 0);
    let broker = kafka.connect();
    let appender = broker.appender().unwrap();
    lab.append(&*appender, &all.deliveries[..10_000]);
    instance.wait_caught_up(&lab.ends(&*broker));
    no_trouble(&mut instance);

    let reader = Reader::start(&instance);
    kafka.run("kill", &[]);
    answers_without_kafka(&mut instance, &kafka, &part(&all, 10_000));
    wait_words(&mut instance, &["session timed out"]);
    answers_without_kafka(&mut instance, &kafka, &part(&all, 10_000));
    kafka.run("restart", &[]);
    no_trouble(&mut instance);
    let answers = reader.stop();
    println!("{:?}: {answers} reads were answered during the first outage", since.elapsed());

    lab.append(&*appender, &all.deliveries[10_000..]);
    let ends = lab.ends(&*broker);
    instance.wait_for("work on the rest", |client| {
        let status = client.get("/v1/status");
        let accounts = status["tables"][0]["accounting"].as_object()?.values();
        (accounts.map(|a| a["consumed"].as_u64().unwrap()).sum::<u64>() > 10_000).then_some(())
    });
    let reader = Reader::start(&instance);
    kafka.run("kill", &[]);
    told(&mut instance, &kafka);
    kafka.run("restart", &[]);
    instance.wait_caught_up(&ends);
    no_trouble(&mut instance);
    // What was done before the outage is covered by tasks that are still lost, too; only who owns them tells their accounts.
    let status = instance.wait_for("its tasks to be its own again", |client| {
        let status = client.get("/v1/status");
        status["tasks"].as_array()?.iter().all(|t| t["role"] == "active").then_some(status)
    });
    println!("{:?}: {} reads were answered during the second outage", since.elapsed(), reader.stop());
    let by_source: BTreeMap<String, u64> = all.by_topic();
    let accounts = truth::accounts(&status, "things", &by_source);
    for source in by_source.keys() {
        assert_eq!(accounts[source]["applied"], accounts[source]["consumed"], "{accounts}");
    }
    exact(&lab, instance, &all, &ends);
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
    lab.append(&*broker.appender().unwrap(), &all.deliveries);
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
