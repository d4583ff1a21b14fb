//! How a stream comes to the window from further back: in turns, of which there are few at a time.
//!
//! A turn reads the changelog for one reader, in chunks of bounded size, and ends when that reader keeps it waiting, or after a
//! while: then the next one has it. So a slow reader holds up nobody, and holds nothing but what is on its way to it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::time::{Instant, sleep_until, timeout};

use super::event::{FRAME, heartbeat};
use super::stream::{Cut, End, FRAMES, STALL, Stream};
use crate::changes::{Chunk, Position, Window, catch_up};

/// How long a turn lasts at most; who needs longer stands behind the others again.
const TURN: Duration = Duration::from_secs(10);
/// How long a turn waits for its reader.
const KEPT: Duration = Duration::from_millis(500);

/// How a turn ended.
enum Turn {
    /// At this place of the window.
    Joined(u64),
    /// It was over, or its reader has kept it waiting: with what is not sent yet.
    Over(Vec<Bytes>),
}

impl Stream {
    /// Reads what the window does not have any more, for this reader alone and at its pace: the place where it goes on.
    pub(super) async fn catch_up(&mut self, window: &Arc<Window>) -> Result<u64, End> {
        loop {
            let turn = self.turn().await?;
            match self.read_on(window, turn).await? {
                Turn::Joined(place) => return Ok(place),
                Turn::Over(rest) if rest.is_empty() => {}
                Turn::Over(rest) => {
                    for frame in rest {
                        self.send(frame).await?;
                    }
                    self.drained().await?;
                }
            }
        }
    }

    /// Waits for a turn: few read for themselves at a time.
    async fn turn(&mut self) -> Result<OwnedSemaphorePermit, End> {
        let turns = Arc::clone(&self.ctx.catch_ups);
        // Asked for once: whoever asks again stands behind all others.
        let mut next = Box::pin(turns.acquire_owned());
        loop {
            tokio::select! {
                turn = &mut next => return turn.map_err(|_| End::Gone),
                () = sleep_until(self.sent + self.heartbeat) => self.send(heartbeat(&self.at).into()).await?,
                () = self.ctx.state.health.stopped() => return Err(Cut::stopping()),
                () = self.out.closed() => return Err(End::Gone),
            }
        }
    }

    /// Waits until the reader has taken everything, so that the next turn is worth its beginning.
    async fn drained(&self) -> Result<(), End> {
        let drained = tokio::select! {
            drained = timeout(STALL, self.out.reserve_many(FRAMES)) => drained.map(|room| room.is_ok()),
            () = self.ctx.state.health.stopped() => return Err(Cut::stopping()),
        };
        match drained {
            Ok(true) => Ok(()),
            Ok(false) => Err(End::Gone),
            Err(_) => {
                let kib = (FRAMES * FRAME) >> 10;
                Err(Cut::too_slow(format!("it is behind, and read less than {kib} KiB in {} s", STALL.as_secs())))
            }
        }
    }

    /// Takes a turn.
    async fn read_on(&mut self, window: &Arc<Window>, turn: OwnedSemaphorePermit) -> Result<Turn, End> {
        let mut writer = self.writer()?;
        let (tail, window, mut at) = (self.ctx.tail(&self.table)?, Arc::clone(window), self.at.clone());
        let (out, heartbeat_every, health) = (self.out.clone(), self.heartbeat, Arc::clone(&self.ctx.state.health));
        let (events, runtime, mut sent) = (self.metrics.events.clone(), Handle::current(), self.sent);
        let read = move || {
            let (_turn, begun) = (turn, Instant::now());
            let (mut end, mut rest) = (None, Vec::new());
            let mut give = |chunk: &Chunk, at: &mut Position| loop {
                if health.is_stopping() {
                    end = Some(Cut::stopping());
                    return Ok(false);
                }
                let mut piece = writer.piece(chunk, at)?;
                events.inc_by(piece.events);
                let beat = piece.events == 0 && sent.elapsed() >= heartbeat_every;
                let beat = beat.then(|| Bytes::from(heartbeat(at)));
                let mut frames = piece.frames().chain(beat);
                while let Some(frame) = frames.next() {
                    match runtime.block_on(out.send_timeout(frame, KEPT)) {
                        Ok(()) => sent = Instant::now(),
                        Err(SendTimeoutError::Closed(_)) => {
                            end = Some(End::Gone);
                            return Ok(false);
                        }
                        Err(SendTimeoutError::Timeout(frame)) => {
                            rest = std::iter::once(frame).chain(frames).collect();
                            return Ok(false);
                        }
                    }
                }
                if out.is_closed() {
                    end = Some(End::Gone);
                }
                if !piece.more || end.is_some() {
                    return Ok(end.is_none() && begun.elapsed() < TURN);
                }
            };
            let joined = catch_up(&tail, &window, &mut at, &mut give);
            let turn = match (joined, end) {
                (Ok(Some(place)), _) => Ok(Turn::Joined(place)),
                (Ok(None), None) => Ok(Turn::Over(rest)),
                (Ok(None), Some(end)) => Err(end),
                (Err(e), _) => Err(End::from(e)),
            };
            (writer, at, sent, turn)
        };
        let done = tokio::task::spawn_blocking(read).await;
        let (writer, at, sent, turn) = done.map_err(|_| Cut::failed("reading the changelog has failed".to_owned()))?;
        (self.writer, self.at, self.sent) = (Some(writer), at, sent);
        turn
    }
}
