//! The command line: one file per command.

pub mod args;
pub mod check;
mod client;
pub mod completions;
pub mod demo;
pub mod get;
pub mod health;
pub mod ingest;
pub mod quarantine;
pub mod run;
pub mod search;
mod show;
pub mod signals;
pub mod status;
pub mod style;
pub mod tail;
pub mod verify;

use std::process::ExitCode;

pub use args::{
    CheckArgs, Cli, Command, CompletionsArgs, ConfigArgs, DemoArgs, GetArgs, HealthArgs, IngestArgs, LogArgs, ManArgs,
    Output, QuarantineArgs, RunArgs, SearchArgs, ServerArgs, StatusArgs, TailArgs, VerifyArgs,
};
use clap::Parser;

use crate::{Error, Result, telemetry};

/// Exit code of a command line that cannot be read.
const USAGE: u8 = 2;
/// Exit code where something that was asked for is not there.
const ABSENT: u8 = 3;

/// Parses the command line, starts logging, runs the command. A failed process exits non-zero, and the last line on
/// stderr says why: `keld: error: …`.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(e) => fail(&e),
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    telemetry::init(&cli.log.log, cli.log.log_format)?;
    crate::fault::check_armed()?;
    match cli.command {
        Command::Run(args) => run::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Check(args) => check::run(&args),
        Command::Get(args) => get::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Tail(args) => tail::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Completions(args) => completions::shell(&args),
        Command::Man(args) => completions::manual(&args),
        Command::Ingest(args) => ingest::run(&args),
        Command::Verify(args) => verify::run(args),
        Command::Health(args) => health::run(&args),
        Command::Quarantine(args) => quarantine::run(&args),
    }
}

/// Help and version go to stdout and are no failure; anything else ends with its reason.
fn usage(e: &clap::Error) -> ExitCode {
    // Nothing can be done about a terminal that takes no output.
    _ = e.print();
    if !e.use_stderr() {
        return ExitCode::SUCCESS;
    }
    if e.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        style::last_words("a command is missing");
    } else {
        let text = e.to_string();
        let lines: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
        let why = lines.join(" ");
        style::last_words(why.strip_prefix("error: ").unwrap_or(&why));
    }
    ExitCode::from(USAGE)
}

fn fail(e: &Error) -> ExitCode {
    style::last_words(&e.to_string());
    ExitCode::FAILURE
}
