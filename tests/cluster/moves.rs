//! Tasks move: to instances that join, away from those that stop or die.

use std::time::{Duration, Instant};

use crate::common::report;
use crate::common::workload::Workload;
use crate::fleet::{Fleet, PARTITIONS, SESSION, owners, shares};

/// Session timeout of a roll: whoever is restarted comes back within it, however busy the machine is.
const ROLL: Duration = Duration::from_secs(20);

fn disturbed(events: usize) -> Workload {
    Workload::catalog(events, 2_000, &["--dup", "0.1", "--late", "0.1"])
}

#[test]
fn tasks_move_to_instances_that_join_and_away_from_those_that_die_and_nothing_is_lost() {
    let Some(mut fleet) = Fleet::new(&[]) else { return };
    let workload = disturbed(40_000);
    let parts: Vec<_> = workload.deliveries.chunks(workload.deliveries.len().div_ceil(4)).collect();
    fleet.start(0..1);
    let ends = fleet.append(parts[0]);
    fleet.wait_done(&ends, |owners| owners.values().all(|n| *n == 0));

    fleet.start(1..3);
    let ends = fleet.append(parts[1]);
    let owners = fleet.wait_done(&ends, |owners| shares(owners).values().eq(&[4, 4, 4]));
    println!("three instances: {owners:?}");

    let killed = Instant::now();
    fleet.kill(1);
    let ends = fleet.append(parts[2]);
    let owners = fleet.wait_done(&ends, |owners| shares(owners).len() == 2);
    let moved = killed.elapsed();
    println!("after a kill: {owners:?}");

    // Back from the dead: its files are from before.
    fleet.start(1..2);
    let ends = fleet.append(parts[3]);
    let owners = fleet.wait_done(&ends, |owners| shares(owners).values().eq(&[4, 4, 4]));
    fleet.compare(&owners, &workload);
    fleet.end(&workload, 0..3);
    report(&format!(
        "1 → 3 → 2 → 3 instances over {PARTITIONS} partitions, one of them killed (its tasks were done elsewhere after {:.1} s at \
         a session timeout of {} s): {} records equal, every event once",
        moved.as_secs_f64(),
        SESSION.as_secs(),
        workload.expected.len()
    ));
}

#[test]
fn a_rolling_restart_moves_nothing_and_an_instance_that_leaves_is_not_waited_for() {
    let Some(mut fleet) = Fleet::new(&[&format!("broker.session_timeout={}s", ROLL.as_secs())]) else { return };
    let workload = disturbed(20_000);
    let parts: Vec<_> = workload.deliveries.chunks(workload.deliveries.len().div_ceil(3)).collect();
    fleet.start(0..2);
    fleet.start_with(2..3, &["--on-stop", "leave"], &[]);
    let ends = fleet.append(parts[0]);
    let before = fleet.wait_done(&ends, |owners| shares(owners).values().eq(&[4, 4, 4]));

    let rebalances = fleet.rebalances(2);
    assert!(rebalances > 0, "it does not say when it takes part in one");
    for number in [0, 1] {
        let words = fleet.stop(number);
        assert!(!words.contains("left the group"), "{words}");
        fleet.start(number..number + 1);
    }
    let ends = fleet.append(parts[1]);
    let after = fleet.wait_done(&ends, |_| true);
    assert_eq!(after, before, "every task is where it was");
    assert_eq!(fleet.rebalances(2), rebalances, "the group was rebalanced");

    // A static id, and yet nobody waits for the end of its session.
    let left = Instant::now();
    let words = fleet.stop(2);
    assert!(words.contains("left the group: others get the tasks at once"), "{words}");
    fleet.wait_for("the others to have everything", |statuses| owners(statuses).filter(|o| shares(o).len() == 2));
    let moved = left.elapsed();
    assert!(moved < ROLL, "its tasks came after {moved:?}");
    let ends = fleet.append(parts[2]);
    let owners = fleet.wait_done(&ends, |_| true);
    fleet.compare(&owners, &workload);
    fleet.end(&workload, 0..3);
    report(&format!(
        "R7: two of three static instances restarted one after the other: no rebalance, every task where it was; the third left \
         for good: its tasks ran elsewhere after {:.1} s of its stop",
        moved.as_secs_f64()
    ));
}

#[test]
fn the_broker_may_share_the_tasks_out() {
    let Some(mut fleet) = Fleet::new(&["broker.protocol=consumer"]) else { return };
    let workload = disturbed(20_000);
    let parts: Vec<_> = workload.deliveries.chunks(workload.deliveries.len().div_ceil(3)).collect();
    fleet.start(0..1);
    let ends = fleet.append(parts[0]);
    fleet.wait_done(&ends, |owners| shares(owners).len() == 1);
    fleet.start(1..2);
    let ends = fleet.append(parts[1]);
    fleet.wait_done(&ends, |owners| shares(owners).values().eq(&[6, 6]));
    let left = Instant::now();
    fleet.stop(0);
    let ends = fleet.append(parts[2]);
    let owners = fleet.wait_done(&ends, |_| true);
    // Its own session would last for 45 s.
    assert!(left.elapsed() < Duration::from_secs(44), "{:?}", left.elapsed());
    fleet.compare(&owners, &workload);
    fleet.end(&workload, 0..2);
    report(&format!("KIP-848: 1 → 2 → 1 instances: {} records equal, every event once", workload.expected.len()));
}
