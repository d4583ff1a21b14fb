//! Instances that stall, and wake up when others have gone on without them.

use std::time::{Duration, Instant};

use crate::common::report;
use crate::common::workload::Workload;
use crate::fleet::{Fleet, SESSION, owners, shares};

/// Words of an instance that has found out that its tasks are another's.
const GIVEN_AWAY: &str = "the group has given a task that was lost to another instance";

#[test]
fn a_zombie_changes_nothing_and_comes_back() {
    let Some(mut fleet) = Fleet::new(&["processing.min_gap=1ms"]) else { return };
    let workload = Workload::catalog(60_000, 2_000, &["--dup", "0.1", "--late", "0.1"]);
    let parts: Vec<_> = workload.deliveries.chunks(workload.deliveries.len().div_ceil(3)).collect();
    fleet.start(0..2);
    fleet.wait_for("both to own tasks", |statuses| owners(statuses).filter(|o| shares(o).len() == 2));
    fleet.append(parts[0]);
    // Amid its work: what it has polled, merged and begun to write is still to come.
    let before = fleet.wait_for("the second to work", |statuses| consumed(&statuses[&1]));
    fleet.stall(1);
    let ends = fleet.append(parts[1]);
    let without = fleet.wait_done(&ends, |owners| owners.values().all(|n| *n == 0));
    assert_eq!(shares(&without).len(), 1, "the other has taken everything over");
    std::thread::sleep(SESSION);
    let ends = fleet.append(parts[2]);
    fleet.wake(1);
    let owners = fleet.wait_done(&ends, |owners| shares(owners).values().eq(&[6, 6]));
    let said = fleet.stderr(1);
    assert!(said.contains(GIVEN_AWAY), "it never noticed\n{said}");
    fleet.compare(&owners, &workload);
    fleet.end(&workload, 0..2);
    report(&format!(
        "R2: an instance stalled for more than twice its session after {before} of its events, then woken: {} records equal, \
         every event once; it came back and owns {} tasks",
        workload.expected.len(),
        shares(&owners)[&1]
    ));
}

#[test]
fn a_stuck_worker_gives_its_tasks_away_says_so_and_comes_back() {
    let Some(mut fleet) = Fleet::new(&["instance.stall_timeout=8s"]) else { return };
    let workload = Workload::catalog(40_000, 2_000, &["--dup", "0.1", "--late", "0.1"]);
    let parts: Vec<_> = workload.deliveries.chunks(workload.deliveries.len().div_ceil(3)).collect();
    // Longer than its transaction may be open, with everything of a batch written and nothing promised. A worker that has to wait
    // for the processor, beside the other tests, must not count as stuck before.
    let stall = Duration::from_secs(80);
    let fault = format!("commit.3_drained:5:stall={}", stall.as_millis());
    fleet.start(0..1);
    fleet.start_with(1..2, &[], &[("KELD_FAULT", &fault)]);
    fleet.wait_for("both to own tasks", |statuses| owners(statuses).filter(|o| shares(o).len() == 2));
    // Five commits: one poll after the other.
    for part in parts[0].chunks(parts[0].len().div_ceil(8)) {
        fleet.append(part);
        std::thread::sleep(Duration::from_millis(200));
    }
    let why = fleet.wait_for("it to say so", |statuses| statuses[&1]["stall"].as_str().map(str::to_owned));
    let fired = Instant::now();
    assert!(why.contains("has made no progress for"), "{why}");
    assert!(fleet.stderr(1).contains("fault point commit.3_drained fired: stalling"), "{}", fleet.stderr(1));
    let (status, ready) = fleet.client(1).get_any("/health/ready");
    assert!(status == 503 && ready.to_string().contains("has made no progress for"), "{status} {ready}");
    let ends = fleet.append(parts[1]);
    fleet.wait_done(&ends, |owners| owners.values().all(|n| *n == 0));
    let taken_over = fired.elapsed();
    assert!(fleet.statuses()[&1]["stall"].is_string(), "it woke before the other had done its work: {taken_over:?}");

    fleet.wait_for("it to go on", |statuses| statuses[&1]["stall"].is_null().then_some(()));
    let ends = fleet.append(parts[2]);
    let owners = fleet.wait_done(&ends, |owners| shares(owners).values().eq(&[6, 6]));
    assert!(fleet.stderr(1).contains("every worker makes progress again"), "{}", fleet.stderr(1));
    fleet.compare(&owners, &workload);
    fleet.end(&workload, 0..2);
    report(&format!(
        "watchdog: a commit thread stalled for {stall:?} with a transaction open (stall_timeout 8 s): {why}; the other had done its \
         work {:.1} s later; it came back: {} records equal, every event once",
        taken_over.as_secs_f64(),
        workload.expected.len()
    ));
}

/// Events that an instance's tasks have consumed, once there are some.
fn consumed(status: &serde_json::Value) -> Option<u64> {
    let accounts = status["tables"][0]["accounting"].as_object()?;
    Some(accounts.values().map(|a| a["consumed"].as_u64().unwrap()).sum()).filter(|n| *n > 0)
}
