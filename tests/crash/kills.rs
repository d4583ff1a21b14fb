//! SIGKILLs at random moments, while a backlog is worked off and clients send more.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::common::client::Client;
use crate::common::dice::Dice;
use crate::common::lab::{Instance, Lab, On, PARTITIONS};
use crate::common::workload::{Delivery, Workload};
use crate::common::{full_scale, report};
use crate::scene::{Seen, Witness, counted, finish, openings};

/// Longest life of a process that is killed before it listens, or soon after.
const STARTING: Duration = Duration::from_millis(400);
/// Longest life of one that is killed later, from the upload or the opened task that its kill waits for.
const A_LITTLE: Duration = Duration::from_millis(30);
/// Deliveries sent for each kill.
const PER_KILL: usize = 6_000;
/// Deliveries that wait in the log when a life begins: however quick the machine, there is work.
const BESIDE: usize = 8_000;
/// Deliveries sent at a time.
const CHUNK: usize = 500;

/// Some lines for one topic, sent with one request.
struct Upload {
    topic: String,
    lines: String,
}

/// What has happened so far.
#[derive(Default)]
struct Tally {
    kills: usize,
    /// Of these: there was work to do.
    at_work: usize,
    /// Of these: not every task was open yet.
    starting: usize,
    /// Requests that the kill cut off; what became of them is unknown, so they are sent again.
    cut_off: usize,
    restored: u64,
}

/// Kills again and again, then runs to the end.
pub(crate) fn kill_at_random(on: On) {
    let (kills, keys) = if full_scale() { (100, 20_000) } else { (10, 2_000) };
    let workload = Workload::catalog(kills * (PER_KILL + BESIDE), keys, &[]);
    let lab = Lab::new(on, "catalog.toml");
    let (backlog, live) = workload.deliveries.split_at(kills * BESIDE);
    lab.load(&[]);
    let mut uploads: VecDeque<Upload> = live.chunks(CHUNK).flat_map(|part| uploads(&lab, part)).collect();
    let share = uploads.len() / kills;
    let (mut dice, mut witness, mut tally) =
        (Dice::thrown("kills at random moments"), Witness::default(), Tally::default());
    let mut before = witness.look(&lab);
    assert_eq!(before, Seen { committed: 0, unread: 0 });
    for beside in backlog.chunks(BESIDE) {
        lab.load(beside);
        let (stderr, cut_off) = live_and_die(&lab, &mut dice, &mut uploads, share);
        before = tally.note(before, witness.look(&lab), &stderr, cut_off);
    }
    assert!(tally.at_work * 2 > tally.kills, "only {} of {} kills hit a working process", tally.at_work, tally.kills);
    send_rest(&lab, uploads);
    let before = witness.look(&lab);
    let stderr = finish(&lab, &workload, &witness.ends, before, lab.start());
    let opened = openings(&stderr);
    assert!(opened.iter().all(|o| (o.restored, o.reindexed) == (0, 0)), "after a clean stop: {opened:?}");
    report(&format!(
        "{on:?}: {} SIGKILLs, {} at work, {} before every task was open, {} requests cut off, {} records restored: \
         {} records equal, every event of the log once",
        tally.kills,
        tally.at_work,
        tally.starting,
        tally.cut_off,
        tally.restored,
        workload.expected.len()
    ));
}

impl Tally {
    fn note(&mut self, before: Seen, after: Seen, stderr: &str, cut_off: bool) -> Seen {
        let opened = openings(stderr);
        let starting = opened.len() < PARTITIONS as usize;
        let at_work = after.unread > 0 || cut_off;
        println!("killed: {after:?}, {} tasks open, request cut off: {cut_off}", opened.len());
        assert!(after.committed >= before.committed, "commits were lost: {before:?}, {after:?}");
        self.kills += 1;
        self.at_work += usize::from(at_work);
        self.starting += usize::from(starting);
        self.cut_off += usize::from(cut_off);
        self.restored += opened.iter().map(|o| o.restored).sum::<u64>();
        after
    }
}

/// One life: starts, works on what is there and on at most `share` uploads, and is killed at a moment of its own: soon after
/// its start, soon after it listens, or (half of the lives) amid its work. Returns what it wrote to stderr and whether a
/// request was cut off.
fn live_and_die(lab: &Lab, dice: &mut Dice, uploads: &mut VecDeque<Upload>, share: usize) -> (String, bool) {
    let mut instance = lab.spawn(&[], &[]);
    let kind = dice.below(4);
    if kind == 0 {
        std::thread::sleep(dice.pause(STARTING));
        return (killed(instance), false);
    }
    instance.wait_listening();
    let (client, over, sent) = (instance.client(), AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(&client, uploads, share, &over, &sent));
        if kind >= 2 {
            instance.wait_for("its first events", |client| (counted(client) > 0).then_some(()));
        }
        let enough = dice.below(3);
        instance.wait_for("uploads", |_| (sent.load(Ordering::Relaxed) >= enough).then_some(()));
        std::thread::sleep(dice.pause(A_LITTLE));
        over.store(true, Ordering::Relaxed);
        let stderr = killed(instance);
        (stderr, sender.join().unwrap())
    })
}

fn killed(mut instance: Instance) -> String {
    instance.child.kill().unwrap();
    instance.wait_end().1
}

/// Sends until it may not any more; what is not acknowledged stays. True if the last request was cut off.
fn send(client: &Client, uploads: &mut VecDeque<Upload>, most: usize, over: &AtomicBool, sent: &AtomicU64) -> bool {
    for _ in 0..most {
        let Some(next) = uploads.front() else { return false };
        if over.load(Ordering::Relaxed) {
            return false;
        }
        let path = format!("/v1/topics/{}/events", next.topic);
        match client.try_post(&path, "application/x-ndjson", next.lines.as_bytes()) {
            Ok((200, _)) => {
                uploads.pop_front();
                sent.fetch_add(1, Ordering::Relaxed);
            }
            Ok((status, answer)) => panic!("{path}: {status} {answer}"),
            Err(_) => return true,
        }
    }
    false
}

/// Local state is thrown away and restored from the changelog, again and again cut short; then once in peace.
pub(crate) fn kill_while_restoring(on: On) {
    let (kills, events, keys) = if full_scale() { (30_u64, 400_000, 100_000) } else { (5, 30_000, 10_000) };
    let workload = Workload::catalog(events, keys, &[]);
    let lab = Lab::new(on, "catalog.toml");
    lab.load(&workload.deliveries);
    let mut witness = Witness::default();
    let before = witness.look(&lab);
    finish(&lab, &workload, &witness.ends, before, lab.start());
    let (mut dice, mut cut_short) = (Dice::thrown("kills while restoring"), 0);
    for kill in 0..kills {
        let mut instance = lab.spawn(&["--rebuild"], &[]);
        instance.wait_listening();
        let open = kill % u64::from(PARTITIONS);
        instance.wait_for("tasks", |client| (running(client)? >= open).then_some(()));
        std::thread::sleep(dice.pause(A_LITTLE));
        let opened = openings(&killed(instance));
        println!("killed while restoring: {opened:?}");
        cut_short += usize::from(opened.len() < PARTITIONS as usize);
    }
    assert!(cut_short > 0, "every one of {kills} kills came after everything was restored");
    let done = Seen { committed: before.unread, unread: 0 };
    let opened = openings(&finish(&lab, &workload, &witness.ends, done, lab.start()));
    let (restored, reindexed) = opened.iter().fold((0, 0), |(r, i), o| (r + o.restored, i + o.reindexed));
    report(&format!(
        "{on:?}: killed {kills} times while rebuilding from the changelog, {cut_short} times before it was done; the last start \
         restored {restored} records and reindexed {reindexed}: {} records equal",
        workload.expected.len()
    ));
}

/// Tasks that run; `None` if the instance does not answer.
fn running(client: &Client) -> Option<u64> {
    let (_, status) = client.try_get("/v1/status").ok()?;
    let status: Value = serde_json::from_str(&status).ok()?;
    Some(status["tasks"].as_array()?.iter().filter(|t| t["phase"]["name"] == "running").count() as u64)
}

fn send_rest(lab: &Lab, mut uploads: VecDeque<Upload>) {
    let mut instance = lab.start();
    let rest = uploads.len();
    assert!(!send(&instance.client(), &mut uploads, rest, &AtomicBool::new(false), &AtomicU64::new(0)));
    // A stop while tasks are still being opened is clean, too, and leaves the rest of that to the next start.
    instance.wait_for("every task to run", |client| {
        let (_, body) = client.try_get("/v1/status").ok()?;
        let status: Value = serde_json::from_str(&body).ok()?;
        let tasks = status["tasks"].as_array()?;
        let running = tasks.iter().filter(|task| task["phase"]["name"] == "running").count();
        (running == PARTITIONS as usize).then_some(())
    });
    instance.stop();
}

fn uploads(lab: &Lab, part: &[Delivery]) -> Vec<Upload> {
    let mut by_topic: BTreeMap<&str, String> = BTreeMap::new();
    for d in part {
        let lines = by_topic.entry(&d.topic).or_default();
        lines.push_str(&d.body);
        lines.push('\n');
    }
    by_topic.into_iter().map(|(topic, lines)| Upload { topic: lab.topic(topic), lines }).collect()
}
