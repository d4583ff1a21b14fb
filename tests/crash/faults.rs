//! The process aborted at every fault point.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use keld::fault::POINTS;

use crate::common::lab::{Instance, Lab, On, PARTITIONS, loaded};
use crate::common::workload::Workload;
use crate::common::{full_scale, report};
use crate::scene::{Seen, Witness, finish, openings};

/// How long a fault point may take to be reached.
const PATIENCE: Duration = Duration::from_secs(60);
const SIGABRT: i32 = 6;
const TAKEN_WHOLE: &str = "index.6_taken_whole";
pub(crate) const AHEAD: &str = "commit.2_ahead";

/// Aborts at every point, each time beside new data, and runs to the end.
pub(crate) fn abort_everywhere(on: On) {
    let (events, arrivals): (usize, &[u32]) = if full_scale() { (100_000, &[1, 3, 8]) } else { (60_000, &[3]) };
    let workload = Workload::catalog(events, 2_000, &["--dup", "0.1", "--late", "0.1"]);
    // Those of a replay are met when somebody replays: tests/quarantine.rs; those of tasks that move in tests/cluster.rs; what is
    // produced ahead in `abort_ahead`.
    let elsewhere = ["replay.", "restore.", "release.", "standby.", AHEAD];
    let points = POINTS.iter().filter(|point| !elsewhere.iter().any(|kind| point.starts_with(kind)));
    // More records change than the index lets wait, some 80,000, and more events than records are unread when they do.
    let many = Workload::catalog(400_000, 60_000, &[]);
    for (point, arrival) in points.clone().flat_map(|p| arrivals.iter().map(move |a| (p, a))) {
        abort_at(on, point, *arrival, if *point == TAKEN_WHOLE { &many } else { &workload });
    }
    report(&format!(
        "{on:?}: aborted at each of {} fault points (at arrivals {arrivals:?}) under {} deliveries, restarted: {} records equal, \
         every event once",
        points.count(),
        workload.deliveries.len(),
        workload.expected.len()
    ));
}

fn abort_at(on: On, point: &str, arrival: u32, workload: &Workload) {
    let mut lab = Lab::new(on, "catalog.toml");
    let nth = match point {
        // Met between the tasks of a commit. What a poll brings is of several only where Kafka hands out less of each at a time.
        "commit.6_store_partial" if on == On::Kafka => {
            small_commits(&mut lab);
            lab.sets.push("broker.client.max.partition.fetch.bytes=65536".into());
            arrival
        }
        // Every task that is opened publishes its positions once.
        "index.4_published" => {
            small_commits(&mut lab);
            arrival + PARTITIONS
        }
        // Met once for each task, at the end of a catch-up, where changes do not fit the queue while much is unread: from batches that are
        // small beside both, and with nothing written between. A task that was read before the others does not meet it: what is left of it
        // is no more than its records. Kafka hands out some partitions before others, so there only the first is sure to come.
        TAKEN_WHOLE => {
            lab.sets.push("memory.budget=160MiB".into());
            lab.sets.push("processing.commit_bytes=512KiB".into());
            lab.sets.push("index.commit_interval=60s".into());
            if on == On::Kafka {
                lab.sets.push("broker.client.max.partition.fetch.bytes=65536".into());
                1
            } else {
                arrival.min(PARTITIONS)
            }
        }
        // The index is committed now and then only: a few times while the backlog lasts.
        "index.1_before_commit" | "index.2_prepared" | "index.3_committed" => {
            small_commits(&mut lab);
            arrival.div_ceil(2).min(3)
        }
        _ => {
            small_commits(&mut lab);
            arrival
        }
    };
    abort(&lab, point, nth, workload, |seen| check_moment(point, arrival, seen));
}

/// Aborts at the arrival `nth`, proves it, checks what is committed then, and runs to the end.
fn abort(lab: &Lab, point: &str, nth: u32, workload: &Workload, check: impl Fn(Seen)) {
    let ends = loaded(lab, workload);
    let fault = format!("{point}:{nth}");
    let stderr = aborted(point, lab.spawn(&[], &[("KELD_FAULT", &fault)]));
    let before = Witness::default().look(lab);
    check(before);
    let after = finish(lab, workload, &ends, before, lab.start());
    println!("{:?}: {fault}: died at {before:?}, {:?}; went on with {:?}", lab.on, openings(&stderr), openings(&after));
}

/// Aborts where a transaction was begun while its commit had to wait: before its records are written, when all are, and when they are
/// committed. That is the second one, which has all that the first has not. Only Kafka writes ahead.
pub(crate) fn abort_ahead() {
    // More than one poll brings, and so few that the worker never counts as behind.
    let few = Workload::catalog(8_000, 2_000, &["--dup", "0.1", "--late", "0.1"]);
    let faults = [(AHEAD, 1), ("commit.3_drained", 2), ("commit.5_committed", 2)];
    for (point, nth) in faults {
        let mut lab = Lab::new(On::Kafka, "catalog.toml");
        small_commits(&mut lab);
        lab.sets.push("instance.workers=1".into());
        lab.sets.push("processing.min_gap=5s".into());
        lab.sets.push("processing.commit_interval=5s".into());
        lab.sets.push("broker.client.max.partition.fetch.bytes=65536".into());
        abort(&lab, point, nth, &few, |seen| {
            assert!(seen.committed > 0, "{point} fired in the first commit: {seen:?}");
            assert!(
                seen.unread > 0 || point == "commit.5_committed",
                "{point} fired when everything was done: {seen:?}"
            );
        });
    }
    report(&format!(
        "Kafka: aborted at each of {} moments of a transaction that was begun ahead, under {} deliveries, restarted: {} records \
         equal, every event once",
        faults.len(),
        few.deliveries.len(),
        few.expected.len()
    ));
}

/// Many small commits instead of few large ones.
fn small_commits(lab: &mut Lab) {
    lab.sets.push("processing.commit_bytes=64KiB".into());
    lab.sets.push("index.interval=1ms".into());
    lab.sets.push("index.catch_up_interval=1ms".into());
    lab.sets.push("index.commit_interval=10ms".into());
}

/// Waits for the abort, and proves that it was this one.
fn aborted(point: &str, mut instance: Instance) -> String {
    let until = Instant::now() + PATIENCE;
    while instance.child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "fault point {point} is never reached\n{}", instance.stderr());
        std::thread::sleep(Duration::from_millis(5));
    }
    let (status, stderr) = instance.wait_end();
    assert_eq!(status.signal(), Some(SIGABRT), "{point}: {status}\n{stderr}");
    assert!(stderr.contains(&format!("fault point {point} fired")), "{point}: {stderr}");
    stderr
}

/// The points of the protocol are passed in the commit thread: whoever dies in its third batch has committed something,
/// and whoever dies in an early one still had work before it.
fn check_moment(point: &str, arrival: u32, seen: Seen) {
    assert!(seen.committed > 0 || arrival == 1, "{point}: {seen:?}");
    if point.starts_with("commit.") {
        assert!(seen.unread > 0, "{point} fired when everything was done: {seen:?}");
    }
}
