//! Reads `[tables.NAME]`: key, sources, fields.

use std::sync::Arc;
use std::time::Duration;

use super::parse::{choice, duration, path, switch, text, to_path, topic, value, values, whole};
use super::section::{Parsed, Section};
use super::tree::{Data, Node};
use super::{analysis, derived, retention, rules, words};
use crate::record::debezium::UNAVAILABLE;
use crate::record::definition::name_id;
use crate::record::{
    Absent, DeleteRule, Dynamic, FieldDef, FieldType, Format, Input, KeyFrom, Partitioner, Path, Shape, SourceDef,
    Strategy, TableDef, Tombstones, Value, VersionFrom, Window,
};

/// Types of fields, as they are written.
pub(super) const TYPES: &[(&str, FieldType)] = &[
    ("text", FieldType::Text),
    ("keyword", FieldType::Keyword),
    ("integer", FieldType::Integer),
    ("float", FieldType::Float),
    ("boolean", FieldType::Boolean),
    ("date", FieldType::Date),
    ("json", FieldType::Json),
];

/// Formats, as they are written.
const FORMATS: &[(&str, Format)] = &[
    ("json", Format::Json),
    ("json-schema", Format::JsonSchema),
    ("avro", Format::Avro),
    ("debezium-json", Format::DebeziumJson),
    ("debezium-json-flat", Format::DebeziumJsonFlat),
    ("debezium-avro", Format::DebeziumAvro),
    ("debezium-avro-flat", Format::DebeziumAvroFlat),
];

/// Strategies, as they are written.
const STRATEGIES: &[(&str, Strategy)] = &[
    ("lww", Strategy::Lww),
    ("sum", Strategy::Sum),
    ("count", Strategy::Count),
    ("set", Strategy::Set),
    ("max", Strategy::Max),
    ("min", Strategy::Min),
    ("map", Strategy::Map),
    ("first", Strategy::First),
    ("append", Strategy::Append),
];

/// The word for a type, as it is written in a configuration.
pub fn type_word(kind: FieldType) -> &'static str {
    word(TYPES, kind)
}

/// The word for a format, as it is written in a configuration.
pub fn format_word(format: Format) -> &'static str {
    word(FORMATS, format)
}

/// The word for a strategy, as it is written in a configuration.
pub fn strategy_word(merge: Strategy) -> &'static str {
    word(STRATEGIES, merge)
}

fn word<T: PartialEq + Copy>(all: &[(&'static str, T)], value: T) -> &'static str {
    all.iter().find(|(_, v)| *v == value).map_or("?", |(word, _)| word)
}

const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);
/// The version that is the broker's timestamp.
const TIMESTAMP: &str = "@timestamp";
/// The version that is the position of a change.
const POSITION: &str = "@source";
/// The key that is the message's.
const MESSAGE_KEY: &str = "@key";

/// Something named, with the section it was read from.
pub(super) struct Item<'a, T> {
    pub(super) section: Section<'a>,
    pub(super) def: T,
}

/// Reads every table, ordered by name.
pub(super) fn tables(all: &Section<'_>) -> Vec<Arc<TableDef>> {
    let found = all.named("tables");
    if found.is_empty() && all.sound(&["tables"]) {
        all.wrong("tables", "no table is defined (add [tables.NAME] with a key, sources and fields)");
    }
    found.into_iter().map(|(name, section)| Arc::new(table(name, section))).collect()
}

fn table(name: &str, s: Section<'_>) -> TableDef {
    check_name(name, &s);
    if let Some(what) = words::reserved_name(name) {
        s.wrong_itself(what);
    }
    let dynamics = [
        ("store", Dynamic::Store),
        ("index", Dynamic::Index),
        ("ignore", Dynamic::Ignore),
        ("reject", Dynamic::Reject),
    ];
    let partitioners = [("murmur2", Partitioner::Murmur2), ("crc32", Partitioner::Crc32), ("any", Partitioner::Any)];
    let what = "where an event's key stands: a path such as \"sku\", or \"@key\" for the message key";
    let key = s.need("key", what, key_from);
    let sources = sources(&s);
    let fields = fields(&s);
    let key = key.unwrap_or(KeyFrom::Message);
    let def = TableDef {
        name: name.to_owned(),
        derived: derived::derived(&s, &key, &fields),
        key,
        dynamic: s.or("dynamic", Dynamic::Store, choice("choice", &dynamics)),
        window: window(s.sub("window"), &sources),
        retention: retention::retention(&s, &sources),
        partitioner: s.or("partitioner", Partitioner::Murmur2, choice("partitioner", &partitioners)),
        repartition: s.or("repartition", false, switch),
        max_depth: s.or("max_depth", 64, whole(1..=256)),
        sources: sources.iter().map(|item| item.def.clone()).collect(),
        fields: fields.iter().map(|item| item.def.clone()).collect(),
    };
    rules::table(&def.key, &sources, &fields);
    rules::placement(&s, &def);
    sources.into_iter().for_each(|item| item.section.finish());
    fields.into_iter().for_each(|item| item.section.finish());
    s.finish();
    def
}

fn check_name(name: &str, s: &Section<'_>) -> bool {
    let wrong = words::bad_name(name);
    if let Some(what) = &wrong {
        s.wrong_itself(what);
    }
    wrong.is_none()
}

fn key_from(node: &Node) -> Parsed<KeyFrom> {
    let found = text(node)?;
    if found == MESSAGE_KEY {
        return Ok(KeyFrom::Message);
    }
    let path = to_path(&found)?;
    if matches!(path.input(), Input::Timestamp | Input::Partition) {
        return Err(format!("{found:?} is no key (take a member, {MESSAGE_KEY:?} or a header)"));
    }
    Ok(KeyFrom::Path(path))
}

/// Time is compared with versions, so it has no meaning, and no default, where versions are sequences.
fn window(s: Section<'_>, sources: &[Item<'_, SourceDef>]) -> Window {
    let sequence = sources.iter().find(|item| is_sequence(&item.section));
    let events = s.or("events", 64, whole(1..=10_000));
    let time = s.get("time", duration(SECOND..=DAY * 3650));
    if let (Some(item), true) = (sequence, s.given("time")) {
        let name = &item.def.name;
        s.wrong("time", format!("needs versions that are times, and those of source {name:?} are a sequence"));
    }
    s.finish();
    let default = if sequence.is_some() { i64::MAX } else { to_ms(DAY) };
    Window { events, time_ms: time.map_or(default, to_ms) }
}

pub(super) fn to_ms(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

fn sources<'a>(table: &Section<'a>) -> Vec<Item<'a, SourceDef>> {
    let found = table.named("sources");
    if found.is_empty() && table.sound(&["sources"]) {
        table.wrong_itself("has no source (add [tables.NAME.sources.NAME] with a topic)");
    }
    found.into_iter().map(|(name, section)| source(name, section)).collect()
}

fn source<'a>(name: &str, s: Section<'a>) -> Item<'a, SourceDef> {
    check_name(name, &s);
    let absents = [("keep", Absent::Keep), ("clear", Absent::Clear)];
    let format = s.or("format", Format::Json, choice("format", FORMATS));
    let debezium = format.shape() != Shape::Plain;
    let version = s.or("version", if debezium { VersionFrom::Position } else { VersionFrom::Timestamp }, version);
    let tombstones = tombstones(&s, format, &version);
    let max_ahead_ms = max_ahead(&s, &version);
    let def = SourceDef {
        name: name.to_owned(),
        id: name_id(name),
        topic: s.need("topic", "the topic to read", topic).unwrap_or_default(),
        format,
        version,
        event_id: s.get("event_id", path),
        rank: s.or("rank", 0, whole(i32::MIN..=i32::MAX)),
        delete: delete(&s),
        absent: s.or("absent", Absent::Keep, choice("choice", &absents)),
        sentinels: s.or("sentinels", if debezium { unavailable() } else { Vec::new() }, values),
        tombstones,
        max_ahead_ms,
    };
    Item { section: s, def }
}

/// What Debezium writes for a column that it does not know.
fn unavailable() -> Vec<Value> {
    let texts = UNAVAILABLE.map(|text| Value::Str(text.into()));
    let array = Value::Array(vec![texts[0].clone()]);
    texts.into_iter().chain([array]).collect()
}

/// The tombstone that follows a change event says nothing new. Elsewhere it is a delete, if its version can be told: the
/// broker's timestamp is none among sequences, where it would outdo every one of them.
fn tombstones(s: &Section<'_>, format: Format, version: &VersionFrom) -> Tombstones {
    let words =
        [("delete", Tombstones::Delete), ("ignore", Tombstones::Ignore), ("quarantine", Tombstones::Quarantine)];
    let beside = matches!(version, VersionFrom::Paths(paths) if !paths.iter().any(Path::in_payload));
    let timeless = is_sequence(s) && !beside;
    let default = match format.shape() {
        Shape::Envelope => Tombstones::Ignore,
        _ if timeless => Tombstones::Quarantine,
        Shape::Plain | Shape::Flat => Tombstones::Delete,
    };
    let found = s.or("tombstones", default, choice("choice", &words));
    if found == Tombstones::Delete && timeless && s.given("tombstones") {
        s.wrong("tombstones", "a message without payload has no version, and the broker's timestamp is no sequence");
    }
    found
}

fn version(node: &Node) -> Parsed<VersionFrom> {
    let Data::List(items) = &node.data else {
        let found = text(node)?;
        return match found.as_str() {
            TIMESTAMP => Ok(VersionFrom::Timestamp),
            POSITION => Ok(VersionFrom::Position),
            _ => version_paths(&[found]),
        };
    };
    version_paths(&items.iter().map(text).collect::<Parsed<Vec<_>>>()?)
}

fn version_paths(found: &[String]) -> Parsed<VersionFrom> {
    if found.is_empty() || found.len() > 2 {
        return Err(format!("expected one path or two that are compared in order, found {}", found.len()));
    }
    if found.len() == 2 && found[0] == found[1] {
        return Err(format!("names {:?} twice", found[0]));
    }
    found.iter().map(|f| to_path(f)).collect::<Parsed<Vec<Path>>>().map(VersionFrom::Paths)
}

/// Whether a source says that its versions are sequences; asked before the source is read to its end.
pub(super) fn is_sequence(s: &Section<'_>) -> bool {
    s.node("version_kind").is_some_and(|n| matches!(&n.data, Data::Text(t) | Data::Loose(t) if t == "sequence"))
}

fn max_ahead(s: &Section<'_>, version: &VersionFrom) -> Option<i64> {
    let kind = s.or("version_kind", false, choice("version_kind", &[("time", false), ("sequence", true)]));
    let ahead = s.get("max_ahead", ahead);
    if kind && *version == VersionFrom::Timestamp && s.sound(&["version"]) {
        s.wrong("version_kind", "a sequence needs a version path; the broker's timestamp is a time");
    }
    if kind && matches!(ahead, Some(Some(_))) {
        s.wrong("max_ahead", "applies to times, and this source's versions are a sequence (leave it out)");
    }
    if kind { None } else { ahead.unwrap_or(Some(to_ms(DAY))) }
}

fn ahead(node: &Node) -> Parsed<Option<i64>> {
    match &node.data {
        Data::Text(t) | Data::Loose(t) if t == "off" => Ok(None),
        _ => match duration(SECOND..=DAY * 3650)(node) {
            Ok(d) => Ok(Some(to_ms(d))),
            Err(what) => Err(format!("{what} (or \"off\")")),
        },
    }
}

fn delete(source: &Section<'_>) -> Option<DeleteRule> {
    let given = source.given("delete");
    let s = source.sub("delete");
    if !given || !source.sound(&["delete"]) {
        return None;
    }
    let field = s.need("field", "the path that marks a delete", path);
    let equals = s.need("equals", "the value that makes it a delete", value);
    s.finish();
    Some(DeleteRule { field: field?, equals: equals? })
}

fn fields<'a>(table: &Section<'a>) -> Vec<Item<'a, FieldDef>> {
    table.named("fields").into_iter().map(|(name, section)| field(name, section)).collect()
}

fn field<'a>(name: &str, s: Section<'a>) -> Item<'a, FieldDef> {
    if let Some(what) = words::reserved_name(name) {
        s.wrong_itself(what);
    } else if let Some(what) = words::bad_name(name) {
        s.wrong_itself(format!("{what} (give path = {name:?} for a member of that name)"));
    }
    let all: Vec<&str> = TYPES.iter().map(|(word, _)| *word).collect();
    let kind = s.need("type", &format!("one of: {}", all.join(", ")), choice("type", TYPES));
    let merge = s.or("merge", Strategy::Lww, choice("strategy", STRATEGIES));
    let (analysis, variants) = analysis::of_field(&s, kind);
    let def = FieldDef {
        name: name.to_owned(),
        id: name_id(name),
        kind: kind.unwrap_or(FieldType::Json),
        merge,
        path: s.or("path", Path(vec![name.to_owned()]), path),
        limit: s.or("limit", merge.limit().unwrap_or(1_000), whole(1..=100_000)),
        index: s.or("index", true, switch),
        facet: s.or("facet", false, switch),
        sort: s.or("sort", false, switch),
        analysis,
        variants,
    };
    Item { section: s, def }
}
