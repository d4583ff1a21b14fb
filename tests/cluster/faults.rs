//! The process aborted at every fault point of a restore, of a task that is given back, and of a standby.

use keld::fault::POINTS;

use crate::common::report;
use crate::common::workload::Workload;
use crate::fleet::{Fleet, owners, shares};

/// Points that are met when tasks move, by the instance that meets them: the one that is there, or the one that comes.
const MET: &[(&str, usize)] =
    &[("restore.1_applied", 1), ("release.1_synced", 0), ("standby.1_applied", 1), ("standby.2_index_handed", 1)];

#[test]
fn an_abort_at_any_point_of_a_move_loses_nothing_and_repeats_nothing() {
    let moving = POINTS.iter().filter(|p| ["restore.", "release.", "standby."].iter().any(|kind| p.starts_with(kind)));
    assert_eq!(moving.copied().collect::<Vec<_>>(), MET.iter().map(|(point, _)| *point).collect::<Vec<_>>());
    let workload = Workload::catalog(20_000, 2_000, &["--dup", "0.1", "--late", "0.1"]);
    for (point, number) in MET {
        let Some(()) = abort_at(point, *number, &workload) else { return };
    }
    report(&format!(
        "R11: aborted at each of {} fault points of restore, release and standby, restarted: {} records equal, every event once",
        MET.len(),
        workload.expected.len()
    ));
}

fn abort_at(point: &str, number: usize, workload: &Workload) -> Option<()> {
    let mut fleet = Fleet::new(&[])?;
    let parts: Vec<_> = workload.deliveries.chunks(workload.deliveries.len().div_ceil(3)).collect();
    let fault = [("KELD_FAULT", point)];
    fleet.start_with(0..1, &[], if number == 0 { &fault } else { &[] });
    let ends = fleet.append(parts[0]);
    fleet.wait_done(&ends, |owners| shares(owners).len() == 1);
    fleet.start_with(1..2, &[], if number == 1 { &fault } else { &[] });
    if point.starts_with("standby.") {
        // It follows what it does not own, once the cluster has been steady.
        fleet.wait_for("both to own tasks", |statuses| owners(statuses).filter(|o| shares(o).len() == 2));
        let copies = |statuses: &std::collections::BTreeMap<usize, serde_json::Value>| {
            let tasks = statuses.get(&1)?["tasks"].as_array()?;
            (tasks.iter().filter(|t| t["role"] == "standby" && t["phase"]["name"] == "running").count() == 6)
                .then_some(())
        };
        fleet.wait_for("its copies", copies);
        fleet.append(parts[1]);
        fleet.wait_aborted(number, point);
    } else {
        fleet.wait_aborted(number, point);
        fleet.append(parts[1]);
    }
    fleet.start(number..number + 1);
    let ends = fleet.append(parts[2]);
    let owners = fleet.wait_done(&ends, |owners| shares(owners).values().eq(&[6, 6]));
    fleet.compare(&owners, workload);
    fleet.end(workload, 0..2);
    Some(())
}
