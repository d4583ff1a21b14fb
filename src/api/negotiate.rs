//! In which form an answer is given, and whether the client has it already.

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3;

use super::problem::{Problem, Reason};

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As one JSON object.
    Json,
    /// One item a line, and `{"summary": …}` with all the rest as the last line.
    Lines,
}

impl Form {
    /// What the client takes, lines only where it says so and does not like JSON better.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let (mut lines, mut json) = (0.0, 0.0);
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
        for item in accepted.flat_map(|value| value.split(',')) {
            let mut parts = item.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let weight = parts.find_map(|p| p.strip_prefix("q=")).map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0));
            if kind.eq_ignore_ascii_case(NDJSON) || kind.eq_ignore_ascii_case("application/ndjson") {
                lines = weight;
            } else if kind.eq_ignore_ascii_case(JSON) {
                json = weight;
            }
        }
        if lines > 0.0 && lines >= json { Self::Lines } else { Self::Json }
    }

    /// Writes an answer; `take` takes the items of its member `list` out.
    pub(crate) fn write<T: Serialize, I: Serialize>(
        self,
        mut answer: T,
        list: &str,
        take: impl FnOnce(&mut T) -> Vec<I>,
    ) -> Result<Response, Problem> {
        let (kind, body) = match self {
            Self::Json => (JSON, serde_json::to_vec(&answer).map_err(unwritable)?),
            Self::Lines => {
                let items = take(&mut answer);
                let mut rest = serde_json::to_value(&answer).map_err(unwritable)?;
                rest.as_object_mut().map(|members| members.remove(list));
                let mut body = Vec::new();
                for item in &items {
                    serde_json::to_writer(&mut body, item).map_err(unwritable)?;
                    body.push(b'\n');
                }
                let last = Map::from_iter([("summary".to_owned(), rest)]);
                serde_json::to_writer(&mut body, &Value::Object(last)).map_err(unwritable)?;
                body.push(b'\n');
                (NDJSON, body)
            }
        };
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
            (header::VARY, HeaderValue::from_static("accept")),
        ];
        Ok((headers, Bytes::from(body)).into_response())
    }
}

/// Serialising what handlers build cannot fail.
#[expect(clippy::needless_pass_by_value, reason = "the signature is that of map_err")]
pub(crate) fn unwritable(e: serde_json::Error) -> Problem {
    Problem::new(Reason::Internal, format!("the answer cannot be written: {e}"), "report it, with the log")
}

/// The tag of what is shown of a record: another one whenever anything of it differs. It is weak (`W/`): the bytes differ where the
/// answer is compressed, and what is said beside the record is not part of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tag(String);

impl Tag {
    /// Of these texts together.
    pub(crate) fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hash = Xxh3::new();
        for text in texts {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        Self(format!("\"{:032x}\"", hash.digest128()))
    }

    /// Whether the client has it (`If-None-Match`).
    pub(crate) fn is_held(&self, headers: &HeaderMap) -> bool {
        let held = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
        held.flat_map(|value| value.split(','))
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.0)
    }

    /// The headers of an answer that has it: to be kept, but asked for again each time.
    pub(crate) fn headers(&self) -> [(HeaderName, HeaderValue); 2] {
        // Quotes and hex digits are a header value.
        let tag = HeaderValue::from_str(&format!("W/{}", self.0)).unwrap_or(HeaderValue::from_static("W/\"\""));
        [(header::ETAG, tag), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))]
    }

    /// The answer to a client that has it.
    pub(crate) fn unchanged(&self) -> Response {
        (StatusCode::NOT_MODIFIED, self.headers()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn lines_are_for_who_asks_for_them() {
        for (accept, form) in [
            ("application/x-ndjson", Form::Lines),
            ("application/ndjson, */*;q=0.1", Form::Lines),
            ("application/json, application/x-ndjson", Form::Lines),
            ("application/json, application/x-ndjson;q=0.5", Form::Json),
            ("application/x-ndjson; q=0", Form::Json),
            ("*/*", Form::Json),
            ("text/html", Form::Json),
        ] {
            assert_eq!(Form::of(&with(header::ACCEPT, accept)), form, "{accept}");
        }
        assert_eq!(Form::of(&HeaderMap::new()), Form::Json);
    }

    #[test]
    fn a_tag_is_of_all_its_texts_and_is_recognised() {
        let tag = Tag::of(["ab", "c"]);
        assert_eq!(tag, Tag::of(["ab", "c"]));
        assert_ne!(tag, Tag::of(["a", "bc"]));
        let held = |value: &str| tag.is_held(&with(header::IF_NONE_MATCH, value));
        assert!(held(&tag.0) && held("*") && held(&format!("\"x\", W/{}", tag.0)));
        assert!(!held("\"x\"") && !tag.is_held(&HeaderMap::new()));
    }
}
