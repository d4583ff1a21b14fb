//! The HTTP client for other instances: pooled connections, a deadline for every request, bounded answers.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// Idle connections that are kept for each instance.
const IDLE: usize = 32;

/// What another instance answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Body.
    pub body: Bytes,
}

/// Asks other instances. Cheap to clone; all clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    largest: usize,
}

impl Client {
    /// A client that takes answers of at most `largest` bytes.
    pub fn new(largest: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE)
            .build(connector);
        Self { http, largest }
    }

    /// GETs `path` from an instance. The error says in words why there is no answer.
    pub async fn get(&self, url: &str, path: &str, timeout: Duration) -> Result<Answer, String> {
        self.send(Method::GET, url, path, Bytes::new(), timeout).await
    }

    /// POSTs JSON to `path` of an instance.
    pub async fn post(&self, url: &str, path: &str, json: Bytes, timeout: Duration) -> Result<Answer, String> {
        self.send(Method::POST, url, path, json, timeout).await
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        path: &str,
        json: Bytes,
        timeout: Duration,
    ) -> Result<Answer, String> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{url}{path}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(json))
            .map_err(|e| format!("{url}{path} is no address: {e}"))?;
        let exchange = async {
            let response = self.http.request(request).await.map_err(|e| format!("{url}: {}", causes(&e)))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), self.largest).collect().await;
            let body = body.map_err(|e| format!("{url}: the answer broke off: {e}"))?.to_bytes();
            Ok(Answer { status, body })
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("{url}: no answer within {} ms", timeout.as_millis())),
        }
    }
}

/// An error with its causes: the outermost alone says little.
fn causes(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut cause = e.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}
