//! Settings of the clients: librdkafka's defaults that do not suit, what the user passes, what Keld must own.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::KafkaOptions;
use crate::config::GroupProtocol;
use crate::{Error, Result};

const MIB: u64 = 1 << 20;
/// How long nothing may pass over a connection of a transactional producer before it is closed, to be opened again when needed.
const IDLE: Duration = Duration::from_secs(10);

/// Settings that would break a promise of Keld if they were anybody else's, and where to turn instead.
const OWNED: &[(&[&str], &str)] = &[
    (&["bootstrap.servers", "metadata.broker.list"], "set bootstrap_servers under [broker]"),
    (&["client.id"], "it is the advertised address, set under [instance]"),
    (
        &["group.id", "group.instance.id", "group.protocol", "group.remote.assignor"],
        "groups follow the application and instance names",
    ),
    (&["partition.assignment.strategy"], "tasks can only be shared out cooperatively"),
    (&["session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms"], "set session_timeout"),
    (
        &["enable.auto.commit", "auto.commit.enable", "auto.commit.interval.ms", "enable.auto.offset.store"],
        "positions are committed with the records they cover",
    ),
    (&["auto.offset.reset", "enable.partition.eof"], "Keld itself decides where to read, and never skips silently"),
    (&["isolation.level"], "only committed records may be read"),
    (
        &["enable.idempotence", "acks", "request.required.acks", "enable.gapless.guarantee"],
        "records must neither be lost nor doubled",
    ),
    (&["transactional.id", "transaction.timeout.ms"], "transactions belong to the commit protocol"),
    (&["message.timeout.ms", "delivery.timeout.ms"], "set transaction_timeout"),
    (&["allow.auto.create.topics"], "topics are created on purpose"),
    (
        &[
            "queued.max.messages.kbytes",
            "queued.min.messages",
            "queue.buffering.max.kbytes",
            "queue.buffering.max.messages",
        ],
        "queues are part of memory.budget",
    ),
    (&["statistics.interval.ms", "log.queue"], "Keld reads the statistics and logs itself"),
];

/// Refuses settings that Keld must own and values that librdkafka cannot take; names all of them.
pub(super) fn check(client: &BTreeMap<String, String>) -> Result<()> {
    let mut faults = Vec::new();
    for (key, value) in client {
        if let Some((_, way)) = OWNED.iter().find(|(keys, _)| keys.contains(&key.as_str())) {
            faults.push(format!("{key:?} is Keld's own: {way}"));
        } else if value.is_empty() {
            faults.push(format!("{key:?} is empty: leave it out instead"));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::refused(format!("[broker.client]: {}", faults.join("; "))).advise("remove these settings"))
}

/// What all clients have in common. `tuned` may be overridden by the user, `owned` may not.
fn client(options: &KafkaOptions, tuned: &[(&str, &str)], owned: &[(&str, String)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    let level = if options.client.contains_key("debug") { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Warning };
    config.set_log_level(level);
    // An idle connection that a broker closes is no news.
    config.set("log.connection.close", "false").set("client.id", &options.application);
    for (key, value) in tuned {
        config.set(*key, *value);
    }
    for (key, value) in &options.client {
        config.set(key, value);
    }
    config.set("bootstrap.servers", &options.bootstrap);
    for (key, value) in owned {
        config.set(*key, value);
    }
    config
}

/// Asks for metadata and watermarks; belongs to no group.
pub(super) fn inquirer(options: &KafkaOptions, committed_only: bool) -> ClientConfig {
    let isolation = if committed_only { "read_committed" } else { "read_uncommitted" };
    client(options, &[], &[("isolation.level", isolation.into()), ("allow.auto.create.topics", "false".into())])
}

/// Creates topics and describes them.
pub(super) fn admin(options: &KafkaOptions) -> ClientConfig {
    let mut config = client(options, &[], &[]);
    // Nobody reads this client's log queue: let it stay empty.
    config.set_log_level(RDKafkaLogLevel::Emerg);
    config
}

/// Reads the committed offsets of `group` without joining it.
pub(super) fn group_reader(options: &KafkaOptions, group: &str) -> ClientConfig {
    // read_committed: offsets of a transaction that is not decided yet are waited for.
    client(options, &[], &owned_consumer(group))
}

fn owned_consumer(group: &str) -> Vec<(&'static str, String)> {
    [
        ("group.id", group),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("isolation.level", "read_committed"),
        ("allow.auto.create.topics", "false"),
        ("auto.offset.reset", "error"),
    ]
    .map(|(key, value)| (key, value.to_owned()))
    .into()
}

/// A broker answers a fetch when so much is there, or after so long. Without the wait a fetch brings the few events that are there: at 5,000/s
/// that took the broker a tenth of a processor more, and librdkafka's threads twice as much (measured). It makes a single event up to
/// 5 ms later.
const FETCHING: &[(&str, &str)] = &[
    ("fetch.wait.max.ms", "5"),
    ("fetch.min.bytes", "4096"),
    ("fetch.queue.backoff.ms", "10"),
    ("fetch.error.backoff.ms", "50"),
    ("max.partition.fetch.bytes", "1048576"),
];

/// Reads assigned partitions; prefetches at most about `bytes`.
pub(super) fn data(options: &KafkaOptions, bytes: u64, statistics: bool, eof: bool) -> ClientConfig {
    let mut owned = owned_consumer(&options.application);
    owned.push(("queued.max.messages.kbytes", (bytes / 1024).clamp(64, 2_097_151).to_string()));
    owned.push(("enable.partition.eof", eof.to_string()));
    owned.push(("statistics.interval.ms", if statistics { "1000" } else { "0" }.into()));
    let mut config = client(options, FETCHING, &owned);
    if !options.client.contains_key("fetch.max.bytes") {
        // librdkafka refuses a fetch that could not hold the largest message.
        let message = options.client.get("message.max.bytes").and_then(|v| v.parse().ok()).unwrap_or(0);
        config.set("fetch.max.bytes", (bytes / 2).clamp(MIB, 50 * MIB).max(message).to_string());
    }
    config
}

/// Takes part in a group and fetches nothing. What `member` leaves empty is taken from the broker's options.
pub(super) fn member(options: &KafkaOptions, member: &crate::broker::MemberConfig) -> ClientConfig {
    let session = if member.session_timeout.is_zero() { options.session_timeout } else { member.session_timeout };
    let heartbeat = (session / 4).min(Duration::from_millis(1500));
    let mut owned = owned_consumer(&member.group);
    if let Some(address) = [&member.advertise, &options.advertise].into_iter().find(|a| !a.is_empty()) {
        owned.push(("client.id", address.clone()));
    }
    match member.protocol {
        GroupProtocol::Classic => {
            owned.push(("partition.assignment.strategy", "cooperative-sticky".into()));
            owned.push(("session.timeout.ms", session.as_millis().to_string()));
            owned.push(("heartbeat.interval.ms", heartbeat.as_millis().max(1).to_string()));
        }
        // Assignor, session and heartbeats are the broker's; librdkafka refuses to be told.
        GroupProtocol::Consumer => owned.push(("group.protocol", "consumer".into())),
    }
    if let Some(id) = &member.static_id {
        owned.push(("group.instance.id", id.clone()));
    }
    client(options, &[], &owned)
}

fn producer(options: &KafkaOptions, linger_ms: &str, more: Vec<(&'static str, String)>) -> ClientConfig {
    let mut owned = vec![
        ("enable.idempotence", "true".to_owned()),
        ("queue.buffering.max.kbytes", (options.producer_bytes / 1024).clamp(1024, 2_097_151).to_string()),
        ("queue.buffering.max.messages", "1000000".to_owned()),
    ];
    owned.extend(more);
    // What is too large is the topic's decision (max.message.bytes), not this client's.
    let tuned = [("linger.ms", linger_ms), ("message.max.bytes", "67108864")];
    let mut config = client(options, &tuned, &owned);
    if !["compression.type", "compression.codec"].iter().any(|key| options.client.contains_key(*key)) {
        config.set("compression.type", "lz4");
    }
    config
}

/// Writes transactions. A millisecond of linger: without any, each record that is queued while librdkafka's thread looks goes
/// out in a request of its own, which on a busy machine costs the broker more than the transaction (measured).
pub(super) fn transactional(options: &KafkaOptions, id: &str) -> ClientConfig {
    let timeout = options.transaction_timeout.as_millis().to_string();
    let more = vec![
        ("transactional.id", id.to_owned()),
        ("transaction.timeout.ms", timeout),
        ("statistics.interval.ms", "1000".to_owned()),
        // When the group's coordinator moves while offsets are on their way, librdkafka 2.12 may wait for news of a
        // connection, whatever time limit the call has (`rd_kafka_coord_req_fsm`; seen while three brokers were rolled). A
        // connection that is closed because nothing passes over it is such news.
        ("connections.max.idle.ms", IDLE.as_millis().to_string()),
    ];
    producer(options, "1", more)
}

/// Appends what clients send; a millisecond of linger lets concurrent requests share a batch.
pub(super) fn appender(options: &KafkaOptions, timeout: Duration) -> ClientConfig {
    let more =
        vec![("message.timeout.ms", timeout.as_millis().to_string()), ("statistics.interval.ms", "1000".to_owned())];
    producer(options, "1", more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> KafkaOptions {
        let client = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        KafkaOptions { client, ..KafkaOptions::new("b:1", "shop") }
    }

    #[test]
    fn every_fault_of_the_client_settings_is_named_at_once() {
        let text = check(&with(&[("isolation.level", "read_uncommitted"), ("debug", ""), ("linger.ms", "3")]).client)
            .unwrap_err()
            .to_string();
        assert!(text.contains("isolation.level") && text.contains("debug") && !text.contains("linger"), "{text}");
    }

    #[test]
    fn users_override_tuning_but_not_promises() {
        let config = transactional(&with(&[("linger.ms", "7"), ("compression.type", "zstd")]), "id-1");
        assert_eq!((config.get("linger.ms"), config.get("compression.type")), (Some("7"), Some("zstd")));
        assert_eq!((config.get("transactional.id"), config.get("enable.idempotence")), (Some("id-1"), Some("true")));
    }

    #[test]
    fn small_budgets_make_clients_that_librdkafka_accepts() {
        for options in [with(&[]), with(&[("message.max.bytes", "9000000")])] {
            let tiny = KafkaOptions { consumer_bytes: 1, producer_bytes: 1, ..options };
            let made: Result<rdkafka::consumer::BaseConsumer, _> = data(&tiny, 1, false, true).create();
            assert!(made.is_ok(), "{:?}", made.err());
            let made: Result<rdkafka::producer::BaseProducer, _> = transactional(&tiny, "id").create();
            assert!(made.is_ok(), "{:?}", made.err());
        }
    }

    #[test]
    fn heartbeats_are_a_quarter_of_the_session_and_at_most_a_second_and_a_half() {
        let of = |ms| {
            let m = crate::broker::MemberConfig {
                group: "g".into(),
                topics: vec![],
                static_id: None,
                advertise: "a".into(),
                session_timeout: Duration::from_millis(ms),
                protocol: GroupProtocol::Classic,
            };
            member(&with(&[]), &m).get("heartbeat.interval.ms").map(str::to_owned)
        };
        assert_eq!((of(2000).as_deref(), of(30_000).as_deref()), (Some("500"), Some("1500")));
    }
}
