//! The description of the API, generated from the handlers.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use utoipa::openapi::response::Response;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::context::Context;
use super::params::Params;
use super::problem::{Problem, ProblemBody, Reason};
use super::{changes, cluster, ingest, operation, peer, quarantine, records, scan, scatter, search, status, tables};
use crate::cluster::HEARTBEAT;

/// The frame that the handlers' descriptions are put into.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Keld",
        description = "Reads and searches the current records that Keld makes of event streams. Every error is \
                       problem+json with a `reason` to match on and an `advice` to follow."
    ),
    components(schemas(ProblemBody)),
    tags(
        (name = "tables", description = "What there is to read"),
        (name = "records", description = "Reads by key"),
        (name = "search", description = "Reads by content"),
        (name = "changes", description = "Changes and live queries as they happen"),
        (name = "events", description = "Events in"),
        (name = "quarantine", description = "Events that were refused"),
        (name = "operation", description = "How this instance is")
    )
)]
struct Frame;

/// The problems that any handler may answer with, one response for each status.
pub(crate) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for reason in Reason::ALL {
            reasons.entry(reason.status().as_u16().to_string()).or_default().push(reason.code());
        }
        let respond = |(status, codes): (String, Vec<&str>)| {
            let schema = Ref::from_schema_name(ProblemBody::name());
            let content = ContentBuilder::new().schema(Some(schema)).build();
            let response = ResponseBuilder::new()
                .description(format!("`{}`", codes.join("`, `")))
                .content("application/problem+json", content)
                .build();
            (status, RefOr::T(response))
        };
        reasons.into_iter().map(respond).collect()
    }
}

/// The routes of the API and their description.
pub(crate) fn routes() -> (axum::Router<Context>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Frame::openapi())
        .routes(routes!(tables::list))
        .routes(routes!(tables::get))
        .routes(routes!(records::get))
        .routes(routes!(scan::by_prefix))
        .routes(routes!(records::get_many, records::get_named_get))
        .routes(routes!(search::by_url, search::by_body))
        .routes(routes!(changes::changes))
        .routes(routes!(ingest::append))
        .routes(routes!(quarantine::list))
        .routes(routes!(quarantine::get))
        .routes(routes!(quarantine::replay))
        .routes(routes!(status::status))
        .routes(routes!(cluster::cluster))
        .route(HEARTBEAT, axum::routing::get(cluster::heartbeat))
        .route(peer::RECORDS, axum::routing::post(peer::records))
        .route(peer::WAIT, axum::routing::post(peer::wait))
        .route(changes::MATCHING, axum::routing::post(changes::matching_of_peer))
        .route(scan::PEER, axum::routing::post(scan::of_peer))
        .route(scatter::SEARCH, axum::routing::post(scatter::search))
        .route(scatter::STATISTICS, axum::routing::post(scatter::statistics))
        .routes(routes!(operation::live))
        .routes(routes!(operation::ready))
        .routes(routes!(operation::metrics))
        .routes(routes!(describe))
        .split_for_parts()
}

/// Describes this API
///
/// as OpenAPI 3.1.
#[utoipa::path(get, path = "/openapi.json", tag = "operation", responses((status = 200, body = Object), Problems))]
pub(crate) async fn describe(State(ctx): State<Context>, params: Params) -> Result<Json<Value>, Problem> {
    params.finish()?;
    Ok(Json(ctx.description().clone()))
}
