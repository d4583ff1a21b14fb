//! Who hosts what: which instances there are, which of them answer, and what tasks each of them has.
//!
//! Owns the list of instances and what they said last. Does not own the group (who *should* have a task is the group's
//! decision), nor what to do with a request: [`crate::query`] and [`crate::api`] route by what stands here.
//!
//! [`state`] decides, [`Cluster`] asks: each other instance every `cluster.heartbeat_interval`, and the group and
//! `cluster.peers` for addresses. [`Members`] is what everybody else sees: one immutable picture, taken without a lock.

pub mod client;
mod members;
pub mod placement;
mod run;
pub mod state;

pub use client::{Answer, Client};
pub use members::{Member, Members};
pub use run::{Cluster, HEARTBEAT, Identity};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::broker::Offset;
use crate::task::{Phase, Role};

/// A task as the instance that has it tells of it. Positions are of the next event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hosted {
    /// Table.
    pub table: String,
    /// Partition.
    pub partition: u32,
    /// What the instance is to it.
    pub role: Role,
    /// What its answers are: of a task that it owns but does not process yet, those of a copy.
    pub answers_as: Role,
    /// Where in its life it is.
    pub phase: Phase,
    /// Source positions by topic whose events are in the store.
    pub applied: BTreeMap<String, Offset>,
    /// Source positions by topic whose events are visible to search.
    pub visible: BTreeMap<String, Offset>,
    /// Changelog position of the store.
    pub changelog: Offset,
    /// Changelog position of the index.
    pub indexed: Offset,
    /// Unread events by topic.
    pub lag: BTreeMap<String, i64>,
    /// How old what was applied last is while unread events wait, milliseconds; 0 if none wait.
    pub lag_ms: i64,
}

/// What an instance answers to a heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Application. Instances of others are none of our business.
    pub application: String,
    /// Name of the instance.
    pub instance: String,
    /// Different at every start of it.
    pub incarnation: String,
    /// Version of Keld.
    pub version: String,
    /// Whether it is shutting down.
    pub stopping: bool,
    /// Addresses of the other instances that answer it: whoever knows one soon knows all.
    pub peers: Vec<String>,
    /// What it hosts.
    pub tasks: Vec<Hosted>,
}
