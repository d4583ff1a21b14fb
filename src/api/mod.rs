//! The HTTP interface: routes, requests and answers, errors as problem+json.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::{Appender, Broker};
use crate::config::{MemoryPlan, Settings};
use crate::metrics::Metrics;
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
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// State of the process.
    pub health: Arc<Health>,
}

/// Every route of the instance.
pub fn router(_state: ApiState) -> axum::Router {
    todo!()
}
