//! The store: one RocksDB per task, all sharing one block cache, one write buffer budget and one background pool.
//!
//! Owns the files of a task and what is written in them. Does not own when: the commit protocol (`task/commit.rs`) and
//! the restore (`task/restore.rs`) decide that.
//!
//! - `INV-STORE-1`: a store never covers more than the committed changelog.
//! - `INV-STORE-2`: records, position and changelog offset of a batch become durable together, or not at all.
//! - `INV-STORE-3`: a record that is due at a time has an entry in `expiry` at that time or before it.

mod expiry;
mod held;
mod layout;
mod position;
mod shared;
mod task_store;

pub use expiry::{Due, DuePage, Settled};
pub use held::{disk_bytes, last_held, note_held};
pub use layout::{FORMAT_FILE, task_dir};
pub use position::{Accounting, EndedCount, Position, SourcePosition};
pub use shared::SharedMemory;
pub use task_store::{Store, StoreBatch};
