//! What readers may see of a task: role, phase, store, and how far it has come.
//!
//! Owns the published positions. Does not own the store's content or the decision what to do next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::broker::Offset;
use crate::store::{Accounting, EndedCount, Store};

/// What this instance is to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Owns it.
    Active,
    /// Has a copy: follows its changelog, or has owned it and cannot tell who does now.
    Standby,
}

/// Where in its life a task is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Opening its files.
    Opening,
    /// Reading the changelog.
    Restoring {
        /// Changelog position reached.
        at: Offset,
        /// Changelog position to reach.
        end: Offset,
        /// Records a second, over the last second.
        rate: f64,
    },
    /// Feeding its records to the index again.
    Indexing {
        /// Records fed.
        done: u64,
    },
    /// Processing.
    Running,
    /// Being given back.
    Releasing,
    /// Stopped for the reason given; needs a person.
    Stopped(String),
}

impl Phase {
    /// The phase as one word, for status and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Phase::Opening => "opening",
            Phase::Restoring { .. } => "restoring",
            Phase::Indexing { .. } => "indexing",
            Phase::Running => "running",
            Phase::Releasing => "releasing",
            Phase::Stopped(_) => "stopped",
        }
    }
}

/// How far a task has come. Positions are of the next event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Source positions by topic whose events are in the store.
    pub applied: BTreeMap<Arc<str>, Offset>,
    /// Source positions by topic whose events are visible to search.
    pub visible: BTreeMap<Arc<str>, Offset>,
    /// Changelog position of the store.
    pub changelog: Offset,
    /// Changelog position of the index.
    pub indexed: Offset,
    /// Timestamp of the newest applied event, milliseconds since the epoch; 0 before the first.
    pub last_event_ms: i64,
    /// Event time that it has reached, where versions are times.
    pub watermark: Option<i64>,
    /// What event time has ended, since the beginning.
    pub ended: EndedCount,
    /// What became of the events of each source, by its name, since the beginning.
    pub accounting: BTreeMap<String, Accounting>,
}

const OPENING: u8 = 0;
const HANDED_OVER: u8 = 1;
const ABANDONED: u8 = 2;

/// A task as readers see it.
#[derive(Debug)]
pub struct TaskView {
    /// Table.
    pub table: Arc<str>,
    /// Partition.
    pub partition: u32,
    /// Role of this instance.
    pub role: Role,
    /// Whether the store was open here already when this stay began.
    continued: bool,
    phase: ArcSwap<Phase>,
    store: ArcSwapOption<Store>,
    progress: watch::Sender<Progress>,
    /// Unread source records by topic, as of the last look.
    lag: ArcSwap<BTreeMap<Arc<str>, i64>>,
    /// What became of its opening.
    opening: AtomicU8,
}

impl TaskView {
    /// A task that is being opened.
    pub fn new(table: Arc<str>, partition: u32, role: Role) -> Arc<Self> {
        Arc::new(Self {
            table,
            partition,
            role,
            continued: false,
            phase: ArcSwap::from_pointee(Phase::Opening),
            store: ArcSwapOption::empty(),
            progress: watch::Sender::new(Progress::default()),
            lag: ArcSwap::from_pointee(BTreeMap::new()),
            opening: AtomicU8::new(OPENING),
        })
    }
    /// The same task at the beginning of another stay here, as `role`: it answers as `self` does, from the same store.
    pub fn successor(&self, role: Role) -> Arc<Self> {
        Arc::new(Self {
            table: self.table.clone(),
            partition: self.partition,
            role,
            continued: true,
            phase: ArcSwap::new(self.phase()),
            store: ArcSwapOption::new(self.store()),
            progress: watch::Sender::new(self.progress()),
            lag: ArcSwap::new(self.lag()),
            opening: AtomicU8::new(OPENING),
        })
    }
    /// What its answers are: those of a copy also for a task that goes on from one and does not process yet. Somebody else's may
    /// have come further.
    pub fn answers_as(&self) -> Role {
        if self.changes_hands() { Role::Standby } else { self.role }
    }
    /// Whether it goes on answering from an earlier stay here, and nobody has brought it up to its changelog since.
    pub fn changes_hands(&self) -> bool {
        self.continued && self.opening.load(Ordering::Acquire) != HANDED_OVER
    }
    /// Gives up opening it: it was taken away, or the process stops. Does nothing once it was handed over.
    pub fn abandon(&self) {
        let _ = self.opening.compare_exchange(OPENING, ABANDONED, Ordering::AcqRel, Ordering::Acquire);
    }
    /// Whether opening it was given up.
    pub fn is_abandoned(&self) -> bool {
        self.opening.load(Ordering::Acquire) == ABANDONED
    }
    /// Ends the opening; false if it was given up before.
    pub fn hand_over(&self) -> bool {
        self.opening.compare_exchange(OPENING, HANDED_OVER, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
    /// Current phase.
    pub fn phase(&self) -> Arc<Phase> {
        self.phase.load_full()
    }
    /// Changes the phase.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(Arc::new(phase));
    }
    /// Shows how far work on the task has come, unless it runs already: then it goes on answering, for all that its store holds
    /// is committed.
    pub fn show(&self, phase: Phase) {
        if **self.phase.load() != Phase::Running {
            self.set_phase(phase);
        }
    }
    /// The store, once open.
    pub fn store(&self) -> Option<Arc<Store>> {
        self.store.load_full()
    }
    /// Publishes or withdraws the store.
    pub fn set_store(&self, store: Option<Arc<Store>>) {
        self.store.store(store);
    }
    /// Current progress.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }
    /// What `f` takes from the current progress, without a copy of all of it. It must be quick: a writer may wait.
    pub fn look<T>(&self, f: impl FnOnce(&Progress) -> T) -> T {
        f(&self.progress.borrow())
    }
    /// A receiver that wakes at every change of the progress.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }
    /// Changes the progress and wakes who waits.
    pub fn advance(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_modify(change);
    }
    /// Unread source records by topic.
    pub fn lag(&self) -> Arc<BTreeMap<Arc<str>, i64>> {
        self.lag.load_full()
    }

    /// How many that are, over all sources.
    pub fn unread(&self) -> i64 {
        self.lag.load().values().sum()
    }

    /// Publishes the unread source records.
    pub fn set_lag(&self, lag: BTreeMap<Arc<str>, i64>) {
        self.lag.store(Arc::new(lag));
    }
}
