//! What can be asked of a running instance.

use std::time::Duration;

use clap::Args;

/// Which instance, and how its answers are shown.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Address of any running instance
    #[arg(long, env = "KELD_URL", default_value = "http://127.0.0.1:7070", value_name = "URL")]
    pub url: String,
    /// How answers are written; by default, table on a terminal, ndjson in a pipe
    #[arg(long, short, value_enum, value_name = "FORM")]
    pub output: Option<Output>,
}

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// One document.
    Json,
    /// One object a line.
    Ndjson,
}

/// `keld get`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keld get products sku-1                          one record, a field a line\n  \
    keld get products sku-1 sku-2 --fields title,price\n  \
    keld get products sku-1 --explain                which source, version and event won, field by field\n  \
    keld get products $(cat keys) | jq .record       in a pipe: {\"key\":…,\"record\":…} a line\n\n\
    Ends with 0 if every key has a record, with 3 if one has none, with 1 if the instance cannot answer.")]
pub struct GetArgs {
    /// Table
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Keys of the records
    #[arg(value_name = "KEY", required = true)]
    pub keys: Vec<String>,
    /// Only these fields
    #[arg(long, value_name = "FIELD,…")]
    pub fields: Option<String>,
    /// Say why each record is what it is
    #[arg(long)]
    pub explain: bool,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `keld search`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keld search products walnut desk                 words; the best 20\n  \
    keld search products --filter 'price:[10 TO 50]' --sort=-price --limit 5\n  \
    keld search products '\"walnut desk\"' --fields title,price --highlight title\n  \
    keld search products --facets brand,category:5 --limit 1\n  \
    keld search products --aggs '{\"p\":{\"avg\":{\"field\":\"price\"}}}' -o json | jq .aggs\n  \
    keld search products --filter brand:acme --all > acme.ndjson    every hit, page by page\n\n\
    Words must all match; OR, NOT, field:value, ket*, kettel~1 and \"phrases\" do what they do elsewhere. In a pipe every hit is\n\
    {\"key\":…,\"score\":…,\"record\":…} on a line of its own; facets and aggregations come last, as {\"summary\":…}.\n\
    Ends with 0 also where nothing is found, with 1 if the instance cannot answer, with 2 if the command line cannot be read.")]
pub struct SearchArgs {
    /// Table
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Words to look for; none: every record
    #[arg(value_name = "QUERY")]
    pub query: Vec<String>,
    /// Only what holds this, not scored; can be given more than once
    #[arg(long, short, value_name = "EXPRESSION")]
    pub filter: Vec<String>,
    /// Order, such as -price,title (write --sort=-price)
    #[arg(long, value_name = "FIELD,…", allow_hyphen_values = true)]
    pub sort: Option<String>,
    /// Most hits; with --all, hits asked for at a time
    #[arg(long, short, value_name = "N")]
    pub limit: Option<usize>,
    /// Every hit, page by page
    #[arg(long)]
    pub all: bool,
    /// Only these fields
    #[arg(long, value_name = "FIELD,…")]
    pub fields: Option<String>,
    /// Show the pieces of these text fields that have the words
    #[arg(long, value_name = "FIELD,…")]
    pub highlight: Option<String>,
    /// Count the values of these fields, such as brand,category:20
    #[arg(long, value_name = "FIELD[:N],…")]
    pub facets: Option<String>,
    /// Aggregations as JSON, in the syntax of Elasticsearch
    #[arg(long, value_name = "JSON")]
    pub aggs: Option<String>,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `keld tail`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keld tail products                               every change, as it is committed\n  \
    keld tail products walnut --filter 'stock:0'     what enters, changes in and leaves these\n  \
    keld tail products --key sku-1 --fields price\n  \
    keld tail products --from beginning -n 1000 | jq .record\n  \
    keld tail products --from \"$LAST\"                behind the id that was seen last\n\n\
    When the connection is lost, or silent, it comes back by itself and goes on behind the last change: none is lost, none comes twice. In a\n\
    pipe every change is {\"event\":…,\"id\":…,\"key\":…,\"record\":…} on a line. Ends with 0 after -n changes, with 1 where it cannot go\n\
    on: the changelog no longer reaches back to --from, or the request is refused.")]
pub struct TailArgs {
    /// Table
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Only what matches these words
    #[arg(value_name = "QUERY")]
    pub query: Vec<String>,
    /// Only what holds this; can be given more than once
    #[arg(long, short, value_name = "EXPRESSION")]
    pub filter: Vec<String>,
    /// Only this key; can be given more than once
    #[arg(long, value_name = "KEY")]
    pub key: Vec<String>,
    /// Only these fields
    #[arg(long, value_name = "FIELD,…")]
    pub fields: Option<String>,
    /// Where to begin: beginning, or the id of a change; by default, now
    #[arg(long, value_name = "POSITION")]
    pub from: Option<String>,
    /// End after so many changes
    #[arg(long, short = 'n', value_name = "N")]
    pub number: Option<u64>,
    /// How often the instance says that it lives where nothing changes (from 100ms to 10m); without a word for three times as long
    /// the connection is given up, and made anew
    #[arg(long, default_value = "5s", value_name = "SPAN", value_parser = humantime::parse_duration)]
    pub heartbeat: Duration,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `keld status`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keld status                                      instances and tasks of the whole cluster\n  \
    keld status --watch                              again and again; Ctrl-C ends it\n  \
    keld status -o json | jq '.tables'\n  \
    keld status | jq 'select(.lag > 0)'              in a pipe, one task a line\n\n\
    Ends with 0 if every task is worked on, with 3 if not, with 1 if the instance cannot answer.")]
pub struct StatusArgs {
    /// Show it again every so often
    #[arg(long, short, value_name = "EVERY", num_args = 0..=1, default_missing_value = "2s", value_parser = humantime::parse_duration)]
    pub watch: Option<Duration>,
    /// Server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `keld completions`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keld completions bash > /etc/bash_completion.d/keld\n  \
    keld completions zsh > ~/.zfunc/_keld            with ~/.zfunc in fpath\n  \
    keld completions fish > ~/.config/fish/completions/keld.fish")]
pub struct CompletionsArgs {
    /// Shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `keld man`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    keld man | man -l -\n  \
    keld man search > /usr/local/share/man/man1/keld-search.1")]
pub struct ManArgs {
    /// Command; by default, keld itself
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}
