//! Copies of tasks: where they are, how close they follow, and what they save when an owner dies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::workload::Workload;
use crate::common::{full_scale, report};
use crate::fleet::{Ends, Fleet, PARTITIONS, SESSION, is_shown, owners, shares, tasks_in};

/// Instances that have a caught-up copy of each partition, everything up to `ends` shown; `None` while one has another number
/// of them than `count`.
fn copies(statuses: &BTreeMap<usize, Value>, ends: &Ends, count: usize) -> Option<BTreeMap<u32, Vec<usize>>> {
    let mut copies: BTreeMap<u32, Vec<usize>> = (0..PARTITIONS).map(|p| (p, Vec::new())).collect();
    for (number, status) in statuses {
        for task in tasks_in(status, "standby", "running").filter(|task| is_shown(task, ends)) {
            copies.get_mut(&u32::try_from(task["partition"].as_u64()?).ok()?)?.push(*number);
        }
        if status["tasks"].as_array()?.iter().any(|t| t["phase"]["name"] != "running") {
            return None;
        }
    }
    copies.values().all(|hosts| hosts.len() == count).then_some(copies)
}

/// Waits until every task has a copy that has caught up; a busy machine may have more of some for a while.
pub(crate) fn wait_copied(fleet: &mut Fleet, ends: &Ends) {
    fleet.wait_for("a copy of every task", |statuses| {
        let all = statuses.values().flat_map(|status| tasks_in(status, "standby", "running"));
        let copied = all.filter(|task| is_shown(task, ends)).map(|task| task["partition"].as_u64());
        (copied.collect::<BTreeSet<_>>().len() == PARTITIONS as usize).then_some(())
    });
}

#[test]
fn every_task_has_a_copy_that_is_not_the_owners_and_follows_it_to_the_end() {
    let Some(mut fleet) = Fleet::new(&[]) else { return };
    let workload = Workload::catalog(30_000, 2_000, &["--dup", "0.1", "--late", "0.1"]);
    let (first, second) = workload.deliveries.split_at(workload.deliveries.len() / 2);
    fleet.start(0..3);
    let ends = fleet.append(first);
    fleet.wait_done(&ends, |owners| shares(owners).values().eq(&[4, 4, 4]));
    let before = fleet.wait_for("a copy of every task", |statuses| copies(statuses, &ends, 1));
    let ends = fleet.append(second);
    let owners = fleet.wait_done(&ends, |_| true);
    let after = fleet.wait_for("the copies to follow", |statuses| copies(statuses, &ends, 1));
    assert_eq!(before, after, "nobody came or went");
    for (partition, hosts) in &after {
        assert_ne!(hosts[0], owners[partition], "partition {partition}");
    }
    fleet.compare(&owners, &workload);
    // What a copy has is what its owner has: nothing is left to be read when somebody opens it.
    let restored = fleet.end(&workload, 0..3);
    for (number, brought_up) in restored {
        for (partition, (records, documents)) in brought_up {
            let here = owners[&partition] == number || after[&partition] == [number];
            assert!(!here || (records, documents) == (0, 0), "keld-{number}/{partition}: {records}, {documents}");
        }
    }
    report(&format!(
        "standbys: three instances, {PARTITIONS} tasks: one copy each, never the owner's; at the end each equal to its owner, in store \
         and index, with nothing left to read"
    ));
}

#[test]
fn a_copy_takes_over_from_a_dead_owner_and_reads_only_the_tail() {
    let Some(mut fleet) = Fleet::new(&[]) else { return };
    let workload = Workload::catalog(60_000, 10_000, &["--dup", "0.1", "--late", "0.1"]);
    let (first, second) = workload.deliveries.split_at(workload.deliveries.len() * 2 / 3);
    fleet.start(0..2);
    let ends = fleet.append(first);
    fleet.wait_done(&ends, |owners| shares(owners).values().eq(&[6, 6]));
    fleet.wait_for("a copy of every task", |statuses| copies(statuses, &ends, 1));
    let opened = fleet.stderr(0).matches("task is open").count();

    let at = Instant::now();
    fleet.kill(1);
    let ends = fleet.append(second);
    fleet.wait_for("the copies to be owners", owners);
    let moved = at.elapsed();
    let owners = fleet.wait_done(&ends, |_| true);
    let said = fleet.stderr(0);
    let restored: Vec<u64> = said.lines().filter(|l| l.contains("task is open")).skip(opened).map(restored).collect();
    assert_eq!(restored.len(), 6, "{restored:?}\n{said}");
    // All of its records were some thousands; a copy has all that was committed before the kill.
    assert!(restored.iter().sum::<u64>() < 1_000, "{restored:?}");
    let most = if full_scale() { Duration::from_secs(10) } else { SESSION * 5 };
    assert!(moved < most, "the copies took over after {moved:?}");
    fleet.compare(&owners, &workload);
    fleet.end(&workload, 0..2);
    report(&format!(
        "failover of processing: owner killed, its six tasks run elsewhere after {:.1} s (session timeout 6 s), having read \
         {} records of their changelogs: {} records equal, every event once",
        moved.as_secs_f64(),
        restored.iter().sum::<u64>(),
        workload.expected.len()
    ));
}

/// Records that a task read of its changelog, by the log line of its opening.
fn restored(line: &str) -> u64 {
    let word = line.split_whitespace().find_map(|word| word.strip_prefix("restored="));
    word.unwrap_or_else(|| panic!("{line}")).parse().unwrap()
}
