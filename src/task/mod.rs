//! A task = (table, partition): the unit of ownership, state, restore and failover.
//!
//! ```text
//! opening ─▶ restoring ─▶ indexing ─▶ running ─▶ releasing
//!    │           │           │           │
//!    └───────────┴───────────┴───────────┴──▶ stopped (with the reason; needs a person)
//! ```

pub mod audit;
pub mod batch;
pub mod commit;
pub mod definition;
pub mod follow;
pub mod open;
pub mod plan;
mod records;
pub mod restore;
#[cfg(test)]
pub(crate) mod testing;
pub mod view;
pub mod watermark;

pub use open::{Opener, Task};
pub use view::{Phase, Progress, Role, TaskView};
pub use watermark::Watermark;
