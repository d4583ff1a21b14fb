//! The queue before an index thread: bounded in bytes, ordered, with one reason for its end that everybody reads.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::IndexBatch;
use crate::{Error, Kind, Result};

/// One thing for the index thread to do.
#[derive(Debug)]
pub(super) enum Item {
    /// Bring these changes in; the number is their size in bytes.
    Batch(Box<IndexBatch>, usize),
    /// Remove the documents of this partition.
    Clear(u32),
    /// Nothing more of these partitions waits to be read: what is here need not wait for more.
    Calm(Vec<u32>),
}

/// How an index thread is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Bring in what is queued, commit, sync.
    Close,
    /// Stop as soon as possible.
    Abandon,
}

/// What the index thread has to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// These items, in order; the last of them has this number.
    Items(VecDeque<Item>, u64),
    /// Nothing new: time has passed, or somebody waits for space or for a commit.
    Look,
    /// End.
    End(End),
}

/// What the index thread can do something about now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heed {
    /// That somebody waits for a commit.
    pub(super) wanted: bool,
    /// That somebody waits for space.
    pub(super) short: bool,
}

/// An error that can be handed to many.
#[derive(Clone, Debug)]
struct Failure {
    kind: Kind,
    message: String,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    /// Bytes that the thread has not handed to the writer yet, queued or not.
    bytes: usize,
    pushed: u64,
    visible: u64,
    wanted: u64,
    waiting: usize,
    /// Somebody has news for the thread.
    news: bool,
    end: Option<End>,
    failure: Option<Failure>,
    /// Name of the thread, once it has ended as it was asked to.
    closed: Option<String>,
}

impl State {
    fn check(&self) -> Result<()> {
        match (&self.failure, self.end) {
            (Some(f), _) => Err(Error::new(f.kind, f.message.clone())),
            (None, Some(_)) => Err(Error::internal("the index is closed")),
            (None, None) => Ok(()),
        }
    }
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the thread.
    work: Condvar,
    /// Wakes those who hand over or wait.
    progress: Condvar,
    limit: usize,
}

impl Queue {
    /// A queue for at most `limit` bytes; a single larger item passes alone.
    pub(super) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), work: Condvar::new(), progress: Condvar::new(), limit }
    }

    /// Appends an item of `size` bytes, waiting for space. `wanted`: somebody will wait until it is visible, and the thread that
    /// takes it shall know at once, so that it need not show it twice.
    pub(super) fn push(&self, item: Item, size: usize, wanted: bool) -> Result<()> {
        let mut state = self.state.lock();
        state.check()?;
        while state.bytes > 0 && state.bytes + size > self.limit {
            state.waiting += 1;
            self.work.notify_one();
            self.progress.wait(&mut state);
            state.waiting -= 1;
            state.check()?;
        }
        state.items.push_back(item);
        state.bytes += size;
        state.pushed += 1;
        if wanted {
            state.wanted = state.pushed;
        }
        self.work.notify_one();
        Ok(())
    }

    /// Waits until everything pushed before is visible.
    pub(super) fn flush(&self) -> Result<()> {
        let mut state = self.state.lock();
        let goal = state.pushed;
        state.wanted = state.wanted.max(goal);
        self.work.notify_one();
        while state.visible < goal {
            if let Some(f) = &state.failure {
                return Err(Error::new(f.kind, f.message.clone()));
            }
            if let Some(name) = &state.closed {
                return Err(Error::internal(format!("{name} was stopped")));
            }
            self.progress.wait(&mut state);
        }
        Ok(())
    }

    /// Asks the thread to end. The first asking counts, but an end in order may become a quick one.
    pub(super) fn end(&self, how: End) {
        let mut state = self.state.lock();
        if state.end.is_none() || how == End::Abandon {
            state.end = Some(how);
        }
        self.work.notify_one();
        self.progress.notify_all();
    }

    /// Wakes the thread: there is news for it that did not come through the queue.
    pub(super) fn wake(&self) {
        self.state.lock().news = true;
        self.work.notify_one();
    }

    /// The thread's next work; waits for it until `deadline`, or as long as it takes.
    pub(super) fn next(&self, deadline: Option<Instant>, heed: Heed) -> Next {
        let mut state = self.state.lock();
        loop {
            if state.end == Some(End::Abandon) {
                return Next::End(End::Abandon);
            }
            if !state.items.is_empty() {
                return Next::Items(std::mem::take(&mut state.items), state.pushed);
            }
            if let Some(end) = state.end {
                return Next::End(end);
            }
            let wanted = heed.wanted && state.wanted > state.visible;
            let short = heed.short && state.waiting > 0;
            if std::mem::take(&mut state.news) || wanted || short {
                return Next::Look;
            }
            match deadline {
                Some(deadline) if self.work.wait_until(&mut state, deadline).timed_out() => return Next::Look,
                Some(_) => {}
                None => self.work.wait(&mut state),
            }
        }
    }

    /// Whether somebody waits for space.
    pub(super) fn is_short(&self) -> bool {
        self.state.lock().waiting > 0
    }

    /// Whether somebody waits for what is not visible yet.
    pub(super) fn is_wanted(&self) -> bool {
        let state = self.state.lock();
        state.wanted > state.visible
    }

    /// Gives space back.
    pub(super) fn release(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        self.progress.notify_all();
    }

    /// Says that everything up to this item can be seen.
    pub(super) fn seen(&self, number: u64) {
        let mut state = self.state.lock();
        state.visible = state.visible.max(number);
        self.progress.notify_all();
    }

    /// Ends the queue for everybody, with its reason.
    pub(super) fn fail(&self, kind: Kind, message: String) {
        let mut state = self.state.lock();
        state.failure.get_or_insert(Failure { kind, message });
        state.items.clear();
        self.progress.notify_all();
    }

    /// The thread has ended as it was asked to; who still waits is told. It is no failure: what was passed over is left to the next start.
    pub(super) fn closed(&self, name: &str) {
        self.state.lock().closed = Some(name.to_owned());
        self.progress.notify_all();
    }

    /// Whether the thread shall stop as soon as possible.
    pub(super) fn is_abandoned(&self) -> bool {
        self.state.lock().end == Some(End::Abandon)
    }

    /// Why the thread has failed, if it has.
    pub(super) fn failure(&self) -> Option<Error> {
        self.state.lock().failure.as_ref().map(|f| Error::new(f.kind, f.message.clone()))
    }
}
