//! The commit thread of a worker: natural batching around the commit protocol, and the way back when it fails.
//!
//! Owns the transactional producer and the tasks' stores as their only writer. When to commit: as soon as there is
//! something, the last commit is done and `min_gap` has passed; under load a batch grows to `commit_interval`, and in a catch-up
//! commits are as far apart as reading what waits will take, at most `catch_up_interval`: of what changes again within that time
//! only the last state is written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use super::control::{Release, ToCommit};
use super::link::Link;
use super::pace::Pace;
use crate::broker::{GroupToken, TransactionalProducer};
use crate::config::ProcessingSettings;
use crate::fault;
use crate::runtime::Health;
use crate::store::Position;
use crate::task::batch::Batch;
use crate::task::commit::{self, Protocol};
use crate::task::{Opener, Phase, Task};
use crate::{Error, Kind, Reaction, Result};

/// Pause between attempts to reach the broker.
const BACKOFF: Duration = Duration::from_millis(500);
/// How often a quiet task's position is committed again: brokers forget offsets of quiet groups after days.
const RENEW_EVERY: Duration = Duration::from_secs(3_600);
/// An identity that is fenced this often within [`FENCED_WITHIN`] is used by two processes: these fence each other at every roll back.
/// A broker that dies while it ends transactions fences once, and several may be killed one after the other.
const FENCED_MOST: usize = 5;
const FENCED_WITHIN: Duration = Duration::from_secs(60);
/// So long before a commit may start the records that wait for it are produced. To register the transaction's partitions and write
/// the records takes librdkafka 4 to 5 ms where the broker shares two processors (`benches/RESULTS.md`).
const AHEAD: Duration = Duration::from_millis(7);

/// What a committer is built from.
pub struct CommitterParts {
    /// The protocol.
    pub protocol: Protocol,
    /// Brings tasks back after a rollback.
    pub opener: Opener,
    /// Transactional id.
    pub id: String,
    /// Producer of that id, initialised.
    pub producer: Box<dyn TransactionalProducer>,
    /// Link to the merge thread.
    pub link: Arc<Link>,
    /// From the merge thread.
    pub orders: Receiver<ToCommit>,
    /// When to commit.
    pub settings: ProcessingSettings,
    /// Health.
    pub health: Arc<Health>,
}

/// What became of producing ahead for the batch that grows.
#[derive(Default)]
enum Ahead {
    /// There was nothing, or no time.
    #[default]
    Not,
    /// The transaction is open.
    Begun,
    /// It did not go; the commit will not, either.
    Failed(Error),
}

/// The commit thread's state.
pub struct Committer {
    parts: CommitterParts,
    tasks: BTreeMap<u32, Task>,
    token: Option<GroupToken>,
    ahead: Ahead,
    pace: Pace,
    /// When the last commit was started.
    started: Option<Instant>,
    /// How long reading what waits will take, as of the last commit; zero if little waits.
    left: Duration,
    renewed: Instant,
    fenced: Vec<Instant>,
    /// Rollbacks since the last commit that went through.
    rollbacks: u32,
}

impl Committer {
    /// A committer without tasks.
    pub fn new(parts: CommitterParts) -> Self {
        let now = Instant::now();
        Self {
            parts,
            tasks: BTreeMap::new(),
            token: None,
            ahead: Ahead::Not,
            pace: Pace::default(),
            started: None,
            left: Duration::ZERO,
            renewed: now,
            fenced: Vec::new(),
            rollbacks: 0,
        }
    }

    /// Runs until told to stop; an error ends the process.
    pub fn run(mut self) -> Result<()> {
        let mut next = None;
        loop {
            let order = match next.take() {
                Some(order) => order,
                None => match self.wait() {
                    Ok(order) => order,
                    Err(RecvTimeoutError::Timeout) => {
                        self.renew()?;
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return Err(Error::internal("the merge thread has ended")),
                },
            };
            match order {
                ToCommit::Batch(batch) if batch.epoch != self.parts.link.epoch() => {}
                ToCommit::Batch(batch) => {
                    let (batch, after) = self.gather(batch)?;
                    next = after;
                    self.commit(batch)?;
                }
                ToCommit::Add(task) => drop(self.tasks.insert(task.partition, *task)),
                ToCommit::Release(release) => self.release(&release)?,
                ToCommit::Calm => self.calm()?,
                ToCommit::Stop => return self.close(),
            }
            self.parts.link.commit.beat();
        }
    }

    fn calm(&mut self) -> Result<()> {
        self.pace.rest();
        self.left = Duration::ZERO;
        self.parts.opener.table.index.calm(self.tasks.keys().copied().collect())
    }

    /// Waits for the next order.
    fn wait(&self) -> std::result::Result<ToCommit, RecvTimeoutError> {
        self.parts.link.commit.rest();
        let order = self.parts.orders.recv_timeout(Duration::from_secs(10));
        self.parts.link.commit.beat();
        order
    }

    /// Lets the batch grow: until the gap after the last start has passed, then as long as more is there at once, at most
    /// to `commit_interval` and `commit_bytes`. Stops at the first order that is no batch; it must come after. Shortly before the
    /// gap ends, what is there is produced ahead.
    fn gather(&mut self, mut batch: Batch) -> Result<(Batch, Option<ToCommit>)> {
        let ProcessingSettings { min_gap, commit_interval, commit_bytes, .. } = self.parts.settings;
        let started = Instant::now();
        // After a rollback everything goes at once: then the step that fails says why.
        let mut may_go_ahead = self.parts.producer.writes_ahead() && self.rollbacks == 0;
        loop {
            let not_before = self.started.map(|last| last + gap(&self.parts.settings, &batch, self.left));
            let mut wait = not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
            if !wait.is_zero() && may_go_ahead && batch.behind.is_none() {
                wait = wait.saturating_sub(AHEAD.min(min_gap / 2));
                if wait.is_zero() {
                    may_go_ahead = false;
                    self.produce_ahead(&mut batch);
                    continue;
                }
            }
            let order = if wait.is_zero() {
                if started.elapsed() >= commit_interval || batch.bytes >= commit_bytes {
                    return Ok((batch, None));
                }
                match self.parts.orders.try_recv() {
                    Ok(order) => order,
                    Err(TryRecvError::Empty) => return Ok((batch, None)),
                    Err(TryRecvError::Disconnected) => return Err(Error::internal("the merge thread has ended")),
                }
            } else {
                match self.parts.orders.recv_timeout(wait) {
                    Ok(order) => order,
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return Err(Error::internal("the merge thread has ended")),
                }
            };
            match order {
                ToCommit::Batch(later) if later.epoch == batch.epoch => batch.absorb(later),
                other => return Ok((batch, Some(other))),
            }
        }
    }

    /// Has what is decided written while the rest is waited for.
    fn produce_ahead(&mut self, batch: &mut Batch) {
        let CommitterParts { protocol, producer, link, .. } = &mut self.parts;
        link.commit.beat();
        self.ahead = match protocol.ahead(&mut **producer, &self.tasks, batch) {
            Ok(true) => Ahead::Begun,
            Ok(false) => Ahead::Not,
            Err(e) => Ahead::Failed(e),
        };
        self.parts.link.commit.beat();
    }

    fn commit(&mut self, batch: Batch) -> Result<()> {
        self.started = Some(Instant::now());
        let begun = match std::mem::take(&mut self.ahead) {
            Ahead::Not => false,
            Ahead::Begun => true,
            Ahead::Failed(e) => return self.recover(e),
        };
        let seq = batch.seq;
        self.token = Some(batch.token.clone());
        let behind = batch.behind;
        let mut staged = commit::stage(&self.parts.opener.table.def, &self.tasks, batch);
        if staged.is_empty() && !begun {
            self.parts.link.set_applied(seq);
            return Ok(());
        }
        self.parts.link.commit.beat();
        match self.parts.protocol.transact(&mut *self.parts.producer, &mut staged, begun) {
            Ok(changelog) => {
                self.parts.link.commit.beat();
                let left = self.left(behind, staged.events());
                self.left = left.unwrap_or_default();
                self.parts.protocol.settle(staged, &changelog, &mut self.tasks, left)?;
                self.rollbacks = 0;
                self.parts.link.set_applied(seq);
                Ok(())
            }
            Err(e) => self.recover(e),
        }
    }

    /// How long reading what waits will take, where much does, after a batch of so many events.
    fn left(&mut self, behind: Option<u64>, events: u64) -> Option<Duration> {
        if behind.is_none() {
            self.pace.rest();
        }
        behind.map(|unread| self.pace.left(events, unread, Instant::now()))
    }

    /// Commits the positions of quiet tasks again.
    fn renew(&mut self) -> Result<()> {
        if self.renewed.elapsed() < RENEW_EVERY || self.tasks.is_empty() {
            return Ok(());
        }
        self.renewed = Instant::now();
        let Some(token) = self.token.clone() else { return Ok(()) };
        let tasks = self.tasks.keys().map(|p| (*p, crate::task::batch::TaskBatch::default())).collect();
        let seq = self.parts.link.applied();
        let epoch = self.parts.link.epoch();
        self.commit(Batch {
            seq,
            epoch,
            token,
            tasks,
            quarantined: Vec::new(),
            misplaced: Vec::new(),
            bytes: 0,
            oldest_ms: i64::MAX,
            behind: None,
            presses: false,
        })
    }

    /// The way back from a transaction that did not end well: a new producer of the same id settles its fate, the changelog
    /// tells it, and reading goes on from there.
    fn recover(&mut self, e: Error) -> Result<()> {
        match e.reaction() {
            Reaction::Retry => self.parts.health.set_trouble(Some(e.to_string())),
            Reaction::Rollback => {}
            Reaction::Rebuild => self.note_fenced(&e)?,
            Reaction::Stop | Reaction::Report => return Err(e),
        }
        self.parts.protocol.metrics.aborts.inc();
        tracing::warn!(table = self.parts.opener.table.def.name, error = %e, "a commit did not go through; rolling back");
        // While the group settles every commit is refused: no need to read everything again as fast as it goes.
        if self.rollbacks > 0 && !self.parts.health.is_stopping() {
            self.parts.link.wait(BACKOFF.min(Duration::from_millis(10 << self.rollbacks.min(6))));
        }
        self.rollbacks = self.rollbacks.saturating_add(1);
        self.parts.producer =
            self.persist("reaching the broker", |c| c.parts.opener.broker.transactional(&c.parts.id))?;
        let mut positions: BTreeMap<u32, Position> = BTreeMap::new();
        for partition in self.tasks.keys().copied().collect::<Vec<_>>() {
            let Some(task) = self.tasks.get(&partition).cloned() else { continue };
            let task = self.persist("reading the changelog", |c| {
                c.parts.opener.catch_up(&task.view, task.store.clone(), &c.parts.id)
            })?;
            // Only where the whole index was made anew.
            if matches!(*task.view.phase(), Phase::Indexing { .. }) {
                task.view.set_phase(Phase::Running);
            }
            positions.insert(partition, task.position.clone());
            self.tasks.insert(partition, task);
        }
        self.parts.health.set_trouble(None);
        self.parts.link.roll_back(positions);
        tracing::info!(table = self.parts.opener.table.def.name, "rolled back; processing goes on");
        Ok(())
    }

    fn note_fenced(&mut self, e: &Error) -> Result<()> {
        let now = Instant::now();
        self.fenced.retain(|at| now.duration_since(*at) < FENCED_WITHIN);
        self.fenced.push(now);
        tracing::error!(id = self.parts.id, error = %e, "another producer took this worker's transactional id over: is instance.id used twice? (or the broker ended a transaction that took longer than processing.transaction_timeout)");
        if self.fenced.len() < FENCED_MOST {
            return Ok(());
        }
        Err(Error::refused(format!(
            "the transactional id {:?} was taken over {} times within a minute",
            self.parts.id,
            self.fenced.len()
        ))
        .advise("give every instance its own instance.id"))
    }

    /// Tries until it works, the failure is not of the broker's being away, or the process shuts down.
    fn persist<T>(&self, what: &str, attempt: impl Fn(&Self) -> Result<T>) -> Result<T> {
        loop {
            self.parts.link.commit.beat();
            match attempt(self) {
                Ok(t) => return Ok(t),
                Err(e) if e.reaction() == Reaction::Retry && !self.parts.health.is_stopping() => {
                    self.parts.health.set_trouble(Some(e.to_string()));
                    tracing::warn!(error = %e, "{what}: trying again");
                    self.parts.link.wait(BACKOFF);
                }
                Err(e) => return Err(e.within(what)),
            }
        }
    }

    /// Lets go of tasks. Their stores stay open: readers use them, and so may whoever takes the tasks up again.
    fn release(&mut self, release: &Release) -> Result<()> {
        for partition in &release.partitions {
            if let Some(task) = self.tasks.remove(partition).filter(|_| !release.lost) {
                task.store.sync()?;
            }
        }
        fault::point("release.1_synced");
        // The receiver may have given up waiting.
        let _ = release.done.send(());
        Ok(())
    }

    fn close(self) -> Result<()> {
        self.parts.link.commit.rest();
        for task in self.tasks.values() {
            task.view.set_phase(Phase::Releasing);
            task.store.sync()?;
        }
        Ok(())
    }
}

/// The least time between the start of the last commit and that of `batch`. `left`: so long reading what waits will take.
fn gap(settings: &ProcessingSettings, batch: &Batch, left: Duration) -> Duration {
    let ProcessingSettings { min_gap, catch_up_interval, commit_bytes, .. } = *settings;
    if batch.behind.is_none() || batch.presses || batch.bytes >= commit_bytes {
        return min_gap;
    }
    left.min(catch_up_interval).max(min_gap)
}

/// The error of a thread that ended by a panic.
pub fn panicked(thread: &str, cause: &(dyn std::any::Any + Send)) -> Error {
    let text =
        cause.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| cause.downcast_ref::<String>().cloned());
    Error::new(Kind::Internal, format!("thread {thread} panicked: {}", text.unwrap_or_else(|| "no message".into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Guarantee, OnGap};

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn in_a_catch_up_commits_are_apart_as_long_as_reading_what_waits_takes_while_there_is_room() {
        let settings = ProcessingSettings {
            guarantee: Guarantee::ExactlyOnce,
            min_gap: millis(15),
            commit_interval: millis(100),
            catch_up_interval: millis(500),
            commit_bytes: 1_000,
            transaction_timeout: millis(10_000),
            on_gap: OnGap::Stop,
        };
        let batch = |behind, presses, bytes| Batch {
            seq: 1,
            epoch: 0,
            token: GroupToken(Arc::new(())),
            tasks: BTreeMap::new(),
            quarantined: Vec::new(),
            misplaced: Vec::new(),
            bytes,
            oldest_ms: 0,
            behind,
            presses,
        };
        let much = || batch(Some(60_000), false, 999);
        for (left, expected) in [(0, 15), (14, 15), (200, 200), (500, 500), (60_000, 500)] {
            assert_eq!(gap(&settings, &much(), millis(left)), millis(expected), "{left} ms left");
        }
        for at_once in [batch(None, false, 999), batch(Some(60_000), true, 999), batch(Some(60_000), false, 1_000)] {
            assert_eq!(gap(&settings, &at_once, millis(60_000)), millis(15), "{at_once:?}");
        }
        let mut grown = much();
        grown.absorb(batch(Some(60_000), true, 0));
        grown.absorb(batch(Some(60_000), false, 0));
        assert_eq!(gap(&settings, &grown, millis(60_000)), millis(15), "there was no room any more when it grew");
        let without = ProcessingSettings { catch_up_interval: Duration::ZERO, ..settings };
        assert_eq!(gap(&without, &much(), millis(60_000)), millis(15));
    }
}
