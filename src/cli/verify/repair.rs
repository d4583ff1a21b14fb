//! What is done to a task that differs: decided from its audit, agreed upon, carried out.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::style;
use crate::task::audit::{Audit, is_restorable};
use crate::task::{Opener, Phase, Role, TaskView};
use crate::{Error, Result};

/// How often the bar is drawn.
const LOOK: Duration = Duration::from_millis(100);

/// A task of a table.
#[derive(Clone, Copy)]
pub(super) struct Task<'p> {
    pub(super) opener: &'p Opener,
    pub(super) partition: u32,
}

/// What makes a task well again; with why it is needed.
#[derive(Debug, PartialEq)]
pub(super) enum Remedy {
    /// Its store is deleted and read from the changelog anew, and so are its documents.
    Store(String),
    /// Its documents are made anew from the store.
    Index(String),
}

/// What an audit calls for. What is true is the changelog, then the store.
pub(super) fn remedy(found: &Audit) -> Option<Remedy> {
    let index = found.different - found.store_differs.min(found.different);
    match (found.store_differs, index) {
        (0, 0) => None,
        (0, n) => Some(Remedy::Index(format!("{n} differences between store and index"))),
        (n, _) => Some(Remedy::Store(format!("{n} differences between changelog and store"))),
    }
}

/// Says what will be done, and asks whether to do it where something is deleted. `yes`: the answer was given before.
pub(super) fn agree(ill: &[(Task<'_>, Remedy)], yes: bool) -> Result<()> {
    for (task, remedy) in ill {
        style::note(&format!("{}\n", plan(&task.opener.task_name(task.partition), remedy)))?;
    }
    let deleted = ill.iter().filter(|(_, remedy)| matches!(remedy, Remedy::Store(_))).count();
    if deleted == 0 || yes || ask(deleted)? {
        return Ok(());
    }
    Err(Error::refused("nothing was repaired").advise("--yes deletes the stores that are named above without asking"))
}

fn plan(name: &str, remedy: &Remedy) -> String {
    match remedy {
        Remedy::Store(why) => {
            format!(
                "{name}: {why}: its store on this instance is deleted, and made anew from the changelog with its documents"
            )
        }
        Remedy::Index(why) => format!("{name}: {why}: its documents are made anew from the store"),
    }
}

/// Asks on a terminal; elsewhere nobody can say yes.
fn ask(stores: usize) -> Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Ok(false);
    }
    style::note(&format!(
        "Delete {stores} store{}, and read from the changelog? [y/N] ",
        if stores == 1 { "" } else { "s" }
    ))?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(|e| Error::from(e).within("standard input"))?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// Does it, with a bar on a terminal.
pub(super) fn repair(task: &Task<'_>, remedy: &Remedy) -> Result<()> {
    let Task { opener, partition } = *task;
    let mut opener = opener.clone();
    match remedy {
        Remedy::Store(_) => {
            // What cannot be read may be the changelog: then the store is all there is.
            is_restorable(&opener, partition)
                .map_err(|e| e.within("nothing was deleted: the changelog is not whole"))?;
            opener.rebuild = true;
        }
        Remedy::Index(_) => {
            // Nothing is covered then, so opening the task feeds every record.
            opener.table.index.clear_partition(partition)?;
            opener.table.index.flush()?;
        }
    }
    let name = opener.task_name(partition);
    let view = TaskView::new(opener.table.def.name.as_str().into(), partition, Role::Standby);
    let bar = bar(&name);
    let (done, ended) = bounded::<Result<()>>(1);
    let outcome = std::thread::scope(|scope| {
        let working = view.clone();
        scope.spawn(move || {
            // Whoever waits for it hears it, or has gone with a panic.
            let _ = done.send(opener.open(&working, "verify").map(drop));
        });
        loop {
            match ended.recv_timeout(LOOK) {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Timeout) => show(&bar, &view.phase()),
                Err(RecvTimeoutError::Disconnected) => return Err(Error::internal("the repair ended unexpectedly")),
            }
        }
    });
    bar.finish_and_clear();
    outcome?;
    style::note(&format!("{name}: made anew\n"))
}

/// Drawn on a terminal only.
fn bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_prefix(name.to_owned());
    match ProgressStyle::with_template("{prefix} {bar:30} {percent} %, {eta} left  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(bar: &ProgressBar, phase: &Phase) {
    match phase {
        Phase::Restoring { at, end, rate } => {
            bar.set_length(u64::try_from(*end).unwrap_or(0));
            bar.set_position(u64::try_from(*at).unwrap_or(0));
            bar.set_message(format!("reading the changelog, {rate:.0} records/s"));
        }
        Phase::Indexing { done } => bar.set_message(format!("indexing: {done} records")),
        phase => bar.set_message(phase.word()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_changelog_is_believed_before_the_store_and_the_store_before_the_index() {
        let audit = |different, store_differs| Audit { different, store_differs, ..Audit::default() };
        assert_eq!(remedy(&audit(0, 0)), None);
        assert_eq!(remedy(&audit(3, 0)), Some(Remedy::Index("3 differences between store and index".into())));
        assert_eq!(remedy(&audit(3, 1)), Some(Remedy::Store("1 differences between changelog and store".into())));
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        for yes in ["y\n", "YES\n", " yes "] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n\n", "yess", "ja"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }

    #[test]
    fn a_plan_says_what_is_deleted() {
        assert!(plan("t/0", &Remedy::Store("x".into())).contains("its store on this instance is deleted"));
        assert!(!plan("t/0", &Remedy::Index("x".into())).contains("deleted"));
    }
}
