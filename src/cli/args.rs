//! What can be said on the command line.

mod asking;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use self::asking::{CompletionsArgs, GetArgs, ManArgs, Output, SearchArgs, ServerArgs, StatusArgs, TailArgs};
use crate::app::OnStop;
use crate::config::{self, Settings};
use crate::telemetry::LogFormat;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "keld",
    version,
    about = "One coherent, searchable record per key from overlapping event streams",
    long_about = "Keld reads topics that each know a part of something, merges their events into one current record per \
                  key, whatever order they come in and however often, and answers lookups and searches over HTTP.",
    after_help = "Examples:\n  \
        keld demo                                   a whole pipeline with sample data, nothing to install\n  \
        keld check --config shop.toml               is the configuration right, and what does it need?\n  \
        keld run --config shop.toml                 run it; then open http://127.0.0.1:7070\n  \
        keld get products sku-1                     the record of a key, from a running instance\n  \
        keld search products walnut --sort=-price   what matches; keld tail follows it\n  \
        keld run --set broker.kind=kafka --set broker.bootstrap_servers=127.0.0.1:9092\n  \
        KELD_MEMORY__BUDGET=4GiB keld run           every setting is also a variable\n\n\
        A setting is taken from --set, else from its variable KELD_<SECTION>__<KEY>, else from the file, else its default.\n\
        config/keld.toml explains every setting. A failed command ends with a line `keld: error: …` and a code above 0: 1, or 2 if the command line cannot be read; 3 says\n\
        that something which was asked for is not there (keld get, keld status).",
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Logging.
    #[command(flatten)]
    pub log: LogArgs,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run an instance until it is told to stop (SIGINT, SIGTERM)
    Run(RunArgs),
    /// Run a whole pipeline with sample data on this machine
    Demo(DemoArgs),
    /// Check a configuration and say what it needs; changes nothing
    Check(CheckArgs),
    /// Show records by their keys
    Get(GetArgs),
    /// Search a table
    Search(SearchArgs),
    /// Follow the changes of a table, or of what matches a query
    Tail(TailArgs),
    /// Show instances, tasks and how far behind they are
    Status(StatusArgs),
    /// Send the events of a file to a topic
    Ingest(IngestArgs),
    /// Compare store, changelog and index of a stopped instance, and repair what differs if told to
    Verify(VerifyArgs),
    /// Ask a running instance whether it is well; the exit code is the answer
    Health(HealthArgs),
    /// List, show and replay events that a running instance refused
    Quarantine(QuarantineArgs),
    /// Write the completions of a shell to standard output
    Completions(CompletionsArgs),
    /// Write a manual page to standard output
    Man(ManArgs),
}

/// Logging, for every command.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// What to log to stderr: a level, or levels by module such as info,keld::task=debug
    #[arg(long, global = true, env = "KELD_LOG", default_value = "info", value_name = "LEVELS")]
    pub log: String,
    /// How log lines are written
    #[arg(long, global = true, env = "KELD_LOG_FORMAT", value_enum, default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file (TOML)
    #[arg(long, short, env = "KELD_CONFIG", default_value = "config/keld.toml", value_name = "FILE")]
    pub config: PathBuf,
    /// One setting, stronger than file and variables; can be given more than once
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// Loads the configuration: file, then `KELD_…` variables of this process, then `--set`.
    ///
    /// # Errors
    /// See [`config::load`].
    pub fn load(&self) -> crate::Result<Settings> {
        config::load(&self.config, &variables(), &self.set)
    }
}

/// The `KELD_…` variables of this process.
pub fn variables() -> Vec<(String, String)> {
    let text = |t: std::ffi::OsString| t.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).filter(|(n, _)| n.starts_with("KELD_")).collect()
}

/// `keld run`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keld run --config config/catalog.toml\n  \
    keld run --config shop.toml --set instance.id=keld-1 --set instance.listen=127.0.0.1:7071\n  \
    keld run --config shop.toml --rebuild       once a refusal has said so\n  \
    keld run --config shop.toml --on-stop leave for good: others get its tasks at once when it stops")]
pub struct RunArgs {
    /// Configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Throw away local state that no longer fits and build it anew from the log
    #[arg(long)]
    pub rebuild: bool,
    /// What becomes of its tasks when it is told to stop [default: stay with instance.static_membership, else leave]
    #[arg(long, value_enum, value_name = "WHAT")]
    pub on_stop: Option<OnStop>,
}

/// `keld demo`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keld demo                                   runs until Ctrl-C; open the address it prints\n  \
    keld demo --exit                            stops by itself once everything has been shown\n  \
    keld demo --listen 127.0.0.1:0              on any free port")]
pub struct DemoArgs {
    /// Stop once everything has been shown
    #[arg(long)]
    pub exit: bool,
    /// Where to keep what is stored
    #[arg(long, default_value = "state/demo", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// HTTP address; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Do not show the stream of changes
    #[arg(long)]
    pub no_tail: bool,
}

/// `keld check`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keld check --config shop.toml && echo right\n  \
    keld check --config shop.toml --set memory.budget=256MiB      is that enough?")]
pub struct CheckArgs {
    /// Configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `keld ingest`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keld ingest prices.csv --topic pricing --config shop.toml\n  \
    keld ingest events.ndjson --topic catalog --url http://127.0.0.1:7070\n  \
    zcat old.ndjson.gz | keld ingest - --topic catalog\n\n\
    CSV has a header row; its cells are texts, which tables convert where nothing is lost, and an empty cell says nothing.\n\
    With Kafka the events are produced by this command, else a running instance takes them. A line that is refused is named,\n\
    the others are sent; then the exit code is above 0.")]
pub struct IngestArgs {
    /// File to read; - for standard input
    #[arg(value_name = "FILE")]
    pub file: String,
    /// Topic; some table must read it, and its format must be json
    #[arg(long, value_name = "TOPIC")]
    pub topic: String,
    /// Path (or column) of the message key, for tables whose key is @key
    #[arg(long, value_name = "PATH")]
    pub key: Option<String>,
    /// What the file holds; by default, csv for a name that ends so, else one JSON object a line
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<FileFormat>,
    /// Instance to send to, with the embedded log; by default, instance.advertise
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// What a file of events holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FileFormat {
    /// One JSON object a line.
    Ndjson,
    /// Rows under a header.
    Csv,
}

impl IngestArgs {
    /// What the file holds, as said or by its name.
    pub fn format_of_file(&self) -> FileFormat {
        let csv = self.file.to_ascii_lowercase().ends_with(".csv");
        self.format.unwrap_or(if csv { FileFormat::Csv } else { FileFormat::Ndjson })
    }
}

/// `keld verify`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keld verify --config shop.toml\n  \
    keld verify --config shop.toml --table products --json\n  \
    keld verify --config shop.toml --repair             says what it would do, and asks\n  \
    keld verify --config shop.toml --repair --yes       for scripts\n\n\
    What is true is the changelog: --repair deletes a store that differs from it and reads it anew, and makes the documents of \
    an index anew that differs from its store. Then all is compared again. The exit code is 0 if nothing differs (any more).")]
pub struct VerifyArgs {
    /// Configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Only this table
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,
    /// Only these partitions
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub partition: Vec<u32>,
    /// Build anew what differs from what is true, and compare again
    #[arg(long)]
    pub repair: bool,
    /// Repair without asking
    #[arg(long, requires = "repair")]
    pub yes: bool,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// `keld health`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keld health                                 does the instance of this configuration answer?\n  \
    keld health --ready --url http://127.0.0.1:7071")]
pub struct HealthArgs {
    /// Whether it should get traffic, rather than whether it answers at all
    #[arg(long)]
    pub ready: bool,
    /// Address of the instance; by default, the port of instance.listen on this machine
    #[arg(long, env = "KELD_URL", value_name = "URL")]
    pub url: Option<String>,
    /// How long it may take to answer
    #[arg(long, default_value = "2s", value_name = "SPAN", value_parser = humantime::parse_duration)]
    pub timeout: std::time::Duration,
    /// Configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `keld quarantine`
#[derive(Debug, Args)]
#[command(
    long_about = "Events that could not be read, typed, placed or judged are kept in the quarantine topic, whole and with the \
                  reason. Once the reason is gone (a field's type, a partitioner, a window was set right and the instance was \
                  restarted), replay them: each is written to its topic again and processed like any other event, once only. \
                  On a terminal the answers are tables; in a pipe, one JSON object a line.",
    after_help = "Examples:\n  \
        keld quarantine list --since 1h                       what was refused in the last hour\n  \
        keld quarantine list --reason wrong_type | jq .error  for programs\n  \
        keld quarantine show 2-17                             one entry, with its whole payload\n  \
        keld quarantine replay --reason wrong_type --dry-run  what would be replayed?\n  \
        keld quarantine replay --reason wrong_type            replay it, each entry once",
    arg_required_else_help = true
)]
pub struct QuarantineArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: QuarantineCommand,
    /// Address of any running instance
    #[arg(long, global = true, env = "KELD_URL", default_value = "http://127.0.0.1:7070", value_name = "URL")]
    pub url: String,
}

/// What to do with the quarantine.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List refused events, the newest first
    List(QuarantineListArgs),
    /// Show one refused event whole
    Show {
        /// The entry, as the list shows it
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Write refused events to their topics again, each once; what was refused in part is applied only in that part
    Replay(QuarantineReplayArgs),
}

/// Which entries.
#[derive(Debug, Default, Args)]
pub struct QuarantineFilter {
    /// Only this table
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,
    /// Only this reason, such as wrong_type
    #[arg(long, value_name = "REASON")]
    pub reason: Option<String>,
    /// Only what was set aside since: a span (2h: that long ago), or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Only what was set aside before; as --since
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
}

/// `keld quarantine list`
#[derive(Debug, Args)]
pub struct QuarantineListArgs {
    /// Which.
    #[command(flatten)]
    pub filter: QuarantineFilter,
    /// Most entries
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub limit: usize,
}

/// `keld quarantine replay`
#[derive(Debug, Args)]
pub struct QuarantineReplayArgs {
    /// These entries, as the list shows them
    #[arg(value_name = "ID", conflicts_with_all = ["table", "reason", "since", "until"])]
    pub ids: Vec<String>,
    /// Which.
    #[command(flatten)]
    pub filter: QuarantineFilter,
    /// Say what would be replayed, and replay nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
