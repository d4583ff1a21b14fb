//! What the index thread shares with those who use the index, and with the writer thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use arc_swap::ArcSwap;
use parking_lot::RwLock;

use super::Observer;
use super::queue::Queue;
use super::view::View;

pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) view: ArcSwap<View>,
    pub(super) observers: RwLock<Vec<Observer>>,
    pub(super) commits: AtomicU64,
    /// A merge of segments on disk may have ended since the index thread looked.
    pub(super) merged: AtomicBool,
    /// How often merged segments were shown that no commit brought.
    pub(super) merges: AtomicU64,
}

impl Shared {
    /// What there is before the thread does anything.
    pub(super) fn new(queue: Queue, view: View) -> Self {
        Self {
            queue,
            view: ArcSwap::new(Arc::new(view)),
            observers: RwLock::default(),
            commits: AtomicU64::new(0),
            merged: AtomicBool::new(false),
            merges: AtomicU64::new(0),
        }
    }
}
