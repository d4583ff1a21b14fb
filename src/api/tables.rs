//! `GET /v1/tables` and `GET /v1/tables/{table}`: what there is to read, and how it is defined.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::analysis::AnalysisDto;
use super::context::{At, Context};
use super::openapi::Problems;
use super::params::Params;
use super::problem::Problem;
use crate::query::Table;
use crate::record::{
    Absent, Derived, Dynamic, FieldDef, FieldType, KeyFrom, Partitioner, SourceDef, Strategy, TableDef, Value,
};

/// All tables.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TableList {
    /// Instance that answered.
    served_by: String,
    /// Tables by name.
    tables: Vec<TableSummary>,
}

/// A table in short.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TableSummary {
    /// Name.
    #[schema(example = "products")]
    name: String,
    /// Names of the fields: the declared ones, then the derived ones.
    fields: Vec<String>,
    /// Topics that are read.
    topics: Vec<String>,
    #[serde(flatten)]
    size: TableSize,
}

/// How much of a table is on this instance.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct TableSize {
    /// Partitions of the table.
    partitions: u32,
    /// Partitions that are on this instance.
    partitions_here: Vec<u32>,
    /// Records on this instance, approximately; tombstones may be counted.
    records: u64,
    /// Bytes of their stores on disk.
    store_bytes: u64,
}

/// The definition of a table, and how much of it is here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TableDetail {
    /// Instance that answered.
    served_by: String,
    /// Name.
    name: String,
    /// Path of the key in events, or `@key` for the message key.
    key: String,
    /// What happens to members that no field declares: `store`, `index`, `ignore` or `reject`.
    dynamic: &'static str,
    /// How producers choose the partition of a key: `murmur2`, `crc32` or `any`.
    partitioner: &'static str,
    /// How much history journals keep.
    window: WindowDto,
    /// Declared fields.
    fields: Vec<FieldDto>,
    /// Fields that are computed from the record.
    derived: Vec<DerivedDto>,
    /// Sources.
    sources: Vec<SourceDto>,
    #[serde(flatten)]
    size: TableSize,
}

/// How much history journals keep, per key and source.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Window)]
pub(crate) struct WindowDto {
    /// Most events.
    events: usize,
    /// Most milliseconds of event time.
    time_ms: i64,
}

/// A declared field.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Field)]
pub(crate) struct FieldDto {
    /// Name.
    name: String,
    /// `text`, `keyword`, `integer`, `float`, `boolean`, `date` or `json`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// How values are merged: `lww`, `map`, `set`, `max`, `min`, `first`, `sum`, `count` or `append`.
    merge: &'static str,
    /// Where the value stands in events.
    path: String,
    /// Searchable.
    index: bool,
    /// Whether searches can be sorted by it.
    sort: bool,
    /// Facet counts wanted.
    facet: bool,
    /// Most members of a set, keys of a map, values of an append.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    /// How a text becomes words, where the field says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    analysis: Option<AnalysisDto>,
    /// Other ways in which a text is indexed, by the name that stands behind the field's in queries.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    variants: BTreeMap<String, AnalysisDto>,
}

/// A field that an expression computes from the record.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = DerivedField)]
pub(crate) struct DerivedDto {
    /// Name.
    name: String,
    /// `text`, `keyword`, `integer`, `float`, `boolean`, `date` or `json`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The expression, in CEL.
    #[schema(example = "price - cost")]
    expr: String,
    /// Searchable.
    index: bool,
    /// Whether searches can be sorted by it.
    sort: bool,
    /// Facet counts wanted.
    facet: bool,
}

/// A source.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Source)]
pub(crate) struct SourceDto {
    /// Name.
    name: String,
    /// Topic.
    topic: String,
    /// How payloads are encoded.
    format: &'static str,
    /// Paths of the version, or `@timestamp` for the broker's timestamp.
    version: Vec<String>,
    /// Path of the event id.
    event_id: Option<String>,
    /// Breaks ties between equal versions: the higher wins.
    rank: i32,
    /// When an event is a delete.
    delete: Option<DeleteDto>,
    /// What the absence of a field says: `keep` or `clear`.
    absent: &'static str,
}

/// An event whose `field` equals `equals` is a delete.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = DeleteRule)]
pub(crate) struct DeleteDto {
    /// Path.
    field: String,
    /// Value.
    equals: serde_json::Value,
}

/// Lists the tables
///
/// with their fields, topics, and how much of them is on this instance.
#[utoipa::path(get, path = "/v1/tables", tag = "tables", responses((status = 200, body = TableList), Problems))]
pub(crate) async fn list(State(ctx): State<Context>, params: Params) -> Result<Json<TableList>, Problem> {
    params.finish()?;
    let tables: BTreeMap<String, Arc<Table>> = (*ctx.state.tables).clone();
    let tables = ctx.lookups.run(move || Ok(tables.values().map(|t| summary(t)).collect())).await?;
    Ok(Json(TableList { served_by: ctx.instance().to_owned(), tables }))
}

/// Describes a table
///
/// with type, strategy and search options of its fields, its sources, partitions and approximate counts.
#[utoipa::path(
    get, path = "/v1/tables/{table}", tag = "tables",
    params(("table" = String, Path, description = "Name of the table")),
    responses((status = 200, body = TableDetail), Problems)
)]
pub(crate) async fn get(
    State(ctx): State<Context>,
    At(name): At<String>,
    params: Params,
) -> Result<Json<TableDetail>, Problem> {
    params.finish()?;
    let table = ctx.table(&name)?;
    let served_by = ctx.instance().to_owned();
    ctx.lookups.run(move || Ok(Json(detail(&table, served_by)))).await
}

fn summary(table: &Table) -> TableSummary {
    let mut topics: Vec<String> = table.def.sources.iter().map(|s| s.topic.clone()).collect();
    topics.sort();
    topics.dedup();
    TableSummary {
        name: table.def.name.clone(),
        fields: table.def.shown_fields().map(|f| f.name.clone()).collect(),
        topics,
        size: TableSize::of(table),
    }
}

impl TableSize {
    /// Asks the stores; blocking.
    fn of(table: &Table) -> Self {
        let tasks = table.tasks();
        let stores = || tasks.values().filter_map(|view| view.store());
        Self {
            partitions: table.partitions,
            partitions_here: tasks.keys().copied().collect(),
            records: stores().map(|s| s.approximate_records()).sum(),
            store_bytes: stores().map(|s| s.bytes()).sum(),
        }
    }
}

fn detail(table: &Table, served_by: String) -> TableDetail {
    let def: &TableDef = &table.def;
    TableDetail {
        served_by,
        name: def.name.clone(),
        key: match &def.key {
            KeyFrom::Message => "@key".to_owned(),
            KeyFrom::Path(path) => path.to_string(),
        },
        dynamic: match def.dynamic {
            Dynamic::Store => "store",
            Dynamic::Index => "index",
            Dynamic::Ignore => "ignore",
            Dynamic::Reject => "reject",
        },
        partitioner: match def.partitioner {
            Partitioner::Murmur2 => "murmur2",
            Partitioner::Crc32 => "crc32",
            Partitioner::Any => "any",
        },
        window: WindowDto { events: def.window.events, time_ms: def.window.time_ms },
        fields: def.fields.iter().map(field).collect(),
        derived: def.derived.iter().map(derived).collect(),
        sources: def.sources.iter().map(source).collect(),
        size: TableSize::of(table),
    }
}

fn field(def: &FieldDef) -> FieldDto {
    FieldDto {
        name: def.name.clone(),
        kind: match def.kind {
            FieldType::Text => "text",
            FieldType::Keyword => "keyword",
            FieldType::Integer => "integer",
            FieldType::Float => "float",
            FieldType::Boolean => "boolean",
            FieldType::Date => "date",
            FieldType::Json => "json",
        },
        merge: match def.merge {
            Strategy::Lww => "lww",
            Strategy::Sum => "sum",
            Strategy::Count => "count",
            Strategy::Set => "set",
            Strategy::Max => "max",
            Strategy::Min => "min",
            Strategy::Map => "map",
            Strategy::First => "first",
            Strategy::Append => "append",
        },
        path: def.path.to_string(),
        index: def.index,
        sort: sortable(def),
        facet: def.facet,
        limit: def.merge.limit().map(|_| def.limit),
        analysis: AnalysisDto::unless_default(&def.analysis),
        variants: def.variants.iter().map(|(name, analysis)| (name.clone(), AnalysisDto::of(analysis))).collect(),
    }
}

fn sortable(def: &FieldDef) -> bool {
    def.index && def.kind != FieldType::Json && (def.sort || def.kind != FieldType::Text)
}

fn derived(Derived { field, expression }: &Derived) -> DerivedDto {
    DerivedDto {
        name: field.name.clone(),
        kind: crate::config::type_word(field.kind),
        expr: expression.text().to_owned(),
        index: field.index,
        sort: sortable(field),
        facet: field.facet,
    }
}

fn source(def: &SourceDef) -> SourceDto {
    SourceDto {
        name: def.name.clone(),
        topic: def.topic.clone(),
        format: crate::config::format_word(def.format),
        version: def.version.words(),
        event_id: def.event_id.as_ref().map(ToString::to_string),
        rank: def.rank,
        delete: def.delete.as_ref().map(|d| DeleteDto { field: d.field.to_string(), equals: plain(&d.equals) }),
        absent: match def.absent {
            Absent::Keep => "keep",
            Absent::Clear => "clear",
        },
    }
}

/// A configured value as JSON.
fn plain(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(b) => (*b).into(),
        Value::Int(i) => (*i).into(),
        Value::Float(f) => (*f).into(),
        Value::Str(s) => s.as_str().into(),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(members) => members.iter().map(|(name, v)| (name.clone(), plain(v))).collect(),
    }
}
