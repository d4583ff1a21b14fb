//! R1: random instances killed again and again under load.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::common::dice::Dice;
use crate::common::workload::{Delivery, Workload};
use crate::common::{full_scale, report};
use crate::fleet::{Fleet, PARTITIONS, SESSION, owners, shares};

/// Instances.
const INSTANCES: usize = 3;
/// Deliveries appended at a time; a round's are spread over the longest life.
const CHUNK: usize = 1_000;
/// Longest time from the first delivery of a round to its kill.
const LIFE: Duration = Duration::from_millis(3_000);
/// Longest time until the victim is back, within its session.
const ABSENCE: Duration = Duration::from_millis(2_000);

/// What has happened.
#[derive(Default)]
struct Tally {
    /// Kills while events were on their way, or waited to be consumed.
    at_work: usize,
    /// Kills after which the group gave the victim's tasks away before it came back.
    moved: usize,
}

#[test]
fn kills_of_random_instances_lose_nothing_and_repeat_nothing() {
    let Some(mut fleet) = Fleet::new(&[]) else { return };
    let (kills, events, keys) = if full_scale() { (100, 1_000_000, 100_000) } else { (6, 60_000, 5_000) };
    let (mut dice, mut tally) = (Dice::thrown("R1"), Tally::default());
    let workload = Workload::catalog(events, keys, &[]);
    fleet.start(0..INSTANCES);
    fleet.wait_for("every instance to own tasks", owners);
    for part in workload.deliveries.chunks(workload.deliveries.len().div_ceil(kills)) {
        round(&mut fleet, part, &mut dice, &mut tally);
    }
    let ends = fleet.append(&[]);
    // The last victim may have to be given tasks again.
    let owners = fleet.wait_done(&ends, |owners| shares(owners).values().eq(&[4, 4, 4]));
    assert!(tally.at_work * 2 > kills, "only {} of {kills} kills hit a cluster at work", tally.at_work);
    fleet.compare(&owners, &workload);
    fleet.end(&workload, 0..INSTANCES);
    report(&format!(
        "R1: {INSTANCES} instances, {PARTITIONS} partitions, {} deliveries, {kills} SIGKILLs of random instances, {} at work, {} long \
         enough for the tasks to move: 0 lost, 0 wrong: {} records equal, every event once; verify clean",
        workload.deliveries.len(),
        tally.at_work,
        tally.moved,
        workload.expected.len()
    ));
}

/// Appends `part`, kills somebody meanwhile, and brings it back, mostly within its session.
fn round(fleet: &mut Fleet, part: &[Delivery], dice: &mut Dice, tally: &mut Tally) {
    let (victim, life) = (dice.place(INSTANCES), dice.pause(LIFE));
    let moves = dice.below(4) == 0;
    let absence = if moves { SESSION + dice.pause(ABSENCE) } else { dice.pause(ABSENCE) };
    let before = consumed(fleet);
    let appended = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (broker, lab) = (fleet.lab.broker(), fleet.lab.name.clone());
        let records: Vec<_> = part.iter().map(|d| fleet.lab.record(d)).collect();
        let appended = &appended;
        scope.spawn(move || {
            let appender = broker.appender().unwrap();
            let pace = LIFE / u32::try_from(records.len().div_ceil(CHUNK)).unwrap();
            for chunk in records.chunks(CHUNK) {
                std::thread::sleep(pace);
                appender.append(chunk.to_vec()).unwrap_or_else(|e| panic!("{lab}: {e}"));
                appended.fetch_add(chunk.len(), Ordering::Relaxed);
            }
        });
        std::thread::sleep(life);
        tally.at_work +=
            usize::from(consumed(fleet) < before + appended.load(Ordering::Relaxed) as u64 || !done(appended, part));
        fleet.kill(victim);
    });
    std::thread::sleep(absence);
    tally.moved += usize::from(moves);
    fleet.start(victim..victim + 1);
}

fn done(appended: &AtomicUsize, part: &[Delivery]) -> bool {
    appended.load(Ordering::Relaxed) == part.len()
}

/// Events that the owners of all tasks have consumed; 0 for a task that has no owner now.
pub(crate) fn consumed(fleet: &Fleet) -> u64 {
    let of = |status: &Value| {
        let accounts = status["tables"][0]["accounting"].as_object().unwrap().values();
        accounts.map(|a| a["consumed"].as_u64().unwrap()).sum::<u64>()
    };
    fleet.statuses().values().map(of).sum()
}
