//! `keld verify` of an instance that was stopped, while the others go on writing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::common::report;
use crate::common::workload::{Delivery, Workload};
use crate::fleet::{Fleet, shares};
use crate::standbys::wait_copied;

/// Deliveries at a time while it is verified, and the pause between two.
const CHUNK: usize = 200;
const PAUSE: Duration = Duration::from_millis(20);

#[test]
fn what_others_write_meanwhile_is_no_difference() {
    // Its tasks stay its own while it is away: theirs change, and those of its copies.
    let Some(mut fleet) = Fleet::new(&["broker.session_timeout=20s"]) else { return };
    let workload = Workload::catalog(60_000, 2_000, &["--dup", "0.1", "--late", "0.1"]);
    let (first, later) = workload.deliveries.split_at(workload.deliveries.len() / 3);
    fleet.start(0..2);
    let ends = fleet.append(first);
    fleet.wait_done(&ends, |owners| shares(owners).values().eq(&[6, 6]));
    wait_copied(&mut fleet, &ends);
    fleet.stop(1);

    let dir = fleet.lab.dir.path().join("data-1");
    fleet.lab.sets.push(format!("instance.data_dir={}", dir.display()));
    let over = AtomicBool::new(false);
    let (appended, audits) = std::thread::scope(|scope| {
        let appending = scope.spawn(|| append_until(&fleet, later, &over));
        let audits: Vec<Value> = (0..3).flat_map(|_| verified(&fleet)).collect();
        over.store(true, Ordering::Relaxed);
        (appending.join().unwrap(), audits)
    });
    fleet.lab.sets.pop();
    let moved: u64 = audits.iter().map(|a| a["moved"].as_u64().unwrap()).sum();
    assert!(moved > 0, "nobody wrote while it was compared: {audits:?}");
    assert!(audits.iter().all(|a| a["different"] == 0), "{audits:?}");

    fleet.start(1..2);
    let ends = fleet.append(&later[appended..]);
    let owners = fleet.wait_done(&ends, |owners| shares(owners).values().eq(&[6, 6]));
    fleet.compare(&owners, &workload);
    let audits_then = fleet.end(&workload, 0..2);
    assert_eq!(audits_then.len(), 2);
    report(&format!(
        "keld verify of a stopped instance, three times, while another wrote: no difference in {} audits of tasks, {moved} keys left out",
        audits.len(),
    ));
}

/// Appends piece by piece until told to stop; how many.
fn append_until(fleet: &Fleet, deliveries: &[Delivery], over: &AtomicBool) -> usize {
    let broker = fleet.lab.broker();
    let appender = keld::broker::Broker::appender(&*broker).unwrap();
    let mut appended = 0;
    for chunk in deliveries.chunks(CHUNK).take_while(|_| !over.load(Ordering::Relaxed)) {
        fleet.lab.append(&*appender, chunk);
        appended += chunk.len();
        std::thread::sleep(PAUSE);
    }
    appended
}

fn verified(fleet: &Fleet) -> Vec<Value> {
    fleet.lab.verify().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
