//! `keld run`.

use std::process::ExitCode;

use super::RunArgs;
use crate::{Error, Result};

/// Runs the command.
pub fn run(_: RunArgs) -> Result<ExitCode> {
    Err(Error::internal("not built yet"))
}
