//! Keld: a stateful stream processor.
//!
//! Many services emit overlapping updates, retries, corrections and partial state about the same things. Keld merges
//! those events into **one coherent current record per key**, keeps a local full-text index of the records, and answers
//! lookups and searches over HTTP.
//!
//! # The life of an event
//! 1. A producer appends it to a partition of a source topic ([`broker`]).
//! 2. A worker's merge thread polls it ([`runtime`]).
//! 3. It is decoded into an event of its table: key, version, field values ([`record::decode`]).
//! 4. What cannot be decoded, typed or placed is set aside for the quarantine topic, never dropped ([`quarantine`]).
//! 5. The current record of its key is looked up: overlay, cache, store ([`task`], [`store`]).
//! 6. The event is merged into it by a pure function ([`mod@record::merge`]).
//! 7. The changed record joins the batch; the overlay shows it to the events that follow.
//! 8. The commit thread writes changelog records, quarantine entries and a position record in one transaction.
//! 9. Source offsets go into the same transaction, which is then committed: from here the batch is true.
//! 10. One write batch per task brings it into the local store.
//! 11. The index thread turns changed records into documents and commits them softly ([`index`]).
//! 12. The applied and visible positions are published; readers that wait for them wake ([`query`], [`api`]).
//!
//! `ARCHITECTURE.md` in the repository says what each part owns and why it is so.

pub mod api;
pub mod app;
pub mod broker;
pub mod changes;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod console;
pub mod error;
pub mod fault;
pub mod index;
pub mod metrics;
pub mod priority;
pub mod quarantine;
pub mod query;
pub mod record;
pub mod registry;
mod rocks;
pub mod runtime;
pub mod store;
pub mod task;
pub mod telemetry;
mod touch;

pub use error::{Error, Kind, Reaction, Result};
