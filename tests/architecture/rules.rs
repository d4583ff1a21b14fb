//! The rules of the source tree. Each takes sources and returns one line for every violation.

use crate::source::Source;

/// Which modules of the crate a module may name. `error` and the crate's own re-exports of it are open to all.
///
/// Downwards only: `main → cli → app → {api, runtime}`, `api → query`, `runtime → task`, `query → task views`,
/// `task → {store, index, broker}`, all → `record`.
const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("clock", &[]),
    ("fault", &[]),
    ("priority", &[]),
    ("rocks", &[]),
    ("touch", &[]),
    ("record", &[]),
    ("metrics", &["record"]),
    ("telemetry", &["config"]),
    ("config", &["record"]),
    ("console", &[]),
    ("registry", &["config", "record"]),
    ("broker", &["rocks", "config", "record", "metrics", "clock", "fault"]),
    ("store", &["rocks", "broker", "config", "record", "metrics", "clock", "fault", "touch"]),
    ("index", &["broker", "config", "record", "metrics", "clock", "fault", "priority"]),
    ("quarantine", &["broker", "config", "record", "metrics", "clock", "fault"]),
    ("task", &["quarantine", "store", "index", "broker", "config", "record", "metrics", "clock", "fault", "touch"]),
    ("cluster", &["task", "broker", "config", "metrics", "clock"]),
    ("changes", &["query", "index", "broker", "config", "record", "metrics", "clock"]),
    ("query", &["task", "cluster", "store", "index", "broker", "config", "record", "metrics", "clock"]),
    (
        "runtime",
        &[
            "quarantine",
            "registry",
            "task",
            "cluster",
            "store",
            "index",
            "broker",
            "config",
            "record",
            "metrics",
            "clock",
            "fault",
            "touch",
        ],
    ),
    (
        "api",
        &[
            "changes",
            "query",
            "console",
            "quarantine",
            "task",
            "cluster",
            "store",
            "index",
            "broker",
            "config",
            "record",
            "metrics",
            "clock",
        ],
    ),
    (
        "app",
        &[
            "api",
            "changes",
            "runtime",
            "query",
            "console",
            "registry",
            "quarantine",
            "task",
            "cluster",
            "store",
            "index",
            "broker",
            "config",
            "record",
            "metrics",
            "clock",
            "fault",
            "priority",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "app",
            "api",
            "changes",
            "runtime",
            "query",
            "console",
            "registry",
            "quarantine",
            "task",
            "cluster",
            "store",
            "index",
            "broker",
            "config",
            "record",
            "metrics",
            "clock",
            "fault",
            "telemetry",
        ],
    ),
];

/// Names that may be used against the direction of the layers, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("runtime", "query::Table", "tasks that come and go are published in the table that queries read"),
    ("task", "query::Table", "a task that is opened is published in the table that queries read"),
    ("api", "runtime::Health", "health and status show the state of the process"),
    ("app", "cli::style", "start-up is announced in the words and colours of the command line"),
];

/// Crates that stay where they belong, as prefixes of paths below `src/`.
const CRATES: &[(&[&str], &[&str])] = &[
    (&["rdkafka", "rdkafka_sys"], &["broker/kafka"]),
    (&["rocksdb", "librocksdb_sys"], &["rocks.rs", "store/", "store.rs", "broker/local"]),
    (&["tantivy"], &["index/", "index.rs", "query/", "query.rs"]),
    (&["axum", "axum_core"], &["api/", "api.rs", "console/", "console.rs", "cli/", "app.rs", "app/"]),
    (&["bincode"], &["record/"]),
    (&["cel"], &["record/derived"]),
    (&["apache_avro"], &["record/decode/avro"]),
    (&["ureq"], &["registry/", "cli/"]),
    (&["hyper", "hyper_util", "http_body_util"], &["cluster/"]),
];

/// Most lines of a file, tests not counted.
pub(crate) const LONGEST: usize = 500;

/// Imports point downwards only.
pub(crate) fn imports(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|s| !matches!(s.module(), "lib" | "main")) {
        let module = source.module();
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            found.push(format!("src/{}: module {module} has no place among the layers", source.path));
            continue;
        };
        for (at, target) in references(source) {
            let name = target.split("::").next().unwrap_or_default();
            let known = LAYERS.iter().any(|(n, _)| *n == name);
            let excepted = EXCEPTIONS.iter().any(|(from, to, _)| *from == module && below(&target, to));
            if known && name != module && name != "error" && !allowed.contains(&name) && !excepted {
                found.push(format!("src/{}:{}: {module} must not use {target}", source.path, source.line(at)));
            }
        }
    }
    found
}

fn below(target: &str, name: &str) -> bool {
    target.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Paths into this crate, from its root on: those behind `crate::` and those that `super::` leads to.
fn references(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let code = &source.code;
    for root in ["crate::", "keld::"] {
        for (at, _) in code.match_indices(root).filter(|(at, _)| starts_word(code, *at)) {
            expand(code, at, at + root.len(), "", &mut found);
        }
    }
    let depth = source.module_path().len();
    let climb = "super::".repeat(depth);
    for (at, _) in code.match_indices(&climb).filter(|(at, _)| depth > 0 && starts_word(code, *at)) {
        expand(code, at, at + climb.len(), "", &mut found);
    }
    found
}

fn starts_word(code: &str, at: usize) -> bool {
    !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
}

/// Writes out the path at `from`, following groups in braces.
fn expand(code: &str, at: usize, from: usize, prefix: &str, found: &mut Vec<(usize, String)>) {
    let rest = &code[from..];
    let blanks = rest.len() - rest.trim_start().len();
    if rest.trim_start().starts_with('{') {
        for (start, _) in group(code, from + blanks) {
            expand(code, start, start, prefix, found);
        }
        return;
    }
    let rest = rest.trim_start();
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() || name == "self" || name == "super" {
        return found.push((at, prefix.trim_end_matches("::").to_owned()));
    }
    let path = format!("{prefix}{name}");
    if rest[name.len()..].starts_with("::") {
        expand(code, at, from + blanks + name.len() + 2, &format!("{path}::"), found);
    } else {
        found.push((at, path));
    }
}

/// Members of the brace group that opens at `open`: start and end of each.
fn group(code: &str, open: usize) -> Vec<(usize, usize)> {
    let (mut depth, mut start, mut members) = (0_i32, open + 1, Vec::new());
    for (i, c) in code[open..].char_indices().map(|(i, c)| (open + i, c)) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                members.push((start, i));
                start = i + 1;
            }
            _ => {}
        }
        if depth == 0 {
            members.push((start, i));
            break;
        }
    }
    members.retain(|(from, to)| !code[*from..*to].trim().is_empty());
    members
}

/// Foreign crates stay in the modules that own them.
pub(crate) fn crates(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for (names, homes) in CRATES {
            if homes.iter().any(|home| source.path.starts_with(home)) {
                continue;
            }
            for name in *names {
                for at in words(&source.code, name) {
                    let follows = source.code[at + name.len()..].trim_start();
                    let used = follows.starts_with("::") || source.code[..at].trim_end().ends_with("use");
                    if used {
                        let line = source.line(at);
                        found.push(format!("src/{}:{line}: {name} belongs to {}", source.path, homes.join(", ")));
                    }
                }
            }
        }
    }
    found
}

fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let after = code[at + word.len()..].chars().next();
        starts_word(code, *at) && !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The stored form of records is written and read in `record/codec` only; elsewhere in `record/` stand derives and
/// implementations of the traits.
pub(crate) fn stored_form(sources: &[Source]) -> Vec<String> {
    let calls =
        ["encode_into_", "encode_to_vec", "decode_from_", "borrow_decode_from_", "config::standard", "config::legacy"];
    let outside = sources.iter().filter(|s| s.module() == "record" && !s.path.starts_with("record/codec"));
    outside.flat_map(|s| mentions(s, &calls, "belongs to record/codec")).collect()
}

/// The wall clock is read in `clock.rs` only.
pub(crate) fn wall_clock(sources: &[Source]) -> Vec<String> {
    let clocks = ["SystemTime", "UNIX_EPOCH", "Timestamp::now", "Zoned::now"];
    let outside = sources.iter().filter(|s| s.path != "clock.rs");
    outside.flat_map(|s| mentions(s, &clocks, "the wall clock is read in clock.rs")).collect()
}

/// No file outgrows what one can read in a sitting.
pub(crate) fn length(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter(|s| s.length() > LONGEST);
    long.map(|s| format!("src/{}: {} lines without tests, at most {LONGEST}: split it", s.path, s.length())).collect()
}

/// Nothing outside tests ends the process by a panic that a value could have been.
pub(crate) fn panics(sources: &[Source]) -> Vec<String> {
    let calls = [".unwrap()", ".expect(", ".unwrap_err()", ".expect_err(", "panic!(", "todo!(", "unimplemented!("];
    sources.iter().flat_map(|s| mentions(s, &calls, "outside tests")).collect()
}

/// One line for every place where the code holds one of `patterns`.
fn mentions(source: &Source, patterns: &[&str], why: &str) -> Vec<String> {
    let mut found = Vec::new();
    for pattern in patterns {
        for (at, _) in source.code.match_indices(pattern) {
            found.push(format!("src/{}:{}: {pattern}: {why}", source.path, source.line(at)));
        }
    }
    found
}

/// Every fault point stands at exactly one place, and every place names a point that exists.
pub(crate) fn fault_points(sources: &[Source], points: &[&str]) -> Vec<String> {
    let mut places: Vec<(&str, String)> = Vec::new();
    for source in sources.iter().filter(|s| s.path != "fault.rs") {
        for (at, call) in source.with_strings.match_indices("fault::point(") {
            let argument = source.with_strings[at + call.len()..].trim_start();
            let name = argument.strip_prefix('"').and_then(|a| a.split('"').next()).unwrap_or("(not a literal)");
            places.push((name, format!("src/{}:{}", source.path, source.line(at))));
        }
    }
    let unknown = places.iter().filter(|(name, _)| !points.contains(name));
    let mut found: Vec<String> =
        unknown.map(|(name, place)| format!("{place}: fault point {name:?} is not in POINTS")).collect();
    for point in points {
        let at: Vec<&str> = places.iter().filter(|(name, _)| name == point).map(|(_, place)| place.as_str()).collect();
        if at.len() != 1 {
            found.push(format!("fault point {point:?} stands at {} places, not one: {}", at.len(), at.join(", ")));
        }
    }
    found
}
