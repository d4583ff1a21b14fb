//! `keld check`: is the configuration right, and what does it need?

use std::fmt::Write;
use std::process::ExitCode;

use bytesize::ByteSize;

use super::CheckArgs;
use super::style::{self, Ink, Style};
use crate::Result;
use crate::config::{self, BrokerKind, Guarantee, MemoryPlan, Settings};
use crate::record::{Derived, Dynamic, FieldDef, KeyFrom, SourceDef, TableDef, VersionFrom, Window};

/// Loads the configuration and prints what it amounts to.
///
/// # Errors
/// Everything that is wrong with the configuration.
pub fn run(args: &CheckArgs) -> Result<ExitCode> {
    let settings = args.config.load()?;
    let style = Style::of(&std::io::stdout());
    let name = args.config.config.display();
    style::out(&format!("{}  {name}\n{}", style.paint(Ink::Green, "ok"), summary(&settings, style)))?;
    Ok(ExitCode::SUCCESS)
}

/// What a configuration amounts to, for people.
pub fn summary(settings: &Settings, style: Style) -> String {
    let mut text = format!("\n{}", overview(settings));
    for def in &settings.tables {
        text.push_str(&table(def, style));
    }
    text.push_str(&topics(settings, style));
    text.push_str(&memory(settings, style));
    text
}

fn overview(s: &Settings) -> String {
    let broker = match s.broker.kind {
        BrokerKind::Local => format!("embedded log in {}", s.instance.data_dir.display()),
        BrokerKind::Kafka => format!("Kafka at {}", s.broker.bootstrap_servers),
    };
    let guarantee = match s.processing.guarantee {
        Guarantee::ExactlyOnce => "exactly once",
        Guarantee::AtLeastOnce => "at least once",
    };
    let workers = counted(s.instance.workers, "worker");
    let instance = format!("{} on {}, {workers}", s.instance.id, s.instance.listen);
    rows(&[
        ["application".to_owned(), s.application.clone()],
        ["instance".to_owned(), instance],
        ["broker".to_owned(), format!("{broker}, {guarantee}")],
    ])
}

fn table(def: &TableDef, style: Style) -> String {
    let title = style.paint(Ink::Bold, format!("table {}", def.name));
    let mut text = format!("\n{title}  key {}, {}, {}\n", key(&def.key), dynamic(def.dynamic), window(def.window));
    text.push_str(&rows(&def.sources.iter().map(source).collect::<Vec<_>>()));
    text.push_str(&rows(&def.fields.iter().map(field).collect::<Vec<_>>()));
    text.push_str(&rows(&def.derived.iter().map(derived).collect::<Vec<_>>()));
    text
}

fn key(key: &KeyFrom) -> String {
    match key {
        KeyFrom::Message => "of the message".to_owned(),
        KeyFrom::Path(path) => path.to_string(),
    }
}

fn dynamic(dynamic: Dynamic) -> &'static str {
    match dynamic {
        Dynamic::Store => "undeclared members stored",
        Dynamic::Index => "undeclared members stored and indexed",
        Dynamic::Ignore => "undeclared members left out",
        Dynamic::Reject => "undeclared members quarantine the event",
    }
}

fn window(window: Window) -> String {
    match u64::try_from(window.time_ms) {
        Ok(ms) if window.time_ms < i64::MAX => {
            let time = humantime::format_duration(std::time::Duration::from_millis(ms));
            format!("window {} events within {time}", window.events)
        }
        _ => format!("window {} events", window.events),
    }
}

fn source(s: &SourceDef) -> [String; 6] {
    let version = match &s.version {
        VersionFrom::Timestamp => "the broker's timestamp".to_owned(),
        VersionFrom::Paths(_) => s.version.words().join(", "),
        VersionFrom::Position => "the position of the change".to_owned(),
    };
    let id = s.event_id.as_ref().map_or_else(|| "no event id".to_owned(), |id| format!("event id {id}"));
    let (topic, version) = (format!("topic {}", s.topic), format!("version {version}"));
    let format = config::format_word(s.format).to_owned();
    [format!("source {}", s.name), topic, format, version, format!("rank {}", s.rank), id]
}

fn field(f: &FieldDef) -> [String; 5] {
    let moved = f.path.to_string() != f.name;
    let path = if moved { format!("path {}", f.path) } else { String::new() };
    let (kind, merge) = (config::type_word(f.kind).to_owned(), config::strategy_word(f.merge).to_owned());
    [format!("field {}", f.name), kind, merge, path, options(f)]
}

fn derived(d: &Derived) -> [String; 4] {
    let (name, kind) = (format!("derived {}", d.field.name), config::type_word(d.field.kind).to_owned());
    [name, kind, d.expression.text().to_owned(), options(&d.field)]
}

fn options(f: &FieldDef) -> String {
    let all = [(!f.index, "not searchable"), (f.facet, "facet"), (f.sort, "sort")];
    all.into_iter().filter(|(set, _)| *set).map(|(_, word)| word).collect::<Vec<_>>().join(", ")
}

fn topics(s: &Settings, style: Style) -> String {
    let made = |by_keld| if by_keld { "made if missing" } else { "must exist" };
    let mut sources: Vec<&str> = s.tables.iter().flat_map(|t| &t.sources).map(|x| x.topic.as_str()).collect();
    sources.sort_unstable();
    sources.dedup();
    let row = |name: &str, what: &str, by_keld| [name.to_owned(), what.to_owned(), made(by_keld).to_owned()];
    let mut all: Vec<_> = sources.into_iter().map(|name| row(name, "source", s.topics.create_sources)).collect();
    for def in &s.tables {
        all.push(row(&s.changelog_topic(&def.name), "changelog, compacted", s.topics.create));
        if def.repartition {
            all.push(row(&s.repartition_topic(&def.name), "misplaced events", s.topics.create));
        }
    }
    all.push(row(&s.quarantine.topic, "quarantine", s.topics.create));
    all.push(row(&s.replays_topic(), "what was replayed, compacted", s.topics.create));
    format!("\n{}\n{}", style.paint(Ink::Bold, "topics"), rows(&all))
}

fn memory(s: &Settings, style: Style) -> String {
    let (tables, workers) = (s.tables.len(), s.instance.workers);
    let plan = MemoryPlan::share(s.memory_budget, tables, workers);
    let share = |(name, bytes): (&'static str, u64)| {
        let each = match name {
            "index_writer" | "index_queue" | "index_sets" => format!("each of {}", counted(tables, "table")),
            "consumer" | "producer" => format!("each of {}", counted(tables * workers, "worker")),
            "memtables" => "of block_cache".to_owned(),
            _ => String::new(),
        };
        [name.replace('_', " "), ByteSize::b(bytes).to_string(), each.replace('_', " ")]
    };
    format!("\n{}\n{}", style.paint(Ink::Bold, "memory"), rows(&plan.parts().map(share)))
}

fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// Lines of aligned columns, indented.
fn rows<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(&widths).filter(|(_, width)| **width > 0) {
            // Writing to a String cannot fail.
            _ = write!(line, " {cell:<width$} ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
