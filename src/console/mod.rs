//! The console: a page of plain ES modules and style sheets, all in the binary, without a build step and nothing from elsewhere.
//!
//! `page/index.html` is the frame, `page/js/main.js` shows one page at a time by the address (`#/search/…`), `page/js/pages/` has a
//! file or a few for each page, and the files beside `main.js` are what they share.

use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use xxhash_rust::xxh3::xxh3_64;

/// What the parts of the page may be kept for: they are asked for again, and sent where they have changed.
const CACHE: &str = "no-cache";

/// A part of the page.
struct File {
    path: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($path:literal)*) => { &[$(File { path: $path, text: include_str!(concat!("page/", $path)) }),*] };
}

static FILES: &[File] = files! {
    "index.html"
    "icon.svg"
    "css/base.css" "css/controls.css" "css/lists.css" "css/record.css" "css/search.css" "css/shell.css" "css/status.css"
    "js/ask.js" "js/chart.js" "js/definitions.js" "js/diff.js" "js/dom.js" "js/format.js" "js/keys.js" "js/main.js" "js/parts.js"
    "js/place.js" "js/query.js" "js/sampler.js" "js/shell.js" "js/stream.js" "js/theme.js"
    "js/pages/api.js" "js/pages/quarantine.js" "js/pages/quarantine_replay.js" "js/pages/record.js" "js/pages/record_fields.js"
    "js/pages/record_history.js" "js/pages/search.js" "js/pages/search_facets.js" "js/pages/search_form.js"
    "js/pages/search_hits.js" "js/pages/status.js" "js/pages/status_cluster.js" "js/pages/status_tasks.js" "js/pages/tables.js"
    "js/pages/tail.js"
};

/// `ETag` of each file: a hash of its bytes; weak, for it is the same where they are sent compressed.
static TAGS: LazyLock<Vec<String>> =
    LazyLock::new(|| FILES.iter().map(|file| format!("W/\"{:016x}\"", xxh3_64(file.text.as_bytes()))).collect());

impl File {
    fn kind(&self) -> &'static str {
        match self.path.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        }
    }

    fn serve(&'static self, tag: &'static str, headers: &HeaderMap) -> Response {
        let known = headers.get(header::IF_NONE_MATCH).and_then(|held| held.to_str().ok());
        let headers = [(header::CONTENT_TYPE, self.kind()), (header::CACHE_CONTROL, CACHE), (header::ETAG, tag)];
        if known == Some(tag) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, self.text).into_response()
    }
}

/// The routes of the page: its frame at `/`, its parts below `/console/`.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().zip(TAGS.iter()).fold(Router::new(), |router, (file, tag)| {
        let path = if file.path == "index.html" { "/".to_owned() } else { format!("/console/{}", file.path) };
        router.route(&path, get(move |headers: HeaderMap| async move { file.serve(tag, &headers) }))
    })
}
