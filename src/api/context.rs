//! What every handler shares, and the extractors that turn bad input into problems.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::ApiState;
use super::ingest::TopicReaders;
use super::params::Params;
use super::pool::{Near, Pool};
use super::problem::{Problem, Reason};
use crate::changes::{Room, Tail};
use crate::query::Table;

/// Searches that may wait for each thread of the search pool.
const QUEUE_PER_THREAD: usize = 64;
/// Lookups at a time, for each search thread; they are short and mostly wait for a disk.
const LOOKUPS_PER_THREAD: usize = 4;
/// Appends at a time; they wait for the broker.
const APPENDS: usize = 16;

/// Requests to other instances at a time, for each request that may be worked on.
const ASKED_AT_ONCE: usize = 4;
/// Streams of changes that read for themselves at a time, what the others have passed already.
const CATCH_UPS: usize = 8;
/// Streams that ask the broker where they begin, at a time. While it is away each waits for it.
const STARTS: usize = 4;
/// How long a stream may wait for a thread.
const STREAM_WAIT: Duration = Duration::from_secs(60);

/// What every handler shares.
#[derive(Clone)]
pub(crate) struct Context(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) state: ApiState,
    pub(crate) started: Instant,
    pub(crate) searches: Pool,
    pub(crate) lookups: Pool,
    /// Places for short searches and lookups where they are asked for.
    pub(crate) near: Near,
    pub(crate) appends: Pool,
    /// Places for requests to other instances.
    pub(crate) asking: Semaphore,
    pub(crate) topics: BTreeMap<String, TopicReaders>,
    /// Places for streams of changes.
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) catch_ups: Arc<Semaphore>,
    /// Asks the broker where streams begin.
    pub(crate) starting: Pool,
    /// Turns changes into events.
    pub(crate) streaming: Pool,
    /// Keys that live queries remember.
    pub(crate) room: Arc<Room>,
    tails: BTreeMap<String, Arc<Tail>>,
    description: serde_json::Value,
}

impl std::ops::Deref for Context {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Context {
    /// Builds pools and decoders; `description` is what `/openapi.json` answers.
    pub(crate) fn new(state: ApiState, description: serde_json::Value) -> Self {
        let api = &state.settings.api;
        let threads = api.search_threads.max(1);
        let wait = api.timeout / 2;
        Self(Arc::new(Inner {
            started: Instant::now(),
            searches: Pool::new("search pool", threads, threads * QUEUE_PER_THREAD, wait),
            lookups: Pool::new("lookup pool", threads * LOOKUPS_PER_THREAD, api.max_in_flight, wait),
            near: Near::new(api),
            appends: Pool::new("append pool", APPENDS, api.max_in_flight, wait),
            asking: Semaphore::new(api.max_in_flight.saturating_mul(ASKED_AT_ONCE).min(Semaphore::MAX_PERMITS)),
            topics: TopicReaders::by_topic(&state.tables),
            streams: Arc::new(Semaphore::new(api.max_streams)),
            catch_ups: Arc::new(Semaphore::new(CATCH_UPS)),
            starting: Pool::new("stream start pool", STARTS, api.max_streams, wait),
            streaming: Pool::new("stream pool", threads, api.max_streams, STREAM_WAIT),
            room: Room::new(api.max_live_matches),
            tails: tails(&state),
            description,
            state,
        }))
    }

    /// What `/openapi.json` answers.
    pub(crate) fn description(&self) -> &serde_json::Value {
        &self.description
    }

    /// The end of a table's changelog.
    pub(crate) fn tail(&self, table: &Table) -> Result<Arc<Tail>, Problem> {
        let tail = self.tails.get(&table.def.name).cloned();
        tail.ok_or_else(|| Problem::new(Reason::Internal, "the table has no changelog", "report it, with the log"))
    }

    /// Name of this instance.
    pub(crate) fn instance(&self) -> &str {
        &self.state.settings.instance.id
    }

    /// A table by its name.
    pub(crate) fn table(&self, name: &str) -> Result<Arc<Table>, Problem> {
        self.state.tables.get(name).cloned().ok_or_else(|| {
            let known: Vec<String> = self.state.tables.keys().cloned().collect();
            let advice = match known.as_slice() {
                [] => "no table is configured".to_owned(),
                names => format!("the tables are {}", names.join(", ")),
            };
            let shown: String = name.chars().take(80).collect();
            Problem::new(Reason::NoSuchTable, format!("there is no table `{shown}`"), advice).with("known", known)
        })
    }
}

fn tails(state: &ApiState) -> BTreeMap<String, Arc<Tail>> {
    let most = usize::try_from(state.settings.api.stream_buffer).unwrap_or(usize::MAX);
    let tail = |(name, table): (&String, &Arc<Table>)| {
        let topic = state.settings.changelog_topic(name);
        (name.clone(), Arc::new(Tail::new(Arc::clone(&state.broker), name, &topic, table.partitions, most)))
    };
    state.tables.iter().map(tail).collect()
}

/// Segments of the path.
pub(crate) struct At<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(At(segments)),
            Err(e) => Err(Problem::new(Reason::BadRequest, e.body_text(), "percent-encode every segment as UTF-8")),
        }
    }
}

/// Parameters of the URL.
impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Params::from_uri(&parts.uri)
    }
}

/// The whole body, no longer than the limit of the router.
pub(crate) struct Payload(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Payload {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Bytes::from_request(request, state).await.map(Payload).map_err(|e| {
            if e.status() == StatusCode::PAYLOAD_TOO_LARGE {
                too_large()
            } else {
                Problem::new(Reason::BadRequest, e.body_text(), "send the whole body")
            }
        })
    }
}

/// The body is larger than allowed.
pub(crate) fn too_large() -> Problem {
    let detail = "the body is larger than `api.max_body` allows";
    Problem::new(Reason::TooLarge, detail, "send it in parts, or raise `api.max_body` in the configuration")
}

/// Parameters of the URL and of a JSON body, together.
pub(crate) struct BodyParams(pub(crate) Params);

impl<S: Send + Sync> FromRequest<S> for BodyParams {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let uri: Uri = request.uri().clone();
        let Payload(body) = Payload::from_request(request, state).await?;
        Params::from_uri(&uri)?.with_body(&body).map(BodyParams)
    }
}
