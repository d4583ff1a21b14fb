//! The HTTP interface: routes, requests and answers, errors as problem+json.
//!
//! Owns parameters, freshness, limits and the shape of answers. Does not own what a search finds ([`crate::query`]) or
//! what a record looks like ([`crate::record::render`]).

mod analysis;
#[expect(unused_qualifications, reason = "utoipa's macros qualify the parameters they are given")]
mod changes;
mod cluster;
mod context;
mod es;
mod explain;
mod freshness;
#[expect(unused_qualifications, reason = "utoipa's macros qualify the parameters they are given")]
mod ingest;
mod layers;
mod message_headers;
mod negotiate;
mod openapi;
mod operation;
mod params;
mod peer;
mod pool;
mod position;
mod problem;
#[expect(unused_qualifications, reason = "utoipa's macros qualify the parameters they are given")]
mod quarantine;
#[expect(unused_qualifications, reason = "utoipa's macros qualify the parameters they are given")]
mod records;
#[expect(unused_qualifications, reason = "utoipa's macros qualify the parameters they are given")]
mod scan;
mod scatter;
#[expect(unused_qualifications, reason = "utoipa's macros qualify the parameters they are given")]
mod search;
mod status;
mod tables;
mod words;

#[cfg(test)]
mod router_tests;
#[cfg(test)]
mod testing;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use pool::http_threads;

use crate::broker::{Appender, Broker};
use crate::cluster::Cluster;
use crate::config::{MemoryPlan, Settings};
use crate::metrics::Metrics;
use crate::quarantine::Replayer;
use crate::query::Table;
use crate::runtime::Health;

/// What the handlers work with.
#[derive(Clone)]
pub struct ApiState {
    /// Configuration.
    pub settings: Arc<Settings>,
    /// Shares of the memory budget.
    pub memory: Arc<MemoryPlan>,
    /// Tables by name.
    pub tables: Arc<BTreeMap<String, Arc<Table>>>,
    /// Broker.
    pub broker: Arc<dyn Broker>,
    /// Appends clients' events.
    pub appender: Arc<dyn Appender>,
    /// Finds and replays quarantined events.
    pub replayer: Arc<Replayer>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// The other instances.
    pub cluster: Arc<Cluster>,
    /// State of the process.
    pub health: Arc<Health>,
}

/// Every route of the instance. Built once; uptime counts from here.
pub fn router(state: ApiState) -> axum::Router {
    let settings = Arc::clone(&state.settings);
    let (routes, description) = openapi::routes();
    // Serialising a description that was built from types cannot fail.
    let mut description = serde_json::to_value(description).unwrap_or_default();
    es::describe(&mut description);
    let context = context::Context::new(state, description);
    let routes = routes
        .merge(crate::console::routes())
        .merge(es::routes())
        .method_not_allowed_fallback(es::wrong_method)
        .fallback(es::no_such_route)
        .with_state(context);
    layers::wrap(routes, &settings.api)
}
