//! Consumers: assigned partitions, read in turn; and the reader of one partition to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::read::{Cursor, POLL_BYTES, Slot};
use super::shared::Shared;
use crate::Result;
use crate::broker::{Consumer, LogReader, Message, Offset, Progress, TopicPartition};

/// A consumer of assigned partitions.
pub(super) struct LocalConsumer {
    shared: Arc<Shared>,
    slots: Vec<Slot>,
    /// Slot to begin the next poll with, so that a busy partition does not keep the others waiting.
    turn: usize,
}

impl LocalConsumer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, slots: Vec::new(), turn: 0 }
    }

    /// One round over all slots with news, and further ones while there is room and something left.
    fn fetch(&mut self, max: usize, sink: &mut dyn FnMut(Message<'_>)) -> Result<usize> {
        if !self.slots.iter().any(Slot::has_news) {
            return Ok(0);
        }
        let ends = || self.slots.iter().map(|s| s.partition.high()).collect::<Vec<_>>();
        let (mut cursor, ends) = Cursor::open(&self.shared, &self.slots, ends)?;
        let (mut given, mut bytes) = (0, POLL_BYTES);
        while given < max && bytes > 0 {
            let ready = self.slots.iter().filter(|s| s.has_news()).count().max(1);
            let share = (max - given).div_ceil(ready);
            let before = given;
            for i in 0..self.slots.len() {
                let at = (self.turn + i) % self.slots.len();
                let (Some(slot), Some(&end)) = (self.slots.get_mut(at), ends.get(at)) else { continue };
                let room = share.min(max - given);
                if room > 0 && bytes > 0 && (slot.position != end || slot.has_news()) {
                    given += match cursor.hand_out(slot, end, room, &mut bytes, sink) {
                        Err(_) if given > 0 => return Ok(given), // it comes again at the next poll
                        other => other?,
                    };
                }
            }
            self.turn = (self.turn + 1) % self.slots.len();
            if given == before {
                break;
            }
        }
        Ok(given)
    }
}

impl Consumer for LocalConsumer {
    fn assign(&mut self, positions: &[(TopicPartition, Offset)]) -> Result<()> {
        let slot = |(tp, at): &(TopicPartition, Offset)| {
            Slot::new(self.shared.topics.partition(&tp.topic, tp.partition)?, *at)
        };
        self.slots = positions.iter().map(slot).collect::<Result<_>>()?;
        self.turn = 0;
        Ok(())
    }

    fn poll(&mut self, max: usize, timeout: Duration, sink: &mut dyn FnMut(Message<'_>)) -> Result<usize> {
        let deadline = Instant::now() + timeout;
        loop {
            let seen = self.shared.appended.count();
            let given = self.fetch(max, sink)?;
            if given > 0 || max == 0 || !self.shared.appended.wait(seen, deadline) {
                return Ok(given);
            }
        }
    }

    fn lag(&self, tp: &TopicPartition) -> Option<i64> {
        let slot = self.slots.iter().find(|s| s.partition.index == tp.partition && s.partition.topic == tp.topic)?;
        Some(slot.lag())
    }
}

/// A reader of one partition.
pub(super) struct LocalReader {
    shared: Arc<Shared>,
    slot: Slot,
    /// The end that was told last; at the same end again, `read` waits for more.
    told: Option<Offset>,
}

impl LocalReader {
    pub(super) fn new(shared: Arc<Shared>, slot: Slot) -> Self {
        Self { shared, slot, told: None }
    }
}

impl LogReader for LocalReader {
    fn read(&mut self, max: usize, timeout: Duration, sink: &mut dyn FnMut(Message<'_>)) -> Result<Progress> {
        let deadline = Instant::now() + timeout;
        loop {
            let seen = self.shared.appended.count();
            if !self.slot.has_news() && self.told == Some(self.slot.position) {
                if self.shared.appended.wait(seen, deadline) {
                    continue;
                }
                return Ok(Progress::End { to: self.slot.position });
            }
            let high = || self.slot.partition.high();
            let (mut cursor, high) = Cursor::open(&self.shared, std::slice::from_ref(&self.slot), high)?;
            let mut room = POLL_BYTES;
            let given = cursor.hand_out(&mut self.slot, high, max, &mut room, sink)?;
            if self.slot.position < high {
                return Ok(Progress::Records(given));
            }
            self.told = Some(high);
            return Ok(Progress::End { to: high });
        }
    }
}
