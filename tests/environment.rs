//! The environment at its worst: disks, ports, topics, definitions, signals, and a Kafka that is away. A clear last line
//! each, and nothing lost.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

#[path = "environment/changelog.rs"]
mod changelog;
mod common;
#[path = "environment/disk.rs"]
mod disk;
#[path = "environment/edges.rs"]
mod edges;
#[path = "environment/outage.rs"]
mod outage;
#[path = "environment/proxy.rs"]
mod proxy;
#[path = "environment/refused.rs"]
mod refused;
#[path = "environment/setting.rs"]
mod setting;
#[path = "environment/signals.rs"]
mod signals;
#[path = "environment/wire.rs"]
mod wire;
