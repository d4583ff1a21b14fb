//! `keld verify`: store = changelog = index; with `--repair`, what differs is made anew from what is true.

mod repair;

use std::fmt::Write as _;
use std::process::ExitCode;

use self::repair::{Remedy, Task};
use super::VerifyArgs;
use super::style::{Ink, Style, out};
use crate::app::{Parts, StartOptions};
use crate::config::Settings;
use crate::task::audit::{Audit, audit};
use crate::task::{Opener, Role, TaskView};
use crate::{Error, Kind, Result};

/// Runs the command: exit code 0 if nothing differs (any more), 1 if something does.
///
/// # Errors
/// Whatever keeps the tasks from being opened, read and repaired.
pub fn run(args: VerifyArgs) -> Result<ExitCode> {
    let settings = args.config.load()?;
    check(&args, &settings)?;
    let parts = Parts::build(settings, StartOptions { audit: true, ..StartOptions::default() })?;
    let tasks = tasks(&parts, &args)?;
    let mut different = 0;
    let mut ill = Vec::new();
    for task in tasks {
        let found = look(&task, &args, &mut ill)?;
        different += found.map_or(0, |found| found.different);
    }
    if args.repair && !ill.is_empty() {
        repair::agree(&ill, args.yes)?;
        let mut after = Vec::new();
        different = 0;
        for (task, remedy) in ill {
            repair::repair(&task, &remedy)?;
            let found = look(&task, &args, &mut after)?;
            different += found.map_or(1, |found| found.different);
        }
    }
    parts.close_indexes()?;
    if different > 0 {
        return Err(Error::new(Kind::Corrupt, format!("{different} differences between store, changelog and index"))
            .advise(if args.repair {
                "they are there again after the repair: report it, with what is said above"
            } else {
                "repair it with --repair, or start with --rebuild to restore store and index of all from the changelog"
            }));
    }
    Ok(ExitCode::SUCCESS)
}

fn check(args: &VerifyArgs, settings: &Settings) -> Result<()> {
    match &args.table {
        Some(table) if !settings.tables.iter().any(|t| t.name == *table) => {
            let known: Vec<&str> = settings.tables.iter().map(|t| t.name.as_str()).collect();
            Err(Error::new(Kind::NotFound, format!("there is no table {table:?}"))
                .advise(format!("one of: {}", known.join(", "))))
        }
        _ => Ok(()),
    }
}

/// The tasks that are asked for.
fn tasks<'p>(parts: &'p Parts, args: &VerifyArgs) -> Result<Vec<Task<'p>>> {
    let tables = || parts.openers.iter().filter(|o| args.table.as_ref().is_none_or(|t| o.table.def.name == *t));
    let most = tables().map(|o| o.table.partitions).max().unwrap_or(0);
    if let Some(unknown) = args.partition.iter().find(|p| **p >= most) {
        return Err(Error::new(Kind::NotFound, format!("there is no partition {unknown}"))
            .advise(format!("they are counted from 0 to {}", most.saturating_sub(1))));
    }
    let wanted = |p: &u32| args.partition.is_empty() || args.partition.contains(p);
    let each = |opener: &'p Opener| {
        (0..opener.table.partitions).filter(wanted).map(move |partition| Task { opener, partition }).collect::<Vec<_>>()
    };
    Ok(tables().flat_map(each).collect())
}

/// Audits a task and tells what was found; what can be repaired goes to `ill`. `None` where its files cannot be read.
fn look<'p>(task: &Task<'p>, args: &VerifyArgs, ill: &mut Vec<(Task<'p>, Remedy)>) -> Result<Option<Audit>> {
    let found = match one(task) {
        Ok(found) => found,
        Err(e) if args.repair && e.kind() == Kind::Corrupt => {
            ill.push((*task, Remedy::Store(e.message().to_owned())));
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    out(&if args.json { json(&found)? } else { text(&found) })?;
    if let Some(remedy) = repair::remedy(&found) {
        ill.push((*task, remedy));
    }
    Ok(Some(found))
}

fn one(task: &Task<'_>) -> Result<Audit> {
    let Task { opener, partition } = *task;
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
    if found.moved > 0 {
        // As above.
        let _ = write!(line, " (keys that others wrote meanwhile, not compared with the changelog: {})", found.moved);
    }
    line.push('\n');
    for difference in &found.differences {
        line.push_str("  ");
        line.push_str(difference);
        line.push('\n');
    }
    line
}
