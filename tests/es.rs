//! The Elasticsearch subset: what its queries find is what naive evaluation over the expected records finds, and real clients get
//! what they expect.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "es/clients.rs"]
mod clients;
mod common;
#[path = "es/face.rs"]
mod face;
#[path = "queries/generate.rs"]
mod generate;
#[path = "es/grafana.rs"]
mod grafana;
#[path = "queries/naive.rs"]
mod naive;
#[path = "es/queries.rs"]
mod queries;
