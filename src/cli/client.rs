//! Asks a running instance, and turns its problems into errors.

use std::time::Duration;

use serde_json::Value;

use crate::{Error, Kind, Result};

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Largest answer, bytes.
const LARGEST: u64 = 256 << 20;

/// An instance.
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
}

impl Client {
    /// The instance at this base address.
    pub(crate) fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
        Self { agent: config.into(), base: base.trim_end_matches('/').to_owned() }
    }

    /// The JSON of a GET.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.answer(self.agent.get(format!("{}{path}", self.base)).call())
    }

    /// The JSON of a POST of JSON.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let request = self.agent.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        self.answer(request.send(body.to_string()))
    }

    /// The lines of a stream of events. It may stay open for ever, but not be silent for longer than `silence`: see [`was_silent`].
    pub(crate) fn stream(&self, path: &str, silence: Duration) -> Result<impl std::io::BufRead + use<>> {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_connect(Some(CONNECT));
        let agent: ureq::Agent = config.timeout_per_read(Some(silence)).build().into();
        let request = agent.get(format!("{}{path}", self.base)).header("accept", "text/event-stream");
        let response = request.call().map_err(|e| self.unreachable(e))?;
        if !response.status().is_success() {
            self.answer(Ok(response))?;
            return Err(Error::internal("a stream was refused without a reason"));
        }
        Ok(std::io::BufReader::new(response.into_body().into_reader()))
    }

    fn unreachable(&self, e: ureq::Error) -> Error {
        Error::new(Kind::NotFound, format!("no instance answers at {}", self.base))
            .because(e)
            .advise("give its address with --url or KELD_URL")
    }

    fn answer(&self, answer: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value> {
        let mut response = answer.map_err(|e| self.unreachable(e))?;
        let body = response.body_mut().with_config().limit(LARGEST);
        let text = body.read_to_string().map_err(|e| self.unreachable(e))?;
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if response.status().is_success() { Ok(body) } else { Err(problem(response.status().as_u16(), &body)) }
    }
}

/// Whether reading ended because nothing came for too long.
pub(crate) fn was_silent(e: &std::io::Error) -> bool {
    let cause = e.get_ref().and_then(|e| e.downcast_ref::<ureq::Error>());
    matches!(cause, Some(ureq::Error::Timeout(_)))
}

/// The error that a problem tells.
fn problem(status: u16, body: &Value) -> Error {
    let of = |name: &str| body[name].as_str().map(str::to_owned);
    let kind = match status {
        404 => Kind::NotFound,
        429 => Kind::Refused,
        ..500 => Kind::BadRequest,
        _ => Kind::Refused,
    };
    let error = Error::new(kind, of("detail").unwrap_or_else(|| format!("the instance answers {status}: {body}")));
    match of("advice") {
        Some(advice) => error.advise(advice),
        None => error,
    }
}

/// A query string.
pub(crate) fn query(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect::<Vec<_>>().join("&")
}

/// Percent-encodes a segment of a path or a value of a query.
pub(crate) fn escape(text: &str) -> String {
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
