//! Workers, assignment and supervision.
//!
//! A worker is a pipeline of two threads over some tasks of one table: [`merger`] runs ahead, [`committer`] makes it true.
//! They share nothing but a bounded channel and a [`link`]. The [`supervisor`] turns group membership into orders.

pub mod agenda;
pub mod committer;
pub mod control;
pub mod follower;
pub mod grouping;
pub mod health;
pub mod inbox;
pub mod link;
pub mod merger;
mod opening;
pub mod overlay;
pub mod pace;
pub mod repartition;
mod retention;
mod standbys;
pub mod supervisor;
pub mod waiting;
pub mod watchdog;
pub mod worker;

pub use health::Health;
pub use merger::BrokerTime;
