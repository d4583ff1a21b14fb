//! The built-in web page: one page, its style and its script, all in the binary and nothing from elsewhere.

use axum::Router;
use axum::http::{HeaderName, header};
use axum::routing::get;

/// What the parts of the page may be kept for: a new binary shows its new page at once.
const CACHE: &str = "no-cache";

type Asset = ([(HeaderName, &'static str); 2], &'static str);

fn asset(kind: &'static str, content: &'static str) -> Asset {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, CACHE)], content)
}

async fn page() -> Asset {
    asset("text/html; charset=utf-8", include_str!("console.html"))
}

async fn style() -> Asset {
    asset("text/css; charset=utf-8", include_str!("console.css"))
}

async fn script() -> Asset {
    asset("text/javascript; charset=utf-8", include_str!("console.js"))
}

async fn icon() -> Asset {
    asset("image/svg+xml", include_str!("icon.svg"))
}

/// The routes of the page.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(page))
        .route("/console.css", get(style))
        .route("/console.js", get(script))
        .route("/icon.svg", get(icon))
}
