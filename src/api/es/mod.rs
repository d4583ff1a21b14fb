//! The Elasticsearch subset under `/es`, for the tools that people already have.
//!
//! Owns its URLs, bodies and shapes of answers. What it asks is a search, a read by key or a look at the tables as everywhere, over
//! one instance or many. Nothing is kept between two requests: a scroll id is the request and the place where it goes on, a point
//! in time is a name.

mod aggs;
mod answer;
mod body;
mod describe;
mod docs;
mod hits;
mod info;
mod mapping;
mod names;
mod paging;
mod render;
mod request;
mod search;
mod sort;
pub(super) mod tops;
mod writes;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, Uri};
use axum::routing::{delete, get, post};

pub(super) use answer::Style;
pub(super) use describe::describe;

use super::context::Context;
use super::layers;
use super::problem::{Problem, Reason};

/// Where all of it is.
const PREFIX: &str = "/es";

/// Every route of it.
pub(super) fn routes() -> Router<Context> {
    let search = || get(search::get).post(search::get);
    Router::new()
        .route("/es", get(info::root))
        .route("/es/", get(info::root))
        .route("/es/_cluster/health", get(info::health))
        .route("/es/_cluster/health/{index}", get(info::health_of))
        .route("/es/_cat/indices", get(info::cat))
        .route("/es/_cat/indices/{index}", get(info::cat_of))
        .route("/es/_resolve/index/{index}", get(info::resolve).post(info::resolve))
        .route("/es/_search", search())
        .route("/es/{index}/_search", get(search::get_of).post(search::get_of))
        .route("/es/_msearch", get(search::many).post(search::many))
        .route("/es/{index}/_msearch", get(search::many_of).post(search::many_of))
        .route("/es/_count", get(search::count).post(search::count))
        .route("/es/{index}/_count", get(search::count_of).post(search::count_of))
        .route("/es/_search/scroll", get(paging::scroll).post(paging::scroll).delete(paging::clear))
        .route("/es/_search/scroll/{id}", get(paging::scroll_of).post(paging::scroll_of).delete(paging::clear_of))
        .route("/es/{index}/_pit", post(paging::open))
        .route("/es/_pit", delete(paging::close))
        .route("/es/{index}/_search/point_in_time", post(paging::open_named))
        .route("/es/_search/point_in_time", delete(paging::close_named))
        .route("/es/_search/point_in_time/_all", delete(paging::close_all))
        .route("/es/{index}/_doc/{id}", get(docs::get))
        .route("/es/{index}/_source/{id}", get(docs::source))
        .route("/es/_mget", get(docs::many).post(docs::many))
        .route("/es/{index}/_mget", get(docs::many_of).post(docs::many_of))
        .route("/es/_mapping", get(mapping::mappings))
        .route("/es/{index}/_mapping", get(mapping::mappings_of))
        .route("/es/{index}/_mappings", get(mapping::mappings_of))
        .route("/es/_field_caps", get(mapping::caps).post(mapping::caps))
        .route("/es/{index}/_field_caps", get(mapping::caps_of).post(mapping::caps_of))
        .route("/es/{index}/_settings", get(mapping::settings_of))
        .route("/es/{index}", get(mapping::index))
}

/// As [`layers::wrong_method`]; a write is told where to go.
pub(super) async fn wrong_method(State(ctx): State<Context>, method: Method, uri: Uri) -> Problem {
    match writes::refused(&ctx, &method, uri.path()) {
        Some(problem) => problem,
        None => layers::wrong_method(method, uri).await,
    }
}

/// As [`layers::no_such_route`]; a write is told where to go.
pub(super) async fn no_such_route(State(ctx): State<Context>, method: Method, uri: Uri) -> Problem {
    match writes::refused(&ctx, &method, uri.path()) {
        Some(problem) => problem,
        None if is_below(uri.path()) => {
            let path: String = uri.path().chars().take(200).collect();
            let advice = "README.md says what of Elasticsearch is understood; /openapi.json lists the operations";
            Problem::new(Reason::NoSuchRoute, format!("{method} {path} is not understood here"), advice)
        }
        None => layers::no_such_route(uri).await,
    }
}

/// Whether a path is one of these.
fn is_below(path: &str) -> bool {
    path.strip_prefix(PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
