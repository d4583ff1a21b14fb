//! Errors as RFC 9457 problem+json: what went wrong, as a code that programs can match on, and what the caller can do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{Error, Kind};

/// Why a request was not answered as asked. The list is complete: a client may match on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// The request is malformed; the detail names the parameter and what was expected.
    BadRequest,
    /// Lines of an upload cannot be accepted; nothing of the upload was appended.
    BadEvents,
    /// Refused by policy.
    Forbidden,
    /// No such path.
    NoSuchRoute,
    /// No table of this name.
    NoSuchTable,
    /// No record with this key.
    NoSuchRecord,
    /// No table reads this topic.
    NoSuchTopic,
    /// No such entry in the quarantine.
    NoSuchEntry,
    /// The path exists, but not for this method.
    MethodNotAllowed,
    /// The body is larger than `api.max_body`.
    TooLarge,
    /// More requests than are worked on at a time.
    TooManyRequests,
    /// A defect of Keld.
    Internal,
    /// Files on this instance cannot be read.
    Storage,
    /// The data is further behind than `api.max_lag`.
    TooStale,
    /// The task is being restored.
    Restoring,
    /// This instance does not have the partition.
    NoOwner,
    /// The task is being given back.
    Releasing,
    /// The task has stopped; a person has to act.
    Stopped,
    /// The broker cannot be reached.
    BrokerAway,
    /// This instance should not get traffic yet, or any more.
    NotReady,
    /// The event that `at_least` names did not arrive in time.
    FreshnessTimeout,
    /// The request took longer than `api.timeout`.
    Timeout,
}

impl Reason {
    /// Every reason, for the documentation and its tests.
    pub(crate) const ALL: [Reason; 22] = [
        Reason::BadRequest,
        Reason::BadEvents,
        Reason::Forbidden,
        Reason::NoSuchRoute,
        Reason::NoSuchTable,
        Reason::NoSuchRecord,
        Reason::NoSuchTopic,
        Reason::NoSuchEntry,
        Reason::MethodNotAllowed,
        Reason::TooLarge,
        Reason::TooManyRequests,
        Reason::Internal,
        Reason::Storage,
        Reason::TooStale,
        Reason::Restoring,
        Reason::NoOwner,
        Reason::Releasing,
        Reason::Stopped,
        Reason::BrokerAway,
        Reason::NotReady,
        Reason::FreshnessTimeout,
        Reason::Timeout,
    ];

    /// (code, status, title) of the reason.
    const fn facts(self) -> (&'static str, u16, &'static str) {
        match self {
            Reason::BadRequest => ("bad_request", 400, "The request is malformed"),
            Reason::BadEvents => ("bad_events", 400, "Some events cannot be accepted"),
            Reason::Forbidden => ("forbidden", 403, "Not allowed here"),
            Reason::NoSuchRoute => ("no_such_route", 404, "There is nothing at this path"),
            Reason::NoSuchTable => ("no_such_table", 404, "There is no such table"),
            Reason::NoSuchRecord => ("no_such_record", 404, "There is no such record"),
            Reason::NoSuchTopic => ("no_such_topic", 404, "No table reads this topic"),
            Reason::NoSuchEntry => ("no_such_entry", 404, "There is no such entry in the quarantine"),
            Reason::MethodNotAllowed => ("method_not_allowed", 405, "This path does not take this method"),
            Reason::TooLarge => ("too_large", 413, "The body is too large"),
            Reason::TooManyRequests => ("too_many_requests", 429, "Too many requests at a time"),
            Reason::Internal => ("internal", 500, "A defect of Keld"),
            Reason::Storage => ("storage", 500, "Stored data cannot be read"),
            Reason::TooStale => ("too_stale", 503, "The data is too far behind"),
            Reason::Restoring => ("restoring", 503, "The data is being restored"),
            Reason::NoOwner => ("no_owner", 503, "The partition is not on this instance"),
            Reason::Releasing => ("releasing", 503, "The partition is moving"),
            Reason::Stopped => ("stopped", 503, "The partition has stopped"),
            Reason::BrokerAway => ("broker_away", 503, "The broker cannot be reached"),
            Reason::NotReady => ("not_ready", 503, "Not ready for traffic"),
            Reason::FreshnessTimeout => ("freshness_timeout", 504, "The event did not arrive in time"),
            Reason::Timeout => ("timeout", 504, "The request took too long"),
        }
    }

    /// Whether another replica of the partition may answer where one gave this reason.
    pub(crate) const fn may_differ_elsewhere(self) -> bool {
        match self {
            Reason::TooManyRequests
            | Reason::Internal
            | Reason::Storage
            | Reason::TooStale
            | Reason::Restoring
            | Reason::NoOwner
            | Reason::Releasing
            | Reason::Stopped
            | Reason::BrokerAway
            | Reason::NotReady => true,
            Reason::BadRequest
            | Reason::BadEvents
            | Reason::Forbidden
            | Reason::NoSuchRoute
            | Reason::NoSuchTable
            | Reason::NoSuchRecord
            | Reason::NoSuchTopic
            | Reason::NoSuchEntry
            | Reason::MethodNotAllowed
            | Reason::TooLarge
            | Reason::FreshnessTimeout
            | Reason::Timeout => false,
        }
    }

    /// The code in `reason` and at the end of `type`.
    pub(crate) const fn code(self) -> &'static str {
        self.facts().0
    }

    /// HTTP status.
    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.facts().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// An answer that is an error. Boxed: it travels in every `Result` of the handlers.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<ProblemBody>);

/// Body of every answer that is an error (RFC 9457, `application/problem+json`). Some reasons add members of their own,
/// such as `lines`, `percent`, `known`, or the position the answer was given at.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// Names the reason as a URI: `urn:keld:problem:<reason>`.
    #[serde(rename = "type")]
    #[schema(example = "urn:keld:problem:no_such_table")]
    pub(crate) kind: String,
    /// The reason in words; the same for every occurrence.
    pub(crate) title: &'static str,
    /// HTTP status.
    #[schema(example = 404)]
    pub(crate) status: u16,
    /// What happened this time: what, where, and what was expected.
    pub(crate) detail: String,
    /// Code to match on.
    pub(crate) reason: Reason,
    /// What the caller can do.
    pub(crate) advice: String,
    /// Seconds after which asking again makes sense; also in the `Retry-After` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_s: Option<u64>,
    /// Members that belong to the reason.
    #[serde(flatten)]
    #[schema(value_type = Object, additional_properties)]
    pub(crate) more: Map<String, Value>,
}

impl Problem {
    /// A problem; `detail` says what happened, `advice` what the caller can do.
    pub(crate) fn new(reason: Reason, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        let (code, status, title) = reason.facts();
        Self(Box::new(ProblemBody {
            kind: format!("urn:keld:problem:{code}"),
            title,
            status,
            detail: detail.into(),
            reason,
            advice: advice.into(),
            retry_after_s: None,
            more: Map::new(),
        }))
    }

    /// A parameter that is wrong.
    pub(crate) fn parameter(name: &str, found: impl std::fmt::Display, expected: impl std::fmt::Display) -> Self {
        Self::new(
            Reason::BadRequest,
            format!("parameter `{name}`: {found}; expected {expected}"),
            "fix the request; /openapi.json describes every parameter",
        )
        .with("parameter", name)
        .with("expected", expected.to_string())
    }

    /// Adds a member.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.more.insert(name.to_owned(), value.into());
        self
    }

    /// Adds the members of an object, such as the coverage of an answer.
    #[must_use]
    pub(crate) fn with_members(mut self, members: &impl Serialize) -> Self {
        if let Ok(Value::Object(members)) = serde_json::to_value(members) {
            self.0.more.extend(members);
        }
        self
    }

    /// Says when to ask again, seconds.
    #[must_use]
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// What happened.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Why.
    pub(crate) fn reason(&self) -> Reason {
        self.0.reason
    }

    /// What another instance answered; `None` where that is no problem.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let mut members: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let mut text = |name: &str| match members.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let code = text("reason")?;
        let reason = Reason::ALL.into_iter().find(|r| r.code() == code)?;
        let mut problem = Self::new(reason, text("detail")?, text("advice")?);
        for known in ["type", "title", "status"] {
            members.remove(known);
        }
        problem.0.retry_after_s = members.remove("retry_after_s").and_then(|s| s.as_u64());
        problem.0.more = members;
        Some(problem)
    }

    /// The body, for looking at it.
    pub(crate) fn body(&self) -> &ProblemBody {
        &self.0
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let advice = error.advice().map(str::to_owned);
        let (reason, fallback) = match error.kind() {
            Kind::BadRequest => (Reason::BadRequest, "fix the request"),
            Kind::TimedOut => (Reason::Timeout, "ask for less or try again"),
            Kind::NotFound => (Reason::NoSuchRecord, "ask for something that is there"),
            Kind::BrokerAway => (Reason::BrokerAway, "try again; the instance reconnects by itself"),
            Kind::Corrupt | Kind::Storage => {
                (Reason::Storage, "look at the log of this instance; another instance may answer")
            }
            Kind::AbortRequired | Kind::Fenced | Kind::ChangelogMismatch | Kind::Refused | Kind::Internal => {
                (Reason::Internal, "look at the log of this instance and report it")
            }
        };
        if matches!(reason, Reason::Storage | Reason::Internal) {
            tracing::error!(%error, "a request failed");
        }
        let detail = if reason.status().is_client_error() { error.message().to_owned() } else { error.to_string() };
        let problem = Problem::new(reason, detail, advice.unwrap_or_else(|| fallback.to_owned()));
        if reason == Reason::BrokerAway { problem.retry_after(1) } else { problem }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.0.reason.status();
        // Serialising strings and numbers cannot fail; an empty body with the right status is the last resort.
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // For who answers in another shape.
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_code_and_serialises_as_it() {
        let codes: BTreeSet<&str> = Reason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), Value::from(reason.code()));
            assert!(reason.status().is_client_error() || reason.status().is_server_error());
        }
    }

    #[test]
    fn a_problem_renders_members_status_and_retry_after() {
        let problem = Problem::new(Reason::Restoring, "at 40 %", "wait").retry_after(7).with("percent", 40);
        let response = problem.clone().into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["retry-after"], "7");
        let body = serde_json::to_value(problem.body()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:keld:problem:restoring", "title": "The data is being restored", "status": 503,
                "detail": "at 40 %", "reason": "restoring", "advice": "wait", "retry_after_s": 7, "percent": 40
            })
        );
    }

    #[test]
    fn a_problem_survives_the_way_from_another_instance() {
        let problem = Problem::new(Reason::Restoring, "at 40 %", "wait").retry_after(7).with("percent", 40);
        let sent = serde_json::to_vec(problem.body()).unwrap();
        let read = Problem::read(&sent).unwrap();
        assert_eq!(serde_json::to_value(read.body()).unwrap(), serde_json::to_value(problem.body()).unwrap());
        assert!(Problem::read(b"<html>").is_none() && Problem::read(b"{}").is_none());
    }

    #[test]
    fn errors_of_the_crate_keep_their_advice() {
        let problem = Problem::from(Error::bad_request("filter: no such field `x`").advise("use `y`"));
        assert_eq!(problem.body().status, 400);
        assert_eq!(problem.body().detail, "filter: no such field `x`");
        assert_eq!(problem.body().advice, "use `y`");
        let away = Problem::from(Error::new(Kind::BrokerAway, "no answer"));
        assert_eq!((away.body().status, away.body().retry_after_s), (503, Some(1)));
    }
}
