//! A payload, or a part of one, in the form in which it can be sorted into slots.

use super::json::{self, Parsed, Rules};
use crate::record::event::Reject;
use crate::record::value::Value;

/// The members of an event, not sorted yet.
#[derive(Clone, Debug)]
pub(super) enum Body<'a> {
    /// Text of one JSON object.
    Json(&'a [u8]),
    /// What another encoding was read into.
    Members(Vec<(String, Value)>),
}

impl Body<'_> {
    /// Sorts the members as the rules say.
    pub(super) fn parse(self, rules: Rules<'_>) -> Result<Parsed, Reject> {
        match self {
            Body::Json(text) => json::parse(text, rules),
            Body::Members(members) => Ok(json::sort_out(members, rules)),
        }
    }
}
