//! Which tables an expression of Elasticsearch names: `a`, `a,b`, `a*`, `_all`, `*,-a`.

use std::sync::Arc;

use super::super::context::Context;
use super::super::problem::{Problem, Reason};
use crate::query::{Table, dsl};

/// The tables of an expression, each once; where `lenient`, without those that are not there.
pub(super) fn tables(ctx: &Context, expression: &str, lenient: bool) -> Result<Vec<Arc<Table>>, Problem> {
    let all = &ctx.state.tables;
    let mut found: Vec<Arc<Table>> = Vec::new();
    for part in expression.split(',').map(str::trim) {
        if let Some(excluded) = part.strip_prefix('-') {
            found.retain(|table| !dsl::matches(excluded, &table.def.name));
            continue;
        }
        let pattern = if part.is_empty() || part == "_all" { "*" } else { part };
        let named: Vec<Arc<Table>> = match pattern.contains('*') {
            true => all.values().filter(|table| dsl::matches(pattern, &table.def.name)).cloned().collect(),
            false => match ctx.table(pattern) {
                Ok(table) => vec![table],
                Err(_) if lenient => Vec::new(),
                Err(problem) => return Err(problem.with("index", pattern)),
            },
        };
        for table in named {
            if !found.iter().any(|held| held.def.name == table.def.name) {
                found.push(table);
            }
        }
    }
    Ok(found)
}

/// The one table of an expression; `None` where it names none and need not.
pub(super) fn one(ctx: &Context, expression: &str, lenient: bool) -> Result<Option<Arc<Table>>, Problem> {
    let mut found = tables(ctx, expression, lenient)?;
    if found.len() > 1 {
        let names: Vec<&str> = found.iter().map(|table| table.def.name.as_str()).collect();
        return Err(Problem::new(
            Reason::BadRequest,
            format!("`{expression}` names the tables {}, and a search is of one", names.join(", ")),
            "name one table, or send a search for each of them in one _msearch",
        ));
    }
    Ok(found.pop())
}
