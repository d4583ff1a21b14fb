//! The quarantine: `GET /v1/quarantine`, `GET /v1/quarantine/{id}` and `POST /v1/quarantine/replay`.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::context::{At, BodyParams, Context};
use super::ingest;
use super::openapi::Problems;
use super::params::Params;
use super::problem::{Problem, Reason};
use crate::broker::Offset;
use crate::quarantine::{EntryId, Fate, Filter, Found, Selection};

/// Entries of a list that does not say how many.
const LIST: usize = 50;
/// Most entries of a list.
const LIST_MOST: usize = 1_000;
/// Most entries of one replay.
const REPLAY_MOST: usize = 1_000;
/// Most ids of one replay; each is looked up by itself.
const IDS_MOST: usize = 100;

/// Parameters of a list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes to OpenAPI what the handler takes from Params; a test holds them together")]
pub(crate) struct QuarantineQuery {
    /// Only entries of this table.
    #[param(example = "products")]
    table: Option<String>,
    /// Only entries with this reason code.
    #[param(example = "wrong_type")]
    reason: Option<String>,
    /// Only entries written at this time or later: RFC 3339, or milliseconds since the epoch.
    #[param(example = "2026-01-31T12:00:00Z")]
    from: Option<String>,
    /// Only entries written before this time: RFC 3339, or milliseconds since the epoch.
    to: Option<String>,
    /// Most entries of the answer, 1 to 1000 (default 50).
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where to go on: the `cursor` of the last answer.
    cursor: Option<String>,
}

/// A request to replay. Every member may as well stand in the URL. It names `ids`, or what the entries have in common.
#[derive(Debug, ToSchema)]
#[schema(as = ReplayRequest)]
#[expect(dead_code, reason = "describes to OpenAPI what the handler takes from Params; a test holds them together")]
pub(crate) struct ReplayBody {
    /// These entries, at most 100.
    #[schema(example = json!(["2-17"]))]
    #[schema(max_items = 100)]
    ids: Option<Vec<String>>,
    /// All entries of this table.
    table: Option<String>,
    /// All entries with this reason code.
    reason: Option<String>,
    /// All entries written at this time or later: RFC 3339, or milliseconds since the epoch.
    from: Option<String>,
    /// All entries written before this time: RFC 3339, or milliseconds since the epoch.
    to: Option<String>,
    /// Most entries of one call, 1 to 1000 (default 1000).
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where to go on: the `cursor` of the last answer.
    cursor: Option<String>,
    /// Say what would be replayed, and replay nothing (default false).
    dry_run: Option<bool>,
}

/// A refused event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuarantineEntry {
    /// Names the entry.
    #[schema(example = "2-17")]
    id: String,
    /// Table that refused the event.
    table: String,
    /// Source of the table.
    source: String,
    /// Reason code.
    #[schema(example = "wrong_type")]
    reason: String,
    /// What is wrong with it: path, what was found, what was expected.
    error: String,
    /// The fields that were refused, where the rest of the event was merged; a replay applies only them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<String>,
    /// Where it came from, as `topic:partition:offset`.
    #[schema(example = "shop.stock:1:4711")]
    origin: String,
    /// Timestamp of the event, milliseconds since the epoch.
    event_ms: i64,
    /// When it was set aside, milliseconds since the epoch.
    quarantined_ms: i64,
    /// When it was replayed, milliseconds since the epoch; null if it was not.
    replayed_ms: Option<i64>,
    /// The entry that it is a replay of, which was refused again.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay_of: Option<String>,
    /// Message key; null if there is none.
    key: Option<String>,
    /// Message value, in a list its first 1,000 bytes; null for a tombstone message. What is no UTF-8 is shown as `\u{fffd}`.
    payload: Option<String>,
    /// Bytes that the message value had.
    payload_bytes: u64,
    /// Whether the quarantine holds all of the event; of a cut one a replay reads the rest from its topic.
    whole: bool,
}

/// Refused events.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuarantineAnswer {
    /// The newest first.
    entries: Vec<QuarantineEntry>,
    /// Entries that were looked at for this answer: one call looks at some 20,000 at most.
    looked_at: u64,
    /// Pass it on to go on; null at the end. A page may be empty and yet not the last.
    cursor: Option<String>,
}

/// A refused event, whole.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuarantineEntryAnswer {
    #[serde(flatten)]
    entry: QuarantineEntry,
    /// The message value in base64, where it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    /// The message key in base64, where it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    /// Headers of the message, in order.
    headers: Vec<HeaderAnswer>,
}

/// A header.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HeaderAnswer {
    /// Name.
    name: String,
    /// Value, as text.
    value: String,
}

/// What a replay did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReplayAnswer {
    /// Whether nothing was replayed, because it was asked for so.
    dry_run: bool,
    /// Events that are in their topics again (`dry_run`: would be).
    replayed: usize,
    /// Entries named by their ids that were replayed before.
    already: usize,
    /// Entries that cannot be replayed.
    refused: usize,
    /// What became of each entry.
    entries: Vec<ReplayedEntry>,
    /// What a read passes as `at_least` to see their effect; empty if nothing was written.
    #[schema(example = "shop.stock:1:4711")]
    at_least: String,
    /// Entries that were looked at for this answer.
    looked_at: u64,
    /// Pass it on to go on; null at the end.
    cursor: Option<String>,
}

/// What became of an entry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReplayedEntry {
    /// The entry.
    #[schema(example = "2-17")]
    id: String,
    /// `replayed`, `already`, `refused` or `unknown`.
    #[schema(example = "replayed")]
    fate: &'static str,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// When it was replayed before, milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed_ms: Option<i64>,
}

/// Lists refused events
///
/// the newest first, with the reason of each. Works on a bounded part of the quarantine topic at a time.
#[utoipa::path(
    get, path = "/v1/quarantine", tag = "quarantine", params(QuarantineQuery),
    responses((status = 200, body = QuarantineAnswer), Problems)
)]
pub(crate) async fn list(State(ctx): State<Context>, mut params: Params) -> Result<Json<QuarantineAnswer>, Problem> {
    let filter = filter_params(&mut params)?;
    let (limit, below) = list_params(&mut params)?;
    params.finish()?;
    let shared = ctx.clone();
    let job = move || -> Result<_, Problem> {
        let replayer = &shared.state.replayer;
        let page = replayer.topic().newest(&filter, below.as_ref(), limit)?;
        let replayed = replayer.replayed(&page.found)?;
        let entries = page.found.into_iter().zip(replayed).map(|(found, at)| QuarantineEntry::of(&found, at)).collect();
        let cursor = page.next.map(|below| below.iter().map(Offset::to_string).collect::<Vec<_>>().join("."));
        Ok(QuarantineAnswer { entries, looked_at: page.looked_at, cursor })
    };
    Ok(Json(ctx.appends.run(job).await?))
}

/// Shows a refused event
///
/// whole, as far as the quarantine holds it.
#[utoipa::path(
    get, path = "/v1/quarantine/{id}", tag = "quarantine",
    params(("id" = String, Path, description = "The entry", example = "2-17")),
    responses((status = 200, body = QuarantineEntryAnswer), Problems)
)]
pub(crate) async fn get(
    State(ctx): State<Context>,
    At(id): At<String>,
    params: Params,
) -> Result<Json<QuarantineEntryAnswer>, Problem> {
    params.finish()?;
    let id = entry_id("id", &id)?;
    let shared = ctx.clone();
    let job = move || -> Result<_, Problem> {
        let found = shared.state.replayer.topic().get(id)?.ok_or_else(|| no_such_entry(id))?;
        let replayed = shared.state.replayer.replayed(std::slice::from_ref(&found))?;
        Ok(QuarantineEntryAnswer::of(&found, replayed.into_iter().next().flatten()))
    };
    Ok(Json(ctx.appends.run(job).await?))
}

/// Replays refused events
///
/// each of them once: it is written to its topic again, to the same partition, and processed like any other. What was refused
/// only in some fields is applied only to them. One that is refused again is a new entry that names the old one.
#[utoipa::path(
    post, path = "/v1/quarantine/replay", tag = "quarantine", request_body = ReplayBody,
    responses((status = 200, body = ReplayAnswer), Problems)
)]
pub(crate) async fn replay(
    State(ctx): State<Context>,
    headers: HeaderMap,
    BodyParams(mut params): BodyParams,
) -> Result<Json<ReplayAnswer>, Problem> {
    ingest::allowed(ctx.state.settings.api.ingest, &headers)?;
    let (selection, dry_run) = replay_params(&mut params)?;
    params.finish()?;
    let shared = ctx.clone();
    let job = move || -> Result<_, Problem> {
        let replayer = &shared.state.replayer;
        let done = if dry_run { replayer.rehearse(&selection) } else { replayer.replay(&selection) };
        let done = done.map_err(|e| Problem::from(e).with("safe_to_repeat", true))?;
        let of = |fate: &str, all: &[ReplayedEntry]| all.iter().filter(|e| e.fate == fate).count();
        let entries: Vec<ReplayedEntry> = done.fates.into_iter().map(ReplayedEntry::of).collect();
        let written = done.written.iter().map(|(tp, offset)| format!("{}:{}:{offset}", tp.topic, tp.partition));
        Ok(ReplayAnswer {
            dry_run,
            replayed: of("replayed", &entries),
            already: of("already", &entries),
            refused: of("refused", &entries) + of("unknown", &entries),
            at_least: written.collect::<Vec<_>>().join(","),
            entries,
            looked_at: done.looked_at,
            cursor: done.next.map(|id| id.to_string()),
        })
    };
    Ok(Json(ctx.appends.run(job).await?))
}

fn filter_params(params: &mut Params) -> Result<Filter, Problem> {
    Ok(Filter {
        table: params.text("table")?,
        reason: params.text("reason")?,
        from_ms: time(params, "from")?,
        to_ms: time(params, "to")?,
    })
}

fn list_params(params: &mut Params) -> Result<(usize, Option<Vec<Offset>>), Problem> {
    let limit = params.integer("limit", 1..=LIST_MOST)?.unwrap_or(LIST);
    let Some(text) = params.text("cursor")? else { return Ok((limit, None)) };
    let below: Result<Vec<Offset>, _> = text.split('.').map(str::parse).collect();
    match below {
        Ok(below) if below.iter().all(|at| *at >= 0) => Ok((limit, Some(below))),
        _ => Err(Problem::parameter("cursor", "it is none", "the `cursor` of an answer, as it is")),
    }
}

fn replay_params(params: &mut Params) -> Result<(Selection, bool), Problem> {
    let (filter, ids) = (filter_params(params)?, params.commas("ids")?);
    let limit = params.integer("limit", 1..=REPLAY_MOST)?.unwrap_or(REPLAY_MOST);
    let from = params.text("cursor")?.map(|text| entry_id("cursor", &text)).transpose()?;
    let dry_run = params.switch("dry_run")?.unwrap_or(false);
    let selection = match ids {
        Some(_) if !filter.is_empty() => {
            return Err(Problem::parameter(
                "ids",
                "entries are also chosen by what they have in common",
                "one of the two",
            ));
        }
        Some(ids) if ids.len() > IDS_MOST => {
            return Err(Problem::parameter("ids", format_args!("found {} of them", ids.len()), "at most 100"));
        }
        Some(ids) => Selection::Ids(ids.iter().map(|id| entry_id("ids", id)).collect::<Result<_, _>>()?),
        None if filter.is_empty() => {
            return Err(Problem::parameter("ids", "it is missing", "ids, or one of table, reason, from, to"));
        }
        None => Selection::Matching { filter, from: from.unwrap_or_default(), limit },
    };
    Ok((selection, dry_run))
}

/// A moment: RFC 3339, or milliseconds since the epoch.
fn time(params: &mut Params, name: &'static str) -> Result<Option<i64>, Problem> {
    let Some(text) = params.text(name)? else { return Ok(None) };
    let moment = text.parse().ok().or_else(|| Some(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()));
    let expected = "a time such as `2026-01-31T12:00:00Z`, or milliseconds since the epoch";
    moment.map(Some).ok_or_else(|| Problem::parameter(name, format_args!("found `{text:.40}`"), expected))
}

fn entry_id(name: &str, text: &str) -> Result<EntryId, Problem> {
    text.parse().map_err(|_| Problem::parameter(name, format_args!("found `{text:.40}`"), "an id such as `2-17`"))
}

fn no_such_entry(id: EntryId) -> Problem {
    let advice = "the list shows what there is; the topic's retention may have taken it";
    Problem::new(Reason::NoSuchEntry, format!("the quarantine has no entry `{id}`"), advice)
}

fn lossy(bytes: &Option<Vec<u8>>) -> Option<String> {
    bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

impl QuarantineEntry {
    fn of(found: &Found, replayed_ms: Option<i64>) -> Self {
        let entry = &found.entry;
        let kept = found.payload_bytes as u64;
        Self {
            id: found.id.to_string(),
            table: entry.table.clone(),
            source: entry.source.clone(),
            reason: entry.reason.clone(),
            error: entry.error.clone(),
            fields: entry.fields.clone(),
            origin: format!("{}:{}:{}", entry.topic, entry.partition, entry.offset),
            event_ms: entry.timestamp_ms,
            quarantined_ms: found.at_ms,
            replayed_ms,
            replay_of: entry.replay_of.map(|id| id.to_string()),
            key: lossy(&entry.key),
            payload: lossy(&entry.payload),
            payload_bytes: entry.payload_cut.as_ref().map_or(kept, |cut| cut.from_bytes),
            whole: entry.is_whole(),
        }
    }
}

impl QuarantineEntryAnswer {
    fn of(found: &Found, replayed_ms: Option<i64>) -> Self {
        let binary = |bytes: &Option<Vec<u8>>| {
            bytes.as_ref().filter(|bytes| std::str::from_utf8(bytes).is_err()).map(|bytes| STANDARD.encode(bytes))
        };
        let header = |(name, value): &(String, Vec<u8>)| HeaderAnswer {
            name: name.clone(),
            value: String::from_utf8_lossy(value).into_owned(),
        };
        Self {
            entry: QuarantineEntry::of(found, replayed_ms),
            payload_base64: binary(&found.entry.payload),
            key_base64: binary(&found.entry.key),
            headers: found.entry.headers.iter().map(header).collect(),
        }
    }
}

impl ReplayedEntry {
    fn of((id, fate): (EntryId, Fate)) -> Self {
        let (fate, why, replayed_ms) = match fate {
            Fate::Replayed => ("replayed", None, None),
            Fate::Already(at) => ("already", None, Some(at)),
            Fate::Refused(why) => ("refused", Some(why), None),
            Fate::Unknown => ("unknown", Some("there is no such entry".to_owned()), None),
        };
        Self { id: id.to_string(), fate, why, replayed_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn the_documented_parameters_are_those_that_are_taken() {
        let mut params = Params::default();
        filter_params(&mut params).unwrap();
        list_params(&mut params).unwrap();
        let mut url: Vec<String> = QuarantineQuery::into_params(|| None).into_iter().map(|p| p.name).collect();
        url.sort_unstable();
        assert_eq!(url, params.known());
        let mut params = Params::default();
        replay_params(&mut params).unwrap_err();
        let mut body = testing::members::<ReplayBody>();
        body.sort_unstable();
        assert_eq!(body, params.known());
    }

    #[test]
    fn times_are_text_or_milliseconds() {
        let at = |text: &str| time(&mut Params::from_uri(&format!("/x?from={text}").parse().unwrap()).unwrap(), "from");
        assert_eq!(at("1970-01-01T00:00:01Z").unwrap(), Some(1_000));
        assert_eq!(at("1500").unwrap(), Some(1_500));
        assert_eq!(at("yesterday").unwrap_err().body().more["parameter"], "from");
    }

    #[test]
    fn a_replay_says_what_it_means() {
        let asked = |json: &str| replay_params(&mut Params::default().with_body(json.as_bytes()).unwrap());
        let ids = Selection::Ids(vec![EntryId { partition: 2, offset: 17 }, EntryId { partition: 0, offset: 1 }]);
        assert_eq!(asked(r#"{"ids":["2-17","0-1"],"dry_run":true}"#).unwrap(), (ids, true));
        let (selection, dry_run) = asked(r#"{"reason":"wrong_type","limit":5,"cursor":"1-9"}"#).unwrap();
        let filter = Filter { reason: Some("wrong_type".into()), ..Filter::default() };
        let from = EntryId { partition: 1, offset: 9 };
        assert_eq!((selection, dry_run), (Selection::Matching { filter, from, limit: 5 }, false));
        for bad in ["{}", r#"{"ids":["2-17"],"table":"t"}"#, r#"{"ids":["17"]}"#, r#"{"limit":3}"#] {
            assert_eq!(asked(bad).unwrap_err().body().status, 400, "{bad}");
        }
    }
}
