//! Asks a running instance, and turns its problems into errors.

use std::time::Duration;

use serde_json::Value;

use crate::{Error, Kind, Result};

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Largest answer, bytes.
const LARGEST: u64 = 256 << 20;

/// An instance.
pub(super) struct Client {
    agent: ureq::Agent,
    base: String,
}

impl Client {
    /// The instance at this base address.
    pub(super) fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
        Self { agent: config.into(), base: base.trim_end_matches('/').to_owned() }
    }

    /// The JSON of a GET.
    pub(super) fn get(&self, path: &str) -> Result<Value> {
        self.answer(self.agent.get(format!("{}{path}", self.base)).call())
    }

    /// The JSON of a POST of JSON.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let request = self.agent.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        self.answer(request.send(body.to_string()))
    }

    fn answer(&self, answer: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value> {
        let unreachable = |e: ureq::Error| {
            Error::new(Kind::NotFound, format!("no instance answers at {}", self.base))
                .because(e)
                .advise("give its address with --url or KELD_URL")
        };
        let mut response = answer.map_err(unreachable)?;
        let text = response.body_mut().with_config().limit(LARGEST).read_to_string().map_err(unreachable)?;
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if response.status().is_success() { Ok(body) } else { Err(problem(response.status().as_u16(), &body)) }
    }
}

/// The error that a problem tells.
fn problem(status: u16, body: &Value) -> Error {
    let of = |name: &str| body[name].as_str().map(str::to_owned);
    let kind = if status < 500 { Kind::BadRequest } else { Kind::Refused };
    let error = Error::new(kind, of("detail").unwrap_or_else(|| format!("the instance answers {status}: {body}")));
    match of("advice") {
        Some(advice) => error.advise(advice),
        None => error,
    }
}

/// A query string.
pub(super) fn query(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect::<Vec<_>>().join("&")
}

/// Percent-encodes a segment of a path or a value of a query.
pub(super) fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn problems_become_errors_with_their_advice() {
        let body = json!({"detail": "parameter `from`: found `x`", "advice": "fix the request"});
        assert_eq!(problem(400, &body).to_string(), "parameter `from`: found `x` (fix the request)");
        assert_eq!(problem(502, &json!("bad gateway")).to_string(), "the instance answers 502: \"bad gateway\"");
    }

    #[test]
    fn queries_are_percent_encoded() {
        let pairs = [("from".to_owned(), "2026-01-31T12:00:00+01:00".to_owned()), ("t".to_owned(), "é&".to_owned())];
        assert_eq!(query(&pairs), "from=2026-01-31T12%3A00%3A00%2B01%3A00&t=%C3%A9%26");
    }
}
