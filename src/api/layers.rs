//! What surrounds every handler, from the outside in: request id, trace, security headers, compression, panics, number of
//! requests, bytes of bodies, time.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tower::ServiceBuilder;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{self, AllowOrigin, CorsLayer};
use tower_http::request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::trace::TraceLayer;

use super::context::too_large;
use super::problem::{Problem, Reason};
use super::{es, peer};
use crate::cluster::HEARTBEAT;
use crate::config::ApiSettings;

/// Only what this instance itself serves may run, be shown or be asked, and no other page may frame it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Bodies of so many times `api.max_body` are held at a time, over all requests.
const BODIES: usize = 8;
/// Requests of other instances that are worked on at a time, for each of `api.max_in_flight`.
const PEERS: usize = 4;
/// For so long a browser need not ask again what it may do.
const CORS_KEPT: Duration = Duration::from_secs(600);
/// Bodies are counted in units of so many bytes, for semaphores count to 2^32 only.
const BODY_UNIT: u64 = 1024;

/// Puts every layer around the routes.
pub(crate) fn wrap(routes: Router, api: &ApiSettings) -> Router {
    let limits = Arc::new(Limits::of(api));
    let max_body = usize::try_from(api.max_body).unwrap_or(usize::MAX);
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest);
    let trace = TraceLayer::new_for_http().on_failure(());
    // One service around all routes, the first layer outermost: `Router::layer` would box and clone each layer for each request,
    // which took a fifth of a lookup's time.
    let service = ServiceBuilder::new()
        .layer(SetRequestIdLayer::x_request_id(RequestIds::default()))
        .layer(trace)
        .layer(PropagateRequestIdLayer::x_request_id())
        .map_response(security_headers)
        .option_layer(cors(&api.cors))
        .layer(compression)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(limits, limit))
        .layer(DefaultBodyLimit::max(max_body))
        .service(routes);
    Router::new().fallback_service(service)
}

/// Lets pages of these origins read answers; `None` where none may. Without credentials: there are none.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let values = origins.iter().filter_map(|o| HeaderValue::from_str(o).ok());
    let origin = if origins.iter().any(|o| o == "*") { AllowOrigin::any() } else { AllowOrigin::list(values) };
    let exposed = [header::ETAG, header::RETRY_AFTER, HeaderName::from_static("x-request-id")];
    let methods = [Method::GET, Method::HEAD, Method::POST];
    let layer = CorsLayer::new().allow_origin(origin).allow_methods(methods).allow_headers(cors::Any);
    Some(layer.expose_headers(exposed).max_age(CORS_KEPT))
}

/// Numbers the requests that bring no id of their own: `<start>-<number>`, both in hex. The start tells processes apart.
#[derive(Clone)]
struct RequestIds {
    start: i64,
    next: Arc<AtomicU64>,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self { start: crate::clock::now_ms(), next: Arc::default() }
    }
}

impl MakeRequestId for RequestIds {
    fn make_request_id<B>(&mut self, _: &axum::http::Request<B>) -> Option<RequestId> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        HeaderValue::from_str(&format!("{:x}-{number:x}", self.start)).ok().map(RequestId::new)
    }
}

/// Limits over all requests.
struct Limits {
    in_flight: Semaphore,
    /// For requests of other instances: two instances that are full of requests to each other must not wait for ever.
    of_peers: Semaphore,
    max_in_flight: usize,
    bodies: Semaphore,
    max_body: u64,
    timeout: Duration,
}

impl Limits {
    fn of(api: &ApiSettings) -> Self {
        let units = usize::try_from(api.max_body.div_ceil(BODY_UNIT)).unwrap_or(usize::MAX);
        Self {
            in_flight: Semaphore::new(api.max_in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            of_peers: Semaphore::new(api.max_in_flight.saturating_mul(PEERS).clamp(1, Semaphore::MAX_PERMITS)),
            max_in_flight: api.max_in_flight,
            bodies: Semaphore::new(units.max(1).saturating_mul(BODIES).min(Semaphore::MAX_PERMITS)),
            max_body: api.max_body,
            timeout: api.timeout,
        }
    }

    /// Units that the body of a request may take; an error if it says that it is too large.
    fn weight(&self, method: &Method, headers: &HeaderMap) -> Result<u32, Problem> {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let bytes = match length {
            Some(length) if length > self.max_body => return Err(too_large()),
            Some(length) => length,
            None if matches!(*method, Method::GET | Method::HEAD) => 0,
            None => self.max_body,
        };
        Ok(u32::try_from(bytes.div_ceil(BODY_UNIT)).unwrap_or(u32::MAX))
    }
}

/// Whether a path must answer even when everything is busy.
fn is_exempt(path: &str) -> bool {
    path.starts_with("/health/") || path == "/metrics" || path == HEARTBEAT
}

/// Limits number, bytes and time of requests; whatever comes of one under `/es` is answered as such clients expect.
async fn limit(State(limits): State<Arc<Limits>>, request: Request, next: Next) -> Response {
    let style = es::Style::of(&request);
    let response = limited(&limits, request, next).await;
    match style {
        Some(style) => style.dress(response).await,
        None => response,
    }
}

async fn limited(limits: &Limits, request: Request, next: Next) -> Response {
    let counted = !is_exempt(request.uri().path());
    let places = if request.uri().path().starts_with(peer::PREFIX) { &limits.of_peers } else { &limits.in_flight };
    let place = if counted { places.try_acquire().ok() } else { None };
    if counted && place.is_none() {
        return busy(&format!("{} requests are being answered already", limits.max_in_flight));
    }
    let weight = match limits.weight(request.method(), request.headers()) {
        Ok(weight) => weight,
        Err(problem) => return problem.into_response(),
    };
    let Ok(_held) = limits.bodies.try_acquire_many(weight) else {
        return busy("too many bytes are being uploaded at a time");
    };
    match tokio::time::timeout(limits.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => late(limits.timeout),
    }
}

fn busy(detail: &str) -> Response {
    Problem::new(Reason::TooManyRequests, detail, "slow down and try again, or ask another instance")
        .retry_after(1)
        .into_response()
}

fn late(timeout: Duration) -> Response {
    let detail = format!("no answer within {} ms", timeout.as_millis());
    let advice = "ask for less or try again; events of an upload may have been appended: sending them again is harmless \
                  where they carry versions and event ids";
    Problem::new(Reason::Timeout, detail, advice).into_response()
}

// tower-http gives the panic away by value.
#[expect(clippy::needless_pass_by_value, reason = "the signature is tower-http's")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("no message"), "a handler panicked");
    Problem::new(Reason::Internal, "the handler ended unexpectedly", "report it, with the log of this instance")
        .into_response()
}

fn security_headers<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Nothing is at this path.
pub(crate) async fn no_such_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(Reason::NoSuchRoute, format!("there is nothing at {path}"), "/openapi.json lists every path")
}

/// The path does not take this method.
pub(crate) async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    let detail = format!("{path} does not take {method}");
    Problem::new(Reason::MethodNotAllowed, detail, "the `Allow` header names the methods it takes")
}
