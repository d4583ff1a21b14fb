//! Configuration: every mistake is reported, at its place; the reference file tells the truth; who overrides whom.

#![expect(clippy::unwrap_used, reason = "helpers of tests; a panic is how a test fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use keld::config::{self, BrokerKind, Settings};
use keld::record::definition::name_id;
use keld::record::{
    BeyondHorizon, Dynamic, FieldType, Grams, KeyFrom, Language, Retention, StopWords, Strategy, Ttl, TtlFrom, Value,
    VersionFrom,
};

const SMALL: &str = r#"application = "shop"
[tables.products]
key = "sku"
[tables.products.sources.catalog]
topic = "catalog"
[tables.products.fields]
title = { type = "text" }
"#;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

fn load(text: &str) -> Settings {
    with(text, &[], &[]).unwrap()
}

fn with(text: &str, env: &[(&str, &str)], flags: &[&str]) -> keld::Result<Settings> {
    let env: Vec<_> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let flags: Vec<_> = flags.iter().map(|f| (*f).to_owned()).collect();
    config::from_text("k.toml", text, &env, &flags)
}

/// The lines of the error that `text` is refused with; the last one counts the others.
fn mistakes(text: &str) -> Vec<String> {
    refusal(with(text, &[], &[]))
}

fn refusal(loaded: keld::Result<Settings>) -> Vec<String> {
    let error = loaded.map(|_| "loaded").unwrap_err();
    assert_eq!(error.kind(), keld::Kind::Refused);
    let mut lines: Vec<String> = error.message().lines().map(str::to_owned).collect();
    let last = lines.pop().unwrap();
    let s = if lines.len() == 1 { "" } else { "s" };
    assert_eq!(last, format!("{} mistake{s} in k.toml", lines.len()));
    lines
}

/// The one mistake of `text`.
fn mistake(text: &str) -> String {
    let found = mistakes(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

/// [`SMALL`] with lines in front of its tables.
fn small(more: &str) -> String {
    SMALL.replacen("[tables.products]\n", &format!("{more}\n[tables.products]\n"), 1)
}

/// [`SMALL`] with lines at its end, behind the fields.
fn fields(more: &str) -> String {
    format!("{SMALL}{more}\n")
}

const MANY: &str = r#"aplication = "shop"
[instance]
id = "Keld 0"
listen = "localhost:7070"
workers = 0
[broker]
kind = "kafak"
client = { "group.id" = "mine", acks = "all" }
[processing]
guarantee = 3
min_gap = "200ms"
commit_bytes = "lots"
transaction_timeout = "20"
[memory]
budget = "100MiB"
[topics]
replication = 0
[tables.products]
key = "a..b"
[tables.products.sources.catalog]
topic = "no blanks"
version = ["a", "b", "c"]
rank = 3000000000
delete = { field = "deleted" }
[tables.products.sources.stock]
event_id = "id"
sentinels = "none"
[tables.products.fields]
_secret = { type = "text" }
unitPrice = { type = "float" }
price = { type = "flaot" }
sold = { type = "integer", merge = "sum" }
tags = { type = "json", merge = "set" }
"#;

#[test]
fn every_mistake_of_a_file_is_reported_at_its_place() {
    let expected = [
        ("1:1: aplication: ", "did you mean \"application\"?"),
        ("1:1: application: ", "missing"),
        ("3:6: instance.id: ", "'K'"),
        ("4:10: instance.listen: ", "127.0.0.1:7070"),
        ("5:11: instance.workers: ", "between 1 and 256, is 0"),
        ("7:8: broker.kind: ", "did you mean \"kafka\"?"),
        ("8:12: broker.client.group.id: ", "Keld's own"),
        ("10:13: processing.guarantee: ", "the number 3 (one of: exactly_once, at_least_once)"),
        ("11:11: processing.min_gap: ", "min_gap (200ms) may not be longer than commit_interval (100ms)"),
        ("12:16: processing.commit_bytes: ", "\"lots\""),
        ("13:23: processing.transaction_timeout: ", "\"20\""),
        ("15:10: memory.budget: ", "too little for tables (1) and workers (1): at least 160.0 MiB"),
        ("17:15: topics.replication: ", "-1"),
        ("19:7: tables.products.key: ", "a part of it is empty"),
        ("20:26: tables.products.sources.catalog.event_id: ", "source \"catalog\": field \"sold\" is merged by sum"),
        ("21:9: tables.products.sources.catalog.topic: ", "' '"),
        ("22:11: tables.products.sources.catalog.version: ", "found 3"),
        ("23:8: tables.products.sources.catalog.rank: ", "is 3000000000"),
        ("24:1: tables.products.sources.catalog.delete.equals: ", "missing"),
        ("25:26: tables.products.sources.stock.topic: ", "missing"),
        ("27:13: tables.products.sources.stock.sentinels: ", "list"),
        ("29:1: tables.products.fields._secret: ", "Keld's own"),
        ("30:1: tables.products.fields.unitPrice: ", "give path = \"unitPrice\""),
        (
            "31:18: tables.products.fields.price.type: ",
            "unknown type \"flaot\" (one of: text, keyword, integer, float, boolean, date, json; did you mean \"float\"?)",
        ),
        ("33:33: tables.products.fields.tags.merge: ", "\"set\" does not work on json"),
    ];
    let found = mistakes(MANY);
    assert!(expected.len() >= 20);
    for ((place, what), line) in expected.iter().zip(&found) {
        assert!(line.starts_with(&format!("k.toml:{place}")), "{line}\n  should be at {place}");
        assert!(line.contains(what), "{line}\n  should say {what}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn settings_that_do_not_fit_each_other_are_refused() {
    for (lines, expected) in [
        ("[processing]\ncommit_interval = \"1ms\"", "k.toml:3:19: processing.commit_interval: min_gap (15ms)"),
        (
            "[processing]\ncommit_interval = \"2s\"\ntransaction_timeout = \"2s\"",
            "k.toml:4:23: processing.transaction_timeout: transaction_timeout (2s) must be longer",
        ),
        (
            "[index]\ninterval = \"9s\"\ncatch_up_interval = \"5s\"",
            "k.toml:3:12: index.interval: interval (9s) may not be longer",
        ),
        ("[broker]\nkind = \"kafka\"", "k.toml:2:2: broker.bootstrap_servers: missing"),
        (
            "[broker]\nbootstrap_servers = \"host\"",
            "k.toml:3:21: broker.bootstrap_servers: \"host\" is no host and port",
        ),
        ("[broker]\nclient.isolation.level = \"read_uncommitted\"", "k.toml:3:18: broker.client.isolation.level: "),
        (
            "[quarantine]\ntopic = \"catalog\"",
            "k.toml:7:9: tables.products.sources.catalog.topic: \"catalog\" is the quarantine",
        ),
        ("[quarantine]\ntopic = \"shop-products-changelog\"", "k.toml:3:9: quarantine.topic: is the changelog"),
        (
            "[memory]\nbudget = \"159MiB\"\n[instance]\nworkers = 1",
            "k.toml:3:10: memory.budget: 159.0 MiB is too little for tables (1) and workers (1): at least 160.0 MiB",
        ),
        (
            "[memory]\nbudget = \"255MiB\"\n[instance]\nworkers = 2\n[tables.other]\nkey = \"id\"\n\
             [tables.other.sources.other]\ntopic = \"other\"\n[tables.other.fields]\nname = { type = \"text\" }",
            "k.toml:3:10: memory.budget: 255.0 MiB is too little for tables (2) and workers (2): at least 256.0 MiB",
        ),
    ] {
        let found = mistake(&small(lines));
        assert!(found.starts_with(expected), "{found}\n  should start with {expected}");
    }
    load(&small("[memory]\nbudget = \"160MiB\"\n[instance]\nworkers = 1"));
    let everywhere =
        "[instance]\nlisten = \"0.0.0.0:7070\"\n[broker]\nkind = \"kafka\"\nbootstrap_servers = \"a:1,b:2\"";
    assert!(mistake(&small(everywhere)).starts_with("k.toml:2:2: instance.advertise: missing"));
    load(&small(&everywhere.replace("[broker]", "advertise = \"http://here:7070\"\n[broker]")));
}

#[test]
fn fields_and_sources_that_do_not_fit_are_refused() {
    let source = |lines: &str| fields(&format!("[tables.products.sources.stock]\n{lines}"));
    for (text, expected) in [
        (
            fields("a = { type = \"keyword\", merge = \"sum\" }")
                .replace("topic = \"catalog\"", "topic = \"c\"\nevent_id = \"e\""),
            "k.toml:9:33: tables.products.fields.a.merge: \"sum\" does not work on keyword (on: integer, float)",
        ),
        (
            fields("a = { type = \"text\", merge = \"max\" }"),
            "k.toml:8:30: tables.products.fields.a.merge: \"max\" does not work on text",
        ),
        (
            fields("a = { type = \"keyword\", merge = \"map\" }"),
            "k.toml:8:33: tables.products.fields.a.merge: \"map\" does not work on keyword (on: json)",
        ),
        (
            fields("a = { type = \"keyword\", merge = \"append\" }"),
            "k.toml:4:26: tables.products.sources.catalog.event_id: missing in source \"catalog\": field \"a\" is merged by append",
        ),
        (
            fields("a = { type = \"text\", merge = \"first\", limit = 3 }"),
            "k.toml:8:47: tables.products.fields.a.limit: applies to merge = \"set\", \"map\" and \"append\" only",
        ),
        (
            fields("a = { type = \"float\", limit = 3 }"),
            "k.toml:8:31: tables.products.fields.a.limit: applies to merge",
        ),
        (
            fields("a = { type = \"text\", facet = true }"),
            "k.toml:8:30: tables.products.fields.a.facet: does not work on text",
        ),
        (
            fields("sku = { type = \"keyword\", merge = \"set\" }"),
            "k.toml:8:35: tables.products.fields.sku.merge: sku is the table's key",
        ),
        (
            fields("sku = { type = \"keyword\", path = \"x\" }"),
            "k.toml:8:34: tables.products.fields.sku.path: records show their key",
        ),
        (fields("a = { merge = \"lww\" }"), "k.toml:8:1: tables.products.fields.a.type: missing: one of: text"),
        (fields("a = \"text\""), "k.toml:8:5: tables.products.fields.a: expected a section, found \"text\""),
        (
            source("topic = \"catalog\""),
            "k.toml:9:9: tables.products.sources.stock.topic: source \"catalog\" reads \"catalog\" already",
        ),
        (
            source("topic = \"t\"\nversion_kind = \"sequence\""),
            "k.toml:10:16: tables.products.sources.stock.version_kind: a sequence needs a version path",
        ),
        (
            source("topic = \"t\"\nversion = \"v\"\nversion_kind = \"sequence\"\nmax_ahead = \"1d\""),
            "k.toml:12:13: tables.products.sources.stock.max_ahead: applies to times",
        ),
        (
            source("topic = \"t\"\nversion = [\"v\", \"@timstamp\"]"),
            "k.toml:10:11: tables.products.sources.stock.version: \"@timstamp\" is nothing beside the event (one of: @key, \
             @timestamp, @partition, @header.NAME, @source.NAME, @op, @ts_ms, @transaction.NAME; did you mean \"@timestamp\"?); a member of that name is \"@@timstamp\"",
        ),
        (
            source("topic = \"t\"\n[tables.products.window]\ntimes = \"1d\""),
            "k.toml:11:1: tables.products.window.times: unknown key \"times\" (one of: events, time; did you mean \"time\"?)",
        ),
        (
            source(
                "topic = \"t\"\nversion = \"v\"\nversion_kind = \"sequence\"\n[tables.products.window]\ntime = \"1d\"",
            ),
            "k.toml:13:8: tables.products.window.time: needs versions that are times, and those of source \"stock\"",
        ),
        (
            SMALL.replace("key = \"sku\"", "key = \"sku\"\nttl = { from = \"deleted\", after = \"1d\" }"),
            "k.toml:4:16: tables.products.ttl.from: unknown choice \"deleted\" (one of: released, version",
        ),
        (
            SMALL.replace("key = \"sku\"", "key = \"sku\"\nttl = { from = \"version\" }"),
            "k.toml:4:1: tables.products.ttl.after: missing: how long after",
        ),
        (
            SMALL.replace("key = \"sku\"", "key = \"sku\"\ntombstone_horizon = \"1ms\""),
            "k.toml:4:21: tables.products.tombstone_horizon: must be between 1s and 9years",
        ),
        (
            SMALL.replace("key = \"sku\"", "key = \"sku\"\ntombstone_horizon = \"off\"\nbeyond_horizon = \"refuse\""),
            "k.toml:5:18: tables.products.beyond_horizon: \"refuse\" needs a tombstone_horizon",
        ),
        (
            SMALL.replace("key = \"sku\"", "key = \"sku\"\ntombstone_horizon = \"off\"\nidle_after = \"1h\""),
            "k.toml:5:14: tables.products.idle_after: moves what tombstone_horizon and ttl go by",
        ),
    ] {
        let found = mistake(&text);
        assert!(found.starts_with(expected), "{found}\n  should start with {expected}");
    }
}

#[test]
fn event_time_ends_things_only_where_versions_are_times_that_can_be_trusted() {
    let stock = "[tables.products.sources.stock]\ntopic = \"stock\"\nversion = \"v\"\n";
    for (kind, why) in [
        ("version_kind = \"sequence\"", "needs versions that are times, and those of source \"stock\" are a sequence"),
        ("max_ahead = \"off\"", "needs max_ahead in source \"stock\": without it one wrong clock"),
    ] {
        let text = fields(&format!("{stock}{kind}"));
        assert_eq!(load(&text).tables[0].retention, Retention::default(), "marks of deletes stay");
        load(&text.replace("key = \"sku\"", "key = \"sku\"\ntombstone_horizon = \"off\""));
        for (setting, value) in [
            ("tombstone_horizon", "\"7d\""),
            ("beyond_horizon", "\"refuse\""),
            ("ttl", "{ from = \"version\", after = \"1d\" }"),
            ("idle_after", "\"1h\""),
        ] {
            let found = mistake(&text.replace("key = \"sku\"", &format!("key = \"sku\"\n{setting} = {value}")));
            assert!(found.contains(&format!("tables.products.{setting}: {why}")), "{found}");
        }
    }
    let set = "key = \"sku\"\ntombstone_horizon = \"1h\"\nbeyond_horizon = \"refuse\"\nidle_after = \"2s\"\n\
               ttl = { from = \"released\", after = \"30d\" }";
    let expected = Retention {
        tombstone_horizon_ms: Some(3_600_000),
        beyond_horizon: BeyondHorizon::Refuse,
        ttl: Some(Ttl { from: TtlFrom::Released, after_ms: 30 * 86_400_000 }),
        idle_after_ms: Some(2_000),
    };
    assert_eq!(load(&SMALL.replace("key = \"sku\"", set)).tables[0].retention, expected);
    let for_ever = set.replace("\"1h\"\nbeyond_horizon = \"refuse\"", "\"off\"");
    let found = mistake(&SMALL.replace("key = \"sku\"", &for_ever));
    assert!(
        found.contains("tables.products.ttl: from = \"released\" needs a tombstone_horizon, which is off"),
        "{found}"
    );
    let usual = Retention { tombstone_horizon_ms: Some(7 * 86_400_000), ..Retention::default() };
    assert_eq!(load(SMALL).tables[0].retention, usual);
}

#[test]
fn names_whose_ids_collide_are_refused() {
    let mut seen = std::collections::HashMap::new();
    let (first, second) = (0..1_000_000)
        .find_map(|n| seen.insert(name_id(&format!("f{n}")), n).map(|other| (format!("f{other}"), format!("f{n}"))))
        .expect("a million names into 32 bits");
    let found = mistake(&fields(&format!("{first} = {{ type = \"text\" }}\n{second} = {{ type = \"text\" }}")));
    assert!(found.contains(&first) && found.contains(&second) && found.contains("32-bit id"), "{found}");
}

#[test]
fn text_that_is_not_toml_says_where() {
    let found = mistake("application = \"shop\"\n[broker\nkind = 1\n");
    assert!(found.starts_with("k.toml:2:8: "), "{found}");
    let marked = mistake("\u{feff}application = 1\r\n[tables.t]\r\nkey = \"k\"\r\nsources.s.topic = \"t\"\r\n");
    assert_eq!(marked, "k.toml:1:15: application: expected text, found the number 1");
    let twice = mistake(&small("[broker]\nkind = \"local\"\nkind = \"kafka\""));
    assert!(twice.starts_with("k.toml:4:1: duplicate key"), "{twice}");
}

#[test]
fn a_file_without_tables_is_refused() {
    assert!(mistake("application = \"a\"\n").starts_with("k.toml:1:1: tables: no table"));
    let found = mistakes("application = \"a\"\n[tables.t]\nkey = \"@key\"\n");
    assert_eq!(found, ["k.toml:2:9: tables.t: has no source (add [tables.NAME.sources.NAME] with a topic)"]);
}

#[test]
fn the_smallest_file_gets_the_documented_defaults() {
    let s = load(SMALL);
    assert_eq!((s.instance.id.as_str(), s.instance.advertise.as_str()), ("keld-0", "http://127.0.0.1:7070"));
    assert_eq!((s.broker.kind, s.broker.default_partitions, s.memory_budget), (BrokerKind::Local, 4, 1 << 30));
    assert_eq!((s.processing.min_gap, s.processing.commit_bytes), (Duration::from_millis(15), 16 << 20));
    assert_eq!((s.quarantine.topic.as_str(), s.quarantine.max_payload), ("shop-quarantine", 921_600));
    assert!((s.quarantine.max_rate - 0.5).abs() < f64::EPSILON);
    assert_eq!((s.topics.create, s.topics.create_sources, s.topics.replication), (true, true, -1));
    assert_eq!(s.changelog_topic("products"), "shop-products-changelog");
    let table = &s.tables[0];
    assert_eq!((table.dynamic, table.window.events, table.window.time_ms), (Dynamic::Store, 64, 86_400_000));
    assert_eq!((table.max_depth, &table.key), (64, &KeyFrom::Path(keld::record::Path::parse("sku"))));
    let source = &table.sources[0];
    assert_eq!((&source.version, source.max_ahead_ms, source.rank), (&VersionFrom::Timestamp, Some(86_400_000), 0));
    let kafka = with(SMALL, &[], &["broker.kind=kafka", "broker.bootstrap_servers=h:1"]).unwrap();
    assert!(!kafka.topics.create_sources, "source topics on Kafka are somebody else's");
}

#[test]
fn every_strategy_has_its_own_limit() {
    let strategies = "a = { type = \"json\", merge = \"map\" }\nb = { type = \"text\", merge = \"first\" }\n\
                      c = { type = \"json\", merge = \"append\" }\nd = { type = \"json\", merge = \"append\", limit = 7 }";
    let text = fields(strategies).replace("topic = \"catalog\"", "topic = \"catalog\"\nevent_id = \"id\"");
    let table = load(&text).tables[0].clone();
    let found = |name: &str| table.field(name).map(|f| (f.merge, f.limit)).unwrap();
    assert_eq!(found("a"), (Strategy::Map, 1000));
    assert_eq!(found("b").0, Strategy::First);
    assert_eq!(found("c"), (Strategy::Append, 100));
    assert_eq!(found("d"), (Strategy::Append, 7));
}

#[test]
fn sequences_have_no_limits_in_time() {
    let text = fields(
        "[tables.products.sources.stock]\ntopic = \"stock\"\nversion = [\"epoch\", \"lsn\"]\nversion_kind = \"sequence\"",
    );
    let table = load(&text).tables[0].clone();
    assert_eq!(table.sources[1].max_ahead_ms, None);
    assert_eq!(table.window.time_ms, i64::MAX);
    let off = SMALL.replace("topic = \"catalog\"", "topic = \"catalog\"\nversion = \"ts\"\nmax_ahead = \"off\"");
    let table = load(&off).tables[0].clone();
    assert_eq!((table.sources[0].max_ahead_ms, table.window.time_ms), (None, 86_400_000));
}

#[test]
fn one_topic_may_feed_two_tables() {
    let text = format!("{SMALL}[tables.other]\nkey = \"@key\"\nsources.catalog.topic = \"catalog\"\n");
    let tables = load(&text).tables;
    assert_eq!(tables.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["other", "products"]);
    assert_eq!(tables[0].key, KeyFrom::Message);
}

/// The reference with every line `# key = value` uncommented.
fn uncommented(text: &str) -> (String, usize) {
    let mut count = 0;
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if is_setting(rest) => {
            count += 1;
            rest
        }
        _ => line,
    });
    (lines.collect::<Vec<_>>().join("\n"), count)
}

fn is_setting(line: &str) -> bool {
    line.split_once(" = ").is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
}

#[test]
fn the_defaults_that_the_reference_shows_are_the_defaults() {
    let text = read("keld.toml");
    let (full, count) = uncommented(&text);
    assert!(count > 50, "only {count} defaults found");
    assert_eq!(format!("{:#?}", load(&full)), format!("{:#?}", load(&text)));
}

/// Every section says which keys it knows when it is asked for one that it does not know.
#[test]
fn the_reference_documents_every_setting() {
    let text = read("keld.toml");
    let sections = [
        ("", ""),
        ("instance", "instance"),
        ("broker", "broker"),
        ("cluster", "cluster"),
        ("processing", "processing"),
        ("memory", "memory"),
        ("index", "index"),
        ("topics", "topics"),
        ("api", "api"),
        ("quarantine", "quarantine"),
        ("tables.products", "tables.products"),
        ("tables.products.sources.catalog", "tables.products.sources.catalog"),
        ("tables.products.fields.title", "tables.products.fields.t"),
        ("tables.products.fields.title.analysis", "tables.products.fields.title."),
        ("tables.products.derived.label", "tables.products.derived.label"),
    ];
    let mut checked = 0;
    for (path, header) in sections {
        let flag = format!("{path}.zzz=1");
        let found = refusal(with(&text, &[], &[flag.trim_start_matches('.')]));
        let (_, known) = found[0].split_once("(one of: ").expect("a list of known keys");
        // Fields share their keys out over several sections of the file.
        let in_sections = |key: &str| {
            let shown = |body: &str| body.lines().any(|l| l.trim_start_matches("# ").starts_with(&format!("{key} = ")));
            let mut parts = text.split("\n[").filter(|part| part.starts_with(header));
            parts.any(shown) || text.contains(&format!("\n[{path}.{key}")) || text.contains(&format!("\n[{key}"))
        };
        for key in known.trim_end_matches(')').split(", ") {
            assert!(in_sections(key), "{path}: {key} is not in config/keld.toml");
            checked += 1;
        }
    }
    assert!(checked > 60, "only {checked} keys found");
}

#[test]
fn flags_override_variables_override_the_file() {
    let text = small("[memory]\nbudget = \"2GiB\"\n[api]\nmax_hits = 7\ningest = false");
    let env = [("KELD_MEMORY__BUDGET", "3GiB"), ("KELD_API__MAX_HITS", "8"), ("KELD_INSTANCE__DATA_DIR", "/x/Y")];
    let s = with(&text, &env, &["memory.budget=4GiB", "memory.budget=5GiB", "application=other"]).unwrap();
    assert_eq!((s.memory_budget >> 30, s.api.max_hits, s.api.ingest), (5, 8, false));
    assert_eq!((s.application.as_str(), s.instance.data_dir.to_str()), ("other", Some("/x/Y")));
    let s = with(&text, &env, &[]).unwrap();
    assert_eq!((s.memory_budget >> 30, s.application.as_str()), (3, "shop"));
    let s = with(&text, &[("KELD_APPLICATION", "123"), ("KELD_API__MAX_HITS", "")], &[]).unwrap();
    assert_eq!((s.application.as_str(), s.api.max_hits), ("123", 7));
}

#[test]
fn overrides_reach_into_tables_and_client_properties() {
    let env = [("KELD_BROKER__CLIENT__SASL_PASSWORD", "a=b.c"), ("KELD_TABLES__PRODUCTS__WINDOW__EVENTS", "5")];
    let flags = [
        "broker.client.ssl.ca.location=/ca.pem",
        "tables.products.fields.n={ type = \"integer\" }",
        "tables.products.sources.catalog.delete.field=op",
        "tables.products.sources.catalog.delete.equals=d",
        "tables.products.sources.catalog.sentinels=[1.0, \"x\", 1.5]",
    ];
    let s = with(SMALL, &env, &flags).unwrap();
    let client: Vec<_> = s.broker.client.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(client, [("sasl.password", "a=b.c"), ("ssl.ca.location", "/ca.pem")]);
    let table = &s.tables[0];
    assert_eq!((table.window.events, table.field("n").unwrap().kind), (5, FieldType::Integer));
    assert_eq!(table.sources[0].delete.as_ref().unwrap().equals, Value::Str("d".into()));
    assert_eq!(table.sources[0].sentinels, [Value::Int(1), Value::Str("x".into()), Value::Float(1.5)]);
}

#[test]
fn overrides_that_name_nothing_are_refused_by_their_name() {
    let env = [
        ("KELD_BROKER__BOOTSTRAP_SERVER", "h:1"),
        ("KELD_BROKERS__KIND", "kafka"),
        ("KELD_MEMORY__BUDGET", "-1"),
        ("KELD_FAULT", "commit.1_begun"),
        ("KELD_TEST_X", "1"),
        ("KELD_SERVICE_HOST", "10.0.0.1"),
        ("HOME", "/"),
    ];
    let found =
        refusal(with(SMALL, &env, &["memory.bugdet=1GiB", "application.x=1", "api", "broker.client.group.id=secret"]));
    let expected = [
        "KELD_BROKERS__KIND: brokers: unknown key \"brokers\"",
        "KELD_BROKER__BOOTSTRAP_SERVER: broker.bootstrap_server: unknown key",
        "KELD_MEMORY__BUDGET: memory.budget: expected a size",
        "--set memory.bugdet: memory.bugdet: unknown key \"bugdet\" (one of: budget; did you mean \"budget\"?)",
        "--set application.x: application.x: application is a value, not a section",
        "--set api: expected section.key=value",
        "--set broker.client.group.id: broker.client.group.id: ",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (line, start) in found.iter().zip(expected) {
        assert!(line.starts_with(start), "{line}\n  should start with {start}");
        assert!(!line.contains("secret"), "{line}");
    }
}

#[test]
fn the_workloads_have_their_configurations() {
    let catalog = load(&read("catalog.toml")).tables[0].clone();
    let ranks: Vec<_> = catalog.sources.iter().map(|s| (s.name.as_str(), s.rank)).collect();
    assert_eq!(ranks, [("catalog", 30), ("pricing", 20), ("stock", 10)]);
    assert_eq!((catalog.fields.len(), catalog.field("sold").unwrap().merge), (11, Strategy::Sum));
    let flights = load(&read("flights.toml")).tables[0].clone();
    let ranks: Vec<_> = flights.sources.iter().map(|s| (s.name.as_str(), s.rank)).collect();
    assert_eq!(ranks, [("aircraft", 30), ("notices", 20), ("operations", 40), ("schedule", 10)]);
    assert_eq!((flights.fields.len(), flights.window.time_ms), (31, 30 * 86_400_000));
    assert_eq!(flights.field("worst_delay").unwrap().path.to_string(), "delay_min");
}

fn keld(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keld"));
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("KELD_")) {
        command.env_remove(name);
    }
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn last_line(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap().lines().last().unwrap_or_default().to_owned()
}

#[test]
fn check_says_what_a_right_configuration_needs() {
    for name in ["keld.toml", "catalog.toml", "flights.toml"] {
        let out = keld(&["check", "--config", file(name).to_str().unwrap(), "--set", "instance.workers=1"]);
        assert_eq!(out.status.code(), Some(0), "{out:?}");
    }
    let text = String::from_utf8(keld(&["check", "--config", "config/catalog.toml"]).stdout).unwrap();
    for word in [
        "ok  config/catalog.toml",
        "table products",
        "catalog-products-changelog",
        "pricing",
        "sold_delta",
        "block cache",
    ] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    assert!(!text.contains('\x1b'), "colours without a terminal");
}

#[test]
fn check_fails_with_every_mistake_and_says_why_last() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.toml");
    std::fs::write(&path, MANY).unwrap();
    let out = keld(&["check", "--config", path.to_str().unwrap(), "--set", "instance.workers=1"]);
    assert_eq!(out.status.code(), Some(1));
    let stderr = String::from_utf8(out.stderr.clone()).unwrap();
    assert!(stderr.contains(&format!("{}:31:18: tables.products.fields.price.type: ", path.display())), "{stderr}");
    // Twenty-five in the file, of which the flag puts one right.
    assert_eq!(last_line(&out.stderr), format!("keld: error: 24 mistakes in {}", path.display()));
    assert!(out.stdout.is_empty());
}

#[test]
fn a_missing_file_is_named_with_advice() {
    let error = config::load(Path::new("no/such.toml"), &[], &[]).unwrap_err();
    assert!(error.message().contains("no/such.toml") && error.advice().unwrap().contains("--config"), "{error}");
    let out = keld(&["run", "--config", "no/such.toml"]);
    assert_ne!(out.status.code(), Some(0));
    let out = keld(&["check", "--config", "no/such.toml"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(last_line(&out.stderr).starts_with("keld: error: there is no configuration file no/such.toml"), "{out:?}");
}

#[test]
fn a_command_line_that_cannot_be_read_says_why_last() {
    let out = keld(&["check", "--confg", "x"]);
    assert_eq!(out.status.code(), Some(2));
    assert_eq!(last_line(&out.stderr), "keld: error: unexpected argument '--confg' found");
    assert_eq!(last_line(&keld(&[]).stderr), "keld: error: a command is missing");
    let loud = keld(&["--log", "keld=loud", "check", "--config", "config/keld.toml"]);
    assert!(last_line(&loud.stderr).starts_with("keld: error: --log \"keld=loud\""), "{loud:?}");
    let help = keld(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8(help.stdout).unwrap().contains("keld run --config"));
}

#[test]
fn derived_fields_are_checked_where_they_stand() {
    let found = mistakes(&fields(
        r#"price = { type = "float" }
cost = { type = "float" }
[tables.products.derived]
margin = { type = "float", expr = "price - cost" }
wrong = { type = "float", expr = "price - cots" }
other = { type = "text", expr = "price", facet = true }
title = { type = "text", expr = "title" }
sku = { type = "keyword", expr = "title" }
bare = { type = "text" }
more = { type = "text", expr = "title +", path = "x" }"#,
    ));
    let expected = [
        (
            ":12:34: tables.products.derived.wrong.expr: unknown field \"cots\" (one of: cost, price, title, sku)",
            "character 9",
        ),
        (":13:33: tables.products.derived.other.expr: gives float", "takes text"),
        (":13:50: tables.products.derived.other.facet: ", "use keyword"),
        (":14:1: tables.products.derived.title: ", "declared field already"),
        (":15:1: tables.products.derived.sku: ", "their key"),
        (":16:1: tables.products.derived.bare.expr: missing", "price - cost"),
        (":17:32: tables.products.derived.more.expr: is no expression", "character"),
        (":17:43: tables.products.derived.more.path: unknown key \"path\"", "expr"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (line, (start, part)) in found.iter().zip(expected) {
        assert!(line.contains(start) && line.contains(part), "{line}\n  lacks {start} … {part}");
    }
}

#[test]
fn texts_are_analysed_as_their_fields_say() {
    let analysis = "body = { type = \"text\", analysis = { language = \"english\", stop_words = [\"Foo\"], folding = true, \
                    synonyms = \"s.txt\" }, variants = { start = { edge_grams = [2, 10] }, part = { grams = [3, 3] } } }";
    let tables = load(&fields(analysis)).tables;
    let field = tables[0].field("body").unwrap();
    assert_eq!((field.analysis.language, field.analysis.folding), (Some(Language::English), true));
    assert_eq!(field.analysis.stop_words, StopWords::These(vec!["Foo".to_owned()]));
    assert_eq!(field.analysis.synonyms.as_deref(), Some(Path::new("s.txt")));
    let grams: Vec<(&str, Option<Grams>)> = field.variants.iter().map(|(n, a)| (n.as_str(), a.grams)).collect();
    let (part, start) = (Grams { min: 3, max: 3, inside: true }, Grams { min: 2, max: 10, inside: false });
    assert_eq!(grams, [("part", Some(part)), ("start", Some(start))]);
    for (wrong, what) in [
        ("type = \"keyword\", analysis = { folding = true }", "type = \"text\" only"),
        ("type = \"text\", analysis = { language = \"klingon\" }", "klingon"),
        ("type = \"text\", analysis = { stop_words = true }", "no list"),
        ("type = \"text\", analysis = { grams = [3, 2] }", "at most 20"),
        ("type = \"text\", analysis = { grams = [3, 3], edge_grams = [1, 2] }", "does not go with grams"),
        ("type = \"text\", analysis = { stemmer = true }", "stemmer"),
        ("type = \"text\", variants = { \"A b\" = { folding = true } }", "names are made of"),
    ] {
        let found = mistakes(&fields(&format!("wrong = {{ {wrong} }}")));
        assert!(found.len() == 1 && found[0].contains(what), "{wrong}: {found:?}");
    }
}
