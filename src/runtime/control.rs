//! Orders to a worker.

use crossbeam_channel::Sender;

use crate::broker::GroupToken;
use crate::task::Task;
use crate::task::batch::Batch;

/// An order to the merge thread.
#[derive(Debug)]
pub enum Control {
    /// A task that is open and caught up; events are consumed under `token` from now on.
    Add(Box<Task>, GroupToken),
    /// The group moved on and we keep our tasks.
    Renew(GroupToken),
    /// Give tasks back.
    Release(Release),
    /// Finish what is consumed, commit it, and end.
    Stop,
}

/// Tasks that go.
#[derive(Debug)]
pub struct Release {
    /// Partitions.
    pub partitions: Vec<u32>,
    /// Whether they are gone already: nothing of them may be committed any more. They go on answering reads.
    pub lost: bool,
    /// Told when it is done.
    pub done: Sender<()>,
}

/// What the merge thread passes on, in order with its batches.
#[derive(Debug)]
pub enum ToCommit {
    /// Work.
    Batch(Batch),
    /// A task to commit for.
    Add(Box<Task>),
    /// Tasks that go, after what stands before.
    Release(Release),
    /// Everything that could be read stands before.
    Calm,
    /// Nothing comes after this.
    Stop,
}
