//! Reads one partition to its end.
//!
//! The end is where the last stable offset was at some moment, and the reader must have passed it. Positions alone do
//! not tell: behind the last record there may be control records and aborted ones, which nobody sees. librdkafka tells
//! an end of its own (`PARTITION_EOF`: a fetch found its position at the last stable offset). It proves what we need if
//! that fetch came after we asked: so first ask for the last stable offset, then fetch anew, then wait for the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;

use super::consumer::{lend, outside, positions, reassign, trouble};
use super::errors::{code_of, error};
use super::watch::{Listener, Watch};
use super::{PATIENCE, Shared, settings};
use crate::broker::{LogReader, Message, Offset, Progress, TopicPartition};
use crate::{Error, Result};

/// A reader of one partition.
pub(super) struct KafkaReader {
    shared: Arc<Shared>,
    client: BaseConsumer<Listener>,
    watch: Arc<Watch>,
    tp: TopicPartition,
    /// Offset after the last record handed out, or where reading began.
    next: Offset,
    /// Everything committed below this was handed out.
    passed: Offset,
    state: State,
    /// An error that came after records of the same read; told by the next one.
    pending: Option<Error>,
}

/// What the next end that librdkafka tells will mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Reading on; an end would be no proof.
    Following,
    /// Reading on after the stable offset was asked for: an end proves that it was passed.
    Proving(Offset),
    /// Probably at the end: nothing came before, or librdkafka said so.
    Doubting,
    /// At the end up to `passed`, which the caller does not know yet.
    Proven,
}

impl KafkaReader {
    pub(super) fn new(shared: Arc<Shared>, tp: &TopicPartition, from: Offset) -> Result<Self> {
        let marks = shared.admin.watermarks(tp)?;
        if from < marks.low || from > marks.high {
            return Err(outside(tp, from, marks.low, marks.high));
        }
        // Of the tasks of one table four are opened at a time.
        let bytes = (shared.options.consumer_bytes / 4).min(16 << 20);
        let watch = shared.watches.open(format!("reader of {tp}"));
        let client = settings::data(&shared.options, bytes, false, true)
            .create_with_context(Listener(Arc::clone(&watch)))
            .map_err(|e| error(format!("making a reader of {tp}"), e))?;
        let mut reader = Self {
            shared,
            client,
            watch,
            tp: tp.clone(),
            next: from,
            passed: from.min(marks.stable),
            state: State::Following,
            pending: None,
        };
        reader.prove(marks.stable)?;
        if reader.state == State::Proven {
            // Nothing to prove, yet what comes later must be fetched.
            reader.fetch_anew()?;
        }
        Ok(reader)
    }

    /// Given that `stable` was asked for just now: knows that it is at its end, or sets out to prove it.
    fn prove(&mut self, stable: Offset) -> Result<()> {
        if stable <= self.passed.max(self.next) {
            self.passed = self.passed.max(stable);
            self.state = State::Proven;
        } else {
            self.fetch_anew()?;
            self.state = State::Proving(stable);
        }
        Ok(())
    }

    /// Drops what was fetched, and makes librdkafka tell its end again.
    fn fetch_anew(&self) -> Result<()> {
        let at = positions(&[(self.tp.clone(), self.next)])?;
        reassign(&self.client, &at).map_err(|e| error(format!("reading {}", self.tp), e))
    }

    /// Takes note of an end that librdkafka tells.
    fn at_end(&mut self) {
        self.state = match self.state {
            State::Proving(stable) => {
                self.passed = self.passed.max(stable);
                State::Proven
            }
            State::Proven => State::Proven,
            State::Following | State::Doubting => State::Doubting,
        };
    }

    fn judge(&self, cause: KafkaError) -> Option<Error> {
        if !matches!(code_of(&cause), Some(Code::AutoOffsetReset | Code::OffsetOutOfRange)) {
            return trouble(&self.shared.options.bootstrap, &self.watch, cause);
        }
        Some(match self.shared.admin.watermarks(&self.tp) {
            Ok(marks) => outside(&self.tp, self.next, marks.low, marks.high).because(cause),
            Err(e) => e.within("an offset is out of range"),
        })
    }

    /// Nothing came: what that means, and whether the caller has waited long enough.
    fn nothing_came(&mut self, waited: bool) -> Result<Option<Progress>> {
        match self.state {
            State::Proven => {
                self.state = State::Following;
                return Ok(Some(Progress::End { to: self.passed }));
            }
            State::Doubting => {
                let stable = self.shared.admin.stable(&self.tp, PATIENCE)?;
                self.prove(stable)?;
            }
            State::Following if waited => self.state = State::Doubting,
            State::Proving(_) if waited => return Ok(Some(Progress::Records(0))),
            State::Following | State::Proving(_) => {}
        }
        Ok(None)
    }
}

impl LogReader for KafkaReader {
    fn read(&mut self, max: usize, timeout: Duration, sink: &mut dyn FnMut(Message<'_>)) -> Result<Progress> {
        if let Some(e) = self.pending.take() {
            return Err(e);
        }
        let deadline = Instant::now() + timeout;
        let mut given = 0;
        while given < max {
            let patient = given == 0 && matches!(self.state, State::Following | State::Proving(_));
            let wait = if patient { deadline.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            match self.client.poll(wait) {
                Some(Ok(message)) => {
                    self.next = message.offset() + 1;
                    given += 1;
                    sink(lend(&message, &self.tp.topic, self.tp.partition));
                    if matches!(self.state, State::Doubting | State::Proven) {
                        self.state = State::Following;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => self.at_end(),
                Some(Err(cause)) => match self.judge(cause) {
                    Some(e) if given == 0 => return Err(e),
                    e => self.pending = e,
                },
                None if given > 0 => break,
                None => {
                    if let Some(progress) = self.nothing_came(wait.is_zero())? {
                        return Ok(progress);
                    }
                }
            }
            if self.pending.is_some() || given > 0 && self.state == State::Proven {
                break;
            }
        }
        Ok(Progress::Records(given))
    }
}
