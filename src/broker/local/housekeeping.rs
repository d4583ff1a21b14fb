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

#[cfg(test)]
mod tests {
    use super::super::{LocalBroker, LocalOptions};
    use crate::broker::{Broker, NewRecord, Progress, TopicPartition, TopicSpec};

    #[test]
    fn a_file_that_ends_with_the_first_record_of_the_log_stays() {
        let dir = tempfile::tempdir().unwrap();
        let broker = LocalBroker::open(dir.path(), LocalOptions::default()).unwrap();
        let settings = [("segment.bytes", "1"), ("retention.bytes", "1")];
        let spec = TopicSpec {
            name: "t".into(),
            partitions: 1,
            replication: 1,
            compacted: false,
            settings: settings.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        };
        broker.create_topic(&spec).unwrap();
        let append = |n: usize| {
            let record = NewRecord { topic: "t".into(), ..NewRecord::default() };
            broker.appender().unwrap().append(vec![record; n]).unwrap();
        };
        let live_files =
            || broker.shared.db.raw.live_files().unwrap().iter().filter(|f| f.column_family_name == "log").count();
        append(6);
        // One file below level 0 with the records 0 to 5.
        let (db, log) = (&broker.shared.db.raw, broker.shared.db.log().unwrap());
        db.compact_range_cf(log, None::<&[u8]>, None::<&[u8]>);
        assert_eq!(live_files(), 1);
        assert_eq!(broker.run_retention_now().unwrap(), 5);
        let mut offsets = Vec::new();
        let mut reader = broker.reader(&TopicPartition::new("t", 0), 5).unwrap();
        let progress = reader.read(9, Default::default(), &mut |m| offsets.push(m.offset)).unwrap();
        assert_eq!((progress, offsets), (Progress::End { to: 6 }, vec![5]));
        // Once nothing of it is needed it goes, without waiting for a compaction.
        append(1);
        assert_eq!(broker.run_retention_now().unwrap(), 1);
        assert_eq!(live_files(), 0);
    }
}
