//! The HTTP face of a running instance: what it answers, what it refuses and how, and what it says about itself.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "api/derived.rs"]
mod derived;
#[path = "api/face.rs"]
mod face;
#[path = "api/forms.rs"]
mod forms;
#[path = "api/ingest.rs"]
mod ingest;
#[path = "api/operation.rs"]
mod operation;
#[path = "api/problems.rs"]
mod problems;
#[path = "api/reads.rs"]
mod reads;
