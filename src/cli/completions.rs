//! `keld completions` and `keld man`: made from the command line's own description.

use std::process::ExitCode;

use clap::CommandFactory;

use super::style::out;
use super::{Cli, CompletionsArgs, ManArgs};
use crate::{Error, Result};

/// Writes the completions of a shell.
///
/// # Errors
/// They cannot be written.
pub fn shell(args: &CompletionsArgs) -> Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "keld", &mut text);
    out(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a manual page.
///
/// # Errors
/// There is no such command, or it cannot be written.
pub fn manual(args: &ManArgs) -> Result<ExitCode> {
    let mut all = Cli::command();
    // Names of pages, and options that all commands have.
    all.build();
    let page = match &args.command {
        None => all,
        Some(name) => {
            let known: Vec<&str> = all.get_subcommands().map(clap::Command::get_name).collect();
            let absent = || {
                Error::bad_request(format!("there is no command {name:?}"))
                    .advise(format!("the commands are {}", known.join(", ")))
            };
            let page = all.find_subcommand(name).cloned().ok_or_else(absent)?;
            page.display_name(format!("keld-{name}"))
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    out(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}
