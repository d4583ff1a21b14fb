//! What the documents say must exist: commands, scripts, tests, configuration files.

use std::path::Path;

/// A Makefile's targets.
pub(crate) fn targets(makefile: &str) -> Vec<&str> {
    let rules = makefile.lines().filter(|l| !l.starts_with(['\t', '#', '.']) && !l.contains(":=") && !l.contains("?="));
    rules.filter_map(|l| l.split_once(':').map(|(name, _)| name.trim())).filter(|n| !n.contains(' ')).collect()
}

/// `make` commands that a document shows but the Makefile lacks.
pub(crate) fn commands(name: &str, text: &str, makefile: &str) -> Vec<String> {
    let known = targets(makefile);
    let mut found = Vec::new();
    let lines = code(text).into_iter().flat_map(str::lines).map(|l| l.split(" #").next().unwrap_or_default());
    for command in lines.flat_map(|l| l.split(['&', ';', '|'])) {
        let Some(rest) = command.trim().strip_prefix("make ") else { continue };
        let target: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
        if !target.is_empty() && !known.contains(&target.as_str()) {
            found.push(format!("{name} shows `make {target}`, which the Makefile does not have"));
        }
    }
    found
}

/// Files of this repository that a document names but that are not there, and tests that their file does not hold.
pub(crate) fn files(name: &str, text: &str, root: &Path) -> Vec<String> {
    let folders = ["scripts/", "tests/", "config/", "benches/", "src/", "docs/", ".ci/"];
    let mut found = Vec::new();
    for snippet in code(text) {
        for word in snippet.split(|c: char| c.is_whitespace() || "\"'()[],;=<>|".contains(c)) {
            let word = word.trim_end_matches(['.', ':', '/', '…']);
            if !folders.iter().any(|f| word.starts_with(f)) || word.contains(['*', '$', '{']) {
                continue;
            }
            let (file, test) = word.split_once("::").unwrap_or((word, ""));
            if !root.join(file).exists() {
                found.push(format!("{name} names {file}, which does not exist"));
            } else if !test.is_empty() && !holds(&root.join(file), test) {
                found.push(format!("{name} names the test {test}, which {file} does not have"));
            }
        }
    }
    found
}

/// Whether a function of that name stands in the file, or in a file of the folder.
fn holds(path: &Path, test: &str) -> bool {
    let name = test.rsplit("::").next().unwrap_or(test);
    let wanted = format!("fn {name}");
    if path.is_dir() {
        return std::fs::read_dir(path).is_ok_and(|mut d| d.any(|e| e.is_ok_and(|e| holds(&e.path(), test))));
    }
    std::fs::read_to_string(path).is_ok_and(|text| text.contains(&wanted))
}

/// Paths of one machine that have no business in the repository.
pub(crate) fn machine_paths(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for root in ["root", "home", "work", "Users"] {
        let path = format!("/{root}/");
        for (at, _) in text.match_indices(&path) {
            let before = text[..at].chars().next_back();
            if !before.is_some_and(|c| c.is_alphanumeric() || "._-/~}>".contains(c)) {
                let line = 1 + text[..at].bytes().filter(|b| *b == b'\n').count();
                found.push(format!("{name}:{line}: a path of one machine ({path}…)"));
            }
        }
    }
    found
}

/// Code spans and blocks of a Markdown text.
fn code(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (i, part) in text.split("```").enumerate() {
        if i % 2 == 1 {
            found.push(part);
            continue;
        }
        found.extend(part.split('`').skip(1).step_by(2));
        found.extend(part.lines().filter(|l| l.starts_with("    ")));
    }
    found
}
