//! Words that parameters may have, for the description; [`super::params::Params::choice`] reads them.
#![expect(dead_code, reason = "describes to OpenAPI what handlers take from Params")]

use utoipa::ToSchema;

/// Whether an answer may be of data that is stale, or of a partition that is not running.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Stale {
    /// It may not: 503.
    Refuse,
    /// It may.
    Allow,
}

/// Whether an answer may lack partitions that nobody answers for.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Partial {
    /// It may, and names them.
    Allow,
    /// It may not: 503.
    Refuse,
}

/// Whether matches are counted.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Counted {
    /// All of them.
    Exact,
    /// They are not.
    None,
}

/// What to wait for.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Wait {
    /// The broker only.
    None,
    /// Until the events are in every store.
    Applied,
    /// Until they are in every index.
    Visible,
}
