//! What happens to a task beside the workers: it is opened and handed over, or closed once nobody needs it any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;

use super::control::Control;
use crate::broker::GroupToken;
use crate::runtime::Health;
use crate::store::{Store, note_held};
use crate::task::follow::{Standby, stop};
use crate::task::{Opener, Phase, Task, TaskView};
use crate::{Error, Reaction, Result, clock};

/// Pause between attempts to open a task while the broker is away.
const AGAIN: Duration = Duration::from_millis(500);
/// How long reads that are under way may keep the store of a closed task open.
const READS_END_WITHIN: Duration = Duration::from_secs(30);

/// Opens a task, trying until the broker is there; `None` if it was given up.
pub(super) fn persist(opener: &Opener, view: &Arc<TaskView>, writer: &str, health: &Health) -> Result<Option<Task>> {
    let mut troubled = false;
    while !view.is_abandoned() {
        let opened = match view.store() {
            Some(store) => opener.resume(view, store, writer),
            None => opener.open(view, writer),
        };
        match opened {
            Ok(task) => {
                if troubled {
                    health.set_trouble(None);
                }
                return Ok(Some(task));
            }
            Err(e) if view.is_abandoned() => tracing::info!(error = %e, "opening was given up"),
            Err(e) if e.reaction() == Reaction::Retry => {
                tracing::warn!(error = %e, "trying again");
                troubled = true;
                health.set_trouble(Some(e.to_string()));
                view.show(Phase::Opening);
                std::thread::sleep(AGAIN);
            }
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

/// Opens a copy, trying until the broker is there; `None` if it was given up or cannot be kept, which it then says.
pub(super) fn persist_standby(opener: &Opener, view: &Arc<TaskView>) -> Option<Standby> {
    while !view.is_abandoned() {
        match opener.open_standby(view) {
            Ok(standby) => return Some(standby),
            Err(e) if view.is_abandoned() => tracing::info!(error = %e, "opening a standby was given up"),
            Err(e) if e.reaction() == Reaction::Retry => {
                tracing::warn!(error = %e, "trying again");
                std::thread::sleep(AGAIN);
            }
            Err(e) => {
                stop(view, &e);
                return None;
            }
        }
    }
    None
}

/// Gives an open task to its worker, unless it was given up meanwhile.
pub(super) fn hand_over(task: Task, token: &Mutex<Option<GroupToken>>, orders: &Sender<Control>) -> Result<()> {
    let view = &task.view;
    let token = token.lock();
    if !view.hand_over() {
        return Ok(());
    }
    tracing::info!(
        task = format!("{}/{}", view.table, task.partition),
        restored = task.restored,
        reindexed = task.repaired.keys,
        whole_index = task.repaired.whole,
        "task is open"
    );
    let token = token.clone().ok_or_else(|| Error::internal("a task without a membership"))?;
    orders.send(Control::Add(Box::new(task), token)).map_err(|_| Error::internal("the worker has ended"))
}

/// Waits until whoever wrote to a task's store has let go of it, or has ended. Also for a task that was given up meanwhile: who
/// takes it up next waits for this thread, and must not write beside the one that is waited for. Only where `nobody_follows` is
/// there no such; and a worker that failed may never tell.
pub(super) fn wait_released(released: &Receiver<()>, nobody_follows: impl Fn() -> bool) {
    // Closed counts as told.
    while released.recv_timeout(AGAIN) == Err(RecvTimeoutError::Timeout) && !nobody_follows() {}
}

/// Closes the store of a task that nobody writes to any more. Its files stay. Returns when it is closed: whoever takes the
/// task up next, here too, must find it so.
pub(super) fn close(view: &TaskView) -> Result<()> {
    let Some(store) = view.store() else { return Ok(()) };
    view.set_store(None);
    store.sync()?;
    let until = Instant::now() + READS_END_WITHIN;
    while Arc::strong_count(&store) > 1 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
    note_held(store.dir(), clock::now_ms())?;
    tracing::info!(task = format!("{}/{}", view.table, view.partition), "task is closed, its files are kept");
    drop::<Arc<Store>>(store);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    #[test]
    fn a_writer_is_waited_for_until_it_tells_or_ends_or_nobody_follows() {
        let (done, released) = bounded(1);
        let waiting = std::thread::spawn(move || wait_released(&released, || false));
        std::thread::sleep(AGAIN / 5);
        assert!(!waiting.is_finished(), "it has not told");
        done.send(()).unwrap();
        waiting.join().unwrap();

        let (done, released) = bounded::<()>(1);
        drop(done);
        wait_released(&released, || false);

        // As of a worker that failed with the order in its queue: the sender lives, and nobody will use it.
        let (_never, released) = bounded(1);
        wait_released(&released, || true);
    }
}
