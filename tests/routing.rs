//! Several instances on Kafka: who knows whom, and any of them answers any request.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "routing/discovery.rs"]
mod discovery;
#[path = "routing/es.rs"]
mod es;
#[path = "routing/failover.rs"]
mod failover;
#[path = "routing/keys.rs"]
mod keys;
#[path = "routing/scene.rs"]
mod scene;
#[path = "routing/search.rs"]
mod search;
