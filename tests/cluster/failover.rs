//! R5: the owner of some tasks is killed while clients read and events arrive: reads are answered by standbys, then somebody
//! else processes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::common::dice::Dice;
use crate::common::workload::{Delivery, Workload};
use crate::common::{full_scale, report};
use crate::fleet::{Ends, Fleet, Owners, SESSION, TABLE, is_shown, shares, tasks_in};
use crate::readers::{Outcome, Read, Readers, Reading, failures};
use crate::standbys::wait_copied;

/// Instances.
const INSTANCES: usize = 3;
/// Deliveries of a round: some just before the kill, most behind it, for every partition.
const ROUND: usize = 300;
/// At full size, within which time reads and processing must be back, 99 of 100 times.
const READS_WITHIN: Duration = Duration::from_secs(2);
const PROCESSING_WITHIN: Duration = Duration::from_secs(10);

/// What one kill did; times since the kill.
#[derive(Default)]
struct Round {
    /// The first read that failed.
    first_error: Option<Duration>,
    /// The first right answer after it, in the same partition.
    good_again: Option<Duration>,
    /// By partition of the victim: the longest time without a right answer.
    gaps: Vec<Duration>,
    /// When each of them had processed what came after the kill.
    processed: Vec<Duration>,
    reads: usize,
    failed: usize,
    older: usize,
}

#[test]
fn standbys_answer_for_a_killed_owner_and_process_what_comes_after_it() {
    let Some(mut fleet) = Fleet::new(&[]) else { return };
    let (kills, rate, events, keys) = if full_scale() { (20, 1_000, 80_000, 20_000) } else { (2, 200, 20_000, 2_000) };
    let workload = Workload::catalog(events + kills * ROUND, keys, &["--dup", "0.1", "--late", "0.1"]);
    let (first, later) = workload.deliveries.split_at(workload.deliveries.len() - kills * ROUND);
    let reading = Reading::of(&workload, later, rate);
    let mut dice = Dice::thrown("R5");
    fleet.start(0..INSTANCES);
    let mut ends = fleet.append(first);
    let mut rounds = Vec::new();
    for (number, part) in later.chunks(ROUND).enumerate() {
        let owners = steady(&mut fleet, &ends);
        let victim = dice.place(INSTANCES);
        let round;
        (ends, round) = kill(&mut fleet, &owners, victim, part, &reading);
        println!("kill {} of {kills}, keld-{victim}: {}", number + 1, round.words());
        rounds.push(round);
        fleet.start(victim..victim + 1);
    }
    let owners = steady(&mut fleet, &ends);
    fleet.compare(&owners, &workload);
    fleet.end(&workload, 0..INSTANCES);
    tell(&rounds, rate, workload.expected.len());
}

/// Waits until every instance owns its share, and every task has a copy that has caught up.
fn steady(fleet: &mut Fleet, ends: &Ends) -> Owners {
    let owners = fleet.wait_done(ends, |owners| shares(owners).values().eq(&[4, 4, 4]));
    wait_copied(fleet, ends);
    owners
}

/// Kills the victim while clients read through the others, and waits until these have processed `part`.
fn kill(fleet: &mut Fleet, owners: &Owners, victim: usize, part: &[Delivery], reading: &Reading) -> (Ends, Round) {
    let lost: BTreeSet<u32> = owners.iter().filter(|(_, n)| **n == victim).map(|(partition, _)| *partition).collect();
    let (before, after) = part.split_at(ROUND / 5);
    let readers = Readers::start(reading, fleet.addresses(|n| n != victim));
    fleet.append(before);
    let killed = Instant::now();
    fleet.kill(victim);
    let ends = fleet.append(after);
    let processed = processed(fleet, &lost, &ends, killed);
    let reads = readers.stop();
    let mut round = Round::of(&reads, &lost, killed);
    round.processed = processed;
    let failures = failures(&reads);
    assert!(failures.is_empty() || round.good_again.is_some(), "{failures:?}");
    for partition in lost {
        let by_standby = |read: &&Read| read.partition == partition && read.done > killed && read.is_labelled();
        assert!(reads.iter().any(|read| by_standby(&read)), "partition {partition} of {TABLE}: no answer of a standby");
    }
    (ends, round)
}

/// When each of the partitions had a new owner who shows everything up to `ends`, since the kill.
fn processed(fleet: &mut Fleet, lost: &BTreeSet<u32>, ends: &Ends, killed: Instant) -> Vec<Duration> {
    let mut done: BTreeMap<u32, Duration> = BTreeMap::new();
    fleet.wait_for("the tasks to be done elsewhere", |statuses| {
        for task in statuses.values().flat_map(|s| tasks_in(s, "active", "running")) {
            let partition = u32::try_from(task["partition"].as_u64()?).ok()?;
            if lost.contains(&partition) && is_shown(task, ends) {
                done.entry(partition).or_insert_with(|| killed.elapsed());
            }
        }
        (done.len() == lost.len()).then_some(())
    });
    done.into_values().collect()
}

impl Round {
    fn of(reads: &[Read], lost: &BTreeSet<u32>, killed: Instant) -> Self {
        let since = |read: &Read| read.done.saturating_duration_since(killed);
        let theirs: Vec<&Read> = reads.iter().filter(|r| lost.contains(&r.partition) && r.done > killed).collect();
        let error = theirs.iter().find(|r| !r.is_right());
        let good = |e: &&&Read| {
            let e = **e;
            theirs.iter().find(|r| r.partition == e.partition && r.done > e.done && r.is_right()).copied()
        };
        Self {
            first_error: error.map(|r| since(r)),
            good_again: error.as_ref().and_then(good).map(since),
            gaps: lost.iter().map(|partition| gap(&theirs, *partition, killed)).collect(),
            processed: Vec::new(),
            reads: theirs.len(),
            failed: theirs.iter().filter(|r| !r.is_right()).count(),
            older: theirs.iter().filter(|r| matches!(r.outcome, Outcome::Right { older: true, .. })).count(),
        }
    }

    fn words(&self) -> String {
        let error = match (self.first_error, self.good_again) {
            (Some(error), Some(good)) => format!("first error after {}, right again after {}", ms(error), ms(good)),
            (Some(error), None) => format!("first error after {}, and none right after it", ms(error)),
            (None, _) => "no error".to_owned(),
        };
        format!(
            "{error}; longest gap of a partition {}; {} of {} reads failed, {} covered less than one before and said so; processed \
             after {}",
            ms(self.gaps.iter().copied().max().unwrap_or_default()),
            self.failed,
            self.reads,
            self.older,
            ms(self.processed.iter().copied().max().unwrap_or_default()),
        )
    }
}

/// The longest time without a right answer in a partition, from the kill to the last read.
fn gap(reads: &[&Read], partition: u32, killed: Instant) -> Duration {
    let right = reads.iter().filter(|r| r.partition == partition && r.is_right()).map(|r| r.done);
    let end = reads.last().map_or(killed, |r| r.done);
    let marks: Vec<Instant> = std::iter::once(killed).chain(right).chain([end]).collect();
    marks.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// The value that `percent` of all do not exceed.
fn percentile(all: &mut [Duration], percent: usize) -> Duration {
    all.sort_unstable();
    all[(all.len() * percent).div_ceil(100).max(1) - 1]
}

fn tell(rounds: &[Round], rate: u32, records: usize) {
    let kills = rounds.len();
    let of = |what: fn(&Round) -> Vec<Duration>| rounds.iter().flat_map(what).collect::<Vec<_>>();
    let mut gaps = of(|r| r.gaps.clone());
    let mut processed = of(|r| r.processed.clone());
    let mut errors = of(|r| r.first_error.into_iter().collect());
    let mut good = of(|r| r.good_again.into_iter().collect());
    let sum = |what: fn(&Round) -> usize| rounds.iter().map(what).sum::<usize>();
    let median = |all: &mut Vec<Duration>| if all.is_empty() { "–".to_owned() } else { ms(percentile(all, 50)) };
    report(&format!(
        "R5: {kills} SIGKILLs of an owner under {rate} reads/s through the others: the read gap of a partition p50 {}, p99 {}, most {}; \
         in {} kills a read failed, the first after {} (median), the first right one after it after {}; {} of {} reads of the victim's \
         partitions failed, {} right ones covered less than one before and said so, 0 wrong",
        ms(percentile(&mut gaps, 50)),
        ms(percentile(&mut gaps, 99)),
        ms(percentile(&mut gaps, 100)),
        errors.len(),
        median(&mut errors),
        median(&mut good),
        sum(|r| r.failed),
        sum(|r| r.reads),
        sum(|r| r.older),
    ));
    report(&format!(
        "failover of processing: {kills} SIGKILLs of an owner, what came after it processed and searchable elsewhere: p50 {}, p99 {}, most \
         {} after the kill (session timeout {} s); {records} records equal, every event once",
        ms(percentile(&mut processed, 50)),
        ms(percentile(&mut processed, 99)),
        ms(percentile(&mut processed, 100)),
        SESSION.as_secs(),
    ));
    if full_scale() {
        assert!(percentile(&mut gaps, 99) < READS_WITHIN, "reads came back too late");
        assert!(percentile(&mut processed, 99) < PROCESSING_WITHIN, "processing came back too late");
    }
}
