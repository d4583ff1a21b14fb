//! Several instances over one Kafka: they share the tasks of a table, and lose nothing while they are started, stopped, killed
//! and stalled. Afterwards every key must be what it would have been with one instance, and every event must have had its
//! effect once.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests panic, and say what they did"
)]

#[path = "cluster/brokers.rs"]
mod brokers;
#[path = "cluster/failover.rs"]
mod failover;
#[path = "cluster/faults.rs"]
mod faults;
#[path = "cluster/fleet.rs"]
mod fleet;
#[path = "cluster/kills.rs"]
mod kills;
#[path = "cluster/moves.rs"]
mod moves;
#[path = "cluster/outage.rs"]
mod outage;
#[path = "cluster/readers.rs"]
mod readers;
#[path = "cluster/retention.rs"]
mod retention;
#[path = "cluster/rolling.rs"]
mod rolling;
#[path = "cluster/stalls.rs"]
mod stalls;
#[path = "cluster/standbys.rs"]
mod standbys;
#[path = "cluster/verify.rs"]
mod verify;

mod common;
