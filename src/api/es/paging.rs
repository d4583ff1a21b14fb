//! Scrolls and points in time, without anything that is kept: a scroll id is the search and the place of its last hit, the id of a
//! point in time names a table. There is no snapshot: a page shows what there is when it is asked for, and a record that stays where
//! it stands in the order is neither missed nor repeated.

use axum::extract::State;
use axum::http::Uri;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::context::{At, Context, Payload};
use super::super::problem::Problem;
use super::answer::Answer;
use super::body::{Body, wrong};
use super::hits::{self, SearchResponse};
use super::names;
use super::request::{Paging, Url};
use super::search::{found, freshness};
use crate::index::Place;

/// Longest id that is read, bytes.
const LONGEST: usize = 4 << 20;

/// What a scroll id holds.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Scroll {
    pub(super) table: String,
    /// The URL of the search.
    pub(super) url: String,
    /// The body of the search.
    pub(super) body: String,
    /// What `now` was.
    pub(super) now_ms: i64,
    /// The place of the last hit.
    pub(super) after: Option<Place>,
}

impl Scroll {
    /// The id; refused where it would be longer than one that is read.
    pub(super) fn write(&self) -> Result<String, Problem> {
        let id = BASE64.encode(serde_json::to_vec(self).unwrap_or_default());
        if id.len() > LONGEST {
            return Err(wrong("a scroll holds its search, and this one is too long for it: page with search_after"));
        }
        Ok(id)
    }

    fn read(id: &str) -> Result<Self, Problem> {
        decode(id).ok_or_else(|| wrong("scroll_id: it is none: it was cut or changed"))
    }
}

fn decode<T: for<'de> Deserialize<'de>>(id: &str) -> Option<T> {
    let bytes = BASE64.decode(Some(id).filter(|id| id.len() <= LONGEST)?).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// A point in time in a body.
#[derive(Debug, Deserialize)]
pub(super) struct Pit {
    pub(super) id: String,
}

/// What the id of a point in time holds.
#[derive(Serialize, Deserialize)]
struct PitId {
    pit: String,
}

impl Pit {
    /// The table that it is of.
    pub(super) fn table(&self) -> Result<String, Problem> {
        let id: Option<PitId> = decode(&self.id);
        id.map(|id| id.pit).ok_or_else(|| wrong("pit.id: it is none: it was cut or changed"))
    }
}

/// `POST|GET /_search/scroll`: the next page.
pub(super) async fn scroll(
    State(ctx): State<Context>,
    uri: Uri,
    Payload(body): Payload,
) -> Result<Answer<SearchResponse>, Problem> {
    let mut body = Body::read(&body)?;
    let given = super::super::params::Params::from_uri(&uri)?.text("scroll_id")?;
    let id = body.take("scroll_id")?.or(given).ok_or_else(|| wrong("expected \"scroll_id\""))?;
    next(&ctx, &uri, &id).await
}

/// The same with the id in the path.
pub(super) async fn scroll_of(
    State(ctx): State<Context>,
    At(id): At<String>,
    uri: Uri,
) -> Result<Answer<SearchResponse>, Problem> {
    next(&ctx, &uri, &id).await
}

async fn next(ctx: &Context, uri: &Uri, id: &str) -> Result<Answer<SearchResponse>, Problem> {
    let scroll = Scroll::read(id)?;
    let kept: Uri = scroll.url.parse().map_err(|_| wrong("scroll_id: it is none: it was cut or changed"))?;
    let asked = Url::read(uri)?;
    let mut url = Url::read(&kept)?;
    url.plain_totals = asked.plain_totals;
    let table = names::one(ctx, &scroll.table, false)?.ok_or_else(|| wrong("scroll_id: it names no table"))?;
    if scroll.after.is_none() {
        // The first page was empty, and so are all others.
        return Ok(Answer::of(SearchResponse { _scroll_id: Some(id.to_owned()), ..hits::empty(url.plain_totals) }));
    }
    let body = Body::read(scroll.body.as_bytes())?;
    let freshness = freshness(ctx, uri)?;
    let after = scroll.after.clone();
    let (_, mut answer, last) = found(ctx, &table, body, &url, Paging::Scroll, scroll.now_ms, after, freshness).await?;
    answer._scroll_id = Some(Scroll { after: last.or(scroll.after.clone()), ..scroll }.write()?);
    Ok(Answer::of(answer))
}

/// `DELETE /_search/scroll`.
pub(super) async fn clear() -> Answer<Value> {
    Answer::of(json!({"succeeded": true, "num_freed": 1}))
}

/// The same with the id in the path.
pub(super) async fn clear_of(At(_): At<String>) -> Answer<Value> {
    clear().await
}

/// `POST /{index}/_pit`.
pub(super) async fn open(
    State(ctx): State<Context>,
    At(index): At<String>,
    uri: Uri,
) -> Result<Answer<Value>, Problem> {
    let (id, partitions) = opened(&ctx, &index, &uri)?;
    Ok(Answer::of(json!({"id": id, "_shards": hits::shards(partitions, 0)})))
}

/// `POST /{index}/_search/point_in_time`, as OpenSearch has it.
pub(super) async fn open_named(
    State(ctx): State<Context>,
    At(index): At<String>,
    uri: Uri,
) -> Result<Answer<Value>, Problem> {
    let (id, partitions) = opened(&ctx, &index, &uri)?;
    let created = crate::clock::now_ms();
    Ok(Answer::of(json!({"pit_id": id, "_shards": hits::shards(partitions, 0), "creation_time": created})))
}

fn opened(ctx: &Context, index: &str, uri: &Uri) -> Result<(String, u32), Problem> {
    let url = Url::read(uri)?;
    let table = names::one(ctx, index, url.lenient)?.ok_or_else(|| wrong("a point in time is of a table"))?;
    let id = serde_json::to_vec(&PitId { pit: table.def.name.clone() }).unwrap_or_default();
    Ok((BASE64.encode(id), table.partitions))
}

/// `DELETE /_pit`.
pub(super) async fn close() -> Answer<Value> {
    Answer::of(json!({"succeeded": true, "num_freed": 1}))
}

/// `DELETE /_search/point_in_time`, as OpenSearch has it.
pub(super) async fn close_named(Payload(body): Payload) -> Result<Answer<Value>, Problem> {
    let ids = Body::read(&body)?.texts("pit_id")?.ok_or_else(|| wrong("expected \"pit_id\""))?;
    let closed: Vec<Value> = ids.iter().map(|id| json!({"successful": true, "pit_id": id})).collect();
    Ok(Answer::of(json!({"pits": closed})))
}

/// `DELETE /_search/point_in_time/_all`.
pub(super) async fn close_all() -> Answer<Value> {
    Answer::of(json!({"pits": []}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_hold_what_they_stand_for_and_other_texts_are_none() {
        let scroll = Scroll {
            table: "t".to_owned(),
            url: "/?size=3".to_owned(),
            body: "{}".to_owned(),
            now_ms: 7,
            after: Some(Place { ranks: Vec::new(), key: b"k".to_vec() }),
        };
        let id = scroll.write().unwrap();
        assert_eq!(Scroll::read(&id).unwrap(), scroll);
        for id in ["", "x", "!!", &id[3..]] {
            assert!(Scroll::read(id).is_err() && Pit { id: id.to_owned() }.table().is_err(), "{id}");
        }
    }

    #[test]
    fn a_search_that_no_id_can_hold_is_refused_at_its_first_page() {
        let scroll = |bytes: usize| Scroll {
            table: "t".to_owned(),
            url: "/".to_owned(),
            body: "x".repeat(bytes),
            now_ms: 0,
            after: None,
        };
        assert!(Scroll::read(&scroll(1 << 20).write().unwrap()).is_ok());
        assert!(scroll(4 << 20).write().unwrap_err().body().detail.contains("search_after"));
    }
}
