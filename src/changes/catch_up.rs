//! Reads what a single reader has missed, until the shared window has the rest.

use std::time::Duration;

use super::position::Position;
use super::tail::Tail;
use super::window::{Chunk, Window};
use crate::broker::{LogReader, Progress};
use crate::{Reaction, Result};

/// How long to wait for the next change before it is looked whether the reader is still there.
const WAIT: Duration = Duration::from_millis(100);
/// How long to wait for one more beside others.
const ONE_MORE: Duration = Duration::from_millis(5);
/// Pause while the broker is away.
const AGAIN: Duration = Duration::from_millis(200);

/// Hands what is between a position and the beginning of the window to `give`, partition by partition, and moves the position, until
/// the window can be joined: its place; `None` when `give` says that it is enough. It is called at least every few hundred
/// milliseconds, with nothing if there is nothing. Blocking.
pub fn catch_up(
    tail: &Tail,
    window: &Window,
    at: &mut Position,
    give: &mut dyn FnMut(&Chunk, &mut Position) -> Result<bool>,
) -> Result<Option<u64>> {
    let partitions: Vec<u32> = at.next.keys().copied().collect();
    loop {
        if let Some(place) = window.join(&at.next) {
            return Ok(Some(place));
        }
        for partition in &partitions {
            if !one(tail, window, *partition, at, give)? {
                return Ok(None);
            }
        }
    }
}

fn one(
    tail: &Tail,
    window: &Window,
    partition: u32,
    at: &mut Position,
    give: &mut dyn FnMut(&Chunk, &mut Position) -> Result<bool>,
) -> Result<bool> {
    let is_missing = |at: &Position| at.next.get(&partition).is_some_and(|next| *next < window.from(partition));
    if !is_missing(at) {
        return Ok(true);
    }
    let open = |at: &Position| {
        let from = at.next.get(&partition).copied().unwrap_or(0);
        tail.broker().reader(&tail.partition(partition), from)
    };
    let mut reader = None;
    while is_missing(at) {
        let mut chunk = Chunk::default();
        let read = match &mut reader {
            None => open(at).map(|opened| {
                reader = Some(opened);
                Progress::Records(0)
            }),
            Some(reader) => fill(&mut **reader, &mut chunk),
        };
        if !give(&chunk, at)? {
            return Ok(false);
        }
        match read {
            // Behind the last record there may be what nobody sees.
            Ok(Progress::End { to }) => at.reach(partition, to),
            Ok(Progress::Records(_)) => {}
            Err(e) if e.reaction() == Reaction::Retry => std::thread::sleep(AGAIN),
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

/// Reads what there is into a chunk, until it is full.
fn fill(reader: &mut dyn LogReader, chunk: &mut Chunk) -> Result<Progress> {
    let (mut all, mut wait) = (0, WAIT);
    while let Some(room) = chunk.room() {
        match reader.read(room, wait, &mut |m| chunk.take(&m))? {
            Progress::Records(read) if read < room => return Ok(Progress::Records(all + read)),
            Progress::Records(read) => all += read,
            end @ Progress::End { .. } => return Ok(end),
        }
        wait = ONE_MORE;
    }
    Ok(Progress::Records(all))
}
