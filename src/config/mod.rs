//! Configuration: loading, checking, and the settings that the rest of Keld sees.
//!
//! The file is parsed into a tree whose nodes know where they were said (`tree`), variables and flags are laid over it
//! (`overrides`), sections take from it what they know (`section`, `sections`, `tables`), and what single values cannot
//! show is checked last (`rules`). Nothing stops at the first mistake: one error reports them all.

mod analysis;
mod derived;
pub mod memory;
mod mistakes;
mod overrides;
mod parse;
mod retention;
mod rules;
mod section;
mod sections;
pub mod settings;
mod tables;
mod tree;
mod words;

use std::path::Path;

pub use analysis::language_word;
pub use memory::MemoryPlan;
use mistakes::Mistakes;
pub use settings::*;
pub use tables::{format_word, strategy_word, type_word};

use crate::{Error, Result};

/// Loads, overrides and checks a configuration.
///
/// `path`: the file; `overrides`: `section.key=value` pairs from flags, strongest last. `KELD_<SECTION>__<KEY>` variables of `env` stand
/// between the file and the flags. All mistakes of the file are reported in one error, one line each:
/// `file:line:column: path: what is wrong (what to do)`.
pub fn load(path: &Path, env: &[(String, String)], overrides: &[String]) -> Result<Settings> {
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(path, e))?;
    from_text(&path.display().to_string(), &text, env, overrides)
}

/// As [`load`], with the text of the file at hand; `name` stands for the file in errors.
pub fn from_text(name: &str, text: &str, env: &[(String, String)], overrides: &[String]) -> Result<Settings> {
    let mistakes = Mistakes::new(name);
    // A byte order mark is no column.
    let mut root = tree::parse(text.trim_start_matches('\u{feff}')).unwrap_or_else(|(origin, what)| {
        mistakes.note(&origin, "", format!("{what} (this is not TOML; the rest of the file was not read)"));
        tree::Members::new()
    });
    if mistakes.has("") {
        return mistakes.judge(()).and(Err(Error::internal("a mistake was lost")));
    }
    overrides::apply(&mut root, env, overrides, &mistakes);
    let settings = sections::settings(&root, &mistakes);
    mistakes.judge(settings)
}

fn unreadable(path: &Path, e: std::io::Error) -> Error {
    use std::io::ErrorKind;
    let name = path.display();
    match e.kind() {
        ErrorKind::NotFound => Error::refused(format!("there is no configuration file {name}"))
            .advise("name one with --config FILE or KELD_CONFIG; `keld demo` runs without any"),
        ErrorKind::InvalidData => Error::refused(format!("the configuration file {name} is not UTF-8 text")),
        _ => Error::refused(format!("the configuration file {name} cannot be read")).because(e),
    }
}
