//! `keld verify`.

use std::process::ExitCode;

use super::VerifyArgs;
use crate::{Error, Result};

/// Runs the command.
pub fn run(_: VerifyArgs) -> Result<ExitCode> {
    Err(Error::internal("not built yet"))
}
