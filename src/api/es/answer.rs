//! What every answer has in common: the name of the product, the type that the client asked for, warnings, and the shape of errors.

use axum::extract::Request;
use axum::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, WARNING};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::params::Params;
use super::super::problem::{Problem, Reason};
use super::is_below;
use super::render::Source;

const PRODUCT: HeaderName = HeaderName::from_static("x-elastic-product");
const JSON: &str = "application/json";
/// Most warnings of an answer, and the longest one, bytes: they stand in headers.
const MOST_WARNINGS: usize = 10;
const LONGEST_WARNING: usize = 300;

/// How the client of a request under `/es` wants to be answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Style {
    /// The version of the interface that it speaks, where it says.
    compatible_with: Option<u8>,
    /// What of the answer it wants to see.
    filter: Option<Source>,
}

impl Style {
    /// Of a request; `None` for those elsewhere.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        is_below(request.uri().path()).then(|| {
            let paths = Params::from_uri(request.uri()).ok().and_then(|mut params| params.text("filter_path").ok()?);
            Self { compatible_with: compatible_with(request.headers()), filter: paths.as_deref().map(Source::of_paths) }
        })
    }

    /// Gives an answer its headers, and an error its shape.
    pub(crate) async fn dress(self, mut response: Response) -> Response {
        if let Some(filter) = self.filter.as_ref().filter(|_| response.status().is_success()) {
            response = filtered(filter, response).await;
        }
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            let (parts, _) = response.into_parts();
            response = Response::from_parts(parts, shaped(&problem).to_string().into());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
            response.headers_mut().remove(CONTENT_LENGTH);
        }
        let headers = response.headers_mut();
        headers.insert(PRODUCT, HeaderValue::from_static("Elasticsearch"));
        if let Some(version) = self.compatible_with
            && headers.get(CONTENT_TYPE).is_some_and(|kind| kind == JSON)
        {
            let kind = format!("application/vnd.elasticsearch+json;compatible-with={version}");
            if let Ok(kind) = HeaderValue::from_str(&kind) {
                headers.insert(CONTENT_TYPE, kind);
            }
        }
        response
    }
}

/// What a filter leaves of an answer in JSON.
async fn filtered(filter: &Source, response: Response) -> Response {
    if response.headers().get(CONTENT_TYPE).is_none_or(|kind| kind != JSON) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // Made by this process, of what its limits allow.
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    parts.headers.remove(CONTENT_LENGTH);
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(answer) => Response::from_parts(parts, filter.of_answer(answer).to_string().into()),
        Err(_) => Response::from_parts(parts, bytes.into()),
    }
}

/// `application/vnd.elasticsearch+json;compatible-with=8`, in what is accepted or sent.
fn compatible_with(headers: &HeaderMap) -> Option<u8> {
    let version = |name: HeaderName| {
        let text = headers.get(name)?.to_str().ok().filter(|text| text.contains("application/vnd.elasticsearch+"))?;
        let (_, version) = text.split_once("compatible-with=")?;
        let digits = version.len() - version.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        version[..digits].parse().ok()
    };
    version(ACCEPT).or_else(|| version(CONTENT_TYPE))
}

/// A problem as Elasticsearch would put it, with the advice in the reason.
pub(super) fn shaped(problem: &Problem) -> Value {
    let body = problem.body();
    let mut cause = Map::new();
    cause.insert("type".to_owned(), kind(problem).into());
    cause.insert("reason".to_owned(), format!("{}; {}", body.detail, body.advice).into());
    for member in ["index", "missing_partitions", "topics", "known"] {
        if let Some(value) = body.more.get(member) {
            cause.insert(member.to_owned(), value.clone());
        }
    }
    let mut error = cause.clone();
    error.insert("root_cause".to_owned(), json!([cause]));
    json!({"error": error, "status": body.status})
}

fn kind(problem: &Problem) -> &'static str {
    match problem.reason() {
        Reason::BadRequest if problem.body().detail.starts_with("query") => "parsing_exception",
        Reason::BadRequest | Reason::BadEvents => "illegal_argument_exception",
        Reason::Forbidden => "security_exception",
        Reason::NoSuchTable => "index_not_found_exception",
        Reason::NoSuchRecord | Reason::NoSuchRoute | Reason::NoSuchTopic | Reason::NoSuchEntry => {
            "resource_not_found_exception"
        }
        Reason::MethodNotAllowed => "method_not_allowed_exception",
        Reason::TooLarge => "content_too_long_exception",
        Reason::TooManyRequests => "es_rejected_execution_exception",
        Reason::Internal | Reason::Storage => "exception",
        Reason::TooStale
        | Reason::Restoring
        | Reason::NoOwner
        | Reason::Releasing
        | Reason::Stopped
        | Reason::BrokerAway
        | Reason::NotReady => "no_shard_available_action_exception",
        Reason::FreshnessTimeout | Reason::Timeout => "timeout_exception",
    }
}

/// An answer with what has to be said beside it.
pub(super) struct Answer<T> {
    pub(super) status: StatusCode,
    pub(super) body: T,
    pub(super) warnings: Vec<String>,
}

impl<T> Answer<T> {
    pub(super) fn of(body: T) -> Self {
        Self { status: StatusCode::OK, body, warnings: Vec::new() }
    }

    pub(super) fn with(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body)).into_response();
        for warning in self.warnings.iter().take(MOST_WARNINGS) {
            if let Ok(value) = HeaderValue::from_str(&header(warning)) {
                response.headers_mut().append(WARNING, value);
            }
        }
        response
    }
}

/// A warning as RFC 7234 writes it: a quoted text of ASCII.
fn header(warning: &str) -> String {
    let cut = &warning[..warning.floor_char_boundary(LONGEST_WARNING)];
    let mut text = String::with_capacity(cut.len());
    for letter in cut.chars() {
        match letter {
            // Clients look for the text between two quotes, and some know nothing of backslashes.
            '"' | '\\' => text.push('\''),
            letter if letter.is_ascii_graphic() || letter == ' ' => text.push(letter),
            _ => text.push('?'),
        }
    }
    format!("299 Keld-{} \"{text}\"", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_type_of_an_answer_is_the_one_asked_for() {
        let style = |name: &str, value: &str| {
            let request = Request::builder().uri("/es/t/_search").header(name, value).body(axum::body::Body::empty());
            Style::of(&request.unwrap()).unwrap()
        };
        let vendor = "application/vnd.elasticsearch+json; compatible-with=9";
        let dressed = style("accept", vendor).dress(Answer::of(json!({})).into_response()).await;
        assert_eq!(dressed.headers()["content-type"], "application/vnd.elasticsearch+json;compatible-with=9");
        assert_eq!(dressed.headers()["x-elastic-product"], "Elasticsearch");
        let sent = style("content-type", "application/vnd.elasticsearch+x-ndjson;compatible-with=8");
        assert_eq!(sent.compatible_with, Some(8));
        let plain = style("accept", "*/*").dress(Answer::of(json!({})).into_response()).await;
        assert_eq!(plain.headers()["content-type"], "application/json");
        let elsewhere = Request::builder().uri("/essence").body(axum::body::Body::empty()).unwrap();
        assert_eq!(Style::of(&elsewhere), None);
    }

    #[tokio::test]
    async fn an_error_has_the_shape_of_elasticsearch_and_the_advice_in_its_reason() {
        let problem = Problem::new(Reason::NoSuchTable, "there is no table `x`", "the tables are y").with("index", "x");
        let dressed = Style::default().dress(problem.clone().into_response()).await;
        assert_eq!(dressed.status(), StatusCode::NOT_FOUND);
        assert_eq!(dressed.headers()["content-type"], "application/json");
        let cause = json!({"type": "index_not_found_exception", "reason": "there is no table `x`; the tables are y", "index": "x"});
        let mut error = cause.clone();
        error["root_cause"] = json!([cause]);
        assert_eq!(shaped(&problem), json!({"error": error, "status": 404}));
    }

    #[test]
    fn warnings_are_quoted_texts_of_ascii() {
        let text = header("a \"field\" named é\n");
        assert!(text.starts_with("299 Keld-") && text.ends_with("\"a 'field' named ??\""), "{text}");
        assert!(header(&"x".repeat(1_000)).len() < 400);
    }
}
