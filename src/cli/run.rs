//! `keld run`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::RunArgs;
use super::signals::Signals;
use super::style::out;
use crate::Result;
use crate::app::{self, Running, StartOptions};

/// How often a running instance looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);

/// Runs the command.
///
/// # Errors
/// Whatever keeps the instance from starting, or ended it.
pub fn run(args: RunArgs) -> Result<ExitCode> {
    let settings = args.config.load()?;
    let signals = Signals::listen()?;
    let running = app::start(settings, StartOptions { rebuild: args.rebuild, audit: false, on_stop: args.on_stop })?;
    signals.running();
    out(&format!("keld listens on http://{}\n", running.address))?;
    until_told(running, &signals)
}

/// Watches a running instance until it is told to stop or a part of it fails, then closes it.
pub fn until_told(running: Running, signals: &Arc<Signals>) -> Result<ExitCode> {
    loop {
        if signals.stopped() {
            running.stop()?;
            out("keld has stopped cleanly\n")?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Err(e) = running.wait_failure(LOOK) {
            if let Err(also) = running.stop() {
                tracing::error!(error = %also, "while closing after a failure");
            }
            return Err(e);
        }
    }
}
