//! `GET /v1/tables/{table}/changes`: the changes of a table as they are committed, as server-sent events.

mod begin;
mod catching_up;
mod event;
mod stream;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use tokio::sync::mpsc;
use utoipa::IntoParams;

pub(crate) use self::begin::{MATCHING, matching_of_peer};
use self::stream::{FRAMES, Stream};
use super::context::{At, Context};
use super::openapi::Problems;
use super::params::Params;
use super::problem::{Problem, Reason};
use crate::changes::Named;
use crate::query::Table;

const HEARTBEAT: Duration = Duration::from_secs(15);
/// Header by which a client that comes back says what it has seen.
const LAST_EVENT_ID: &str = "last-event-id";

/// Parameters of a stream of changes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes to OpenAPI what the handler takes from Params; a test holds them together")]
pub(crate) struct ChangesQuery {
    /// Makes it a live query: what enters, changes in and leaves the records that match, as a search with this `q` finds them.
    #[param(example = "walnut desk")]
    q: Option<String>,
    /// As in a search; makes it a live query, too. May be repeated, and all must hold.
    #[param(value_type = Option<Vec<String>>, explode = true, example = json!(["stock:[1 TO *]"]))]
    filter: Option<Vec<String>>,
    /// Only the records of these keys; may be repeated, up to `api.max_keys`.
    #[param(value_type = Option<Vec<String>>, explode = true)]
    key: Option<Vec<String>>,
    /// Members of the records to send, separated by commas; all by default.
    fields: Option<String>,
    /// The `id` of the last event seen, to go on behind it, or `beginning` for everything that is there. Without it: from now on.
    /// The header `Last-Event-ID` says the same, and counts for more.
    #[param(example = "0:4711,1:815@1764144000000")]
    from: Option<String>,
    /// After so long without an event a comment is sent (default 15 s, from 100 ms to 10 min).
    #[param(example = "15s")]
    heartbeat: Option<String>,
}

/// What is asked of a stream.
#[derive(Debug)]
pub(crate) struct Asked {
    q: Option<String>,
    filter: Vec<String>,
    keys: Option<BTreeSet<String>>,
    fields: Option<Vec<String>>,
    from: Option<Named>,
    heartbeat: Duration,
}

impl Asked {
    /// Whether it is a live query.
    fn is_query(&self) -> bool {
        self.q.as_ref().is_some_and(|q| !q.trim().is_empty()) || !self.filter.is_empty()
    }
}

/// Streams changes
///
/// as they are committed, from now on or behind what was seen before: `changed` and `deleted`; of a live query (`q`, `filter`) `entered`,
/// `changed` and `left`. The first event is `hello`, with the position; read the state *after* it, then apply the events: what enters or
/// changes replaces, what leaves or is deleted goes. The `id` of an event is the position behind it: whoever comes back with it gets
/// every change after it, once. Changes between that were overwritten before they were read again come as the newest one alone; what was
/// overwritten within milliseconds, before it could be looked up, may come, or not.
/// `cut` is the last event, with `reason`, `detail` and `advice`: `too_slow`, `stopping`, `gap` (the changelog does not reach back to
/// the position: read the state anew) or `failed`. After a resume a live query cannot know of a key whether it was in it before:
/// then `before` is `unknown`.
#[utoipa::path(
    get, path = "/v1/tables/{table}/changes", tag = "changes",
    params(
        ("table" = String, Path, description = "Name of the table"),
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event seen; counts for more than `from`"),
        ChangesQuery
    ),
    responses((status = 200, body = String, content_type = "text/event-stream"), Problems)
)]
pub(crate) async fn changes(
    State(ctx): State<Context>,
    At(name): At<String>,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, Problem> {
    let table = ctx.table(&name)?;
    let asked = asked(&mut params, &headers, &ctx, &table)?;
    params.finish()?;
    let Ok(place) = Arc::clone(&ctx.streams).try_acquire_owned() else {
        let most = ctx.state.settings.api.max_streams;
        let detail = format!("{most} streams of changes are open already");
        let advice = "close some, ask another instance, or raise `api.max_streams`";
        return Err(Problem::new(Reason::TooManyRequests, detail, advice).retry_after(5));
    };
    let begun = begin::begin(&ctx, &table, asked).await?;
    let (out, frames) = mpsc::channel(FRAMES);
    tokio::spawn(Stream::new(ctx, table, begun, out, place).run());
    let frames = unfold(frames, |mut frames| async move {
        frames.recv().await.map(|frame| (Ok::<_, std::convert::Infallible>(frame), frames))
    });
    let kind = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that would hold events back know this one.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((kind, axum::body::Body::from_stream(frames)).into_response())
}

fn asked(params: &mut Params, headers: &HeaderMap, ctx: &Context, table: &Table) -> Result<Asked, Problem> {
    let asked = plain(params, ctx.state.settings.api.max_keys)?;
    let from = params.text("from")?;
    let seen = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let Some(text) = seen.map(str::to_owned).or(from) else { return Ok(asked) };
    let topic = ctx.state.settings.changelog_topic(&table.def.name);
    let expected = "the `id` of an event of this stream, or `beginning`";
    let named =
        Named::parse(&text, &topic).map_err(|e| Problem::parameter("from", e.message().to_owned(), expected))?;
    if let Named::At(position) = &named
        && let Some(absent) = position.next.keys().find(|p| **p >= table.partitions)
    {
        let found = format!("the table has no partition {absent}");
        return Err(Problem::parameter("from", found, expected));
    }
    Ok(Asked { from: Some(named), ..asked })
}

/// Everything but where to begin.
fn plain(params: &mut Params, max_keys: usize) -> Result<Asked, Problem> {
    let keys = params.list("key")?;
    if let Some(found) = keys.as_ref().map(Vec::len).filter(|n| *n > max_keys) {
        return Err(Problem::parameter("key", format_args!("found {found} keys"), format_args!("at most {max_keys}")));
    }
    let heartbeat = params.duration("heartbeat")?.unwrap_or(HEARTBEAT);
    Ok(Asked {
        q: params.text("q")?,
        filter: params.list("filter")?.unwrap_or_default(),
        keys: keys.map(|keys| keys.into_iter().collect()),
        fields: params.commas("fields")?,
        from: None,
        heartbeat: heartbeat.clamp(Duration::from_millis(100), Duration::from_secs(600)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_parameters_are_those_that_are_taken() {
        let mut params = Params::default();
        plain(&mut params, 10).unwrap();
        params.text("from").unwrap();
        let mut url: Vec<String> = ChangesQuery::into_params(|| None).into_iter().map(|p| p.name).collect();
        url.sort_unstable();
        assert_eq!(url, params.known());
    }

    #[test]
    fn blank_words_are_no_live_query() {
        let asked = |query: &str| plain(&mut Params::from_uri(&format!("/x?{query}").parse().unwrap()).unwrap(), 2);
        assert!(!asked("q=%20&key=a&key=b").unwrap().is_query());
        assert!(asked("q=x").unwrap().is_query() && asked("filter=x:1").unwrap().is_query());
        assert_eq!(asked("key=a&key=b&key=c").unwrap_err().body().more["parameter"], "key");
        assert_eq!(asked("heartbeat=1ms").unwrap().heartbeat, Duration::from_millis(100));
    }
}
