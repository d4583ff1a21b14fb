//! The store: one RocksDB per task, all sharing one block cache, one write buffer budget and one background pool.

mod store;

pub use store::{Accounting, Applied, Batch, Position, SharedMemory, Store, StoreMeta};
