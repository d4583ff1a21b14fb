//! `keld demo`.

use std::process::ExitCode;

use super::DemoArgs;
use crate::{Error, Result};

/// Runs the command.
pub fn run(_: DemoArgs) -> Result<ExitCode> {
    Err(Error::internal("not built yet"))
}
