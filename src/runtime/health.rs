//! The state of the process that health checks and status show.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use tokio_util::sync::CancellationToken;

/// The state of the process.
#[derive(Debug, Default)]
pub struct Health {
    trouble: ArcSwapOption<String>,
    schemas: ArcSwapOption<String>,
    stall: ArcSwapOption<String>,
    cold: AtomicBool,
    stopping: CancellationToken,
}

impl Health {
    /// What is wrong with the broker now, if anything.
    pub fn trouble(&self) -> Option<Arc<String>> {
        self.trouble.load_full()
    }
    /// Records or clears what is wrong with the broker.
    pub fn set_trouble(&self, trouble: Option<String>) {
        self.trouble.store(trouble.map(Arc::new));
    }
    /// What is wrong with the schema registry now, if anything.
    pub fn schema_trouble(&self) -> Option<Arc<String>> {
        self.schemas.load_full()
    }
    /// Records or clears what is wrong with the schema registry.
    pub fn set_schema_trouble(&self, trouble: Option<String>) {
        self.schemas.store(trouble.map(Arc::new));
    }
    /// Which worker makes no progress, if any: this instance is out of the group meanwhile.
    pub fn stall(&self) -> Option<Arc<String>> {
        self.stall.load_full()
    }
    /// Records or clears that a worker makes no progress.
    pub fn set_stall(&self, stall: Option<String>) {
        self.stall.store(stall.map(Arc::new));
    }
    /// Whether copies of others' tasks that this instance had before its start are not back yet: until then the next instance of a
    /// roll must not go, for nobody may be left to answer for its tasks.
    pub fn is_cold(&self) -> bool {
        self.cold.load(Ordering::Relaxed)
    }
    /// Records whether copies of before are still to come back.
    pub fn set_cold(&self, cold: bool) {
        self.cold.store(cold, Ordering::Relaxed);
    }
    /// Whether the process is shutting down.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }
    /// Comes back when the process is shutting down.
    pub async fn stopped(&self) {
        self.stopping.cancelled().await;
    }
    /// Marks the process as shutting down.
    pub fn stop(&self) {
        self.stopping.cancel();
    }
}
