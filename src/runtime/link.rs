//! What the merge thread and the commit thread of a worker share beside their channel: how far is applied, and whether
//! everything not applied is void.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::watchdog::Pulse;
use crate::store::Position;

/// Shared by the two threads of a worker.
#[derive(Debug, Default)]
pub struct Link {
    applied: AtomicU64,
    epoch: AtomicU64,
    /// Positions to go back to, by partition, valid for the current epoch.
    back_to: Mutex<BTreeMap<u32, Position>>,
    moved: Condvar,
    gate: Mutex<()>,
    /// Life of the merge thread.
    pub merge: Pulse,
    /// Life of the commit thread.
    pub commit: Pulse,
}

impl Link {
    /// Everything up to this batch is in the store.
    pub fn set_applied(&self, seq: u64) {
        self.applied.store(seq, Ordering::Release);
        let _gate = self.gate.lock();
        self.moved.notify_all();
    }
    /// The last applied batch.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }
    /// Rollbacks so far.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
    /// Voids everything that is not applied; reading goes on from `positions`.
    pub fn roll_back(&self, positions: BTreeMap<u32, Position>) {
        *self.back_to.lock() = positions;
        self.epoch.fetch_add(1, Ordering::AcqRel);
        let _gate = self.gate.lock();
        self.moved.notify_all();
    }
    /// Where to go back to.
    pub fn back_to(&self) -> BTreeMap<u32, Position> {
        self.back_to.lock().clone()
    }
    /// Waits for an apply or a rollback, at most `timeout`.
    pub fn wait(&self, timeout: Duration) {
        let mut gate = self.gate.lock();
        let _ = self.moved.wait_for(&mut gate, timeout);
    }
}
