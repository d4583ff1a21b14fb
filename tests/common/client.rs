//! A small HTTP client for tests.

use std::time::Duration;

use serde_json::Value;

/// Talks to one instance.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
}

impl Client {
    pub(crate) fn new(base: &str) -> Self {
        Self::with_timeout(base, Duration::from_secs(60))
    }

    /// A client that gives a request up after `timeout`.
    pub(crate) fn with_timeout(base: &str, timeout: Duration) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(timeout)).build();
        Self { agent: config.into(), base: base.to_owned() }
    }

    /// Status and body of a GET; `Err` if the instance cannot be reached.
    pub(crate) fn try_get(&self, path: &str) -> Result<(u16, String), ureq::Error> {
        let mut response = self.agent.get(format!("{}{path}", self.base)).call()?;
        Ok((response.status().as_u16(), response.body_mut().with_config().limit(1 << 30).read_to_string()?))
    }

    /// The JSON of a GET that must succeed.
    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, body) = self.try_get(path).unwrap_or_else(|e| panic!("GET {path}: {e}"));
        assert_eq!(status, 200, "GET {path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("GET {path}: {e}: {body}"))
    }

    /// Status and JSON of a GET.
    pub(crate) fn get_any(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.try_get(path).unwrap_or_else(|e| panic!("GET {path}: {e}"));
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    /// Status and JSON of a POST; `Err` if the instance cannot be reached.
    pub(crate) fn try_post(&self, path: &str, kind: &str, body: &[u8]) -> Result<(u16, Value), ureq::Error> {
        let mut response = self.agent.post(format!("{}{path}", self.base)).header("content-type", kind).send(body)?;
        let text = response.body_mut().with_config().limit(1 << 30).read_to_string()?;
        Ok((response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// The JSON of a POST of JSON that must succeed.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self
            .try_post(path, "application/json", body.to_string().as_bytes())
            .unwrap_or_else(|e| panic!("POST {path}: {e}"));
        assert_eq!(status, 200, "POST {path}: {answer}");
        answer
    }

    /// Appends NDJSON to a topic; the answer.
    pub(crate) fn ingest(&self, topic: &str, lines: &str) -> Value {
        let path = format!("/v1/topics/{topic}/events");
        let (status, answer) = self
            .try_post(&path, "application/x-ndjson", lines.as_bytes())
            .unwrap_or_else(|e| panic!("POST {path}: {e}"));
        assert!((200..300).contains(&status), "POST {path}: {status} {answer}");
        answer
    }
}

/// Text as it must stand in a URL.
pub(crate) fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}
