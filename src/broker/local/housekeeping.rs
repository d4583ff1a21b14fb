//! The background thread of the local broker: retention and cleaning, one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;

use super::cleaner;
use super::log::Request;
use super::shared::Shared;
use super::topics::Partition;
use crate::Result;

/// What runs in the background, and on demand.
#[derive(Debug)]
pub(super) struct Housekeeping {
    pub(super) shared: Arc<Shared>,
    /// One cleaning at a time: two would remove by different maps.
    cleaning: Mutex<()>,
}

impl Housekeeping {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, cleaning: Mutex::new(()) }
    }

    /// Works every interval until the other end of `stop` is dropped. Trouble is reported and tried again: a write
    /// that failed has stopped the log anyway.
    pub(super) fn run(&self, stop: &Receiver<()>) {
        let interval = self.shared.options.housekeeping_interval;
        while stop.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            if let Err(error) = self.retain() {
                tracing::warn!(%error, "retention of the local broker failed");
            }
            for partition in self.shared.topics.partitions().iter().filter(|p| cleaner::is_due(p)) {
                if let Err(error) = self.clean(partition) {
                    tracing::warn!(%error, %partition, "cleaning failed");
                }
            }
        }
    }

    /// Drops expired segments; returns how many records went.
    pub(super) fn retain(&self) -> Result<u64> {
        let records = self.shared.ask(Request::Retain)?;
        if records > 0 {
            tracing::debug!(records, "retention dropped records");
            self.drop_files()?;
        }
        Ok(records)
    }

    /// Cleans one partition; returns how many records went.
    pub(super) fn clean(&self, partition: &Arc<Partition>) -> Result<u64> {
        let _one = self.cleaning.lock();
        if self.shared.closing.load(Ordering::Relaxed) { Ok(0) } else { cleaner::clean(&self.shared, partition) }
    }

    /// Gives back files that lie wholly below the start of a log. The last key is included, so it is the one before
    /// the start.
    fn drop_files(&self) -> Result<()> {
        let db = &self.shared.db;
        for p in self.shared.topics.partitions() {
            let low = p.low();
            if low > 0 && !p.compacted {
                db.raw
                    .delete_file_in_range_cf(db.log()?, p.key(0), p.key(low - 1))
                    .map_err(|e| db.error("drop expired files of", e))?;
            }
        }
        Ok(())
    }
}
