//! Reads every section but the tables. Defaults stand here and in `config/keld.toml`; a test holds the two together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::mistakes::Mistakes;
use super::parse::{choice, duration, name, or_auto, scalar, share, size, switch, text, topic, whole};
use super::section::{Parsed, Section};
use super::settings::*;
use super::tree::{Data, Members, Node};
use super::{rules, tables};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const DAY: Duration = seconds(86_400);

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Reads everything; what is wrong goes to `mistakes`, and a default takes its place.
pub(super) fn settings(root: &Members, mistakes: &Mistakes) -> Settings {
    let all = Section::root(root, mistakes);
    let what = "the application's name, such as \"shop\"; it names group, topics and state";
    let application = all.need("application", what, name).unwrap_or_default();
    let instance_section = all.sub("instance");
    let broker = broker(all.sub("broker"));
    let instance = instance(&instance_section, broker.protocol);
    let memory = all.sub("memory");
    let memory_budget = memory.or("budget", GIB, size(MIB..=64 * TIB));
    let quarantine_section = all.sub("quarantine");
    let registry_section = all.sub("schema_registry");
    let settings = Settings {
        memory_budget,
        schema_registry: registry(&registry_section),
        cluster: cluster(all.sub("cluster")),
        state: state(all.sub("state")),
        processing: processing(all.sub("processing")),
        index: index(all.sub("index")),
        topics: topics(all.sub("topics"), broker.kind),
        api: api(all.sub("api")),
        quarantine: quarantine(&quarantine_section, &application),
        tables: tables::tables(&all),
        application,
        instance,
        broker,
    };
    rules::reachable(&instance_section, &settings);
    rules::membership(&instance_section, &settings);
    rules::memory(&all, &memory, &settings);
    rules::topics(&all, &quarantine_section, &settings);
    rules::registry(&registry_section, &settings);
    for section in [instance_section, memory, quarantine_section, registry_section, all] {
        section.finish();
    }
    settings
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn instance(s: &Section<'_>, protocol: GroupProtocol) -> InstanceSettings {
    let listen = s.or("listen", SocketAddr::from(([127, 0, 0, 1], 7070)), listen);
    let workers = (cores() / 2).max(1);
    let classic = protocol == GroupProtocol::Classic;
    InstanceSettings {
        id: s.or("id", "keld-0".to_owned(), name),
        static_membership: s.or("static_membership", classic, or_auto(classic, switch)),
        data_dir: s.or("data_dir", "state".to_owned(), text).into(),
        listen,
        advertise: s.or("advertise", format!("http://{listen}"), advertise),
        workers: s.or("workers", workers, or_auto(workers, whole(1..=256))),
        stall_timeout: s.or("stall_timeout", seconds(60), duration(seconds(1)..=DAY)),
    }
}

fn listen(node: &Node) -> Parsed<SocketAddr> {
    let found = text(node)?;
    let wrong = |_| {
        format!("{found:?} is no address and port (write an IP address, such as \"127.0.0.1:7070\" or \"[::]:7070\")")
    };
    found.parse().map_err(wrong)
}

fn advertise(node: &Node) -> Parsed<String> {
    let found = text(node)?;
    let host = found.strip_prefix("http://").or_else(|| found.strip_prefix("https://"));
    match host.map(|h| h.trim_end_matches('/')) {
        Some(host) if !host.is_empty() && !host.contains(['/', ' ', '?', '#']) => {
            Ok(found.trim_end_matches('/').to_owned())
        }
        _ => Err(format!("{found:?} is no base address (write one such as \"http://keld-0.internal:7070\")")),
    }
}

fn broker(s: Section<'_>) -> BrokerSettings {
    let kinds = [("local", BrokerKind::Local), ("kafka", BrokerKind::Kafka)];
    let protocols = [("classic", GroupProtocol::Classic), ("consumer", GroupProtocol::Consumer)];
    let client = s.sub("client");
    let broker = BrokerSettings {
        kind: s.or("kind", BrokerKind::Local, choice("kind", &kinds)),
        bootstrap_servers: s.or("bootstrap_servers", String::new(), servers),
        client: client_properties(&client),
        protocol: s.or("protocol", GroupProtocol::Classic, choice("protocol", &protocols)),
        session_timeout: s.or("session_timeout", seconds(10), duration(seconds(1)..=seconds(1800))),
        default_partitions: s.or("default_partitions", 4, whole(1..=1024)),
        retention_time: s.or("retention_time", DAY * 7, duration(seconds(1)..=DAY * 3650)),
        retention_bytes: s.or("retention_bytes", GIB, size(KIB..=64 * TIB)),
    };
    rules::broker(&s, &broker);
    s.finish();
    broker
}

/// `host:port`, separated by commas; empty where there are none.
fn servers(node: &Node) -> Parsed<String> {
    if matches!(&node.data, Data::Text(t) | Data::Loose(t) if t.is_empty()) {
        return Ok(String::new());
    }
    let found = text(node)?;
    for server in found.split(',') {
        let port =
            server.trim().rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            return Err(format!("{server:?} is no host and port (write \"host:9092\", more separated by commas)"));
        }
    }
    Ok(found)
}

fn client_properties(s: &Section<'_>) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    for (key, node) in s.members() {
        flatten(s, key, node, &mut properties);
    }
    properties
}

/// `security.protocol = …` without quotes is a section to TOML; librdkafka knows no sections, so it is one name again.
fn flatten(s: &Section<'_>, key: &str, node: &Node, into: &mut BTreeMap<String, String>) {
    if let Data::Section(members) = &node.data {
        return members.iter().for_each(|(name, inner)| flatten(s, &format!("{key}.{name}"), inner, into));
    }
    match rules::owned_property(key).map_or_else(|| scalar(node), Err) {
        Ok(text) => _ = into.insert(key.to_owned(), text),
        Err(what) => s.wrong_at(&node.key_at, key, what),
    }
}

fn cluster(s: Section<'_>) -> ClusterSettings {
    let cluster = ClusterSettings {
        peers: s.or("peers", Vec::new(), addresses),
        heartbeat_interval: s.or("heartbeat_interval", millis(100), duration(millis(10)..=seconds(10))),
        misses: s.or("misses", 3, whole(1..=1_000)),
        standbys: s.or("standbys", 1, whole(0..=100)),
    };
    s.finish();
    cluster
}

fn state(s: Section<'_>) -> StateSettings {
    let state = StateSettings {
        retention: s.or("retention", DAY, duration(seconds(1)..=DAY * 3650)),
        budget: s.or("budget", 10 * GIB, size(0..=1024 * TIB)),
    };
    s.finish();
    state
}

/// Base addresses: a list, or separated by commas; empty where there are none.
fn addresses(node: &Node) -> Parsed<Vec<String>> {
    if let Data::List(nodes) = &node.data {
        return nodes.iter().map(advertise).collect();
    }
    let one = |text: &str| advertise(&Node { data: Data::Text(text.trim().to_owned()), ..node.clone() });
    match &node.data {
        Data::Text(t) | Data::Loose(t) if t.is_empty() => Ok(Vec::new()),
        Data::Text(t) | Data::Loose(t) => t.split(',').map(one).collect(),
        _ => Err(format!("expected a list of addresses, found {}", node.describe())),
    }
}

fn processing(s: Section<'_>) -> ProcessingSettings {
    let guarantees = [("exactly_once", Guarantee::ExactlyOnce), ("at_least_once", Guarantee::AtLeastOnce)];
    let on_gap = [("stop", OnGap::Stop), ("continue", OnGap::Continue)];
    let processing = ProcessingSettings {
        guarantee: s.or("guarantee", Guarantee::ExactlyOnce, choice("guarantee", &guarantees)),
        min_gap: s.or("min_gap", millis(15), duration(millis(0)..=seconds(60))),
        commit_interval: s.or("commit_interval", millis(100), duration(millis(1)..=seconds(60))),
        catch_up_interval: s.or("catch_up_interval", millis(500), duration(millis(0)..=seconds(60))),
        commit_bytes: s.or("commit_bytes", 16 * MIB, size(64 * KIB..=GIB)),
        transaction_timeout: s.or("transaction_timeout", seconds(10), duration(seconds(1)..=seconds(900))),
        on_gap: s.or("on_gap", OnGap::Stop, choice("reaction", &on_gap)),
    };
    rules::processing(&s, &processing);
    s.finish();
    processing
}

fn index(s: Section<'_>) -> IndexSettings {
    let index = IndexSettings {
        interval: s.or("interval", millis(5), duration(millis(1)..=seconds(60))),
        catch_up_interval: s.or("catch_up_interval", seconds(60), duration(millis(1)..=seconds(600))),
        commit_interval: s.or("commit_interval", seconds(1), duration(millis(10)..=seconds(60))),
        sync_interval: s.or("sync_interval", seconds(60), duration(seconds(1)..=DAY)),
    };
    rules::index(&s, &index);
    s.finish();
    index
}

fn topics(s: Section<'_>, kind: BrokerKind) -> TopicSettings {
    let topics = TopicSettings {
        create: s.or("create", true, switch),
        create_sources: s.or("create_sources", kind == BrokerKind::Local, or_auto(kind == BrokerKind::Local, switch)),
        replication: s.or("replication", -1, replication),
        segment_bytes: s.or("segment_bytes", 64 * MIB, size(MIB..=2 * GIB - 1)),
    };
    s.finish();
    topics
}

fn replication(node: &Node) -> Parsed<i32> {
    match whole(-1..=i32::from(i16::MAX))(node)? {
        0 => Err("must be at least 1, or -1 for the broker's default".to_owned()),
        n => Ok(n),
    }
}

fn api(s: Section<'_>) -> ApiSettings {
    let api = ApiSettings {
        max_body: s.or("max_body", 8 * MIB, size(KIB..=GIB)),
        timeout: s.or("timeout", seconds(10), duration(millis(10)..=seconds(600))),
        max_in_flight: s.or("max_in_flight", 512, whole(1..=65_536)),
        max_hits: s.or("max_hits", 1_000, whole(1..=100_000)),
        max_keys: s.or("max_keys", 1_000, whole(1..=100_000)),
        max_buckets: s.or("max_buckets", 10_000, whole(1..=1_000_000)),
        ingest: s.or("ingest", true, switch),
        max_lag: s.or("max_lag", seconds(10), duration(millis(1)..=DAY * 365)),
        cors: s.or("cors", Vec::new(), origins),
        max_streams: s.or("max_streams", 256, whole(1..=65_536)),
        stream_buffer: s.or("stream_buffer", 8 * MIB, size(64 * KIB..=GIB)),
        max_live_matches: s.or("max_live_matches", 1_000_000, whole(1..=1_000_000_000)),
        search_threads: s.or("search_threads", cores(), or_auto(cores(), whole(1..=1024))),
    };
    s.finish();
    api
}

/// Origins of pages: a list, or separated by commas; empty where there are none.
fn origins(node: &Node) -> Parsed<Vec<String>> {
    let one = |node: &Node| {
        let found = text(node)?;
        let host = found.strip_prefix("http://").or_else(|| found.strip_prefix("https://"));
        match host {
            Some(host) if !host.is_empty() && !host.contains(['/', ' ', '?', '#', '*', '@']) => Ok(found),
            None if found == "*" => Ok(found),
            _ => Err(format!("{found:?} is no origin (write one such as \"https://shop.internal\", or \"*\" for all)")),
        }
    };
    let word = |text: &str| one(&Node { data: Data::Text(text.trim().to_owned()), ..node.clone() });
    match &node.data {
        Data::List(nodes) => nodes.iter().map(one).collect(),
        Data::Text(t) | Data::Loose(t) if t.is_empty() => Ok(Vec::new()),
        Data::Text(t) | Data::Loose(t) => t.split(',').map(word).collect(),
        _ => Err(format!("expected a list of origins, found {}", node.describe())),
    }
}

fn registry(s: &Section<'_>) -> Option<RegistrySettings> {
    let registry = RegistrySettings {
        url: s.or("url", String::new(), registry_url),
        username: s.or("username", None, optional),
        password: Secret::new(s.or("password", None, optional).unwrap_or_default()),
        timeout: s.or("timeout", seconds(5), duration(millis(10)..=seconds(60))),
    };
    (!registry.url.is_empty()).then_some(registry)
}

/// Text, or nothing where it is empty.
fn optional(node: &Node) -> Parsed<Option<String>> {
    if matches!(&node.data, Data::Text(t) | Data::Loose(t) if t.is_empty()) { Ok(None) } else { scalar(node).map(Some) }
}

/// A base address. Credentials have settings of their own, and addresses are shown.
fn registry_url(node: &Node) -> Parsed<String> {
    let Some(found) = optional(node)? else { return Ok(String::new()) };
    let host = found.strip_prefix("http://").or_else(|| found.strip_prefix("https://"));
    match host {
        Some(host) if host.contains('@') => {
            Err("holds credentials (set schema_registry.username and schema_registry.password)".to_owned())
        }
        Some(host) if !host.is_empty() && !host.contains([' ', '?', '#']) => Ok(found.trim_end_matches('/').to_owned()),
        _ => Err(format!("{found:?} is no base address (write one such as \"http://127.0.0.1:8081\")")),
    }
}

fn quarantine(s: &Section<'_>, application: &str) -> QuarantineSettings {
    QuarantineSettings {
        topic: s.or("topic", format!("{application}-quarantine"), topic),
        max_payload: s.or("max_payload", 900 * KIB, size(KIB..=64 * MIB)),
        max_rate: s.or("max_rate", 0.5, share),
    }
}
