//! One stream: from the position where it begins to the end of the changelog and on, until its reader goes, or is cut.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::begin::Begun;
use super::event::{Writer, event, heartbeat, plain};
use crate::Kind;
use crate::api::context::Context;
use crate::api::problem::Problem;
use crate::changes::{Chunk, Ended, Look, Position, Window};
use crate::clock;
use crate::metrics::{ChangeMetrics, CutLabels};
use crate::query::Table;

/// Frames that may wait for the connection: with what they are cut from, all that a stream holds while it waits for its reader.
pub(super) const FRAMES: usize = 8;
/// A reader that takes nothing for so long is not waited for any more.
pub(super) const STALL: Duration = Duration::from_secs(30);
/// Who has kept the stream waiting for so long since it was last at the end is slow, if the window passes it.
const SLOW: Duration = Duration::from_millis(500);
/// How long the last word may take.
const LAST_WORD: Duration = Duration::from_secs(1);

/// A stream of changes.
pub(super) struct Stream {
    pub(super) ctx: Context,
    pub(super) table: Arc<Table>,
    /// `None` while it is at work elsewhere.
    pub(super) writer: Option<Writer>,
    pub(super) at: Position,
    pub(super) out: mpsc::Sender<Bytes>,
    pub(super) heartbeat: Duration,
    pub(super) sent: Instant,
    /// How long it has waited for its reader since it was last at the end.
    waited: Duration,
    warnings: Vec<String>,
    gap: Option<String>,
    pub(super) metrics: ChangeMetrics,
    _place: OwnedSemaphorePermit,
}

/// Why a stream ends.
pub(super) enum End {
    /// Its reader has gone.
    Gone,
    /// It is cut.
    Cut(Cut),
}

/// The last event.
#[derive(Debug, Serialize)]
pub(super) struct Cut {
    reason: &'static str,
    detail: String,
    advice: &'static str,
}

impl Cut {
    pub(super) fn stopping() -> End {
        let detail = "this instance is shutting down".to_owned();
        End::Cut(Self {
            reason: "stopping",
            detail,
            advice: "go on from the last id at another instance, or here in a moment",
        })
    }

    pub(super) fn too_slow(detail: String) -> End {
        let advice = "go on from the last id, and read faster, take fewer fields or a narrower query";
        End::Cut(Self { reason: "too_slow", detail, advice })
    }

    fn gap(detail: String) -> End {
        let advice = "begin a stream without a position, then read the state anew";
        End::Cut(Self { reason: "gap", detail, advice })
    }

    pub(super) fn failed(detail: String) -> End {
        End::Cut(Self {
            reason: "failed",
            detail,
            advice: "go on from the last id; if that fails, too, look at the log of this instance",
        })
    }

    fn because(ended: Ended) -> End {
        match ended {
            Ended::Stopping => Self::stopping(),
            Ended::Gap(detail) => Self::gap(detail),
            Ended::Failed(detail) => Self::failed(detail),
        }
    }
}

impl From<Problem> for End {
    fn from(problem: Problem) -> Self {
        Cut::failed(problem.detail().to_owned())
    }
}

impl From<crate::Error> for End {
    fn from(e: crate::Error) -> Self {
        match e.kind() {
            // What the log says of a position that it does not have.
            Kind::Refused => Cut::gap(e.to_string()),
            _ => Cut::failed(e.to_string()),
        }
    }
}

/// What a reader hears first.
#[derive(Debug, Serialize)]
struct Hello<'a> {
    table: &'a str,
    partitions: Vec<u32>,
    position: String,
    warnings: &'a [String],
    served_by: &'a str,
}

impl Stream {
    /// A stream that writes to `out`.
    pub(super) fn new(
        ctx: Context,
        table: Arc<Table>,
        begun: Begun,
        out: mpsc::Sender<Bytes>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let Begun { asked, standing, membership, at, gap } = begun;
        let warnings = standing.as_ref().map(|s| s.warnings.clone()).unwrap_or_default();
        let keys = asked.keys.map(|keys| keys.into_iter().map(|key| key.into_bytes().into()).collect());
        let query = standing.zip(membership);
        let writer = Some(Writer { table: Arc::clone(&table), keys, fields: asked.fields, query });
        let metrics = ctx.state.metrics.changes(&table.def.name);
        let heartbeat = asked.heartbeat;
        let (sent, waited) = (Instant::now(), Duration::ZERO);
        Self { ctx, table, writer, at, out, heartbeat, sent, waited, warnings, gap, metrics, _place: place }
    }

    /// Runs until its reader goes or it is cut.
    pub(super) async fn run(mut self) {
        self.metrics.streams.inc();
        let Err(end) = self.follow().await;
        self.metrics.streams.dec();
        if let End::Cut(cut) = end {
            let labels = CutLabels { table: self.table.def.name.clone(), reason: cut.reason };
            self.ctx.state.metrics.change_cuts.get_or_create(&labels).inc();
            // Who has gone does not hear it.
            let _ = timeout(LAST_WORD.max(self.patience(&cut)), self.out.send(plain("cut", &cut).into())).await;
        }
    }

    /// A slow reader gets time to come to the end; at a stop there is none.
    fn patience(&self, cut: &Cut) -> Duration {
        if cut.reason == "too_slow" { STALL } else { LAST_WORD }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, End> {
        self.hello().await?;
        if let Some(detail) = self.gap.take() {
            return Err(Cut::gap(detail));
        }
        let window = self.window().await?;
        let mut news = window.news();
        let mut place = match window.join(&self.at.next) {
            Some(place) => place,
            None => self.catch_up(&window).await?,
        };
        loop {
            news.borrow_and_update();
            match window.look(place) {
                Look::Chunk(chunk) => place += u64::from(!self.send_piece(chunk).await?),
                Look::Nothing => {
                    self.waited = Duration::ZERO;
                    self.wait(&mut news).await?;
                }
                // So many changes at once that not even who reads at once gets them from the window.
                Look::Passed if self.waited < SLOW => place = self.catch_up(&window).await?,
                Look::Passed => {
                    return Err(Cut::too_slow("more changes came than are kept for slow readers".to_owned()));
                }
                Look::Ended(why) => return Err(Cut::because(why)),
            }
            if self.sent.elapsed() >= self.heartbeat {
                self.send(heartbeat(&self.at).into()).await?;
            }
        }
    }

    async fn hello(&mut self) -> Result<(), End> {
        let hello = Hello {
            table: &self.table.def.name,
            partitions: self.at.next.keys().copied().collect(),
            position: self.at.to_string(),
            warnings: &self.warnings,
            served_by: self.ctx.instance(),
        };
        let mut text = String::new();
        event(&mut text, "hello", &self.at, &hello);
        self.send(text.into()).await
    }

    /// The window that all readers share.
    async fn window(&self) -> Result<Arc<Window>, End> {
        let (tail, near) = (self.ctx.tail(&self.table)?, self.at.next.clone());
        let health = Arc::clone(&self.ctx.state.health);
        let open = move || Ok(tail.window(&near, move || health.is_stopping())?);
        Ok(self.ctx.starting.run(open).await?)
    }

    /// Waits for news; a reader hears that the stream lives.
    async fn wait(&mut self, news: &mut watch::Receiver<u64>) -> Result<(), End> {
        tokio::select! {
            _ = news.changed() => Ok(()),
            () = sleep_until(self.sent + self.heartbeat) => {
                self.at.as_of_ms = Some(clock::now_ms());
                Ok(())
            }
            () = self.ctx.state.health.stopped() => Err(Cut::stopping()),
            () = self.out.closed() => Err(End::Gone),
        }
    }

    /// Sends what is next of a chunk, which is let go of before the reader is waited for; whether it has more.
    async fn send_piece(&mut self, chunk: Arc<Chunk>) -> Result<bool, End> {
        self.at.as_of_ms = Some(chunk.read_ms);
        let mut writer = self.writer()?;
        let mut at = self.at.clone();
        let write = move || {
            let piece = writer.piece(&chunk, &mut at);
            Ok((writer, at, piece))
        };
        let (writer, at, piece) = self.ctx.streaming.run(write).await?;
        self.writer = Some(writer);
        self.at = at;
        let mut piece = piece?;
        for frame in piece.frames() {
            self.send(frame).await?;
        }
        self.metrics.events.inc_by(piece.events);
        Ok(piece.more)
    }

    pub(super) fn writer(&mut self) -> Result<Writer, End> {
        self.writer.take().ok_or_else(|| Cut::failed("what came before could not be written".to_owned()))
    }

    pub(super) async fn send(&mut self, frame: Bytes) -> Result<(), End> {
        let begun = Instant::now();
        let sent = tokio::select! {
            sent = timeout(STALL, self.out.send(frame)) => sent,
            () = self.ctx.state.health.stopped() => return Err(Cut::stopping()),
        };
        self.sent = Instant::now();
        self.waited += self.sent - begun;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(Cut::too_slow(format!("nothing was read for {} s", STALL.as_secs()))),
        }
    }
}
