//! Streams of changes and live queries: whoever applies what they say has what is there.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "changes/crashes.rs"]
mod crashes;
#[path = "changes/limits.rs"]
mod limits;
#[path = "changes/model.rs"]
mod model;
#[path = "changes/moving.rs"]
mod moving;
#[path = "changes/resuming.rs"]
mod resuming;
#[path = "changes/scene.rs"]
mod scene;
