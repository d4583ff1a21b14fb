//! Who hosts what: `GET /v1/cluster` for people, and the heartbeats by which instances know of each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::context::Context;
use super::freshness::lag_ms;
use super::openapi::Problems;
use super::params::Params;
use super::position::{last_events, role_word};
use super::problem::Problem;
use super::status::PhaseStatus;
use crate::broker::Offset;
use crate::cluster::{Heartbeat, Hosted, Member};
use crate::query::Table;
use crate::task::{Phase, Role, TaskView};

/// All instances of the application, as this one knows them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClusterStatus {
    /// Application.
    application: String,
    /// Name of the instance that answers.
    #[schema(example = "keld-0")]
    served_by: String,
    /// Instances by name: this one as of now, others as of their last heartbeat.
    instances: BTreeMap<String, InstanceStatus>,
    /// Tables by name.
    tables: BTreeMap<String, TablePlacement>,
}

/// An instance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InstanceStatus {
    /// Its address.
    #[schema(example = "http://keld-0.internal:7070")]
    url: String,
    /// Whether it answers heartbeats.
    alive: bool,
    /// Heartbeats in a row that it did not answer.
    missed_heartbeats: u32,
    /// Why it did not answer the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// Version of Keld.
    version: String,
    /// Whether it is shutting down.
    stopping: bool,
    /// Its tasks.
    tasks: Vec<HostedTask>,
}

/// A task on an instance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HostedTask {
    /// Table.
    table: String,
    /// Partition.
    partition: u32,
    /// `active` or `standby`.
    role: &'static str,
    /// Where in its life it is.
    phase: PhaseStatus,
    /// Last event in the store, by topic, as `at_least` takes it.
    applied: BTreeMap<String, String>,
    /// Last event visible to search, by topic, as `at_least` takes it.
    visible: BTreeMap<String, String>,
    /// Changelog position of the store.
    changelog: i64,
    /// Changelog position of the index.
    indexed: i64,
    /// Unread events.
    lag: i64,
    /// How old what was applied last is while unread events wait, milliseconds; 0 if none wait.
    lag_ms: i64,
}

/// Where the partitions of a table are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TablePlacement {
    /// Partitions of the table.
    partitions: u32,
    /// Partitions that no living instance works on.
    pub(super) missing_partitions: Vec<u32>,
    /// Partitions of which no living instance has a standby.
    pub(super) without_standby: Vec<u32>,
}

#[cfg(test)]
impl TablePlacement {
    /// With these partitions at fault.
    pub(super) fn new(partitions: u32, missing_partitions: Vec<u32>, without_standby: Vec<u32>) -> Self {
        Self { partitions, missing_partitions, without_standby }
    }
}

/// Shows all instances
///
/// that this one knows, with their tasks, positions and lag.
#[utoipa::path(get, path = "/v1/cluster", tag = "operation", responses((status = 200, body = ClusterStatus), Problems))]
pub(crate) async fn cluster(State(ctx): State<Context>, params: Params) -> Result<Json<ClusterStatus>, Problem> {
    params.finish()?;
    let state = &ctx.state;
    let own = heartbeat_of(state);
    let members = state.cluster.members();
    let tables = placements(state);
    let mut instances: BTreeMap<String, InstanceStatus> =
        members.others().iter().map(|m| (m.said.instance.clone(), InstanceStatus::of(m))).collect();
    let this = Member {
        url: state.cluster.identity().url.as_str().into(),
        alive: true,
        missed: 0,
        trouble: None,
        said: Arc::new(own),
    };
    instances.insert(ctx.instance().to_owned(), InstanceStatus::of(&this));
    Ok(Json(ClusterStatus {
        application: state.settings.application.clone(),
        served_by: ctx.instance().to_owned(),
        instances,
        tables,
    }))
}

/// Where the partitions of each table are, as far as this instance knows.
pub(super) fn placements(state: &ApiState) -> BTreeMap<String, TablePlacement> {
    let own = heartbeat_of(state);
    let members = state.cluster.members();
    let known = members.others().iter().filter(|m| m.alive).map(|m| &*m.said).chain([&own]);
    let placed: Vec<&Hosted> = known.flat_map(|said| &said.tasks).collect();
    state.tables.iter().map(|(name, table)| (name.clone(), placement(table, &placed))).collect()
}

fn placement(table: &Table, placed: &[&Hosted]) -> TablePlacement {
    let of = |role: Role| -> BTreeSet<u32> {
        placed.iter().filter(|t| t.table == table.def.name && t.role == role).map(|t| t.partition).collect()
    };
    let without = |here: &BTreeSet<u32>| (0..table.partitions).filter(|p| !here.contains(p)).collect();
    TablePlacement {
        partitions: table.partitions,
        missing_partitions: without(&of(Role::Active)),
        without_standby: without(&of(Role::Standby)),
    }
}

impl InstanceStatus {
    fn of(member: &Member) -> Self {
        Self {
            url: member.url.to_string(),
            alive: member.alive,
            missed_heartbeats: member.missed,
            trouble: member.trouble.as_ref().map(ToString::to_string),
            version: member.said.version.clone(),
            stopping: member.said.stopping,
            tasks: member.said.tasks.iter().map(HostedTask::of).collect(),
        }
    }
}

impl HostedTask {
    fn of(task: &Hosted) -> Self {
        let events = |positions: &BTreeMap<String, Offset>| {
            last_events(task.partition, &positions.iter().map(|(t, o)| (t.as_str().into(), *o)).collect())
        };
        Self {
            table: task.table.clone(),
            partition: task.partition,
            role: role_word(task.role),
            phase: PhaseStatus::of(&task.phase),
            applied: events(&task.applied),
            visible: events(&task.visible),
            changelog: task.changelog,
            indexed: task.indexed,
            lag: task.lag.values().sum(),
            lag_ms: task.lag_ms,
        }
    }
}

/// Answers a heartbeat of another instance. Not described to clients: it is between instances.
pub(crate) async fn heartbeat(State(ctx): State<Context>) -> Json<Heartbeat> {
    Json(heartbeat_of(&ctx.state))
}

fn heartbeat_of(state: &ApiState) -> Heartbeat {
    let identity = state.cluster.identity();
    let now_ms = crate::clock::now_ms();
    let tasks = state.tables.values().flat_map(|t| t.tasks().values().map(|v| hosted(v, now_ms)).collect::<Vec<_>>());
    Heartbeat {
        application: identity.application.clone(),
        instance: identity.instance.clone(),
        incarnation: identity.incarnation.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        stopping: state.health.is_stopping(),
        peers: state.cluster.alive(),
        tasks: tasks.collect(),
    }
}

fn hosted(view: &TaskView, now_ms: i64) -> Hosted {
    let plain = |positions: &BTreeMap<Arc<str>, Offset>| -> BTreeMap<String, Offset> {
        positions.iter().map(|(topic, at)| (topic.to_string(), *at)).collect()
    };
    // Without a store there is nothing to read, whatever the phase.
    let phase = view.phase();
    let phase = if view.store().is_none() && *phase == Phase::Running { Phase::Opening } else { Phase::clone(&phase) };
    let (applied, visible, changelog, indexed) =
        view.look(|p| (plain(&p.applied), plain(&p.visible), p.changelog, p.indexed));
    Hosted {
        table: view.table.to_string(),
        partition: view.partition,
        role: view.role,
        answers_as: view.answers_as(),
        phase,
        applied,
        visible,
        changelog,
        indexed,
        lag: plain(&view.lag()),
        lag_ms: lag_ms(view, now_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_says_of_a_task_what_its_status_says() {
        let view = TaskView::new("t".into(), 2, Role::Standby);
        view.set_phase(Phase::Restoring { at: 1, end: 4, rate: 2.0 });
        view.advance(|p| {
            p.applied = BTreeMap::from([("a".into(), 5)]);
            p.changelog = 9;
            p.last_event_ms = 1_000;
        });
        view.set_lag(BTreeMap::from([("a".into(), 2)]));
        let said = hosted(&view, 1_750);
        assert_eq!(serde_json::from_slice::<Hosted>(&serde_json::to_vec(&said).unwrap()).unwrap(), said);
        let shown = serde_json::to_value(HostedTask::of(&said)).unwrap();
        assert_eq!((&shown["role"], &shown["lag"], &shown["lag_ms"]), (&"standby".into(), &2.into(), &750.into()));
        assert_eq!((&shown["applied"]["a"], &shown["changelog"]), (&"a:2:4".into(), &9.into()));
        assert_eq!((&shown["phase"]["name"], &shown["phase"]["percent"]), (&"restoring".into(), &25.0.into()));
    }

    #[test]
    fn a_task_without_a_store_is_not_told_as_running() {
        let view = TaskView::new("t".into(), 2, Role::Active);
        view.set_phase(Phase::Running);
        assert_eq!(hosted(&view, 0).phase, Phase::Opening);
    }
}
