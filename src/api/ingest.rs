//! `POST /v1/topics/{topic}/events`: appends clients' events, all of a request or none.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::context::{At, Context, Payload};
use super::freshness::{Freshness, Stage};
use super::message_headers::MessageHeaders;
use super::openapi::Problems;
use super::params::Params;
use super::peer;
use super::problem::{Problem, Reason};
use super::words;
use crate::broker::{NewRecord, Offset};
use crate::query::{AtLeast, Table};
use crate::record::Path;
use crate::record::decode::{Placement, RawEvent};

/// Bad lines that one refusal names.
const MAX_NAMED: usize = 20;

/// The tables that read a topic.
pub(crate) struct TopicReaders {
    tables: Vec<Arc<Table>>,
    placement: Placement,
}

impl TopicReaders {
    /// The readers of every topic that some table reads.
    pub(crate) fn by_topic(tables: &BTreeMap<String, Arc<Table>>) -> BTreeMap<String, TopicReaders> {
        let mut topics: BTreeMap<String, Vec<Arc<Table>>> = BTreeMap::new();
        for table in tables.values() {
            for source in &table.def.sources {
                topics.entry(source.topic.clone()).or_default().push(Arc::clone(table));
            }
        }
        let readers = |(topic, tables): (String, Vec<Arc<Table>>)| {
            // All of them have the partitions of the topic.
            let partitions = tables.first()?.partitions;
            let placement = Placement::of(tables.iter().map(|table| &table.def), &topic, partitions)?;
            Some((topic, TopicReaders { tables, placement }))
        };
        topics.into_iter().filter_map(readers).collect()
    }
}

/// Parameters of an upload.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes to OpenAPI what the handler takes from Params; a test holds them together")]
pub(crate) struct IngestQuery {
    /// `none` (default), `applied` or `visible`: answer when every table that reads the topic has come so far.
    #[param(inline, value_type = Option<words::Wait>)]
    wait: Option<String>,
    /// How long to wait, such as `500ms` or `2s` (default 1 s, at most `api.timeout`).
    timeout: Option<String>,
    /// Message key of every event of this request; only for tables whose key is `@key`.
    key: Option<String>,
    /// Path in each event at which its message key stands, instead of `key`.
    key_path: Option<String>,
    /// Header of every event of this request, as `name:value`; may be repeated. Sources read it as `@header.name`.
    #[param(value_type = Option<Vec<String>>, explode = true, example = json!(["origin:crm"]))]
    header: Option<Vec<String>>,
    /// Header of each event, as `name:path`: the value is what stands at this path in the event, text as it is, anything else as
    /// JSON; an event that has nothing there gets no such header. May be repeated.
    #[param(value_type = Option<Vec<String>>, explode = true, example = json!(["origin:meta.origin"]))]
    header_path: Option<Vec<String>>,
}

/// Where the events are now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IngestAnswer {
    /// `topic:partition:offset` of each event, in the order of the lines.
    #[schema(example = json!(["catalog:0:4711", "catalog:3:118"]))]
    positions: Vec<String>,
    /// What a read passes as `at_least` to see all of them.
    #[schema(example = "catalog:0:4711,catalog:3:118")]
    at_least: String,
    /// Number of events appended.
    count: usize,
    /// Instance that answered.
    served_by: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    None,
    Until(Stage),
}

/// Appends events to a source topic
///
/// one JSON object a line. Either all are appended or, if one line is bad, none. A table's key decides the partition.
#[utoipa::path(
    post, path = "/v1/topics/{topic}/events", tag = "events",
    params(("topic" = String, Path, description = "A source topic"), IngestQuery),
    request_body(content = String, content_type = "application/x-ndjson", description = "One JSON object a line",
        example = "{\"sku\":\"sku-1\",\"ts\":1700000000000,\"title\":\"walnut desk\"}\n"),
    responses((status = 200, body = IngestAnswer), Problems)
)]
pub(crate) async fn append(
    State(ctx): State<Context>,
    At(topic): At<String>,
    mut params: Params,
    headers: HeaderMap,
    Payload(body): Payload,
) -> Result<Json<IngestAnswer>, Problem> {
    allowed(ctx.state.settings.api.ingest, &headers)?;
    let readers = ctx.topics.get(&topic).ok_or_else(|| no_such_topic(&ctx, &topic))?;
    let (wait, message, freshness) = ingest_params(&mut params, ctx.state.settings.api.timeout)?;
    params.finish()?;
    if message.key != MessageKey::None && !readers.placement.takes_message_keys() {
        return Err(Problem::parameter(
            "key",
            "the tables of this topic take the key from the event",
            "no message key",
        ));
    }
    let (shared, name) = (ctx.clone(), topic.clone());
    let appended = ctx.appends.run(move || append_all(&shared, &name, &message, &body)).await?;
    let answer = IngestAnswer::of(&topic, &appended, ctx.instance());
    if let Wait::Until(stage) = wait {
        let demands = demands(&topic, &appended);
        for table in &readers.tables {
            peer::wait_anywhere(&ctx, table, &demands, stage, freshness.timeout)
                .await
                .map_err(|late| late.with_members(&answer))?;
        }
    }
    Ok(Json(answer))
}

/// Whether events may be appended here, and by this caller: a page of another site that the user happens to visit may not.
pub(super) fn allowed(ingest: bool, headers: &HeaderMap) -> Result<(), Problem> {
    if !ingest {
        let advice = "produce to the topic directly, or set `api.ingest = true`";
        return Err(Problem::new(Reason::Forbidden, "appending events over HTTP is switched off", advice));
    }
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        let advice = "send events from a program, or from a page of this instance";
        return Err(Problem::new(Reason::Forbidden, "a page of another site may not append events", advice));
    }
    Ok(())
}

fn no_such_topic(ctx: &Context, topic: &str) -> Problem {
    let known: Vec<String> = ctx.topics.keys().cloned().collect();
    let shown: String = topic.chars().take(80).collect();
    let advice = format!("the topics are {}", known.join(", "));
    Problem::new(Reason::NoSuchTopic, format!("no table reads a topic `{shown}`"), advice).with("known", known)
}

/// Where the message keys of a request come from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum MessageKey {
    None,
    /// The same for all.
    Given(String),
    /// Out of each event.
    At(Path),
}

/// What the messages of a request have beside their lines.
#[derive(Debug)]
struct Message {
    key: MessageKey,
    headers: MessageHeaders,
}

fn ingest_params(params: &mut Params, longest: Duration) -> Result<(Wait, Message, Freshness), Problem> {
    let waits =
        [("none", Wait::None), ("applied", Wait::Until(Stage::Applied)), ("visible", Wait::Until(Stage::Visible))];
    let wait = params.choice("wait", &waits)?.unwrap_or(Wait::None);
    let key = match (params.text("key")?, params.text("key_path")?) {
        (Some(_), Some(_)) => return Err(Problem::parameter("key_path", "`key` is given, too", "one of them")),
        (Some(key), None) => MessageKey::Given(key),
        (None, Some(path)) => MessageKey::At(Path::parse(&path)),
        (None, None) => MessageKey::None,
    };
    let message = Message { key, headers: MessageHeaders::take(params)? };
    Ok((wait, message, Freshness::timeout_only(params, longest)?))
}

/// Checks every line, then appends all; blocking. Returns partition and offset of each event.
fn append_all(ctx: &Context, topic: &str, message: &Message, body: &[u8]) -> Result<Vec<(u32, Offset)>, Problem> {
    let readers = ctx.topics.get(topic).ok_or_else(|| no_such_topic(ctx, topic))?;
    let now_ms = crate::clock::now_ms();
    let topic: Arc<str> = topic.into();
    let records = check_lines(body, |line| {
        let key = match &message.key {
            MessageKey::None => None,
            MessageKey::Given(key) => Some(Cow::Borrowed(key.as_bytes())),
            MessageKey::At(path) => {
                Some(Cow::Owned(readers.placement.key_at(path, line).map_err(|reject| reject.to_string())?))
            }
        };
        let headers = message.headers.of(&readers.placement, line)?;
        let event = RawEvent {
            key: key.as_deref(),
            payload: Some(line),
            timestamp_ms: now_ms,
            headers: &headers,
            ..RawEvent::default()
        };
        let (key, partition) = readers.placement.place(&event)?;
        let topic = Arc::clone(&topic);
        let payload = Some(line.to_vec());
        Ok(NewRecord { topic, partition, key: Some(key), payload, headers, ..NewRecord::default() })
    })?;
    let partitions: Vec<u32> = records.iter().map(|r| r.partition).collect();
    let offsets = ctx.state.appender.append(records)?;
    if offsets.len() != partitions.len() {
        return Err(crate::Error::internal("the broker acknowledged another number of events than were sent").into());
    }
    Ok(partitions.into_iter().zip(offsets).collect())
}

/// Makes a record of every line that is not blank, or names the bad ones.
fn check_lines<T>(body: &[u8], mut accept: impl FnMut(&[u8]) -> Result<T, String>) -> Result<Vec<T>, Problem> {
    let (mut good, mut bad, mut bad_count) = (Vec::new(), Vec::new(), 0_usize);
    for (i, line) in body.split(|b| *b == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        match is_object(line).and_then(|()| accept(line)) {
            Ok(record) => good.push(record),
            Err(error) => {
                bad_count += 1;
                if bad.len() < MAX_NAMED {
                    bad.push(json!({"line": i + 1, "error": error}));
                }
            }
        }
    }
    if bad_count > 0 {
        return Err(bad_lines(bad_count, bad));
    }
    if good.is_empty() {
        let advice = "send one JSON object a line";
        return Err(Problem::new(Reason::BadRequest, "the body has no events", advice));
    }
    Ok(good)
}

fn bad_lines(count: usize, named: Vec<Value>) -> Problem {
    let first = named
        .first()
        .map_or_else(String::new, |n| format!("; line {}: {}", n["line"], n["error"].as_str().unwrap_or_default()));
    Problem::new(
        Reason::BadEvents,
        format!("{count} of the lines cannot be accepted, and nothing was appended{first}"),
        "fix the lines and send the whole request again",
    )
    .with("bad_lines", count)
    .with("lines", named)
}

/// Whether a line is one JSON object; looks at its syntax only.
fn is_object(line: &[u8]) -> Result<(), String> {
    struct AnyObject;
    impl<'de> Visitor<'de> for AnyObject {
        type Value = AnyObject;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<AnyObject, A::Error> {
            while members.next_entry::<Cow<'de, str>, IgnoredAny>()?.is_some() {}
            Ok(AnyObject)
        }
    }
    impl<'de> Deserialize<'de> for AnyObject {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(AnyObject)
        }
    }
    serde_json::from_slice::<AnyObject>(line).map(drop).map_err(|e| format!("not a JSON object: {e}"))
}

/// The last event of each partition.
fn last_of_each(appended: &[(u32, Offset)]) -> BTreeMap<u32, Offset> {
    let mut last = BTreeMap::new();
    for (partition, offset) in appended {
        let known = last.entry(*partition).or_insert(*offset);
        *known = (*known).max(*offset);
    }
    last
}

fn demands(topic: &str, appended: &[(u32, Offset)]) -> Vec<AtLeast> {
    let last = last_of_each(appended).into_iter();
    last.map(|(partition, offset)| AtLeast { topic: topic.to_owned(), partition, offset }).collect()
}

impl IngestAnswer {
    fn of(topic: &str, appended: &[(u32, Offset)], served_by: &str) -> Self {
        let name = |(partition, offset): (u32, Offset)| format!("{topic}:{partition}:{offset}");
        Self {
            positions: appended.iter().copied().map(name).collect(),
            at_least: last_of_each(appended).into_iter().map(name).collect::<Vec<_>>().join(","),
            count: appended.len(),
            served_by: served_by.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_parameters_are_those_that_are_taken() {
        let mut params = Params::default();
        ingest_params(&mut params, Duration::from_secs(10)).unwrap();
        let mut url: Vec<String> = IngestQuery::into_params(|| None).into_iter().map(|p| p.name).collect();
        url.sort_unstable();
        assert_eq!(url, params.known());
    }

    #[test]
    fn lines_are_counted_from_one_and_blank_ones_are_passed_over() {
        let body = b"{\"a\":1}\r\n\n  {\"b\":[{}]}  \n";
        let lines = check_lines(body, |line| Ok(line.to_vec())).unwrap();
        assert_eq!(lines, [b"{\"a\":1}".to_vec(), b"{\"b\":[{}]}".to_vec()]);
    }

    #[test]
    fn one_bad_line_refuses_all_and_every_bad_line_is_named() {
        let body = b"{\"a\":1}\n[1]\n\n{\"a\":\nnull\n{\"a\":1} x\n{\"nokey\":1}";
        let mut accepted = 0;
        let problem = check_lines(body, |line| {
            accepted += 1;
            if line.starts_with(b"{\"nokey") { Err("missing_key: sku".to_owned()) } else { Ok(()) }
        })
        .unwrap_err();
        let body = problem.body();
        assert_eq!((body.reason, body.more["bad_lines"].as_u64(), accepted), (Reason::BadEvents, Some(5), 2));
        let lines: Vec<u64> =
            body.more["lines"].as_array().unwrap().iter().map(|l| l["line"].as_u64().unwrap()).collect();
        assert_eq!(lines, [2, 4, 5, 6, 7]);
        assert_eq!(body.more["lines"][4]["error"], "missing_key: sku");
    }

    #[test]
    fn a_refusal_names_twenty_lines_and_counts_the_rest() {
        let problem = check_lines("x\n".repeat(50).as_bytes(), |_| Ok(())).unwrap_err();
        assert_eq!(problem.body().more["bad_lines"], 50);
        assert_eq!(problem.body().more["lines"].as_array().unwrap().len(), 20);
    }

    #[test]
    fn an_upload_without_events_is_refused() {
        assert_eq!(check_lines(b" \n\n", |_| Ok(())).unwrap_err().body().reason, Reason::BadRequest);
    }

    #[test]
    fn the_answer_names_every_event_and_the_last_of_each_partition() {
        let answer = IngestAnswer::of("catalog", &[(1, 10), (0, 7), (1, 12), (1, 11)], "keld-0");
        assert_eq!(answer.positions, ["catalog:1:10", "catalog:0:7", "catalog:1:12", "catalog:1:11"]);
        assert_eq!((answer.at_least.as_str(), answer.count), ("catalog:0:7,catalog:1:12", 4));
    }

    #[test]
    fn pages_of_other_sites_may_not_append() {
        let mut headers = HeaderMap::new();
        allowed(true, &headers).unwrap();
        assert_eq!(allowed(false, &headers).unwrap_err().body().status, 403);
        headers.insert("sec-fetch-site", "same-origin".parse().unwrap());
        allowed(true, &headers).unwrap();
        headers.insert("sec-fetch-site", "cross-site".parse().unwrap());
        assert_eq!(allowed(true, &headers).unwrap_err().body().reason, Reason::Forbidden);
    }
}
