//! The thread that follows the changelogs of a table's standbys, all with one consumer.
//!
//! Owns the stores of its standbys as their only writer, until it is told to let one go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError};

use crate::broker::{Consumer, TopicPartition};
use crate::task::follow::{Read, Standby, stop};
use crate::task::{Opener, Phase};
use crate::{Error, Reaction, Result};

/// Records taken at a time.
const POLL_MAX: usize = 4_000;
/// How long it waits for records or orders.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// How often the lag is published.
const LAG_EVERY: Duration = Duration::from_millis(250);
/// Pause after an error of a broker that is away.
const AGAIN: Duration = Duration::from_millis(500);

/// An order to a follower.
#[derive(Debug)]
pub enum Follow {
    /// A standby to keep.
    Add(Box<Standby>),
    /// Let go of a partition, and say when it is done.
    Release(u32, Sender<()>),
}

/// The state of the thread.
pub struct Follower {
    opener: Opener,
    changelog: Arc<str>,
    orders: Receiver<Follow>,
    /// Made when there is something to follow.
    consumer: Option<Box<dyn Consumer>>,
    standbys: BTreeMap<u32, Standby>,
    lag_at: Instant,
}

impl Follower {
    /// A follower of nothing yet.
    pub fn new(opener: Opener, orders: Receiver<Follow>) -> Self {
        let changelog = opener.settings.changelog_topic(&opener.table.def.name).into();
        Self { opener, changelog, orders, consumer: None, standbys: BTreeMap::new(), lag_at: Instant::now() }
    }

    /// Runs until nobody can give orders any more; an error ends the process.
    pub fn run(mut self) -> Result<()> {
        while self.obey()? {
            let Some(consumer) = &mut self.consumer else { continue };
            let mut read: BTreeMap<u32, Read> = BTreeMap::new();
            let polled = consumer.poll(POLL_MAX, POLL_WAIT, &mut |m| read.entry(m.partition).or_default().take(&m));
            let catching_up = matches!(polled, Ok(n) if n >= POLL_MAX);
            for (partition, read) in read {
                if let Some(standby) = self.standbys.get_mut(&partition) {
                    self.opener.apply_to_standby(standby, read, catching_up)?;
                }
            }
            if let Err(e) = polled {
                self.after_error(&e)?;
            }
            self.publish_lag();
        }
        self.standbys.values().try_for_each(|standby| standby.store.sync())
    }

    /// Carries out the orders that wait; false when there will be no more.
    fn obey(&mut self) -> Result<bool> {
        loop {
            let order = if self.standbys.is_empty() {
                match self.orders.recv() {
                    Ok(order) => order,
                    Err(_) => return Ok(false),
                }
            } else {
                match self.orders.try_recv() {
                    Ok(order) => order,
                    Err(TryRecvError::Empty) => return Ok(true),
                    Err(TryRecvError::Disconnected) => return Ok(false),
                }
            };
            match order {
                Follow::Add(standby) => {
                    standby.view.set_phase(Phase::Running);
                    self.standbys.insert(standby.view.partition, *standby);
                }
                Follow::Release(partition, done) => {
                    if let Some(standby) = self.standbys.remove(&partition) {
                        standby.store.sync()?;
                    }
                    // The receiver may have given up waiting.
                    let _ = done.send(());
                }
            }
            self.assign()?;
        }
    }

    fn assign(&mut self) -> Result<()> {
        if self.consumer.is_none() && !self.standbys.is_empty() {
            self.consumer = Some(self.opener.broker.consumer(&format!("{}-standby", self.opener.table.def.name))?);
        }
        let at = |(partition, standby): (&u32, &Standby)| {
            (TopicPartition::new(self.changelog.clone(), *partition), standby.next)
        };
        let positions: Vec<_> = self.standbys.iter().map(at).collect();
        self.consumer.as_mut().map_or(Ok(()), |consumer| consumer.assign(&positions))
    }

    /// The broker is away, or a changelog is not what it was: then the standbys that do not fit it any more have stopped. One that
    /// cannot be asked for, as happens while brokers restart, is tried again.
    fn after_error(&mut self, e: &Error) -> Result<()> {
        if e.reaction() != Reaction::Retry {
            let broken = |(partition, standby): (&u32, &Standby)| {
                let tp = TopicPartition::new(self.changelog.clone(), *partition);
                let log = self.opener.broker.watermarks(&tp).ok();
                log.is_some_and(|log| standby.next < log.low || standby.next > log.high).then_some(*partition)
            };
            for partition in self.standbys.iter().filter_map(broken).collect::<Vec<_>>() {
                if let Some(standby) = self.standbys.remove(&partition) {
                    stop(&standby.view, e);
                }
            }
            std::thread::sleep(AGAIN);
            return self.assign();
        }
        std::thread::sleep(AGAIN);
        Ok(())
    }

    /// Of a standby, what is unread of its changelog.
    fn publish_lag(&mut self) {
        if self.lag_at.elapsed() < LAG_EVERY {
            return;
        }
        self.lag_at = Instant::now();
        let Some(consumer) = &self.consumer else { return };
        for (partition, standby) in &self.standbys {
            let tp = TopicPartition::new(self.changelog.clone(), *partition);
            if let Some(lag) = consumer.lag(&tp) {
                standby.view.set_lag(BTreeMap::from([(self.changelog.clone(), lag)]));
            }
        }
    }
}
