//! Errors, named by the reaction they demand.
//!
//! Source of truth for what a failure means to the code that receives it. The cause always travels with the error;
//! it is never only in a log line.

use std::fmt;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What happened, coarse enough that every kind has exactly one [`Reaction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The broker does not answer or says to try again.
    BrokerAway,
    /// The transaction must be aborted: the group moved on (unknown member, fenced generation) or the broker refused.
    AbortRequired,
    /// The producer's identity was taken over; it can never be used again.
    Fenced,
    /// The changelog is shorter than the store believes, was recreated, or lacks what the store covers.
    ChangelogMismatch,
    /// Stored bytes cannot be read.
    Corrupt,
    /// Disk or file system trouble: full, read-only, permission.
    Storage,
    /// The configuration or a stored definition does not allow this; a person has to decide.
    Refused,
    /// The caller's request or input is wrong.
    BadRequest,
    /// The thing asked for is not here.
    NotFound,
    /// It took longer than the caller waits.
    TimedOut,
    /// A defect of Keld itself, or a stage that ended unexpectedly.
    Internal,
}

/// What the receiver of an error has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Try again after a pause; nothing is lost.
    Retry,
    /// Abort the transaction, drop the overlay, go back to the last committed position.
    Rollback,
    /// Build a new producer, then roll back.
    Rebuild,
    /// Stop the process with the message; a person has to act.
    Stop,
    /// Tell the caller.
    Report,
}

impl Kind {
    /// The one reaction to this kind of error.
    pub const fn reaction(self) -> Reaction {
        match self {
            Kind::BrokerAway => Reaction::Retry,
            Kind::AbortRequired => Reaction::Rollback,
            Kind::Fenced => Reaction::Rebuild,
            Kind::ChangelogMismatch | Kind::Corrupt | Kind::Storage | Kind::Refused | Kind::Internal => Reaction::Stop,
            Kind::BadRequest | Kind::NotFound | Kind::TimedOut => Reaction::Report,
        }
    }
}

/// An error with what happened, where, and what to do about it.
pub struct Error {
    kind: Kind,
    message: String,
    advice: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A new error of `kind`; `message` names what and where.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), advice: None, source: None }
    }

    /// Adds the underlying cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Puts `context` in front of the message.
    #[must_use]
    pub fn within(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// What happened.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the receiver has to do.
    pub fn reaction(&self) -> Reaction {
        self.kind.reaction()
    }

    /// The message without cause and advice.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the reader can do about it, if known.
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }

    /// Shorthand for [`Kind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// Shorthand for [`Kind::BadRequest`].
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, message)
    }

    /// Shorthand for [`Kind::Refused`].
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.source.as_deref().map(|s| s as &dyn std::error::Error);
        while let Some(c) = cause {
            write!(f, ": {c}")?;
            cause = c.source();
        }
        if let Some(advice) = &self.advice {
            write!(f, " ({advice})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:?}] {self}", self.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as &dyn std::error::Error)
    }
}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Error::new(Kind::Storage, "input/output error").because(e)
    }
}
