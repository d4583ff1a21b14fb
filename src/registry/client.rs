//! The requests to a registry, and what its answers mean. Credentials are sent, and never shown.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

use crate::config::RegistrySettings;
use crate::{Error, Kind, Result};

/// Most bytes of an answer.
const MAX_ANSWER: u64 = 16 << 20;
/// Most schemas that a schema may refer to, directly or not.
const MAX_REFERENCES: usize = 1_000;
const ACCEPTED: &str = "application/vnd.schemaregistry.v1+json, application/json";

/// A client of one registry.
pub(super) struct Client {
    agent: Agent,
    url: String,
    authorization: Option<String>,
}

/// What the registry says of a schema.
pub(super) enum Answer {
    Found(Found),
    /// There is none (404).
    Nowhere,
}

/// A schema as the registry gives it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Found {
    pub(super) schema: String,
    /// Left out for Avro.
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Reference {
    subject: String,
    version: i64,
}

impl Found {
    pub(super) fn kind(&self) -> &str {
        self.schema_type.as_deref().unwrap_or("AVRO")
    }

    pub(super) fn is_avro(&self) -> bool {
        self.kind() == "AVRO"
    }
}

impl Client {
    pub(super) fn new(settings: &RegistrySettings) -> Self {
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier).build();
        let agent = Agent::config_builder()
            .timeout_global(Some(settings.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_age(Duration::from_secs(30))
            .tls_config(tls)
            .build();
        let pair = |user: &String| format!("{user}:{}", settings.password.reveal());
        Self {
            agent: agent.into(),
            url: settings.url.clone(),
            authorization: settings.username.as_ref().map(|user| format!("Basic {}", STANDARD.encode(pair(user)))),
        }
    }

    /// The schema of an id.
    pub(super) fn schema(&self, id: u32) -> Result<Answer> {
        self.get(&format!("/schemas/ids/{id}"))
    }

    /// The schemas that one refers to, and those that these refer to.
    pub(super) fn references(&self, found: &Found) -> Result<Vec<String>> {
        let mut wanted = found.references.clone();
        let (mut asked, mut schemas) = (Vec::new(), Vec::new());
        while let Some(reference) = wanted.pop() {
            if asked.contains(&reference) {
                continue;
            }
            if asked.len() >= MAX_REFERENCES {
                return Err(away(format!("a schema refers to more than {MAX_REFERENCES} others")));
            }
            let path = format!("/subjects/{}/versions/{}", escaped(&reference.subject), reference.version);
            match self.get(&path)? {
                Answer::Found(other) => {
                    wanted.extend(other.references);
                    schemas.push(other.schema);
                }
                Answer::Nowhere => return Err(away(format!("{path} is referred to and not there"))),
            }
            asked.push(reference);
        }
        Ok(schemas)
    }

    fn get(&self, path: &str) -> Result<Answer> {
        let url = format!("{}{path}", self.url);
        let mut request = self.agent.get(&url).header("accept", ACCEPTED);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut answer = request.call().map_err(|e| away(format!("GET {url}")).because(e))?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_string();
        let body = body.map_err(|e| away(format!("GET {url}: the answer {status} cannot be read")).because(e))?;
        match status {
            200 => serde_json::from_str(&body)
                .map(Answer::Found)
                .map_err(|e| away(format!("GET {url}: the answer is no schema")).because(e)),
            404 if is_registry(&body) => Ok(Answer::Nowhere),
            401 | 403 => Err(away(format!("GET {url}: the registry answers {status}"))
                .advise("set schema_registry.username and schema_registry.password to what it lets in")),
            _ => Err(away(format!("GET {url}: the registry answers {status}: {}", cut(&body)))),
        }
    }
}

/// Whether a 404 is the registry's own, which names its reason: a wrong address answers 404, too, and proves nothing.
fn is_registry(body: &str) -> bool {
    #[derive(Deserialize)]
    struct Problem {
        error_code: u32,
    }
    serde_json::from_str::<Problem>(body).is_ok_and(|problem| (40_400..40_500).contains(&problem.error_code))
}

fn away(what: String) -> Error {
    Error::new(Kind::BrokerAway, what)
}

/// A path segment of a URL.
fn escaped(text: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._~".contains(b);
    text.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(200).map_or(text, |(at, _)| &text[..at])
}
