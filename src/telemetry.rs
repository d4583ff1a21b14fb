//! Logging: to stderr, as text for people or as JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::{Error, Result};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line each; coloured on a terminal unless `NO_COLOR` is set.
    #[default]
    Text,
    /// One JSON object each.
    Json,
}

/// Starts logging to stderr. `spec` is a level (`info`) or levels by module (`info,keld::task=debug`).
///
/// # Errors
/// A spec that cannot be read; logging that was started before.
pub fn init(spec: &str, format: LogFormat) -> Result<()> {
    let filter = filter(spec)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => lines.with_ansi(colours(&std::io::stderr())).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|e| Error::internal("logging was started before").because(e))
}

/// Whether to colour what goes to `stream`: a terminal that can, and nobody asked not to (`NO_COLOR`).
pub fn colours(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
    stream.is_terminal() && !set("NO_COLOR") && !dumb
}

/// A bare level speaks of Keld; the search library tells of every segment at `info`, so it is kept to warnings.
fn filter(spec: &str) -> Result<EnvFilter> {
    let bare = !spec.contains(['=', ',']);
    let verbose = bare && matches!(spec.to_ascii_lowercase().as_str(), "info" | "debug");
    let full = if verbose { format!("{spec},tantivy=warn") } else { spec.to_owned() };
    EnvFilter::try_new(full).map_err(|e| {
        Error::refused(format!("--log {spec:?} cannot be read"))
            .because(e)
            .advise("a level (error, warn, info, debug, trace), or levels by module such as info,keld::task=debug")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_keeps_the_search_library_quiet() {
        assert_eq!(filter("info").unwrap().to_string(), "tantivy=warn,info");
        assert_eq!(filter("warn").unwrap().to_string(), "warn");
        assert_eq!(filter("info,tantivy=debug").unwrap().to_string(), "tantivy=debug,info");
    }

    #[test]
    fn a_spec_that_cannot_be_read_is_refused() {
        let e = filter("keld=loud").unwrap_err();
        assert!(e.to_string().contains("keld=loud"), "{e}");
    }
}
