//! A producer with the running worker's identity appears: the worker is fenced, rolls back, and goes on from what is
//! committed.

use std::time::{Duration, Instant};

use keld::app::{self, Running, StartOptions};
use keld::broker::Appender;
use keld::metrics::Metrics;
use keld::task::Phase;

use crate::common::client::Client;
use crate::common::lab::{Lab, On, PARTITIONS, PATIENCE, loaded};
use crate::common::workload::Workload;
use crate::common::{report, truth};
use crate::scene::{Seen, TABLE, Witness, counted, finish, openings, settings};

/// Runs of the test in which tasks are still being opened.
const TRIALS: usize = 4;

fn disturbed(events: usize) -> Workload {
    Workload::catalog(events, 2_000, &["--dup", "0.1", "--late", "0.1"])
}

/// An instance in this process, so that the embedded log, which has one user at a time, can be asked for a second producer.
fn start_inside(lab: &Lab) -> Running {
    app::start(settings(lab), StartOptions::default()).unwrap()
}

/// Initialises a producer with the identity of the table's first worker, which fences that worker; then delivers something
/// again, so that there is a commit in which it can notice.
fn fence(lab: &Lab, running: &Running, workload: &mut Workload) {
    let id = running.state.settings.transactional_id(TABLE, 0);
    drop(running.state.broker.transactional(&id).unwrap());
    deliver_again(lab, &*running.state.appender, workload);
}

/// Without effect on any record: the first delivery once more.
fn deliver_again(lab: &Lab, appender: &dyn Appender, workload: &mut Workload) {
    let again = workload.deliveries[0].clone();
    appender.append(vec![lab.record(&again)]).unwrap();
    workload.deliveries.push(again);
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
    let client = Client::new(&format!("http://{}", running.address));
    accounts(&client, workload, &running);
    truth::by_key(&client, TABLE, workload);
    truth::by_search(&client, TABLE, "sku", workload);
    end(lab, workload, running);
}

/// Waits until all is done; every event must be accounted for once.
fn accounts(client: &Client, workload: &Workload, running: &Running) {
    wait_until("all events", running, |_| is_done(running, workload.deliveries.len()));
    let metrics = &running.state.metrics;
    println!("done after {} commits and {} rollbacks", metrics.commits.get(), metrics.aborts.get());
    truth::accounts(&client.get("/v1/status"), TABLE, &workload.by_topic());
}

fn end(lab: &Lab, workload: &Workload, running: Running) {
    running.stop().unwrap();
    truth::by_changelog(lab, TABLE, workload);
    lab.verify();
}

pub(crate) fn rolls_back_inside() {
    let mut workload = disturbed(40_000);
    let lab = Lab::new(On::Local, "catalog.toml");
    loaded(&lab, &workload);
    let running = start_inside(&lab);
    let mut before = 0;
    for round in 1..=2 {
        // A commit after the last rollback: the worker has its new producer.
        wait_until("a commit", &running, |m| m.commits.get() > before);
        fence(&lab, &running, &mut workload);
        wait_until("the rollback", &running, |m| m.aborts.get() == round);
        before = running.state.metrics.commits.get();
        deliver_again(&lab, &*running.state.appender, &mut workload);
    }
    finish_inside(&lab, &workload, running);
    report(&format!("Local: fenced twice at work: {} records equal, every event once", workload.expected.len()));
}

/// Fences after a commit, when other tasks are on their way to the worker: what it reads for them before it hears of the
/// rollback is void and must be read again.
pub(crate) fn skips_nothing_while_opening() {
    let whole = disturbed(40_000);
    let mut opening = 0;
    for _ in 0..TRIALS {
        let (lab, mut workload) = (Lab::new(On::Local, "catalog.toml"), whole.clone());
        loaded(&lab, &workload);
        let running = start_inside(&lab);
        let tasks = || running.state.tables[TABLE].tasks();
        let nearly_open = || tasks().values().any(|t| matches!(*t.phase(), Phase::Indexing { .. }));
        let all_open = || tasks().values().all(|t| *t.phase() == Phase::Running);
        let what = "a commit while another task is nearly open";
        wait_until(what, &running, |m| m.commits.get() > 0 && (nearly_open() || all_open()));
        fence(&lab, &running, &mut workload);
        opening += usize::from(!all_open());
        accounts(&Client::new(&format!("http://{}", running.address)), &workload, &running);
        assert!(running.state.metrics.aborts.get() > 0, "the worker never noticed");
        end(&lab, &workload, running);
    }
    report(&format!(
        "Local: fenced {TRIALS} times after a commit, {opening} times before every task ran: nothing skipped"
    ));
}

pub(crate) fn ends_when_fenced_again_and_again() {
    let mut workload = disturbed(4_000);
    let lab = Lab::new(On::Local, "catalog.toml");
    loaded(&lab, &workload);
    let running = start_inside(&lab);
    wait_until("all events", &running, |_| is_done(&running, workload.deliveries.len()));
    for _ in 1..=4 {
        fence(&lab, &running, &mut workload);
        wait_until("all events", &running, |_| is_done(&running, workload.deliveries.len()));
    }
    assert_eq!(running.state.metrics.aborts.get(), 4);
    fence(&lab, &running, &mut workload);
    let failure = failure(&running);
    assert!(failure.contains("taken over 5 times"), "{failure}");
    assert!(failure.contains("give every instance its own instance.id"), "{failure}");
    // It ends with the same failure, or cleanly.
    let _ = running.stop();
    let mut witness = Witness::default();
    let before = witness.look(&lab);
    assert_eq!(before.unread, 1, "the delivery that met the last fence");
    finish(&lab, &workload, &witness.ends, before, lab.start());
    report("Local: fenced five times within a minute: ended with advice, nothing lost");
}

fn failure(running: &Running) -> String {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Err(e) = running.wait_failure(Duration::from_millis(100)) {
            return e.to_string();
        }
    }
    panic!("fenced five times within a minute, and it goes on");
}

/// On Kafka the test is another client, as a second instance with the same identity would be.
pub(crate) fn rolls_back_on_kafka() {
    let mut workload = disturbed(60_000);
    let lab = Lab::new(On::Kafka, "catalog.toml");
    loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_for("a commit", |client| (counted(client) > 0).then_some(()));
    let (broker, id) = (lab.broker(), settings(&lab).transactional_id(TABLE, 0));
    drop(broker.transactional(&id).unwrap());
    let at = instance.wait_for("an answer", |client| Some(counted(client)));
    deliver_again(&lab, &*broker.appender().unwrap(), &mut workload);
    let all = Seen { committed: 0, unread: workload.deliveries.len() as u64 };
    let stderr = finish(&lab, &workload, &lab.ends(&*broker), all, instance);
    for said in ["another producer took this worker's transactional id over", &id, "rolled back; processing goes on"] {
        assert!(stderr.contains(said), "{said:?} is missing\n{stderr}");
    }
    println!("opened: {:?}", openings(&stderr));
    report(&format!(
        "Kafka: fenced after {at} of {} events: said so, rolled back, every event once",
        workload.deliveries.len()
    ));
}
