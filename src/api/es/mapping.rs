//! Tables as indices: mappings, settings, capabilities of fields.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use serde_json::{Map, Value, json};

use super::super::context::{At, Context, Payload};
use super::super::params::Params;
use super::super::problem::Problem;
use super::answer::Answer;
use super::body::Body;
use super::names;
use super::render::commas;
use super::request::Url;
use crate::query::{Table, dsl};
use crate::record::{Dynamic, FieldDef, FieldType, KeyFrom, TableDef};

/// The type of a field.
const fn word(kind: FieldType) -> &'static str {
    match kind {
        FieldType::Text => "text",
        FieldType::Keyword => "keyword",
        FieldType::Integer => "long",
        FieldType::Float => "double",
        FieldType::Boolean => "boolean",
        FieldType::Date => "date",
        FieldType::Json => "object",
    }
}

/// `GET /{index}`.
pub(super) async fn index(
    State(ctx): State<Context>,
    At(index): At<String>,
    uri: Uri,
) -> Result<Answer<Value>, Problem> {
    each(
        &ctx,
        &index,
        &uri,
        |table| json!({"aliases": {}, "mappings": mapping(&table.def), "settings": settings(table)}),
    )
}

/// `GET /_mapping`.
pub(super) async fn mappings(State(ctx): State<Context>, uri: Uri) -> Result<Answer<Value>, Problem> {
    each(&ctx, "_all", &uri, |table| json!({"mappings": mapping(&table.def)}))
}

/// `GET /{index}/_mapping`.
pub(super) async fn mappings_of(
    State(ctx): State<Context>,
    At(index): At<String>,
    uri: Uri,
) -> Result<Answer<Value>, Problem> {
    each(&ctx, &index, &uri, |table| json!({"mappings": mapping(&table.def)}))
}

/// `GET /{index}/_settings`.
pub(super) async fn settings_of(
    State(ctx): State<Context>,
    At(index): At<String>,
    uri: Uri,
) -> Result<Answer<Value>, Problem> {
    each(&ctx, &index, &uri, |table| json!({"settings": settings(table)}))
}

fn each(ctx: &Context, index: &str, uri: &Uri, show: impl Fn(&Table) -> Value) -> Result<Answer<Value>, Problem> {
    let tables = names::tables(ctx, index, Url::read(uri)?.lenient)?;
    let all: Map<String, Value> = tables.iter().map(|table| (table.def.name.clone(), show(table))).collect();
    Ok(Answer::of(Value::Object(all)))
}

fn settings(table: &Table) -> Value {
    let name = &table.def.name;
    json!({"index": {
        "number_of_shards": table.partitions.to_string(), "number_of_replicas": "1", "provided_name": name, "uuid": uuid(name),
        "creation_date": "0", "version": {"created": "8190099"}
    }})
}

/// A name that looks like the id of an index.
pub(super) fn uuid(name: &str) -> String {
    format!("keld-{:016x}", xxhash_rust::xxh3::xxh3_64(name.as_bytes()))
}

fn mapping(def: &TableDef) -> Value {
    let mut properties = Map::new();
    for field in def.shown_fields() {
        properties.insert(field.name.clone(), property(field));
    }
    if let KeyFrom::Path(path) = &def.key {
        properties.entry(path.to_string()).or_insert_with(|| json!({"type": "keyword"}));
    }
    let dynamic = match def.dynamic {
        Dynamic::Index => "true",
        Dynamic::Store | Dynamic::Ignore => "false",
        Dynamic::Reject => "strict",
    };
    json!({"dynamic": dynamic, "properties": properties})
}

fn property(field: &FieldDef) -> Value {
    let mut property = Map::from_iter([("type".to_owned(), word(field.kind).into())]);
    if !field.index {
        property.insert("index".to_owned(), false.into());
    }
    let mut others = Map::new();
    if has_whole(field) {
        others.insert("keyword".to_owned(), json!({"type": "keyword"}));
    }
    others.extend(field.variants.iter().map(|(name, _)| (name.clone(), json!({"type": "text"}))));
    if !others.is_empty() {
        property.insert("fields".to_owned(), Value::Object(others));
    }
    Value::Object(property)
}

/// Whether a text can be sorted by and counted as a whole.
fn has_whole(field: &FieldDef) -> bool {
    field.kind == FieldType::Text && (field.sort || field.facet)
}

/// `_field_caps` of all tables.
pub(super) async fn caps(
    State(ctx): State<Context>,
    uri: Uri,
    Payload(body): Payload,
) -> Result<Answer<Value>, Problem> {
    capabilities(&ctx, "_all", &uri, &body)
}

/// `_field_caps` of a table.
pub(super) async fn caps_of(
    State(ctx): State<Context>,
    At(index): At<String>,
    uri: Uri,
    Payload(body): Payload,
) -> Result<Answer<Value>, Problem> {
    capabilities(&ctx, &index, &uri, &body)
}

/// What a field can do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ability {
    metadata: bool,
    searchable: bool,
    aggregatable: bool,
}

fn capabilities(ctx: &Context, index: &str, uri: &Uri, bytes: &[u8]) -> Result<Answer<Value>, Problem> {
    let tables = names::tables(ctx, index, Url::read(uri)?.lenient)?;
    let mut body = Body::read(bytes)?;
    let named = match body.texts("fields")? {
        Some(texts) => texts.iter().flat_map(|text| commas(text)).collect(),
        None => Params::from_uri(uri)?.text("fields")?.as_deref().map(commas).unwrap_or_else(|| vec!["*".to_owned()]),
    };
    // A filter of indices changes nothing where each table has its own fields.
    body.raw("index_filter");
    let warnings = body.rest().map(|(name, _)| format!("{name:?} is not understood and was passed over")).collect();
    let mut all: BTreeMap<String, BTreeMap<(&str, Ability), Vec<&str>>> = BTreeMap::new();
    for table in &tables {
        for (name, kind, ability) in abilities(table) {
            if named.iter().any(|pattern| dsl::matches(pattern, &name)) {
                all.entry(name).or_default().entry((kind, ability)).or_default().push(&table.def.name);
            }
        }
    }
    let kinds = |kinds: BTreeMap<(&str, Ability), Vec<&str>>| {
        let several = kinds.len() > 1;
        let shown = kinds.into_iter().map(|((kind, ability), tables)| {
            let mut of = json!({"type": kind, "metadata_field": ability.metadata, "searchable": ability.searchable,
                                "aggregatable": ability.aggregatable});
            if several {
                of["indices"] = tables.into();
            }
            (kind.to_owned(), of)
        });
        Value::Object(shown.collect())
    };
    let fields: Map<String, Value> = all.into_iter().map(|(name, of)| (name, kinds(of))).collect();
    let indices: Vec<&str> = tables.iter().map(|table| table.def.name.as_str()).collect();
    Ok(Answer::of(json!({"indices": indices, "fields": fields})).with(warnings))
}

fn abilities(table: &Arc<Table>) -> Vec<(String, &'static str, Ability)> {
    let def = &table.def;
    let mut all = Vec::new();
    let of = |searchable, aggregatable| Ability { metadata: false, searchable, aggregatable };
    for field in def.shown_fields() {
        // Texts are counted under the name that stands for the whole.
        let column = !matches!(field.kind, FieldType::Text | FieldType::Json);
        all.push((field.name.clone(), word(field.kind), of(field.index, column)));
        if has_whole(field) {
            all.push((format!("{}.keyword", field.name), "keyword", of(true, true)));
        }
        for (name, _) in &field.variants {
            all.push((format!("{}.{name}", field.name), "text", of(field.index, false)));
        }
    }
    if let KeyFrom::Path(path) = &def.key {
        let path = path.to_string();
        if !all.iter().any(|(name, ..)| *name == path) {
            all.push((path, "keyword", of(true, true)));
        }
    }
    all.push(("_id".to_owned(), "_id", Ability { metadata: true, searchable: true, aggregatable: false }));
    all
}
