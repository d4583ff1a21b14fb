//! A task = (table, partition): the unit of ownership, state, restore and failover.

pub mod view;

pub use view::{Phase, Progress, Role, TaskView};
