//! Answers from this instance's own tasks.

use super::{SearchAnswer, SearchRequest, Table};
use crate::Result;

/// Searches the tasks that run here. Blocking: runs on the search pool.
pub fn search(_table: &Table, _request: &SearchRequest) -> Result<SearchAnswer> {
    todo!()
}
