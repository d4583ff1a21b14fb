//! What a value alone cannot show: settings that must fit each other.

use std::collections::BTreeMap;

use super::parse::bytes;
use super::section::Section;
use super::settings::*;
use super::tables::{Item, TYPES, strategy_word, type_word};
use super::words;
use crate::record::{
    Encoding, FieldDef, FieldType, Input, KeyFrom, Partitioner, Path, Shape, SourceDef, Strategy, TableDef, VersionFrom,
};

/// Properties of librdkafka that Keld sets itself, and what to do instead.
const OWNED: &[(&str, &str)] = &[
    ("enable.auto.commit", "positions are committed with the records they belong to"),
    ("enable.auto.offset.store", "positions are committed with the records they belong to"),
    ("isolation.level", "only committed records may be read"),
    ("transactional.id", "it is made of application, instance.id and worker"),
    ("group.id", "it is the application's name"),
    ("enable.idempotence", "it is always on"),
    ("group.instance.id", "set instance.id and instance.static_membership"),
    ("group.protocol", "set broker.protocol"),
    ("client.id", "it carries instance.advertise"),
    ("auto.offset.reset", "set processing.on_gap"),
    ("bootstrap.servers", "set broker.bootstrap_servers"),
    ("metadata.broker.list", "set broker.bootstrap_servers"),
    ("session.timeout.ms", "set broker.session_timeout"),
    ("transaction.timeout.ms", "set processing.transaction_timeout"),
    ("partition.assignment.strategy", "tasks move one by one"),
];

/// Why a property may not stand in `[broker.client]`; `None` if it may.
pub(super) fn owned_property(key: &str) -> Option<String> {
    let (_, instead) = OWNED.iter().find(|(owned, _)| *owned == key)?;
    Some(format!("{key:?} is Keld's own ({instead})"))
}

/// Kafka needs servers.
pub(super) fn broker(s: &Section<'_>, broker: &BrokerSettings) {
    if broker.kind == BrokerKind::Kafka && broker.bootstrap_servers.is_empty() && s.sound(&["bootstrap_servers"]) {
        s.wrong("bootstrap_servers", "missing: kind = \"kafka\" needs servers, such as \"127.0.0.1:9092\"");
    }
}

/// Other instances need an address that they can reach; the embedded log has one instance only.
pub(super) fn reachable(s: &Section<'_>, settings: &Settings) {
    let listen = settings.instance.listen;
    let clustered = settings.broker.kind == BrokerKind::Kafka;
    if clustered && listen.ip().is_unspecified() && !s.given("advertise") {
        s.wrong("advertise", format!("missing: other instances cannot reach {listen} (say how they reach this one)"));
    }
}

/// librdkafka's form of the new protocol refuses a static member that comes back after a crash until its old session ends.
pub(super) fn membership(s: &Section<'_>, settings: &Settings) {
    if settings.broker.protocol == GroupProtocol::Consumer && settings.instance.static_membership {
        s.wrong(
            "static_membership",
            "broker.protocol = \"consumer\" has no static members (leave it out, or write false)",
        );
    }
}

/// The rhythm of commits.
pub(super) fn processing(s: &Section<'_>, p: &ProcessingSettings) {
    let shown = humantime::format_duration;
    if s.sound(&["min_gap", "commit_interval"]) && p.min_gap > p.commit_interval {
        let key = if s.given("min_gap") { "min_gap" } else { "commit_interval" };
        let (gap, interval) = (shown(p.min_gap), shown(p.commit_interval));
        s.wrong(key, format!("min_gap ({gap}) may not be longer than commit_interval ({interval})"));
    }
    if s.sound(&["transaction_timeout", "commit_interval"]) && p.transaction_timeout <= p.commit_interval {
        let key = if s.given("transaction_timeout") { "transaction_timeout" } else { "commit_interval" };
        let (timeout, interval) = (shown(p.transaction_timeout), shown(p.commit_interval));
        s.wrong(key, format!("transaction_timeout ({timeout}) must be longer than commit_interval ({interval})"));
    }
}

/// The rhythm of index commits.
pub(super) fn index(s: &Section<'_>, i: &IndexSettings) {
    if s.sound(&["interval", "catch_up_interval"]) && i.interval > i.catch_up_interval {
        let key = if s.given("interval") { "interval" } else { "catch_up_interval" };
        let (calm, busy) = (humantime::format_duration(i.interval), humantime::format_duration(i.catch_up_interval));
        s.wrong(key, format!("interval ({calm}) may not be longer than catch_up_interval ({busy})"));
    }
}

/// The budget must hold the floors of every part.
pub(super) fn memory(all: &Section<'_>, s: &Section<'_>, settings: &Settings) {
    let workers = if all.sound(&["instance.workers"]) { settings.instance.workers } else { 1 };
    let tables = settings.tables.len().max(1);
    let least = super::MemoryPlan::least(tables, workers);
    if s.sound(&["budget"]) && settings.memory_budget < least {
        let found = bytes(settings.memory_budget);
        let what = format!("{found} is too little for tables ({tables}) and workers ({workers})");
        s.wrong("budget", format!("{what}: at least {}", bytes(least)));
    }
}

/// Topics that Keld writes must have legal names, and nobody may take them for sources.
pub(super) fn topics(all: &Section<'_>, quarantine: &Section<'_>, settings: &Settings) {
    let mut own = BTreeMap::from([
        (settings.quarantine.topic.clone(), "the quarantine".to_owned()),
        (settings.replays_topic(), "the list of replayed events".to_owned()),
    ]);
    for table in &settings.tables {
        let changelog = settings.changelog_topic(&table.name);
        if all.sound(&["application"])
            && let Some(what) = words::bad_topic(&changelog)
            && words::bad_name(&table.name).is_none()
        {
            all.wrong("application", format!("the changelog of table {:?}: {what}", table.name));
        }
        if own.insert(changelog, format!("the changelog of table {:?}", table.name)).is_some() {
            quarantine.wrong("topic", format!("is the changelog of table {:?}", table.name));
        }
        let repartition = settings.repartition_topic(&table.name);
        if own.insert(repartition, format!("for misplaced events of table {:?}", table.name)).is_some() {
            quarantine.wrong("topic", format!("is for misplaced events of table {:?}", table.name));
        }
    }
    for (table, section) in all.named("tables") {
        for (source, s) in section.named("sources") {
            let def = settings.tables.iter().find(|t| t.name == table);
            let topic = def.and_then(|t| t.sources.iter().find(|d| d.name == source)).map(|d| d.topic.as_str());
            if let Some(what) = topic.and_then(|t| own.get(t)) {
                s.wrong("topic", format!("{:?} is {what}, which Keld writes itself", topic.unwrap_or_default()));
            }
        }
    }
}

/// Avro needs a registry.
pub(super) fn registry(s: &Section<'_>, settings: &Settings) {
    let avro = |t: &std::sync::Arc<TableDef>| t.sources.iter().find(|s| s.format.encoding() == Encoding::Avro).cloned();
    if settings.schema_registry.is_none()
        && s.sound(&["url"])
        && let Some(source) = settings.tables.iter().find_map(avro)
    {
        let (name, format) = (&source.name, super::format_word(source.format));
        s.wrong("url", format!("missing: source {name:?} has format {format:?} and needs a schema registry"));
    }
}

/// Sources and fields of one table must fit each other.
pub(super) fn table(key: &KeyFrom, sources: &[Item<'_, SourceDef>], fields: &[Item<'_, FieldDef>]) {
    distinct_topics(sources);
    distinct_ids(sources.iter().map(|i| (i.def.id, i.def.name.as_str(), &i.section)));
    distinct_ids(fields.iter().map(|i| (i.def.id, i.def.name.as_str(), &i.section)));
    event_ids(sources, fields);
    envelopes(key, sources, fields);
    for item in fields {
        merge_fits_type(item);
        options_fit(item);
        key_field(key, item);
    }
}

/// Where any partition is right, no event is in the wrong one.
pub(super) fn placement(s: &Section<'_>, def: &TableDef) {
    if def.repartition && def.partitioner == Partitioner::Any && s.sound(&["partitioner", "repartition"]) {
        s.wrong("repartition", "needs to know where a key belongs (set partitioner to \"murmur2\" or \"crc32\")");
    }
}

fn distinct_topics(sources: &[Item<'_, SourceDef>]) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for Item { section, def } in sources.iter().filter(|i| !i.def.topic.is_empty()) {
        match seen.get(def.topic.as_str()) {
            Some(first) => section.wrong("topic", format!("source {first:?} reads {:?} already", def.topic)),
            None => _ = seen.insert(&def.topic, &def.name),
        }
    }
}

fn distinct_ids<'i, 'a: 'i>(named: impl Iterator<Item = (u32, &'i str, &'i Section<'a>)>) {
    let mut seen: BTreeMap<u32, &str> = BTreeMap::new();
    for (id, name, section) in named {
        if let Some(first) = seen.insert(id, name) {
            section.wrong_itself(format!("{name:?} and {first:?} have the same 32-bit id (rename one of them)"));
        }
    }
}

/// Sums, counts and appends are over distinct events: every source must say which event it is.
fn event_ids(sources: &[Item<'_, SourceDef>], fields: &[Item<'_, FieldDef>]) {
    let counted = fields.iter().find(|i| i.def.merge.needs_event_id());
    let Some(Item { def: field, .. }) = counted else { return };
    for Item { section, def } in sources.iter().filter(|i| !i.section.given("event_id")) {
        let merge = strategy_word(field.merge);
        section.wrong(
            "event_id",
            format!(
                "missing in source {:?}: field {:?} is merged by {merge} and needs it to know repeated events",
                def.name, field.name
            ),
        );
    }
}

/// Paths to what stands around the rows of a change event need sources that have such.
fn envelopes(key: &KeyFrom, sources: &[Item<'_, SourceDef>], fields: &[Item<'_, FieldDef>]) {
    let around = |path: &Path| matches!(path.input(), Input::Envelope(_));
    let says = |path: &Path| format!("{path} stands in the envelope of debezium-json and debezium-avro only");
    let enveloped = |def: &SourceDef| def.format.shape() == Shape::Envelope;
    for Item { section, def } in sources.iter().filter(|item| !enveloped(&item.def)) {
        let version = if let VersionFrom::Paths(paths) = &def.version { paths.as_slice() } else { &[] };
        let delete = def.delete.as_ref().map(|rule| &rule.field);
        let named =
            [("version", version.iter().find(|p| around(p))), ("event_id", def.event_id.as_ref()), ("delete", delete)];
        for (setting, path) in named {
            if let Some(path) = path.filter(|path| around(path)) {
                section.wrong(setting, says(path));
            }
        }
        if def.version == VersionFrom::Position && def.format.shape() == Shape::Plain {
            section.wrong("version", "\"@source\" is the position of a change of Debezium, and the format is another");
        }
        if let KeyFrom::Path(path) = key
            && around(path)
        {
            section.wrong("format", says(path));
        }
    }
    if !sources.iter().any(|item| enveloped(&item.def)) {
        for Item { section, def } in fields.iter().filter(|item| around(&item.def.path)) {
            section.wrong("path", says(&def.path));
        }
    }
}

fn merge_fits_type(item: &Item<'_, FieldDef>) {
    use FieldType::{Date, Float, Integer, Json, Keyword};
    let Item { section, def } = item;
    let allowed: Vec<FieldType> = match def.merge {
        Strategy::Lww | Strategy::First | Strategy::Append => return,
        Strategy::Sum => vec![Integer, Float],
        Strategy::Count => vec![Integer],
        Strategy::Max | Strategy::Min => vec![Integer, Float, Date, Keyword],
        Strategy::Set => TYPES.iter().map(|(_, t)| *t).filter(|t| *t != Json).collect(),
        Strategy::Map => vec![Json],
    };
    if section.sound(&["type", "merge"]) && section.given("type") && !allowed.contains(&def.kind) {
        let allowed: Vec<&str> = allowed.into_iter().map(type_word).collect();
        let (merge, kind) = (strategy_word(def.merge), type_word(def.kind));
        section.wrong("merge", format!("{merge:?} does not work on {kind} (on: {})", allowed.join(", ")));
    }
}

/// Search options must have a meaning for the type.
pub(super) fn options_fit(item: &Item<'_, FieldDef>) {
    let Item { section, def } = item;
    if section.given("limit") && section.sound(&["limit", "merge"]) && def.merge.limit().is_none() {
        section.wrong("limit", "applies to merge = \"set\", \"map\" and \"append\" only");
    }
    if !section.sound(&["type"]) {
        return;
    }
    if def.facet && matches!(def.kind, FieldType::Text | FieldType::Json) {
        section.wrong("facet", format!("does not work on {} (use keyword)", type_word(def.kind)));
    }
    if def.sort && def.kind == FieldType::Json {
        section.wrong("sort", "does not work on json");
    }
}

/// The key is shown under its own path: a field of that name must be the same thing, and the key never merges.
fn key_field(key: &KeyFrom, item: &Item<'_, FieldDef>) {
    let (KeyFrom::Path(key), Item { section, def }) = (key, item) else { return };
    if def.path == *key && def.merge != Strategy::Lww && section.sound(&["merge"]) {
        section.wrong("merge", format!("{key} is the table's key, which is the same in every event (leave merge out)"));
    }
    if def.name == key.to_string() && def.path != *key && section.sound(&["path"]) {
        section.wrong("path", format!("records show their key as {:?}; this field must have another name", def.name));
    }
}
