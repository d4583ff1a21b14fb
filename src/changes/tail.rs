//! Reads the end of a table's changelog for all its readers, as long as there are any.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::window::{Chunk, Ended, Window};
use crate::broker::{Broker, Consumer, Offset, TopicPartition, Watermarks};
use crate::{Reaction, Result, clock};

/// How long to wait for the next one before it is looked whether anybody still reads.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// Pause while the broker is away.
const AGAIN: Duration = Duration::from_millis(200);
/// A reader so many records behind the end, over all partitions, is near: the window begins with what it needs.
const NEAR: Offset = 10_000;

/// A table's changelog, for readers of its changes.
#[derive(Debug)]
pub struct Tail {
    broker: Arc<dyn Broker>,
    /// Table, for the log.
    table: String,
    topic: Arc<str>,
    partitions: u32,
    /// Bytes of the window.
    most: usize,
    window: Mutex<Weak<Window>>,
}

impl Tail {
    /// Of a table that has this changelog. Nothing is read before somebody joins.
    pub fn new(broker: Arc<dyn Broker>, table: &str, topic: &str, partitions: u32, most: usize) -> Self {
        Self { broker, table: table.to_owned(), topic: topic.into(), partitions, most, window: Mutex::default() }
    }

    /// Broker.
    pub fn broker(&self) -> &dyn Broker {
        &*self.broker
    }

    /// A partition of the changelog.
    pub fn partition(&self, partition: u32) -> TopicPartition {
        TopicPartition { topic: Arc::clone(&self.topic), partition }
    }

    /// Name of the changelog topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Watermarks of these partitions. Blocking.
    pub fn watermarks(&self, of: impl Iterator<Item = u32>) -> Result<BTreeMap<u32, Watermarks>> {
        of.map(|p| Ok((p, self.broker.watermarks(&self.partition(p))?))).collect()
    }

    /// The window at the end of the changelog. Where there is none it is begun, at these positions if they are near the end.
    /// Blocking. It is read on as long as somebody holds it.
    pub fn window(
        self: &Arc<Self>,
        near: &BTreeMap<u32, Offset>,
        is_stopping: impl Fn() -> bool + Send + 'static,
    ) -> Result<Arc<Window>> {
        let mut held = self.window.lock();
        if let Some(window) = held.upgrade().filter(|window| !window.is_ended()) {
            return Ok(window);
        }
        let marks = self.watermarks(0..self.partitions)?;
        let behind: Offset = near.iter().map(|(p, at)| marks.get(p).map_or(0, |m| (m.stable - at).max(0))).sum();
        let begin = |(p, m): (u32, Watermarks)| {
            let wanted = near.get(&p).filter(|at| behind <= NEAR && (m.low..=m.stable).contains(at));
            (p, wanted.copied().unwrap_or(m.stable))
        };
        let from: BTreeMap<u32, Offset> = marks.into_iter().map(begin).collect();
        let mut consumer = self.broker.consumer(&format!("{}-changes", self.table))?;
        let positions: Vec<_> = from.iter().map(|(p, at)| (self.partition(*p), *at)).collect();
        consumer.assign(&positions)?;
        let window = Arc::new(Window::new(from, self.most));
        *held = Arc::downgrade(&window);
        drop(held);
        let (tail, into) = (Arc::clone(self), Arc::downgrade(&window));
        tokio::task::spawn_blocking(move || tail.read(consumer, &into, &is_stopping));
        Ok(window)
    }

    fn read(&self, mut consumer: Box<dyn Consumer>, into: &Weak<Window>, is_stopping: &dyn Fn() -> bool) {
        loop {
            let mut chunk = Chunk::default();
            let polled = poll(&mut *consumer, &mut chunk);
            let Some(window) = into.upgrade() else { return };
            if !chunk.is_empty() {
                chunk.read_ms = clock::now_ms();
                window.push(chunk);
            }
            if is_stopping() {
                return window.end(Ended::Stopping);
            }
            match polled {
                Ok(()) => {}
                Err(e) if e.reaction() == Reaction::Retry => std::thread::sleep(AGAIN),
                Err(e) => {
                    tracing::warn!(table = self.table, error = %e, "the changelog can be read no further for streams of changes");
                    return window.end(Ended::Gap(e.to_string()));
                }
            }
        }
    }
}

/// Reads what there is into a chunk, until it is full.
fn poll(consumer: &mut dyn Consumer, chunk: &mut Chunk) -> Result<()> {
    let mut wait = POLL_WAIT;
    while let Some(room) = chunk.room() {
        let read = consumer.poll(room, wait, &mut |m| chunk.take(&m))?;
        if read < room {
            break;
        }
        wait = Duration::ZERO;
    }
    Ok(())
}
