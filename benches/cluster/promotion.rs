//! Promotions: an instance is killed while events arrive, and the copies of its tasks become owners.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::fleet::Fleet;
use super::load::{Events, retold};
use super::send::Sender;
use super::{INSTANCES, Options, PARTITIONS, Result};

/// How long events arrive before a kill.
const BEFORE: Duration = Duration::from_secs(2);

/// What one kill showed.
#[derive(Clone, Debug)]
pub(crate) struct Promotion {
    /// From the kill until every task is processed by somebody else.
    pub(crate) processing: Duration,
    /// Of each task: from the group's decision to the task at its worker, by the log of the new owner.
    pub(crate) promotions: Vec<Duration>,
    /// Records of the changelog that were read for that, over all of them.
    pub(crate) read: u64,
}

impl Promotion {
    /// Kills instances in turn.
    pub(crate) fn measure(options: &Options, fleet: &mut Fleet, events: &Events) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for number in 0..options.kills {
            println!("== kill {} of {}", number + 1, options.kills);
            // The victim of before is still away.
            for missing in (0..INSTANCES).filter(|n| !fleet.running.contains_key(n)).collect::<Vec<_>>() {
                fleet.start(missing)?;
            }
            fleet.wait_steady()?;
            let stop = Arc::new(AtomicBool::new(false));
            let bootstrap = fleet.bootstrap.clone();
            let found = std::thread::scope(|scope| {
                let arriving = scope.spawn(|| arrive(&bootstrap, events, options.rate, number as u64, &stop));
                std::thread::sleep(BEFORE);
                let found = Self::by_kill(fleet, number % INSTANCES);
                stop.store(true, Ordering::Relaxed);
                arriving.join().map_err(|_| "the producer ended in a panic")??;
                found
            })?;
            all.push(found);
        }
        Ok(all)
    }

    fn by_kill(fleet: &mut Fleet, victim: usize) -> Result<Self> {
        let others: Vec<usize> = (0..INSTANCES).filter(|n| *n != victim).collect();
        let logged = others.iter().map(|n| log(fleet, *n).map(|log| log.len())).collect::<Result<Vec<_>>>()?;
        let killed = Instant::now();
        fleet.take(victim)?.kill()?;
        fleet.wait("others to process its tasks", |fleet| {
            others.iter().map(|n| fleet.running_as(*n, "active").len()).sum::<usize>() == PARTITIONS as usize
        })?;
        let processing = killed.elapsed();
        let (mut promotions, mut read) = (Vec::new(), 0);
        for (number, before) in others.into_iter().zip(logged) {
            let (times, records) = promoted(&log(fleet, number)?[before..])?;
            promotions.extend(times);
            read += records;
        }
        Ok(Self { processing, promotions, read })
    }
}

fn log(fleet: &Fleet, number: usize) -> Result<String> {
    Ok(std::fs::read_to_string(fleet.dir(number).join("keld.log"))?)
}

/// Of each task that was opened: how long after the group's last word that was; and the records that were read for all of them.
fn promoted(log: &str) -> Result<(Vec<Duration>, u64)> {
    let (mut times, mut read, mut decided) = (Vec::new(), 0, None);
    for line in log.lines() {
        if line.contains("the group has settled") {
            decided = Some(moment(line)?);
        } else if line.contains("task is open") {
            let decided: jiff::Timestamp = decided.ok_or("a task was opened before the group has settled")?;
            times.push(moment(line)?.duration_since(decided).try_into()?);
            let restored = line.split_whitespace().find_map(|word| word.strip_prefix("restored="));
            read += restored.ok_or_else(|| format!("no number of records: {line}"))?.parse::<u64>()?;
        }
    }
    Ok((times, read))
}

fn moment(line: &str) -> Result<jiff::Timestamp> {
    let first = line.split_whitespace().next().unwrap_or_default();
    first.parse().map_err(|e| format!("no time at the beginning of {line:?}: {e}").into())
}

/// Sends events at this rate until told to stop, each a version higher than any before.
fn arrive(bootstrap: &str, events: &Events, rate: u64, run: u64, stop: &AtomicBool) -> Result<()> {
    let sender = Sender::new(bootstrap, 5)?;
    let (began, mut sent) = (Instant::now(), 0_u32);
    for event in std::iter::repeat_with(|| events.iter()).flatten() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let due = Duration::from_secs(1).saturating_mul(sent) / u32::try_from(rate.max(1))?;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        let value = retold(event.value, 1_000 + run, (run + 1) * 100_000_000).ok_or("an event without a version")?;
        sender.send(event.topic, event.key, &value)?;
        sent += 1;
    }
    sender.finish()?;
    Ok(())
}
