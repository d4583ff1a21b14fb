//! A producer with the running worker's identity appears: the worker is fenced, rolls back, and goes on from what is
//! committed.

use std::time::{Duration, Instant};

use keld::app::{self, Running, StartOptions};
use keld::metrics::Metrics;
use keld::task::Phase;

use crate::common::client::Client;
use crate::common::lab::{Lab, On, PARTITIONS, PATIENCE, loaded};
use crate::common::workload::{Delivery, Workload};
use crate::common::{report, truth};
use crate::scene::{TABLE, Witness, counted, finish, openings, settings};

/// Runs of the test in which tasks are still being opened.
const TRIALS: usize = 6;

fn disturbed(events: usize) -> Workload {
    Workload::catalog(events, 2_000, &["--dup", "0.1", "--late", "0.1"])
}

/// An instance in this process, so that the embedded log, which has one user at a time, can be asked for a second producer.
fn start_inside(lab: &Lab) -> Running {
    app::start(settings(lab), StartOptions::default()).unwrap()
}

/// Initialises a producer with the identity of the table's first worker, which fences that worker.
fn fence(running: &Running) {
    let id = running.state.settings.transactional_id(TABLE, 0);
    drop(running.state.broker.transactional(&id).unwrap());
}

fn wait_until(what: &str, running: &Running, mut check: impl FnMut(&Metrics) -> bool) {
    let until = Instant::now() + PATIENCE;
    while !check(&running.state.metrics) {
        running.wait_failure(Duration::from_micros(200)).unwrap();
        assert!(Instant::now() < until, "waiting for {what}: patience is at its end");
    }
}

/// Whether every event is applied and visible.
fn is_done(running: &Running, deliveries: usize) -> bool {
    let tasks = running.state.tables[TABLE].tasks();
    let seen = |p: &keld::task::Progress| p.accounting.values().map(|a| a.consumed()).sum::<u64>();
    let (mut consumed, mut shown) = (0, tasks.len() == PARTITIONS as usize);
    for task in tasks.values() {
        let progress = task.progress();
        consumed += seen(&progress);
        shown &= *task.phase() == Phase::Running && progress.applied == progress.visible;
    }
    shown && consumed >= deliveries as u64
}

/// Runs to the end inside this process and compares everything.
fn finish_inside(lab: &Lab, workload: &Workload, running: Running) {
    wait_until("all events", &running, |_| is_done(&running, workload.deliveries.len()));
    let metrics = &running.state.metrics;
    println!("done after {} commits and {} rollbacks", metrics.commits.get(), metrics.aborts.get());
    let client = Client::new(&format!("http://{}", running.address));
    truth::accounts(&client.get("/v1/status"), TABLE, &workload.by_topic());
    truth::by_key(&client, TABLE, workload);
    truth::by_search(&client, TABLE, "sku", workload);
    running.stop().unwrap();
    truth::by_changelog(lab, TABLE, workload);
    lab.verify();
}

pub(crate) fn rolls_back_inside() {
    let workload = disturbed(40_000);
    let lab = Lab::new(On::Local, "catalog.toml");
    loaded(&lab, &workload);
    let running = start_inside(&lab);
    for round in 1..=2 {
        let before = running.state.metrics.commits.get();
        wait_until("a commit", &running, |m| m.commits.get() > before);
        fence(&running);
        let progress = running.state.metrics.commits.get();
        wait_until("the rollback", &running, |m| {
            m.aborts.get() == round || is_done(&running, workload.deliveries.len())
        });
        assert_eq!(
            running.state.metrics.aborts.get(),
            round,
            "the worker never noticed; it was fenced after {progress} commits"
        );
    }
    finish_inside(&lab, &workload, running);
    report(&format!("Local: fenced twice at work: {} records equal, every event once", workload.expected.len()));
}

/// Fences after a commit, when other tasks are on their way to the worker: what it reads for them before it
/// hears of the rollback is void and must be read again.
pub(crate) fn skips_nothing_while_opening() {
    let workload = disturbed(40_000);
    let mut opening = 0;
    for _ in 0..TRIALS {
        let lab = Lab::new(On::Local, "catalog.toml");
        loaded(&lab, &workload);
        let running = start_inside(&lab);
        let phases = || running.state.tables[TABLE].tasks().values().map(|t| (*t.phase()).clone()).collect::<Vec<_>>();
        let nearly_open = |p: &Phase| matches!(p, Phase::Indexing { .. });
        wait_until("a commit while another task is nearly open", &running, |m| {
            let phases = phases();
            m.commits.get() > 0 && (phases.iter().any(nearly_open) || phases.iter().all(|p| *p == Phase::Running))
        });
        fence(&running);
        opening += usize::from(phases().iter().any(|p| *p != Phase::Running));
        finish_inside(&lab, &workload, running);
    }
    report(&format!(
        "Local: fenced {TRIALS} times after a commit, {opening} times before every task ran: nothing skipped"
    ));
}

pub(crate) fn ends_when_fenced_again_and_again() {
    let workload = disturbed(4_000);
    let lab = Lab::new(On::Local, "catalog.toml");
    let ends = loaded(&lab, &workload);
    let running = start_inside(&lab);
    wait_until("all events", &running, |_| is_done(&running, workload.deliveries.len()));
    for round in 1..=3 {
        fence(&running);
        // Something to commit, without effect on any record: the same delivery again.
        append(&lab, &running, &workload.deliveries[0]);
        if round < 3 {
            wait_until("the rollback", &running, |m| m.aborts.get() == round);
        }
    }
    let failure = running.wait_failure(PATIENCE).unwrap_err().to_string();
    assert!(failure.contains("taken over 3 times"), "{failure}");
    assert!(failure.contains("give every instance its own instance.id"), "{failure}");
    // It ends with the same failure, or cleanly.
    let _ = running.stop();
    let mut witness = Witness::default();
    let before = witness.look(&lab);
    // The last one is not committed; the others may have been caught by the next fence.
    assert!(witness.ends != ends && (1..=3).contains(&before.unread), "{before:?}");
    finish(&lab, &workload, &witness.ends, before, lab.start());
    report("Local: fenced three times within a minute: ended with advice, nothing lost");
}

fn append(lab: &Lab, running: &Running, delivery: &Delivery) {
    running.state.appender.append(vec![lab.record(delivery)]).unwrap();
}

/// On Kafka the test is another client, as a second instance with the same identity would be.
pub(crate) fn rolls_back_on_kafka() {
    let workload = disturbed(60_000);
    let lab = Lab::new(On::Kafka, "catalog.toml");
    let ends = loaded(&lab, &workload);
    let before = Witness::default().look(&lab);
    let mut instance = lab.start();
    instance.wait_for("a commit", |client| (counted(client) > 0).then_some(()));
    let id = settings(&lab).transactional_id(TABLE, 0);
    drop(lab.broker().transactional(&id).unwrap());
    let at = instance.wait_for("an answer", |client| Some(counted(client)));
    let stderr = finish(&lab, &workload, &ends, before, instance);
    for said in ["another producer took this worker's transactional id over", &id, "rolled back; processing goes on"] {
        assert!(stderr.contains(said), "{said:?} is missing\n{stderr}");
    }
    println!("opened: {:?}", openings(&stderr));
    report(&format!(
        "Kafka: fenced after {at} of {} events: said so, rolled back, every event once",
        workload.deliveries.len()
    ));
}
