//! What stands in `config/kubernetes`, `config/compose.yaml` and the `Dockerfile` is valid, fits together, and fits Keld: its
//! configuration, its command line, its paths.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "deployment/compose.rs"]
mod compose;
#[path = "deployment/image.rs"]
mod image;
#[path = "deployment/kubernetes.rs"]
mod kubernetes;
#[path = "deployment/run.rs"]
mod run;
