//! `keld verify`: store = changelog = index.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::VerifyArgs;
use super::style::{Ink, Style, out};
use crate::app::{Parts, StartOptions};
use crate::task::audit::{Audit, audit};
use crate::task::{Opener, Role, TaskView};
use crate::{Error, Kind, Result};

/// Runs the command: exit code 0 if nothing differs, 1 if something does.
///
/// # Errors
/// Whatever keeps the tasks from being opened and read.
pub fn run(args: VerifyArgs) -> Result<ExitCode> {
    let settings = args.config.load()?;
    if let Some(table) = &args.table
        && !settings.tables.iter().any(|t| t.name == *table)
    {
        let known: Vec<&str> = settings.tables.iter().map(|t| t.name.as_str()).collect();
        return Err(Error::new(Kind::NotFound, format!("there is no table {table:?}"))
            .advise(format!("one of: {}", known.join(", "))));
    }
    let parts = Parts::build(settings, StartOptions { audit: true, ..StartOptions::default() })?;
    let mut different = 0;
    for opener in parts.openers.iter().filter(|o| args.table.as_ref().is_none_or(|t| o.table.def.name == *t)) {
        for partition in 0..opener.table.partitions {
            let found = one(opener, partition)?;
            different += found.different;
            out(&if args.json { json(&found)? } else { text(&found) })?;
        }
    }
    parts.close_indexes()?;
    if different > 0 {
        return Err(Error::new(Kind::Corrupt, format!("{different} differences between store, changelog and index"))
            .advise("start with --rebuild to restore store and index from the changelog"));
    }
    Ok(ExitCode::SUCCESS)
}

fn one(opener: &Opener, partition: u32) -> Result<Audit> {
    let view = TaskView::new(opener.table.def.name.as_str().into(), partition, Role::Standby);
    let task = opener.open(&view, "verify")?;
    audit(opener, &task)
}

fn json(found: &Audit) -> Result<String> {
    let line = serde_json::to_string(found).map_err(|e| Error::internal("an audit does not encode").because(e))?;
    Ok(line + "\n")
}

fn text(found: &Audit) -> String {
    let style = Style::of(&std::io::stdout());
    let verdict = match found.different {
        0 => style.paint(Ink::Green, "clean"),
        n => style.paint(Ink::Red, format!("{n} differences")),
    };
    let mut line = format!(
        "{}/{}: {verdict}: {} in the changelog, {} in the store ({} visible), {} in the index; {} events consumed",
        found.table, found.partition, found.changelog, found.store, found.visible, found.documents, found.consumed
    );
    if found.restored + found.reindexed > 0 {
        // A String takes everything.
        let _ = write!(line, " (first brought up: {} records, {} documents)", found.restored, found.reindexed);
    }
    line.push('\n');
    for difference in &found.differences {
        line.push_str("  ");
        line.push_str(difference);
        line.push('\n');
    }
    line
}
